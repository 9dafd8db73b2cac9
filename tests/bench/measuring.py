"""Medians of many runs, interleaved: whatever else the machine does, it does to all of them."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping
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
    code: int = 0
    lines: int = 0
    is_ours: bool = True


class Figures(NamedTuple):
    """Wall and CPU time in seconds, peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


class WrongEndError(Exception):
    """A command ended otherwise than it should."""


def run(command: Command) -> Figures:
    """Run a command from a small process, see `launcher`."""
    given = json.dumps([command.argv, command.env, command.stdin])
    program = (sys.executable, "-I", "-S", str(LAUNCHER), given)
    ended = subprocess.run(program, capture_output=True, check=True, text=True)
    figures, code, lines = json.loads(ended.stdout)
    if code != command.code or lines < command.lines:
        shown = f"exit code {code}, {lines} lines\n{ended.stderr[-2000:]}"
        raise WrongEndError(f"{command.name}: {shown}")
    return Figures(*figures)


def interleaved(commands: Iterable[Command], rounds: int) -> dict[Command, Figures]:
    """Return each command's medians, but for other people's that don't work here.

    A first round, which compiles bytecode, is dropped.
    """
    taken: dict[Command, list[Figures]] = {}
    for command in commands:
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
    return {c: Figures(*map(median, zip(*found, strict=True))) for c, found in taken.items()}
