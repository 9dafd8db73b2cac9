import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clc_reset.commands.sandbox import own_folder
from clc_reset.sandbox.server import Server
from tests.builders import A, B
from tests.fakes import CLC, Run, Terminal, rows, run_clc, shell, wait_until


def test_a_newcomer_resets_two_servers_and_sees_the_requests_with_verbose() -> None:
    result = run_clc("sandbox", "-v", "clc", "reset", A, B, env={"PATH": os.defpath})
    expected = [[server, "queued", "wa1-12345"] for server in (A, B)]
    assert [row[:3] for row in rows(result.stdout)] == expected
    login, reset, last = result.stderr.splitlines()
    assert login.startswith("POST /v2/authentication/login 200 ")
    assert reset.startswith("POST /v2/operations/ALIAS/servers/reset 200 ")
    assert reset.endswith(" 2 of 2 queued")
    assert last == "2 queued"


@pytest.mark.parametrize("name", ["bin/clc", "/any/__main__.py"])
def test_the_folder_of_the_running_clc_is_absolute_and_else_that_of_the_installed_one(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(Path(CLC).parents[1])
    monkeypatch.setattr(sys, "argv", [name])
    assert own_folder() == str(Path(CLC).parent)


def test_what_would_lead_past_the_sandbox_is_taken_from_the_environment() -> None:
    names = (
        "TOKEN TOKEN_FILE ACCOUNT ALIAS USER V2_API_TOKEN V2_API_URL V2_API_USERNAME API_ENDPOINT "
        "ACCT_ALIAS STATE_DIR BASE_URL USERNAME PASSWORD_FILE NO_JOURNAL"
    )
    misleading = {f"CLC_{name}": "real" for name in names.split()} | {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "NO_PROXY": "example.com, [::1]",
    }
    result = run_clc("sandbox", "sh", "-c", "env; clc whoami -o json", env=misleading)
    *variables, shown = result.stdout.splitlines()
    seen = dict(variable.partition("=")[::2] for variable in variables)
    assert seen["CLC_API_ENDPOINT"] == seen["CLC_V2_API_URL"] == seen["CLC_BASE_URL"]
    assert "real" not in "".join(v for k, v in seen.items() if k.startswith("CLC_")).lower()
    assert seen["NO_PROXY"] == "example.com, [::1],127.0.0.1"
    assert json.loads(shown)["account"] == "ALIAS"


def test_the_cloud_and_the_state_folder_are_gone_when_the_command_is() -> None:
    script = "stat -c '%a %n' $CLC_STATE_DIR; echo $CLC_BASE_URL"
    mode, folder, url = run_clc("sandbox", "sh", "-c", script).stdout.split()
    assert mode == "700"
    wait_until(lambda: not Path(folder).exists())
    env = {"CLC_TOKEN": "x", "CLC_BASE_URL": url, "CLC_ACCOUNT": "ALIAS"}
    assert run_clc("reset", A, env=env).returncode == 5


def test_without_a_temporary_folder_nothing_starts(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    result = clc("sandbox", "true")
    assert result.exit_code == 2
    reason = "No such file or directory"
    assert result.stderr.startswith(f"Error: No temporary folder can be made: {reason}.\n")


def test_a_shell_is_told_where_it_is() -> None:
    terminal = Terminal("sandbox", "/bin/bash", "--norc", PATH=os.environ["PATH"], COLUMNS="200")
    terminal.read_until(b", account ALIAS. 'exit' leaves it.")
    os.write(terminal.screen, b"exit 5\n")
    code, shown = terminal.end()
    assert (code, shown[:28]) == (5, "Sandbox at http://127.0.0.1:")


@pytest.mark.parametrize("arguments", [["sh", "-ec", ":"], ["true"]])
def test_a_command_that_is_no_interactive_shell_is_told_nothing(arguments: list[str]) -> None:
    terminal = Terminal("sandbox", *arguments, PATH=os.environ["PATH"])
    assert terminal.end() == (0, "")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("trap '' CHLD; exec CLC sandbox sh -c 'yes | head -1; exit 3'", 3),
        (f"CLC sandbox clc reset {A} <&- >&- 2>&-", 0),
    ],
)
def test_a_parent_may_ignore_its_childrens_end_and_close_streams(line: str, code: int) -> None:
    assert shell(line).returncode == code


