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
from typing import Any, NamedTuple
from unittest import mock

import httpx
import keyring
from keyring.backends import fail

from clc_reset.cli.main import command
from clc_reset.cli.options import Invocation
from clc_reset.clocks import Clocks
from clc_reset.journal.record import NewRun
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal
from clc_reset.models import RollingOptions
from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.workers import Inbox
from tests.builders import FAR, ORIGIN, A, B
from tests.conftest import through
from tests.fakes import POWER_POSTS, MemoryKeyring, Typed, jwt, only_reset_resets, queued

Answer = httpx.Response | Exception | int
BEHAVIOURS: dict[str, dict[str, Any]] = {
    "slow": {"duration": 99},
    "fails": {"fail": frozenset({B})},  # and with it the operation that others share
    "loses answers": {"lose_answer": True},
    "expired tokens": {"expired_token": True},
}


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
        self.records: list[object] = []
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

    def do(self, step: str) -> None:
        """Carry out a step: a command, or a change of this machine or of the cloud.

        `POST lost 404` lets resets be answered so, the last one for ever; `signal 2 STATUS` comes
        with a request; `live 1 A B` is a run by a living process that intends one of its servers.
        """
        first, *others = words = self._expand(step).split()
        behaviour = BEHAVIOURS.get(step)
        if first == "clc":
            self.run(step)
        elif behaviour:
            self.cloud.behaviour = replace(self.cloud.behaviour, **behaviour)
        elif first in PATHS:
            others = step.split()[1:]
            self.answers[PATHS[first]] = [int(a) if a.isdigit() else ANSWERS[a] for a in others]
        elif "=" in step:
            if "TOKEN" in step:
                self.do("no credentials")
            name, _, value = step.partition("=")
            os.environ[name] = value
        elif first == "signal":
            self.signals[PATHS[words[2]]] = int(words[1])
        elif first == "live":
            size = int(words[1])
            run = NewRun(Where(ORIGIN, "ALIAS"), "demo", (*words[2:],), RollingOptions(size))
            self.records.append(self.journal.begin(run, again=True))
        elif first == "types":
            self.typed = "".join(f"{word}\n" for word in others)
        elif first == "stdin":
            self.stdin = f"{others[0]}\n"
        else:
            STEPS[step](self)

    def _expand(self, line: str) -> str:
        """Replace A, B and C by servers, RUN by the latest run, REST by one kept in `rest`."""
        line = re.sub(r"\b[ABC]\b", lambda name: {"A": A, "B": B, "C": FAR}[name[0]], line)
        line = line.replace("REST", self.rest)
        return line.replace("RUN", self.latest) if "RUN" in line else line

    def run(self, line: str) -> Printed:
        """Run a command line."""
        line = self._expand(line)
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


def _without_credentials(_world: World) -> None:
    for name in ("CLC_USERNAME", "CLC_PASSWORD"):
        os.environ.pop(name, None)


def _unreadable_journal(world: World) -> None:
    folder = world.home / ".local/state/clc-reset"
    for file in folder.glob("journal.sqlite3*"):
        file.unlink()
    (folder / "journal.sqlite3").mkdir(parents=True)


def _checked_rest(world: World) -> None:
    world.run("clc reset WA1ALIASXX01 A B --at-a-time 1 --check false --check-timeout 1s")
    world.rest = world.latest


STEPS: dict[str, Callable[[World], object]] = {
    "no credentials": _without_credentials,
    "no keyring": lambda _world: keyring.set_keyring(fail.Keyring()),  # type: ignore[no-untyped-call]
    "a token": lambda world: world.do(f"CLC_TOKEN={jwt()}"),
    "expired token": lambda world: world.do(f"CLC_TOKEN={jwt(days_left=-1)}"),
    "unreadable journal": _unreadable_journal,
    "checked rest": _checked_rest,
}


class Case(NamedTuple):
    """A way to an exit code: what comes before, and as the last step the command."""

    code: int
    title: str
    steps: tuple[str, ...]

    def play(self, world: World) -> Printed:
        """Carry out the steps; return what the last command printed."""
        *before, last = self.steps
        for step in before:
            world.do(step)
        return world.run(last)


