import os
import re
import signal
import subprocess
import sys
import time

import click
import pytest

from clc_reset import __version__
from clc_reset.cli import exit_codes
from clc_reset.cli.main import command
from clc_reset.errors import Interrupted
from tests.cli.conftest import Run
from tests.fakes import CLC, HANG, Terminal, http, jwt, loopback, queued, wait_until

A = "WA1ALIASWB01"


def environment(**variables: str) -> dict[str, str]:
    """As cron has it, and then some."""
    coverage = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
    home = os.environ["HOME"]
    return {"PATH": os.defpath, "HOME": home, "CLC_TOKEN": jwt(), **coverage, **variables}


def test_the_version_is_the_packages(clc: Run) -> None:
    result = clc("--version")
    assert (result.exit_code, result.stdout) == (0, f"clc {__version__}\n")


def loaded(name: str) -> click.Command:
    _, found, _ = command.resolve_command(click.Context(command), [name])
    assert found
    return found


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("name", ["", *command.commands])
def test_every_command_has_help(
    clc: Run, name: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = clc(*filter(None, [name, option]))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: clc {name}".rstrip())
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", command.commands)
def test_every_command_is_verbose_on_request(name: str) -> None:
    assert any("--verbose" in option.opts for option in loaded(name).params)


@pytest.mark.parametrize("name", command.commands)
def test_the_help_sums_a_command_up_in_its_own_words(name: str) -> None:
    own = loaded(name).get_short_help_str(200)
    assert command.commands[name].get_short_help_str(200) == own


def test_the_help_lists_the_exit_codes(clc: Run) -> None:
    shown = re.sub(r"\s+", " ", clc("--help").stdout)
    for each in exit_codes.TABLE:
        assert f" {each.code} {each.meaning} ({each.was_reset})" in shown


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(clc: Run) -> None:
    result = clc()
    assert result.exit_code == 2
    assert "Usage: clc" in result.stderr


def test_an_unknown_command_is_a_usage_error(clc: Run) -> None:
    result = clc("restart")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_a_surprise_is_one_message_without_a_traceback(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("clc_reset.cli.whoami.identity.credential", surprise)
    result = clc("whoami")
    assert result.exit_code == 5
    assert result.stderr == "Error: ZeroDivisionError (a defect of clc).\n"


def test_an_interruption_before_anything_was_sent_is_130(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clc_reset.cli.whoami.identity.credential", interrupt)
    result = clc("whoami")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


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
        sent = time.monotonic()
        running.send_signal(signum)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code
    assert time.monotonic() - sent < 5
    assert f'"server": "{A}", "state": "unknown"' in out
    assert f'"exit_code": {code}' in out
    assert f"unknown for 1 server: {A}." in err
    assert "Traceback" not in err


def test_a_signal_that_is_ignored_from_the_start_stays_ignored() -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"trap '' INT; exec {CLC} --version"],
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert result.stdout.decode() == f"clc {__version__}\n"


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


def test_a_second_signal_ends_the_process_at_once() -> None:
    """Standard output is a full pipe that nobody reads: the first signal can't be obeyed."""
    ids = " ".join(f"WA1ALIASN{n:05d}" for n in range(5000))
    with loopback(HANG) as server:
        running = subprocess.Popen(
            [CLC, "reset", "-"],
            env=environment(CLC_BASE_URL=server.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert running.stdin
        running.stdin.write(ids.encode())
        running.stdin.close()
        wait_until(lambda: server.posts == 1)
        running.send_signal(signal.SIGINT)
        assert running.stdout
        running.stdout.read(10)  # it tells what it knows, and blocks
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == -signal.SIGINT
        running.stdout.close()


def test_a_closed_pipe_is_141_quietly() -> None:
    ids = " ".join(f"WA1ALIASN{n:05d}" for n in range(5000))
    result = subprocess.run(
        [
            "/bin/bash",
            "-c",
            f"{CLC} reset -n -a ALIAS - <<<'{ids}' | head -1; echo ${{PIPESTATUS[0]}}",
        ],
        env=environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1] == "141"
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "reset -h", "completion bash", f"reset {A} -n -o table"]
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


def test_an_unknown_outcome_goes_before_a_closed_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with loopback(http(503)) as server:
        result = subprocess.run(
            [CLC, "reset", A],
            env=environment(CLC_BASE_URL=server.url),
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    os.close(writer)
    assert result.returncode == 6
    assert f"unknown for 1 server: {A}." in result.stderr.decode()


def test_a_usage_error_that_can_not_be_told_is_2_all_the_same() -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"{CLC} reset --nope 2>/dev/full"], env=environment(), check=False
    )
    assert result.returncode == 2


@pytest.mark.parametrize("broken", [{}, {"COMP_WORDS": "clc r", "COMP_CWORD": "x"}])
def test_a_tab_press_in_a_broken_environment_says_nothing(broken: dict[str, str]) -> None:
    result = subprocess.run(
        [CLC],
        env=environment(_CLC_COMPLETE="bash_complete", **broken),
        capture_output=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == (b"", b"")


def test_a_defect_in_telling_of_errors_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("clc_reset.cli.main.App.output", property(surprise))
    with pytest.raises(ZeroDivisionError):
        command(["reset"])


def test_a_signal_while_an_error_is_told_still_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_args: object) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("clc_reset.cli.main.App.output", property(interrupt))
    with pytest.raises(SystemExit) as ended:
        command(["reset"])
    assert ended.value.code == 143


@pytest.mark.parametrize(
    ("arguments", "code"), [("reset A -n -a B", 5), ("--help", 5), ("whoami", 5)]
)
def test_a_full_disk_is_one_message(arguments: str, code: int) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"{CLC} {arguments} >/dev/full"],
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
    )
    assert result.returncode == code
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_result_lost_to_a_full_disk_after_a_reset_is_6_and_told_on_standard_error() -> None:
    with loopback(http(200, {"server": A, "isQueued": True})) as server:
        result = subprocess.run(
            ["/bin/sh", "-c", f"{CLC} reset {A} >/dev/full"],
            env=environment(CLC_BASE_URL=server.url),
            capture_output=True,
            check=False,
            text=True,
        )
    assert result.returncode == 6
    assert f"{A}  queued" in result.stderr
    assert "No space left on device" in result.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing_of_the_exit_code(closed: str) -> None:
    with loopback(http(200, {"server": A, "isQueued": True})) as server:
        result = subprocess.run(
            ["/bin/sh", "-c", f"{CLC} reset {A} {A} {closed}"],
            env=environment(CLC_BASE_URL=server.url),
            capture_output=True,
            check=False,
            text=True,
        )
        assert server.posts == 1
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    if closed == ">&-":
        assert f"{A}  queued" in result.stderr


