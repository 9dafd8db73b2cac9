"""What was measured, as lines of a table and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.measuring import Command, Figures
from tests.bench.rows import MIB, Ideal, Row

HEADER = ("command", "time", "CPU", "memory", "ratio", "to", "limit")
ALIGNMENT = ("---", "---:", "---:", "---:", "---:", "---", "---")


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure that has a limit, and its unit."""

    figure: float
    limit: float
    unit: str

    @property
    def is_broken(self) -> bool:
        return self.figure > self.limit

    def __str__(self) -> str:
        return ("**over** " if self.is_broken else "") + f"{self.limit:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Line:
    """What a row came to. Times are in seconds, memory is in bytes."""

    command: str
    wall: float
    cpu: float
    peak: float
    ratio: float
    to: str
    limits: Sequence[Limit]

    @property
    def is_broken(self) -> bool:
        return any(each.is_broken for each in self.limits)

    def cells(self) -> tuple[str, ...]:
        return (
            self.command,
            f"{self.wall * 1000:,.0f} ms",
            f"{self.cpu * 1000:,.0f} ms",
            f"{self.peak / MIB:.0f} MiB",
            f"{self.ratio:.2f}",
            self.to,
            ", ".join(map(str, self.limits)),
        )


def measured(row: Row, medians: Mapping[Command, Figures], factor: float) -> Line:
    """A row's line, its limits multiplied by a factor."""
    own = medians[row.command]
    floor = row.floor.seconds if isinstance(row.floor, Ideal) else medians[row.floor].wall
    ratio = own.wall / floor
    limits = []
    if row.ratio:
        limits.append(Limit(ratio, row.ratio * factor, "x"))
    if row.peak:
        limits.append(Limit(own.peak / MIB, row.peak / MIB * factor, "MiB"))
    return Line(row.command.name, own.wall, own.cpu, own.peak, ratio, row.floor.name, limits)


def floors(rows: Sequence[Row], medians: Mapping[Command, Figures]) -> list[Line]:
    """Lines for the floors that no row measures."""
    measured = {row.command for row in rows}
    found = dict.fromkeys(row.floor for row in rows if isinstance(row.floor, Command))
    return [
        Line(each.name, figures.wall, figures.cpu, figures.peak, 1.0, "", ())
        for each in found
        if each not in measured
        for figures in (medians[each],)
    ]


def table(
    rows: Sequence[tuple[str, ...]], alignment: tuple[str, ...], *, markdown: bool
) -> Iterator[str]:
    """The lines of a table, in columns or in Markdown. The first row is its header."""
    if markdown:
        rows = [rows[0], alignment, *rows[1:]]
        yield from (f"| {' | '.join(row)} |" for row in rows)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
