"""Standard error, never waited for: notes, and below them the lines of a live display.

A terminal takes no output while it is stopped (Ctrl-S), nor a pipe that is full. What can't be
written then is kept; a display isn't drawn at all.
"""

import math
import os
import select
import signal
import termios
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, TextIO

from clc_reset.terminal import in_foreground, stops_writers

_PIECE = 512
"""Bytes that a pipe takes at once when it is ready for output (POSIX: PIPE_BUF)."""
_ERASE_BELOW = "\r\x1b[J"


class Line(NamedTuple):
    """A line of a live display, with escape sequences that set colours, and its width on screen."""

    text: str
    width: int


def window_of(stream: TextIO | None) -> tuple[int, int]:
    """Return the columns and lines of a terminal's window; 0 for what it doesn't tell."""
    with suppress(OSError, ValueError):
        if stream is not None:
            size = os.get_terminal_size(stream.fileno())
            return size.columns, size.lines
    return 0, 0


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
            while written < len(data) and self.wait(0):
                written += os.write(fd, data[written : written + _PIECE])
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


class Screen:
    """Writes notes and a display on standard error; None is a closed one, on which all is lost.

    Any thread may write, but none waits for another: whoever comes meanwhile leaves what it has to
    the thread that writes. So a signal handler may write, too.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._outlet = None if stream is None else Outlet(stream)
        self._lock = threading.Lock()
        self._notes: deque[str] = deque()
        self._frame: Sequence[Line] = ()
        self._drawn: Sequence[Line] = ()
        self._unsent = b""
        self._unsent_notes = 0  # in `_unsent`; they stay in `_notes` until it is written
        self._wipes = False
        self._stops = False

    def note(self, text: str) -> None:
        """Write lines, above the display."""
        if self._outlet is not None:
            self._notes.append(text)
            self._push()

    def show(self, frame: Sequence[Line]) -> None:
        """Show these lines from now on."""
        self._frame = frame
        self._push()

    def wipe(self) -> None:
        """Show nothing, and clear the line of the cursor, too."""
        self._frame = ()
        self._wipes = True
        self._push()

    def flush(self, seconds: float) -> bool:
        """Wait so many seconds for all to be written, or erased; return whether it is.

        In the background of a terminal with `stty tostop` this stops the process, as any output
        does there.
        """
        deadline = time.monotonic() + seconds
        while not self._push(stopping=True) and self._outlet is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._outlet.wait(left):
                return False
        return True

    def leave(self) -> bool:
        """Erase the display; False if a thread is writing, which then raises SIGTSTP again."""
        if not self._lock.acquire(blocking=False):
            self._stops = True
            return False
        frame, self._frame = self._frame, ()
        try:
            while self._write():
                pass
        finally:
            self._forget()
            self._frame = frame
            self._lock.release()
        return True

    def resume(self) -> None:
        """Draw the display anew: what was on the screen before has gone."""
        if self._lock.acquire(blocking=False):
            self._forget()
            self._lock.release()
        self._push()

    def _push(self, *, stopping: bool = False) -> bool:
        """Write what is taken; return whether no note is left, and no display that should go."""
        while self._outlet is not None and self._lock.acquire(blocking=False):
            notes = len(self._notes)
            try:
                has_written = self._write(stopping=stopping)
            finally:
                self._lock.release()
            if self._stops:
                self._stops = False
                os.kill(os.getpid(), signal.SIGTSTP)
            # another thread may have left a note before the lock was released
            if not has_written and len(self._notes) <= notes:
                break
        is_left = self._wipes or (self._drawn and not self._frame)
        return not (self._notes or self._unsent or is_left)

    def _write(self, *, stopping: bool = False) -> bool:
        """Write once, and return whether anything was written."""
        outlet = self._outlet
        if outlet is None:
            return False
        try:
            if not outlet.wait(0) or (stops_writers(outlet.fd) and not stopping):
                return False
            if not self._unsent:
                self._compose(outlet)
            written = outlet.write(self._unsent)
        except (OSError, ValueError, termios.error):
            self._give_up(outlet)
            return False
        self._unsent = self._unsent[written:]
        while not self._unsent and self._unsent_notes:
            self._notes.popleft()
            self._unsent_notes -= 1
        return written > 0

    def _compose(self, outlet: Outlet) -> None:
        """Put together what makes the screen show what it should."""
        is_ours = in_foreground(outlet.fd)
        frame = self._frame if is_ours else ()
        if not is_ours:  # another job's output stands below what was drawn
            self._drawn = ()
            self._wipes = False
        if not (self._notes or self._wipes or frame != self._drawn):
            return
        erasure = _ERASE_BELOW if self._wipes else ""
        if self._drawn:
            # a window that became narrower shows a line in several rows
            columns = window_of(outlet.stream)[0] or max(line.width for line in self._drawn) or 1
            rows = sum(max(1, math.ceil(line.width / columns)) for line in self._drawn)
            erasure = f"\x1b[{rows}A{_ERASE_BELOW}"
        # other threads may append meanwhile
        notes = [self._notes[place] for place in range(len(self._notes))]
        self._wipes = False
        self._drawn = frame
        lines = [*notes, *(line.text for line in frame)]
        self._unsent = outlet.encode(erasure + "".join(f"{line}\n" for line in lines))
        self._unsent_notes = len(notes)

    def _forget(self) -> None:
        """Take nothing as drawn, and notes that weren't written whole as not written."""
        self._drawn = ()
        self._unsent = b""
        self._unsent_notes = 0

    def _give_up(self, outlet: Outlet) -> None:
        """Let go of a stream that is full, broken or gone; what couldn't be written is lost."""
        let_go_of(outlet.stream)
        self._outlet = None
        self._wipes = False
        self._forget()
        self._notes.clear()
