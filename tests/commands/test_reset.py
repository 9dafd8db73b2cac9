import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import respx

from clc_reset.commands.reset import screenful
from clc_reset.errors import Interrupted
from clc_reset.sandbox.cloud import Cloud
from tests.builders import FAR, A, B
from tests.fakes import (
    HANG,
    MemoryKeyring,
    Run,
    Terminal,
    Typed,
    exit_code_of,
    http,
    jwt,
    latest_run,
    loopback,
    queued,
    rows,
    run_clc,
    start_clc,
    wait_until,
)

DB01, DB02 = "WA1ALIASDB01", "WA1ALIASDB02"
BATCH = ["VA1ALIASJOB01", "VA1ALIASJOB02", "VA1ALIASJOB03"]

Patch = pytest.MonkeyPatch
Types = Callable[[str], Typed]
Answer = Callable[..., respx.Route]


def were_reset(cloud: Cloud) -> list[str]:
    return [server.id for server in cloud.servers.values() if server.resets]


@pytest.mark.usefixtures("as_demo")
def test_reset_sends_each_server_once_and_prints_a_line_for_each(clc: Run, served: Cloud) -> None:
    result = clc("reset", A.lower(), FAR, A, "-", stdin=f"{B} {A}\n")
    assert result.exit_code == 0
    run = latest_run(clc)
    assert rows(result.stdout) == [
        [A, "queued", "wa1-12345", "", "", run],
        [FAR, "queued", "va1-12346", "", "", run],
        [B, "queued", "wa1-12345", "", "", run],
    ]
    assert result.stderr == "2 duplicates ignored\n3 queued\n"
    assert [served.servers[server].resets for server in (A, B, FAR)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["-a", "sub"], {}), ([], {"CLC_ACCOUNT": "sub"}), ([], {"CLC_ALIAS": "sub"})],
)
def test_another_account_is_an_option_or_a_variable(
    clc: Run,
    with_token: str,
    api_ctl_io: respx.Router,
    monkeypatch: Patch,
    options: list[str],
    variables: dict[str, str],
) -> None:
    route = api_ctl_io.post("/v2/operations/SUB/servers/reset").respond(200, json=[])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = clc("reset", "-v", A, *options)
    assert route.called
    assert "POST https://api.ctl.io/v2/operations/SUB/servers/reset 200 " in result.stderr
    assert with_token not in result.output


