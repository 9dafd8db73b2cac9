"""Progress on a terminal that can move its cursor: drawn again and again, and gone at the end.

rich colours the lines; `screen` decides whether they are drawn, and draws them. There is no thread:
each event is an occasion to draw. The cursor is never hidden.
"""

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.progress_bar import ProgressBar
from rich.text import Text

from clc_reset.models import Operation, OperationStatus
from clc_reset.resets import events
from clc_reset.terminal import suspensions
from clc_reset.text import count, printable
from clc_reset.ui.progress import QUEUED, Notes, counted, wave_line
from clc_reset.ui.screen import Line
from clc_reset.ui.streams import Streams, size_of
from clc_reset.ui.table import Page, colour_of, console_on

REDRAW_SECONDS = 0.1
"""Between two drawings of changes; a tick always draws."""
SHORTEST_SENDING = 1.0
"""Seconds that a request is out before it is shown."""
ROOM_BELOW = 2
"""Lines of the screen that rows leave free; the cursor stands in the first of them."""
NARROWEST_NAMES = 4
LONGEST_BAR = 40
_GAP = "  "
_STATUSES_COUNTED = 4


@dataclass
class _Row:
    """One operation: its servers, its status, and how many of the servers have changed."""

    servers: Sequence[str]
    status: OperationStatus = QUEUED
    ended_at: float | None = None
    changed: tuple[int, int] | None = None


@contextmanager
def live(streams: Streams, *, verbose: bool = False) -> Generator["Live"]:
    """Show events; take the display off the screen at the end, and for Ctrl-Z.

    For the main thread only.
    """
    with suspensions(streams.screen.leave, streams.screen.resume):
        try:
            yield Live(streams, verbose=verbose)
        finally:
            streams.screen.show(())


