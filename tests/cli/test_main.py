"""The command line itself: help, usage errors, and how little they load."""

import json
import logging
import os
import re
import subprocess
import sys

import click.testing
import pytest

from clc_reset import __version__
from clc_reset.cli.main import command
from clc_reset.cli.options import Invocation
from clc_reset.errors import OutputError
from clc_reset.exit_codes import ExitCode
from tests.builders import A
from tests.fakes import CLC, Run, environment, http, jwt, loopback, queued, shell
from tests.ui.screens import keyboard

TAB = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_overview_fits_a_small_screen_with_every_summary_on_one_line(clc: Run) -> None:
    shown = clc("-h").stdout
    assert clc("--help").stdout == clc("help").stdout == clc().stderr == shown
    assert clc().exit_code == 2
    assert len(shown.splitlines()) <= 23
    assert max(map(len, shown.splitlines())) <= 80
    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == ["Resets", "Identity", "More"]
    for name, summary in command.commands.items():
        assert re.search(rf"^  {name} +{re.escape(summary.help or '?')}$", shown, re.MULTILINE)


@pytest.mark.parametrize("name", command.commands)
def test_a_commands_help_has_80_columns_its_summary_examples_and_verbose(
    clc: Run, name: str
) -> None:
    shown = clc(name, "--help").stdout
    assert clc(name, "-h").stdout == clc("help", name).stdout == shown
    assert shown.startswith(f"Usage: clc {name}")
    assert max(map(len, shown.splitlines())) <= 80
    assert " ".join(shown.split("\n\n")[1].split()) == command.commands[name].help
    assert "--verbose" in shown
    examples = shown.partition("\nExamples:\n")[2].splitlines()
    assert (1 if name == "logout" else 2) <= len(examples) <= 4
    assert all(f"clc {name}" in line for line in examples)


