import os
import pty
import signal

import pytest

from clc_reset import terminal
from tests.ui.screens import IN_THE_BACKGROUND, Keyboard, run_on_terminal


def deliver(signum: signal.Signals) -> None:
    """Call the handler of a signal as Python does."""
    handler = signal.getsignal(signum)
    assert callable(handler)
    handler(signum, None)


def test_in_the_background_a_terminal_is_another_jobs() -> None:
    """A wait for the foreground goes on here: nobody could let a session's leader go on."""
    code, shown = run_on_terminal(f"""
from clc_reset.terminal import *
assert in_foreground(0) and not stops_writers(0)
wait_for_foreground(0)
{IN_THE_BACKGROUND}
before = termios.tcgetattr(0)
assert not in_foreground(0) and not stops_writers(0)
wait_for_foreground(0)
with settings_restored(0, lambda: print("never")):
    hide_input(0)
    signal.raise_signal(signal.SIGCONT)  # `bg`
assert termios.tcgetattr(0) != before, "another job's settings are left alone"
before[3] |= termios.TOSTOP
termios.tcsetattr(0, termios.TCSANOW, before)
assert stops_writers(0)
print("done")
""")
    assert (code, shown) == (0, "done\r\n")


@pytest.mark.parametrize("has_name", [True, False])
def test_the_terminal_is_the_controlling_one_or_else_standard_input(*, has_name: bool) -> None:
    code, shown = run_on_terminal(f"""
import os, signal, termios
from clc_reset.terminal import *
def fail(*_): raise OSError
if {has_name}:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
else:
    os.open = fail
before = os.listdir("/dev/fd")
with settings_restored():
    hide_input(1)
    signal.raise_signal(signal.SIGTSTP)  # nothing stops the leader of a session
    assert not termios.tcgetattr(1)[3] & termios.ECHO
assert termios.tcgetattr(1)[3] & termios.ECHO
assert before == os.listdir("/dev/fd")
""")
    assert (code, shown) == (0, "")


def test_while_stopped_and_after_a_deadly_signal_the_settings_are_the_shells(
    monkeypatch: pytest.MonkeyPatch, board: Keyboard
) -> None:
    def raise_signal(signum: int) -> None:
        assert signal.getsignal(signum) is signal.SIG_DFL
        echoes.append(board.echoes)

    monkeypatch.setattr(signal, "raise_signal", raise_signal)
    fd = board.stdin.fileno()
    echoes: list[object] = []
    with terminal.settings_restored(fd, lambda: echoes.append(board.echoes)):
        terminal.hide_input(fd)
        deliver(signal.SIGCONT)  # after SIGSTOP nothing is known
        deliver(signal.SIGTSTP)
    assert echoes == [False, True, False]
    for name in ("QUIT", "ABRT", "ALRM", "USR1", "USR2"):
        with terminal.settings_restored(fd):
            terminal.hide_input(fd)
            deliver(signal.Signals[f"SIG{name}"])
    assert echoes[3:] == [True] * 5


def test_handlers_are_those_of_before_afterwards_and_an_ignored_stop_stays_so() -> None:
    signums = (signal.SIGTSTP, signal.SIGCONT, signal.SIGQUIT)
    before = [signal.getsignal(signum) for signum in signums]
    with terminal.settings_restored(-1), terminal.settings_restored(-1):
        assert not set(map(signal.getsignal, signums)) & set(before)
    assert [signal.getsignal(signum) for signum in signums] == before
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    with terminal.settings_restored(-1):
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    assert signal.signal(signal.SIGTSTP, before[0]) is signal.SIG_IGN


def test_a_display_that_can_not_leave_at_this_moment_is_not_stopped() -> None:
    with terminal.suspensions(lambda: False, lambda: pytest.fail("it wasn't stopped")):
        deliver(signal.SIGTSTP)


def test_a_terminal_that_is_gone_has_no_settings_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = pty.openpty()
    with terminal.settings_restored(slave):
        terminal.hide_input(slave)
        os.close(master)
    os.close(slave)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: 1)  # another job's
    assert not terminal.stops_writers(slave)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: 0)  # in another PID namespace
    assert terminal.in_foreground(0)
