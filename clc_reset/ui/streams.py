"""The standard streams: the result on standard output, all else on standard error.

Nothing here raises for a stream that is closed, full, broken or stopped.
"""

import os
import re
import textwrap
import time
from collections.abc import Callable
from enum import Enum
from typing import TextIO

from clc_reset.text import printable
from clc_reset.ui.outlet import LOOK_SECONDS, let_go_of, window_of, write_whole
from clc_reset.ui.screen import Screen

USUAL_SIZE = (80, 24)
"""Columns and lines of a terminal that doesn't tell its own."""
STOPPED_SECONDS = 2.0
"""Time for a stopped terminal or a full pipe to take a result, after a signal."""

_COMMAND = r"(?:^|(?<=: ))(?:[A-Z_]+=\S+ )*clc .*"
# no line ends inside: a command at the end of a line; a quoted command; a date, a time, a number
# with its unit
_UNIT = (
    rf"{_COMMAND}"
    r"|`[^`]*`"
    r"|\d[\d:.,-]*(?: \d\d:\d\d(?::\d\d)?)?(?: (?:UTC|s|min|h|d)\b)?"
)
_GLUE = "\x00"


class Delivery(Enum):
    """The destination of a result."""

    PRINTED = "printed"
    """It is on standard output, all of it."""
    ELSEWHERE = "elsewhere"
    """Standard output is closed, full or broken; the result went to standard error."""
    CLOSED_PIPE = "closed pipe"
    """Nobody reads standard output any more."""


class Streams:
    """The three standard streams of a command; one that is closed is None.

    `screen` is standard error, with a live display. `signalled` returns whether a signal asked this
    process to end. Notes may come from any thread, everything else from the main thread.
    """

    def __init__(
        self,
        stdin: TextIO | None,
        stdout: TextIO | None,
        stderr: TextIO | None,
        signalled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.has_result = False
        self._signalled = signalled
        self._signalled_at = 0.0
        self.screen = Screen(stderr)

    def note(self, text: str) -> None:
        """Write lines on standard error, without control characters and above a live display.

        Never blocks: while standard error takes no output the text is kept, and written with a
        later note, a display or `flush`. On a terminal long lines are broken between words.
        """
        lines = [printable(line) for line in text.splitlines()]
        if is_terminal(self.stderr):
            width = size_of(self.stderr).columns
            lines = [part for line in lines for part in break_line(line, width)]
        self.screen.note("\n".join(lines))

    def print_result(self, text: str, *, falls_back: bool = True) -> Delivery:
        """Write a result whole on standard output, else, with `falls_back`, on standard error.

        A stopped terminal and a full pipe are waited for, after a signal for a short time only.
        """
        if self.stdout is not None:
            self.has_result = True
            try:
                self._write(self.stdout, text)
            except (OSError, ValueError) as error:  # full, broken, stopped, or closed
                let_go_of(self.stdout)
                self.stdout = None
                if isinstance(error, BrokenPipeError):
                    return Delivery.CLOSED_PIPE
            else:
                return Delivery.PRINTED
        if falls_back and text:
            self.screen.note(text.removesuffix("\n"))
        return Delivery.ELSEWHERE

    def _write(self, stdout: TextIO, text: str) -> None:
        if is_terminal(stdout):
            self.screen.show(())
            if is_terminal(self.stderr):  # what was noted before stands above
                while not self.screen.flush(LOOK_SECONDS):
                    self._give_up_in_time()
        write_whole(stdout, text, self._give_up_in_time)

    def _give_up_in_time(self) -> None:
        """Raise TimeoutError a while after a signal: standard output takes nothing."""
        if self._signalled():
            self._signalled_at = self._signalled_at or time.monotonic()
            if time.monotonic() - self._signalled_at >= STOPPED_SECONDS:
                raise TimeoutError


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; a closed one is None."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed since
        return False


def can_redraw(stream: TextIO | None) -> bool:
    """Return whether a live display may be drawn: on a terminal, where nothing speaks against it.

    ACCESSIBLE asks for lines, TTY_INTERACTIVE=0 and CI for nothing that moves; a terminal whose
    TERM is unknown can't move its cursor.
    """
    environ = os.environ
    return (
        environ.get("TERM", "") not in {"", "dumb", "unknown"}
        and environ.get("ACCESSIBLE", "") in {"", "0"}
        and environ.get("TTY_INTERACTIVE", "") != "0"
        and environ.get("CI", "").lower() in {"", "false"}
        and is_terminal(stream)
    )


def size_of(stream: TextIO | None, usual: tuple[int, int] = USUAL_SIZE) -> os.terminal_size:
    """Return the columns and lines to use of a terminal, or `usual` where nothing tells them.

    COLUMNS and LINES may ask for less than the window has, never for more.
    """
    texts = (os.environ.get(name, "") for name in ("COLUMNS", "LINES"))
    asked = (int(text) if re.fullmatch("[0-9]{1,4}", text) else 0 for text in texts)
    columns, lines = (
        min(filter(None, (want, own)), default=other)
        for want, own, other in zip(asked, window_of(stream), usual, strict=True)
    )
    return os.terminal_size((columns, lines))


def break_line(line: str, width: int) -> list[str]:
    """Break a line between words into parts of at most `width` columns.

    Ids, URLs, times and commands stay whole, a command at the end of a line with all its arguments;
    a line that is indented stays as it is.
    """
    if len(line) <= width or line[:1].isspace():
        return [line]
    glued = re.sub(_UNIT, lambda unit: unit[0].replace(" ", _GLUE), line)
    parts = textwrap.wrap(glued, width, break_long_words=False, break_on_hyphens=False)
    return [part.replace(_GLUE, " ") for part in parts]
