"""Progress on a terminal that can move its cursor: drawn again and again, and gone at the end.

rich lays out and colours the lines; `screen` decides whether they are drawn, and draws them. There
is no thread: each event is an occasion to draw. The cursor is never hidden.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.segment import Segment, Segments
from rich.text import Text

from clc_reset.models import Operation, OperationStatus
from clc_reset.resets import events
from clc_reset.terminal import Suspensions
from clc_reset.text import count, printable
from clc_reset.ui.progress import Notes, counted, wave_line, word_of
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
_GAP = 2
_STATUSES_COUNTED = 4


class Live(Notes):
    """Shows a row an operation while they fit, else one bar with counts.

    Nothing is drawn before there is something to show, and nothing is left after `close`.
    """

    def __init__(
        self, streams: Streams, *, verbose: bool = False, tells_refusals: bool = True
    ) -> None:
        super().__init__(streams.note, verbose=verbose, tells_refusals=tells_refusals)
        self._streams = streams
        self._page = Page((streams.stderr and streams.stderr.encoding) or "utf-8")
        self._dots = "…" if self._page.escaped("…") == "…" else "..."
        self._console = console_on(self._page, is_terminal=True)
        self._suspensions = Suspensions(streams.screen.leave, streams.screen.resume)
        self._wave = ""
        self._line = ""
        self._rows: dict[Operation, _Row] = {}
        self._changed: tuple[int, int] | None = None  # of the servers whose answer was lost
        self._seconds = 0.0
        self._drawn_at = float("-inf")
        self._has_begun = False

    def __call__(self, event: events.Event) -> None:
        """Note what is worth a note, and show what is new."""
        super().__call__(event)
        if not self._has_begun:
            self._has_begun = True
            self._suspensions.begin()
        match event:
            case events.StatusChanged(operation, status, seconds):
                self._seconds = seconds
                if operation in self._rows:
                    self._rows[operation].update(status, seconds, verbose=self._verbose)
                    self._draw()
            case events.ServerChanged():
                self._server_changed(event)
            case events.Tick(seconds):
                self._seconds = seconds
                self._draw(at_once=True)
            case _:
                self._begin_phase(event)

    def close(self) -> None:
        """Take the display off the screen, and the `^C` that a terminal may show beside it."""
        if self._has_begun:
            self._has_begun = False
            self._streams.screen.wipe()
            self._suspensions.end()

    # --- events ----------------------------------------------------------------------------------

    def _server_changed(self, event: events.ServerChanged) -> None:
        self._seconds = event.seconds
        if event.operation is None:
            self._changed = (event.changed, event.of)
        elif event.operation in self._rows:
            self._rows[event.operation].changed = (event.changed, event.of)
        self._draw()

    def _begin_phase(self, event: events.Event) -> None:
        """Show operations, or a phase in which none is followed, in one line."""
        match event:
            case events.Following(servers):
                self._seconds = 0.0
                self._show("", {operation: _Row(names) for operation, names in servers.items()})
            case events.Sending(servers, seconds) if seconds >= SHORTEST_SENDING:
                these = servers[0] if len(servers) == 1 else count(len(servers), "server")
                self._show(f"Sending the reset of {these} ({seconds:.0f} s)")
            case events.Answered():
                self._show("")
            case events.WaveStarted(servers=servers):
                self._wave = f"{wave_line(event)}: {counted(servers)}"
                self._show("")
            case events.Pausing(seconds_left):
                self._show(f"The next wave begins in {seconds_left:.0f} s")
            case events.Checking(server, attempt):
                more = f" (attempt {attempt:,})" if attempt > 1 else ""
                self._show(f"Checking {server}{more}")
            case _:
                pass

    def _show(self, line: str, rows: "dict[Operation, _Row] | None" = None) -> None:
        """Show a line and rows in place of those before."""
        self._line = line
        self._rows = rows or {}
        self._changed = None
        self._draw(at_once=True)

    # --- drawing ---------------------------------------------------------------------------------

    def _draw(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._drawn_at >= REDRAW_SECONDS:
            self._drawn_at = now
            self._console.size = size_of(self._streams.stderr)
            self._streams.screen.show(self._frame())

    def _frame(self) -> list[Line]:
        """Return the lines that show what is known, none wider than the window."""
        changed = f"{_changed(self._changed)} ({self._seconds:.0f} s)" if self._changed else ""
        lines: list[RenderableType] = [
            self._text(line) for line in (self._wave, self._line, changed) if line
        ]
        if self._rows:
            lines += self._body(self._console.height - ROOM_BELOW - len(lines))
        options = self._console.options.update(no_wrap=True, overflow="crop")
        frame = []
        for renderable in lines:  # a bar without colours takes no line before anything is done
            for segments in self._console.render_lines(renderable, options, pad=False):
                with self._console.capture() as capture:
                    self._console.print(Segments(segments), end="")
                frame.append(Line(capture.get(), Segment.get_line_length(segments)))
        return frame

    def _body(self, room: int) -> Sequence[RenderableType]:
        if len(self._rows) <= room:
            lines = self._table()
            if len(lines) <= room:  # a row takes two lines where the screen is narrow
                return lines
        return self._bar()

    def _table(self) -> list[Text]:
        """Return a line a row. Names give way where the screen is narrow, evidence goes below."""
        width = self._console.width
        rows = self._rows.values()
        ids = _column([self._printed(operation.id) for operation in self._rows])
        statuses = _column([self._printed(row.word) for row in rows])
        seconds = [self._seconds if row.ended_at is None else row.ended_at for row in rows]
        times = [f"{number:.0f} s" for number in seconds]
        longest_time = max(map(len, times))
        changes = [_changed(row.changed) if row.changed else "" for row in rows]
        room = width - cell_len(ids[0]) - cell_len(statuses[0]) - longest_time - 3 * _GAP
        wanted = max(cell_len(self._names(row.servers, width)) for row in rows)
        fits = room - _GAP - max(map(len, changes)) >= wanted
        names = _column([self._names(row.servers, max(NARROWEST_NAMES, room)) for row in rows])
        gap = " " * _GAP
        lines = []
        cells = zip(rows, names, ids, statuses, times, changes, strict=True)
        for row, name, operation_id, status, time_, changed in cells:
            line = Text.assemble(
                f"{name}{gap}" if name else "",
                f"{operation_id}{gap}",
                (status, colour_of(row.state, self._console)),
                f"{gap}{time_:>{longest_time}}",
            )
            lines.append(line)
            if changed and fits:
                line.append(f"{gap}{changed}")
            elif changed:
                lines.append(Text(f"{gap}{changed}"))
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

    def _text(self, line: str) -> Text:
        return Text(self._printed(line))

    def _bar(self) -> list[RenderableType]:
        """Return a bar, and below it the numbers of operations with the most common statuses."""
        rows = self._rows.values()
        done = sum(row.ended_at is not None for row in rows)
        statuses = Counter(row.word for row in rows).most_common(_STATUSES_COUNTED)
        changes = [row.changed for row in rows if row.changed]
        lines = [
            f"{done:,} of {count(len(rows), 'operation')} done, {self._seconds:.0f} s",
            ", ".join(f"{number:,} {word}" for word, number in statuses),
        ]
        if changes:
            changed, of = (sum(numbers) for numbers in zip(*changes, strict=True))
            lines.append(_changed((changed, of)))
        width = min(LONGEST_BAR, self._console.width)
        bar = ProgressBar(total=len(rows), completed=done, width=width)
        return [bar, *map(self._text, lines)]


@dataclass
class _Row:
    """One operation: its servers, its status, and how many of the servers have changed."""

    servers: Sequence[str]
    word: str = "queued"
    state: str = ""
    ended_at: float | None = None
    changed: tuple[int, int] | None = None

    def update(self, status: OperationStatus, seconds: float, *, verbose: bool) -> None:
        """Take a new status, in plain words or in the API's."""
        self.word = word_of(status, verbose=verbose)
        self.state = status.word.lower()
        self.ended_at = seconds if status.is_final else None


def _changed(numbers: tuple[int, int]) -> str:
    changed, of = numbers
    return f"{changed:,} of {count(of, 'server')} changed"


def _column(cells: Sequence[str]) -> list[str]:
    """Make all cells as wide as the widest."""
    width = max(map(cell_len, cells))
    return [set_cell_size(cell, width) for cell in cells]
