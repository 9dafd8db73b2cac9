"""`clc status`: of operations, servers and runs that are named, and of the latest reset."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import respx

from tests.cli.conftest import Run
from tests.fakes import (
    CLC,
    HANG,
    environment,
    http,
    jwt,
    loopback,
    queued,
    rows,
    run_clc,
    wait_until,
)

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASJOB03"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt())


def latest(clc: Run) -> str:
    """The id of the latest run."""
    return rows(clc("history").stdout)[0][0]


# --- status ------------------------------------------------------------------------------------


def test_status_asks_each_operation_once(
    clc: Run, statuses: Callable[..., respx.Route], api_ctl_io: respx.Router
) -> None:
    statuses("wa1-1", "succeeded")
    statuses("va1-2", "executing")
    result = clc("status", "wa1-1", "va1-2", "wa1-1")
    assert result.exit_code == 7
    assert rows(result.stdout) == [
        ["", "succeeded", "wa1-1", ""],
        ["", "running", "va1-2", "executing"],
    ]
    assert result.stderr == "1 running, 1 succeeded\n"
    assert len(api_ctl_io.calls) == 2


def test_status_of_done_operations_is_0_and_of_a_failed_one_1(
    clc: Run, statuses: Callable[..., respx.Route]
) -> None:
    statuses("wa1-1", "succeeded")
    statuses("va1-2", "failed")
    assert clc("status", "wa1-1").exit_code == 0
    assert clc("status", "wa1-1", "va1-2").exit_code == 1


def test_status_waits_on_request_in_the_account_asked_for(
    clc: Run, statuses: Callable[..., respx.Route]
) -> None:
    route = statuses("wa1-1", "executing", "succeeded", alias="SUB")
    result = clc("status", "--wait", "-a", "sub", "-", stdin="wa1-1")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "wa1-1 executing (0 s)"
    assert "/v2/operations/SUB/status/wa1-1" in str(route.calls.last.request.url)


def test_status_of_an_operation_that_is_not_there_is_unknown(
    clc: Run, statuses: Callable[..., respx.Route]
) -> None:
    statuses("wa1-1", 404)
    result = clc("status", "wa1-1", "-o", "json")
    assert result.exit_code == 6
    shown = json.loads(result.stdout)
    assert shown["servers"] == [
        {
            "server": None,
            "state": "unknown",
            "operation": "wa1-1",
            "message": "No status yet: the API answered 404.",
            "changed_at": None,
            "changed_by": None,
            "seen_at": None,
        }
    ]
    assert "No status of 1 operation: wa1-1." in result.stderr


def test_status_that_waits_for_one_that_is_not_heard_of_is_7_at_the_time_limit(
    clc: Run, statuses: Callable[..., respx.Route]
) -> None:
    statuses("wa1-1", 404)
    statuses("wa1-2", "failed")
    result = clc("status", "wa1-1", "--wait", "--timeout", "0")
    assert result.exit_code == 7
    assert result.stdout == "\tqueued\twa1-1\tNo status yet: the API answered 404.\n"
    assert result.stderr.endswith("To follow them: clc status --wait wa1-1\n")
    assert clc("status", "wa1-1", "wa1-2", "--wait", "--timeout", "0").exit_code == 1


def test_an_api_that_is_not_reached_is_said_and_never_5(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.get().mock(side_effect=httpx.ConnectError("refused"))
    result = clc("status", "wa1-1", "wa1-2", "-o", "json")
    assert result.exit_code == 7
    shown = json.loads(result.stdout)
    assert shown["error"]["kind"] == "unreachable"
    assert [each["operation"] for each in shown["servers"]] == ["wa1-1", "wa1-2"]


def test_status_that_is_only_partly_reached_tells_what_it_heard(
    clc: Run, statuses: Callable[..., respx.Route], api_ctl_io: respx.Router
) -> None:
    statuses("wa1-1", "succeeded")
    api_ctl_io.get(url__regex="wa1-2").mock(side_effect=httpx.ConnectError("refused"))
    assert clc("status", "wa1-1", "wa1-2").exit_code == 6


def test_status_that_is_denied_is_4(clc: Run, statuses: Callable[..., respx.Route]) -> None:
    statuses("wa1-1", 403)
    assert clc("status", "wa1-1").exit_code == 4


@pytest.mark.parametrize("arguments", [[], [""], ["../x"], ["wa1-1", "a b"]])
def test_operation_ids_that_can_not_be_are_a_usage_error(
    clc: Run, arguments: list[str], api_ctl_io: respx.Router
) -> None:
    assert clc("status", *arguments).exit_code == 2
    assert not api_ctl_io.calls


def test_the_latest_reset_is_told_with_what_its_operations_say_now(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., respx.Route]
) -> None:
    refused = {"server": B, "isQueued": False, "errorMessage": "No."}
    posts(queued(A, "wa1-1"), refused)
    clc("reset", A, B)
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(200, json={"status": "executing"})
    result = clc("status")
    assert rows(result.stdout) == [[A, "running", "wa1-1", "executing"], [B, "failed", "", "No."]]
    assert re.fullmatch(
        r"Reset of 2 servers in account ABCD, requested at [-0-9]+ [0-9:]+ UTC "
        r"\(run [-0-9a-f]+\)\.\n1 running, 1 failed: WA1ALIASWB02\n",
        result.stderr,
    )
    assert result.exit_code == 1
    assert latest(clc) in result.stderr


def test_the_wait_is_taken_up_again_and_its_end_is_remembered(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    route = api_ctl_io.get("/v2/operations/abcd/status/wa1-1")
    route.respond(200, json={"status": "succeeded"})
    assert rows(clc("status", "--wait", "-q").stdout) == [[A, "succeeded", "wa1-1", ""]]
    result = clc("status", "-o", "json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "succeeded"
    assert (shown["run"], shown["account"]) == (latest(clc), "ABCD")
    assert route.call_count == 1  # an end is an end


def test_a_wait_that_was_interrupted_is_remembered_so_far(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(200, json={"status": "resumed"})
    assert clc("reset", A, "--wait", "--timeout", "0", "-q").exit_code == 7
    assert rows(clc("history").stdout)[0][3] == "1 running"


def test_an_operation_that_tells_nothing_is_still_queued(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(503)
    result = clc("status")
    assert rows(result.stdout) == [[A, "queued", "wa1-1", "No status yet: the API answered 503."]]
    assert result.exit_code == 7


def test_what_was_asked_without_an_answer_is_told_as_that(tmp_path: Path) -> None:
    with loopback(HANG) as server:
        at = environment(CLC_BASE_URL=server.url, XDG_STATE_HOME=str(tmp_path))
        killed = subprocess.Popen([CLC, "reset", A, B], env=at)
        wait_until(lambda: server.posts == 1)
        killed.kill()
        killed.wait(20)
        server.done.set()
        server.script[:] = [http(404)]
        result = run_clc("status", "-o", "json", env=at)
        listed = run_clc("history", env=at)
    assert result.returncode == 6
    shown = json.loads(result.stdout)
    assert [(each["server"], each["state"]) for each in shown["servers"]] == [
        (A, "unknown"),
        (B, "unknown"),
    ]
    assert re.match(
        r"Maybe sent at [-0-9]+ [0-9:]+ UTC, no answer was ever recorded",
        shown["servers"][0]["message"],
    )
    assert shown["error"]["kind"] == "outcome_unknown"
    assert "They may have been reset, or not." in result.stderr
    assert rows(listed.stdout)[0][3] == "2 unknown"


def test_an_outcome_that_was_unknown_stays_so(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(500)
    assert clc("reset", A).exit_code == 6
    result = clc("status")
    assert result.exit_code == 6
    assert rows(result.stdout)[0][1] == "unknown"
    assert "the API answered 500. The outcome is unknown for 1 server: " in result.stderr


def test_what_was_certainly_not_sent_is_told_as_that(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(404)
    assert clc("reset", A).exit_code == 5
    result = clc("status")
    assert result.exit_code == 1
    assert rows(result.stdout) == [[A, "not sent", "", "The API refused the request (404)."]]


def test_another_account_and_another_api_are_not_meant(
    clc: Run,
    posts: Callable[..., respx.Route],
    api_ctl_io: respx.Router,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A, "-a", "OTHR")
    result = clc("status")
    assert result.exit_code == 2
    assert "the journal has no reset in account ABCD at https://api.ctl.io." in result.stderr
    assert rows(clc("status", "-a", "othr").stdout)[0][0] == A
    run = latest(clc)
    assert rows(clc("status", "--run", run).stdout)[0][0] == A
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    result = clc("status", "--run", run)
    assert result.exit_code == 2
    assert f"Run {run} was at https://api.ctl.io, but this is" in result.stderr
    assert clc("status", "-a", "othr").exit_code == 2


def test_an_older_run_is_told_by_its_id(clc: Run, posts: Callable[..., respx.Route]) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A)
    older = latest(clc)
    clc("reset", B)
    assert [row[0] for row in rows(clc("status", "--run", older).stdout)] == [A]
    assert [row[0] for row in rows(clc("status").stdout)] == [B]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", ""], "is a shell variable unset?"),
        (["--timeout", "3"], "--timeout needs something to wait for. Add --wait."),
        (["wb01"], "no reset of 'WB01' in account ABCD"),
        ([], "no reset in account ABCD"),
        (["-a", "../x"], "can't be an account alias"),
        (["--run", "x"], "no run 'x'"),
        (["--run", "x", "wa1-1"], "--run shows a whole reset"),
    ],
)
def test_a_run_that_makes_no_sense_is_a_usage_error(
    clc: Run, arguments: list[str], words: str
) -> None:
    result = clc("status", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_journal_that_can_not_be_read_is_a_usage_error(clc: Run, tmp_path: Path) -> None:
    (tmp_path / "clc-reset" / "journal.sqlite3").mkdir(parents=True)
    for arguments in (["status"], ["history"]):
        result = clc(*arguments)
        assert result.exit_code == 2
        assert "The journal can't be read: " in result.stderr


# --- servers, operations and runs that are named ------------------------------------------------


def test_servers_operations_and_runs_are_found_in_the_journal(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    clc("reset", A, C)
    posts(queued(B, "wa1-3"))
    clc("reset", B)
    for operation in ("wa1-1", "va1-2", "wa1-3"):
        statuses(operation, "succeeded")
    run = rows(clc("history").stdout)[1][0]
    for names, servers in (
        ([A.lower()], [A]),
        ([C, B], [C, B]),
        (["VA1-2"], [C]),
        ([run], [A, C]),
        ([run[:-2], B], [A, C, B]),
    ):
        result = clc("status", *names)
        assert result.exit_code == 0
        assert [row[0] for row in rows(result.stdout)] == servers
    assert json.loads(clc("status", run, "-o", "json").stdout)["run"] == run
    assert "run" not in json.loads(clc("status", A, B, "-o", "json").stdout)


def test_a_token_that_tells_no_account_is_enough_where_the_journal_does(
    clc: Run, posts: Callable[..., respx.Route], monkeypatch: pytest.MonkeyPatch
) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A)
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    assert rows(clc("status").stdout)[0][0] == A
    result = clc("status", "wa1-7")
    assert result.exit_code == 2
    assert "with -a" in result.stderr


# --- where the API can't be asked ---------------------------------------------------------------


@pytest.fixture
def expired(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setenv("CLC_TOKEN", jwt(days_left=-1))


def test_without_a_token_what_is_known_is_shown_and_why_no_more_is(
    clc: Run, posts: Callable[..., respx.Route], expired: Callable[[], None]
) -> None:
    posts(queued(A, "wa1-1"), {"server": B, "isQueued": False})
    clc("reset", A, B)
    expired()
    result = clc("status", "-o", "json")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert [each["state"] for each in shown["servers"]] == ["queued", "failed"]
    assert shown["error"]["kind"] == "authentication"
    assert "expired on" in result.stderr


def test_what_is_over_needs_no_token(
    clc: Run, posts: Callable[..., respx.Route], expired: Callable[[], None]
) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A)
    expired()
    result = clc("status")
    assert (result.exit_code, rows(result.stdout)[0][1]) == (1, "failed")
    assert "expired" not in result.stderr


@pytest.mark.parametrize(
    ("variables", "code"),
    [({"ALL_PROXY": "socks5://127.0.0.1:9"}, 6), ({"CLC_TOKEN": jwt(days_left=-1)}, 4)],
)
def test_operations_that_nobody_knows_and_nobody_can_ask_are_shown_as_that(
    clc: Run,
    posts: Callable[..., respx.Route],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    code: int,
) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = clc("status", A, "wa1-77777", "-o", "json")
    assert result.exit_code == code
    assert [(each["server"], each["state"]) for each in json.loads(result.stdout)["servers"]] == [
        (A, "failed"),
        (None, "unknown"),
    ]


def test_a_base_url_that_can_not_be_used_is_a_usage_error_here_too(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_BASE_URL", "http://api.ctl.io")
    assert clc("status").exit_code == 2


def test_where_nothing_is_known_and_nobody_can_be_asked_it_only_says_why(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=-1))
    result = clc("status", "wa1-1")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "The token from CLC_TOKEN expired on" in result.stderr
