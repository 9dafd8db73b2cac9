"""Hiding the parts of a library that needn't be loaded."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def hidden(module: str) -> Generator[None]:
    """Let imports of a module fail inside the block, unless it is loaded already.

    A library loads sooner if it can do without a part that seems not to be installed:
    `with hidden("httpx._main"): import httpx`.
    """
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = None  # type: ignore[assignment] # documented: an import of it fails
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]
