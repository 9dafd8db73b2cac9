from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.real.screen import TMUX, Screen, Screens


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screens]:
    if TMUX is None:
        pytest.skip("needs tmux (Debian package tmux)")
    with ExitStack() as ending:
        yield lambda columns: ending.enter_context(closing(Screen(tmp_path / "tmux", columns)))
