"""Each way to each exit code, with what it prints: plays what `tests/messages.txt` says.

`python -m tests.messages` writes there what is printed now, and prints it.
"""

import io
import os
import re
import shlex
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TextIO
from unittest import mock

import httpx
import keyring
from keyring.backends import fail

from clc_reset.cli.main import command
from clc_reset.cli.options import Invocation
from clc_reset.clocks import Clocks
from clc_reset.errors import Interrupted
from clc_reset.journal.record import NewRun
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal
from clc_reset.models import RollingOptions
from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest
from clc_reset.workers import Inbox
from tests.builders import FAR, ORIGIN, A, B
from tests.fakes import MemoryKeyring, Typed, jwt, queued

FILE = Path(__file__).with_suffix(".txt")

Answer = httpx.Response | Exception | Interrupted | int

PATHS = {
    "POST": "POST .*/reset",
    "STATUS": "GET .*/status/",
    "SERVER-B": f"GET /v2/servers/.*{B}",
    "SERVER": "GET /v2/servers/",
    "GROUPS": "datacenters",
    "LOGIN": "login",
    "GET": "GET",
}
ANSWERS: dict[str, Answer] = {
    "down": httpx.ConnectError("[Errno 111] Connection refused"),
    "lost": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "A": httpx.Response(200, json=[queued(A, "wa1-1", "/v2/operations/alias/status/wa1-1")]),
    "B": httpx.Response(200, json=[queued(B, "wa1-1", "/v2/operations/alias/status/wa1-1")]),
    "A+B": httpx.Response(200, json=[queued(A, "wa1-1"), queued(B, "wa1-1")]),
    "elsewhere": httpx.Response(200, json=[queued(A, "wa1-1", "https://example.com/x")]),
    "linkless": httpx.Response(200, json=[{"server": A, "isQueued": True}]),
    "succeeded": httpx.Response(200, json={"status": "succeeded"}),
    "html": httpx.Response(200, content=b"<html>"),
    "nonsense": httpx.Response(200, json={"x": 1}),
    "words": httpx.Response(400, json={"message": "The request is invalid."}),
    "opaque": httpx.Response(200, json={"bearerToken": "opaque"}),
    "later": httpx.Response(429, headers={"Retry-After": "900"}),
}
VOLATILE = {
    r"\d{8}-\d{6}-[0-9a-f]{8}": "RUN",
    r"(?!2015)20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?\+00:00)?( UTC)?": "TIME",
    r"1[34] d \d+ h": "14 d",
    r"\d+ s ago": "0 s ago",
    r"as of \d\d:\d\d:\d\d": "as of TIME",
    r" \d+ s \|": " 0 s |",
    r"\(\d+ s\)": "(0 s)",
    r" in \d+ s(?=$|\. Failed)": "",  # of a busy machine
    r" \(env var: .*?\)": "",  # not of each click
    r"\AUsage: .*\n(Try .*\n)?\n": "",
}
"""Patterns of what differs between two plays, and what the file has in their place."""


class Printed(NamedTuple):
    """What one command came to."""

    code: object
    stdout: str
    stderr: str
    posts: int

    def lines(self, home: Path) -> str:
        """Return what the file has: first standard output, behind bars, as its cells are."""
        out = "".join(f"| {line}\n" for line in self.stdout.splitlines()).replace("\t", " | ")
        shown = self.stderr
        for pattern, instead in VOLATILE.items():
            out, shown = (re.sub(pattern, instead, t, flags=re.MULTILINE) for t in (out, shown))
        # operations and checks come in any order
        shown = re.sub(r"((.*\(0 s\).*|Checking .*|\w+: no)\n)+", _sorted, shown)
        text = f"{out}{shown}".replace(f"{home}", "HOME").replace(f"{Path.cwd()}", "FOLDER")
        return re.sub(" +$", "", text, flags=re.MULTILINE)


def _sorted(lines: re.Match[str]) -> str:
    return "".join(sorted(lines[0].splitlines(keepends=True)))


