"""Medians of many runs, interleaved: whatever else the machine does, it does to all of them."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and how its end is known to be the right one: exit code and fewest lines."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(hash=False)
    stdin: str = os.devnull
    on_terminal: bool = False
    code: int = 0
    lines: int = 0
    is_ours: bool = True


class Figures(NamedTuple):
    """Wall and CPU time in seconds, peak memory in bytes."""

    wall: float
    cpu: float
    peak: float


class WrongEndError(Exception):
    """A command ended otherwise than it should, so what it took says nothing."""


Run = Callable[[Command], Figures]


@contextmanager
def launcher(work: Path) -> Iterator[Run]:
    """Yield what runs a command from a small process, see `launcher`."""
    stderr = work / "stderr"

    def run(command: Command) -> Figures:
        names = ("argv", "env", "stdin", "on_terminal")
        asked = {"stderr": str(stderr), **{name: getattr(command, name) for name in names}}
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        end = json.loads(process.stdout.readline())
        if end["code"] != command.code or end["lines"] < command.lines:
            text = "" if command.on_terminal else stderr.read_text()[-2000:]
            raise WrongEndError(
                f"{command.name}: exit code {end['code']}, {end['lines']} lines\n{text}"
            )
        return Figures(end["wall"], end["cpu"], end["peak"])

    with subprocess.Popen(
        [sys.executable, "-I", "-S", LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield run


def interleaved(commands: Iterable[Command], rounds: int, run: Run) -> dict[Command, Figures]:
    """Each command's medians, but for other people's that don't work here.

    A first round, which compiles bytecode, is dropped.
    """
    taken: dict[Command, list[Figures]] = {}
    for command in dict.fromkeys(commands):
        try:
            run(command)
            taken[command] = []
        except WrongEndError:
            if command.is_ours:
                raise
    turns = [*taken]
    for _ in range(rounds):
        random.shuffle(turns)
        for command in turns:
            taken[command].append(run(command))
    return {
        command: Figures(*(median(column) for column in zip(*figures, strict=True)))
        for command, figures in taken.items()
    }