class Live(Notes):
    """Shows a row an operation while they fit, else one bar with counts.

    It is never empty after an event: the `^C` that a terminal shows behind it goes with it.
    """

    def __init__(self, streams: Streams, *, verbose: bool = False) -> None:
        super().__init__(streams.note, verbose=verbose)
        self._streams = streams
        self._page = Page((streams.stderr and streams.stderr.encoding) or "utf-8")
        self._dots = "…" if self._page.escaped("…") == "…" else "..."
        self._console = console_on(self._page, is_terminal=True)
        self._wave = ""
        self._line = ""
        self._rows: dict[Operation, _Row] = {}
        self._changed: tuple[int, int] | None = None  # of the servers whose answer was lost
        self._seconds = 0.0
        self._drawn_at = float("-inf")

    def __call__(self, event: events.Event) -> None:
        """Show what is new: operations, or a phase in which none is followed in one line."""
        super().__call__(event)
        match event:
            case events.StatusChanged(operation, status, seconds):
                self._seconds = seconds
                if row := self._rows.get(operation):
                    row.status = status
                    row.ended_at = seconds if status.is_final else None
                self._draw()
            case events.ServerChanged(operation, _, changed, of, seconds):
                self._seconds = seconds
                if operation is None:
                    self._changed = (changed, of)
                elif operation in self._rows:
                    self._rows[operation].changed = (changed, of)
                self._draw()
            case events.Tick(seconds):
                self._seconds = seconds
                self._draw(at_once=True)
            case events.Following(servers):
                self._seconds = 0.0
                self._show("", servers)
            case events.WaveStarted(servers=servers):
                self._wave = f"{wave_line(event)}: {counted(servers)}"
                self._show("")
            case _:
                line = _phase(event)
                if line is not None:
                    self._show(line)

    def _show(self, line: str, servers: Mapping[Operation, Sequence[str]] | None = None) -> None:
        """Show a line and operations in place of those before."""
        self._line = line
        self._rows = {operation: _Row(names) for operation, names in (servers or {}).items()}
        self._changed = None
        self._draw(at_once=True)

    def _draw(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._drawn_at >= REDRAW_SECONDS:
            self._drawn_at = now
            self._console.size = size_of(self._streams.stderr)
            self._streams.screen.show(self._frame())

    def _frame(self) -> list[Line]:
        """Return the lines that show what is known, which fit the window with a cursor below."""
        changed = f"{_changed(self._changed)} ({self._seconds:.0f} s)" if self._changed else ""
        lines = [Text(self._printed(s)) for s in (self._wave, self._line, changed) if s]
        if self._rows:
            room = self._console.height - ROOM_BELOW - len(lines)
            # a row takes two lines where the screen is narrow
            rows = self._table() if len(self._rows) <= room else []
            lines += rows if 0 < len(rows) <= room else self._bar()
        frame = []
        for line in (lines or [Text()])[: self._console.height - 1]:
            line.truncate(self._console.width, overflow="crop")
            with self._console.capture() as capture:
                self._console.print(line, end="", soft_wrap=True)
            frame.append(Line(capture.get(), line.cell_len))
        return frame

    def _table(self) -> list[Text]:
        """Return a line a row. Names give way where the screen is narrow, evidence goes below."""
        rows = self._rows.values()
        ids = _column([self._printed(operation.id) for operation in self._rows])
        words = _column([self._printed(self._word(row.status)) for row in rows])
        seconds = [self._seconds if row.ended_at is None else row.ended_at for row in rows]
        times = [f"{number:.0f} s" for number in seconds]
        times = [time_.rjust(max(map(len, times))) for time_ in times]
        room = self._console.width - sum(cell_len(_GAP + c[0]) for c in (ids, words, times))
        names = _column([self._names(row.servers, max(NARROWEST_NAMES, room)) for row in rows])
        changes = [_GAP + _changed(row.changed) if row.changed else "" for row in rows]
        fits = cell_len(names[0]) + max(map(len, changes)) <= room
        lines = []
        cells = zip(rows, names, ids, words, times, changes, strict=True)
        for row, name, operation_id, word, time_, changed in cells:
            line = Text(f"{name}{_GAP}" if name else "")
            line.append(f"{operation_id}{_GAP}")
            state = "" if row.ended_at is None else row.status.word.lower()
            line.append(word, colour_of(state, self._console))
            line.append(f"{_GAP}{time_}")
            lines.append(line)
            if changed and fits:
                line.append(changed)
            elif changed:
                lines.append(Text(changed))
        return lines

    def _names(self, servers: Sequence[str], room: int) -> str:
        """Return the servers of a row: their names give way to all else, their number doesn't."""
        if not servers:
            return ""
        number = count(len(servers), "server")
        text = self._printed(counted(servers))
        if cell_len(text) <= room:
            return text
        if len(servers) > 1 and room < len(number) + 2 + NARROWEST_NAMES:
            return number if len(number) <= room else f"{len(servers):,}"
        return text[: room - len(self._dots)] + self._dots

    def _printed(self, text: str) -> str:
        """Return a text as the screen will show it."""
        return self._page.escaped(printable(text).replace("…", self._dots))

    def _bar(self) -> list[Text]:
        """Return a bar, and below it the numbers of operations with the most common statuses."""
        rows = self._rows.values()
        done = sum(row.ended_at is not None for row in rows)
        width = min(LONGEST_BAR, self._console.width)
        bar = self._console.render(ProgressBar(total=len(rows), completed=done, width=width))
        statuses = Counter(self._word(row.status) for row in rows).most_common(_STATUSES_COUNTED)
        lines = [
            f"{done:,} of {count(len(rows), 'operation')} done, {self._seconds:.0f} s",
            ", ".join(f"{number:,} {word}" for word, number in statuses),
        ]
        if changes := [row.changed for row in rows if row.changed]:
            lines.append(_changed([sum(numbers) for numbers in zip(*changes, strict=True)]))
        drawn = Text.assemble(*((segment.text, segment.style or "") for segment in bar))
        # without colours there is none before anything is done
        return [drawn] * bool(drawn) + [Text(self._printed(line)) for line in lines]


def _phase(event: events.Event) -> str | None:
    """Return the line that shows what is done now, None if an event doesn't change that."""
    match event:
        case events.Sending(servers, seconds):
            if seconds < SHORTEST_SENDING:
                return ""
            these = servers[0] if len(servers) == 1 else count(len(servers), "server")
            return f"Sending the reset of {these} ({seconds:.0f} s)"
        case events.Answered():
            return ""
        case events.Pausing(seconds_left):
            return f"The next wave begins in {seconds_left:.0f} s"
        case events.Checking(server, attempt):
            more = f" (attempt {attempt:,})" if attempt > 1 else ""
            return f"Checking {server}{more}"
        case _:
            return None


def _changed(numbers: Sequence[int]) -> str:
    changed, of = numbers
    return f"{changed:,} of {count(of, 'server')} changed"


def _column(cells: Sequence[str]) -> list[str]:
    """Make all cells as wide as the widest."""
    width = max(map(cell_len, cells))
    return [set_cell_size(cell, width) for cell in cells]
