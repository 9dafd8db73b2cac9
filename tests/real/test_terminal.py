"""What an operator sees on a real terminal, tmux, that the command shares with a shell, bash."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.builders import A, B
from tests.fakes import CLC, wait_until
from tests.real.conftest import Screen, Screens

RESET = f"{CLC} sandbox --duration %ss {CLC} reset {A} {B} --wait"
RUNNING = "wa1-12345  running"
PROMPT = """
import sys
from clc_reset.ui.prompts import Prompts
from clc_reset.ui.streams import Streams
from clc_reset.workers import Inbox

inbox = Inbox()
inbox.handle_signals()
prompts = Prompts(Streams(sys.stdin, sys.stdout, sys.stderr), inbox)
print(prompts.ask("password", "", hidden=True).upper())
"""


class Shell:
    """An interactive bash, and a program that asks for a password."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        (folder / "program.py").write_text(PROMPT)
        self.asking = f"{sys.executable} {folder}/program.py"
        screen.run("PS1='$ ' exec bash --norc -i")
        screen.wait_for("$")

    def type(self, line: str) -> None:
        self.screen.tell("send-keys", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self.screen.tell("send-keys", key)

    def stop(self) -> str:
        """Press Ctrl-Z; return the screen after it."""
        self.press("C-z")
        return self.screen.wait_for("Stopped")

    def reset(self, seconds: int) -> None:
        """Start a reset that takes so long, and wait until its display is there."""
        self.type(f"clear; {RESET % seconds}")
        self.screen.wait_for(RUNNING)

    def wait_for_the_result(self) -> str:
        """Return what is left in the end."""
        shown = self.screen.wait_for("2 succeeded in ")
        assert "running" not in shown
        assert len(re.findall("succeeded +w", shown)) == 2
        return shown


def has_cursor(screen: Screen) -> bool:
    return screen.tell("display-message", "-p", "#{cursor_flag}") == "1\n"


@pytest.fixture
def shell(screen: Screens, tmp_path: Path) -> Shell:
    return Shell(screen(80), tmp_path)


@pytest.mark.parametrize(("before", "after"), [(80, 80), (40, 40), (80, 50), (50, 80), (80, 120)])
def test_while_waiting_it_is_live_and_leaves_the_result_only(
    screen: Screens, before: int, after: int
) -> None:
    terminal = screen(before)
    terminal.run(RESET % 2, COLUMNS="500")  # it is never wider than the window
    live = terminal.wait_for(RUNNING)
    assert live.count("wa1-12345") == 1
    assert f"2 servers: {A}, {B}" in live or before < 80
    terminal.tell("resize-window", "-x", f"{after}")
    code, shown = terminal.end()
    assert code == 0
    assert "running" not in terminal.tell("capture-pane", "-p", "-S", "-")  # nor in the history
    assert [shown.count(server) for server in (A, B)] == [1, 1]
    assert len(re.findall("succeeded +w", shown)) == 2
    assert re.search(r"^2 succeeded in \d+ s$", shown, re.MULTILINE)


def test_ctrl_c_leaves_the_result_the_way_to_resume_and_a_cursor(screen: Screens) -> None:
    terminal = screen(80)
    terminal.run(f"trap : INT; {RESET % 2}")
    terminal.wait_for("waiting")
    terminal.tell("send-keys", "C-c")
    code, shown = terminal.end()
    assert code == 130
    assert "1 operation is still running." in shown
    assert "To follow it: clc status --wait" in shown
    assert has_cursor(terminal)


def test_ctrl_z_leaves_a_clean_line_and_fg_draws_again_and_goes_on(shell: Shell) -> None:
    shell.reset(6)
    assert RUNNING not in shell.stop()
    assert has_cursor(shell.screen)
    shell.type("clear; echo between; sleep 1.5; fg")  # longer than it ever waits at once
    assert shell.screen.wait_for(RUNNING).splitlines()[0] == "between"
    shell.wait_for_the_result()


@pytest.mark.parametrize(("settings", "end"), [("stty -tostop", ""), ("stty tostop", "wait; fg")])
def test_in_the_background_nothing_is_drawn_and_the_result_comes(
    shell: Shell, settings: str, end: str
) -> None:
    shell.type(settings)
    shell.type(f"clear; {RESET % 2} &")
    for _ in range(20):
        assert "running" not in shell.screen.text()
        time.sleep(0.1)
    shell.type(end)
    shell.wait_for_the_result()


def test_a_stopped_terminal_delays_nothing_and_loses_nothing(shell: Shell) -> None:
    shell.reset(2)
    shell.press("C-s")
    time.sleep(5)
    assert "succeeded" not in shell.screen.text()
    shell.press("C-q")
    (seconds,) = re.findall(r"2 succeeded in (\d+) s", shell.wait_for_the_result())
    assert int(seconds) < 5


def test_sigterm_ends_it_on_a_stopped_terminal(shell: Shell, tmp_path: Path) -> None:
    shell.type(f"(echo $BASHPID > {tmp_path}/pid; exec {RESET % 60})")
    shell.screen.wait_for("waiting")
    shell.press("C-s")
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("jobs", ["fg", "bg; sleep 0.5; fg"])
def test_a_password_is_not_shown_after_ctrl_z_and_fg_either(shell: Shell, jobs: str) -> None:
    shell.type(shell.asking)
    shell.screen.wait_for("Password:")
    shell.stop()
    shell.type(f"echo echoed; {jobs}")
    wait_until(lambda: shell.screen.text().rstrip().endswith("Password:"))
    assert shell.screen.text().count("Password:") == 2
    shell.type("s3cret")
    assert "s3cret" not in shell.screen.wait_for("S3CRET")
    shell.type("echo $((40 + 2))")
    assert "echo $((40" in shell.screen.wait_for("42")


def test_a_question_in_the_background_waits_for_the_foreground(shell: Shell) -> None:
    shell.type(f"{shell.asking} &")
    shell.type("sleep 1")  # bash tells of the stop before its next prompt
    shell.screen.wait_for("Stopped")
    shell.type("clear; fg")
    shell.screen.wait_for("Password:")
    shell.type("s3cret")
    assert "s3cret" not in shell.screen.wait_for("S3CRET")
