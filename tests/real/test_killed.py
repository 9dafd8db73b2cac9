"""What is left of a reset that was killed, or that many others had to share the journal with."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from clc_reset.journal import FILE, Entry, Journal, Run
from clc_reset.models import OperationStatus, Sending, ServerState
from tests.fakes import CLC, HANG, http, jwt, loopback, queued, run_clc, wait_until

A, B = "WA1ALIASWB01", "WA1ALIASWB02"
TWO = http(200, [queued(A, "wa1-1"), queued(B, "wa1-1")])
RUNNING = http(200, {"status": "executing"}, "Connection: close\r\n")
DONE = http(200, {"status": "succeeded"}, "Connection: close\r\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "clc-reset"


@pytest.fixture
def journal(folder: Path) -> Journal:
    return Journal(str(folder), pytest.fail)


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "CLC_TOKEN": jwt(), "CLC_BASE_URL": url}


@contextmanager
def resetting(url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [CLC, "reset", A, B, "-q", *arguments],
        env=environment(url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield running
    running.kill()
    running.wait()


def status(url: str) -> tuple[int, list[tuple[str, str]]]:
    result = run_clc("status", "-o", "json", env=environment(url))
    shown = json.loads(result.stdout)
    states = [(each["server"], each["state"]) for each in shown.get("servers", [])]
    return result.returncode, states


# The command


def test_killed_before_anything_was_asked_there_is_nothing_to_tell(journal: Journal) -> None:
    with loopback(HANG) as server:
        with resetting(server.url, "--wait"):
            pass
        assert server.posts == 0
        assert status(server.url) == (2, [])


def test_killed_with_the_request_in_flight_it_may_have_been_sent(journal: Journal) -> None:
    with loopback(HANG) as server:
        with resetting(server.url, "--wait"):
            wait_until(lambda: server.posts)
        server.script[:] = [http(404)]
        for _ in range(2):  # what status meets changes nothing of what was sent
            assert status(server.url) == (6, [(A, "unknown"), (B, "unknown")])
        (run,) = journal.runs(9)
        assert [each.sending for each in run.waves] == [None]


def test_killed_in_the_wait_it_is_known_what_is_running(journal: Journal) -> None:
    with loopback(TWO, RUNNING) as server:
        with resetting(server.url, "--wait"):
            wait_until(lambda: len(server.requests) >= 2)
        assert status(server.url) == (7, [(A, "running"), (B, "running")])
        server.script[:] = [DONE]
        assert status(server.url) == (0, [(A, "succeeded"), (B, "succeeded")])


def test_killed_with_the_request_in_flight_it_is_not_sent_again_by_mistake(
    journal: Journal,
) -> None:
    with loopback(HANG) as server:
        with resetting(server.url):
            wait_until(lambda: server.posts)
        server.script[:] = [http(404)]
        again = run_clc("reset", A.lower(), env=environment(server.url))
        assert (again.returncode, server.posts) == (3, 1)
        assert len(journal.runs(9)) == 1
        server.script[:] = [http(200, [queued(A, "wa1-2")])]
        again = run_clc("reset", A, "--again", env=environment(server.url))
        assert (again.returncode, server.posts) == (0, 2)


def test_killed_at_any_moment_it_tells_what_reached_the_api(journal: Journal) -> None:
    chance = random.Random(2)
    fates = set()
    for number in range(30):
        before = len(journal.runs(99))
        with loopback(TWO, RUNNING, RUNNING, DONE) as server:
            with resetting(server.url, "--wait") as running:
                # the start takes about 0.3 s, and then comes what it is about
                time.sleep(chance.uniform(0.05, 1.0) if number % 3 else 0.3 + number / 300)
                running.send_signal(signal.SIGKILL)
            server.script[:] = [DONE]
            code, states = status(server.url)
            sent = server.posts  # what was in flight when it was killed has arrived by now
            assert sent <= 1
        if len(journal.runs(99)) == before:
            assert (sent, code) == (0, 2)
            fates.add("nothing")
        elif not journal.runs(1)[0].results:
            assert (code, states) == (6, [(A, "unknown"), (B, "unknown")])
            fates.add("unknown")
        else:
            assert sent == 1
            assert (code, states) == (0, [(A, "succeeded"), (B, "succeeded")])
            fates.add("known")
    assert {"nothing", "known"} <= fates


def test_of_twenty_commands_at_the_same_moment_one_sends() -> None:
    for _ in range(5):
        with loopback(http(200, [queued(A, "wa1-1")])) as server, ExitStack() as ending:
            commands = [
                ending.enter_context(
                    subprocess.Popen(
                        [CLC, "reset", A, "-q"],
                        env=environment(server.url),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
                for _ in range(20)
            ]
            codes = sorted(each.wait(60) for each in commands)
            assert (codes, server.posts) == ([0] + [3] * 19, 1)


# The journal alone


def test_killed_at_any_moment_the_journal_has_what_it_said_it_has(
    journal: Journal, folder: Path
) -> None:
    """A process records one run after another and tells of each step when it is on disk."""
    chance = random.Random(3)
    hot = 0
    for _ in range(60):
        known = len(journal.runs(99999))
        with subprocess.Popen(
            [sys.executable, "-c", RECORDER, folder], stdout=subprocess.PIPE
        ) as recorder:
            assert recorder.stdout
            assert recorder.stdout.readline() == b"begins\n"
            time.sleep(chance.uniform(0, 0.05))
            recorder.kill()
            steps = recorder.stdout.read().decode().split("\n")[:-1]  # a line may be cut short
        undo = folder / f"{FILE}-journal"
        hot += undo.exists() and undo.stat().st_size > 0
        runs = journal.runs(99999)
        with closing(sqlite3.connect(folder / FILE)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        new = runs[: len(runs) - known]
        recorded = [step for run in reversed(new) for step in steps_of(run)]
        # all that was said is there, and one step at the most that wasn't said yet
        assert recorded[: len(steps)] == steps
        assert len(recorded) - len(steps) <= 1
        if recorded and recorded[-1].startswith("begun"):
            assert not isinstance(journal.begin("https://api", "ALIAS", None, [B]), Entry)
    assert hot


def steps_of(run: Run) -> list[str]:
    (wave,) = run.waves
    steps = [f"begun {run.id}"]
    if wave.sending:
        assert wave.sending is Sending.SENT
        assert [each.state for each in run.results.values()] == [ServerState.QUEUED] * 200
        steps.append(f"answered {run.id}")
    if run.statuses:
        assert list(run.statuses.values()) == [OperationStatus("succeeded")]
        steps.append(f"heard {run.id}")
    return steps


RECORDER = f"""
import sys
from clc_reset.journal import Journal
from clc_reset.models import (
    Operation, OperationStatus, ResetAnswer, Sending, ServerResult, ServerState
)

