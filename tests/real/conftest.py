"""A real terminal, tmux, whose screen is read back."""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.fakes import wait_until

TMUX = shutil.which("tmux")
Make = Callable[[Path], object]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Make a folder once for all workers of a run."""

    def once(name: str, make: Make) -> Path:
        in_workers = "PYTEST_XDIST_WORKER" in os.environ
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if in_workers else base) / name
        with Path(f"{folder}.lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not Path(folder, "made").exists():
                make(folder)
                Path(folder, "made").touch()
        return folder

    return once


class Screen:
    """A screen of tmux's that runs a line of shell."""

    def __init__(self, socket: Path, columns: int) -> None:
        self._socket = socket
        self._columns = columns

    def run(self, line: str, **variables: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],  # HOME is left to those who need it
            **{k: v for k, v in os.environ.items() if k.startswith("COVERAGE")},
        }
        settings = [f"{name}={value}" for name, value in variables.items()]
        script = shlex.join(["env", *settings, "bash", "-c", f'{line}\necho "[ended: $?]"; cat'])
        subprocess.run(
            [
                *self._tmux("-f", os.devnull),
                *("new-session", "-d", "-x", f"{self._columns}", "-y", "24", script),
            ],
            check=True,
            env=environment,
        )

    def tell(self, *words: str) -> str:
        return subprocess.run(self._tmux(*words), check=True, capture_output=True, text=True).stdout

    def text(self) -> str:
        return self.tell("capture-pane", "-p")

    def wait_for(self, words: str) -> str:
        wait_until(lambda: words in self.text())
        return self.text()

    def end(self) -> tuple[int, str]:
        """The exit code, and the screen above it."""
        above, _, code = self.wait_for("[ended: ").partition("[ended: ")
        return int(code.partition("]")[0]), above

    def close(self) -> None:
        subprocess.run(self._tmux("kill-server"), check=False, capture_output=True)

    def _tmux(self, *words: str) -> list[str]:
        return [str(TMUX), "-S", str(self._socket), *words]


Screens = Callable[[int], Screen]
"""Gives a screen with that many columns."""


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screens]:
    if TMUX is None:
        pytest.skip("needs tmux (Debian package tmux)")
    with ExitStack() as ending:
        yield lambda columns: ending.enter_context(closing(Screen(tmp_path / "tmux", columns)))