def queues(server: str, href: str = "") -> httpx.Response:
    """The answer that one server is queued."""
    href = href or "/v2/operations/alias/status/wa1-1"
    return httpx.Response(200, json=[queued(server, "wa1-1", href)])


PATHS = {
    "POST": "POST .*/reset",
    "STATUS": "GET .*/status/",
    "SERVER": "GET /v2/servers/",
    "GROUPS": "datacenters",
    "LOGIN": "login",
    "GET": "GET",
}
ANSWERS: dict[str, Answer] = {
    "down": httpx.ConnectError("[Errno 111] Connection refused"),
    "lost": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "A": queues(A),
    "B": queues(B),
    "A+B": httpx.Response(200, json=[queued(A, "wa1-1"), queued(B, "wa1-1")]),
    "elsewhere": queues(A, "https://example.com/x"),
    "linkless": httpx.Response(200, json=[{"server": A, "isQueued": True}]),
    "succeeded": httpx.Response(200, json={"status": "succeeded"}),
    "html": httpx.Response(200, content=b"<html>"),
    "nonsense": httpx.Response(200, json={"x": 1}),
    "words": httpx.Response(400, json={"message": "The request is invalid."}),
    "later": httpx.Response(429, headers={"Retry-After": "900"}),
}

# code, title: steps | the command; see World.do
CASES = tuple(
    Case(int(code), title, tuple(steps.split(" | ")))
    for code, title, steps in re.findall(
        r"^(\d+) ([^:]+): (.+)$",
        """
0 queued: clc reset A B
0 succeeded: clc reset A C --wait
0 quietly: clc reset A --wait -q
0 dry run: clc reset A B -n -a alias
0 dry run, account unknown: clc reset A -n
0 dry run, unsettled: slow | clc reset A | clc reset A -n -a alias
0 dry run of a rest: live 1 A B | clc reset -n --rest-of RUN
0 nothing left: clc reset A | clc status -q | clc reset --rest-of RUN
0 a group: clc reset -g database -y
0 confirmed: types y | clc reset -g database
0 duplicates: clc reset A A -q
0 one unasked: POST A+B | clc reset A
0 on a terminal: types | clc reset A
0 journal can't be used: unreadable journal | clc reset A
0 journal is off: CLC_NO_JOURNAL=1 | clc reset A
0 status: clc reset A C | clc status
0 status --wait: clc reset A C | clc status --wait
0 status of an operation: clc reset A | clc status wa1-12345
0 history: clc reset A C | clc history
0 no history: clc history
0 no history of a server: clc history A
0 servers: clc servers A -o json
0 no servers: clc servers -g staging
0 login: stdin demo | clc login -u demo --password-stdin
0 not logged in: clc logout
0 whoami: clc whoami
1 refused: clc reset A WA1ALIASXX01
1 operation failed: fails | clc reset B --wait
1 shared operation failed: fails | clc reset A B --wait
1 status of it: fails | clc reset A B --wait | clc status
1 check failed: clc reset A B --check 'echo no; false' --check-timeout 1s
1 stopped by a failure: clc reset WA1ALIASXX01 A B --at-a-time 1
1 status of the stopped run: clc reset WA1ALIASXX01 A B --at-a-time 1 | clc status
1 status of one server of it: clc reset WA1ALIASXX01 A B --at-a-time 1 | clc status A
1 wave 2 refused: POST A 403 | STATUS succeeded | clc reset A B C --at-a-time 1
1 wave 2 unreachable: POST A down | STATUS succeeded | clc reset A B C --at-a-time 1
1 declined: types n | clc reset -g database
1 declined, unsettled: slow | clc reset A | types n | clc reset A B
1 declined, group and unsettled: slow | clc reset WA1ALIASDB01 | types n | clc reset -g database
1 status of an unknown server: clc reset A | clc status B
1 status of known and unknown: clc reset A | clc status A B 20260101-000000-00000000
1 status of an unknown operation: clc status wa1-99999
1 status of what wasn't sent: POST 404 | clc reset A | clc status
1 servers unknown: clc servers A NOSUCH
1 status of a run that isn't there: clc status --run x
1 stopped in another account: clc reset WA1ALIASXX01 A -a sub --at-a-time 1 | clc status A -a sub
1 limit of a rolling run: slow | clc reset A C --at-a-time 1 --timeout 0 | clc status
1 rest of a run with a check: checked rest | clc reset A --again -q | clc reset --rest-of REST
2 nothing named: clc reset
2 nothing in standard input: clc reset -
2 a comma: clc reset A,B
2 an empty name: clc reset ''
2 a file: clc reset @file
2 a host: clc reset web1.example.com
2 a pattern: clc reset WB[01-03]
2 a range: clc reset A-B
2 an operation: clc reset wa1-12345
2 a run: clc reset 20260115-021305-3f9a12bc
2 timeout without wait: clc reset A --timeout 3
2 pause without waves: clc reset A --pause 3
2 failures without waves: clc reset A --max-failures 1
2 check timeout without check: clc reset A --check-timeout 3
2 an empty check: clc reset A --check ' '
2 a rest and servers: clc reset A --rest-of x
2 an empty run: clc reset --rest-of ''
2 no such run: clc reset --rest-of x
2 no duration: clc reset A --timeout soon
2 no account: clc reset A -a ../x
2 a group without a terminal: clc reset -g database
2 no such group: clc reset -g nope -y
2 two such groups: clc reset -g web -y
2 a near miss: clc reset -g databas -y
2 an empty group: clc reset -g staging -y
2 no group: clc reset -g '' -y
2 status of nothing: clc status
2 status of an empty name: clc status ''
2 status of a run and a server: clc status --run x A
2 status with a timeout only: clc status --timeout 3
2 servers and groups: clc servers A -g web
2 login without a terminal: clc login
2 no number: clc history -n 0
2 no such server: clc sandbox --fail NOSUCH true
2 base URL: CLC_BASE_URL=http://api.ctl.io | clc reset A
2 base URL of status: CLC_BASE_URL=http://api.ctl.io | clc status
2 no account in the token: CLC_TOKEN=opaque | clc reset A
2 rest without a journal: CLC_NO_JOURNAL=1 | clc reset --rest-of x
2 status without a journal: CLC_NO_JOURNAL=1 | clc status
2 rest at another API: clc reset A | CLC_BASE_URL=https://x.example | clc reset --rest-of RUN
2 rest of a run in another account: clc reset A | clc reset --rest-of RUN -a other
3 still running: slow | clc reset A | clc reset A B
3 outcome unknown: POST lost | clc reset A | clc reset A
3 planned by a live run: live 1 A B | clc reset B
3 rest of a live run: live 1 A B | clc reset --rest-of RUN
3 rest to follow first: slow | clc reset A B --at-a-time 1 --timeout 0 | clc reset --rest-of RUN
3 rest without a readable journal: unreadable journal | clc reset --rest-of x
4 no token: no credentials | clc reset A
4 no keyring: no credentials | no keyring | clc reset A
4 expired: expired token | clc reset A
4 expired at the sandbox: expired tokens | clc reset A
4 wrong password: CLC_PASSWORD=guess | clc reset A
4 token refused (CLC_TOKEN): a token | POST 401 | clc reset A
4 token refused (log in): POST 401 | clc reset A
4 forbidden: POST 403 | clc reset A
4 token file missing: CLC_TOKEN_FILE=~/token | clc reset A
4 quoted token: CLC_TOKEN="x" | clc reset A
4 groups forbidden: GROUPS 403 | clc reset -g web -y
4 while waiting: slow | STATUS 401 | clc reset A --wait
4 status while waiting: slow | clc reset A | STATUS 401 | clc status --wait
4 status without a token: slow | clc reset A | expired token | clc status
4 status of nothing without a token: expired token | clc status wa1-1
4 servers without a token: expired token | clc servers
4 servers refused: SERVER 401 | clc servers A B
4 groups refused to servers: GROUPS 403 | clc servers
4 whoami without a token: no credentials | clc whoami
4 login refused: stdin guess | clc login -u demo --password-stdin
4 login without a keyring: no keyring | stdin demo | clc login -u demo --password-stdin
4 logout without a keyring: no keyring | clc logout
5 unreachable: a token | CLC_ACCOUNT=ALIAS | POST down | clc reset A B
5 login unreachable: LOGIN down | clc reset A
5 refused request: POST 404 | clc reset A
5 refused with words: POST words | clc reset A
5 too often: POST later | clc reset A
5 groups unreadable: GROUPS nonsense | clc reset -g web -y
5 groups of servers unreachable: GROUPS down | clc servers
5 servers unreachable: SERVER down | clc servers A B
5 proxy: ALL_PROXY=socks5://127.0.0.1:9 | clc reset A
5 servers through a bad proxy: ALL_PROXY=socks5://127.0.0.1:9 | clc servers
6 lost answer: loses answers | clc reset A B
6 server error: POST 503 | clc reset A
6 no JSON: POST html | clc reset A
6 left out of the answer: POST A | clc reset A B
6 without a journal: CLC_NO_JOURNAL=1 | POST lost | clc reset A B
6 status, changed at once: loses answers | clc reset A C | clc status
6 lost in another account: POST lost | clc reset A -a sub | clc status -a sub
6 status, not changed: POST lost | clc reset A C | clc status
6 status --wait to the limit: POST lost | clc reset A C | clc status --wait --timeout 0
6 status without a token: POST lost | clc reset A | expired token | clc status
6 status, unreachable: POST lost | clc reset A | GET down | clc status
6 status of an operation that is gone: slow | clc reset A | STATUS 404 | clc status
6 status link elsewhere: POST elsewhere | clc reset A --wait
6 no status link: POST linkless | clc reset A --wait
6 rolling: POST lost | clc reset A B C --at-a-time 1
6 rest of it: POST lost | clc reset A --at-a-time 1 | clc reset --rest-of RUN
6 status of a killed run: live 2 A B | clc status
6 an earlier run in doubt: POST lost B | clc reset A -q | clc reset B -q | clc status A
6 journal unreadable: clc reset A | unreadable journal | clc status
7 status of a live run: live 1 A B | clc status B
7 time limit: slow | clc reset A C --wait --timeout 0
7 time limit without a journal: CLC_NO_JOURNAL=1 | slow | clc reset A C --wait --timeout 0
7 status: slow | clc reset A C | clc status
7 status at the limit: slow | clc reset A C | clc status --wait --timeout 0
7 status, unreachable: slow | clc reset A | GET down | clc status
7 limit, unreachable: slow | clc reset A | GET down | clc status --wait --timeout 0
7 status through a bad proxy: slow | clc reset A | ALL_PROXY=socks5://127.0.0.1:9 | clc status
7 status, no answer: slow | clc reset A | STATUS 503 | clc status
7 in doubt before: POST lost B | clc reset A -q | clc reset B -q | STATUS 503 | clc status
130 status --wait of a lost reset: POST lost | clc reset A | signal 2 SERVER | clc status --wait
130 rest: clc reset WA1ALIASXX01 A --at-a-time 1 | signal 2 LOGIN | clc reset --rest-of RUN
130 before it is sent: signal 2 LOGIN | clc reset A
130 while waiting: slow | signal 2 STATUS | clc reset A C --wait
130 between waves: signal 2 STATUS | clc reset A C --at-a-time 1
129 status while waiting: slow | clc reset A | signal 1 STATUS | clc status --wait
""",
        re.MULTILINE,
    )
)


def main() -> None:
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, World(Path(folder))() as world:
            printed = case.play(world)
        wrong = "" if printed.code == case.code else f"   <- not {case.code}"
        print(f"=== {printed.code}: {case.title}{wrong}\n$ {printed.line}")
        print("".join(f"  | {line}\n" for line in printed.stdout.splitlines()), end="")
        print("".join(f"  {line}\n" for line in printed.stderr.splitlines()), flush=True)


if __name__ == "__main__":
    main()
