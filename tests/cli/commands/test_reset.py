import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import respx

from clc_reset.cli.commands.reset import screenful
from clc_reset.errors import Interrupted
from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run, Typed, exit_code_of
from tests.fakes import (
    CLC,
    HANG,
    MemoryKeyring,
    Terminal,
    environment,
    http,
    jwt,
    loopback,
    queued,
    rows,
    run_clc,
    wait_until,
)

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
DB01, DB02 = "WA1ALIASDB01", "WA1ALIASDB02"
BATCH = ["VA1ALIASJOB01", "VA1ALIASJOB02", "VA1ALIASJOB03"]
QUEUED = queued(A, "wa1-1")


@pytest.mark.usefixtures("served", "as_demo")
def test_reset_prints_a_line_a_server_and_exits_0(clc: Run) -> None:
    result = clc("reset", A.lower(), C, B)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{A}\tqueued\twa1-12345\t\n{C}\tqueued\tva1-12346\t\n{B}\tqueued\twa1-12345\t\n"
    )
    assert result.stderr == "3 queued\n"
    assert clc("reset", "-q", "VA1ALIASWB02", "WA1ALIASWB03").stderr == ""


@pytest.mark.usefixtures("served", "as_demo")
def test_reset_reports_a_refused_server_and_exits_1(clc: Run) -> None:
    result = clc("reset", A, "WA1ALIASXX01", "-o", "json")
    assert result.exit_code == 1
    assert [each["state"] for each in json.loads(result.stdout)["servers"]] == ["queued", "failed"]


@pytest.mark.usefixtures("as_demo")
def test_reset_sends_each_server_once(clc: Run, served: Cloud) -> None:
    result = clc("reset", A, A.lower(), "-", stdin=f"{B} {A}\n")
    assert result.exit_code == 0
    assert result.stderr == "2 duplicates ignored\n2 queued\n"
    assert (served.servers[A].resets, served.servers[B].resets) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No server is named"),
        (["-"], "No server is named"),
        ([A, ""], "is a shell variable unset?"),
        ([A, "B;C"], "can't be server ids: 'B;C'"),
        ([A, "-a", ""], "can't be an account alias"),
        ([A, "-a", "../x"], "can't be an account alias"),
    ],
)
@pytest.mark.usefixtures("with_token")
def test_a_usage_error_sends_nothing_and_exits_2(
    clc: Run, api_ctl_io: respx.Router, arguments: list[str], words: str
) -> None:
    result = clc("reset", *arguments, "-o", "json")
    assert result.exit_code == 2
    assert words in result.stderr
    assert json.loads(result.stdout)["error"]["kind"] == "usage"
    assert not api_ctl_io.calls


def test_an_unknown_option_is_clicks_own_usage_error(clc: Run) -> None:
    result = clc("reset", "--rest", A)
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_a_dry_run_needs_no_token_and_sends_nothing(clc: Run, api_ctl_io: respx.Router) -> None:
    result = clc("reset", "-n", "-a", "alias", A.lower(), B)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{A}\tnot sent\t\tWould be reset in account ALIAS.\n"
        f"{B}\tnot sent\t\tWould be reset in account ALIAS.\n"
    )
    assert result.stderr == "Dry run: 2 servers in account ALIAS; nothing was sent.\n"
    assert not api_ctl_io.calls


@pytest.mark.usefixtures("with_token")
def test_a_dry_run_tells_the_account_of_the_token(clc: Run) -> None:
    shown = json.loads(clc("reset", "-n", A, "-o", "json").stdout)
    assert shown["account"] == "ABCD"
    assert shown["dry_run"] is True
    assert [each["server"] for each in shown["servers"]] == [A]


@pytest.mark.usefixtures("as_demo")
def test_a_dry_run_does_not_log_in_to_learn_the_account(clc: Run, api_ctl_io: respx.Router) -> None:
    result = clc("reset", "-n", A)
    assert "in the login's own account" in result.stdout
    assert not api_ctl_io.calls


def test_a_dry_run_asks_the_keyring_for_the_account(
    clc: Run, memory_keyring: MemoryKeyring
) -> None:
    entry: dict[str, object] = {"token": jwt(), "user": None, "account": "sub", "roles": []}
    memory_keyring.kept["clc-reset", "https://api.ctl.io"] = json.dumps(entry)
    assert "in account SUB" in clc("reset", "-n", A).stderr
    memory_keyring.kept["clc-reset", "https://api.ctl.io"] = "broken"
    assert "in the login's own account" in clc("reset", "-n", A).stderr