class World:
    """A machine with a home, and a cloud at the platform's address. Use it as a context."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cloud = Cloud(Behaviour(duration=0.0), time.time, Random(1))
        self.answers: dict[str, list[Answer]] = {}
        self.stdin: TextIO = pipe("")
        self.invocation = Invocation()
        self.ended = threading.Event()
        self.posts = 0
        self.records: list[object] = []

    @contextmanager
    def __call__(self) -> Iterator["World"]:
        kept = {k: v for k, v in os.environ.items() if k.startswith("COV") or k == "PATH"}
        own = {"HOME": f"{self.home}", "CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"}
        before = keyring.get_keyring()
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, kept | own, clear=True))
            transport = mock.patch.object(httpx.HTTPTransport, "handle_request", self._handle)
            stack.enter_context(transport)
            # the system's certificates take longer than a command
            stack.enter_context(mock.patch.object(ssl.SSLContext, "load_default_certs"))
            stack.callback(keyring.set_keyring, before)
            keyring.set_keyring(MemoryKeyring())
            yield self

    def _handle(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request, f"{request.method} {request.url.path}")
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    def _answer(self, request: httpx.Request, line: str) -> httpx.Response:
        if re.match("POST .*/operations/", line):
            self.posts += 1
        for pattern, answers in self.answers.items():
            if re.search(pattern, line):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, Interrupted):
                    self.invocation.inbox.interrupt(answer.signum)
                    self.ended.wait(5)  # no answer comes before the signal
                    break
                if isinstance(answer, Exception):
                    raise answer
                return httpx.Response(answer) if isinstance(answer, int) else answer
        headers = {name.lower(): value for name, value in request.headers.items()}
        target = request.url.raw_path.decode()
        response = self.cloud.handle(HTTPRequest(request.method, target, headers, request.read()))
        if response is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(response.status, headers=response.headers, content=response.body)

    def do(self, step: str) -> None:
        """Carry out a step: a command, or a change of this machine or of the cloud.

        `POST lost 404` lets resets be answered so, the last one for ever; `signal 2 STATUS` comes
        with a request; `live 1 A B` is a run by a living process that intends one of its servers;
        `tab 'clc re'` is a Tab press at the end of a line.
        """
        first, *others = words = step.split()
        if first == "clc":
            self.run(step)
        elif first in PATHS:
            self.answers[PATHS[first]] = [int(a) if a.isdigit() else ANSWERS[a] for a in others]
        elif "=" in step:
            if "TOKEN" in step:
                self.do("no credentials")
            name, _, value = step.partition("=")
            os.environ[name] = value
        elif first == "signal":
            self.answers[PATHS[words[2]]] = [Interrupted(int(words[1]))]
        elif first == "live":
            size, servers = int(words[1]), self._expand(step).split()[2:]
            run = NewRun(Where(ORIGIN, "ALIAS"), "demo", tuple(servers), RollingOptions(size))
            self.records.append(self.journal.begin(run, again=True))
        elif first == "types":
            self.stdin = Typed("".join(f"{word}\n" for word in others))
        elif first == "stdin":
            self.stdin = pipe(f"{others[0]}\n")
        elif step in BEHAVIOURS:
            self.cloud.behaviour = replace(self.cloud.behaviour, **BEHAVIOURS[step])
        else:
            STEPS[step](self)

    def _expand(self, line: str) -> str:
        """Replace A, B and C by servers, RUN and FIRST by the latest and the first run."""
        line = re.sub(r"\b[ABC]\b", lambda name: {"A": A, "B": B, "C": FAR}[name[0]], line)
        if re.search("RUN|FIRST", line):
            runs = self.journal.runs(9, ())
            line = line.replace("RUN", runs[0].id).replace("FIRST", runs[-1].id)
        return line

    def run(self, line: str) -> Printed:
        line = self._expand(line)
        arguments = shlex.split(line)[1:]
        if line.startswith("tab "):
            (typed,) = arguments
            place = f"{typed.count(' ')}"
            os.environ.update(_CLC_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=place)
            arguments = []
        self.invocation = Invocation()
        printed = io.BytesIO()
        stdout = io.TextIOWrapper(printed, "utf-8", write_through=True)
        stderr = Typed() if isinstance(self.stdin, Typed) else io.StringIO()
        self.posts = 0
        with (
            mock.patch.object(sys, "stdin", self.stdin),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            try:
                command(arguments, obj=self.invocation)
            except SystemExit as ended:
                code = ended.code
        if self.invocation.inbox.signum is not None:
            self.ended.set()
        assert self.posts == 0 or arguments[:1] == ["reset"]
        return Printed(code, printed.getvalue().decode(), stderr.getvalue(), self.posts)

    @property
    def journal(self) -> Journal:
        return Journal.of_environment(os.environ, Inbox(), Clocks())


def pipe(text: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()))


def _without_credentials(_world: World) -> None:
    for name in ("CLC_USERNAME", "CLC_PASSWORD"):
        os.environ.pop(name, None)


def _unreadable_journal(world: World) -> None:
    folder = world.home / ".local/state/clc-reset"
    for file in folder.glob("journal.sqlite3*"):
        file.unlink()
    (folder / "journal.sqlite3").mkdir(parents=True)


BEHAVIOURS: dict[str, dict[str, Any]] = {
    "slow": {"duration": 99},
    "fails": {"fail": frozenset({B})},  # and with it the operation that others share
    "loses answers": {"lose_answer": True},
    "expired tokens": {"expired_token": True},
}
STEPS: dict[str, Callable[[World], object]] = {
    "no credentials": _without_credentials,
    "no keyring": lambda _world: keyring.set_keyring(fail.Keyring()),  # type: ignore[no-untyped-call]
    "a token": lambda world: world.do(f"CLC_TOKEN={jwt()}"),
    "expired token": lambda world: world.do(f"CLC_TOKEN={jwt(days_left=-1)}"),
    "unreadable journal": _unreadable_journal,
}


class Case(NamedTuple):
    """A way to an exit code: its title, steps of which the last is the command, and its output."""

    code: int
    title: str
    steps: str
    output: str

    def play(self, home: Path) -> Printed:
        """Carry out the steps; return what the last command printed."""
        *before, last = self.steps.split(" | ")
        with World(home)() as world:
            for step in before:
                world.do(step)
            return world.run(last)


def cases() -> list[Case]:
    found = re.findall(
        r"^=== (\d+) ([^:]+): (.+)\n((?:(?!===).*\n)*)", FILE.read_text(), re.MULTILINE
    )
    return [Case(int(code), title, steps, text.strip("\n")) for code, title, steps, text in found]


def main() -> None:
    text = FILE.read_text().partition("\n===")[0] + "\n"
    for case in cases():
        with tempfile.TemporaryDirectory() as home:
            printed = case.play(Path(home))
            text += f"=== {printed.code} {case.title}: {case.steps}\n{printed.lines(Path(home))}\n"
    FILE.write_text(f"{text.rstrip()}\n")
    print(text)


if __name__ == "__main__":
    main()
