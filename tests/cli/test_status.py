import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import httpx
import pytest
import respx

from clc_reset.cli.following import go_on, resume_hint
from clc_reset.models import Operation
from tests.cli.conftest import Run
from tests.cli.test_main import environment
from tests.fakes import CLC, HANG, Terminal, http, jwt, loopback, queued, run_clc, wait_until

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
TWO = [A, B]


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt())


@pytest.fixture
def posts(api_ctl_io: respx.Router) -> Callable[..., None]:
    """Let a reset be answered by these entities."""

    def answer(*entities: dict[str, object]) -> None:
        api_ctl_io.post().respond(200, json=entities)

    return answer


@pytest.fixture
def statuses(api_ctl_io: respx.Router) -> Callable[..., respx.Route]:
    """Let an operation be answered by these words, the last one for ever."""

    def answer(operation: str, *words: str | int, alias: str = "abcd") -> respx.Route:
        left = list(words)

        def next_word(_request: httpx.Request) -> httpx.Response:
            word = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(word, int):
                return httpx.Response(word)
            return httpx.Response(200, json={"status": word})

        path = f"(?i)/v2/operations/{alias}/status/{operation}$"
        return api_ctl_io.get(url__regex=path).mock(side_effect=next_word)

    return answer


def rows(stdout: str) -> list[list[str]]:
    return [line.split("\t") for line in stdout.splitlines()]


# --- reset --wait ------------------------------------------------------------------------------


def test_reset_waits_until_every_operation_has_succeeded(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(B, "wa1-1"), queued(A, "wa1-1"), queued(C, "va1-2"))
    shared = statuses("wa1-1", "resumed", "succeeded")
    statuses("va1-2", "succeeded")
    result = clc("reset", A, B, C, "--wait")
    assert result.exit_code == 0
    assert rows(result.stdout) == [
        [A, "succeeded", "wa1-1", ""],
        [B, "succeeded", "wa1-1", ""],
        [C, "succeeded", "va1-2", ""],
    ]
    assert shared.call_count == 2
    lines = result.stderr.splitlines()
    assert lines[0] == f"{A}, {B} wa1-1 queued (0 s)"
    assert f"{A}, {B} wa1-1 resumed (0 s)" in lines
    assert f"{C} va1-2 succeeded (0 s)" in lines


def test_quiet_shows_no_progress(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "succeeded")
    assert clc("reset", A, "--wait", "-q").stderr == ""


def test_a_failed_operation_fails_all_who_share_it_and_says_that_nobody_knows_which(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), queued(B, "wa1-1"), queued(C, "va1-2"))
    statuses("wa1-1", "failed")
    statuses("va1-2", "failed")
    result = clc("reset", A, B, C, "--wait")
    assert result.exit_code == 1
    first, second, third = rows(result.stdout)
    assert first[1:3] == second[1:3] == ["failed", "wa1-1"]
    assert "2 servers share it" in first[3]
    assert "which of them failed" in first[3]
    assert third[1:] == ["failed", "va1-2", "The operation failed; the API doesn't say why."]


def test_a_refused_server_stays_refused_and_the_others_are_waited_for(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), {"server": B, "isQueued": False, "errorMessage": "No."})
    statuses("wa1-1", "succeeded")
    result = clc("reset", A, B, "--wait")
    assert result.exit_code == 1
    assert rows(result.stdout) == [[A, "succeeded", "wa1-1", ""], [B, "failed", "", "No."]]


