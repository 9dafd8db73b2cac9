"""Medians of many runs, interleaved: whatever else the machine does, it does to all of them."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

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


@dataclass(frozen=True, slots=True)
class Figures:
    """Wall and CPU time in seconds, peak memory in bytes."""

    wall: float
    cpu: float
    peak: float

    @classmethod
    def medians(cls, of: Iterable[Self]) -> Self:
        several = list(of)
        return cls(
            median(each.wall for each in several),
            median(each.cpu for each in several),
            median(each.peak for each in several),
        )


class WrongEndError(Exception):
    """A command ended otherwise than it should, so what it took says nothing."""


class Launcher:
    """Runs commands from a small process, see `launcher`."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self._process = process
        self._stderr = stderr

    def run(self, command: Command) -> Figures:
        assert self._process.stdin
        assert self._process.stdout
        asked = {
            "argv": command.argv,
            "env": dict(command.env),
            "stdin": command.stdin,
            "stderr": str(self._stderr),
            "on_terminal": command.on_terminal,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        if told["code"] != command.code or told["lines"] < command.lines:
            said = "" if command.on_terminal else self._stderr.read_text()[-2000:]
            raise WrongEndError(
                f"{command.name}: exit code {told['code']}, {told['lines']} lines\n{said}"
            )
        return Figures(told["wall"], told["cpu"], told["peak"])


@contextmanager
def launcher(work: Path) -> Iterator[Launcher]:
    """A launcher, its commands' standard error in a file."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Launcher(process, work / "stderr")


def interleaved(
    commands: Iterable[Command], rounds: int, launcher: Launcher
) -> dict[Command, Figures]:
    """Each command's medians, but for other people's that don't work here.

    A first round, which compiles bytecode, is dropped.
    """
    turns = [each for each in dict.fromkeys(commands) if _works(each, launcher)]
    taken: dict[Command, list[Figures]] = {each: [] for each in turns}
    for _ in range(rounds):
        random.shuffle(turns)
        for each in turns:
            taken[each].append(launcher.run(each))
    return {each: Figures.medians(figures) for each, figures in taken.items()}


def _works(command: Command, launcher: Launcher) -> bool:
    try:
        launcher.run(command)
    except WrongEndError:
        if command.is_ours:
            raise
        return False
    return True
