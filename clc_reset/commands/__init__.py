"""The work of each command, in ordinary Python; `cli` declares their options."""
