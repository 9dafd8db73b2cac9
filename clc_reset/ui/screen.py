"""Standard error, never waited for: notes, and below them the lines of a live display.

What can't be written now, since the terminal is stopped or the pipe full, is kept; of a display
only what is to be shown last.
"""

import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from clc_reset.terminal import in_foreground, stops_writers
from clc_reset.ui.outlet import Outlet, let_go_of, window_of


class Line(NamedTuple):
    """A line of a live display, with escape sequences that set colours, and its width on screen."""

    text: str
    width: int


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
        self._unsent_notes: list[str] = []  # those in `_unsent`
        self._stops = False

    def note(self, text: str) -> None:
        """Write lines, above the display."""
        if self._outlet is not None:
            self._notes.append(text)
            self._update()

    def show(self, frame: Sequence[Line]) -> None:
        """Show these lines from now on; what a terminal shows behind them (`^C`) goes with them."""
        self._frame = frame
        self._update()

    def flush(self, seconds: float) -> bool:
        """Wait so many seconds for all to be written, or erased; return whether it is.

        In the background of a terminal with `stty tostop` this stops the process, as any output
        does there.
        """
        deadline = time.monotonic() + seconds
        while True:
            self._write_all()
            is_left = self._notes or self._unsent or (self._drawn and not self._frame)
            left = deadline - time.monotonic()
            if not is_left or self._outlet is None:
                return True
            if left <= 0 or not self._outlet.wait(left):
                return False

    def leave(self) -> bool:
        """Erase the display; False if a thread is writing, which then raises SIGTSTP again."""
        if not self._lock.acquire(blocking=False):
            self._stops = True
            return False
        frame, self._frame = self._frame, ()
        try:
            while self._may_write() and self._write():
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
        self._update()

    def _may_write(self) -> bool:
        """Return whether there is a file, and writing wouldn't stop this process."""
        return self._outlet is not None and not stops_writers(self._outlet.fd)

    def _update(self) -> None:
        if self._may_write():
            self._write_all()

    def _write_all(self) -> None:
        """Write until nothing more is taken, and what other threads leave meanwhile."""
        while self._lock.acquire(blocking=False):
            notes = len(self._notes)
            try:
                has_written = self._write()
            finally:
                self._lock.release()
            if self._stops:
                self._stops = False
                os.kill(os.getpid(), signal.SIGTSTP)
            # another thread may have left a note before the lock was released
            if not has_written and len(self._notes) <= notes:
                break

    def _write(self) -> bool:
        """Write once, and return whether anything was written."""
        outlet = self._outlet
        if outlet is None:
            return False
        try:
            if not outlet.wait(0):
                return False
            if not self._unsent:
                self._compose(outlet)
            written = outlet.write(self._unsent)
        except (OSError, ValueError):
            self._give_up(outlet)
            return False
        self._unsent = self._unsent[written:]
        return written > 0

    def _compose(self, outlet: Outlet) -> None:
        """Put together what makes the screen show what it should."""
        frame = self._frame
        if not in_foreground(outlet.fd):  # another job's output stands below what was drawn
            frame = self._drawn = ()
        if not self._notes and frame == self._drawn:
            return
        erasure = ""
        if self._drawn:
            # a window that became narrower shows a line in several rows
            columns = window_of(outlet.stream)[0] or max(line.width for line in self._drawn) or 1
            rows = sum(max(1, math.ceil(line.width / columns)) for line in self._drawn)
            # tmux keeps in its history what is erased from the first column of its first row
            erasure = f"\x1b[{rows}A\r\x1b[K\n\x1b[J\x1b[1A"
        self._drawn = frame
        self._unsent_notes = [self._notes.popleft() for _ in range(len(self._notes))]
        lines = [*self._unsent_notes, *(line.text for line in frame)]
        self._unsent = outlet.encode(erasure + "".join(f"{line}\n" for line in lines))

    def _forget(self) -> None:
        """Take nothing as drawn, and notes that weren't written whole as not written."""
        if self._unsent:
            self._notes.extendleft(reversed(self._unsent_notes))
        self._unsent = b""
        self._drawn = ()

    def _give_up(self, outlet: Outlet) -> None:
        """Let go of a stream that is full, broken or gone; what couldn't be written is lost."""
        let_go_of(outlet.stream)
        self._outlet = None
        self._forget()
        self._notes.clear()
