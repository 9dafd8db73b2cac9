"""Writing on standard streams that may be closed, full, broken or stopped.

A terminal takes no output while it is stopped (Ctrl-S), nor a pipe that is full.
"""

import os
import select
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TextIO

LOOK_SECONDS = 0.5
"""Between two calls of `tick` while a file takes no output."""


class Outlet:
    """The file of a standard stream, written only as far as it takes output at once.

    `fd` is the descriptor of `stream`, -1 where that is in memory.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._encoding = stream.encoding or "utf-8"
        self.fd = -1
        with suppress(OSError, ValueError):
            self.fd = stream.fileno()

    def encode(self, text: str) -> bytes:
        """Encode a text; what the encoding lacks is escaped."""
        return text.encode(self._encoding, "backslashreplace")

    def wait(self, seconds: float) -> bool:
        """Wait until output is taken; return whether it is."""
        return self.fd == -1 or bool(select.select([], [self.fd], [], seconds)[1])

    def write(self, data: bytes) -> int:
        """Write what is taken at once, and return its number of bytes.

        Raises OSError, and ValueError if the stream is closed.
        """
        if self.fd == -1:
            self.stream.write(data.decode(self._encoding))
            self.stream.flush()
            return len(data)
        written = 0
        with _not_blocking(self.fd) as fd, suppress(BlockingIOError):
            # a pipe that is ready for output takes so much at once
            while written < len(data) and self.wait(0):
                written += os.write(fd, data[written : written + select.PIPE_BUF])
        return written


@contextmanager
def _not_blocking(fd: int) -> Generator[int]:
    """Open a terminal a second time, without blocking, or give its own descriptor.

    The flag O_NONBLOCK on the descriptor itself would change the terminal for the shell, too.
    """
    again = fd
    with suppress(OSError):  # no terminal, one without a name here, or another user's
        again = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        # in a container the name may be another terminal's
        yield again if os.path.samestat(os.fstat(again), os.fstat(fd)) else fd
    finally:
        if again != fd:
            os.close(again)


def write_whole(stream: TextIO, text: str, tick: Callable[[], None] = lambda: None) -> None:
    """Write all of a text and leave nothing in a buffer.

    What the encoding lacks is escaped, and a file that takes no output is waited for; `tick` is
    called meanwhile. Raises OSError, and ValueError if the stream is closed.
    """
    stream.flush()
    outlet = Outlet(stream)
    left = outlet.encode(text)
    while left := left[outlet.write(left) :]:
        if not outlet.wait(LOOK_SECONDS):
            tick()


def let_go_of(stream: TextIO) -> None:
    """Point a stream that can't be written at nothing, so that Python's own flush can't fail."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # a bare container: a pipe takes what a buffer may hold
            _, nothing = os.pipe()
        os.dup2(nothing, number)
        os.close(nothing)


def wait_on(stdin: TextIO) -> None:
    """Let reads wait for input, even where another program left the file without blocking."""
    with suppress(OSError, ValueError):
        os.set_blocking(stdin.fileno(), True)


def window_of(stream: TextIO | None) -> tuple[int, int]:
    """Return the columns and lines of a terminal's window; 0 for what it doesn't tell."""
    with suppress(OSError, ValueError):
        if stream is not None:
            size = os.get_terminal_size(stream.fileno())
            return size.columns, size.lines
    return 0, 0
