"""Progress on a terminal that can move its cursor: drawn again and again, and gone at the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO, Unpack

from rich.console import Console
from rich.live import Live as Display
from rich.text import Text

from clc_reset.models import Operation, OperationStatus, ServerResult
from clc_reset.text import count, printable
from clc_reset.ui.output import let_go_of, size_of, write_whole
from clc_reset.ui.progress import Manner, Notes, counted, word_of
from clc_reset.ui.table import colour_of

REDRAW_SECONDS = 0.1
"""Between two drawings of changes; a tick always draws."""
SHORTEST_SENDING = 1.0
"""Seconds that a request is out before it is spoken of."""
ROOM_BELOW = 2
"""Lines of the screen that rows leave free."""
ROOM_BESIDE = 2
"""Columns that lines leave free: a terminal shows Ctrl-C as `^C` there, and wraps no line."""
NARROWEST_NAMES = 4
LONGEST_BAR = 40

_ERASE = "\r\x1b[2K"


class Live(Notes):
    """A row an operation while they fit, else one bar with counts.

    `note` says what is worth a note, above the display if it uses `say`. Nothing is drawn before
    there is something to show, and nothing is left on the screen after `close`.
    """

    def __init__(
        self, stream: TextIO, note: Callable[[str], None], **manner: Unpack[Manner]
    ) -> None:
        super().__init__(note, **manner)
        self._stream = stream
        self._screen = _Screen(stream)
        self._console = Console(
            file=self._screen,  # type: ignore[arg-type] # all of a file that rich uses
            force_terminal=True,
            highlight=False,
            emoji=False,
        )
        self._display: Display | None = None
        self._wave = ""
        self._line = ""
        self._rows: dict[Operation, _Row] = {}
        self._words: Counter[str] = Counter()
        self._seconds = 0.0
        self._drawn_at = float("-inf")
        self._is_clean = False

    def sending(self, servers: Sequence[str], seconds: float) -> None:
        """Show how long the request has been out, from one second on."""
        if seconds >= SHORTEST_SENDING:
            these = servers[0] if len(servers) == 1 else count(len(servers), "server")
            self._show(f"Sending the reset of {these} … ({seconds:.0f} s)")

    def answered(self, results: Sequence[ServerResult]) -> None:
        """Say what was refused; the request isn't out any more."""
        self._line = ""
        super().answered(results)
        self._draw(at_once=True)

    def following(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """Show these operations from now on."""
        super().following(servers)
        self._rows = {each: _Row(names) for each, names in servers.items()}
        self._words = Counter({"queued": len(servers)})
        self._seconds = 0.0
        self._show("")

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """Show another status."""
        self._seconds = seconds
        row = self._rows.get(operation)
        if row is None:
            return
        self._words[row.word] -= 1
        row.word = word_of(status, verbose=self._verbose)
        row.ended_at = seconds if status.is_final else None
        row.state = status.word.lower()
        self._words[row.word] += 1
        self._draw()

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        """Show how many servers of a shared operation have changed."""
        del server
        self._seconds = seconds
        if operation in self._rows:
            self._rows[operation].changed = (changed, of)
            self._draw()

    def tick(self, seconds: float) -> None:
        """Show the time."""
        self._seconds = seconds
        self._draw(at_once=True)

    def wave(self, number: int, of: int, servers: Sequence[str]) -> None:
        """Show which wave it is."""
        self._wave = f"Wave {number:,} of {of:,}: {counted(servers)}"
        self._rows = {}
        self._show("")

    def pausing(self, seconds_left: float) -> None:
        """Show how long it is to the next wave."""
        self._rows = {}
        self._show(f"The next wave begins in {seconds_left:.0f} s")

    def checking(self, server: str, tries: int) -> None:
        """Show which check is tried."""
        self._rows = {}
        self._show(f"Checking {server}" + (f" (try {tries:,})" if tries > 1 else ""))

    def say(self, text: str) -> None:
        """Print lines above the display."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Take it from the screen, with the `^C` that a terminal may have shown beside it.

        What begins later is shown again.
        """
        self._wave = self._line = ""
        self._rows = {}
        self._clear()
        if not self._is_clean:
            self._is_clean = True
            self._screen.write(_ERASE)

    def _show(self, line: str) -> None:
        self._line = line
        self._draw(at_once=True)

    def _draw(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if not (at_once or now - self._drawn_at >= REDRAW_SECONDS):
            return
        self._drawn_at = now
        if not (self._wave or self._line or self._rows):
            self._clear()
            return
        self._is_clean = False
        columns, lines = size_of(self._stream)
        self._console.size = (max(1, columns - ROOM_BESIDE), lines)
        if self._display is None:
            self._display = Display(
                console=self._console,
                get_renderable=self._render,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._display.start()
        self._display.refresh()

    def _clear(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _render(self) -> Text:
        width, height = self._console.size
        lines = [Text(printable(each)) for each in (self._wave, self._line) if each]
        rows = self._body(width, height - ROOM_BELOW - len(lines)) if self._rows else []
        return Text("\n", no_wrap=True).join([*lines, *rows])

    def _body(self, width: int, room: int) -> list[Text]:
        if len(self._rows) <= room:
            rows = list(self._lay_out(width))
            if len(rows) <= room:  # a row takes two lines where the screen is narrow
                return rows
        return list(self._bar(width))

    def _lay_out(self, width: int) -> Iterator[Text]:
        ids = {each: printable(each.id) for each in self._rows}
        times = {each: self._time(row) for each, row in self._rows.items()}
        id_width = max(map(len, ids.values()))
        word_width = max(len(row.word) for row in self._rows.values())
        time_width = max(map(len, times.values()))
        room = max(NARROWEST_NAMES, width - id_width - word_width - time_width - 6)
        names = {each: self._names(row, room) for each, row in self._rows.items()}
        name_width = max(map(len, names.values()))
        for operation, row in self._rows.items():
            yield Text.assemble(
                names[operation].ljust(name_width) + "  " if name_width else "",
                ids[operation].ljust(id_width) + "  ",
                (row.word.ljust(word_width), colour_of(row.state, self._console)),
                "  " + times[operation].rjust(time_width),
            )
            if row.changed and names[operation] != row.told:
                yield Text(f"  {row.told}")

    def _time(self, row: "_Row") -> str:
        return f"{self._seconds if row.ended_at is None else row.ended_at:.0f} s"

    def _names(self, row: "_Row", room: int) -> str:
        """What is said of an operation's servers: the names give way, a number doesn't."""
        if row.changed and len(row.told) <= room:
            return row.told
        number = count(len(row.servers), "server")
        if not row.servers or len(text := counted(row.servers)) <= room:
            return text if row.servers else ""
        if len(row.servers) > 1 and room < len(number) + 2 + NARROWEST_NAMES:
            return number if len(number) <= room else f"{len(row.servers):,}"
        return text[: room - len(self._screen.dots)] + self._screen.dots

    def _bar(self, width: int) -> Iterator[Text]:
        total = len(self._rows)
        done = sum(row.ended_at is not None for row in self._rows.values())
        length = min(LONGEST_BAR, width - 2)
        filled = length * done // total
        yield Text(f"[{'#' * filled}{'.' * (length - filled)}]")
        yield Text(f"{done:,} of {count(total, 'operation')} done, {self._seconds:.0f} s")
        words = (f"{number:,} {word}" for word, number in self._words.most_common(4) if number > 0)
        yield Text(", ".join(words))
        looked_at = [row.changed for row in self._rows.values() if row.changed]
        if looked_at:
            changed, of = (sum(each) for each in zip(*looked_at, strict=True))
            yield Text(f"{changed:,} of {count(of, 'server')} changed")


class _Row:
    """What is shown of one operation."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = servers
        self.word = "queued"
        self.state = ""
        self.ended_at: float | None = None
        self.changed: tuple[int, int] | None = None

    @property
    def told(self) -> str:
        """How many servers have changed."""
        changed, of = self.changed or (0, 0)
        return f"{changed:,} of {count(of, 'server')} changed"


class _Screen:
    """A terminal that may be gone: what can't be written then is lost, and no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"
        self.dots = "…" if self.encoding.lower().startswith("utf") else "..."

    def write(self, text: str) -> None:
        try:
            write_whole(self._stream, text)
        except (OSError, ValueError):
            let_go_of(self._stream)

    def flush(self) -> None:
        """Do nothing: all is written at once."""
