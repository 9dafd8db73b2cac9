"""The domain: a reset from the intent to the exit code. No click, rich, httpx or SQL."""
