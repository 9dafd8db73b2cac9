"""The terminal that this process shares with others: its settings, and job control.

A shell moves jobs between foreground and background. Only the foreground may change the settings
of a terminal or draw on it; SIGTSTP (Ctrl-Z) stops it, and SIGCONT (`fg`, `bg`) lets it go on.
"""

import os
import signal
import termios
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType

_LOCAL_MODES = 3
"""The place of the local modes (ECHO, TOSTOP) in the list of a terminal's attributes."""
_Attributes = list[int | list[bytes | int]]
_FATAL = (signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def in_foreground(fd: int) -> bool:
    """Return whether this process may use the terminal with this descriptor: no other job has it.

    A foreground group of 0 is one in another PID namespace (`unshare`), so that nothing is known.
    """
    try:
        return os.tcgetpgrp(fd) in {0, os.getpgrp()}
    except OSError:  # not the controlling terminal: it has no job control
        return True


def stops_writers(fd: int) -> bool:
    """Return whether writing would stop this process now: in the background after `stty tostop`.

    Raises termios.error.
    """
    if in_foreground(fd):
        return False
    return bool(termios.tcgetattr(fd)[_LOCAL_MODES] & termios.TOSTOP)


def wait_for_foreground(fd: int) -> None:
    """Stop this process where the terminal is another job's, as reading from it would."""
    if not in_foreground(fd):
        signal.raise_signal(signal.SIGTTIN)


def hide_input(fd: int) -> None:
    """Let a terminal echo nothing that is typed but the end of a line. Raises termios.error."""
    attributes = termios.tcgetattr(fd)
    attributes[_LOCAL_MODES] = attributes[_LOCAL_MODES] & ~termios.ECHO | termios.ECHONL
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


class Suspensions:
    """Calls `leave` before Ctrl-Z stops this process, and `resume` when it goes on.

    Both are called in a signal handler. `leave` returns False if it can't act at this moment; then
    it has to raise SIGTSTP again itself. Works in the main thread only; elsewhere it does nothing.
    """

    def __init__(self, leave: Callable[[], bool], resume: Callable[[], None]) -> None:
        self._leave = leave
        self._resume = resume
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def begin(self) -> None:
        """Handle the two signals from now on; an ignored SIGTSTP stays ignored."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._go_on)

    def end(self) -> None:
        """Put the handlers back that were there before."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        if self._leave():
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            # to this thread, which stops right here; another might take the process's signal later
            signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._stop)

    def _go_on(self, _signum: int, _frame: FrameType | None) -> None:
        self._resume()


@contextmanager
def settings_restored(
    fd: int | None = None, resumed: Callable[[], object] = lambda: None
) -> Generator[None]:
    """Leave a terminal's settings on leaving, and while stopped, as they were on entering.

    `fd` is the terminal's descriptor, by default the controlling terminal's, or standard input's if
    there is none. After a stop the settings are again what they were before it, and `resumed` is
    called, in a signal handler. Signals that end this process at once (SIGQUIT among them) restore
    the settings, too. Nothing is done where there is no terminal, or it is another job's.
    """
    opened = None
    if fd is None:
        fd = 0
        with suppress(OSError):
            fd = opened = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    settings = _Settings(fd, resumed)
    settings.begin()
    try:
        yield
    finally:
        settings.end()
        if opened is not None:
            os.close(opened)


class _Settings:
    """The settings of one terminal, as they were at first and as they were before a stop."""

    def __init__(self, fd: int, resumed: Callable[[], object]) -> None:
        self._fd = fd
        self._resumed = resumed
        self._first = self._read() if in_foreground(fd) else None
        self._stopped: _Attributes | None = None
        self._suspensions = Suspensions(self._leave, self._resume)
        self._fatal: list[signal.Signals] = []

    def begin(self) -> None:
        """Handle the signals that stop or end this process."""
        self._suspensions.begin()
        if threading.current_thread() is threading.main_thread():
            self._fatal = [s for s in _FATAL if signal.getsignal(s) is signal.SIG_DFL]
            for signum in self._fatal:
                signal.signal(signum, self._die)

    def end(self) -> None:
        """Set what was set at first, and handle no signals any more."""
        self._write(self._first)
        for signum in self._fatal:
            signal.signal(signum, signal.SIG_DFL)
        self._suspensions.end()

    def _read(self) -> _Attributes | None:
        with suppress(termios.error, ValueError):
            return termios.tcgetattr(self._fd)
        return None

    def _write(self, attributes: _Attributes | None) -> None:
        # a background job that sets anything is stopped, and the settings are another job's
        if attributes is None or attributes == self._read() or not in_foreground(self._fd):
            return
        with suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def _leave(self) -> bool:
        self._stopped = self._read()
        self._write(self._first)
        return True

    def _resume(self) -> None:
        self._write(self._stopped)
        self._resumed()

    def _die(self, signum: int, _frame: FrameType | None) -> None:
        self._write(self._first)
        signal.signal(signum, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signum)