def test_the_time_limit_is_7_with_a_command_to_resume(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    statuses("wa1-1", "executing")
    statuses("va1-2", "paused for a while")
    result = clc("reset", A, C, "--wait", "--timeout", "100ms")
    assert result.exit_code == 7
    assert rows(result.stdout) == [
        [A, "running", "wa1-1", "executing"],
        [C, "running", "va1-2", "paused for a while"],
    ]
    assert result.stderr.endswith(
        "The time limit of 0.1 s has passed. The resets go on in the cloud. "
        "2 operations are still running.\nResume with: clc status --wait wa1-1 va1-2\n"
    )


def test_a_single_operation_is_spoken_of_as_one(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", 500)
    result = clc("reset", A, "--wait", "--timeout", "0", "-o", "json")
    assert result.exit_code == 7
    assert "1 operation is still running." in result.stderr
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "queued"
    assert shown["servers"][0]["message"] == "No status yet: the API answered 500."
    assert shown["error"]["kind"] == "time_limit"


def test_unknown_goes_before_failed_goes_before_running(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    statuses("wa1-1", "failed")
    statuses("va1-2", "executing")
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    assert clc("reset", A, C, "--wait", "--timeout", "0").exit_code == 1
    result = clc("reset", A, B, C, "--wait", "--timeout", "0")
    assert result.exit_code == 6
    assert f"unknown for 1 server: {B}." in result.stderr
    assert "Resume with: clc status --wait va1-2\n" in result.stderr


@pytest.mark.parametrize(
    "href", ["https://example.com/v2/operations/abcd/status/wa1-1", "//example.com/x", "https://["]
)
def test_a_status_link_to_another_origin_is_refused_and_gets_no_token(
    clc: Run, posts: Callable[..., None], api_ctl_io: respx.Router, href: str
) -> None:
    posts(queued(A, "wa1-1", href))
    result = clc("reset", A, "--wait")
    assert result.exit_code == 6
    assert "leads away from the API: it is not followed" in result.stdout
    assert [call.request.method for call in api_ctl_io.calls] == ["POST"]


def test_a_queued_server_without_a_status_link_can_not_be_waited_for(
    clc: Run, posts: Callable[..., None]
) -> None:
    posts({"server": A, "isQueued": True})
    result = clc("reset", A, "--wait")
    assert result.exit_code == 6
    assert rows(result.stdout)[0][1] == "unknown"


def test_a_denied_poll_ends_the_wait_with_4_and_what_is_known(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "executing", 401)
    result = clc("reset", A, "--wait", "-o", "json")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "running"
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("authentication", 4)
    assert "refused the token while waiting (401)" in result.stderr
    assert "Resume with: clc status --wait wa1-1" in result.stderr


def test_a_lost_answer_is_not_waited_for(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(503)
    assert clc("reset", A, "--wait").exit_code == 6
    assert len(api_ctl_io.calls) == 1


def test_silence_is_told_after_the_third_miss_and_when_it_ends() -> None:
    """Seven operations: five are named, the others are not."""
    entities = [queued(f"S{n}", f"wa1-{n}") for n in range(7)]
    misses = [http(503)] * 21
    with loopback(http(200, entities), *misses, http(200, {"status": "succeeded"})) as server:
        result = run_clc(
            "reset",
            *(f"S{n}" for n in range(7)),
            "--wait",
            env=environment(CLC_BASE_URL=server.url),
        )
    assert result.returncode == 0
    assert result.stderr.count("three times in a row: the API answered 503") == 5
    assert result.stderr.count("No status of further operations, either.") == 1
    assert result.stderr.count("has a status again.") == 5


def test_a_dry_run_does_not_wait(clc: Run, api_ctl_io: respx.Router) -> None:
    assert clc("reset", A, "-n", "--wait").exit_code == 0
    assert not api_ctl_io.calls


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
    assert result.stderr == ""
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
    assert result.stdout == "\tunknown\twa1-1\tNo status yet: the API answered 404.\n"
    assert result.stderr.endswith("Resume with: clc status --wait wa1-1\n")
    assert clc("status", "wa1-1", "wa1-2", "--wait", "--timeout", "0").exit_code == 1


def test_status_of_an_api_that_is_not_reached_is_5(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.get().mock(side_effect=httpx.ConnectError("refused"))
    result = clc("status", "wa1-1", "wa1-2", "-o", "json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["error"]["kind"] == "unreachable"


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


# --- the command to resume ---------------------------------------------------------------------


def test_nothing_goes_on_where_nothing_is_running() -> None:
    assert go_on([]) == "No operation is still running."


def test_the_resume_command_takes_alias_and_id_from_the_link() -> None:
    operations = [
        Operation("wa1-1", "/v2/operations/abcd/status/wa1-1"),
        Operation("wa1-2", "/v2/operations/sub/status/wa1-2"),
        Operation("other", "/v2/operations/abcd/status/REAL-3"),
        Operation("wa1.4", "/v2/operations/abcd/status/wa1.4"),
        Operation("wa1-5", "/odd/wa1-5"),
    ]
    assert resume_hint(operations, "ABCD").splitlines() == [
        "Resume with: clc status --wait wa1-1 REAL-3",
        "Resume with: clc status --wait -a SUB wa1-2",
        "Not to be resumed by their ids: wa1.4, wa1-5",
    ]
    assert resume_hint(operations[:1], None) == "Resume with: clc status --wait -a ABCD wa1-1"


@pytest.mark.parametrize("variable", ["CLC_ACCOUNT", "CLC_ALIAS"])
def test_the_resume_command_names_the_account_that_the_environment_would_not_choose(
    clc: Run,
    posts: Callable[..., None],
    statuses: Callable[..., respx.Route],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "SUB1")
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "executing")
    result = clc("reset", A, "-a", "abcd", "--wait", "--timeout", "0")
    assert "Resume with: clc status --wait -a ABCD wa1-1\n" in result.stderr


def test_one_operation_in_two_spellings_of_its_link_is_one(
    clc: Run, posts: Callable[..., None], statuses: Callable[..., respx.Route]
) -> None:
    upper = "https://api.ctl.io/v2/operations/ABCD/status/wa1-1"
    posts(queued(A, "wa1-1"), queued(B, "wa1-1", upper))
    route = statuses("wa1-1", "failed")
    result = clc("reset", A, B, "--wait")
    assert route.call_count == 1
    assert result.stdout.count("2 servers share it") == 2


def test_words_of_the_api_can_not_forge_a_line(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., None]
) -> None:
    posts(queued(A, "wa1-1\nResume with: evil"), queued(C, "va1-2"))
    answers = iter([{"status": "a\nResume with: evil"}, {"status": "\x07"}])

    def answer(_request: httpx.Request) -> httpx.Response:
        body = next(answers, None)
        message = {"message": "x\nResume with: evil"}
        return httpx.Response(200, json=body) if body else httpx.Response(401, json=message)

    api_ctl_io.get().mock(side_effect=answer)
    result = clc("reset", A, C, "--wait", "--timeout", "2")
    assert not [line for line in result.stderr.splitlines() if line.startswith("Resume with: evil")]


def test_the_resume_command_works_when_it_is_pasted() -> None:
    script = (
        f"clc reset {A} {C} --wait --timeout 0 2>notes; "
        "eval \"$(sed -n 's/^Resume with: //p' notes)\""
    )
    result = run_clc("sandbox", "--duration", "1s", "sh", "-c", f"cd $(mktemp -d); {script}")
    assert result.returncode == 0
    assert sorted(rows(result.stdout)[2:]) == [
        ["", "succeeded", "va1-12346", ""],
        ["", "succeeded", "wa1-12345", ""],
    ]


# --- the installed command, its signals and its terminal ---------------------------------------


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_wait_at_once_and_tells_what_is_known(signum: int, code: int) -> None:
    answers = [queued(A, "wa1-1"), queued(C, "va1-2")]
    with loopback(http(200, answers), HANG) as server:
        running = subprocess.Popen(
            [CLC, "reset", A, C, "--wait", "-o", "json"],
            env=environment(CLC_BASE_URL=server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(server.requests) == 3)
        began = time.monotonic()
        running.send_signal(signum)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code
    assert time.monotonic() - began < 1.5
    shown = json.loads(out)
    assert [each["state"] for each in shown["servers"]] == ["queued", "queued"]
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("interrupted", code)
    assert err.endswith(
        "Interrupted. The resets go on in the cloud. 2 operations are still running.\n"
        "Resume with: clc status --wait wa1-1 va1-2\n"
    )


def test_a_request_in_flight_does_not_carry_the_wait_past_its_limit() -> None:
    with loopback(http(200, [queued(A, "wa1-1")]), HANG) as server:
        began = time.monotonic()
        result = run_clc(
            "reset", A, "--wait", "--timeout", "1s", env=environment(CLC_BASE_URL=server.url)
        )
        assert time.monotonic() - began < 4
    assert result.returncode == 7


def test_on_a_terminal_progress_is_live_and_leaves_the_table_only() -> None:
    terminal = Terminal(
        "sandbox", "--duration", "1s", "clc", "reset", A, B, C, "--wait", PATH=os.environ["PATH"]
    )
    code, shown = terminal.end()
    assert code == 0
    assert f"{A}, {B}  wa1-12345" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    live, _, table = shown.partition("╭")
    assert "executing" in live
    assert live.endswith("\x1b[2K") or live.rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in live  # the cursor is shown again
    assert "queued" not in table
    assert table.count("succeeded") == 3


def test_ctrl_c_on_a_terminal_leaves_a_clean_screen_and_the_way_to_resume() -> None:
    terminal = Terminal(
        "sandbox", "--duration", "1h", "clc", "reset", A, "--wait", PATH=os.environ["PATH"]
    )
    terminal.read_until(b"notStarted")
    os.write(terminal.screen, b"\x03")
    code, shown = terminal.end()
    assert code == 130
    _, _, after = shown.partition("╭")
    assert "running" in after
    assert "Resume with: clc status --wait wa1-12345" in after
    assert "\x1b[?25h" in shown


def test_a_dumb_terminal_gets_lines() -> None:
    terminal = Terminal(
        "sandbox",
        "--duration",
        "100ms",
        "clc",
        "reset",
        A,
        "--wait",
        PATH=os.environ["PATH"],
        TERM="dumb",
    )
    _, shown = terminal.end()
    assert f"{A} wa1-12345 queued (0 s)" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("options", "code", "state"),
    [
        (["--fail", B], 1, "failed"),
        (["--flaky", "0.3"], 0, "succeeded"),
        (["--latency", "20ms"], 0, "succeeded"),
        (["--refuse", B], 1, "failed"),
        (["--servers", "10000"], 0, "succeeded"),
        (["--lose-answer"], 6, "unknown"),
        (["--expired-token"], 4, ""),
    ],
)
def test_each_fault_of_the_sandbox_is_told_as_what_it_is(
    options: list[str], code: int, state: str
) -> None:
    result = run_clc(
        "sandbox", "--duration", "300ms", *options, "clc", "reset", C, B, "--wait", "-q"
    )
    assert result.returncode == code
    assert [row[1] for row in rows(result.stdout)][1:] == ([state] if state else [])
    assert "Traceback" not in result.stderr
