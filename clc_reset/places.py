"""Where this platform keeps what a program remembers. The only door to platformdirs."""

import os
import sys

_NAME = "clc-reset"


def state() -> str:
    """The folder of what must not be lost: on Linux in XDG_STATE_HOME, or `~/.local/state`."""
    return _xdg("XDG_STATE_HOME", ".local/state") or _platformdirs("user_state_dir")


def cache() -> str:
    """The folder of what can be had again: on Linux in XDG_CACHE_HOME, or `~/.cache`."""
    return _xdg("XDG_CACHE_HOME", ".cache") or _platformdirs("user_cache_dir")


def _xdg(variable: str, below_home: str) -> str:
    """Where Linux has it, by XDG's specification; empty elsewhere.

    A Tab press asks for it, and platformdirs brings kinds of archives with it: a tenth of a start.
    """
    if sys.platform != "linux":
        return ""
    kept = os.environ.get(variable, "").strip()
    if not os.path.isabs(kept):
        kept = os.path.join(os.path.expanduser("~"), below_home)
    return os.path.join(kept, _NAME)


def _platformdirs(name: str) -> str:
    import platformdirs  # noqa: PLC0415 - see _xdg

    return str(getattr(platformdirs, name)(_NAME, appauthor=False))
