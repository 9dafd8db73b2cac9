"""A terminal shared with a shell: Ctrl-Z and fg, the background, Ctrl-S, Ctrl-\\, a new size.

The programs use the display and the prompts as commands do; bash in tmux is the shell.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fakes import CLC, wait_until
from tests.real.screen import Screen, Screens

DISPLAY = """
import os, sys, time
from pathlib import Path
from clc_reset.models import Operation, OperationStatus
from clc_reset.resets.events import Following, StatusChanged, Tick
from clc_reset.ui.live import live
from clc_reset.ui.streams import Streams
from clc_reset.workers import Inbox

folder = Path(sys.argv[1])
(folder / "pid").write_text(str(os.getpid()))
inbox = Inbox()
inbox.handle_signals()
streams = Streams(sys.stdin, sys.stdout, sys.stderr, lambda: inbox.signum is not None)
operation = Operation("wa1-12345", "/x")
ticks = 0
with live(streams) as display:
    display(Following({operation: ["WA1ALIASWB01", "WA1ALIASWB02"]}))
    display(StatusChanged(operation, OperationStatus("executing"), 0.0))
    while not (folder / "end").exists() and inbox.signum is None:
        time.sleep(0.02)
        ticks += 1
        (folder / "ticks").write_text(str(ticks))
        if (folder / "note").exists():
            (folder / "note").unlink()
            streams.note("a note")
        display(Tick(ticks / 10))
