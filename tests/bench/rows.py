"""What is measured against what, and how much more it may take."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clc_reset.clocks import Clocks
from clc_reset.journal.database import Database
from clc_reset.journal.record import NewRun, Record
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal
from clc_reset.models import RollingOptions
from tests import builders
from tests.bench.measuring import Command
from tests.bench.peers import RESET, Api, Env, peers
from tests.fakes import CLC, jwt, serving

ROOT = Path(__file__).parents[2]
PAIR = ("WA1ABCDWB01", "WA1ABCDWB02")
MANY, OPERATIONS = 10_000, 1_000
LATENCY, DURATION, AT_A_TIME = 0.05, 2.0, 16
FEWEST, MOST, A_RUN = 100, 1_000_000, 50_000
"""Servers in a journal, and in one run of a full one."""

_BARE = """
import sys, httpx
url, token, *servers = sys.argv[1:]
print(httpx.post(url, json=servers, headers={"Authorization": f"Bearer {token}"}).text)
"""


class Ideal(NamedTuple):
    """A time that nothing can be faster than, in seconds."""

    name: str
    seconds: float


class Row(NamedTuple):
    """A command, its floor unless it is one, and its limits: a ratio of times, and MiB."""

    command: Command
    floor: Command | Ideal | None = None
    ratio: float | None = None
    peak: float | None = None


def groups(work: Path) -> Iterator[tuple[int, list[Row]]]:
    """Yield rows that are measured together, and how many times.

    Their servers run until the next group is asked for.
    """
    env = dict(os.environ)
    yield 40, _starting(env)
    with serving(Api()) as api:
        env |= {"CLC_BASE_URL": api.url, "CLC_TOKEN": jwt()}
        yield 20, _resetting(api.url, work, env)
        yield 15, _remembering(api.url, work, env)
    with serving(Api(LATENCY, DURATION)) as api:
        name = f"clc reset A B --wait, operations of {DURATION:g} s at {LATENCY * 1000:g} ms"
        argv = (CLC, "reset", *PAIR, "--wait", "--again")
        command = Command(name, argv, {**env, "CLC_BASE_URL": api.url}, lines=2)
        yield 9, [Row(command, Ideal("the operations and one request", DURATION + LATENCY), 1.25)]
    with serving(Api(LATENCY)) as api:
        yield 7, [_waiting_for_many(work, {**env, "CLC_BASE_URL": api.url})]


def _starting(env: Env) -> list[Row]:
    floor = Command("python -c 'import click'", (sys.executable, "-c", "import click"), env)
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}
    return [
        Row(floor),
        Row(Command("clc --version", (CLC, "--version"), env, lines=1), floor, 1.2),
        Row(Command("a completion", (CLC,), {**env, **tab}, lines=1), floor, 1.2),
        Row(Command("clc --help", (CLC, "--help"), env, lines=20), floor, 1.35),
        Row(Command("a usage error: clc reset", (CLC, "reset"), env, code=2), floor, 1.35),
    ]


def _resetting(url: str, work: Path, env: Env) -> list[Row]:
    script = (sys.executable, "-c", _BARE, f"{url}{RESET}", jwt(), *PAIR)
    bare = Command("a bare script with httpx.post", script, env, lines=1)
    argv = (CLC, "reset", *PAIR, "--again")
    pair = Command("clc reset A B", argv, env, lines=2)
    kept = {**env, "CLC_TOKEN": "", **_keyring(work)}
    keyring = Command("clc reset A B, token from the keyring, discovered", argv, kept, lines=2)
    many = _many(f"clc reset - with {MANY:,} servers, TSV", MANY, work, env)
    return [
        Row(bare),
        Row(pair, bare, 0.85),
        Row(keyring, pair, 1.6),
        Row(many, pair, 2.5, peak=64),
        *(Row(peer, bare) for peer in peers(url, PAIR, env)),
    ]


def _keyring(work: Path) -> Env:
    """Return the variables with which keyring discovers ours among its own backends."""
    info = work / "fixed-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fixed\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[keyring.backends]\nfixed = tests.bench.fixed\n")
    entry = {"token": jwt(), "user": "demo", "account": "ABCD", "roles": []}
    return {"PYTHONPATH": f"{work}{os.pathsep}{ROOT}", "KEYRING_ENTRY": json.dumps(entry)}


def _remembering(url: str, work: Path, env: Env) -> list[Row]:
    """Return the same commands with a hundred servers in the journal, and with a million."""
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc reset WA", "COMP_CWORD": "2"}
    floors, rows = [], []
    few, many = (
        (f"{number:,} servers in the journal", _journal(work / f"{number}", url, number))
        for number in (FEWEST, MOST)
    )
    for name, argv, more, lines in (
        ("a Tab press behind clc reset", (CLC,), tab, 2),
        ("clc history -n 1", (CLC, "history", "-n", "1"), {}, 1),
        ("clc status", (CLC, "status"), {}, 2),
    ):
        floor, command = (
            Command(f"{name}, {size}", argv, {**env, **more, "CLC_STATE_DIR": folder}, lines=lines)
            for size, folder in (few, many)
        )
        floors.append(Row(floor))
        rows.append(Row(command, floor, 1.2))
    return floors + rows


def _journal(folder: Path, url: str, number: int) -> str:
    """Return the state folder of a journal with so many servers; all their resets are over."""
    journal = Journal(Database(str(folder), None), Clocks())
    operation = builders.operation("wa1-12345", "ABCD")
    names = tuple(f"WA1ABCDN{n:06d}" for n in range(number - len(PAIR)))
    for servers in (*(names[n : n + A_RUN] for n in range(0, len(names), A_RUN)), PAIR):
        new = NewRun(Where(url, "ABCD"), "demo", servers, RollingOptions())
        record = journal.begin(new, again=True)
        assert isinstance(record, Record)
        results = [builders.queued(server, operation) for server in servers]
        record.answered(builders.sent(*results))
        record.statuses.add(operation, builders.SUCCEEDED)
        record.end(results)
    return str(folder)


def _waiting_for_many(work: Path, env: Env) -> Row:
    """Wait for many operations that have succeeded when they are first asked for."""
    polls = f"{OPERATIONS:,} operations, a poll of each, at {LATENCY * 1000:g} ms"
    command = _many(f"clc reset - --wait, {polls}", OPERATIONS, work, env, "--wait")
    ideal = Ideal(f"operations x latency / {AT_A_TIME}", OPERATIONS * LATENCY / AT_A_TIME)
    return Row(command, ideal, 1.3, 40)


def _many(name: str, number: int, work: Path, env: Env, *options: str) -> Command:
    """Return a reset of so many servers, read from standard input."""
    file = work / f"{number}-servers.txt"
    file.write_text("".join(f"WA1ABCDN{n:05d}\n" for n in range(number)))
    argv = (CLC, "reset", "-", *options, "--again")
    return Command(name, argv, env, stdin=str(file), lines=number)
