"""The terminal that this process shares with others: its settings, and job control.

A shell moves jobs between foreground and background. Only the foreground may change the settings
of a terminal or draw on it; SIGTSTP (Ctrl-Z) stops it, and SIGCONT (`fg`, `bg`) lets it go on.
"""

import os
import signal
import termios
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

_LOCAL_MODES = 3
"""The place of the local modes (ECHO, TOSTOP) in the list of a terminal's attributes."""
_Attributes = list[int | list[bytes | int]]
_DEADLY = (signal.SIGQUIT, signal.SIGABRT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that end a process at once unless they are handled; others are the inbox's."""
_Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def in_foreground(fd: int) -> bool:
    """Return whether this process may use the terminal with this descriptor: no other job has it.

    A foreground group of 0 is one in another PID namespace (`unshare`), so that nothing is known.
    """
    try:
        return os.tcgetpgrp(fd) in {0, os.getpgrp()}
    except OSError:  # not the controlling terminal: it has no job control
        return True


def stops_writers(fd: int) -> bool:
    """Return whether writing would stop this process now: in the background after `stty tostop`."""
    with suppress(termios.error):
        return not in_foreground(fd) and bool(termios.tcgetattr(fd)[_LOCAL_MODES] & termios.TOSTOP)
    return False


def wait_for_foreground(fd: int) -> None:
    """Stop this process's job where the terminal is another's, as reading from it would."""
    if not in_foreground(fd):
        os.kill(0, signal.SIGTTIN)


def hide_input(fd: int) -> None:
    """Let a terminal echo nothing that is typed but the end of a line. Raises termios.error."""
    attributes = termios.tcgetattr(fd)
    attributes[_LOCAL_MODES] = attributes[_LOCAL_MODES] & ~termios.ECHO | termios.ECHONL
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


@contextmanager
def suspensions(leave: Callable[[], bool], resume: Callable[[], None]) -> Generator[None]:
    """Call `leave` before Ctrl-Z stops this process, and `resume` when it goes on.

    Both are called in a signal handler. `leave` returns False if it can't act at this moment; then
    it has to raise SIGTSTP again itself. For the main thread only.
    """

    def stop(signum: int, _frame: FrameType | None) -> None:
        if leave():
            with _handling(dict.fromkeys([signal.SIGTSTP, signal.SIGCONT], signal.SIG_DFL)):
                # returns at once in an orphaned process group, which nothing stops
                signal.raise_signal(signum)
            resume()

    with _handling({signal.SIGTSTP: stop, signal.SIGCONT: lambda *_: resume()}):
        yield


@contextmanager
def settings_restored(
    fd: int | None = None, resumed: Callable[[], object] = lambda: None
) -> Generator[None]:
    """Leave a terminal's settings on leaving, and while stopped, as they were on entering.

    `fd` is the terminal's descriptor, by default the controlling terminal's, or standard input's if
    there is none. After a stop the settings are again what they were before it, and `resumed` is
    called, in a signal handler; after `bg` that waits for `fg`. Signals that end this process at
    once restore the settings, too; others are the inbox's. Nothing is done where there is no
    terminal, or it is another job's. For the main thread only.
    """
    with ExitStack() as opened:
        if fd is None:
            fd = 0
            with suppress(OSError):
                fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
                opened.callback(os.close, fd)
        terminal = fd
        first = _settings(terminal) if in_foreground(terminal) else None
        before_stop: _Attributes | None = None

        def leave() -> bool:
            nonlocal before_stop
            before_stop = _settings(terminal)
            _set(terminal, first)
            return True

        def resume() -> None:
            if in_foreground(terminal):  # after `bg` the next read stops this process again
                _set(terminal, before_stop)
                resumed()

        def die(signum: int, _frame: FrameType | None) -> None:
            _set(terminal, first)
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

        with suspensions(leave, resume), _handling(dict.fromkeys(_DEADLY, die)):
            try:
                yield
            finally:
                _set(terminal, first)


@contextmanager
def _handling(handlers: Mapping[signal.Signals, _Handler]) -> Generator[None]:
    """Handle signals that aren't ignored; put the handlers back that were there before."""
    before = {
        signum: signal.signal(signum, handler)
        for signum, handler in handlers.items()
        if signal.getsignal(signum) not in {signal.SIG_IGN, None}  # None: PYTHONFAULTHANDLER
    }
    try:
        yield
    finally:
        for signum, was in before.items():
            signal.signal(signum, was)


def _settings(fd: int) -> _Attributes | None:
    with suppress(termios.error, ValueError):
        return termios.tcgetattr(fd)
    return None


def _set(fd: int, attributes: _Attributes | None) -> None:
    # a background job that sets anything is stopped, and the settings are another job's
    if attributes is None or attributes == _settings(fd) or not in_foreground(fd):
        return
    with suppress(termios.error):
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
