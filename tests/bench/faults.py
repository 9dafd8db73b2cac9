"""How many resets does an API get of one command, when its answer is lost?

Each command is run once for each fault, against an API of its own on loopback. That takes the
request, counts it as a reset when the body has arrived, and only then fails. Other requests, such
as a look-up of the server, are answered as they should be.
"""

import re
import shlex
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from tests.bench.measuring import Command
from tests.bench.peers import PATIENCE, Named, repeaters
from tests.bench.report import table
from tests.fakes import CLC, HANG, NEVER, http, jwt, queued

SERVER = "WA1ABCDWB01"
SILENCE = 8
"""Seconds without an answer, after which the API drops the connection, as gateways do."""
BOUND = 60
"""Seconds after which a command is ended."""
AT_A_TIME = 8
"""Commands: most of them wait most of the time."""

OURS = "clc reset"
FINE = "nothing goes wrong"
UNREACHED = "can't be reached"
FAULTS: Mapping[str, int | bytes | None] = {
    "drops the connection": NEVER,
    **{str(status): status for status in (500, 502, 503, 504)},
    "hangs": HANG,
}
CASES = (FINE, UNREACHED, *FAULTS)

_LENGTH = re.compile(rb"(?im)^content-length: *([0-9]+)")
_TOKEN = re.compile(re.escape(jwt().partition(".")[0]) + r"\.[\w-]+\.[\w-]+")
_RESET = re.compile(rb"POST /(?:\S+/(?:reset|reboot|action))? ")
_ACTION = {"id": 1, "status": "success", "progress": 100}
_ANSWER = {  # each cloud's client finds what it looks for, here and below
    "server": {"id": 1, "name": "one"},
    "version": {"id": "v2.1", "status": "CURRENT", "version": "2.1", "min_version": "2.1"},
    "action": _ACTION,
    "actions": [_ACTION],
}
_ERROR = {
    "message": "An error has occurred.",
    "error": {"code": "service_error", "message": "An error has occurred."},
    "errors": [{"reason": "An error has occurred."}],
}
_XML = b"<RebootInstancesResponse><return>true</return></RebootInstancesResponse>"
_XML_ERROR = (
    b"<Response><Errors><Error><Code>InternalError</Code>"
    b"<Message>An error has occurred.</Message></Error></Errors></Response>"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many resets the API received, and the exit code; none where the command was ended."""

    received: int
    code: int | None

    def __str__(self) -> str:
        return f"{self.received} ({f'ended after {BOUND} s' if self.code is None else self.code})"


@dataclass(frozen=True, slots=True)
class Line:
    """What a command came to in each case."""

    name: str
    version: str
    shown: str
    script: str
    outcomes: Mapping[str, Outcome]

    @property
    def is_wrong(self) -> bool:
        """Whether this is `clc`, and repeats a reset or doesn't tell."""
        right = {FINE: Outcome(1, 0), UNREACHED: Outcome(0, 5)} | dict.fromkeys(
            FAULTS, Outcome(1, 6)
        )
        return self.name == OURS and self.outcomes != right


class Api(socketserver.ThreadingTCPServer):
    """Takes resets, and fails in one way."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, case: str) -> None:
        self.case = case
        self.received: list[bytes] = []
        self.done = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def answer(self, head: bytes) -> bytes | None:
        if not _RESET.match(head):
            return http(200, _ANSWER)
        self.received.append(head)
        fault = FAULTS.get(self.case, 200)
        if not isinstance(fault, int):
            return fault
        is_error = fault != 200
        if head.startswith(b"POST / "):
            return http(fault, _XML_ERROR if is_error else _XML)
        if is_error:
            return http(fault, _ERROR)
        is_ours = b"/servers/reset " in head
        return http(fault, [queued(SERVER, "wa1-1")] if is_ours else _ANSWER)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that is gone


class _Handler(socketserver.StreamRequestHandler):
    server: Api

    def handle(self) -> None:
        while head := b"".join(iter(self.rfile.readline, b"\r\n")):
            length = _LENGTH.search(head)
            expected = int(length[1]) if length else 0
            if len(self.rfile.read(expected)) < expected:
                return
            answer = self.server.answer(head)
            if answer is HANG:
                self.server.done.wait(SILENCE)
            if not answer:
                return
            self.wfile.write(answer)


def compare(
    env: Mapping[str, str], work: Path, only: str = ""
) -> tuple[Sequence[Line], Sequence[str]]:
    """Return a line for each command that has the word in its name, and who is skipped and why."""
    names = [name for name, _ in _commands("", env) if not only or only in name.split()]
    there = {name for name, command in _commands("", env) if command}
    skipped = [f"{name} (not installed)" for name in names if name not in there]
    cases = [(name, case) for case in reversed(CASES) for name in names if name in there]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = pool.map(lambda each: _outcome(each[0], each[1], env, work), cases)
        found = dict(zip(cases, results, strict=True))
    lines = []
    for name in filter(there.__contains__, names):
        outcomes = {case: found[name, case] for case in CASES}
        if name != OURS and outcomes[FINE] != Outcome(1, 0):
            skipped.append(f"{name} (does not work here: {outcomes[FINE]})")
        else:
            lines.append(_line(name, env, outcomes))
    return lines, skipped


def _commands(url: str, env: Mapping[str, str]) -> Iterator[Named]:
    variables = {**env, "CLC_BASE_URL": url, "CLC_TOKEN": jwt()}
    yield OURS, Command(OURS, (CLC, "reset", SERVER), variables)
    yield from repeaters(url, (SERVER,), env)


def _outcome(name: str, case: str, env: Mapping[str, str], work: Path) -> Outcome:
    home = mkdtemp(dir=work)  # of its own: nothing is known of an earlier reset
    with _api(case) as (url, received):
        command = dict(_commands(url, {**env, "HOME": home}))[name]
        assert command
        try:
            code = subprocess.run(
                command.argv,
                env=command.env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=BOUND,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        return Outcome(len(received), code)


@contextmanager
def _api(case: str) -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield a URL, and the resets that are received there."""
    if case == UNREACHED:
        with socket.socket() as nobody_listens:
            nobody_listens.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{nobody_listens.getsockname()[1]}", ()
        return
    with Api(case) as api:
        threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{api.server_address[1]}", api.received
        api.done.set()
        api.shutdown()


def _line(name: str, env: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> Line:
    """Return a command's line, the command as one would type it."""
    url = "http://HOST"
    command = dict(_commands(url, env))[name]
    assert command
    program, *arguments = command.argv
    first = name.split(maxsplit=1)[0]
    variables = [f"{key}={value}" for key, value in command.env.items() if env.get(key) != value]
    words = [*variables, first, *arguments]
    script = ""
    asked = [program, "--version"]
    if arguments[0] == "-c":
        script = arguments[1].strip()
        words = [*variables, "python", "-c", "SCRIPT", *arguments[2:]]
        of_it = f"import importlib.metadata as m; print(m.version({first!r}))"
        asked = [program, "-c", of_it]
    shown = _TOKEN.sub("TOKEN", shlex.join(words))
    return Line(name, _version(asked, command.env), shown, script, outcomes)


def _version(argv: Sequence[str], env: Mapping[str, str]) -> str:
    result = subprocess.run(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    found = re.search(r"\d+(\.\d+)+", result.stdout)
    return found[0] if found else ""


def report(lines: Sequence[Line], skipped: Sequence[str], *, markdown: bool) -> Iterator[str]:
    """Yield a table, in columns or in Markdown, and under it what was run."""
    code = "`" if markdown else ""
    today = datetime.now(UTC).date().isoformat()
    yield (
        f"{today}, {code}python -m tests.bench --faults{' --markdown' * markdown}{code}. Each "
        "command asks for one reset: how many the API received, and in brackets the exit code. In "
        f"the last {len(FAULTS)} columns it takes the request and then does what stands above them."
    )
    yield ""
    cells = ((each.name, *map(str, each.outcomes.values())) for each in lines)
    rows = [("command", *CASES), *cells]
    yield from table(rows, ("---",) * len(rows[0]), markdown=markdown)
    yield ""
    yield (
        f"One that hangs drops the connection after {SILENCE} s; a command that takes a time limit "
        f"was given {PATIENCE} s. Retries are the defaults, but where the name has them."
    )
    yield ""
    for each in lines:
        name = f"{each.name}, {each.version}" if each.version else each.name
        yield f"- {name}: {code}{each.shown}{code}"
        if each.script:
            fenced = ["", "```python", *each.script.splitlines(), "```", ""]
            yield from (f"  {line}".rstrip() for line in fenced)
    if skipped:
        yield ""
        yield f"Skipped: {', '.join(skipped)}."
