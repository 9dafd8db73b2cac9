"""Measures the installed `clc` against what it can't be faster than: `python -m tests.bench`.

Each command is run many times in turn with the others of its group; a ratio is one of medians.
Prints Markdown. With --faults nothing is timed: see `faults`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import faults
from tests.bench.measuring import interleaved
from tests.bench.rows import Ideal, groups

OVER = "**over**"
HEADER = ("command", "time", "CPU", "memory", "ratio", "to", "limit")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--faults", action="store_true", help="count the resets that a command comes to instead")
    add("--rounds", type=int, help="how many times, instead of what is usual")
    add("--only", default="", metavar="WORD", help="those with this in the name of a command")
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
            header, cells = HEADER, [*_measured(given, Path(folder))]
    for row in (header, ("---",) * len(header), *cells):
        print(f"| {' | '.join(row)} |")
    return 1 if given.check and any(OVER in row[-1] for row in cells) else 0


def _measured(given: argparse.Namespace, work: Path) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each row; limits are multiplied by the factor of `--check`."""
    for rounds, rows in groups(work):
        if not any(given.only in row.command.name for row in rows):
            continue
        print(f"{rows[-1].command.name} …", file=sys.stderr)
        medians = interleaved([row.command for row in rows], given.rounds or rounds)
        for command, floor, most, largest in rows:
            if command not in medians:
                continue
            wall, cpu, peak = medians[command]
            best = floor.seconds if isinstance(floor, Ideal) else medians[floor or command].wall
            limits = []
            for figure, limit, unit in ((wall / best, most, "x"), (peak, largest, "MiB")):
                if limit:
                    highest = limit * (given.check or 1.0)
                    over = f"{OVER} " if figure > highest else ""
                    limits.append(f"{over}{highest:g} {unit}")
            times = [f"{seconds * 1000:,.0f} ms" for seconds in (wall, cpu)]
            to = floor.name if floor else ""
            figures = (*times, f"{peak:.0f} MiB", f"{wall / best:.2f}")
            yield (command.name, *figures, to, ", ".join(limits))


if __name__ == "__main__":
    sys.exit(main())