@pytest.mark.parametrize(
    ("name", "content", "code", "reason"),
    [
        ("no-such-command", None, 127, "not found"),
        (".", None, 126, "not executable"),
        ("./script", "true", 126, "not executable"),
        ("./run", "#!/no/such/interpreter\n", 126, "No such file or directory"),
    ],
)
def test_a_command_that_can_not_be_run_ends_as_shells_do(
    tmp_path: Path, name: str, content: str | None, code: int, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755 if name == "./run" else 0o644)
    result = shell(f"cd {tmp_path} && exec CLC sandbox {name}")
    assert (result.returncode, result.stderr) == (code, f"Error: {name!r}: {reason}.\n")


def test_a_script_without_a_first_line_is_run_by_the_shell(tmp_path: Path) -> None:
    (tmp_path / "script").write_text('clc reset "$1"; exit 3')
    (tmp_path / "script").chmod(0o755)
    result = run_clc("sandbox", str(tmp_path / "script"), A)
    assert (result.returncode, rows(result.stdout)[0][:2]) == (3, [A, "queued"])


def test_a_command_has_no_children_of_the_sandbox() -> None:
    script = "import os, sys\ntry:\n    os.wait()\nexcept ChildProcessError:\n    sys.exit(9)"
    assert run_clc("sandbox", sys.executable, "-c", script).returncode == 9


def test_signals_reach_the_command_and_not_its_cloud() -> None:
    script = "trap 'clc reset $0 -o tsv; exit 7' INT TERM; echo ready; while :; do sleep 0.01; done"
    for send in (os.kill, os.killpg):  # to the process, and as Ctrl-C does
        with subprocess.Popen(
            [CLC, "sandbox", "sh", "-c", script, A],
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as running:
            assert running.stdout
            assert running.stdout.readline() == "ready\n"
            send(running.pid, signal.SIGTERM if send is os.kill else signal.SIGINT)
            assert rows(running.stdout.read())[0][:2] == [A, "queued"]
            assert running.wait(10) == 7


def test_without_a_command_it_serves_until_a_signal(clc: Run) -> None:
    own = {"CLC_ACCOUNT": "REAL", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com, x"}
    with subprocess.Popen(
        [CLC, "sandbox", "--servers", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **own},
    ) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline() == "unset CLC_ACCOUNT\n"
        environ = {}
        while "NO_PROXY" not in environ:  # the last one
            word, variable = shlex.split(running.stdout.readline())
            assert word == "export"
            name, _, environ[name] = variable.partition("=")
        assert environ["NO_PROXY"] == "example.com, x,127.0.0.1"
        assert environ["CLC_API_ENDPOINT"] == environ["CLC_BASE_URL"]
        assert Path(environ["CLC_STATE_DIR"]).is_dir()
        result = run_clc("reset", A, env=environ)
        port = environ["CLC_BASE_URL"].rpartition(":")[2]
        second = clc("sandbox", "--port", port, "true")
        running.send_signal(signal.SIGINT)
        shown = running.stderr.read()
        assert running.wait(10) == 130
    assert second.exit_code == 2
    assert f"Port {port} can't be used: Address already in use." in second.stderr
    assert rows(result.stdout)[0][:2] == [A, "queued"]
    assert not Path(environ["CLC_STATE_DIR"]).exists()
    assert f"with 3 servers: {A}, {B}, WA1ALIASWB03." in shown
    assert "POST /v2/operations/ALIAS/servers/reset 200 " in shown
    assert "Traceback" not in shown


def test_a_server_that_is_shut_down_is_no_error(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "serve_forever", lambda _self: None)
    result = clc("sandbox")
    assert result.exit_code == 0
    assert result.stdout.startswith("export CLC_BASE_URL=http://127.0.0.1:")