@pytest.mark.usefixtures("with_token")
def test_another_account_is_given_with_a(clc: Run, api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.post("/v2/operations/SUB/servers/reset").respond(200, json=[])
    clc("reset", "-a", "sub", A)
    assert route.called


@pytest.mark.parametrize("variable", ["CLC_ACCOUNT", "CLC_ALIAS"])
@pytest.mark.usefixtures("with_token")
def test_another_account_is_given_in_the_environment(
    clc: Run, api_ctl_io: respx.Router, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    route = api_ctl_io.post("/v2/operations/SUB/servers/reset").respond(200, json=[])
    monkeypatch.setenv(variable, "sub")
    clc("reset", A)
    assert route.called


def test_a_token_without_an_account_needs_a(
    clc: Run, monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router
) -> None:
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    result = clc("reset", A)
    assert result.exit_code == 2
    assert "with -a" in result.stderr
    assert not api_ctl_io.calls


@pytest.mark.usefixtures("with_token")
def test_a_server_left_out_is_unknown_and_the_unasked_is_warned_about(
    clc: Run, api_ctl_io: respx.Router
) -> None:
    api_ctl_io.post().respond(200, json=[{"server": C, "isQueued": True}])
    result = clc("reset", A, B)
    assert result.exit_code == 6
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        [A, "unknown"],
        [B, "unknown"],
    ]
    assert f"not asked for: {C}." in result.stderr
    assert f"unknown for 2 servers: {A}, {B}." in result.stderr


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout("slow"),
        httpx.ReadError("gone"),
        httpx.Response(503),
        httpx.Response(200, content=b"<html>"),
    ],
)
@pytest.mark.usefixtures("with_token")
def test_a_lost_answer_is_6_and_names_every_server(
    clc: Run, api_ctl_io: respx.Router, failure: httpx.Response | Exception
) -> None:
    route = api_ctl_io.post().mock(side_effect=[failure])
    result = clc("reset", A, B, "-o", "json")
    assert result.exit_code == 6
    assert route.call_count == 1
    shown = json.loads(result.stdout)
    assert [(each["server"], each["state"]) for each in shown["servers"]] == [
        (A, "unknown"),
        (B, "unknown"),
    ]
    assert shown["error"]["kind"] == "outcome_unknown"
    assert shown["error"]["exit_code"] == 6
    assert f"{A}, {B}" in result.stderr
    assert "Look at them before you repeat it" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(401, 4, "authentication"), (403, 4, "authentication"), (404, 5, "refused")],
)
@pytest.mark.usefixtures("with_token")
def test_a_refused_request_is_one_message(
    clc: Run, api_ctl_io: respx.Router, status: int, code: int, kind: str
) -> None:
    api_ctl_io.post().respond(status)
    result = clc("reset", A, "-o", "json")
    assert result.exit_code == code
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code)
    assert result.stderr.startswith("Error: ")


def test_verbose_tells_each_request_and_no_secret(
    clc: Run, api_ctl_io: respx.Router, with_token: str
) -> None:
    api_ctl_io.post().respond(200, json=[])
    result = clc("reset", "-v", A)
    assert "POST https://api.ctl.io/v2/operations/ABCD/servers/reset 200 " in result.stderr
    assert with_token not in result.output


def test_standard_input_that_is_no_text_is_a_usage_error(clc: Run) -> None:
    result = clc("reset", "-", stdin=b"\xff\xfe\x00")
    assert result.exit_code == 2
    assert "it isn't UTF-8 text" in result.stderr


def test_an_endless_standard_input_is_a_usage_error(clc: Run) -> None:
    result = clc("reset", "-", stdin=b"A " * (9 * 2**20))
    assert result.exit_code == 2
    assert "larger than 16384 KiB" in result.stderr


@pytest.mark.usefixtures("with_token")
def test_ten_thousand_servers_are_one_request(clc: Run, api_ctl_io: respx.Router) -> None:
    ids = [f"WA1ALIASN{n:05d}" for n in range(10_000)]
    entities = [{"server": each.lower(), "isQueued": True} for each in reversed(ids)]
    route = api_ctl_io.post().respond(200, json=entities)
    result = clc("reset", "-", stdin="\n".join(ids))
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ids
    assert route.call_count == 1