@pytest.mark.usefixtures("with_token")
def test_a_lost_answer_is_exit_6_and_names_each_server(clc: Run, api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.post().mock(side_effect=[httpx.ReadTimeout("slow")])
    result = clc("reset", A, B, "-o", "json")
    assert (result.exit_code, route.call_count) == (6, 1)
    shown = json.loads(result.stdout)
    assert [(r["server"], r["state"]) for r in shown["servers"]] == [(A, "unknown"), (B, "unknown")]
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("outcome_unknown", 6)
    assert f"{A}, {B}" in result.stderr
    assert f"To see whether they have changed: clc status --run {latest_run(clc)}" in result.stderr


@pytest.mark.usefixtures("with_token")
def test_ten_thousand_servers_are_one_request(clc: Run, api_ctl_io: respx.Router) -> None:
    ids = [f"WA1ALIASN{n:05d}" for n in range(10_000)]
    entities = [{"server": server.lower(), "isQueued": True} for server in reversed(ids)]
    route = api_ctl_io.post().respond(200, json=entities)
    result = clc("reset", "-", stdin="\n".join(ids))
    assert (result.exit_code, route.call_count) == (0, 1)
    assert [row[0] for row in rows(result.stdout)] == ids


# --- dry run -----------------------------------------------------------------------------------


def test_a_dry_run_finds_out_the_account_without_a_request(
    clc: Run, memory_keyring: MemoryKeyring, api_ctl_io: respx.Router, monkeypatch: Patch
) -> None:
    entry: dict[str, object] = {"token": jwt(), "user": None, "account": "sub", "roles": []}
    memory_keyring.kept["clc-reset", "https://api.ctl.io"] = json.dumps(entry)
    assert "in account SUB" in clc("reset", "-n", A).stderr
    memory_keyring.kept["clc-reset", "https://api.ctl.io"] = "broken"
    assert "in the login's own account" in clc("reset", "-n", A).stderr
    assert clc("reset", "-n", "-g", "Database").exit_code == 4  # that needs a request
    monkeypatch.setenv("CLC_TOKEN", jwt())
    shown = json.loads(clc("reset", "-n", A, "-o", "json").stdout)
    assert (shown["account"], shown["dry_run"]) == ("ABCD", True)
    assert [row["server"] for row in shown["servers"]] == [A]
    assert not api_ctl_io.calls


# --- groups, and the question ------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_a_group_is_reset_with_the_groups_inside_it_and_nothing_archived(
    clc: Run, served: Cloud
) -> None:
    result = clc("reset", "-n", A, "-g", "Database")
    assert result.exit_code == 0
    assert [row[:2] for row in rows(result.stdout)] == [[s, "not sent"] for s in (A, DB01, DB02)]
    assert result.stderr == "Dry run: 3 servers in account ALIAS; nothing was sent.\n"
    assert were_reset(served) == []
    result = clc("reset", "-g", "Database", DB02, A, A.lower(), "-g", "database", "-y")
    assert (result.exit_code, result.stderr) == (0, "1 duplicate ignored\n3 queued\n")
    assert [row[0] for row in rows(result.stdout)] == [DB02, A, DB01]
    assert {server.resets for server in served.servers.values()} == {0, 1}
    assert [row[0] for row in rows(clc("reset", "-g", "Batch", "-y").stdout)] == BATCH


@pytest.mark.parametrize(
    ("answer", "code"),
    [("y\n", 0), (" YES \n", 0), ("\n", 1), ("n\n", 1), ("yep\n", 1), ("", 1)],
)
@pytest.mark.usefixtures("as_demo")
def test_a_group_is_reset_where_the_answer_is_yes(
    types: Types, served: Cloud, capsys: pytest.CaptureFixture[str], answer: str, code: int
) -> None:
    screen = types(answer)
    assert exit_code_of("reset", "-g", "Database", A, "-o", "json") == code
    assert screen.getvalue().startswith(
        "In account ALIAS:\n"
        f"  By their ids\n    {A}\n"
        f"  WA1 Database\n    {DB01}  {DB02}\n"
        "Reset these 3 servers? [y/N] "
    )
    assert were_reset(served) == ([] if code else [A, DB01, DB02])
    error = {"kind": "declined", "message": "Declined. No server was reset.", "exit_code": 1}
    assert json.loads(capsys.readouterr().out).get("error") == (error if code else None)


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (Interrupted(signal.SIGTERM), 143, "Interrupted"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), 1, "Declined"),
    ],
)
@pytest.mark.usefixtures("as_demo", "served")
def test_what_ends_the_question_is_a_no(
    types: Types, monkeypatch: Patch, error: BaseException, code: int, word: str
) -> None:
    def readline() -> str:
        raise error

    screen = types("")
    monkeypatch.setattr(sys.stdin, "readline", readline)
    assert exit_code_of("reset", "-g", "Reports") == code
    expected = f"Reset this server? [y/N] \n{word}. No server was reset.\n"
    assert screen.getvalue().endswith(expected)


@pytest.mark.parametrize(
    ("words", "servers"), [(["-g", "Database", "--yes"], [DB01, DB02]), ([A], [A])]
)
@pytest.mark.usefixtures("as_demo")
def test_yes_or_ids_alone_ask_nothing_on_a_terminal_either(
    types: Types, served: Cloud, words: list[str], servers: list[str]
) -> None:
    screen = types("n\n")
    assert exit_code_of("reset", *words) == 0
    assert "[y/N]" not in screen.getvalue()
    assert were_reset(served) == servers


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
    assert "Declined. No server was reset." in shown


