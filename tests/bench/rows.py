"""What is measured against what, and how much more it may take."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from tests.bench.peers import peers
from tests.fakes import CLC, jwt

ROOT = Path(__file__).parents[2]
MIB = 2**20
PAIR = ("WA1ABCDWB01", "WA1ABCDWB02")
MANY, OPERATIONS = 10_000, 1_000
LATENCY, DURATION = 0.05, 2.0
AT_A_TIME = 16
FEWEST, MOST = 100, 1_000_000
A_RUN = 50_000
"""Servers of one run in a full journal."""

_BARE = """
import sys, httpx
url, token, *servers = sys.argv[1:]
print(httpx.post(url, json=servers, headers={"Authorization": f"Bearer {token}"}).text)
"""

Env = dict[str, str]


class Ideal(NamedTuple):
    """A time that nothing can be faster than, in seconds."""

    name: str
    seconds: float


class Row(NamedTuple):
    """A command, its floor, and its limits: a ratio of times, and bytes."""

    command: Command
    floor: Command | Ideal
    ratio: float | None = None
    peak: float | None = None


class Group(NamedTuple):
    """Rows that are measured together, `rounds` times unless that is asked for otherwise."""

    name: str
    rounds: int
    rows: list[Row]
    skipped: tuple[str, ...] = ()


def groups(stack: ExitStack, work: Path) -> Iterator[Group]:
    """Yield all rows. Servers run until the stack is closed."""
    env = dict(os.environ)
    yield _starting(env)
    yield _resetting(stack, work, env)
    yield _remembering(stack, work, env)
    yield from _waiting(stack, work, env)


@contextmanager
def _api(*options: str) -> Iterator[str]:
    """Yield the URL of a `tests.bench.server`, which runs meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.server", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        yield server.stdout.readline().strip()


def _starting(env: Env) -> Group:
    floor = Command("python -c 'import click'", (sys.executable, "-c", "import click"), env)
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}
    rows = [
        Row(Command("clc --version", (CLC, "--version"), env, lines=1), floor, 1.2),
        Row(Command("a completion", (CLC,), {**env, **tab}, lines=1), floor, 1.2),
        Row(Command("clc --help", (CLC, "--help"), env, lines=20), floor, 1.35),
        Row(Command("a usage error: clc reset", (CLC, "reset"), env, code=2), floor, 1.35),
    ]
    return Group("start", 40, rows)


def _resetting(stack: ExitStack, work: Path, env: Env) -> Group:
    url = stack.enter_context(_api())
    at = {**env, "CLC_BASE_URL": url}
    with_token = {**at, "CLC_TOKEN": jwt()}
    target = f"{url}/v2/operations/ABCD/servers/reset"
    script = (sys.executable, "-c", _BARE, target, jwt(), *PAIR)
    bare = Command("a bare script with httpx.post", script, env, lines=1)
    argv = (CLC, "reset", *PAIR, "--again")
    piped = Command("clc reset A B", argv, with_token, lines=2)
    screen = {**with_token, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    table = Command("clc reset A B, a table on a terminal", argv, screen, on_terminal=True, lines=3)
    keyring = {**at, "PYTHONPATH": _keyring(work)}
    kept = Command("clc reset A B, token from the keyring, discovered", argv, keyring, lines=2)
    many = Command(
        f"clc reset - with {MANY:,} servers, TSV",
        (CLC, "reset", "-", "--again"),
        with_token,
        stdin=_list(work, MANY),
        lines=MANY,
    )
    authority = str(work / "authority.pem")
    secure = stack.enter_context(_api("--authority", authority))
    trusting = {**with_token, "CLC_BASE_URL": secure, "SSL_CERT_FILE": authority}
    others = dict(peers(url, PAIR, env))
    rows = [
        Row(piped, bare, 0.85),
        Row(table, piped, 1.3),
        Row(kept, piped, 1.6),
        Row(Command("clc reset A B, over TLS", argv, trusting, lines=2), piped, 1.3),
        Row(many, piped, 2.5, peak=64 * MIB),
        *(Row(peer, bare) for peer in others.values() if peer),
    ]
    return Group("reset", 20, rows, tuple(name for name, peer in others.items() if not peer))


def _keyring(work: Path) -> str:
    """Return the PYTHONPATH with which keyring discovers ours among its own backends."""
    info = work / "fixed-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fixed\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[keyring.backends]\nfixed = tests.bench.fixed\n")
    return f"{work}{os.pathsep}{ROOT}"


def _remembering(stack: ExitStack, work: Path, env: Env) -> Group:
    """The same commands with a million servers in the journal as with a hundred."""
    url = stack.enter_context(_api())
    folders = {number: _journal(work / f"{number}", url, number) for number in (FEWEST, MOST)}
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc reset WA", "COMP_CWORD": "2"}
    rows = []
    for name, argv, more, lines in (
        ("a Tab press behind clc reset", (CLC,), tab, 2),
        ("clc history -n 1", (CLC, "history", "-n", "1"), {}, 1),
        ("clc status", (CLC, "status"), {"CLC_TOKEN": jwt()}, 2),
    ):
        few, many = (
            Command(
                f"{name}, {number:,} servers in the journal",
                argv,
                {**env, **more, "CLC_BASE_URL": url, "CLC_STATE_DIR": folder},
                lines=lines,
            )
            for number, folder in folders.items()
        )
        rows.append(Row(many, few, 1.2))
    return Group("remember", 15, rows)


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


def _waiting(stack: ExitStack, work: Path, env: Env) -> Iterator[Group]:
    """Two whose operations take a while; many that have succeeded when they are first asked for."""
    at_once = stack.enter_context(_api("--latency", f"{LATENCY}"))
    slow = stack.enter_context(_api("--latency", f"{LATENCY}", "--duration", f"{DURATION}"))
    options, token, milliseconds = ("--wait", "--again"), jwt(), f"{LATENCY * 1000:g} ms"
    two = Command(
        f"clc reset A B --wait, operations of {DURATION:g} s at {milliseconds}",
        (CLC, "reset", *PAIR, *options),
        {**env, "CLC_BASE_URL": slow, "CLC_TOKEN": token},
        lines=2,
    )
    many = Command(
        f"clc reset - --wait, {OPERATIONS:,} operations, a poll of each, at {milliseconds}",
        (CLC, "reset", "-", *options),
        {**env, "CLC_BASE_URL": at_once, "CLC_TOKEN": token},
        stdin=_list(work, OPERATIONS),
        lines=OPERATIONS,
    )
    ideal = Ideal("the operations and one request", DURATION + LATENCY)
    yield Group("wait for two", 9, [Row(two, ideal, 1.25)])
    ideal = Ideal(f"operations x latency / {AT_A_TIME}", OPERATIONS * LATENCY / AT_A_TIME)
    yield Group("wait for many", 7, [Row(many, ideal, 1.3, 40 * MIB)])


def _list(work: Path, number: int) -> str:
    file = work / f"{number}-servers.txt"
    file.write_text("".join(f"WA1ABCDN{n:05d}\n" for n in range(number)))
    return str(file)
