"""Hard-reset CenturyLink Cloud servers, and tell the truth about what happened."""

__version__ = "0.1.0"
