"""Tables for a screen, drawn by rich. Text is data: it is never read as markup."""

import io
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clc_reset.ui.output import USUAL_SIZE, break_line, is_terminal, size_of

NARROWEST_CELL = 24
"""Columns; with less room for the wide cell, it goes below the others."""
MOST_FRAMED = 4
"""Columns of a table which keeps its frame, or is none; one with more gives up its frame first."""

_SHADES = {"green": "color(28)", "red": "color(160)", "yellow": "color(130)"}
"""The same where a terminal has 256 colours: these can be read on white and on black."""
_COLOURS = {"queued": "green", "succeeded": "green", "failed": "red"}
_STATE = "State"
_NO_LIMIT = 10_000
_BORDER = 3
"""Columns that the border and the padding of a column take; one border more ends the line."""
_GAP = 2
"""Columns between two without a frame."""


def draw(titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO) -> str:
    """Lay out a table in which all but the cells below the title `wide` stay on one line.

    Off a terminal it is as wide as it needs to be, unless COLUMNS says otherwise.
    """
    on_terminal = is_terminal(stream)
    usual = USUAL_SIZE if on_terminal else (_NO_LIMIT, USUAL_SIZE[1])
    width, height = size_of(stream, usual)
    page = _Page(stream.encoding or "utf-8")
    console = Console(
        file=page,
        force_terminal=on_terminal,  # FORCE_COLOR would make rich believe in one
        width=width,
        height=height,
        highlight=False,
        emoji=False,  # a table of 3,600 names that nothing here means
    )
    cells = [[page.escaped(cell) for cell in row] for row in rows]
    folding = list(titles).index(wide)
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    room = width - sum(widths) + widths[folding]
    framed = room - _BORDER * len(titles) - 1
    unframed = room - _GAP * (len(titles) - 1)
    if framed >= min(widths[folding], NARROWEST_CELL) and framed >= _longest(
        titles, cells, folding
    ):
        console.print(_table(titles, cells, folding, min(framed, widths[folding]), console))
    elif len(titles) > MOST_FRAMED and unframed >= _longest(titles, cells, folding):
        table = _table(titles, cells, folding, min(unframed, widths[folding]), console)
        table.box = None
        table.pad_edge = False
        table.padding = (0, _GAP, 0, 0)
        console.print(table)
    else:
        for row in cells:
            _stack(titles, row, folding, console)
    return page.getvalue()


def colour_of(state: str, console: Console) -> str:
    """The colour of a state, which its word tells as well."""
    colour = _COLOURS.get(state, "yellow")
    return _SHADES[colour] if console.color_system in {"256", "truecolor"} else colour


class _Page(io.StringIO):
    """Text in memory, with the encoding of the screen that it is for."""

    encoding = ""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.encoding = encoding

    def escaped(self, text: str) -> str:
        """The text as wide as it will be on the screen."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


def _longest(titles: Sequence[str], rows: Sequence[Sequence[str]], folding: int) -> int:
    """The longest word of the wide column, which stays whole."""
    texts = [titles[folding], *(row[folding] for row in rows)]
    return max(cell_len(part) for text in texts for part in break_line(text, 1))


def _table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    folding: int,
    width: int,
    console: Console,
) -> Table:
    table = Table(box=box.ROUNDED)
    for column, title in enumerate(titles):
        if column == folding:
            table.add_column(title, overflow="fold", width=width)
        else:
            table.add_column(title, no_wrap=True)
    for row in rows:
        cells = list(row)
        cells[folding] = "\n".join(break_line(cells[folding], width))
        table.add_row(*_coloured(titles, cells, console))
    return table


def _stack(titles: Sequence[str], row: Sequence[str], folding: int, console: Console) -> None:
    cells = list(
        _coloured(titles, [_told(*each) for each in zip(titles, row, strict=True)], console)
    )
    below = cells.pop(folding)
    line = cells[0]
    room = console.width - len(line)
    for cell in filter(None, cells[1:]):
        room -= 2 + len(cell)
        line.append("  " if room >= 0 else "\n  ")
        line.append_text(cell)
        room = room if room >= 0 else console.width - 2 - len(cell)
    console.print(line, soft_wrap=True)
    for part in break_line(below.plain, console.width - 2) if below else ():
        console.print(Padding(Text(part, overflow="fold"), (0, 0, 0, 2), expand=False))


def _told(title: str, cell: str) -> str:
    """A cell that says something without its title."""
    return f"{title} {cell}" if cell in {"yes", "no"} else cell


def _coloured(titles: Sequence[str], cells: Sequence[str], console: Console) -> Iterator[Text]:
    for title, cell in zip(titles, cells, strict=True):
        yield Text(cell, colour_of(cell, console) if title == _STATE else "")
