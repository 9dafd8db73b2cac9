"""Terminals for tests: one in memory, real pseudo-terminals, and the screen of a reader."""

import os
import pty
import re
import select
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len

from clc_reset.models import Operation
from tests import fakes
from tests.fakes import environment

WA1 = Operation("wa1-12345", "/x")
VA1 = Operation("va1-777", "/y")

_SEQUENCE = r"\x1b\[(\??[0-9;]*)([a-zA-Z])|(.)"


def screen_of(text: str, columns: int) -> list[str]:
    """Return the lines of a screen on which the text was written, without empty last ones."""
    lines = [""]
    row = column = 0
    for number, command, character in re.findall(_SEQUENCE, text, re.DOTALL):
        if command == "A":
            assert row >= int(number), "above the text"
            row -= int(number)
        elif command == "K":
            assert (number, column) == ("", 0)
            lines[row] = ""
        elif command == "J":
            assert (number, column) == ("", 0)
            assert row, "tmux would keep the screen in its history"
            del lines[row:]
        elif character == "\r":
            column = 0
        elif character == "\n":
            row, column = row + 1, 0
        elif character:
            assert character.isprintable()
            if column + cell_len(character) > columns:  # as terminals do, at the next character
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1 :]
            column += 1
        else:
            assert command == "m", "only colours"
        lines += [""] * (row + 1 - len(lines))
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


class Terminal(fakes.Typed):
    """A terminal in memory."""

    encoding = "utf-8"

    def screen(self, columns: int) -> list[str]:
        return screen_of(self.getvalue(), columns)


class Gone(Terminal):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        raise OSError(5, text)

    def flush(self) -> None:
        raise OSError(5, "gone")

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        raise OSError(5, "Input/output error")


class Keyboard:
    """A pseudo-terminal on which a test types."""

    def __init__(self, master: int, slave: int) -> None:
        self.master = master
        self.stdin = os.fdopen(os.dup(slave), encoding="utf-8")
        self.stderr = os.fdopen(slave, "w", encoding="utf-8")
        self.shown = b""

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def read_until(self, text: bytes) -> None:
        while text not in self.shown:
            assert select.select([self.master], [], [], 20)[0]
            self.shown += os.read(self.master, 65536)

    def screen(self, columns: int = 80) -> list[str]:
        return screen_of(self.shown.decode().replace("\r\n", "\n"), columns)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def stop(self) -> None:
        """Stop the output, as Ctrl-S does."""
        termios.tcflow(self.stderr.fileno(), termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self.stderr.fileno(), termios.TCOON)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Let another thread do something."""
    other = threading.Thread(target=work)
    other.start()
    yield
    other.join()


@contextmanager
def keyboard(columns: int = 80, lines: int = 24) -> Iterator[Keyboard]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (lines, columns))
    board = Keyboard(master, slave)
    with board.stdin, board.stderr:
        yield board
    os.close(master)


IN_THE_BACKGROUND = """
import os, signal, termios
read, write = os.pipe()
if (other := os.fork()) == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os.setpgid(other, other)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, other)
"""
"""Moves a program to the background of its terminal; SIGTTOU would stop it for ever."""


def run_on_terminal(program: str) -> tuple[int, str]:
    """Run a Python program as the leader of a session on a terminal of its own."""
    return fakes.Terminal("-c", program, program=sys.executable, **environment()).end()
