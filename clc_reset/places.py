"""Where this platform keeps what a program remembers. The only door to platformdirs."""

from pathlib import Path

import platformdirs

_NAME = "clc-reset"


def state() -> Path:
    """The folder of what must not be lost: on Linux in XDG_STATE_HOME, or `~/.local/state`."""
    return platformdirs.user_state_path(_NAME, appauthor=False)


def cache() -> Path:
    """The folder of what can be had again: on Linux in XDG_CACHE_HOME, or `~/.cache`."""
    return platformdirs.user_cache_path(_NAME, appauthor=False)
