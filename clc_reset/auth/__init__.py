"""Who the user is: the sources of a credential, and the OS keyring."""
