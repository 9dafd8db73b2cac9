import getpass
import io
import os
import pty
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from clc_reset.errors import Interrupted, UsageError
from clc_reset.threads import Stop
from clc_reset.ui.prompts import Prompts
from tests.ui.screens import Terminal


class Odd(Terminal):
    """A terminal whose encoding isn't that of what is typed."""

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


class Gone(Terminal):
    """A terminal that has been closed."""

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        raise OSError(5, "Input/output error")

    def write(self, text: str) -> int:
        raise OSError(5, text)


def prompts(typed: str) -> tuple[Prompts, Terminal]:
    screen = Terminal()
    return Prompts(Terminal(typed), screen, Stop()), screen


@pytest.mark.parametrize(
    ("typed", "is_yes"),
    [("y\n", True), (" YES \n", True), ("yes", True), ("n\n", False), ("\n", False), ("", False)],
)
def test_only_y_and_yes_are_a_yes(typed: str, is_yes: object) -> None:
    asking, screen = prompts(typed)
    assert asking.confirm("Reset it?") is is_yes
    assert screen.getvalue() == "Reset it? [y/N] " + ("" if typed else "\n")


def test_what_can_not_be_read_is_no_yes_and_not_given() -> None:
    screen = Terminal()
    asking = Prompts(Odd(), screen, Stop())
    assert asking.confirm("Reset it?") is False
    with pytest.raises(UsageError, match="can't be read in this terminal's encoding"):
        asking.ask("username", "Give -u.")
    assert screen.getvalue() == "Reset it? [y/N] \nUsername: \n"


def test_a_terminal_that_is_gone_gives_no_answer() -> None:
    assert Prompts(Gone(), Gone(), Stop()).confirm("Reset it?") is False
    assert Prompts(Gone(), Terminal(), Stop()).confirm("Reset it?") is False
    assert Prompts(None, None, Stop()).confirm("Reset it?") is False


def test_what_is_asked_for_has_to_be_given() -> None:
    asking, screen = prompts(" demo \n\n")
    assert asking.ask("username", "Give -u.") == "demo"
    with pytest.raises(UsageError, match="No username was given"):
        asking.ask("username", "Give -u.")
    assert screen.getvalue() == "Username: Username: "


@pytest.mark.parametrize(
    ("stdin", "stderr"),
    [
        (None, Terminal()),
        (Terminal(), None),
        (io.StringIO(), Terminal()),
        (Terminal(), io.StringIO()),
    ],
)
def test_without_a_terminal_nothing_is_asked(stdin: TextIO | None, stderr: TextIO | None) -> None:
    asking = Prompts(stdin, stderr, Stop())
    with pytest.raises(UsageError, match="There is no terminal to ask for the password on") as no:
        asking.ask("password", "Use --password-stdin.", hidden=True)
    assert no.value.hint == "Use --password-stdin."


def test_a_hidden_answer_is_read_by_getpass_and_keeps_its_blanks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asking, screen = prompts("")

    def hidden(prompt: str, stream: object) -> str:
        assert (prompt, stream) == ("Password: ", screen)
        return " s3cret "

    monkeypatch.setattr(getpass, "getpass", hidden)
    assert asking.ask("password", "", hidden=True) == " s3cret "


def test_a_signal_before_a_question_is_asked_ends_it() -> None:
    stop = Stop()
    stop.set(signal.SIGTERM)
    screen = Terminal()
    with pytest.raises(Interrupted):
        Prompts(Terminal("y\n"), screen, stop).confirm("Reset it?")
    assert screen.getvalue() == "\n"


# --- on a pseudo-terminal ----------------------------------------------------------------------


class Keyboard:
    """A pseudo-terminal on which a test types."""

    def __init__(self, master: int, slave: int) -> None:
        self.master = master
        self.stdin = os.fdopen(os.dup(slave), encoding="utf-8")
        self.stderr = os.fdopen(os.dup(slave), "w", encoding="utf-8")
        self.shown = b""

    def read_until(self, words: bytes) -> None:
        while words not in self.shown:
            assert select.select([self.master], [], [], 20)[0]
            self.shown += os.read(self.master, 65536)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def answers(self, ask: Callable[[], object], then: Callable[[], object]) -> object:
        """What a question returns, while something else is done meanwhile."""
        other = threading.Thread(target=then, daemon=True)
        other.start()
        try:
            return ask()
        finally:
            other.join()


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    master, slave = pty.openpty()
    keyboard = Keyboard(master, slave)
    with keyboard.stdin, keyboard.stderr:
        yield keyboard
    os.close(slave)
    os.close(master)


def test_a_y_typed_before_the_question_was_shown_confirms_nothing(keyboard: Keyboard) -> None:
    keyboard.type(b"y\n")
    keyboard.read_until(b"y\r\n")
    asking = Prompts(keyboard.stdin, keyboard.stderr, Stop())

    def answer() -> None:
        keyboard.read_until(b"[y/N] ")
        keyboard.type(b"n\n")

    assert keyboard.answers(lambda: asking.confirm("Reset it?"), answer) is False


def test_a_y_typed_after_the_question_was_shown_confirms_it(keyboard: Keyboard) -> None:
    asking = Prompts(keyboard.stdin, keyboard.stderr, Stop())

    def answer() -> None:
        keyboard.read_until(b"[y/N] ")
        keyboard.type(b"y\n")

    assert keyboard.answers(lambda: asking.confirm("Reset it?"), answer) is True


def test_a_signal_ends_a_question_and_its_line(keyboard: Keyboard) -> None:
    stop = Stop()
    before = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    stop.install()
    asking = Prompts(keyboard.stdin, keyboard.stderr, stop)

    def interrupt() -> None:
        keyboard.read_until(b"[y/N] ")
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        with pytest.raises(Interrupted):
            keyboard.answers(lambda: asking.confirm("Reset it?"), interrupt)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    keyboard.read_until(b"[y/N] \r\n")


def test_a_hidden_answer_is_not_echoed_even_where_a_signal_ends_it() -> None:
    program = """
import sys
from clc_reset.errors import Interrupted
from clc_reset.threads import Stop
from clc_reset.ui.prompts import Prompts
stop = Stop()
stop.install()
asking = Prompts(sys.stdin, sys.stderr, stop)
print(asking.ask("password", "", hidden=True).swapcase())
try:
    asking.ask("password", "", hidden=True)
except Interrupted:
    print("ended")
"""
    process, screen = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])  # noqa: S606 - no shell is wanted
    shown = b""

    def read(words: bytes) -> None:
        nonlocal shown
        while words not in shown:
            assert select.select([screen], [], [], 20)[0]
            shown += os.read(screen, 65536)

    read(b"Password: ")
    os.write(screen, b"s3cret\n")
    read(b"S3CRET\r\nPassword: ")
    os.write(screen, b"\x03")
    read(b"ended")
    assert b"s3cret" not in shown
    assert termios.tcgetattr(screen)[3] & termios.ECHO
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(screen)
