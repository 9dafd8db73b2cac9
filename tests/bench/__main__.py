"""Measures the installed `clc` against what it can't be faster than: `python -m tests.bench`.

Each command is a process of its own, run many times in turn with the others of its group; a ratio
is one of medians. The floor of a start is Python with click; of a reset, a bare script with
`httpx.post`; of a wait, its operations' own time, or requests x latency / 16.

With --faults nothing is timed: see `faults`.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import faults
from tests.bench.measuring import interleaved, launcher
from tests.bench.report import ALIGNMENT, HEADER, Line, floors, measured, table
from tests.bench.rows import groups


def main() -> int:
    given = _arguments()
    lines: list[Line] = []
    skipped: list[str] = []
    with TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        _leave_nothing_of_this_machine_but_its_path(work, given.peers)
        if given.faults:
            return _faults(given, work)
        runs = stack.enter_context(launcher(work))
        for group in groups(stack, work):
            skipped += group.skipped
            rows = [each for each in group.rows if given.only in each.command.name]
            if rows:
                print(f"{group.name} …", file=sys.stderr)
                commands = [each for row in rows for each in row.commands()]
                medians = interleaved(commands, given.rounds or group.rounds, runs)
                lines += floors(rows, medians)
                for row in rows:
                    if row.command in medians:
                        lines.append(measured(row, medians, given.check or 1.0))
                    else:
                        skipped.append(row.command.name)
    cells = [HEADER, *(line.cells() for line in lines)]
    print(*table(cells, ALIGNMENT, markdown=given.markdown), sep="\n")
    if skipped:
        print(f"\nNot installed or not working, and skipped: {', '.join(skipped)}")
    return 1 if given.check and any(each.is_broken for each in lines) else 0


def _faults(given: argparse.Namespace, work: Path) -> int:
    print("faults …", file=sys.stderr)
    lines, skipped = faults.compare(dict(os.environ), work, given.only)
    print(*faults.report(lines, skipped, markdown=given.markdown), sep="\n")
    return 1 if given.check and any(each.is_wrong for each in lines) else 0


def _leave_nothing_of_this_machine_but_its_path(home: Path, peers: Path | None) -> None:
    first = f"{peers.absolute()}{os.pathsep}" if peers else ""
    kept = {"PATH": first + os.environ["PATH"], "LANG": "C.UTF-8"}
    os.environ.clear()
    os.environ.update(kept, HOME=str(home), XDG_RUNTIME_DIR=str(home))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--faults", action="store_true", help="count the resets that one command comes to instead"
    )
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="look for other people's commands there first"
    )
    parser.add_argument("--rounds", type=int, help="how many times, instead of what is usual")
    parser.add_argument(
        "--only",
        default="",
        metavar="WORD",
        help="commands with this in them (with --faults: as a word)",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument(
        "--check",
        type=float,
        nargs="?",
        const=1.0,
        metavar="FACTOR",
        help="end with 1 where a limit, times the factor, is broken, or clc errs at a fault",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
