"""A CLC cloud on this machine: `cloud` is its model, `inventory` its data, `server` serves it."""
