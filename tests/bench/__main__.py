"""Measures the installed `clc` against what it can't be faster than: `python -m tests.bench`.

Each command is a process of its own, run many times in turn with the others of its group; a ratio
is one of medians. The floor of a start is Python with click; of a reset, a bare script with
`httpx.post`; of a wait, its operations' own time, or requests x latency / 16. Prints Markdown.

With --faults nothing is timed: see `faults`.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import faults
from tests.bench.measuring import Command, Figures, interleaved
from tests.bench.rows import Ideal, Row, groups

OVER = "**over**"
MIB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--faults", action="store_true", help="count the resets that a command comes to instead")
    add("--rounds", type=int, help="how many times, instead of what is usual")
    add("--only", default="", metavar="WORD", help="commands with this in their name")
    add("--check", type=float, metavar="FACTOR", help="end with 1 beyond a limit times the factor")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        # nothing of this machine but its path
        kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        os.environ.clear()
        os.environ.update(kept, HOME=folder, XDG_RUNTIME_DIR=folder)
        if given.faults:
            header, *cells = faults.rows(dict(os.environ), Path(folder), given.only)
        else:
            header = ("command", "time", "CPU", "memory", "ratio", "to", "limit")
            cells = [*_measured(given, Path(folder))]
    for row in (header, ("---",) * len(header), *cells):
        print(f"| {' | '.join(row)} |")
    return 1 if given.check and any(OVER in row[-1] for row in cells) else 0


def _measured(given: argparse.Namespace, work: Path) -> Iterator[tuple[str, ...]]:
    for group in groups(work):
        rows = [row for row in group.rows if given.only in row.command.name]
        print(f"{group.name} …", file=sys.stderr)
        commands = [c for row in rows for c in row[:2] if isinstance(c, Command)]
        medians = interleaved(commands, given.rounds or group.rounds)
        yield from _cells(rows, medians, given.check or 1.0)


def _cells(
    rows: Sequence[Row], medians: Mapping[Command, Figures], factor: float
) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the floors that no row measures, and of the rows that were measured.

    Limits are multiplied by the factor.
    """
    own = {row.command for row in rows}
    for floor in dict.fromkeys(row.floor for row in rows):
        if isinstance(floor, Command) and floor not in own:
            yield (floor.name, *_figures(medians[floor], 1.0), "", "")
    for row in rows:
        if (figures := medians.get(row.command)) is None:
            continue
        floor = row.floor
        ratio = figures.wall / (floor.seconds if isinstance(floor, Ideal) else medians[floor].wall)
        limits = [
            f"{f'{OVER} ' * (figure > limit * factor)}{limit * factor:g} {unit}"
            for figure, limit, unit in (
                (ratio, row.ratio, "x"),
                (figures.peak / MIB, row.peak, "MiB"),
            )
            if limit
        ]
        yield (row.command.name, *_figures(figures, ratio), floor.name, ", ".join(limits))


def _figures(figures: Figures, ratio: float) -> tuple[str, ...]:
    times = [f"{seconds * 1000:,.0f} ms" for seconds in (figures.wall, figures.cpu)]
    return (*times, f"{figures.peak / MIB:.0f} MiB", f"{ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
