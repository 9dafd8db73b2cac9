"""What was measured, as lines of a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.bench.measuring import Command, Figures
from tests.bench.rows import MIB, Ideal, Row

HEADER = ("command", "time", "CPU", "memory", "ratio", "to", "limit")
ALIGNMENT = ("---", "---:", "---:", "---:", "---:", "---", "---")


class Line(NamedTuple):
    """The cells of a line, and whether a limit is broken."""

    cells: tuple[str, ...]
    is_broken: bool = False


def lines(rows: Sequence[Row], medians: Mapping[Command, Figures], factor: float) -> Iterator[Line]:
    """Yield lines for the floors that no row measures, and for the rows that were measured.

    Limits are multiplied by the factor.
    """
    own = {row.command for row in rows}
    for floor in dict.fromkeys(row.floor for row in rows):
        if isinstance(floor, Command) and floor not in own:
            yield Line(_cells(floor.name, medians[floor], 1.0, "", ""))
    for row in rows:
        if row.command not in medians:
            continue
        figures = medians[row.command]
        floor = row.floor
        ratio = figures.wall / (floor.seconds if isinstance(floor, Ideal) else medians[floor].wall)
        limits = []
        for figure, limit, unit in ((ratio, row.ratio, "x"), (figures.peak, row.peak, "MiB")):
            scale = MIB if unit == "MiB" else 1
            if limit:
                over = "**over** " * (figure > limit * factor)
                limits.append(f"{over}{limit / scale * factor:g} {unit}")
        text = ", ".join(limits)
        yield Line(_cells(row.command.name, figures, ratio, floor.name, text), "over" in text)


def _cells(name: str, figures: Figures, ratio: float, to: str, limits: str) -> tuple[str, ...]:
    return (
        name,
        f"{figures.wall * 1000:,.0f} ms",
        f"{figures.cpu * 1000:,.0f} ms",
        f"{figures.peak / MIB:.0f} MiB",
        f"{ratio:.2f}",
        to,
        limits,
    )


def table(
    rows: Sequence[tuple[str, ...]], alignment: tuple[str, ...], *, markdown: bool
) -> Iterator[str]:
    """Yield the lines of a table, in columns or in Markdown. The first row is its header."""
    if markdown:
        rows = [rows[0], alignment, *rows[1:]]
        yield from (f"| {' | '.join(row)} |" for row in rows)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
