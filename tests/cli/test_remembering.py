"""`clc status` without operands and `clc history`: what the journal is for."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import respx

from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run
from tests.fakes import jwt, queued

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASJOB03"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "clc-reset"


@pytest.fixture
def answered(api_ctl_io: respx.Router) -> Callable[..., respx.Route]:
    """Let a reset be answered by these entities."""
    return lambda *entities: api_ctl_io.post().respond(200, json=entities)


def rows(stdout: str) -> list[list[str]]:
    return [line.split("\t") for line in stdout.splitlines()]


def latest(clc: Run) -> str:
    """The id of the latest run."""
    return rows(clc("history").stdout)[0][0]


def test_the_latest_reset_is_told_with_what_its_operations_say_now(
    clc: Run, api_ctl_io: respx.Router, answered: Callable[..., respx.Route]
) -> None:
    refused = {"server": B, "isQueued": False, "errorMessage": "No."}
    answered(queued(A, "wa1-1"), refused)
    clc("reset", A, B)
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(200, json={"status": "executing"})
    result = clc("status")
    assert rows(result.stdout) == [[A, "running", "wa1-1", "executing"], [B, "failed", "", "No."]]
    assert re.fullmatch(
        r"Reset of 2 servers in account ABCD, asked for at [-0-9]+ [0-9:]+ UTC "
        r"\(run [-0-9a-f]+\)\.\n",
        result.stderr,
    )
    assert result.exit_code == 1
    assert latest(clc) in result.stderr


def test_the_wait_is_taken_up_again_and_its_end_is_remembered(
    clc: Run, api_ctl_io: respx.Router, answered: Callable[..., respx.Route]
) -> None:
    answered(queued(A, "wa1-1"))
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
    clc: Run, api_ctl_io: respx.Router, answered: Callable[..., respx.Route]
) -> None:
    answered(queued(A, "wa1-1"))
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(200, json={"status": "resumed"})
    assert clc("reset", A, "--wait", "--timeout", "0", "-q").exit_code == 7
    assert rows(clc("history").stdout)[0][3] == "1 running"


def test_an_operation_that_tells_nothing_is_still_queued(
    clc: Run, api_ctl_io: respx.Router, answered: Callable[..., respx.Route]
) -> None:
    answered(queued(A, "wa1-1"))
    clc("reset", A)
    api_ctl_io.get("/v2/operations/abcd/status/wa1-1").respond(503)
    result = clc("status")
    assert rows(result.stdout) == [[A, "queued", "wa1-1", "No status yet: the API answered 503."]]
    assert result.exit_code == 7


def test_what_was_asked_without_an_answer_is_told_as_that(
    clc: Run, api_ctl_io: respx.Router, state: Path
) -> None:
    api_ctl_io.post().respond(500)
    clc("reset", A, B)
    (file,) = state.iterdir()
    file.write_bytes(file.read_bytes()[: file.read_bytes().index(b'"answered"')])  # killed
    result = clc("status", "-o", "json")
    assert result.exit_code == 6
    shown = json.loads(result.stdout)
    assert [(each["server"], each["state"]) for each in shown["servers"]] == [
        (A, "unknown"),
        (B, "unknown"),
    ]
    assert re.fullmatch(
        r"Maybe sent at [-0-9]+ [0-9:]+ UTC, no answer was ever recorded: "
        r"look before you repeat\.",
        shown["servers"][0]["message"],
    )
    assert shown["error"]["kind"] == "outcome_unknown"
    assert "They may have been reset, or not." in result.stderr
    assert rows(clc("history").stdout)[0][3] == "2 unknown"


def test_an_outcome_that_was_unknown_stays_so(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(500)
    assert clc("reset", A).exit_code == 6
    result = clc("status")
    assert result.exit_code == 6
    assert rows(result.stdout)[0][1] == "unknown"
    assert "Error: The API answered 500. The outcome is unknown for 1 server: " in result.stderr


def test_what_was_certainly_not_sent_is_told_as_that(clc: Run, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(404)
    assert clc("reset", A).exit_code == 5
    result = clc("status")
    assert result.exit_code == 5
    assert rows(result.stdout) == [[A, "not sent", "", "The API refused the request (404)."]]


def test_another_account_and_another_api_are_not_meant(
    clc: Run,
    answered: Callable[..., respx.Route],
    api_ctl_io: respx.Router,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered({"server": A, "isQueued": False})
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


def test_an_older_run_is_told_by_its_id(clc: Run, answered: Callable[..., respx.Route]) -> None:
    answered({"server": A, "isQueued": False})
    clc("reset", A)
    older = latest(clc)
    clc("reset", B)
    assert [row[0] for row in rows(clc("status", "--run", older).stdout)] == [A]
    assert [row[0] for row in rows(clc("status").stdout)] == [B]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--run", "x"], "no run 'x'"), (["--run", "x", "wa1-1"], "--run tells of a whole reset.")],
)
def test_a_run_that_makes_no_sense_is_a_usage_error(
    clc: Run, arguments: list[str], words: str
) -> None:
    result = clc("status", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_journal_that_can_not_be_read_is_a_usage_error(clc: Run, state: Path) -> None:
    (state / "2026-01-15.jsonl").mkdir(parents=True)
    for arguments in (["status"], ["history"]):
        result = clc(*arguments)
        assert result.exit_code == 2
        assert "The journal can't be read: Is a directory." in result.stderr


def test_a_journal_that_can_not_be_written_is_a_warning(
    clc: Run, answered: Callable[..., respx.Route], state: Path
) -> None:
    state.touch()
    answered(queued(A, "wa1-1"))
    result = clc("reset", A)
    assert result.exit_code == 0
    assert result.stdout == f"{A}\tqueued\twa1-1\t\n"
    assert result.stderr.count("Warning: the journal can't be written: File exists.") == 1


def test_the_journal_can_be_turned_off(
    clc: Run,
    answered: Callable[..., respx.Route],
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    answered({"server": A, "isQueued": False})
    clc("reset", A)
    assert not state.exists()
    result = clc("history")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "The journal has no runs.\n"


def test_history_lists_the_latest_runs_the_newest_first(
    clc: Run, answered: Callable[..., respx.Route]
) -> None:
    answered(queued(A, "wa1-1"), {"server": B, "isQueued": False})
    for _ in range(3):
        clc("reset", A, B)
    runs = json.loads(clc("history", "-n", "2", "-o", "json").stdout)["runs"]
    assert len(runs) == 2
    assert runs[0]["time"] > runs[1]["time"]
    assert runs[0]["servers"] == {"queued": 1, "failed": 1}
    assert (runs[0]["account"], runs[0]["base_url"]) == ("ABCD", "https://api.ctl.io")
    assert len(rows(clc("history").stdout)) == 3
    assert "│ ABCD    │ 1 queued, 1 failed │" in clc("history", "-o", "table").stdout


def test_no_secret_is_in_the_journal(
    clc: Run, served: Cloud, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLC_TOKEN")
    monkeypatch.setenv("CLC_USERNAME", "demo")
    monkeypatch.setenv("CLC_PASSWORD", "demo")
    assert clc("reset", A, C).exit_code == 1
    (file,) = state.iterdir()
    kept = file.read_text()
    assert A in kept
    assert not [word for word in ("eyJ", "Bearer", "demo") if word in kept]


# --- a Tab press -------------------------------------------------------------------------------


@pytest.fixture
def offered(clc: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What a Tab press offers at the end of a line."""

    def offer(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_CLC_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        result = clc()
        monkeypatch.delenv("_CLC_COMPLETE")
        assert result.stderr == ""
        return [each.removeprefix("plain,") for each in result.stdout.splitlines() if each]

    return offer


def test_tab_offers_what_was_used_the_latest_first(
    clc: Run,
    answered: Callable[..., respx.Route],
    offered: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered(queued(A, "wa1-1"))
    clc("reset", A)
    older = latest(clc)
    answered(queued(B, "wa1-2"), {"server": C, "isQueued": False})
    clc("reset", B, C)
    monkeypatch.delenv("CLC_TOKEN")
    assert offered("clc reset ") == [B, C, A]
    assert offered("clc reset wa1") == [B, A]
    assert offered("clc status ") == ["wa1-2", "wa1-1"]
    assert offered("clc status --run ")[1] == older
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    assert offered("clc reset ") == []


def test_tab_offers_what_was_listed(
    clc: Run, served: Cloud, offered: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLC_TOKEN")
    monkeypatch.setenv("CLC_USERNAME", "demo")
    monkeypatch.setenv("CLC_PASSWORD", "demo")
    clc("servers")
    monkeypatch.delenv("CLC_USERNAME")
    assert offered("clc reset wa1aliasd") == ["WA1ALIASDB01", "WA1ALIASDB02"]
    assert offered("clc servers -g DAT") == ["Database"]
    assert offered("clc reset --group w") == ["Web", "WA1 Hardware"]