journal = Journal(sys.argv[1], sys.exit)
servers = ["{B}", *(f"WA1ALIASN{{number:05}}" for number in range(199))]
operation = Operation("wa1-1", "/v2/operations/alias/status/wa1-1", "ALIAS")
queued = tuple(ServerResult(each, ServerState.QUEUED, operation) for each in servers)
print("begins", flush=True)
while True:
    entry = journal.begin("https://api", "ALIAS", None, servers, unsettled_within=None)
    print("begun", entry.run, flush=True)
    entry.answered(ResetAnswer(Sending.SENT, queued))
    print("answered", entry.run, flush=True)
    entry.heard(operation, OperationStatus("succeeded"))
    entry.close()
    print("heard", entry.run, flush=True)
"""


def test_two_hundred_processes_at_once_lose_no_record(journal: Journal, folder: Path) -> None:
    at_once(200, MANY_RECORDS, folder)
    runs = journal.runs(999)
    assert len({each.id for each in runs}) == 200
    assert all(each.results and len(each.statuses) == 50 for each in runs)


MANY_RECORDS = """
    servers = [f"A{os.getpid()}N{number}" for number in range(50)]
    operations = [Operation(f"wa1-{number}", f"/{number}") for number in range(50)]
    queued = [ServerState.QUEUED] * 50
    with Journal(folder, sys.exit).begin("https://api", "ALIAS", None, servers) as entry:
        results = tuple(map(ServerResult, servers, queued, operations))
        entry.answered(ResetAnswer(Sending.SENT, results))
        for each in operations:
            entry.heard(each, OperationStatus("executing"))
"""


def test_of_twenty_processes_at_once_one_goes_ahead_a_hundred_times(
    journal: Journal, folder: Path
) -> None:
    for number in range(100):
        at_once(20, ONE_SERVER.replace("SERVER", f"WA1ALIASN{number:05}"), folder)
        assert len(journal.runs(999)) == number + 1


ONE_SERVER = """
    found = Journal(folder, sys.exit).begin("https://api", "ALIAS", None, ["SERVER"])
    assert isinstance(found, Entry) or found[0].server == "SERVER"
"""


def test_a_corrupt_journal_is_set_aside_once_by_twenty_processes(
    journal: Journal, folder: Path
) -> None:
    for number in range(20):
        for each in folder.glob("*"):
            each.unlink()
        folder.mkdir(exist_ok=True)
        (folder / FILE).write_bytes(b"no database" * (100 + number))
        at_once(20, AFTER_A_CORRUPT_ONE, folder)
        assert len(journal.runs(99)) == 20
        assert len(list(folder.glob(f"{FILE}.corrupt-*"))) == 1


AFTER_A_CORRUPT_ONE = """
    notes = []
    Journal(folder, notes.append).begin("https://api", "ALIAS", None, [f"A{os.getpid()}"])
    assert all("was corrupt" in each for each in notes), notes
"""


def at_once(processes: int, work: str, folder: Path) -> None:
    """Do some work in many processes at the same moment."""
    program = AT_ONCE.replace("WORK", work)
    command = [sys.executable, "-c", program, str(folder), str(processes)]
    subprocess.run(command, check=True, timeout=120)


AT_ONCE = """
import os, sys, traceback
from clc_reset.journal import Entry, Journal
from clc_reset.models import (
    Operation, OperationStatus, ResetAnswer, Sending, ServerResult, ServerState
)

folder, processes = sys.argv[1], int(sys.argv[2])

def work():
WORK

gate, ready = os.pipe()
for _ in range(processes):
    if os.fork() == 0:
        os.close(ready)
        os.read(gate, 1)  # until all are there
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
os.close(ready)
sys.exit(any([os.wait()[1] for _ in range(processes)]))
"""


# A disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount") or "", shutil.which("umount") or ""
    make = [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(make, check=False, capture_output=True).returncode:
        pytest.skip("needs root, to mount a small disk")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


def test_on_a_full_disk_a_reset_goes_on_with_one_warning(small_disk: Path) -> None:
    notes: list[str] = []
    journal = Journal(str(small_disk / "clc-reset"), notes.append)
    while not notes:
        entry = journal.begin("https://api", "ALIAS", None, [A] * 9, unsettled_within=None)
    assert isinstance(entry, Entry)
    assert "the journal can't be written: database or disk is full. " in notes[0]
    known = len(journal.runs(99999))
    assert known > 9
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        state = {**environment(server.url), "XDG_STATE_HOME": str(small_disk)}
        result = run_clc("reset", A, env=state)
        assert (result.returncode, server.posts) == (0, 1)
    assert result.stderr.count("Warning: the journal can't be written") == 1
    assert len(journal.runs(99999)) == known
