"""Each way to each exit code, with what is printed. `python -m tests.messages` prints all of it."""

import io
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest import mock

import httpx
import keyring
from keyring.backends import fail

from clc_reset.cli.main import command
from clc_reset.cli.options import Invocation
from clc_reset.clocks import Clocks
from clc_reset.journal.record import Record
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal, NewRun
from clc_reset.models import RollingOptions
from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.workers import Inbox
from tests.conftest import ORIGIN, through
from tests.fakes import POWER_POSTS, MemoryKeyring, Typed, jwt, only_reset_resets, queued

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
DOWN = httpx.ConnectError("[Errno 111] Connection refused")
LOST = httpx.RemoteProtocolError("Server disconnected without sending a response.")

Answer = httpx.Response | Exception | int


class Printed(NamedTuple):
    """What one command came to."""

    line: str
    code: object
    stdout: str
    stderr: str


class World:
    """A machine with a home, and a cloud at the platform's address. Use it as a context."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cloud = Cloud(Behaviour(duration=0.0), time.time, Random(1))
        self.answers: dict[str, list[Answer]] = {}
        self.signals: dict[str, int] = {}
        self.typed: str | None = None
        self.stdin = ""
        self.invocation = Invocation()
        self.records: list[Record] = []
        self.rest = ""

    @contextmanager
    def __call__(self) -> Iterator["World"]:
        kept = {k: v for k, v in os.environ.items() if k.startswith("COV") or k == "PATH"}
        own = {"HOME": f"{self.home}", "CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"}
        before = keyring.get_keyring()
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, kept | own, clear=True))
            transport = mock.patch.object(httpx.HTTPTransport, "handle_request", self._handle)
            stack.enter_context(transport)
            stack.callback(keyring.set_keyring, before)
            keyring.set_keyring(MemoryKeyring())
            yield self

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and "/operations/" in request.url.path:
            POWER_POSTS.append(request.url.path)
        answer = self._answer(request)
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.path}"
        for pattern, signum in self.signals.items():
            if re.search(pattern, line):
                self.invocation.inbox.interrupt(signum)
        for pattern, answers in self.answers.items():
            if re.search(pattern, line):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, Exception):
                    raise answer
                return httpx.Response(answer) if isinstance(answer, int) else answer
        return through(self.cloud)(request)

    def run(self, line: str) -> Printed:
        """Run a command line; RUN in it stands for the latest run, REST for one kept in `rest`."""
        line = line.replace("REST", self.rest)
        if "RUN" in line:
            line = line.replace("RUN", self.latest)
        arguments = shlex.split(line)[1:]
        self.invocation = Invocation()
        stdin = _pipe(self.stdin) if self.typed is None else Typed(self.typed)
        stdout, stderr = io.StringIO(), io.StringIO() if self.typed is None else Typed()
        code: object = None
        with (
            mock.patch.object(sys, "stdin", stdin),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
            only_reset_resets(arguments),
        ):
            try:
                command(arguments, obj=self.invocation)
            except SystemExit as ended:
                code = ended.code
        return Printed(line, code, stdout.getvalue(), stderr.getvalue())

    @property
    def journal(self) -> Journal:
        return Journal.of_environment(os.environ, Inbox(), Clocks())

    @property
    def latest(self) -> str:
        return self.journal.runs(1, ())[0].id


def _pipe(text: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()))


Step = str | Callable[[World], object]


class Case(NamedTuple):
    """A way to an exit code: what comes before, and as the last step the command."""

    code: int
    title: str
    steps: tuple[Step, ...]

    def play(self, world: World) -> list[Printed]:
        """Carry out the steps; return what the commands printed."""
        printed = []
        for step in self.steps:
            if isinstance(step, str):
                printed.append(world.run(step))
            else:
                step(world)
        return printed


def case(code: int, title: str, *steps: Step) -> Case:
    return Case(code, title, steps)


# --- steps -------------------------------------------------------------------------------------


def cloud(**behaviour: object) -> Step:
    def step(world: World) -> None:
        world.cloud.behaviour = replace(world.cloud.behaviour, **behaviour)  # type: ignore[arg-type]

    return step


def answers(pattern: str, *given: Answer) -> Step:
    return lambda world: world.answers.__setitem__(pattern, [*given])


def signal_at(pattern: str, signum: int = 2) -> Step:
    return lambda world: world.signals.__setitem__(pattern, signum)


def variables(**values: str) -> Step:
    return lambda _world: os.environ.update(values)


def without_credentials(_world: World) -> None:
    del os.environ["CLC_USERNAME"], os.environ["CLC_PASSWORD"]


def with_token(world: World) -> None:
    without_credentials(world)
    os.environ["CLC_TOKEN"] = jwt()


def expired(world: World) -> None:
    without_credentials(world)
    os.environ["CLC_TOKEN"] = jwt(days_left=-1)


def types(text: str) -> Step:
    return lambda world: setattr(world, "typed", text)


def stdin(text: str) -> Step:
    return lambda world: setattr(world, "stdin", text)


def keeps_nothing(_world: World) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]


def _path(world: World) -> Path:
    return world.home / ".local/state/clc-reset"


def unreadable_journal(world: World) -> None:
    (_path(world) / "journal.sqlite3").mkdir(parents=True)


def journal_becomes_unreadable(world: World) -> None:
    for file in _path(world).glob("journal.sqlite3*"):
        file.unlink()
    unreadable_journal(world)


def live_run(*servers: str, sent: int = 1) -> Step:
    """A run at a time, by a process that is alive: its first servers are intended."""

    def step(world: World) -> None:
        run = NewRun(Where(ORIGIN, "ALIAS"), "demo", servers, RollingOptions(sent))
        found = world.journal.begin(run, servers[:sent], check=False, confirmed=set())
        assert isinstance(found, Record)
        world.records.append(found)

    return step


def link(server: str, operation: str, href: str = "") -> httpx.Response:
    href = href or f"/v2/operations/alias/status/{operation}"
    return httpx.Response(200, json=[queued(server, operation, href)])


REFUSED = {"server": A, "isQueued": False, "errorMessage": "The operation cannot be queued."}
POST, STATUS, SERVER, GROUPS = "POST .*/reset", "GET .*/status/", "GET /v2/servers/", "datacenters"
TWICE = (cloud(fail=frozenset({B})),)
"""Then the operation of B, and of all that share it, fails."""
RUNNING = (cloud(duration=99), f"clc reset {A}")
UNKNOWN = (answers(POST, LOST), f"clc reset {A}")
STOPPED = f"clc reset WA1ALIASXX01 {A} {B} --at-a-time 1"
SUCCEEDS = answers(STATUS, httpx.Response(200, json={"status": "succeeded"}))
NO_JOURNAL = variables(CLC_NO_JOURNAL="1")
BAD_PROXY = variables(ALL_PROXY="socks5://127.0.0.1:9")

CASES = (
    # 0
    case(0, "queued", f"clc reset {A} {B}"),
    case(0, "succeeded", f"clc reset {A} {C} --wait"),
    case(0, "quietly", f"clc reset {A} --wait -q"),
    case(0, "dry run", f"clc reset {A} {B} -n -a alias"),
    case(0, "dry run, account unknown", f"clc reset {A} -n"),
    case(0, "dry run, unsettled", *RUNNING, f"clc reset {A} -n -a alias"),
    case(0, "dry run of a rest", live_run(A, B), "clc reset -n --rest-of RUN"),
    case(0, "nothing left", f"clc reset {A}", "clc status -q", "clc reset --rest-of RUN"),
    case(0, "a group", "clc reset -g database -y"),
    case(0, "confirmed", types("y\n"), "clc reset -g database"),
    case(0, "duplicates", f"clc reset {A} {A} -q"),
    case(
        0,
        "one unasked",
        answers(POST, httpx.Response(200, json=[queued(A, "wa1-1"), queued(B, "wa1-1")])),
        f"clc reset {A}",
    ),
    case(0, "on a terminal", types(""), f"clc reset {A}"),
    case(0, "journal can't be used", unreadable_journal, f"clc reset {A}"),
    case(0, "journal is off", NO_JOURNAL, f"clc reset {A}"),
    case(0, "status", f"clc reset {A} {C}", "clc status"),
    case(0, "status --wait", f"clc reset {A} {C}", "clc status --wait"),
    case(0, "status of an operation", f"clc reset {A}", "clc status wa1-12345"),
    case(0, "history", f"clc reset {A} {C}", "clc history"),
    case(0, "no history", "clc history"),
    case(0, "no history of a server", f"clc history {A}"),
    case(0, "servers", f"clc servers {A} -o json"),
    case(0, "no servers", "clc servers -g staging"),
    case(0, "login", stdin("demo\n"), "clc login -u demo --password-stdin"),
    case(0, "not logged in", "clc logout"),
    case(0, "whoami", "clc whoami"),
    # 1
    case(1, "refused", f"clc reset {A} WA1ALIASXX01"),
    case(1, "operation failed", *TWICE, f"clc reset {B} --wait"),
    case(1, "shared operation failed", *TWICE, f"clc reset {A} {B} --wait"),
    case(1, "status of it", *TWICE, f"clc reset {A} {B} --wait", "clc status"),
    case(1, "check failed", f"clc reset {A} {B} --check 'echo no; false' --check-timeout 1s"),
    case(1, "stopped by a failure", STOPPED),
    case(1, "status of the stopped run", STOPPED, "clc status"),
    case(1, "status of one server of it", STOPPED, f"clc status {A}"),
    case(
        1,
        "wave 2 refused",
        answers(POST, link(A, "wa1-1"), 403),
        SUCCEEDS,
        f"clc reset {A} {B} {C} --at-a-time 1",
    ),
    case(
        1,
        "wave 2 unreachable",
        answers(POST, link(A, "wa1-1"), DOWN),
        SUCCEEDS,
        f"clc reset {A} {B} {C} --at-a-time 1",
    ),
    case(1, "declined", types("n\n"), "clc reset -g database"),
    case(1, "declined, unsettled", *RUNNING, types("n\n"), f"clc reset {A} {B}"),
    case(
        1,
        "declined, group and unsettled",
        cloud(duration=99),
        "clc reset WA1ALIASDB01",
        types("n\n"),
        "clc reset -g database",
    ),
    case(1, "status of an unknown server", f"clc reset {A}", f"clc status {B}"),
    case(
        1,
        "status of known and unknown",
        f"clc reset {A}",
        f"clc status {A} {B} 20260101-000000-00000000",
    ),
    case(1, "status of an unknown operation", "clc status wa1-99999"),
    case(1, "status of what wasn't sent", answers(POST, 404), f"clc reset {A}", "clc status"),
    case(1, "servers unknown", f"clc servers {A} NOSUCH"),
    # 2
    *(
        case(2, line, line)
        for line in (
            "clc reset",
            "clc reset -",
            "clc reset A,B",
            "clc reset ''",
            "clc reset @file",
            "clc reset web1.example.com",
            "clc reset WB[01-03]",
            f"clc reset {A}-{B}",
            "clc reset wa1-12345",
            "clc reset 20260115-021305-3f9a12bc",
            f"clc reset {A} --timeout 3",
            f"clc reset {A} --pause 3",
            f"clc reset {A} --max-failures 1",
            f"clc reset {A} --check-timeout 3",
            f"clc reset {A} --check ' '",
            f"clc reset {A} --rest-of x",
            "clc reset --rest-of ''",
            "clc reset --rest-of x",
            f"clc reset {A} --timeout soon",
            f"clc reset {A} -a ../x",
            "clc reset -g database",
            "clc reset -g nope -y",
            "clc reset -g web -y",
            "clc reset -g databas -y",
            "clc reset -g staging -y",
            "clc reset -g '' -y",
            "clc status",
            "clc status ''",
            f"clc status --run x {A}",
            "clc status --timeout 3",
            f"clc servers {A} -g web",
            "clc login",
            "clc history -n 0",
            "clc sandbox --fail NOSUCH true",
        )
    ),
    case(2, "base URL", variables(CLC_BASE_URL="http://api.ctl.io"), f"clc reset {A}"),
    case(2, "base URL of status", variables(CLC_BASE_URL="http://api.ctl.io"), "clc status"),
    case(
        2,
        "no account in the token",
        without_credentials,
        variables(CLC_TOKEN="opaque"),
        f"clc reset {A}",
    ),
    case(2, "rest without a journal", NO_JOURNAL, "clc reset --rest-of x"),
    case(2, "status without a journal", NO_JOURNAL, "clc status"),
    case(
        2,
        "rest of a run at another API",
        f"clc reset {A}",
        variables(CLC_BASE_URL="https://other.example"),
        "clc reset --rest-of RUN",
    ),
    case(
        2, "rest of a run in another account", f"clc reset {A}", "clc reset --rest-of RUN -a other"
    ),
    # 3
    case(3, "still running", *RUNNING, f"clc reset {A} {B}"),
    case(3, "outcome unknown", *UNKNOWN, f"clc reset {A}"),
    case(3, "planned by a live run", live_run(A, B), f"clc reset {B}"),
    case(3, "rest of a live run", live_run(A, B), "clc reset --rest-of RUN"),
    case(
        3,
        "rest of a run that is followed first",
        cloud(duration=99),
        f"clc reset {A} {B} --at-a-time 1 --timeout 0",
        "clc reset --rest-of RUN",
    ),
    case(3, "rest without a readable journal", unreadable_journal, "clc reset --rest-of x"),
    # 4
    case(4, "no token", without_credentials, f"clc reset {A}"),
    case(4, "no keyring", without_credentials, keeps_nothing, f"clc reset {A}"),
    case(4, "expired", expired, f"clc reset {A}"),
    case(4, "expired at the sandbox", cloud(expired_token=True), f"clc reset {A}"),
    case(4, "wrong password", variables(CLC_PASSWORD="guess"), f"clc reset {A}"),
    case(4, "token refused (CLC_TOKEN)", with_token, answers(POST, 401), f"clc reset {A}"),
    case(4, "token refused (log in)", answers(POST, 401), f"clc reset {A}"),
    case(4, "forbidden", answers(POST, 403), f"clc reset {A}"),
    case(
        4,
        "token file missing",
        without_credentials,
        variables(CLC_TOKEN_FILE="~/token"),
        f"clc reset {A}",
    ),
    case(
        4, "quoted token", without_credentials, variables(CLC_TOKEN=f'"{jwt()}"'), f"clc reset {A}"
    ),
    case(4, "groups forbidden", answers(GROUPS, 403), "clc reset -g web -y"),
    case(4, "while waiting", cloud(duration=99), answers(STATUS, 401), f"clc reset {A} --wait"),
    case(4, "status while waiting", *RUNNING, answers(STATUS, 401), "clc status --wait"),
    case(4, "status without a token", *RUNNING, expired, "clc status"),
    case(4, "status of nothing without a token", expired, "clc status wa1-1"),
    case(4, "servers without a token", expired, "clc servers"),
    case(4, "servers refused", answers(SERVER, 401), f"clc servers {A} {B}"),
    case(4, "groups refused to servers", answers(GROUPS, 403), "clc servers"),
    case(4, "whoami without a token", without_credentials, "clc whoami"),
    case(4, "login refused", stdin("guess\n"), "clc login -u demo --password-stdin"),
    case(
        4,
        "login without a keyring",
        keeps_nothing,
        stdin("demo\n"),
        "clc login -u demo --password-stdin",
    ),
    case(4, "logout without a keyring", keeps_nothing, "clc logout"),
    # 5
    case(
        5,
        "unreachable",
        without_credentials,
        variables(CLC_TOKEN=jwt(), CLC_ACCOUNT="ALIAS"),
        answers(POST, DOWN),
        f"clc reset {A} {B}",
    ),
    case(5, "login unreachable", answers("login", DOWN), f"clc reset {A}"),
    case(5, "refused request", answers(POST, 404), f"clc reset {A}"),
    case(
        5,
        "refused with words",
        answers(POST, httpx.Response(400, json={"message": "The request is invalid."})),
        f"clc reset {A}",
    ),
    case(
        5,
        "too often",
        answers(POST, httpx.Response(429, headers={"Retry-After": "900"})),
        f"clc reset {A}",
    ),
    case(
        5,
        "groups unreadable",
        answers(GROUPS, httpx.Response(200, json={"x": 1})),
        "clc reset -g web -y",
    ),
    case(5, "groups of servers unreachable", answers(GROUPS, DOWN), "clc servers"),
    case(5, "servers unreachable", answers(SERVER, DOWN), f"clc servers {A} {B}"),
    case(5, "proxy", BAD_PROXY, f"clc reset {A}"),
    case(5, "status through a bad proxy, of nothing", BAD_PROXY, "clc servers"),
    # 6
    case(6, "lost answer", cloud(lose_answer=True), f"clc reset {A} {B}"),
    case(6, "server error", answers(POST, 503), f"clc reset {A}"),
    case(6, "no JSON", answers(POST, httpx.Response(200, content=b"<html>")), f"clc reset {A}"),
    case(6, "left out of the answer", answers(POST, link(A, "wa1-1")), f"clc reset {A} {B}"),
    case(6, "without a journal", NO_JOURNAL, answers(POST, LOST), f"clc reset {A} {B}"),
    case(6, "status, changed at once", cloud(lose_answer=True), f"clc reset {A} {C}", "clc status"),
    case(1, "status of a run that isn't there", "clc status --run x"),
    case(7, "status of a live run", live_run(A, B, sent=1), f"clc status {B}"),
    case(
        6,
        "lost in another account",
        answers(POST, LOST),
        f"clc reset {A} -a sub",
        "clc status -a sub",
    ),
    case(
        1,
        "stopped in another account",
        f"clc reset WA1ALIASXX01 {A} -a sub --at-a-time 1",
        f"clc status {A} -a sub",
    ),
    case(6, "status, not changed", answers(POST, LOST), f"clc reset {A} {C}", "clc status"),
    case(
        6,
        "status --wait to the limit",
        answers(POST, LOST),
        f"clc reset {A} {C}",
        "clc status --wait --timeout 0",
    ),
    case(6, "status without a token", *UNKNOWN, expired, "clc status"),
    case(6, "status, unreachable", *UNKNOWN, answers("GET", DOWN), "clc status"),
    case(6, "status of an operation that is gone", *RUNNING, answers(STATUS, 404), "clc status"),
    case(
        6,
        "status link elsewhere",
        answers(POST, link(A, "wa1-1", "https://example.com/x")),
        f"clc reset {A} --wait",
    ),
    case(
        6,
        "no status link",
        answers(POST, httpx.Response(200, json=[{"server": A, "isQueued": True}])),
        f"clc reset {A} --wait",
    ),
    case(6, "rolling", answers(POST, LOST), f"clc reset {A} {B} {C} --at-a-time 1"),
    case(
        6,
        "rest of it",
        answers(POST, LOST),
        f"clc reset {A} --at-a-time 1",
        "clc reset --rest-of RUN",
    ),
    case(6, "status of a killed run", live_run(A, B, sent=2), "clc status"),
    case(
        6,
        "an earlier run in doubt",
        answers(POST, LOST, link(B, "wa1-1")),
        f"clc reset {A} -q",
        f"clc reset {B} -q",
        f"clc status {A}",
    ),
    case(6, "journal unreadable", f"clc reset {A}", journal_becomes_unreadable, "clc status"),
    # 7
    case(7, "time limit", cloud(duration=99), f"clc reset {A} {C} --wait --timeout 0"),
    case(
        7,
        "time limit without a journal",
        NO_JOURNAL,
        cloud(duration=99),
        f"clc reset {A} {C} --wait --timeout 0",
    ),
    case(
        1,
        "time limit of a rolling run",
        cloud(duration=99),
        f"clc reset {A} {C} --at-a-time 1 --timeout 0",
        "clc status",
    ),
    case(7, "status", cloud(duration=99), f"clc reset {A} {C}", "clc status"),
    case(
        7,
        "status at the limit",
        cloud(duration=99),
        f"clc reset {A} {C}",
        "clc status --wait --timeout 0",
    ),
    case(7, "status, unreachable", *RUNNING, answers("GET", DOWN), "clc status"),
    case(
        7,
        "status at the limit, unreachable",
        *RUNNING,
        answers("GET", DOWN),
        "clc status --wait --timeout 0",
    ),
    case(7, "status through a bad proxy", *RUNNING, BAD_PROXY, "clc status"),
    case(7, "status, no answer", *RUNNING, answers(STATUS, 503), "clc status"),
    case(
        7,
        "an earlier run in doubt, named by the latest",
        cloud(duration=99),
        answers(POST, LOST, link(B, "wa1-1")),
        f"clc reset {A} -q",
        f"clc reset {B} -q",
        answers(STATUS, 503),
        "clc status",
    ),
    case(
        1,
        "rest of a run with a check, one server left out",
        f"clc reset WA1ALIASXX01 {A} {B} --at-a-time 1 --check false --check-timeout 1s",
        lambda world: setattr(world, "rest", world.latest),
        f"clc reset {A} --again -q",
        "clc reset --rest-of REST",
    ),
    # signals
    case(130, "status --wait of a lost reset", *UNKNOWN, signal_at(SERVER), "clc status --wait"),
    case(
        130,
        "before a rest is sent",
        f"clc reset WA1ALIASXX01 {A} --at-a-time 1",
        signal_at("login"),
        "clc reset --rest-of RUN",
    ),
    case(130, "before it is sent", signal_at("login"), f"clc reset {A}"),
    case(130, "while waiting", cloud(duration=99), signal_at(STATUS), f"clc reset {A} {C} --wait"),
    case(130, "between waves", signal_at(STATUS), f"clc reset {A} {C} --at-a-time 1"),
    case(129, "status while waiting", *RUNNING, signal_at(STATUS, 1), "clc status --wait"),
)


def main() -> None:
    for each in CASES:
        with tempfile.TemporaryDirectory() as folder, World(Path(folder))() as world:
            printed = each.play(world)[-1]
        wrong = "" if printed.code == each.code else f"   <- not {each.code}"
        print(f"=== {printed.code}: {each.title}{wrong}\n$ {printed.line}")
        print("".join(f"  | {line}\n" for line in printed.stdout.splitlines()), end="")
        print("".join(f"  {line}\n" for line in printed.stderr.splitlines()), flush=True)


if __name__ == "__main__":
    main()
