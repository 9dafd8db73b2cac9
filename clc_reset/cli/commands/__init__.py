"""One command a module, each loaded when it is named."""
