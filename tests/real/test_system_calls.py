"""A reset whose system calls fail, that is killed at one, or that begins together with others."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import A, B
from tests.fakes import CLC, Loopback, Run, http, jwt, loopback, queued

DONE = http(200, {"status": "succeeded"})
QUEUED = http(200, [queued(B, "wa1-1"), queued(A, "wa1-1")])
STRACE = shutil.which("strace")
CALLS = {"write": 4, "pwrite64": 6, "fsync": 2, "fdatasync": 3, "ftruncate": 3, "unlink": 2}
"""How many times a reset makes each, at the least; later ones are the nearest to the end."""
COMMIT = "ftruncate"
"""The system call with which SQLite commits: what comes before it is rolled back."""

needs_strace = pytest.mark.skipif(STRACE is None, reason="needs strace (Debian package strace)")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with loopback(QUEUED) as server:
        monkeypatch.setenv("CLC_TOKEN", jwt())
        monkeypatch.setenv("CLC_BASE_URL", server.url)
        yield server


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def traced(call: str, fault: str, *arguments: str) -> tuple[int, str]:
    """Run a reset in which a system call goes wrong; return its exit code and what it printed."""
    options = ("-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{fault}")
    with start(str(STRACE), *options, CLC, "reset", A, B, *arguments) as process:
        shown, _ = process.communicate(timeout=60)
    return process.returncode, shown


def answer(server: str) -> bytes:
    return http(200, [queued(server, f"wa1-{server[-1]}")])


def posted(api: Loopback) -> list[str]:
    """Return the servers of each POST that arrived, one after another."""
    bodies = [re.findall(r"\[.*\]", request.decode()) for request in api.requests]
    return [name for body in bodies if body for name in json.loads(body[0])]


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EPIPE", "EAGAIN"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_changes_no_exit_code_and_loses_no_result(
    api: Loopback, call: str, error: str
) -> None:
    for when in range(1, CALLS[call] + 1):
        api.requests.clear()
        code, shown = traced(call, f"error={error}:when={when}", "--again")
        assert "Traceback" not in shown
        assert api.posts == 1, shown
        if code == 141:  # nobody reads any more, says the system
            assert (call, error) == ("write", "EPIPE")
            continue
        assert code == 0, shown
        assert A in shown
        assert B in shown


@needs_strace
def test_killed_at_any_commit_no_server_is_lost_or_sent_twice(
    api: Loopback, clc: Run, tmp_path: Path
) -> None:
    seen = set()
    killed, number = True, 0
    while killed:
        number += 1
        shutil.rmtree(tmp_path / "clc-reset", ignore_errors=True)
        api.requests.clear()
        api.script[:] = [answer(A), DONE, answer(B), DONE]
        options = ("--at-a-time", "1", "--check", "true")
        code, _ = traced(COMMIT, f"signal=KILL:when={number}", *options)
        killed = code == -signal.SIGKILL
        before = posted(api)
        api.script[:] = [DONE]
        result = clc("status", "-o", "json")
        shown = json.loads(result.stdout)
        states = {server["server"]: server["state"] for server in shown.get("servers", [])}
        seen.add(tuple(states.values()))
        if not states:
            assert (result.exit_code, before) == (2, [])
            continue
        rest, doubtful, succeeded = (
            [server for server in states if states[server] == state]
            for state in ("not sent", "unknown", "succeeded")
        )
        assert sorted([*rest, *doubtful, *succeeded]) == [A, B]
        assert {*succeeded} <= {*before} <= {*succeeded, *doubtful}
        assert result.exit_code == (6 if doubtful else 1 if rest else 0)
        api.script[:] = [*(part for server in rest for part in (answer(server), DONE)), DONE]
        rest_of = clc("reset", "--rest-of", shown["run"])
        assert rest_of.exit_code == (6 if doubtful and not rest else 0)
        assert posted(api) == [*before, *rest]
    doubt = {("unknown", "not sent"), ("succeeded", "unknown")}
    assert {(), *doubt, ("succeeded", "not sent"), ("succeeded", "succeeded")} <= seen


def test_of_many_commands_at_the_same_moment_one_sends_and_no_record_is_lost(
    api: Loopback, clc: Run
) -> None:
    api.script[:] = [http(200, [queued(A, "wa1-1")])]
    others = [f"WA1ALIASN{number:02}" for number in range(5)]
    commands = [start(CLC, "reset", name) for name in [A] * 5 + others]
    for command in commands:
        command.communicate(timeout=60)
    assert sorted(command.returncode for command in commands[:5]) == [0, 3, 3, 3, 3]
    assert sorted(posted(api)) == sorted([A, *others])
    assert len(clc("history").stdout.splitlines()) == 6
