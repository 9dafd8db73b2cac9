"""Tables for a screen, drawn by rich. Text is data: it is never read as markup."""

import io
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clc_reset.ui.streams import USUAL_SIZE, break_line, is_terminal, size_of

MOST_LINES = 4
"""Lines of a cell of the wide column; where it would take more, rows are stacked."""

_SHADES = {"green": "color(28)", "red": "color(160)", "yellow": "color(130)"}
"""The same where a terminal has 256 colours: these can be read on white and on black."""
_COLOURS = {"queued": "green", "succeeded": "green", "failed": "red"}
_NO_LIMIT = 10_000
_GAP = 2
"""Columns between two."""


def draw(titles: Sequence[str], rows: Sequence[Sequence[str]], folding: int, stream: TextIO) -> str:
    """Lay out a table in which all but the cells of the column `folding` stay on one line.

    Where the screen is too narrow for that, each row is stacked. Off a terminal the table is as
    wide as it needs to be, unless COLUMNS says otherwise.
    """
    usual = USUAL_SIZE if is_terminal(stream) else (_NO_LIMIT, USUAL_SIZE[1])
    page = Page(stream.encoding or "utf-8")
    console = console_on(page, is_terminal=is_terminal(stream))
    console.size = size_of(stream, usual)
    cells = [[page.escaped(cell) for cell in row] for row in rows]
    columns = list(zip(titles, *cells, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    others = sum(widths) - widths[folding] + _GAP * (len(titles) - 1)
    room = min(console.width - others, widths[folding])
    longest = max(cell_len(word) for cell in columns[folding] for word in break_line(cell, 1))
    if room >= max(widths[folding] / MOST_LINES, longest):
        console.print(_table(titles, cells, folding, room, console))
    else:
        for row in cells:
            _stack(titles, row, folding, console)
    return page.getvalue()


def console_on(file: TextIO, *, is_terminal: bool) -> Console:
    """Return a console of rich's that takes text as it is and believes no FORCE_COLOR."""
    return Console(
        file=file,
        force_terminal=is_terminal,
        highlight=False,
        markup=False,
        emoji=False,  # a table of 3,600 names that nothing here means
    )


def colour_of(state: str, console: Console) -> str:
    """Return the colour of a state, which its word tells as well."""
    colour = _COLOURS.get(state, "yellow")
    return _SHADES[colour] if console.color_system in {"256", "truecolor"} else colour


class Page(io.StringIO):
    """Text in memory, with the encoding of the screen that it is for."""

    encoding = ""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.encoding = encoding

    def escaped(self, text: str) -> str:
        """Return the text as wide as it will be on the screen."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], folding: int, width: int, console: Console
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for number, title in enumerate(titles):
        if number == folding:
            table.add_column(title, overflow="fold", width=width)
        else:
            table.add_column(title, no_wrap=True)
    for row in rows:
        cells = _coloured(titles, row, console)
        cells[folding] = Text("\n".join(break_line(row[folding], width)))
        table.add_row(*cells)
    return table


def _stack(titles: Sequence[str], row: Sequence[str], folding: int, console: Console) -> None:
    """Print a row without columns: short cells on as few lines as they need, the wide one below."""
    labelled = [_labelled(title, cell) for title, cell in zip(titles, row, strict=True)]
    cells = _coloured(titles, labelled, console)
    below = cells.pop(folding).plain
    line = cells[0]
    room = console.width - line.cell_len
    for cell in filter(None, cells[1:]):
        room -= _GAP + cell.cell_len
        line.append("  " if room >= 0 else "\n  ")
        line.append_text(cell)
        room = room if room >= 0 else console.width - _GAP - cell.cell_len
    console.print(line, soft_wrap=True)
    for part in break_line(below, console.width - _GAP) if below else ():
        console.print(Padding(Text(part, overflow="fold"), (0, 0, 0, _GAP), expand=False))


def _labelled(title: str, cell: str) -> str:
    """Return a cell that says something without its title."""
    if title == "Changed" and cell:
        return f"{title}: {cell}"
    return f"{title} {cell}" if cell in {"yes", "no"} else cell


def _coloured(titles: Sequence[str], cells: Sequence[str], console: Console) -> list[Text]:
    return [
        Text(cell, colour_of(cell, console) if title == "State" else "")
        for title, cell in zip(titles, cells, strict=True)
    ]
