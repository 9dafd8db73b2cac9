"""A CLC cloud on this machine: `cloud` is the cloud in memory, `server` puts it on loopback."""
