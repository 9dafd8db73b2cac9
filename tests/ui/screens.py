"""Terminals for tests: one in memory, a real pseudo-terminal, and what a reader of either sees."""

import io
import os
import pty
import re
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_SEQUENCE = r"\x1b\[(\??[0-9;]*)([a-zA-Z])|(.)"


def seen(text: str, columns: int) -> list[str]:
    """The lines of a screen on which all of the text was written, without the empty last ones."""
    lines = [""]
    row = column = 0
    for number, command, character in re.findall(_SEQUENCE, text, re.DOTALL):
        if command == "A":
            assert row >= int(number or 1), "above what was written"
            row -= int(number or 1)
        elif command == "K":
            assert number == "2"
            lines[row] = ""
        elif character == "\r":
            column = 0
        elif character == "\n":
            row, column = row + 1, 0
        elif character:
            assert character.isprintable()
            if column == columns:  # as terminals do, at the next character
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1 :]
            column += 1
        else:
            assert command in {"m", "h", "l"}
        lines += [""] * (row + 1 - len(lines))
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


class Terminal(io.StringIO):
    """A terminal in memory."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def seen(self, columns: int) -> list[str]:
        return seen(self.getvalue(), columns)


class Gone(Terminal):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        raise OSError(5, text)

    def flush(self) -> None:
        raise OSError(5, "gone")


class Pseudo:
    """A pseudo-terminal, and what was written on it until it was closed."""

    def __init__(self, stream: TextIO, master: int) -> None:
        self.stream = stream
        self.master = master
        self.written = b""

    def read(self) -> None:
        try:
            while chunk := os.read(self.master, 65536):
                self.written += chunk
        except OSError:  # the end of a terminal
            pass


@contextmanager
def pseudo_terminal(columns: int, lines: int = 24) -> Iterator[Pseudo]:
    """A pseudo-terminal; what was written is complete afterwards."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (lines, columns))
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        pseudo = Pseudo(stream, master)
        reader = threading.Thread(target=pseudo.read)
        reader.start()
        yield pseudo
    reader.join()
    os.close(master)
