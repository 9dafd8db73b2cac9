"""`clc status`: of operations, servers and runs that are named, and of the latest reset."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import respx

from tests.builders import A, B
from tests.fakes import Run, jwt, latest_run, queued, refused, rows

Answer = Callable[..., respx.Route]
Patch = pytest.MonkeyPatch


def test_status_asks_each_operation_once(
    clc: Run, statuses: Answer, api_ctl_io: respx.Router
) -> None:
    statuses("wa1-1", "succeeded")
    statuses("va1-2", "executing")
    result = clc("status", "wa1-1", "va1-2", "wa1-1")
    assert result.exit_code == 7
    assert rows(result.stdout) == [
        ["", "succeeded", "wa1-1", "", "", ""],
        ["", "running", "va1-2", "running", "", ""],
    ]
    assert result.stderr == "1 running, 1 succeeded\n"
    assert len(api_ctl_io.calls) == 2


def test_status_waits_on_request_in_the_account_asked_for(clc: Run, statuses: Answer) -> None:
    route = statuses("wa1-1", "executing", "succeeded", alias="SUB")
    result = clc("status", "--wait", "-a", "sub", "-", stdin="wa1-1")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "wa1-1 running (0 s)"
    assert "/v2/operations/SUB/status/wa1-1" in str(route.calls.last.request.url)


def test_an_operation_that_nobody_knows_is_1_and_one_of_the_journal_6(
    clc: Run, posts: Answer, statuses: Answer
) -> None:
    posts(queued(A, "wa1-2"))
    clc("reset", A)
    statuses("wa1-[12]", 404)
    result = clc("status", "wa1-1", "-o", "json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["servers"] == []
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("not_found", 1)
    assert "Neither the journal nor the API knows: wa1-1." in result.stderr
    assert "If ABCD isn't the account of the reset, add -a." in result.stderr
    result = clc("status", "wa1-2")
    assert result.exit_code == 6
    assert rows(result.stdout)[0][:3] == [A, "unknown", "wa1-2"]


def test_the_latest_reset_is_told_with_what_its_operations_say_now(
    clc: Run, posts: Answer, statuses: Answer
) -> None:
    posts(queued(A, "wa1-1"), refused(B, "No."))
    clc("reset", A, B)
    statuses("wa1-1", "executing")
    result = clc("status")
    run = latest_run(clc)
    assert result.exit_code == 1
    assert rows(result.stdout) == [
        [A, "running", "wa1-1", "running", "", run],
        [B, "failed", "", "No.", "", run],
    ]
    assert re.fullmatch(
        r"Reset of 2 servers in account ABCD, requested at [-0-9]+ [0-9:]+ UTC "
        rf"\(run {run}\)\.\n1 running, 1 failed\. Failed: WA1ALIASWB02\n",
        result.stderr,
    )


def test_the_wait_is_taken_up_again_and_its_end_is_remembered(
    clc: Run, posts: Answer, statuses: Answer
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    route = statuses("wa1-1", "succeeded")
    assert rows(clc("status", "--wait").stdout)[0][:3] == [A, "succeeded", "wa1-1"]
    result = clc("status", "-o", "json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "succeeded"
    assert (shown["run"], shown["account"]) == (latest_run(clc), "ABCD")
    assert route.call_count == 1  # an end is an end


def test_another_account_and_another_api_are_not_meant(
    clc: Run, posts: Answer, monkeypatch: Patch
) -> None:
    posts(refused(B, "No."))
    clc("reset", B, "-a", "OTHR")
    result = clc("status")
    assert result.exit_code == 2
    assert "The journal has no reset in account ABCD at https://api.ctl.io." in result.stderr
    run = latest_run(clc)
    for arguments in (["-a", "othr"], ["--run", run]):
        assert rows(clc("status", *arguments).stdout)[0][0] == B
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    result = clc("status", "--run", run)
    assert result.exit_code == 1
    assert f"Run {run} was at https://api.ctl.io, but CLC_BASE_URL is" in result.stderr
    assert clc("status", "-a", "othr").exit_code == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no reset in account ABCD"),
        ("''", "is a shell variable unset?"),
        ("../x", "Not a server, operation or run: '../x'"),
        ("wa1-1 'a b'", "Not a server, operation or run: 'a b'"),
        ("--run ''", "is a shell variable unset?"),
        ("--run x wa1-1", "--run shows a whole run"),
        ("--timeout 3", "--timeout needs something to wait for. Add --wait."),
        ("-a ../x", "more than letters and digits"),
    ],
)
@pytest.mark.usefixtures("with_token")
def test_a_usage_error_asks_nothing(
    clc: Run, api_ctl_io: respx.Router, line: str, words: str
) -> None:
    result = clc("status", *shlex.split(line))
    assert result.exit_code == 2
    assert words in result.stderr
    assert not api_ctl_io.calls


def test_a_name_that_nobody_knows_is_1_with_what_to_do_and_hides_no_other(
    clc: Run, posts: Answer
) -> None:
    posts(queued(A, "wa1-1", "https://example.com/"))
    clc("reset", A)
    unknown = (
        "Error: The journal has no reset of 'WB01' in account ABCD at https://api.ctl.io.\n"
        "To look at the server itself: clc servers WB01\nTo list runs: clc history\n"
    )
    result = clc("status", "wb01")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", unknown)
    result = clc("status", "wb01", A, "-o", "json")
    assert unknown in result.stderr
    shown = json.loads(result.stdout)
    assert [row["server"] for row in shown["servers"]] == [A]
    assert "run" not in shown  # it isn't shown whole
    result = clc("status", "--run", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The journal has no run 'x'.\nTo list runs: clc history\n"


@pytest.mark.parametrize(
    ("line", "code"), [("status", 6), (f"status {A} -o json", 6), ("history", 1)]
)
@pytest.mark.usefixtures("with_token")
def test_a_journal_that_can_not_be_read_is_6(
    clc: Run, tmp_path: Path, line: str, code: int
) -> None:
    (tmp_path / "clc-reset" / "journal.sqlite3").mkdir(parents=True)
    result = clc(*line.split())
    assert result.exit_code == code
    assert "/clc-reset/journal.sqlite3 can't be read: " in result.stderr
    assert "Remove " in result.stderr


def test_a_token_that_tells_no_account_is_enough_where_the_journal_does(
    clc: Run, posts: Answer, monkeypatch: Patch
) -> None:
    posts(refused(B, "No."))
    clc("reset", B)
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    assert rows(clc("status").stdout)[0][0] == B
    result = clc("status", "wa1-7")
    assert result.exit_code == 2
    assert "with -a" in result.stderr


def test_without_a_token_what_is_known_is_shown_and_why_no_more_is(
    clc: Run, posts: Answer, monkeypatch: Patch
) -> None:
    posts(queued(A, "wa1-1"), refused(B, "No."))
    clc("reset", A, B)
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=-1))
    result = clc("status", "-o", "json")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert [row["state"] for row in shown["servers"]] == ["queued", "failed"]
    assert shown["error"]["kind"] == "authentication"
    assert "expired on" in result.stderr
