"""What is measured against what, and how much more it may take."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from clc_reset.clocks import Clocks
from clc_reset.journal.database import Database
from clc_reset.journal.record import Record
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal, NewRun
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    RollingOptions,
    Sending,
    ServerResult,
    ServerState,
)
from tests.bench import surroundings
from tests.bench.measuring import Command
from tests.bench.peers import peers
from tests.fakes import CLC, jwt

MIB = 2**20
PAIR = ("WA1ABCDWB01", "WA1ABCDWB02")
MANY = 10_000
OPERATIONS = 1_000
LATENCY = 0.05
DURATION = 2.0
AT_A_TIME = 16
FEWEST = 100
MOST = 1_000_000
A_RUN = 50_000
"""Servers of one run in a full journal."""

_BARE = """
import sys, httpx
url, token, *servers = sys.argv[1:]
print(httpx.post(url, json=servers, headers={"Authorization": f"Bearer {token}"}).text)
"""


@dataclass(frozen=True, slots=True)
class Ideal:
    """A time that nothing can be faster than, in seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """A command, its floor, and its limits: a ratio of times, and bytes."""

    command: Command
    floor: Command | Ideal
    ratio: float | None = None
    peak: float | None = None

    def commands(self) -> Iterator[Command]:
        yield self.command
        if isinstance(self.floor, Command):
            yield self.floor


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together, `rounds` times unless that is asked for otherwise."""

    name: str
    rounds: int
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def groups(stack: ExitStack, work: Path) -> Iterator[Group]:
    """All rows. Servers and keyring run until the stack is closed."""
    env = dict(os.environ)
    yield _starting(env)
    yield _resetting(stack, work, env)
    yield _remembering(stack, work, env)
    yield _waiting_for_two(stack, env)
    yield _waiting_for_many(stack, work, env)


def _starting(env: dict[str, str]) -> Group:
    floor = Command("python -c 'import click'", (sys.executable, "-c", "import click"), env)
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}
    return Group(
        "start",
        40,
        [
            Row(Command("clc --version", (CLC, "--version"), env, lines=1), floor, 1.2),
            Row(Command("a completion", (CLC,), {**env, **tab}, lines=1), floor, 1.2),
            Row(Command("clc --help", (CLC, "--help"), env, lines=20), floor, 1.35),
            Row(Command("a usage error: clc reset", (CLC, "reset"), env, code=2), floor, 1.35),
        ],
    )


def _resetting(stack: ExitStack, work: Path, env: dict[str, str]) -> Group:
    url = stack.enter_context(surroundings.api())
    at = {**env, "CLC_BASE_URL": url}
    with_token = {**at, "CLC_TOKEN": jwt()}
    target = f"{url}/v2/operations/ABCD/servers/reset"
    bare = Command(
        "a bare script with httpx.post",
        (sys.executable, "-c", _BARE, target, jwt(), *PAIR),
        env,
        lines=1,
    )
    piped = Command("clc reset A B", (CLC, "reset", *PAIR, "--again"), with_token, lines=2)
    screen = {**with_token, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    table = Command(
        "clc reset A B, a table on a terminal", piped.argv, screen, on_terminal=True, lines=3
    )
    backend, keyring = stack.enter_context(surroundings.keyring(url))
    kept = Command(
        f"clc reset A B, token from the keyring ({backend})", piped.argv, {**at, **keyring}, lines=2
    )
    many = Command(
        f"clc reset - with {MANY:,} servers, TSV",
        (CLC, "reset", "-", "--again"),
        with_token,
        stdin=_list(work, MANY),
        lines=MANY,
    )
    authority = str(work / "authority.pem")
    secure = stack.enter_context(surroundings.api("--authority", authority))
    trusting = {**with_token, "CLC_BASE_URL": secure, "SSL_CERT_FILE": authority}
    over_tls = Command("clc reset A B, over TLS", piped.argv, trusting, lines=2)
    found = Group(
        "reset",
        20,
        [
            Row(piped, bare, 0.85),
            Row(table, piped, 1.3),
            Row(kept, piped, 1.6),
            Row(over_tls, piped, 1.3),
            Row(many, piped, 2.5, peak=64 * MIB),
        ],
    )
    for name, peer in peers(url, PAIR, env):
        if peer:
            found.rows.append(Row(peer, bare))
        else:
            found.skipped.append(name)
    return found


def _remembering(stack: ExitStack, work: Path, env: dict[str, str]) -> Group:
    """The same commands with a million servers in the journal as with a hundred."""
    url = stack.enter_context(surroundings.api())
    few, many = (_journal(work / f"{number}", url, number) for number in (FEWEST, MOST))
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc reset WA", "COMP_CWORD": "2"}
    rows = []
    for name, argv, more, lines in (
        ("a Tab press behind clc reset", (CLC,), tab, 2),
        ("clc history -n 1", (CLC, "history", "-n", "1"), {}, 1),
        ("clc status", (CLC, "status"), {"CLC_TOKEN": jwt()}, 2),
    ):
        with_few, with_many = (
            Command(
                f"{name}, {number:,} servers in the journal",
                argv,
                {**env, **more, "CLC_BASE_URL": url, "CLC_STATE_DIR": folder},
                lines=lines,
            )
            for number, folder in ((FEWEST, few), (MOST, many))
        )
        rows.append(Row(with_many, with_few, 1.2))
    return Group("remember", 15, rows)


def _journal(folder: Path, url: str, servers: int) -> str:
    """Return the state folder of a journal with so many servers; all their resets are over."""
    clocks = Clocks()
    database = Database(str(folder), None)
    journal = Journal(database, clocks)
    for first in range(0, servers - 2, A_RUN):
        last = min(first + A_RUN, servers - 2)
        _record(journal, url, tuple(f"WA1ABCDN{number:06d}" for number in range(first, last)))
    _record(journal, url, PAIR)
    return str(folder)


def _record(journal: Journal, url: str, servers: tuple[str, ...]) -> None:
    operation = Operation("wa1-1", "/v2/operations/abcd/status/wa1-1", "ABCD")
    results = tuple(ServerResult(server, ServerState.QUEUED, operation) for server in servers)
    new = NewRun(Where(url, "ABCD"), "demo", servers, RollingOptions())
    record = journal.begin(new, servers, check=False)
    assert isinstance(record, Record)
    record.answered(ResetAnswer(Sending.SENT, results, servers))
    record.statuses.add(operation, OperationStatus("succeeded"))
    record.end(results)


def _waiting_for_two(stack: ExitStack, env: dict[str, str]) -> Group:
    url = stack.enter_context(
        surroundings.api("--latency", str(LATENCY), "--duration", str(DURATION))
    )
    command = Command(
        f"clc reset A B --wait, operations of {DURATION:g} s at {LATENCY * 1000:g} ms",
        (CLC, "reset", *PAIR, "--wait", "--again"),
        {**env, "CLC_BASE_URL": url, "CLC_TOKEN": jwt()},
        lines=2,
    )
    return Group(
        "wait for two",
        9,
        [Row(command, Ideal("the operations and one request", DURATION + LATENCY), 1.25)],
    )


def _waiting_for_many(stack: ExitStack, work: Path, env: dict[str, str]) -> Group:
    """All have succeeded when they are asked for the first time, so there is one poll of each."""
    url = stack.enter_context(surroundings.api("--latency", str(LATENCY)))
    variables = {**env, "CLC_BASE_URL": url, "CLC_TOKEN": jwt()}
    command = Command(
        f"clc reset - --wait, {OPERATIONS:,} operations, a poll of each, at {LATENCY * 1000:g} ms",
        (CLC, "reset", "-", "--wait", "--again"),
        variables,
        stdin=_list(work, OPERATIONS),
        lines=OPERATIONS,
    )
    ideal = Ideal(f"operations x latency / {AT_A_TIME}", OPERATIONS * LATENCY / AT_A_TIME)
    return Group("wait for many", 7, [Row(command, ideal, 1.3, 40 * MIB)])


def _list(work: Path, number: int) -> str:
    file = work / f"{number}-servers.txt"
    file.write_text("".join(f"WA1ABCDN{each:05d}\n" for each in range(number)))
    return str(file)
