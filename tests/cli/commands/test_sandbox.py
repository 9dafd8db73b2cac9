import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clc_reset.cli.commands.sandbox import own_folder
from clc_reset.sandbox.server import Server
from tests.cli.conftest import Run
from tests.fakes import CLC, run_clc

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"


def test_a_newcomer_resets_two_servers() -> None:
    result = run_clc("sandbox", "clc", "reset", A, B)
    assert result.returncode == 0
    assert result.stdout == f"{A}\tqueued\twa1-12345\t\n{B}\tqueued\twa1-12345\t\n"
    assert result.stderr == "2 queued\n"


def test_the_commands_exit_code_is_the_sandboxs() -> None:
    assert run_clc("sandbox", "sh", "-c", "exit 42").returncode == 42


def test_its_own_clc_is_first_on_the_path_and_the_rest_follows() -> None:
    result = run_clc(
        "sandbox", "sh", "-c", "command -v clc; command -v env", env={"PATH": os.defpath}
    )
    assert result.stdout.splitlines()[0] == CLC


def test_run_as_a_module_it_finds_the_clc_that_was_installed_with_it() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "clc_reset", "sandbox", "sh", "-c", "command -v clc"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout == f"{CLC}\n"


def test_a_relative_name_of_the_command_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(CLC).parents[1])
    monkeypatch.setattr(sys, "argv", ["bin/clc"])
    assert own_folder() == str(Path(CLC).parent)


def test_what_would_lead_past_the_sandbox_is_taken_from_the_environment() -> None:
    misleading = {
        "CLC_TOKEN": "real",
        "CLC_TOKEN_FILE": "/real",
        "CLC_ACCOUNT": "REAL",
        "CLC_ALIAS": "REAL",
        "CLC_BASE_URL": "https://api.ctl.io",
        "CLC_USERNAME": "real",
        "CLC_PASSWORD_FILE": "/real",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "NO_PROXY": "example.com, [::1]",
    }
    result = run_clc("sandbox", "sh", "-c", "env; clc whoami -o json", env=misleading)
    *variables, shown = result.stdout.splitlines()
    seen = dict(each.partition("=")[::2] for each in variables)
    assert "real" not in "".join(v for k, v in seen.items() if k.startswith("CLC_")).lower()
    assert seen["NO_PROXY"] == "example.com, [::1],127.0.0.1"
    assert json.loads(shown)["account"] == "ALIAS"


def test_a_refused_server_is_refused_and_the_exit_code_is_1() -> None:
    result = run_clc("sandbox", "--refuse", A.lower(), "clc", "reset", A, B)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{A}\tfailed\t\tThe operation cannot be queued")


def test_a_lost_answer_is_6() -> None:
    result = run_clc("sandbox", "--lose-answer", "clc", "reset", A)
    assert result.returncode == 6
    assert A in result.stderr


def test_an_expired_token_is_4() -> None:
    result = run_clc("sandbox", "--expired-token", "clc", "reset", A)
    assert result.returncode == 4
    assert "expired on" in result.stderr


def test_ten_thousand_servers_are_reset_in_one_batch() -> None:
    ids = "".join(f"{dc}ALIASN{n:05d}\n" for n in range(1, 4995) for dc in ("WA1", "VA1"))
    result = run_clc("sandbox", "--servers", "10000", "clc", "reset", "-", stdin=ids)
    assert result.returncode == 0
    assert result.stdout.count("\tqueued\t") == 9988


def test_verbose_logs_the_requests_of_the_command() -> None:
    result = run_clc("sandbox", "-v", "clc", "reset", A)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("POST /v2/authentication/login 200 ")
    assert lines[1].startswith("POST /v2/operations/ALIAS/servers/reset 200 ")
    assert lines[1].endswith("1 of 1 queued")