streams.print_result("the result\\n")
streams.screen.flush(2)
"""
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
ROW = "2 servers: WA1ALIASWB01, WA1ALIASWB02  wa1-12345  running"


class Shell:
    """An interactive bash that runs one of the programs above."""

    def __init__(self, screen: Screen, folder: Path, program: str) -> None:
        self.screen = screen
        self.folder = folder
        (folder / "program.py").write_text(program)
        screen.run("PS1='$ ' exec bash --norc -i")
        screen.wait_for("$")
        self.command = f"{sys.executable} {folder}/program.py {folder}"

    def type(self, line: str) -> None:
        self.screen.tell("send-keys", "-l", line)
        self.screen.tell("send-keys", "Enter")

    def press(self, key: str) -> None:
        self.screen.tell("send-keys", key)

    def start(self, after: str = "") -> None:
        self.type(f"clear; {self.command} {after}")

    def start_display(self) -> None:
        self.start()
        self.screen.wait_for(ROW)

    def stop(self) -> str:
        """Press Ctrl-Z; return the screen after it."""
        self.press("C-z")
        return self.screen.wait_for("Stopped")

    def flag(self, name: str) -> None:
        """Tell the program something by a file."""
        (self.folder / name).touch()

    def end(self) -> str:
        """Let the program end; return the screen with its result."""
        self.flag("end")
        return self.screen.wait_for("the result")

    def wait_for_ticks(self, more: int = 20) -> None:
        """Wait until the program has gone on for a while."""
        before = self._ticks()
        wait_until(lambda: self._ticks() > before + more)

    def _ticks(self) -> int:
        file = self.folder / "ticks"
        return int((file.exists() and file.read_text()) or 0)


@pytest.fixture
def shell(screen: Screens, tmp_path: Path) -> Shell:
    return Shell(screen(80), tmp_path, DISPLAY)


@pytest.fixture
def prompt(screen: Screens, tmp_path: Path) -> Shell:
    return Shell(screen(80), tmp_path, PROMPT)


# --- the display -------------------------------------------------------------------------------


def test_ctrl_z_leaves_a_clean_line_and_fg_draws_again(shell: Shell) -> None:
    shell.start_display()
    for _ in range(2):
        assert "wa1-12345  running" not in shell.stop()
        assert shell.screen.tell("display-message", "-p", "#{cursor_flag}") == "1\n"
        shell.type("clear; echo between; fg")
        above = shell.screen.wait_for(ROW).splitlines()
        assert above[0] == "between"
    shown = shell.end()
    assert "running" not in shown


def test_the_background_gets_notes_and_the_result_and_no_display(shell: Shell) -> None:
    shell.start_display()
    shell.stop()
    shell.type("clear; bg")
    shell.wait_for_ticks()
    shell.flag("note")
    assert "running" not in shell.screen.wait_for("a note")
    shell.type("fg")
    assert "a note" in shell.screen.wait_for(ROW)
    shell.end()


def test_started_in_the_background_nothing_is_drawn(shell: Shell) -> None:
    shell.start("&")
    shell.wait_for_ticks()
    assert "running" not in shell.screen.text()
    shell.end()


def test_with_tostop_the_background_goes_on_to_its_end(shell: Shell) -> None:
    shell.type("stty tostop")
    shell.start("&")
    shell.wait_for_ticks()
    shell.flag("note")
    shell.wait_for_ticks()
    shell.flag("end")
    shell.type("wait; fg")
    shown = shell.screen.wait_for("the result")
    assert shown.index("a note") < shown.index("the result")


def test_a_stopped_terminal_delays_nothing_and_loses_nothing(shell: Shell) -> None:
    shell.start_display()
    shell.press("C-s")
    shell.flag("note")
    shell.wait_for_ticks(100)
    shell.flag("end")
    wait_until(lambda: "a note" not in shell.screen.text())
    shell.press("C-q")
    shown = [line for line in shell.screen.wait_for("the result").splitlines() if line]
    assert shown[:2] == ["a note", "the result"]


def test_sigterm_ends_it_on_a_stopped_terminal(shell: Shell) -> None:
    shell.start_display()
    shell.press("C-s")
    shell.wait_for_ticks()
    pid = int((shell.folder / "pid").read_text("ascii"))
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_ctrl_backslash_leaves_a_cursor(shell: Shell) -> None:
    shell.start_display()
    shell.press("C-\\")
    shell.screen.wait_for("Quit")
    assert shell.screen.tell("display-message", "-p", "#{cursor_flag}") == "1\n"


@pytest.mark.parametrize("columns", ["30", "50", "120"])
def test_a_new_size_leaves_no_stale_lines(shell: Shell, columns: str) -> None:
    shell.start_display()
    shell.screen.tell("resize-window", "-x", columns)
    shell.wait_for_ticks()
    assert shell.screen.text().count("wa1-12345") == 1
    shown = [line for line in shell.end().splitlines() if line]
    assert shown[0] == "the result"


def test_a_display_is_never_wider_than_the_window(shell: Shell) -> None:
    shell.type("export COLUMNS=500; shopt -u checkwinsize")
    shell.start_display()
    shell.wait_for_ticks()
    assert shell.screen.text().count("wa1-12345") == 1
    shell.end()


def test_the_command_goes_on_after_ctrl_z_and_fg(shell: Shell) -> None:
    server = "WA1ALIASWB01"
    shell.type(f"clear; {CLC} sandbox --duration 2s {CLC} reset {server} --wait")
    shell.screen.wait_for(f"{server}  wa1-12345  running")
    shell.stop()
    shell.type("clear; sleep 1.5; fg")  # longer than it ever waits at once
    shown = shell.screen.wait_for(f"{server}  succeeded")
    assert "running" not in shown


# --- prompts -----------------------------------------------------------------------------------


def test_a_password_is_not_shown_after_ctrl_z_and_fg_either(prompt: Shell) -> None:
    prompt.start()
    prompt.screen.wait_for("Password:")
    prompt.stop()
    prompt.type("echo echoed; fg")
    wait_until(lambda: prompt.screen.text().rstrip().endswith("Password:"))
    prompt.type("s3cret")
    shown = prompt.screen.wait_for("S3CRET")
    assert "s3cret" not in shown
    prompt.type("echo $((40 + 2))")
    assert "echo $((40" in prompt.screen.wait_for("42")


@pytest.mark.parametrize("key", ["C-c", "C-\\", "C-d"])
def test_the_terminal_echoes_however_a_prompt_ends(
    screen: Screens, tmp_path: Path, key: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROMPT)
    terminal = screen(80)
    # a job of its own, of a bash that doesn't turn the echo on by itself
    line = f"set -m; {sys.executable} {program}; clear"
    terminal.run(f"{line}; stty -a | tr ' ' '\\n' | grep 'echo;*$'")
    terminal.wait_for("Password:")
    terminal.tell("send-keys", key)
    assert terminal.end()[1].split() == ["echo"]


def test_a_question_in_the_background_waits_for_the_foreground(prompt: Shell) -> None:
    prompt.start("&")
    prompt.type("sleep 1")  # bash tells of the stop before its next prompt
    prompt.screen.wait_for("Stopped")
    prompt.type("clear; fg")
    prompt.screen.wait_for("Password:")
    prompt.type("s3cret")
    assert "s3cret" not in prompt.screen.wait_for("S3CRET")
