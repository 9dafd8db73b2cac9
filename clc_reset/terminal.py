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
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clc_reset.models import Operation, OperationStatus, printable
from clc_reset.wording import count, enumerate_names

NARROWEST_MESSAGE = 24
"""Columns; with less room for it, the message goes below its server."""

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
_FRAME = 13
"""Columns that the borders and the padding of four columns take."""


def draw(header: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """Draw servers, states, operations and messages; all but messages stay whole and on one line.

    Off a terminal a table is as wide as it needs to be, unless COLUMNS says otherwise.
    """
    on_terminal = stream.isatty()
    width, height = shutil.get_terminal_size((80, 25) if on_terminal else (_NO_LIMIT, 25))
    console = _Console(
        file=stream,
        force_terminal=on_terminal,  # FORCE_COLOR would make rich believe in one
        width=width,
        height=height,
        highlight=False,
    )
    fixed = [max(len(row[column]) for row in (header, *rows)) for column in range(3)]
    longest = max(len(row[3]) for row in (header, *rows))
    if sum(fixed) + _FRAME + min(longest, NARROWEST_MESSAGE) <= width:
        console.print(_table(header, rows))
    else:
        _stack(rows, console)


class _Console(Console):
    """A console whose closed pipe is an error like any other; rich's ends the process with 1."""

    def on_broken_pipe(self) -> None:
        """Let the error, which is being handled, go on."""
        raise  # noqa: PLE0704


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.ROUNDED)
    for title in header[:3]:
        table.add_column(title, no_wrap=True)
    table.add_column(header[3], overflow="fold")
    for row in rows:
        server, state, operation, message = (Text(cell) for cell in row)
        state.stylize(_colour(row[1]))
        table.add_row(server, state, operation, message)
    return table


def _stack(rows: Sequence[Sequence[str]], console: Console) -> None:
    for server, state, operation, message in rows:
        line = Text.assemble(server, "  ", (state, _colour(state)))
        if operation:
            fits = len(line) + 2 + len(operation) <= console.width
            line.append(f"  {operation}" if fits else f"\n  {operation}")
        console.print(line, soft_wrap=True)
        if message:
            console.print(Padding(Text(message, overflow="fold"), (0, 0, 0, 2)))


def _colour(state: str) -> str:
    return _COLOURS.get(state, _OTHERWISE)


class LiveProgress:
    """Progress on a terminal: a row an operation while they fit, one bar with counts beyond.

    `servers` names the servers of each operation. When it ends it leaves nothing on the screen.
    """

    def __init__(self, stream: TextIO, servers: Mapping[Operation, Sequence[str]]) -> None:
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
