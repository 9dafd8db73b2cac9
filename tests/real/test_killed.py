"""The worst night: the process is killed at any moment, and the journal tells the truth of it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clc_reset.journal import Journal, Run
from tests.fakes import CLC, HANG, http, jwt, loopback, queued, run_clc, wait_until

A, B = "WA1ALIASWB01", "WA1ALIASWB02"
TWO = http(200, [queued(A, "wa1-1"), queued(B, "wa1-1")])
RUNNING = http(200, {"status": "executing"}, "Connection: close\r\n")
DONE = http(200, {"status": "succeeded"}, "Connection: close\r\n")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "clc-reset"), lambda _problem: None)


@contextmanager
def resetting(url: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [CLC, "reset", A, B, "--wait", "-q"],
        env={**os.environ, "CLC_TOKEN": jwt(), "CLC_BASE_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield running
    running.kill()
    running.wait()


def status(url: str) -> tuple[int, list[tuple[str, str]]]:
    result = run_clc("status", "-o", "json", env={"CLC_TOKEN": jwt(), "CLC_BASE_URL": url})
    shown = json.loads(result.stdout)
    states = [(each["server"], each["state"]) for each in shown.get("servers", [])]
    return result.returncode, states


def runs(journal: Journal) -> list[Run]:
    return list(journal.runs())


def test_killed_before_anything_was_asked_there_is_nothing_to_tell(journal: Journal) -> None:
    with loopback(HANG) as server:
        with resetting(server.url):
            pass
        assert server.posts == 0
        assert status(server.url) == (2, [])


def test_killed_with_the_request_in_flight_it_may_have_been_sent(journal: Journal) -> None:
    with loopback(HANG) as server:
        with resetting(server.url):
            wait_until(lambda: server.posts)
        code, states = status(server.url)
    assert (code, states) == (6, [(A, "unknown"), (B, "unknown")])


def test_killed_in_the_wait_it_is_known_what_is_running(journal: Journal) -> None:
    with loopback(TWO, RUNNING) as server:
        with resetting(server.url):
            wait_until(lambda: len(server.requests) == 2)
        assert status(server.url) == (7, [(A, "running"), (B, "running")])
    server.script = [DONE]


def test_killed_at_any_moment_it_tells_what_reached_the_api(journal: Journal) -> None:
    chance = random.Random(2)
    fates = set()
    for _ in range(30):
        before = len(runs(journal))
        with loopback(TWO, RUNNING, RUNNING, DONE) as server:
            with resetting(server.url) as running:
                time.sleep(chance.uniform(0.05, 1.0))  # a moment is what this is about
                running.send_signal(signal.SIGKILL)
            server.script[:] = [DONE]
            code, states = status(server.url)
            sent = server.posts  # what was in flight when it was killed has arrived by now
            assert sent <= 1
        if len(runs(journal)) == before:
            assert (sent, code) == (0, 2)
            fates.add("nothing")
        elif runs(journal)[0].results is None:
            assert (code, states) == (6, [(A, "unknown"), (B, "unknown")])
            fates.add("unknown")
        else:
            assert sent == 1
            assert (code, states) == (0, [(A, "succeeded"), (B, "succeeded")])
            fates.add("known")
    assert {"nothing", "known"} <= fates


def test_killed_in_the_middle_of_a_write_the_rest_is_told(journal: Journal, tmp_path: Path) -> None:
    with loopback(TWO, DONE) as server:
        environment = {"CLC_TOKEN": jwt(), "CLC_BASE_URL": server.url}
        run_clc("reset", A, B, env=environment)
        (file,) = (tmp_path / "clc-reset").iterdir()
        whole = file.read_bytes()
        answer = whole.index(b'{"run"', whole.index(b'"asked"'))
        for cut in range(answer, len(whole), 97):
            file.write_bytes(whole[:cut])
            expected = (6, [(A, "unknown"), (B, "unknown")])
            assert status(server.url) == expected
            file.write_bytes(whole[:cut])
            with journal.begin(server.url, "ABCD", ["NEXT"]):
                pass
            assert [each.servers for each in runs(journal)] == [["NEXT"], [A, B]]


def test_two_hundred_processes_at_once_lose_no_record(journal: Journal, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", TWO_HUNDRED, tmp_path / "clc-reset"], check=True, timeout=60
    )
    told = runs(journal)
    assert len({each.id for each in told}) == 200
    assert all(each.results and len(each.statuses) == 50 for each in told)


TWO_HUNDRED = """
import os, sys
from clc_reset.journal import Journal
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState

read, write = os.pipe()
for _ in range(200):
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)  # until all are there
        with Journal(sys.argv[1], sys.exit).begin("https://api", "ALIAS", ["A"]) as entry:
            entry.answered([ServerResult("A", ServerState.QUEUED, Operation("wa1-1", "/1"))])
            for number in range(50):
                entry.changed(Operation("", f"/{number}"), OperationStatus("executing"))
        os._exit(0)
os.close(write)
sys.exit(any(os.wait()[1] for _ in range(200)))
"""