def test_a_closed_standard_input_can_not_be_read() -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"{CLC} reset - <&-"],
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
    )
    assert result.returncode == 2
    assert "Standard input is closed." in result.stderr


def test_under_cron_there_is_a_message_and_exit_code_4() -> None:
    variables = environment(HOME="/nonexistent")
    del variables["CLC_TOKEN"]
    result = subprocess.run(
        [CLC, "reset", A], env=variables, capture_output=True, check=False, text=True
    )
    assert result.returncode == 4
    assert result.stdout == ""
    assert "CLC_TOKEN_FILE" in result.stderr
    assert "Traceback" not in result.stderr


def test_on_a_terminal_the_result_is_a_table_with_the_way_to_follow_it() -> None:
    with loopback(http(200, queued(A, "wa1-1"))) as server:
        code, shown = Terminal("reset", A, **environment(CLC_BASE_URL=server.url)).end()
    assert code == 0
    assert "╭" in shown
    assert "\x1b[32mqueued" in shown
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) <= 80
    assert shown.endswith("Resume with: clc status --wait wa1-1\r\n")


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


OF_EVERY_COMMAND = {"clc_reset.cli.options", "clc_reset.models"}
"""What the commands load. They themselves are loaded by name, which Python doesn't log."""


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_no_command_is_loaded_before_it_is_named(arguments: str) -> None:
    assert not loaded_by(arguments) & OF_EVERY_COMMAND


def test_a_command_that_is_named_is_loaded() -> None:
    assert loaded_by("reset") >= OF_EVERY_COMMAND


def test_a_tab_press_for_a_name_loads_no_command() -> None:
    tab = {"_CLC_COMPLETE": "bash_complete", "COMP_WORDS": "clc re", "COMP_CWORD": "1"}
    assert not loaded_by(**tab) & OF_EVERY_COMMAND


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "reset", "reset --x", "completion zsh", "reset -h", "reset -g x"],
)
def test_help_and_usage_errors_load_no_large_library(arguments: str) -> None:
    large = {"httpx", "keyring", "rich", "ssl", "asyncio", "random", "clc_reset.waiting"}
    assert not loaded_by(*arguments.split()) & large


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_a_reset_with_a_token_loads_neither_keyring_nor_rich(form: str) -> None:
    with loopback(http(200, {"server": A, "isQueued": True})) as server:
        loaded = loaded_by("reset", A, "-o", form, CLC_TOKEN=jwt(), CLC_BASE_URL=server.url)
    assert "httpx" in loaded
    assert not loaded & {"keyring", "rich", "clc_reset.groups", "clc_reset.inventory"}


@pytest.mark.skipif(sys.platform == "darwin", reason="there they are the keyring")
def test_the_search_for_a_keyring_leaves_the_libraries_of_macos_alone() -> None:
    loaded = loaded_by("whoami")
    assert "keyring.backends.macOS.api" in loaded  # it was asked for
    assert "ctypes" not in loaded
