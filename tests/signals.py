"""Sends a signal at a line of `clc`, and holds what came of it to what the API saw."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clc_reset.clocks import Clocks
from clc_reset.journal.rows import RowState, Run
from clc_reset.journal.runs import Journal
from clc_reset.workers import Inbox
from tests.builders import A, B
from tests.fakes import Loopback, http, jwt, queued

QUEUED = http(200, [queued(B, "wa1-1"), queued(A, "wa1-1")])
RUNNING = http(200, {"status": "executing"})
DONE = http(200, {"status": "succeeded"})
LOGIN = http(200, {"userName": "demo", "accountAlias": "ABCD", "bearerToken": jwt()})

SCRIPTS: dict[str, tuple[list[str], list[bytes]]] = {
    "reset": (["reset", A, B], [QUEUED]),
    "reset, in JSON": (["reset", A, B, "-o", "json"], [QUEUED]),
    "reset --wait": (["reset", A, B, "--wait"], [QUEUED, RUNNING, DONE]),
    "status --wait": (["status", "--wait"], [QUEUED, RUNNING, DONE]),
    "login": (["login", "-u", "demo", "--password-stdin"], [LOGIN]),
}


class Ended(NamedTuple):
    """What a run came to."""

    code: int
    lines: int
    stdout: str
    stderr: str
    posts: int
    signum: int
    run: Run | None


class Driver:
    """Runs commands in forks of one process, against one server."""

    def __init__(self, folder: Path, server: Loopback) -> None:
        self._folder = folder
        self._server = server
        self._runs = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, at: int = 0, signum: int = signal.SIGINT) -> Ended:
        """Run one of SCRIPTS, with a signal at the line of that number, or none."""
        argv, script = SCRIPTS[name]
        self._runs += 1
        folder = self._folder / f"{self._runs}"
        folder.mkdir()
        if name == "status --wait":
            self._ask(["reset", A, B], [QUEUED], folder, 0, signum)
            script = script[1:]
        before = self._resets()
        answer = self._ask(argv, script, folder, at, signum)
        environ = {"HOME": str(folder), "XDG_STATE_HOME": str(folder)}
        runs = Journal.of_environment(environ, Inbox(), Clocks()).runs(1, ())
        return Ended(
            answer["code"],
            answer["lines"],
            (folder / "stdout").read_text(),
            (folder / "stderr").read_text(),
            self._resets() - before,
            signum,
            runs[0] if runs else None,
        )

    def _ask(
        self, argv: Sequence[str], script: Sequence[bytes], folder: Path, at: int, signum: int
    ) -> dict[str, int]:
        self._server.script[:] = script
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder),
            "CLC_BASE_URL": self._server.url,
            "LANG": "C.UTF-8",
        }
        if argv[0] != "login":
            env["CLC_TOKEN"] = jwt()
        request = {"argv": argv, "env": env, "folder": str(folder), "at": at, "signum": signum}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def _resets(self) -> int:
        """Return how many POSTs to a power operation have reached the server."""
        return sum(line.startswith(b"POST /v2/operations/") for line in self._server.requests)


@contextmanager
def driving(folder: Path, server: Loopback) -> Iterator[Driver]:
    driver = Driver(folder, server)
    with driver.process:  # its standard input is closed then
        yield driver


def check(name: str, ended: Ended) -> None:
    """What the API saw, what was printed, what the journal says and the exit code agree."""
    shown = ended.stdout + ended.stderr
    assert "Traceback" not in shown, shown
    assert "bug in clc" not in shown, shown
    assert "Exception ignored" not in shown, shown
    assert "secret-of-demo" not in shown
    sends = name.startswith("reset")
    assert ended.posts <= sends, ended
    if ended.code == -ended.signum:  # before there was a handler
        assert (ended.posts, shown) == (0, ""), ended
        return
    states = _states(ended.stdout)
    interrupted = 128 + ended.signum
    assert ended.code in {0, 6, interrupted}, ended
    assert ended.code != 6 or "unknown" in states.values(), ended
    if name == "login":
        return
    if sends and ended.posts == 0 and states == {}:
        assert ended.code == interrupted, ended
        rows = ended.run.rows if ended.run else ()
        assert {row.state for row in rows} <= {RowState.PLANNED}, ended
        assert ended.run is None or not ended.run.may_go_on, ended
        return
    assert ended.run is not None, ended
    recorded = {row.state for row in ended.run.rows}
    if "unknown" in states.values():
        assert sends, ended
        assert states == {A: "unknown", B: "unknown"}, ended
        # the process may end between its decision to send and the first byte
        assert ended.posts == 1 or ended.code == interrupted, ended
        assert recorded == {RowState.UNKNOWN}, ended
        return
    # a signal before `status` asked leaves no more to say than that it was interrupted
    assert set(states) in ({A, B}, {A, B} if sends else set()), ended
    assert ended.posts == sends, ended
    assert set(states.values()) <= {"queued", "running", "succeeded"}, ended
    assert recorded == {RowState.QUEUED}, ended
    if "--wait" in name and ended.code == 0:
        assert states == {A: "succeeded", B: "succeeded"}, ended


def _states(stdout: str) -> dict[str, str]:
    if stdout.startswith("{"):
        servers = json.loads(stdout).get("servers", [])
        return {server["server"]: server["state"] for server in servers}
    rows = (line.split("\t") for line in stdout.splitlines())
    return {row[0]: row[1] for row in rows}
