import json
import os
import re
import signal
import subprocess
import sys

import click
import pytest

from clc_reset import __version__
from clc_reset.cli import exit_codes
from clc_reset.cli.main import command
from tests.cli.conftest import Run
from tests.fakes import (
    CLC,
    HANG,
    Terminal,
    environment,
    http,
    jwt,
    loopback,
    queued,
    wait_until,
)

A = "WA1ALIASWB01"
MANY = " ".join(f"WA1ALIASN{n:05d}" for n in range(5000))


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which CLC stands for the command."""
    return subprocess.run(
        ["/bin/bash", "-c", line.replace("CLC ", f"{CLC} ")],
        env=environment(**variables),
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )


# --- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_the_packages(clc: Run, option: str) -> None:
    result = clc(option)
    assert (result.exit_code, result.stdout) == (0, f"clc {__version__}\n")


def loaded(name: str) -> click.Command:
    _, found, _ = command.resolve_command(click.Context(command), [name])
    assert found
    return found


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("name", ["", *command.commands])
def test_every_command_has_help_of_80_columns(
    clc: Run, name: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = clc(*filter(None, [name, option]))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: clc {name}".rstrip())
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_help_fits_a_small_screen_with_the_prompt_below_it_and_every_summary_whole(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = clc("-h").stdout
    assert len(shown.splitlines()) <= 23
    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == ["Resets", "Identity", "More"]
    for name, summary in command.commands.items():
        assert re.search(rf"^  {name} +{re.escape(summary.help or '?')}$", shown, re.MULTILINE)


@pytest.mark.parametrize("name", command.commands)
def test_a_summary_is_the_first_sentence_of_the_commands_own_help(name: str) -> None:
    own = " ".join((loaded(name).help or "").partition("\n\n")[0].split())
    assert command.commands[name].help == own


@pytest.mark.parametrize("name", command.commands)
def test_every_command_has_examples_that_name_it(clc: Run, name: str) -> None:
    _, _, examples = clc(name, "-h").stdout.partition("\nExamples:\n")
    assert 1 <= len(examples.splitlines()) <= 3
    assert all(f"clc {name}" in line for line in examples.splitlines())


@pytest.mark.parametrize("name", sorted(set(command.commands) - {"logout"}))
def test_there_are_at_least_two_of_them(clc: Run, name: str) -> None:
    assert len(clc(name, "-h").stdout.partition("\nExamples:\n")[2].splitlines()) > 1


@pytest.mark.parametrize("name", command.commands)
def test_every_command_is_verbose_on_request(name: str) -> None:
    assert any("--verbose" in option.opts for option in loaded(name).params)


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(clc: Run) -> None:
    result = clc()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == clc("-h").stdout


# --- usage errors ------------------------------------------------------------------------------


def test_an_unknown_command_is_a_usage_error(clc: Run) -> None:
    result = clc("restart")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "reset A --nope -o json",
        "reset A --timeout 3 -qo json",
        "-o json",
        "history -n 99999999999999999999 -o json",
        "reset -o json",
    ],
)
def test_a_usage_error_is_json_where_that_was_asked_for(clc: Run, line: str) -> None:
    result = clc(*line.split())
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert error["message"] in result.stderr
    assert "Traceback" not in result.stderr


def test_a_usage_error_is_nothing_on_standard_output_otherwise(clc: Run) -> None:
    assert clc("reset", "A", "--nope").stdout == ""


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize("line", ["CLC reset --nope", "CLC reset", "CLC "])
def test_a_usage_error_that_can_not_be_told_is_2_all_the_same(line: str, stderr: str) -> None:
    assert shell(f"{line} {stderr}").returncode == 2


# --- surprises and signals ---------------------------------------------------------------------


def test_an_abort_while_the_command_line_is_read_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "parse_args", interrupt)
    with pytest.raises(SystemExit) as ended:
        command(["whoami"])
    assert ended.value.code == 130


def test_python_m_is_the_same_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "clc_reset", "--version"], capture_output=True, check=True
    )
    assert result.stdout.decode() == f"clc {__version__}\n"


def test_ctrl_c_at_the_first_line_is_130_without_a_traceback() -> None:
    script = (
        "import signal\n"
        "def interrupted(_signum):\n"
        "    raise KeyboardInterrupt\n"
        "signal.getsignal = interrupted\n"
        "from clc_reset.__main__ import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_while_the_answer_is_awaited_names_the_servers(signum: int, code: int) -> None:
    with loopback(HANG) as server:
        running = subprocess.Popen(
            [CLC, "reset", A, "-o", "json"],
            env=environment(CLC_BASE_URL=server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: server.posts == 1)
        running.send_signal(signum)
        out, err = running.communicate(timeout=5)
    assert running.returncode == code
    (shown,) = json.loads(out)["servers"]
    assert (shown["server"], shown["state"]) == (A, "unknown")
    assert json.loads(out)["error"]["exit_code"] == code
    assert f"unknown for 1 server: {A}." in err
    assert "Traceback" not in err


def test_a_signal_that_is_ignored_from_the_start_stays_ignored() -> None:
    assert shell("trap '' INT; exec CLC --version").stdout == f"clc {__version__}\n"


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    with loopback(HANG, http(200)) as server:
        running = subprocess.Popen(
            ["/bin/sh", "-c", f"trap '' HUP; exec {CLC} reset {A}"],
            env=environment(CLC_BASE_URL=server.url),
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: server.posts == 1)
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 143
    assert A.encode() in err


@pytest.fixture
def blocked() -> subprocess.Popen[bytes]:
    """A reset of 5,000 servers whose standard output is a full pipe that nobody reads yet."""
    entities = [{"server": each, "isQueued": True} for each in MANY.split()]
    with loopback(http(200, entities)) as server:
        running = subprocess.Popen(
            [CLC, "reset", "-", "-o", "json"],
            env=environment(CLC_BASE_URL=server.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert running.stdin
        assert running.stdout
        running.stdin.write(MANY.encode())
        running.stdin.close()
        assert running.stdout.read(1) == b"{"
    return running


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_result_is_printed_changes_nothing_of_it(
    blocked: subprocess.Popen[bytes], signum: int
) -> None:
    blocked.send_signal(signum)
    assert blocked.stdout
    shown = json.loads(b"{" + blocked.stdout.read())
    assert [each["server"] for each in shown["servers"]] == MANY.split()
    assert blocked.stderr
    assert b"Traceback" not in blocked.stderr.read()
    assert blocked.wait(20) == 0
    blocked.stdout.close()
    blocked.stderr.close()


def test_a_second_signal_ends_the_process_at_once(blocked: subprocess.Popen[bytes]) -> None:

    def signalled() -> bool:
        blocked.send_signal(signal.SIGTERM)
        return blocked.poll() is not None

    wait_until(signalled)
    assert blocked.returncode == -signal.SIGTERM
    assert blocked.stdout
    assert blocked.stderr
    blocked.stdout.close()
    blocked.stderr.close()


# --- broken streams ----------------------------------------------------------------------------


def test_a_closed_pipe_is_141_quietly() -> None:
    result = shell(f"CLC reset -n -a ALIAS - <<<'{MANY}' | head -1; echo ${{PIPESTATUS[0]}}")
    assert result.stdout.splitlines()[-1] == "141"
    assert result.stderr == "Dry run: 5,000 servers in account ALIAS; nothing was sent.\n"


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "reset -h", "help", "completion bash", f"reset {A} -n -o table"],
)
def test_a_pipe_that_nobody_reads_is_141(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [CLC, *arguments.split()],
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr.rpartition(b"Dry run")[0]) == (141, b"")


@pytest.mark.parametrize(
    "arguments", ["reset A -n -a B", "--help", "reset -h", "help exit-codes", "whoami"]
)
def test_a_full_disk_is_one_message(arguments: str) -> None:
    result = shell(f"CLC {arguments} >/dev/full")
    assert result.returncode == 5
    assert len(re.findall("^Error: ", result.stderr, re.MULTILINE)) == 1
    assert re.search("No space left on device|Standard output can't be written", result.stderr)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing_of_the_exit_code(closed: str) -> None:
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        result = shell(f"CLC reset {A} {A} {closed}", CLC_BASE_URL=server.url)
        assert server.posts == 1
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    if closed == ">&-":
        assert f"{A}  queued" in result.stderr


def test_a_closed_standard_input_can_not_be_read() -> None:
    result = shell("CLC reset - <&-")
    assert result.returncode == 2
    assert "Standard input is closed." in result.stderr


def test_under_cron_there_is_a_message_and_exit_code_4() -> None:
    result = shell("unset CLC_TOKEN; CLC reset WA1ALIASWB01", HOME="/nonexistent")
    assert (result.returncode, result.stdout) == (4, "")
    assert "CLC_TOKEN_FILE" in result.stderr
    assert "Traceback" not in result.stderr


def test_on_a_terminal_the_result_is_a_table_with_the_way_to_follow_it() -> None:
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        code, shown = Terminal("reset", A, **environment(CLC_BASE_URL=server.url)).end()
    assert code == 0
    assert "╭" in shown
    assert "\x1b[32mqueued" in shown
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) <= 80
    assert shown.endswith("To follow them: clc status --wait\r\n")


# --- the locale --------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize("form", ["table", "tsv", "json"])
def test_what_a_screen_of_ascii_lacks_is_escaped(encoding: dict[str, str], form: str) -> None:
    refused = {"server": A, "isQueued": False, "errorMessage": "Grün \ud800 ✓"}
    with loopback(http(200, [refused])) as server:
        variables = {"CLC_BASE_URL": server.url, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        result = shell(f"CLC reset {A} -o {form}", **variables, **encoding)
    assert result.returncode == 1
    assert result.stdout.isascii()
    assert "Gr" in result.stdout
    assert "defect" not in result.stderr


def test_a_relative_home_keeps_the_journal_out_of_the_working_directory() -> None:
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        variables = {"CLC_BASE_URL": server.url, "HOME": "here", "XDG_STATE_HOME": "there"}
        result = shell(f"cd $(mktemp -d) && CLC reset {A} >/dev/null && ls -A", **variables)
    assert (result.returncode, result.stdout) == (0, "")


# --- a Tab press -------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [{}, {"COMP_WORDS": "clc r", "COMP_CWORD": "x"}])
def test_a_tab_press_in_a_broken_environment_says_nothing(broken: dict[str, str]) -> None:
    result = shell("CLC ", _CLC_COMPLETE="bash_complete", **broken)
    assert (result.stdout, result.stderr) == ("", "")
    assert result.returncode == exit_codes.FAILED


def test_a_tab_press_whose_shell_is_gone_says_nothing() -> None:
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc r", "COMP_CWORD": "1"}
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [CLC], env=environment(**tab), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (exit_codes.CLOSED_PIPE, b"")


# --- what is loaded ----------------------------------------------------------------------------

HEAVY = {"httpx", "keyring", "rich", "ssl", "asyncio", "random", "json", "dataclasses"}
OURS = {
    "clc_reset.cli.report",
    "clc_reset.cli.arguments",
    "clc_reset.models",
    "clc_reset.resets",
    "clc_reset.threads",
    "clc_reset.ui",
}


def loaded_by(*arguments: str, **variables: str) -> set[str]:
    """The modules that a command loads."""
    result = subprocess.run(
        [CLC, *arguments],
        env={
            "PATH": os.defpath,
            "HOME": os.environ["HOME"],
            "PYTHONPROFILEIMPORTTIME": "1",
            **variables,
        },
        capture_output=True,
        check=False,
        text=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in loaded
    return loaded


@pytest.mark.parametrize("arguments", ["", "--help", "--version"])
def test_help_and_version_load_no_command_and_nothing_below_them(arguments: str) -> None:
    assert not loaded_by(*arguments.split()) & (HEAVY | OURS | {"sqlite3"})


def test_a_tab_press_for_a_name_loads_no_command() -> None:
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}
    assert not loaded_by(**tab) & (HEAVY | OURS | {"sqlite3"})


def test_a_tab_press_for_a_server_loads_the_journal_and_no_room_beside_it() -> None:
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc reset W", "COMP_CWORD": "2"}
    loaded = loaded_by(**tab)
    assert "sqlite3" in loaded
    assert not loaded & (HEAVY | OURS - {"clc_reset.cli.arguments"})


@pytest.mark.parametrize("arguments", ["reset --x", "reset -h", "help", "help exit-codes"])
def test_what_click_finds_wrong_and_help_load_nothing_large(arguments: str) -> None:
    assert not loaded_by(*arguments.split()) & ({*HEAVY, "sqlite3"} - {"dataclasses", "json"})


@pytest.mark.parametrize(
    "arguments",
    ["reset", "reset A --timeout 3", "reset -g x", "reset A -g ", "status a/b", "completion zsh"],
)
def test_usage_errors_load_nothing_large(arguments: str) -> None:
    loaded = loaded_by(*arguments.split(" "))
    assert not loaded & {*HEAVY - {"dataclasses", "json"}, "clc_reset.resets.polling"}


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_a_reset_with_a_token_loads_neither_keyring_nor_rich(form: str) -> None:
    with loopback(http(200, [queued(A, "wa1-1")])) as server:
        loaded = loaded_by("reset", A, "-o", form, CLC_TOKEN=jwt(), CLC_BASE_URL=server.url)
    assert "httpx" in loaded
    assert not loaded & {"keyring", "rich", "clc_reset.resets.groups", "clc_reset.sandbox"}


@pytest.mark.skipif(sys.platform == "darwin", reason="there they are the keyring")
def test_the_search_for_a_keyring_leaves_the_libraries_of_macos_alone() -> None:
    loaded = loaded_by("whoami")
    assert "keyring.backends.macOS.api" in loaded  # it was asked for
    assert "ctypes" not in loaded