def test_the_token_may_be_in_a_file(
    clc: Run, served: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(f"{served.token()}\n")
    monkeypatch.setenv("CLC_TOKEN_FILE", str(tmp_path / "token"))
    assert clc("reset", A).exit_code == 0


def were_reset(cloud: Cloud) -> list[str]:
    return [each.id for each in cloud.servers.values() if each.resets]


# --- which servers -----------------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_a_group_is_reset_with_the_groups_inside_it_and_nothing_archived(
    clc: Run, served: Cloud
) -> None:
    result = clc("reset", "-g", "database", "--yes")
    assert (result.exit_code, result.stderr) == (0, "2 queued\n")
    assert result.stdout == f"{DB01}\tqueued\twa1-12345\t\n{DB02}\tqueued\twa1-12345\t\n"
    assert were_reset(served) == [DB01, DB02]
    result = clc("reset", "-g", "Batch", "-y")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == BATCH


@pytest.mark.usefixtures("as_demo")
def test_a_whole_data_centre_is_named_by_its_hardware_group(clc: Run, served: Cloud) -> None:
    clc("reset", "-g", "WA1 Hardware", "-y")
    wa1 = [each for each in served.servers if each.startswith("WA1") and "OLD" not in each]
    assert were_reset(served) == wa1


@pytest.mark.usefixtures("as_demo")
def test_ids_come_before_groups_and_each_server_is_sent_once(clc: Run, served: Cloud) -> None:
    result = clc("reset", "-g", "Database", DB02, A, A.lower(), "-g", "database", "-y")
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [DB02, A, DB01]
    assert result.stderr == "1 duplicate ignored\n3 queued\n"
    assert {each.resets for each in served.servers.values()} == {0, 1}


@pytest.mark.usefixtures("as_demo")
def test_a_group_may_come_with_an_empty_standard_input(clc: Run, served: Cloud) -> None:
    assert clc("reset", "-g", "Database", "-y", "-", stdin="# none\n").exit_code == 0
    assert were_reset(served) == [DB01, DB02]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["-g", ""], "A group's name is empty: is a shell variable unset?"),
        (["-g", "Database", "-g", " "], "A group's name is empty: is a shell variable unset?"),
        (["-g", "Web"], "has 2 groups 'Web': "),
        (["-g", "Nope"], "has no group 'Nope'"),
        (["-g", "Retired"], "has no group 'Retired'"),
        (["-g", "Database", "-g", "Staging"], "holds no server to reset"),
    ],
)
@pytest.mark.usefixtures("as_demo")
def test_a_group_that_is_not_one_is_a_usage_error_and_nothing_is_reset(
    clc: Run, served: Cloud, groups: list[str], words: str
) -> None:
    result = clc("reset", A, *groups, "-y", "-o", "json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["kind"] == "usage"
    assert words in error["message"]
    assert were_reset(served) == []


@pytest.mark.usefixtures("as_demo")
def test_an_ambiguous_group_is_named_by_an_id_of_the_message(clc: Run, served: Cloud) -> None:
    message = clc("reset", "-g", "web", "-y").stderr
    web = [each.id for each in served.groups.values() if each.name == "Web"]
    assert all(each in message for each in web)
    assert clc("reset", "-g", web[1].upper(), "-y").exit_code == 0
    assert were_reset(served) == ["VA1ALIASWB01", "VA1ALIASWB02"]


@pytest.mark.usefixtures("as_demo")
def test_a_dry_run_shows_what_a_group_comes_to_and_asks_for_nothing(
    clc: Run, served: Cloud
) -> None:
    result = clc("reset", "-n", A, "-g", "Database")
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        [each, "not sent"] for each in (A, DB01, DB02)
    ]
    assert result.stderr == "Dry run: 3 servers in account ALIAS; nothing was sent.\n"
    assert were_reset(served) == []


@pytest.mark.usefixtures("memory_keyring")
def test_a_dry_run_of_a_group_needs_a_token(clc: Run) -> None:
    assert clc("reset", "-n", "-g", "Database").exit_code == 4


