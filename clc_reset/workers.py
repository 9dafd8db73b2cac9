"""Worker threads and signals: one inbox, on which only the main thread waits.

Workers put their results into the inbox, and the signal handler puts a mark. A signal never raises
in the middle of something, except in a read of standard input or a prompt: so no result that has
arrived is lost between two lines. All threads are daemons, which can't keep this process alive.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Hashable, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from threading import Lock, Thread
from types import FrameType
from typing import NamedTuple, TypeVar

from clc_reset.errors import Interrupted

AT_A_TIME = 16
"""Requests under way at the most."""
SUSPENDED_SECONDS = 2.0
"""A wait that takes longer than it should by this much was interrupted by a suspension."""
RESUMED_SECONDS = 10.0
"""Time for a result to arrive after this process was suspended past a limit."""

_LONGEST_SLEEP = 1.0
"""In seconds: the kernel may hand a signal to another thread, which doesn't wake this one."""
_SAME_ACT_SECONDS = 1.0
"""A second signal within this time belongs to the first: `timeout`, or a terminal that closes."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


class Failure(NamedTuple):
    """The exception that a call raised instead of returning."""

    error: BaseException


class Done(NamedTuple):
    """A finished call: the key that it was submitted with, and its result or Failure."""

    key: Hashable
    result: object


class Inbox:
    """Runs calls in threads and hands out their results, in the order in which they arrive.

    `signum` is the number of the first signal, None before it. `monotonic` counts seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.signum: int | None = None
        self._monotonic = monotonic
        self._signalled_at = 0.0
        self._raises = False
        # not a SimpleQueue: its `get` waits for ever where a signal handler returns after the time
        # is up, as after a stop (Ctrl-Z)
        self._queue: deque[tuple[int, object]] = deque()
        self._bell = Lock()  # released when a result was put into the queue, or a signal came
        self._keys: dict[int, Hashable] = {}  # of the calls that are waited for, by their tickets
        self._ready: dict[int, object] = {}  # results that arrived, in order
        self._tickets = count(1)

    # --- signals -------------------------------------------------------------------------------

    def handle_signals(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP leave a mark from now on.

        One that is ignored from the start stays ignored: nohup, or a script's background.
        """
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is None:
            self._signalled_at = now
            self.interrupt(signum)
            if self._raises:
                raise Interrupted(signum)
        elif now - self._signalled_at >= _SAME_ACT_SECONDS:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def interrupt(self, signum: int) -> None:
        """Leave the mark of a signal and wake the main thread; safe in a signal handler."""
        if self.signum is None:
            self.signum = signum
        self._ring()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """Let a signal raise Interrupted here, in what can't be woken: a read, a prompt."""
        self._raises = True
        try:
            self.check()
            yield
        finally:
            self._raises = False

    # --- calls ---------------------------------------------------------------------------------

    def submit(self, key: Hashable, work: Callable[[], object]) -> int:
        """Run a call in a thread of its own; `next` returns its result with the key.

        Returns a ticket for `forget`. Where no thread can be had the result is a Failure with a
        RuntimeError.
        """
        ticket = next(self._tickets)
        self._keys[ticket] = key
        try:
            self._start(lambda: self._put(ticket, attempt(work)))
        except RuntimeError as error:
            self._put(ticket, Failure(error))
        return ticket

    def next(self, seconds: float) -> Done | None:
        """Return the next finished call, or None if there is none within that time.

        A result that arrived before a signal is returned before it. Raises Interrupted if a signal
        came and there is no result.
        """
        taken = self._take(seconds, self._keys)
        return None if taken is None else taken[1]

    def forget(self, *tickets: int) -> None:
        """Drop the results of these calls, whether they have arrived or not."""
        for ticket in tickets:
            self._keys.pop(ticket, None)
            self._ready.pop(ticket, None)

    def forget_all(self) -> None:
        """Drop the results of all calls."""
        self.forget(*self._keys)

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted if a signal came; results that arrive meanwhile are kept."""
        self._take(seconds, ())

    def pause(self, seconds: float) -> None:
        """Wait even though a signal came."""
        time.sleep(seconds)

    def call(
        self, work: Callable[[], _T], seconds: float, tick: Callable[[float], None] | None = None
    ) -> _T:
        """Run a call in a thread of its own and return what it returns, within `seconds`.

        `tick` is told each second how many seconds have passed. A result that arrived while this
        process was suspended is returned. Raises what `work` raises, TimeoutError, Interrupted, and
        RuntimeError if no thread can be had.
        """
        # in a tuple of its own: what it returns may be a Failure
        for result in self.map(lambda _key: (work(),), (None,), seconds, tick).values():
            if isinstance(result, Failure):
                raise result.error
            return result[0]
        raise TimeoutError

    def map(
        self,
        work: Callable[[_K], _T],
        keys: Iterable[_K],
        seconds: float,
        tick: Callable[[float], None] | None = None,
    ) -> dict[_K, _T | Failure]:
        """Call `work` with each key, sixteen at a time, for `seconds` in all.

        `tick` is told about each second how many seconds have passed. Where this process was
        suspended past the limit, results have ten seconds more to arrive. Returns the results, each
        with its key; one that hasn't arrived by then is missing. Raises Interrupted.
        """
        results: dict[_K, _T | Failure] = {}
        waiting = list(dict.fromkeys(keys))[::-1]
        running: dict[int, _K] = {}
        began = self._monotonic()
        deadline = began + seconds

        def call(key: _K) -> None:
            results[key] = attempt(lambda: work(key))

        try:
            while waiting or running:
                while waiting and len(running) < AT_A_TIME:
                    key = waiting.pop()
                    running[self.submit(key, partial(call, key))] = key
                asked = self._monotonic()
                pause = max(0.0, min(deadline - asked, _LONGEST_SLEEP))
                if (taken := self._take(pause, running)) is not None:
                    ticket, done = taken
                    key = running.pop(ticket)
                    if isinstance(done.result, Failure):  # no thread was to be had
                        results[key] = done.result
                    continue
                now = self._monotonic()
                if now - asked > pause + SUSPENDED_SECONDS:
                    deadline = max(deadline, now + RESUMED_SECONDS)
                if now >= deadline:
                    break
                if tick is not None:
                    tick(now - began)
        finally:
            self.forget(*running)
        return dict(results)

    def _take(self, seconds: float, tickets: Container[int]) -> tuple[int, Done] | None:
        """Return the next of these calls that has finished; None if none has in time."""
        deadline = self._monotonic() + seconds
        while True:
            signum = self.signum  # read before the queue: what arrived before it is in there
            while self._queue:
                ticket, result = self._queue.popleft()
                if ticket in self._keys:
                    self._ready[ticket] = result
            for ticket in self._ready:
                if ticket in tickets:
                    return ticket, Done(self._keys.pop(ticket), self._ready.pop(ticket))
            if signum is not None:
                raise Interrupted(signum)
            if not self._wait(max(0.0, deadline - self._monotonic())):
                return None

    # the simulation has its own of these and of `pause`

    def _start(self, run: Callable[[], None]) -> None:
        Thread(target=run, name="worker", daemon=True).start()

    def _wait(self, seconds: float) -> bool:
        """Return True as soon as there is a result or a signal, False if there is none in time."""
        deadline = time.monotonic() + seconds
        while not self._queue and self.signum is None:
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._bell.acquire(timeout=min(left, _LONGEST_SLEEP))
        return True

    def _put(self, ticket: int, result: object) -> None:
        self._queue.append((ticket, result))
        self._ring()

    def _ring(self) -> None:
        """Wake the main thread; safe in a signal handler."""
        with suppress(RuntimeError):  # it rings already
            self._bell.release()


def attempt(work: Callable[[], _T]) -> _T | Failure:
    """Return what a call returns, or as a Failure what it raises."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        return Failure(error)
