"""What is left of a reset that was killed, and of many that begin at the same moment."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.builders import A, B, C
from tests.fakes import CLC, HANG, Loopback, Run, http, jwt, loopback, queued, wait_until

SERVERS = A, B, C
DONE = http(200, {"status": "succeeded"})
EXECUTING = http(200, {"status": "executing"})
ROLLING = ("--at-a-time", "1", "--check", "true")
STRACE = shutil.which("strace")
COMMIT = "ftruncate"
"""The system call with which SQLite commits: what comes before it is rolled back."""


def answer(server: str) -> bytes:
    return http(200, [queued(server, f"wa1-{server[-1]}")])


def posted(server: Loopback) -> list[str]:
    """The servers of each POST that arrived, one after another."""
    bodies = [re.findall(r"\[.*\]", request.decode()) for request in server.requests]
    return [name for body in bodies if body for name in json.loads(body[0])]


def run_ids(clc: Run) -> list[str]:
    """The runs of the journal, the latest first."""
    return [run["run"] for run in json.loads(clc("history", "-o", "json").stdout)["runs"]]


class Operator:
    """Starts resets at an API, and looks at what became of them."""

    def __init__(self, clc: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clc = clc
        self.server = server
        monkeypatch.setenv("CLC_TOKEN", jwt())
        monkeypatch.setenv("CLC_BASE_URL", server.url)

    def start(self, *arguments: str, through: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*through, CLC, "reset", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def status(self, *script: bytes) -> tuple[int, dict[str, str]]:
        self.server.script[:] = script
        result = self._clc("status", "-o", "json")
        servers = json.loads(result.stdout).get("servers", [])
        return result.exit_code, {shown["server"]: shown["state"] for shown in servers}

    def send_rest(self, *servers: str) -> int:
        """Go on with the latest run, whose rest should be these servers."""
        answers = [script for server in servers for script in (answer(server), DONE)]
        self.server.script[:] = [*answers, DONE]
        return self._clc("reset", "--rest-of", run_ids(self._clc)[0]).exit_code


@pytest.fixture
def operator(clc: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    with loopback(HANG) as server:
        yield Operator(clc, server, monkeypatch)


@pytest.mark.parametrize(
    ("script", "states", "code"),
    [
        ([HANG], ("unknown", "not sent", "not sent"), 6),
        ([answer(A), EXECUTING, HANG], ("succeeded", "not sent", "not sent"), 1),
        ([answer(A), DONE, HANG], ("succeeded", "unknown", "not sent"), 6),
        ([answer(A), DONE, answer(B), EXECUTING, HANG], ("succeeded", "succeeded", "not sent"), 1),
    ],
    ids=["first request", "first wait", "second request", "second wait"],
)
def test_a_killed_run_knows_what_it_did_not_send_and_that_can_be_sent(
    operator: Operator, script: list[bytes | None], states: tuple[str, ...], code: int
) -> None:
    operator.server.script[:] = script
    with operator.start(*SERVERS, *ROLLING) as reset:
        wait_until(lambda: len(operator.server.requests) == len(script))
        reset.kill()
    before = posted(operator.server)
    for _ in range(2):  # to look changes nothing
        assert operator.status(DONE) == (code, dict(zip(SERVERS, states, strict=True)))
    rest = [name for name, state in zip(SERVERS, states, strict=True) if state == "not sent"]
    assert operator.send_rest(*rest) == 0
    assert posted(operator.server) == [*before, *rest] == list(SERVERS)


@pytest.mark.skipif(STRACE is None, reason="needs strace (Debian package strace)")
def test_killed_at_any_commit_no_server_is_lost_or_sent_twice(
    operator: Operator, tmp_path: Path
) -> None:
    seen = set()
    killed, number = True, 0
    while killed:
        number += 1
        kill = f"inject={COMMIT}:signal=KILL:when={number}"
        through = (str(STRACE), "-o", os.devnull, "-e", f"trace={COMMIT}", "-e", kill)
        shutil.rmtree(tmp_path / "clc-reset", ignore_errors=True)
        operator.server.requests.clear()
        operator.server.script[:] = [answer(A), DONE, answer(B), DONE]
        killed = operator.start(A, B, *ROLLING, through=through).wait(60) == -signal.SIGKILL
        before = posted(operator.server)
        code, states = operator.status(DONE)
        seen.add(tuple(states.values()))
        if not states:
            assert (code, before) == (2, [])
            continue
        rest, doubtful, succeeded = (
            [server for server in states if states[server] == state]
            for state in ("not sent", "unknown", "succeeded")
        )
        assert sorted([*rest, *doubtful, *succeeded]) == [A, B]
        assert {*succeeded} <= {*before} <= {*succeeded, *doubtful}
        assert code == (6 if doubtful else 1 if rest else 0)
        assert operator.send_rest(*rest) == (6 if doubtful and not rest else 0)
        assert posted(operator.server) == [*before, *rest]
    doubt = {("unknown", "not sent"), ("succeeded", "unknown")}
    assert {(), *doubt, ("succeeded", "not sent"), ("succeeded", "succeeded")} <= seen


def test_of_many_commands_at_the_same_moment_one_sends_and_no_record_is_lost(
    operator: Operator, clc: Run
) -> None:
    operator.server.script[:] = [http(200, [queued(A, "wa1-1")])]
    others = [f"WA1ALIASN{number:02}" for number in range(5)]
    with ExitStack() as ending:
        commands = [ending.enter_context(operator.start(name)) for name in [A] * 5 + others]
        codes = [command.wait(60) for command in commands]
    assert sorted(codes[:5]) == [0, 3, 3, 3, 3]
    assert sorted(posted(operator.server)) == sorted([A, *others])
    assert len(run_ids(clc)) == 6