@pytest.mark.parametrize("line", ["restart", "help restart", "--nope", "whoami A --nope"])
def test_what_click_refuses_is_a_usage_error_in_json_on_request(clc: Run, line: str) -> None:
    words = line.split()
    result = clc(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words[-1] in result.stderr
    result = clc(*words, "-o", "json")
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert error["message"] in result.stderr


def test_a_wrong_argument_is_printed_without_control_characters(clc: Run) -> None:
    assert clc("reset", "\x1b[31m/x").stderr == (
        "Error: Not a server id: '\\x1b[31m/x'.\nTo read ids from a file: clc reset - < '[31m/x'\n"
    )


@pytest.mark.parametrize(
    "line", ["CLC reset --nope 2>/dev/full", "CLC reset 2>&-", "CLC 2>/dev/full"]
)
def test_a_usage_error_that_can_not_be_printed_is_2_all_the_same(line: str) -> None:
    result = shell(line)
    assert (result.returncode, result.stdout) == (2, "")


def test_a_command_that_can_not_be_loaded_is_one_message(
    monkeypatch: pytest.MonkeyPatch, clc: Run
) -> None:
    monkeypatch.setitem(sys.modules, "clc_reset.cli.logout", None)
    result = clc("logout")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ModuleNotFoundError: ")


def test_a_signal_before_the_command_begins_ends_it() -> None:
    invocation = Invocation()
    invocation.inbox.interrupt(15)
    result = click.testing.CliRunner().invoke(command, ["whoami"], obj=invocation)
    assert (result.exit_code, result.stdout) == (143, "")


def test_an_error_that_a_stopped_terminal_does_not_take_is_written_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with keyboard() as board:
        monkeypatch.setattr(sys, "stderr", board.stderr)
        board.stop()
        assert Invocation().report(OutputError("Late.")) == 1
        board.go_on()
        logging.getLogger("clc_reset").handlers[0].flush()
        board.read_until(b"Error: Late.\r\n")


@pytest.mark.parametrize("line", ["CLC -V", f"{sys.executable} -m clc_reset --version"])
def test_the_version_is_the_packages_and_an_ignored_signal_stays_ignored(line: str) -> None:
    assert shell(f"trap '' INT; exec {line}").stdout == f"clc {__version__}\n"


def test_ctrl_c_at_the_first_line_is_130_without_a_traceback() -> None:
    script = """
import signal
def interrupted(_signum): raise KeyboardInterrupt
signal.getsignal = interrupted
from clc_reset.__main__ import main
main()"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


@pytest.mark.parametrize("arguments", ["--help", "help", "help exit-codes"])
def test_standard_output_that_takes_nothing_ends_without_a_traceback(arguments: str) -> None:
    closed = shell(f"CLC {arguments} >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    full = shell(f"CLC {arguments} >/dev/full")
    message = "Error: Standard output can't be written: No space left on device.\n"
    assert (full.returncode, full.stderr) == (1, message)
    assert into_a_closed_pipe(*arguments.split()) == (141, b"")


def into_a_closed_pipe(*arguments: str, **variables: str) -> tuple[int, bytes]:
    """Return exit code and standard error of a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as pipe:
        env = environment(**variables)
        result = subprocess.run(
            [CLC, *arguments], env=env, stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    return result.returncode, result.stderr


def test_a_tab_press_in_a_broken_environment_says_nothing() -> None:
    for broken in ({}, {"COMP_WORDS": "clc r", "COMP_CWORD": "x"}):
        result = shell("CLC ", _CLC_COMPLETE="bash_complete", **broken)
        assert (result.returncode, result.stdout, result.stderr) == (ExitCode.FAILED, "", "")
    assert into_a_closed_pipe(**TAB) == (ExitCode.CLOSED_PIPE, b"")


HEAVY = {"httpx", "keyring", "rich", "ssl", "asyncio", "random", "json", "dataclasses", "logging"}
OURS = {f"clc_reset.{name}" for name in ("commands", "models", "resets", "ui", "api", "auth")}


def loaded_by(*arguments: str, program: str = CLC, **variables: str) -> set[str]:
    """Return the modules that a command loads."""
    env = {"PATH": os.defpath, "HOME": os.environ["HOME"], "PYTHONPROFILEIMPORTTIME": "1"}
    result = subprocess.run(
        [program, *arguments], env=env | variables, capture_output=True, check=False, text=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in loaded
    return loaded


@pytest.mark.parametrize(
    ("line", "variables"), [("", {}), ("--help", {}), ("--version", {}), ("", TAB)]
)
def test_help_and_tab_load_no_command_and_nothing_heavy(
    line: str, variables: dict[str, str]
) -> None:
    others = {"sqlite3", "clc_reset.cli.arguments"}
    assert not loaded_by(*line.split(), **variables) & (HEAVY | OURS | others)


IN_ONE_PROCESS = """
import sys
from clc_reset.cli.main import command
for line in sys.argv[1:]:
    try:
        command(line.split(" "))
    except SystemExit:
        pass
"""


def test_help_of_a_command_and_usage_errors_load_nothing_heavy() -> None:
    lines = ["reset --x", "reset -h", "help", "help exit-codes", "completion zsh", "reset"]
    lines += ["reset A --timeout 3", "reset -g x -g ", "reset A/", "status a/b"]
    lines += ["reset A -a A/B", "login -a "]
    loaded = loaded_by("-c", IN_ONE_PROCESS, *lines, program=sys.executable)
    assert "clc_reset.cli.arguments" in loaded
    assert not loaded & (HEAVY | OURS | {"sqlite3"})


def test_a_tab_press_for_a_server_loads_only_the_journal() -> None:
    loaded = loaded_by(**TAB | {"COMP_WORDS": "clc reset W", "COMP_CWORD": "2"})
    assert "sqlite3" in loaded
    assert not loaded & (HEAVY | OURS | {"clc_reset.workers"})


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_a_reset_with_a_token_loads_neither_keyring_nor_rich(form: str) -> None:
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        loaded = loaded_by("reset", A, "-o", form, CLC_TOKEN=jwt(), CLC_BASE_URL=server.url)
    assert "httpx" in loaded
    assert not loaded & {"keyring", "rich", "clc_reset.sandbox"}


@pytest.mark.skipif(sys.platform == "darwin", reason="there they are the keyring")
def test_the_search_for_a_keyring_leaves_the_libraries_of_macos_alone() -> None:
    loaded = loaded_by("whoami")
    assert "keyring.backends.macOS.api" in loaded  # an import was tried
    assert "ctypes" not in loaded
