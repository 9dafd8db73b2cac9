"""Parts of a library that needn't be loaded."""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def hidden(*modules: str) -> Generator[None]:
    """Let an import of these modules fail here, unless they are loaded already.

    A library that does without such a part, as with one that isn't installed, loads sooner:
    `with hidden("httpx._main"): import httpx`.
    """
    hiding = [each for each in modules if each not in sys.modules]
    for each in hiding:
        sys.modules[each] = None  # type: ignore[assignment] # documented: an import of it fails
    try:
        yield
    finally:
        for each in hiding:
            del sys.modules[each]
