"""Tables and live progress for a screen. The only door to rich.

Text is data: it goes in as `Text`, which is never read as markup.
"""

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clc_reset.models import Operation, OperationStatus, printable
from clc_reset.wording import count, enumerate_names

NARROWEST_CELL = 24
"""Columns; with less room for the wide cell, it goes below the others."""

REFRESHES_PER_SECOND = 4
SERVERS_IN_A_ROW = 3
ROOM_BELOW = 2
"""Lines of the screen that rows of progress leave free."""
ROOM_BETWEEN = 6
NARROWEST_NAMES = 4
LONGEST_BAR = 40

_COLOURS = {"queued": "green", "succeeded": "green", "failed": "red"}
_OTHERWISE = "yellow"
_NO_LIMIT = 10_000
_STATE = "State"
_FRAME = 3
"""Columns that the border and the padding of a column take; one border more ends the line."""


def draw(titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO) -> None:
    """Draw a table in which all but the cells below the title `wide` stay whole and on one line.

    Off a terminal it is as wide as it needs to be, unless COLUMNS says otherwise.
    """
    on_terminal = stream.isatty()
    width, height = shutil.get_terminal_size((80, 25) if on_terminal else (_NO_LIMIT, 25))
    console = _Console(
        file=stream,
        force_terminal=on_terminal,  # FORCE_COLOR would make rich believe in one
        width=width,
        height=height,
        highlight=False,
        emoji=False,  # a table of 3,600 names that nothing here means
    )
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    folding = titles.index(wide)
    widths[folding] = min(widths[folding], NARROWEST_CELL)
    if sum(widths) + _FRAME * len(titles) + 1 <= width:
        console.print(_table(titles, rows, folding))
    else:
        _stack(titles, rows, folding, console)


class _Console(Console):
    """A console whose closed pipe is an error like any other; rich's ends the process with 1."""

    def on_broken_pipe(self) -> None:
        """Let the error, which is being handled, go on."""
        raise  # noqa: PLE0704


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], folding: int) -> Table:
    table = Table(box=box.ROUNDED)
    for column, title in enumerate(titles):
        if column == folding:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*_cells(titles, row))
    return table


def _stack(
    titles: Sequence[str], rows: Sequence[Sequence[str]], folding: int, console: Console
) -> None:
    for row in rows:
        cells = _cells(titles, row)
        below = cells.pop(folding)
        line = cells[0]
        room = console.width - len(line)
        for cell in filter(None, cells[1:]):
            room -= 2 + len(cell)
            line.append("  " if room >= 0 else "\n  ")
            line.append_text(cell)
            room = room if room >= 0 else console.width - 2 - len(cell)
        console.print(line, soft_wrap=True)
        if below:
            below.overflow = "fold"
            console.print(Padding(below, (0, 0, 0, 2)))


def _cells(titles: Sequence[str], row: Sequence[str]) -> list[Text]:
    return [
        Text(cell, _colour(cell) if title == _STATE else "")
        for title, cell in zip(titles, row, strict=True)
    ]


def _colour(state: str) -> str:
    return _COLOURS.get(state, _OTHERWISE)


class LiveProgress:
    """Progress on a terminal: a row an operation while they fit, one bar with counts beyond.

    `servers` names the servers of each operation. When it ends it leaves nothing on the screen.
    """

    def __init__(self, stream: TextIO, servers: Mapping[Operation, Sequence[str]]) -> None:
        from rich.live import Live  # noqa: PLC0415 - a table alone doesn't need it

        self._names = {
            operation: printable(enumerate_names(names, SERVERS_IN_A_ROW))
            for operation, names in servers.items()
        }
        self._statuses: dict[Operation, OperationStatus | None] = dict.fromkeys(servers)
        self._words = Counter({"queued": len(servers)})
        self._done = 0
        self._began = time.monotonic()
        self._console = Console(
            file=_Forgiving(stream),  # type: ignore[arg-type]
            force_terminal=True,
            highlight=False,
            emoji=False,
        )
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Show it, or leave no trace where a signal comes in between."""
        try:
            self._live.start()
        except BaseException:
            self._live.stop()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        """Take it from the screen."""
        self._live.stop()

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:  # noqa: ARG002
        """Show another status at the next refresh."""
        before = self._statuses[operation]
        self._statuses[operation] = status
        words = {each: Counter([_word(each)]) for each in (before, status)}
        self._words = self._words - words[before] + words[status]
        self._done += status.is_final

    def tick(self, seconds: float) -> None:
        """Do nothing: the display has a clock of its own."""

    def say(self, text: str) -> None:
        """Print lines above the display."""
        self._console.print(Text(text), soft_wrap=True)

    def _render(self) -> Table:
        seconds = f"{time.monotonic() - self._began:.0f} s"
        table = Table.grid(padding=(0, 2), expand=False)
        if len(self._statuses) > self._console.height - ROOM_BELOW:
            self._add_bar(table, seconds)
        else:
            self._add_rows(table, seconds)
        return table

    def _add_rows(self, table: Table, seconds: str) -> None:
        words = {each: _word(status) for each, status in self._statuses.items()}
        ids = {each: printable(each.id) for each in words}
        fixed = max(map(len, words.values())) + max(map(len, ids.values())) + len(seconds)
        room = max(NARROWEST_NAMES, self._console.width - fixed - ROOM_BETWEEN)
        for _ in range(4):
            table.add_column(no_wrap=True)
        for operation, status in self._statuses.items():
            names = Text(self._names[operation])
            names.truncate(room, overflow="ellipsis")  # the names give way, nothing else
            word = Text(words[operation], _status_colour(status))
            elapsed = "" if status and status.is_final else seconds
            table.add_row(names, Text(ids[operation]), word, elapsed)

    def _add_bar(self, table: Table, seconds: str) -> None:
        from rich.progress_bar import ProgressBar  # noqa: PLC0415 - few need one

        total = len(self._statuses)
        words = ", ".join(f"{number:,} {word}" for word, number in self._words.most_common(4))
        table.add_row(
            ProgressBar(total, self._done, width=min(LONGEST_BAR, self._console.width // 3)),
            Text(f"{self._done:,} of {count(total, 'operation')} done, {seconds}"),
        )
        table.add_row("", Text(words))


class _Forgiving:
    """A stream whose terminal may be gone: what can't be written then is lost, and no more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _word(status: OperationStatus | None) -> str:
    return printable(status.word) if status else "queued"


def _status_colour(status: OperationStatus | None) -> str:
    if status is None or not status.is_final:
        return _OTHERWISE
    return "green" if status.has_succeeded else "red"