FEW = dict.fromkeys((f"WA1ALIASN{n:05d}" for n in range(9)), "WA1 Web")
MANY = {f"S{n:05d}": f"WA1 Group {n // 100}" for n in range(10_000)}


@pytest.mark.parametrize(
    ("places", "width", "height", "words"),
    [
        (FEW, 80, 24, [2, 4, 4, 1]),
        (FEW, 66, 24, [2, 4, 4, 1]),
        (FEW, 65, 24, [2, 3, 3, 3]),
        (FEW, 1, 99, [0, *[1] * 9]),
        (FEW, 80, 5, [2]),
        ({"S1": "WA1 " + "x" * 500}, 80, 24, [2, 1]),
        ({"S1": "WA1 Web"}, 80, 0, []),
        (MANY, 80, 24, None),
    ],
)
def test_the_screen_has_as_many_servers_as_fit_and_the_number_of_the_others(
    places: dict[str, str], width: int, height: int, words: list[int] | None
) -> None:
    *lines, last = screenful(places, width, height)
    named = sum(len(line.split()) for line in [*lines, last] if line.startswith("    "))
    if named < len(places):
        more = len(places) - named
        assert last == f"  and {more:,} more server" + "s" * (more > 1)
        assert len(lines) == max(0, height - 4)
    else:
        lines.append(last)
    assert words is None or [len(line.split()) for line in lines] == words
    assert width == 1 or max(map(len, lines), default=0) <= width


# --- reset --wait ------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", ["0", "1"])
def test_the_command_to_follow_works_when_it_is_pasted(journal: str) -> None:
    script = (
        f"clc reset {A} {FAR} --wait --timeout 0 -q 2>notes >/dev/null; "
        "eval \"$(sed -n 's/^To follow them: //p' notes)\" -o tsv"
    )
    result = run_clc(
        *("sandbox", "--duration", "1s", "sh", "-c", f"cd $(mktemp -d); {script}"),
        env={"CLC_NO_JOURNAL": journal},
    )
    assert result.returncode == 0
    servers = ["", ""] if journal == "1" else [FAR, A]
    assert sorted((row[:4] for row in rows(result.stdout)), key=lambda row: row[2]) == [
        [servers[0], "succeeded", "va1-12346", ""],
        [servers[1], "succeeded", "wa1-12345", ""],
    ]


# --- not twice by mistake ----------------------------------------------------------------------


def test_a_server_whose_reset_is_not_settled_is_not_reset_again(
    clc: Run, posts: Answer, statuses: Answer
) -> None:
    route = posts(queued(A, "wa1-1"))
    clc("reset", A)
    statuses("wa1-1", "executing", "succeeded")
    result = clc("reset", A.lower(), B, "-o", "json")
    assert (result.exit_code, route.call_count) == (3, 1)
    assert json.loads(result.stdout)["error"]["kind"] == "unsettled"
    assert f"{A}: reset 0 s ago" in result.stderr
    assert f"To follow it: clc status --wait --run {latest_run(clc)}\n" in result.stderr
    assert clc("reset", A).exit_code == 0  # it is over now
    assert clc("reset", A, "--again").exit_code == 0
    assert route.call_count == 3


# --- rolling -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_a_rolling_reset_stops_at_a_failure_and_the_rest_can_be_reset_later(
    clc: Run, served: Cloud
) -> None:
    served.behaviour = replace(served.behaviour, duration=0.0)
    result = clc("reset", A, "WA1ALIASXX01", B, DB01, "--at-a-time", "1")
    assert result.exit_code == 1
    states = [row[1] for row in rows(result.stdout)]
    assert states == ["succeeded", "failed", "not sent", "not sent"]
    assert were_reset(served) == [A]
    run = latest_run(clc)
    assert f"To reset them: clc reset --rest-of {run}\n" in result.stderr
    assert [row[0] for row in rows(clc("reset", "-n", "--rest-of", run).stdout)] == [B, DB01]
    result = clc("reset", "--rest-of", run, "--wait")
    assert result.exit_code == 0
    assert [row[0] for row in rows(result.stdout)] == [B, DB01]
    again = clc("reset", "--rest-of", run)
    assert (again.exit_code, again.stderr) == (0, f"Nothing left to reset from run {run}.\n")
    assert [served.servers[server].resets for server in (A, B, DB01)] == [1, 1, 1]


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
    assert "The operation succeeded; the check failed: exit code 1" in result.stdout


