from collections.abc import Iterator

import pytest

from tests.ui.screens import Keyboard, keyboard


@pytest.fixture
def board() -> Iterator[Keyboard]:
    with keyboard() as board:
        yield board


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESSIBLE", "CI", "TTY_INTERACTIVE", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
