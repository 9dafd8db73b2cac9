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

from tests.bench import faults, report
from tests.bench.measuring import Command, interleaved, launcher
from tests.bench.rows import groups


def main() -> int:
    given = _arguments()
    with TemporaryDirectory() as folder:
        # nothing of this machine but its path
        first = f"{given.peers.absolute()}{os.pathsep}" if given.peers else ""
        kept = {"PATH": first + os.environ["PATH"], "LANG": "C.UTF-8"}
        os.environ.clear()
        os.environ.update(kept, HOME=folder, XDG_RUNTIME_DIR=folder)
        if not given.faults:
            return _measure(given, Path(folder))
        print("faults …", file=sys.stderr)
        env = dict(os.environ)
        lines, skipped = faults.compare(env, Path(folder), given.only)
        print(*faults.report(lines, skipped, env, markdown=given.markdown), sep="\n")
        return 1 if given.check and any(line.is_wrong for line in lines) else 0


def _measure(given: argparse.Namespace, work: Path) -> int:
    lines = [report.Line(report.HEADER)]
    skipped: list[str] = []
    with ExitStack() as stack:
        run = stack.enter_context(launcher(work))
        for group in groups(stack, work):
            skipped += group.skipped
            rows = [row for row in group.rows if given.only in row.command.name]
            if not rows:
                continue
            print(f"{group.name} …", file=sys.stderr)
            commands = [c for row in rows for c in row[:2] if isinstance(c, Command)]
            medians = interleaved(commands, given.rounds or group.rounds, run)
            lines += report.lines(rows, medians, given.check or 1.0)
            skipped += [row.command.name for row in rows if row.command not in medians]
    cells = [line.cells for line in lines]
    print(*report.table(cells, report.ALIGNMENT, markdown=given.markdown), sep="\n")
    if skipped:
        print(f"\nNot installed or not working, and skipped: {', '.join(skipped)}")
    return 1 if given.check and any(line.is_broken for line in lines) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--faults", action="store_true", help="count the resets that a command comes to instead")
    add("--peers", type=Path, metavar="FOLDER", help="look for other people's commands there first")
    add("--rounds", type=int, help="how many times, instead of what is usual")
    add("--only", default="", metavar="WORD", help="commands with this (--faults: word) in them")
    add("--markdown", action="store_true", help="print the table in Markdown")
    add(
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