def test_latency_is_waited_for() -> None:
    began = time.monotonic()
    assert run_clc("sandbox", "--latency", "300ms", "clc", "reset", A).returncode == 0
    assert time.monotonic() - began > 0.6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail", "WA1ALIASXX01"], "no server WA1ALIASXX01"),
        (["--flaky", "2"], "not in the range"),
        (["--latency", "soon"], "not a duration"),
        (["--latency", "99999999999h"], "not a duration"),
        (["--servers", "0"], "not in the range"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(
    clc: Run, arguments: list[str], words: str
) -> None:
    result = clc("sandbox", *arguments, "true")
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_port_that_is_taken_is_a_usage_error(clc: Run) -> None:
    with subprocess.Popen(
        [CLC, "sandbox"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout
        port = running.stdout.readline().partition("http://127.0.0.1:")[2].split()[0]
        result = clc("sandbox", "--port", port, "true")
        running.terminate()
    assert result.exit_code == 2
    assert f"Port {port} can't be used: Address already in use." in result.stderr


def test_a_command_that_is_not_there_is_127(clc: Run) -> None:
    result = clc("sandbox", "no-such-command")
    assert (result.exit_code, result.stderr) == (
        127,
        "Error: 'no-such-command': not found.\n",
    )


def test_a_command_that_may_not_be_run_is_126(clc: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("true")
    result = clc("sandbox", str(tmp_path / "script"))
    assert result.exit_code == 126
    assert "not executable" in result.stderr


def test_a_folder_is_126(clc: Run, tmp_path: Path) -> None:
    assert clc("sandbox", str(tmp_path)).exit_code == 126


def test_a_script_without_a_first_line_is_run_by_the_shell(tmp_path: Path) -> None:
    (tmp_path / "script").write_text('clc reset "$1"; exit 3')
    (tmp_path / "script").chmod(0o755)
    result = run_clc("sandbox", str(tmp_path / "script"), A)
    assert (result.returncode, result.stdout) == (3, f"{A}\tqueued\twa1-12345\t\n")


def test_a_program_that_can_not_be_run_is_126(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    result = run_clc("sandbox", str(tmp_path / "script"))
    assert result.returncode == 126
    assert "No such file" in result.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_harm_it(closed: str) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"{CLC} sandbox clc reset {A} {closed}"],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0


def test_a_command_may_wait_for_all_of_its_children() -> None:
    script = "import os, sys\ntry:\n    os.wait()\nexcept ChildProcessError:\n    sys.exit(9)"
    assert run_clc("sandbox", sys.executable, "-c", script).returncode == 9


def test_ctrl_c_reaches_the_command_and_not_its_cloud() -> None:
    script = (
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "os.killpg(0, signal.SIGINT)\n"
        f"print(subprocess.call(['clc', 'reset', '{A}', '-o', 'json'], stdout=-3))"
    )
    with subprocess.Popen(
        [CLC, "sandbox", sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as running:
        assert running.communicate(timeout=20)[0] == "0\n"


def test_signals_reach_the_command() -> None:
    script = "trap 'echo stopped; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen(
        [CLC, "sandbox", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == "stopped\n"
        assert running.wait(10) == 7


def test_a_pipe_inside_the_command_ends_as_pipes_do() -> None:
    result = run_clc("sandbox", "sh", "-c", "yes | head -1")
    assert (result.stdout, result.stderr) == ("y\n", "")


def test_the_cloud_is_gone_when_the_command_is() -> None:
    result = run_clc("sandbox", "sh", "-c", "echo $CLC_BASE_URL")
    after = run_clc(
        "reset",
        A,
        env={"CLC_TOKEN": "x", "CLC_BASE_URL": result.stdout.strip(), "CLC_ACCOUNT": "ALIAS"},
    )
    assert after.returncode == 5


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_without_a_command_it_serves_until_a_signal(signum: int, code: int) -> None:
    with subprocess.Popen(
        [CLC, "sandbox", "--servers", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "CLC_ACCOUNT": "REAL",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "example.com, x",
        },
    ) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == "unset CLC_ACCOUNT\n"
        word, *variables = shlex.split(running.stdout.readline())
        assert word == "export"
        assert "NO_PROXY=example.com, x,127.0.0.1" in variables
        result = run_clc("reset", A, env=dict(each.split("=", 1) for each in variables))
        assert result.stdout == f"{A}\tqueued\twa1-12345\t\n"
        running.send_signal(signum)
        said = running.stderr.read()
        assert running.wait(10) == code
    assert f"with 3 servers: {A}, {B}, WA1ALIASWB03." in said
    assert "POST /v2/operations/ALIAS/servers/reset 200 " in said
    assert "Traceback" not in said


def test_a_server_that_is_shut_down_is_no_error(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "serve_forever", lambda _self: None)
    result = clc("sandbox")
    assert result.exit_code == 0
    assert result.stdout.startswith("export CLC_BASE_URL=http://127.0.0.1:")