def test_off_a_terminal_a_group_needs_yes_before_anything_is_asked(
    clc: Run, api_ctl_io: respx.Router, as_demo: None
) -> None:
    result = clc("reset", "-g", "Database", stdin="y\n")
    assert result.exit_code == 2
    assert "no terminal to ask for a confirmation on" in result.stderr
    assert "--yes" in result.stderr
    assert not api_ctl_io.calls


# --- confirmed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["y\n", " YES \n"])
@pytest.mark.usefixtures("as_demo")
def test_on_a_terminal_what_was_found_is_shown_and_confirmed(
    types: Callable[[str], Typed], served: Cloud, answer: str
) -> None:
    screen = types(answer)
    assert exit_code_of("reset", "-g", "Database", A) == 0
    assert screen.getvalue().startswith(
        "In account ALIAS:\n"
        f"  By their ids\n    {A}\n"
        f"  WA1 Database\n    {DB01}  {DB02}\n"
        "Reset these 3 servers? [y/N] "
    )
    assert were_reset(served) == [A, DB01, DB02]


@pytest.mark.parametrize("answer", ["\n", "n\n", "yep\n", ""])
@pytest.mark.usefixtures("as_demo")
def test_anything_but_yes_declines_and_nothing_is_sent(
    types: Callable[[str], Typed],
    served: Cloud,
    capsys: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    screen = types(answer)
    assert exit_code_of("reset", "-g", "Nightly", "-o", "json") == 1
    assert screen.getvalue().endswith(
        "[y/N] \nNothing was sent.\n" if not answer else "[y/N] Nothing was sent.\n"
    )
    assert json.loads(capsys.readouterr().out) == {
        "error": {"kind": "declined", "message": "Nothing was sent.", "exit_code": 1}
    }
    assert were_reset(served) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Interrupted(signal.SIGINT), 130),
        (Interrupted(signal.SIGTERM), 143),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), 1),
    ],
)
@pytest.mark.usefixtures("as_demo", "served")
def test_what_ends_the_question_is_a_no(
    types: Callable[[str], Typed],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    def readline() -> str:
        raise error

    screen = types("")
    monkeypatch.setattr(sys.stdin, "readline", readline)
    assert exit_code_of("reset", "-g", "Reports") == code
    words = "Nothing was sent." if code == 1 else "Interrupted. No server was reset."
    assert screen.getvalue().endswith(f"Reset this server? [y/N] \n{words}\n")


@pytest.mark.usefixtures("as_demo")
def test_yes_asks_nothing_on_a_terminal_either(
    types: Callable[[str], Typed], served: Cloud
) -> None:
    screen = types("n\n")
    assert exit_code_of("reset", "-g", "Database", "--yes") == 0
    assert "[y/N]" not in screen.getvalue()
    assert were_reset(served) == [DB01, DB02]


@pytest.mark.usefixtures("as_demo")
def test_ids_alone_are_not_asked_about(types: Callable[[str], Typed], served: Cloud) -> None:
    screen = types("")
    assert exit_code_of("reset", A) == 0
    assert "[y/N]" not in screen.getvalue()
    assert were_reset(served) == [A]


def test_a_yes_that_was_typed_before_the_question_is_no_answer_to_it() -> None:
    terminal = Terminal(
        *("sandbox", "--latency", "300ms", "clc", "reset", "-g", "Database"),
        PATH=os.environ["PATH"],
    )
    os.write(terminal.screen, b"y\n")
    terminal.read_until(b"[y/N] ")
    os.write(terminal.screen, b"n\n")
    code, shown = terminal.end()
    assert code == 1
    assert "Nothing was sent." in shown


# --- the screen --------------------------------------------------------------------------------


def test_as_many_servers_stand_in_a_line_as_fit() -> None:
    found = dict.fromkeys((f"WA1ALIASN{n:05d}" for n in range(9)), "WA1 Web")
    lines = screenful(found, 80, 24)
    assert [len(line.split()) for line in lines] == [2, 4, 4, 1]
    assert max(map(len, lines)) == 66
    assert len(screenful(found, 66, 24)) == 4
    assert len(screenful(found, 65, 24)) == 4
    assert len(screenful(found, 1, 99)) == 10


@pytest.mark.parametrize("height", [4, 5, 24])
def test_what_does_not_fit_on_the_screen_is_counted(height: int) -> None:
    found = {f"S{n:05d}": f"WA1 Group {n // 100}" for n in range(10_000)}
    lines = screenful(found, 80, height)
    assert len(lines) == height - 3
    named = sum(len(line.split()) for line in lines[:-1] if line.startswith("    "))
    assert lines[-1] == f"  and {10_000 - named:,} more servers"


def test_on_a_screen_of_no_height_all_are_counted() -> None:
    assert screenful({"S1": "WA1 Web"}, 80, 0) == ["  and 1 more server"]


def test_a_long_name_of_a_group_is_cut() -> None:
    assert len(screenful({"S1": "WA1 " + "x" * 500}, 80, 24)[0]) == 80


# --- reset --wait ------------------------------------------------------------------------------


def test_reset_waits_until_every_operation_has_succeeded(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
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
    assert lines[0] == f"2 servers wa1-1 queued (0 s): {B}, {A}"
    assert f"2 servers wa1-1 running (0 s): {B}, {A}" in lines
    assert f"{C} va1-2 succeeded (0 s)" in lines
    assert re.fullmatch("3 succeeded( in [0-9]+ s)?", lines[-1])


def test_quiet_shows_no_progress(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "succeeded")
    assert clc("reset", A, "--wait", "-q").stderr == ""


def test_a_failed_operation_fails_all_who_share_it_and_says_that_nobody_knows_which(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
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
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), {"server": B, "isQueued": False, "errorMessage": "No."})
    statuses("wa1-1", "succeeded")
    result = clc("reset", A, B, "--wait")
    assert result.exit_code == 1
    assert rows(result.stdout) == [[A, "succeeded", "wa1-1", ""], [B, "failed", "", "No."]]


def test_the_time_limit_is_7_with_a_command_to_resume(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    statuses("wa1-1", "executing")
    statuses("va1-2", "paused for a while")
    result = clc("reset", A, C, "--wait", "--timeout", "100ms")
    assert result.exit_code == 7
    first, second = rows(result.stdout)
    assert first[:3] == [A, "running", "wa1-1"]
    assert first[3].startswith("executing; ")  # and what a look at the server came to
    assert second[3].startswith("paused for a while; ")
    assert result.stderr.endswith(
        "The time limit of 0.1 s has passed. The resets continue in the cloud. "
        "2 operations are still running.\nTo follow them: clc status --wait\n"
    )


def test_a_single_operation_is_spoken_of_as_one(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", 500)
    result = clc("reset", A, "--wait", "--timeout", "0", "-o", "json")
    assert result.exit_code == 7
    assert "1 operation is still running." in result.stderr
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "queued"
    assert shown["servers"][0]["message"].startswith("No status yet: the API answered 500; ")
    assert shown["error"]["kind"] == "time_limit"


def test_unknown_goes_before_failed_goes_before_running(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    statuses("wa1-1", "failed")
    statuses("va1-2", "executing")
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    assert clc("reset", A, C, "--wait", "--timeout", "0").exit_code == 1
    result = clc("reset", A, B, C, "--wait", "--timeout", "0", "--again")
    assert result.exit_code == 6
    assert f"unknown for 1 server: {B}." in result.stderr
    assert "To follow them: clc status --wait\n" in result.stderr


@pytest.mark.parametrize(
    "href", ["https://example.com/v2/operations/abcd/status/wa1-1", "//example.com/x", "https://["]
)
def test_a_status_link_to_another_origin_is_refused_and_gets_no_token(
    clc: Run, posts: Callable[..., respx.Route], api_ctl_io: respx.Router, href: str
) -> None:
    posts(queued(A, "wa1-1", href))
    result = clc("reset", A, "--wait")
    assert result.exit_code == 6
    assert "leads away from the API: it is not followed" in result.stdout
    assert [call.request.method for call in api_ctl_io.calls] == ["POST"]


def test_a_queued_server_without_a_status_link_can_not_be_waited_for(
    clc: Run, posts: Callable[..., respx.Route]
) -> None:
    posts({"server": A, "isQueued": True})
    result = clc("reset", A, "--wait")
    assert result.exit_code == 6
    assert rows(result.stdout)[0][1] == "unknown"


def test_a_denied_poll_ends_the_wait_with_4_and_what_is_known(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "executing", 401)
    result = clc("reset", A, "--wait", "-o", "json")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "running"
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("authentication", 4)
    assert "refused the token while waiting (401)" in result.stderr
    assert "To follow them: clc status --wait\n" in result.stderr


@pytest.mark.usefixtures("with_token")
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
    assert result.stderr.count("No status of other operations, either.") == 1
    assert result.stderr.count("has a status again.") == 5


def test_a_dry_run_does_not_wait(clc: Run, api_ctl_io: respx.Router) -> None:
    assert clc("reset", A, "-n", "--wait").exit_code == 0
    assert not api_ctl_io.calls


def test_a_command_to_follow_names_the_account_that_the_environment_would_not_choose(
    clc: Run,
    posts: Callable[..., respx.Route],
    statuses: Callable[..., respx.Route],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts(queued(A, "wa1-1"))
    statuses("wa1-1", "executing")
    for variable in ("CLC_ACCOUNT", "CLC_ALIAS"):
        monkeypatch.setenv(variable, "SUB1")
        result = clc("reset", A, "-a", "abcd", "--wait", "--timeout", "0", "--again")
        assert "To follow them: clc status --wait -a ABCD\n" in result.stderr
        monkeypatch.delenv(variable)


def test_without_a_journal_the_operations_are_named_to_be_followed(
    clc: Run,
    posts: Callable[..., respx.Route],
    statuses: Callable[..., respx.Route],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    posts(queued(A, "wa1-1"), queued(C, "va1-2"))
    statuses("wa1-1", "executing")
    statuses("va1-2", "executing")
    result = clc("reset", A, C, "--wait", "--timeout", "0")
    assert result.stderr.endswith("To follow them: clc status --wait wa1-1 va1-2\n")


def test_one_operation_in_two_spellings_of_its_link_is_one(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    upper = "https://api.ctl.io/v2/operations/ABCD/status/wa1-1"
    posts(queued(A, "wa1-1"), queued(B, "wa1-1", upper))
    route = statuses("wa1-1", "failed")
    result = clc("reset", A, B, "--wait")
    assert route.call_count == 1
    assert result.stdout.count("2 servers share it") == 2


def test_words_of_the_api_can_not_forge_a_line(
    clc: Run, api_ctl_io: respx.Router, posts: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1\nTo follow them: evil"), queued(C, "va1-2"))
    answers = iter([{"status": "a\nTo follow them: evil"}, {"status": "\x07"}])

    def answer(_request: httpx.Request) -> httpx.Response:
        body = next(answers, None)
        message = {"message": "x\nTo follow them: evil"}
        return httpx.Response(200, json=body) if body else httpx.Response(401, json=message)

    api_ctl_io.get().mock(side_effect=answer)
    result = clc("reset", A, C, "--wait", "--timeout", "2")
    assert not [line for line in result.stderr.splitlines() if line.startswith("To follow them: e")]


@pytest.mark.parametrize("journal", ["0", "1"])
def test_the_command_to_follow_works_when_it_is_pasted(journal: str) -> None:
    script = (
        f"clc reset {A} {C} --wait --timeout 0 -q 2>notes >/dev/null; "
        "eval \"$(sed -n 's/^To follow them: //p' notes)\""
    )
    result = run_clc(
        *("sandbox", "--duration", "1s", "sh", "-c", f"cd $(mktemp -d); {script}"),
        env={"CLC_NO_JOURNAL": journal},
    )
    assert result.returncode == 0
    servers = ["", ""] if journal == "1" else [C, A]
    assert sorted(rows(result.stdout), key=lambda row: row[2]) == [
        [servers[0], "succeeded", "va1-12346", ""],
        [servers[1], "succeeded", "wa1-12345", ""],
    ]


# --- not twice by mistake ----------------------------------------------------------------------


def test_a_server_whose_reset_is_not_settled_is_not_reset_again(
    clc: Run, posts: Callable[..., respx.Route], statuses: Callable[..., respx.Route]
) -> None:
    route = posts(queued(A, "wa1-1"))
    clc("reset", A)
    statuses("wa1-1", "executing", "succeeded")
    result = clc("reset", A.lower(), B, "-o", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["kind"] == "unsettled"
    assert f"{A}: reset 0 s ago" in result.stderr
    assert "To follow it: clc status --wait" in result.stderr
    assert route.call_count == 1
    assert clc("reset", A).exit_code == 0  # it is over now
    assert clc("reset", A, "--again").exit_code == 0
    assert route.call_count == 3


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_on_a_terminal_it_is_asked_about(
    clc: Run,
    posts: Callable[..., respx.Route],
    statuses: Callable[..., respx.Route],
    types: Callable[[str], Typed],
    answer: str,
    code: int,
) -> None:
    route = posts(queued(A, "wa1-1"))
    clc("reset", A)
    statuses("wa1-1", "executing")
    screen = types(answer)
    assert exit_code_of("reset", A) == code
    assert "An earlier reset isn't settled:\n" in screen.getvalue()
    assert "Reset anyway? [y/N] " in screen.getvalue()
    assert route.call_count == 2 - code


def test_a_dry_run_shows_what_would_be_asked_about(
    clc: Run, posts: Callable[..., respx.Route]
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    result = clc("reset", "-n", A, B)
    assert result.exit_code == 0
    assert f"Would be asked about first, or refused:\n{A}: reset 0 s ago" in result.stderr


def test_a_dry_run_goes_without_a_journal_that_can_not_be_read(
    clc: Run, with_token: str, tmp_path: Path
) -> None:
    (tmp_path / "clc-reset" / "journal.sqlite3").mkdir(parents=True)
    result = clc("reset", "-n", A)
    assert result.exit_code == 0
    assert "Warning: The journal can't be read" in result.stderr


# --- rolling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeout", "3"], "--timeout needs something to wait for. Add --wait."),
        (["--pause", "3"], "--pause needs --at-a-time."),
        (["--check", "true"], "--check needs --at-a-time."),
        (["--check-timeout", "3"], "--check-timeout needs --at-a-time."),
        (["--max-failures", "0"], "--max-failures needs --at-a-time."),
        (["--at-a-time", "1", "--check-timeout", "3"], "--check-timeout needs --check."),
        (["--at-a-time", "1", "--check", " "], "The command of --check is empty"),
        (["--at-a-time", "0"], "0 is not in the range"),
        (["--rest-of", "2026"], "--rest-of names the servers"),
        (["--rest-of", ""], "The id of a run is empty"),
    ],
)
@pytest.mark.usefixtures("with_token")
def test_options_that_make_no_sense_are_a_usage_error(
    clc: Run, api_ctl_io: respx.Router, options: list[str], words: str
) -> None:
    result = clc("reset", A, *options, "-o", "json")
    assert result.exit_code == 2
    assert words in json.loads(result.stdout)["error"]["message"]
    assert not api_ctl_io.calls


def run_of(clc: Run) -> str:
    return rows(clc("history").stdout)[0][0]


@pytest.mark.usefixtures("as_demo")
def test_a_rolling_reset_stops_at_a_failure_and_the_rest_can_be_reset_later(
    clc: Run, served: Cloud
) -> None:
    served.behaviour = replace(served.behaviour, duration=0.0)
    result = clc("reset", A, "WA1ALIASXX01", B, DB01, "--at-a-time", "1")
    assert result.exit_code == 1
    assert [row[1] for row in rows(result.stdout)] == [
        "succeeded",
        "failed",
        "not sent",
        "not sent",
    ]
    assert were_reset(served) == [A]
    run = run_of(clc)
    assert f"To reset those: clc reset --rest-of {run}\n" in result.stderr
    assert [row[0] for row in rows(clc("reset", "-n", "--rest-of", run).stdout)] == [B, DB01]
    result = clc("reset", "--rest-of", run, "--wait")
    assert result.exit_code == 0
    assert [row[0] for row in rows(result.stdout)] == [B, DB01]
    assert were_reset(served) == [A, B, DB01]
    again = clc("reset", "--rest-of", run)
    assert again.exit_code == 2
    assert f"What run {run} left out has been reset since." in again.stderr
    assert sum(each.resets for each in served.servers.values()) == 3


@pytest.mark.usefixtures("as_demo")
def test_a_check_has_to_pass_before_the_next_wave(clc: Run, served: Cloud, tmp_path: Path) -> None:
    served.behaviour = replace(served.behaviour, duration=0.0)
    passes = f'echo "$CLC_SERVER" >> {tmp_path}/seen; test -z "$CLC_PASSWORD"'
    options = ("--at-a-time", "1", "--check", passes, "--check-timeout", "20s", "--pause", "0")
    assert clc("reset", A, B, *options, "--max-failures", "0").exit_code == 0
    assert (tmp_path / "seen").read_text().split() == [A, B]
    failing = ("--at-a-time", "1", "--check", "false", "--check-timeout", "10ms")
    result = clc("reset", DB01, DB02, *failing)
    assert result.exit_code == 1
    assert [row[1] for row in rows(result.stdout)] == ["failed", "not sent"]
    assert "The operation succeeded; the check didn't" in result.stdout


@pytest.mark.usefixtures("as_demo", "served")
def test_a_run_of_another_account_or_api_or_without_a_rest_is_a_usage_error(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    clc("reset", A)
    run = run_of(clc)
    for options, words in (
        (["--rest-of", "x"], "no run 'x'"),
        (["--rest-of", run], f"Run {run} left no server out."),
        (["--rest-of", run, "-a", "other"], f"Run {run} was in account ALIAS, not in OTHER."),
    ):
        result = clc("reset", *options)
        assert result.exit_code == 2
        assert words in result.stderr
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    assert f"Run {run} was at https://api.ctl.io" in clc("reset", "--rest-of", run).stderr


# --- our own output as input -------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_what_servers_and_reset_and_status_print_can_be_piped_back(clc: Run, served: Cloud) -> None:
    listed = clc("servers").stdout
    two = "".join(listed.splitlines(keepends=True)[:2])
    result = clc("reset", "-", stdin=two)
    assert [row[0] for row in rows(result.stdout)] == ["VA1ALIASWB01", "VA1ALIASWB02"]
    shown = clc("status", "-", stdin=result.stdout)
    assert [row[0] for row in rows(shown.stdout)] == ["VA1ALIASWB01", "VA1ALIASWB02"]
    for printed in (result.stdout, shown.stdout, clc("servers", C).stdout):
        again = clc("reset", "-n", "-", stdin=printed)
        assert {row[0] for row in rows(again.stdout)} <= {"VA1ALIASWB01", "VA1ALIASWB02"}
    assert were_reset(served) == ["VA1ALIASWB01", "VA1ALIASWB02"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["servers", "-o", "table"],
        ["servers", "-o", "json"],
        ["history"],
        ["status", "-o", "json"],
        ["status", "wa1-77777"],
    ],
)
@pytest.mark.usefixtures("as_demo")
def test_what_is_no_list_of_servers_is_not_taken_for_one(
    clc: Run, served: Cloud, arguments: list[str]
) -> None:
    clc("reset", A)
    printed = clc(*arguments).stdout
    assert printed
    assert clc("reset", "-", "--again", stdin=printed).exit_code == 2
    assert were_reset(served) == [A]


def test_the_runs_of_a_history_can_be_asked_about(
    clc: Run, posts: Callable[..., respx.Route]
) -> None:
    posts({"server": A, "isQueued": False})
    clc("reset", A)
    assert rows(clc("status", "-", stdin=clc("history").stdout).stdout)[0][0] == A


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
        "Interrupted. The resets continue in the cloud. 2 operations are still running.\n"
        "To follow them: clc status --wait\n"
    )


def test_a_request_in_flight_does_not_carry_the_wait_past_its_limit() -> None:
    with loopback(http(200, [queued(A, "wa1-1")]), HANG, http(404)) as server:
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
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(rf"2 servers: ({A}, {B}|{B}, {A})  wa1-12345", plain)
    live, _, table = shown.partition("╭")
    assert "executing" in live
    assert live.endswith("\x1b[2K") or live.rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in live  # the cursor is shown again
    assert "queued" not in table
    assert len(re.findall("succeeded.* │", table)) == 3
    assert re.search(r"\r\n3 succeeded in [0-9]+ s\r\n$", table)


def test_ctrl_c_on_a_terminal_leaves_a_clean_screen_and_the_way_to_resume() -> None:
    terminal = Terminal(
        "sandbox", "--duration", "1h", "clc", "reset", A, "--wait", PATH=os.environ["PATH"]
    )
    terminal.read_until(b"waiting")
    os.write(terminal.screen, b"\x03")
    code, shown = terminal.end()
    assert code == 130
    _, _, after = shown.partition("╭")
    assert "running" in after
    assert "To follow them: clc status --wait" in after
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
