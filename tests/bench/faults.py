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
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from tests.bench.measuring import Command
from tests.bench.peers import PATIENCE, repeaters
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

Env = Mapping[str, str]


class Outcome(NamedTuple):
    """How many resets the API received, and the exit code; none where the command was ended."""

    received: int
    code: int | None

    def __str__(self) -> str:
        return f"{self.received} ({f'ended after {BOUND} s' if self.code is None else self.code})"


RIGHT = [Outcome(1, 0), Outcome(0, 5), *[Outcome(1, 6)] * len(FAULTS)]


class Line(NamedTuple):
    """What a command came to in each case."""

    name: str
    command: Command
    outcomes: Sequence[Outcome]

    @property
    def is_wrong(self) -> bool:
        """Whether this is `clc`, and repeats a reset or doesn't tell."""
        return self.name == OURS and [*self.outcomes] != RIGHT


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
        if head.startswith(b"POST / "):
            return http(fault, _XML if fault == 200 else _XML_ERROR)
        is_ours = b"/servers/reset " in head
        fine = [queued(SERVER, "wa1-1")] if is_ours else _ANSWER
        return http(fault, fine if fault == 200 else _ERROR)

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


def compare(env: Env, work: Path, only: str = "") -> tuple[list[Line], list[str]]:
    """Return a line for each command that has the word in its name, and who is skipped and why."""
    lines, skipped = [], []
    shown = {
        n: c for n, c in _commands("http://HOST", env).items() if not only or only in n.split()
    }
    there = {name: command for name, command in shown.items() if command}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = {
            (name, case): pool.submit(_outcome, name, case, env, work)
            for case in reversed(CASES)
            for name in there
        }
    for name, command in shown.items():
        outcomes = [futures[name, case].result() for case in CASES if command]
        if not command:
            skipped.append(f"{name} (not installed)")
        elif name != OURS and outcomes[0] != Outcome(1, 0):
            skipped.append(f"{name} (does not work here: {outcomes[0]})")
        else:
            lines.append(Line(name, command, outcomes))
    return lines, skipped


def _commands(url: str, env: Env) -> dict[str, Command | None]:
    variables = {**env, "CLC_BASE_URL": url, "CLC_TOKEN": jwt()}
    own = Command(OURS, (CLC, "reset", SERVER), variables)
    return {OURS: own, **dict(repeaters(url, (SERVER,), env))}


def _outcome(name: str, case: str, env: Env, work: Path) -> Outcome:
    home = mkdtemp(dir=work)  # of its own: nothing is known of an earlier reset
    with _api(case) as (url, received):
        command = _commands(url, {**env, "HOME": home})[name]
        assert command
        try:
            code = _run(command.argv, command.env, home).returncode
        except subprocess.TimeoutExpired:
            code = None
        return Outcome(len(received), code)


def _run(argv: Sequence[str], env: Env, folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )


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


def _shown(line: Line, env: Env) -> tuple[str, str, str]:
    """Return a line's version, its command as one would type it, and the script in that."""
    program, *arguments = line.command.argv
    first = line.name.split(maxsplit=1)[0]
    words, asked, script = [first, *arguments], [program, "--version"], ""
    if arguments[0] == "-c":
        script = arguments[1].strip()
        words = ["python", "-c", "SCRIPT", *arguments[2:]]
        asked = [program, "-c", f"import importlib.metadata as m; print(m.version({first!r}))"]
    variables = [f"{k}={value}" for k, value in line.command.env.items() if env.get(k) != value]
    version = re.search(r"\d+(\.\d+)+", _run(asked, line.command.env, "/").stdout)
    shown = _TOKEN.sub("TOKEN", shlex.join([*variables, *words]))
    return version[0] if version else "", shown, script


def report(
    lines: Sequence[Line], skipped: Sequence[str], env: Env, *, markdown: bool
) -> Iterator[str]:
    """Yield a table, in columns or in Markdown, and under it what was run."""
    code = "`" if markdown else ""
    today = datetime.now(UTC).date().isoformat()
    yield (
        f"{today}, {code}python -m tests.bench --faults{' --markdown' * markdown}{code}. Each "
        "command asks for one reset: how many the API received, and in brackets the exit code. In "
        f"the last {len(FAULTS)} columns it takes the request and then does what stands above them."
    )
    yield ""
    rows = [("command", *CASES), *((line.name, *map(str, line.outcomes)) for line in lines)]
    yield from table(rows, ("---",) * len(rows[0]), markdown=markdown)
    yield ""
    yield (
        f"One that hangs drops the connection after {SILENCE} s; a command that takes a time limit "
        f"was given {PATIENCE} s. Retries are the defaults, but where the name has them."
    )
    yield ""
    for line in lines:
        version, shown, script = _shown(line, env)
        yield f"- {', '.join(filter(None, (line.name, version)))}: {code}{shown}{code}"
        if script:
            fenced = ["", "```python", *script.splitlines(), "```", ""]
            yield from (f"  {text}".rstrip() for text in fenced)
    if skipped:
        yield ""
        yield f"Skipped: {', '.join(skipped)}."
