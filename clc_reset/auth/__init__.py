"""The sources of a credential, and the OS keyring."""
