import os
import signal
import termios
import time
from pathlib import Path
from typing import TextIO

import pytest

from clc_reset.errors import Interrupted, UsageError
from clc_reset.ui.prompts import Prompts
from clc_reset.ui.screen import Line
from clc_reset.ui.streams import Streams
from clc_reset.workers import Inbox
from tests import fakes
from tests.fakes import environment
from tests.ui.screens import Gone, Keyboard, Terminal, meanwhile

BEFORE_A_READ = 0.1
"""Seconds until the other thread reads: a signal that comes just before doesn't wake it."""


class Odd(Terminal):
    """A terminal whose encoding isn't that of what is typed."""

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def prompts(stdin: TextIO | None, stderr: TextIO | None, inbox: Inbox | None = None) -> Prompts:
    return Prompts(Streams(stdin, None, stderr), inbox or Inbox())


def refused(asking: Prompts, what: str, *, hidden: bool = False) -> str:
    """Return the message of a question that can't be asked, or has no answer."""
    with pytest.raises(UsageError) as no:
        asking.ask(what, "Give it.", hidden=hidden)
    assert no.value.hint == "Give it."
    return no.value.message


@pytest.mark.parametrize(
    ("stdin", "is_yes"),
    [
        *[(Terminal(typed), True) for typed in ("y\n", " YES \n", "yes")],
        *[(Terminal(typed), False) for typed in ("n\n", "\n")],
        *[(stdin, False) for stdin in (Terminal(), Odd(), Gone())],
    ],
)
def test_only_y_and_yes_are_a_yes_below_the_notes(stdin: Terminal, is_yes: object) -> None:
    screen = Terminal()
    streams = Streams(stdin, None, screen)
    streams.screen.show([Line("a display", 9)])
    streams.note("a note")
    has_line = stdin.getvalue().endswith("\n")
    assert Prompts(streams, Inbox()).confirm("Reset it?") is is_yes
    assert screen.screen(80) == ["a note", "Reset it? [y/N]"]
    assert screen.getvalue().endswith("[y/N] " if has_line else "[y/N] \n")


def test_an_answer_has_to_be_given_and_readable() -> None:
    screen = Terminal()
    asking = prompts(Terminal(" demo \n\n"), screen)
    assert asking.ask("user name", "Give -u.") == "demo"
    assert refused(asking, "user name") == "No user name was given."
    message = "The user name can't be read in this terminal's encoding."
    assert refused(prompts(Odd(), screen), "user name") == message
    assert screen.getvalue() == "User name: User name: User name: \n"


@pytest.mark.parametrize(("stdin", "stderr"), [(None, Terminal()), (Terminal(), None)])
def test_without_a_terminal_nothing_is_asked(stdin: TextIO | None, stderr: TextIO | None) -> None:
    message = refused(prompts(stdin, stderr), "password", hidden=True)
    assert message == "There is no terminal to ask for the password on."
    assert prompts(stdin, stderr).confirm("Reset it?") is False
    assert prompts(Gone(), Gone()).confirm("Reset it?") is False


def test_a_password_that_can_not_be_hidden_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    with Path(os.devnull).open(encoding="utf-8") as stdin:
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        message = refused(prompts(stdin, screen), "password", hidden=True)
    assert message == "This terminal can't hide the password while it is typed."
    assert screen.getvalue() == ""


def test_only_an_answer_typed_after_the_question_counts(board: Keyboard) -> None:
    def type_answer() -> None:
        board.read_until(b"[y/N] ")
        board.type(b"n\n")

    board.type(b"y\n")
    board.read_until(b"y\r\n")
    with meanwhile(type_answer):
        assert prompts(board.stdin, board.stderr).confirm("Reset it?") is False
    board.read_until(b"[y/N] n\r\n")


def test_a_password_keeps_its_blanks_and_is_not_shown_after_a_stop_either(board: Keyboard) -> None:
    echoes: list[bool] = []

    def type_password() -> None:
        board.read_until(b"Password: ")
        echoes.append(board.echoes)
        time.sleep(BEFORE_A_READ)
        os.kill(os.getpid(), signal.SIGCONT)
        board.read_until(b"Password: Password: ")
        echoes.append(board.echoes)
        board.type(b" s3cret \n")

    with meanwhile(type_password):
        password = prompts(board.stdin, board.stderr).ask("password", "", hidden=True)
    assert (password, echoes, board.echoes) == (" s3cret ", [False, False], True)
    board.read_until(b"Password: \r\n")
    assert b"s3cret" not in board.shown


def test_a_signal_ends_a_question_and_its_line_and_the_terminal_echoes_again(
    board: Keyboard,
) -> None:
    class Signalled(Terminal):
        def readline(self, _size: int = -1) -> str:  # type: ignore[override]
            board.stop()
            raise Interrupted(signal.SIGTERM)

    keyring = {"PYTHON_KEYRING_BACKEND": "tests.fakes.MemoryKeyring"}
    clc = fakes.Terminal("login", "-u", "demo", **environment(**keyring))
    clc.read_until(b"Password: ")
    time.sleep(BEFORE_A_READ)
    assert not termios.tcgetattr(clc.screen)[3] & termios.ECHO
    os.kill(clc.process, signal.SIGTERM)
    assert clc.end() == (143, "Password: \r\nInterrupted.\r\n")
    assert termios.tcgetattr(clc.screen)[3] & termios.ECHO
    inbox = Inbox()
    inbox.interrupt(signal.SIGTERM)
    with pytest.raises(Interrupted):  # before a question is shown, too
        prompts(Terminal("y\n"), screen := Terminal(), inbox).confirm("Reset it?")
    assert screen.getvalue() == "\n"
    with pytest.raises(Interrupted):  # and on a stopped terminal
        prompts(Signalled(), board.stderr).confirm("Reset it?")
