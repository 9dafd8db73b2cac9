import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import respx

from clc_reset.errors import Interrupted
from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run
from tests.fakes import MemoryKeyring, jwt, queued

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"

QUEUED = queued(A, "wa1-1")


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> str:
    token = jwt()
    monkeypatch.setenv("CLC_TOKEN", token)
    return token


@pytest.mark.usefixtures("served", "as_demo")
def test_reset_prints_a_line_a_server_and_exits_0(clc: Run) -> None:
    result = clc("reset", A.lower(), C, B)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{A}\tqueued\twa1-12345\t\n{C}\tqueued\tva1-12346\t\n{B}\tqueued\twa1-12345\t\n"
    )
    assert result.stderr == ""


@pytest.mark.usefixtures("served", "as_demo")
def test_reset_reports_a_refused_server_and_exits_1(clc: Run) -> None:
    result = clc("reset", A, "WA1ALIASXX01", "-o", "json")
    assert result.exit_code == 1
    assert [each["state"] for each in json.loads(result.stdout)["servers"]] == ["queued", "failed"]


@pytest.mark.usefixtures("as_demo")
def test_reset_sends_each_server_once(clc: Run, served: Cloud) -> None:
    result = clc("reset", A, A.lower(), "-", stdin=f"{B} {A}\n")
    assert result.exit_code == 0
    assert result.stderr == "2 duplicates ignored\n"
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
    assert "Look at them before you repeat it." in result.stderr


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
    assert result.stderr.startswith("Error: The API")


def test_verbose_tells_each_request_and_no_secret(
    clc: Run, api_ctl_io: respx.Router, with_token: str
) -> None:
    api_ctl_io.post().respond(200, json=[])
    result = clc("reset", "-v", A)
    assert "POST https://api.ctl.io/v2/operations/ABCD/servers/reset 200 " in result.stderr
    assert with_token not in result.output


def test_a_surprise_after_the_reset_was_sent_is_6_and_names_the_servers(
    clc: Run, api_ctl_io: respx.Router, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED])
    monkeypatch.setattr("clc_reset.cli.reset.verdict", _fails(ZeroDivisionError("x")))
    result = clc("reset", A)
    assert result.exit_code == 6
    assert "A reset was sent: 1 queued." in result.stderr
    assert result.stdout.startswith(f"{A}\tqueued\twa1-1")


def test_an_interruption_after_the_reset_was_sent_names_the_servers(
    clc: Run, api_ctl_io: respx.Router, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED])
    monkeypatch.setattr("clc_reset.cli.reset.verdict", _fails(KeyboardInterrupt()))
    result = clc("reset", A)
    assert result.exit_code == 130
    assert result.stderr == (
        "Interrupted. A reset was sent: 1 queued. The resets go on in the cloud. "
        "1 operation is still running.\nResume with: clc status --wait wa1-1\n"
    )
    assert result.stdout.startswith(f"{A}\tqueued\twa1-1")


def test_an_interruption_after_the_result_was_printed_prints_it_once(
    clc: Run, api_ctl_io: respx.Router, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED])
    monkeypatch.setattr("clc_reset.cli.reset.is_terminal", _fails(KeyboardInterrupt()))
    result = clc("reset", A)
    assert result.exit_code == 130
    assert result.stdout == f"{A}\tqueued\twa1-1\t\n"
    assert "Resume with: clc status --wait wa1-1" in result.stderr


def test_a_link_that_came_back_whole_can_be_resumed_after_an_interruption(
    clc: Run, api_ctl_io: respx.Router, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = {**QUEUED["links"][0], "href": "https://api.ctl.io/v2/operations/abcd/status/wa1-1"}
    api_ctl_io.post().respond(200, json=[{**QUEUED, "links": [link]}])
    monkeypatch.setattr("clc_reset.cli.reset.verdict", _fails(KeyboardInterrupt()))
    assert "Resume with: clc status --wait wa1-1\n" in clc("reset", A).stderr


def test_an_interruption_at_the_moment_of_sending_names_the_servers(
    clc: Run, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clc_reset.api.Api.reset_servers", _fails(KeyboardInterrupt()))
    result = clc("reset", A)
    assert result.exit_code == 130
    assert f"may have reached: {A}." in result.stderr


def test_an_interruption_that_is_certain_to_have_come_before_says_so(
    clc: Run, with_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = Interrupted(signal.SIGINT, "No server was reset.")
    monkeypatch.setattr("clc_reset.api.Api.reset_servers", _fails(interrupt))
    result = clc("reset", A)
    assert (result.exit_code, result.stderr) == (130, "Interrupted. No server was reset.\n")


def _fails(error: BaseException) -> Callable[..., object]:
    def fail(*_args: object) -> object:
        raise error

    return fail


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
