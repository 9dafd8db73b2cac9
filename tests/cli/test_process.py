"""`clc reset` as a process: signals, broken streams and locales."""

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import TextIO

import pytest

from tests.builders import A
from tests.fakes import CLC, HANG, environment, http, loopback, queued, refused, shell, wait_until

QUEUED = http(200, [queued(A, "wa1-1")])
MANY = " ".join(f"WA1ALIASN{n:05d}" for n in range(5000))


def reset(
    *arguments: str, stdin: TextIO | int = subprocess.DEVNULL, before: str = "", **variables: str
) -> subprocess.Popen[bytes]:
    """Start a reset whose output goes into pipes."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f'{before} exec "$0" reset "$@"', CLC, *arguments],
        bufsize=0,
        env=environment(**variables),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("signum", "before", "answers", "state"),
    [
        (signal.SIGINT, "", [], "unknown"),
        (signal.SIGTERM, "trap '' HUP;", [], "unknown"),  # it stays ignored
        (signal.SIGTERM, "", [QUEUED], "queued"),
        (signal.SIGHUP, "", [QUEUED], "queued"),
    ],
)
def test_a_signal_ends_the_wait_for_an_answer_or_an_operation_at_once(
    signum: int, before: str, answers: list[bytes], state: str
) -> None:
    with loopback(*answers, HANG) as server:
        running = reset(A, "--wait", "-o", "json", before=before, CLC_BASE_URL=server.url)
        wait_until(lambda: len(server.requests) == len(answers) + 1)
        if before:
            running.send_signal(signal.SIGHUP)
        running.send_signal(signum)
        out, err = running.communicate(timeout=5)
    code = running.returncode
    assert code == 128 + signum
    shown = json.loads(out)
    assert [(row["server"], row["state"]) for row in shown["servers"]] == [(A, state)]
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("interrupted", code)
    assert f"clc status {'--wait ' * len(answers)}--run {shown['run']}\n".encode() in err
    assert b"Traceback" not in err


@pytest.fixture
def blocked(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A reset of 5,000 servers whose standard output is a full pipe that nobody reads yet."""
    entities = [{"server": server, "isQueued": True} for server in MANY.split()]
    (tmp_path / "servers").write_text(MANY)
    with loopback(http(200, entities)) as server, (tmp_path / "servers").open() as servers:
        running = reset("-", "-o", "json", stdin=servers, CLC_BASE_URL=server.url)
        assert running.stdout
        assert running.stdout.read(1) == b"{"
    return running


def test_a_signal_while_the_result_is_printed_changes_nothing_of_it(
    blocked: subprocess.Popen[bytes],
) -> None:
    blocked.send_signal(signal.SIGINT)
    out, err = blocked.communicate(timeout=20)
    shown = json.loads(b"{" + out)
    assert [result["server"] for result in shown["servers"]] == MANY.split()
    assert (blocked.returncode, b"Traceback" in err) == (0, False)


def test_a_later_signal_ends_the_process_at_once(blocked: subprocess.Popen[bytes]) -> None:
    def signalled() -> bool:
        blocked.send_signal(signal.SIGTERM)
        return blocked.poll() is not None

    wait_until(signalled)
    blocked.communicate()
    assert blocked.returncode == -signal.SIGTERM


def test_a_closed_pipe_is_141_quietly() -> None:
    result = shell(f"CLC reset -n -a ALIAS - <<<'{MANY}' | head -1; echo ${{PIPESTATUS[0]}}")
    assert result.stdout.splitlines()[-1] == "141"
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing_of_the_exit_code(closed: str) -> None:
    with loopback(QUEUED) as server:
        result = shell(f"CLC reset {A} {A} {closed}", CLC_BASE_URL=server.url)
        assert server.posts == 1
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    if closed == ">&-":
        assert f"{A}\tqueued" in result.stderr


@pytest.mark.parametrize("form", ["table", "tsv", "json"])
def test_what_an_ascii_screen_lacks_is_escaped(form: str) -> None:
    encoding = {"PYTHONIOENCODING": "ascii"} if form == "tsv" else {"LC_ALL": "C"}
    with loopback(http(200, [refused(A, "Grün \ud800 ✓")])) as server:
        variables = {"CLC_BASE_URL": server.url, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        result = shell(f"CLC reset {A} -o {form}", **variables, **encoding)
    assert result.returncode == 1
    assert result.stdout.isascii()
    assert re.search(r"Gr\\(xfc|u00fc)n", result.stdout)
    assert "bug in clc" not in result.stderr