@pytest.mark.usefixtures("as_demo")
def test_a_check_in_a_folder_that_is_gone_is_refused_before_anything_is_sent(
    clc: Run, served: Cloud, tmp_path: Path, monkeypatch: Patch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    result = clc("reset", A, "--check", "true")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: --check can't be run in the working directory: No such file or directory. "
        "No server was reset.\nChange to a folder that exists.\n"
    )
    assert were_reset(served) == []


# --- our own output as input -------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_what_servers_and_reset_and_status_print_can_be_piped_back(clc: Run, served: Cloud) -> None:
    two = ["VA1ALIASWB01", "VA1ALIASWB02"]
    listed = clc("servers").stdout
    reset = clc("reset", "-", stdin="".join(listed.splitlines(keepends=True)[:2])).stdout
    status = clc("status", "-", stdin=reset).stdout
    assert [row[0] for row in rows(reset)] == [row[0] for row in rows(status)] == two
    for printed in (reset, status, clc("servers", *two).stdout):
        assert [row[0] for row in rows(clc("reset", "-n", "-", stdin=printed).stdout)] == two
    assert were_reset(served) == two


@pytest.mark.parametrize(
    "line", ["servers -o table", "servers -o json", "history", "status -o json"]
)
@pytest.mark.usefixtures("as_demo")
def test_what_is_no_list_of_servers_is_not_taken_for_one(
    clc: Run, served: Cloud, line: str
) -> None:
    clc("reset", A)
    printed = clc(*line.split()).stdout
    assert printed
    assert line != "history" or clc("status", "-", stdin=printed).exit_code == 7
    assert clc("reset", "-", "--again", stdin=printed).exit_code == 2
    assert were_reset(served) == [A]


# --- the installed command, its signals and its terminal ---------------------------------------


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_wait_at_once_and_tells_what_is_known(signum: int, code: int) -> None:
    with loopback(http(200, [queued(A, "wa1-1"), queued(FAR, "va1-2")]), HANG) as server:
        running = start_clc("reset", A, FAR, "--wait", "-o", "json", CLC_BASE_URL=server.url)
        wait_until(lambda: len(server.requests) == 3)
        began = time.monotonic()
        running.send_signal(signum)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code
    assert time.monotonic() - began < 1.5
    shown = json.loads(out)
    assert [row["state"] for row in shown["servers"]] == ["queued", "queued"]
    assert (shown["error"]["kind"], shown["error"]["exit_code"]) == ("interrupted", code)
    assert err.endswith(
        "Interrupted. The resets continue in the cloud: 2 operations are still running.\n"
        f"To follow them: clc status --wait --run {shown['run']}\n"
    )


def test_on_a_terminal_progress_is_live_and_leaves_the_table_only() -> None:
    terminal = Terminal(
        "sandbox", "--duration", "1s", "clc", "reset", A, B, FAR, "--wait", PATH=os.environ["PATH"]
    )
    code, shown = terminal.end()
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(rf"2 servers: ({A}, {B}|{B}, {A})  wa1-12345", plain)
    live, _, table = shown.rpartition("\x1b[1mServer")
    assert "running" in live
    assert "queued" not in table
    assert len(re.findall("succeeded.*-1234", table)) == 3
    assert re.search(r"\r\n3 succeeded in [0-9]+ s\r\n$", table)


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
        "sandbox", "--duration", "300ms", *options, "clc", "reset", FAR, B, "--wait", "-o", "tsv"
    )
    assert result.returncode == code
    assert [row[1] for row in rows(result.stdout)][1:] == ([state] if state else [])
    assert "Traceback" not in result.stderr
