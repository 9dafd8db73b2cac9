"""Worker threads and signals: one inbox, on which only the main thread waits.

Workers put their results into the inbox, and the signal handler puts a mark. A signal never raises
in the middle of something, except in a read of standard input or a prompt: so no result that has
arrived is lost between two lines. All threads are daemons, which can't keep this process alive.

This process may be suspended at any line, for hours (Ctrl-Z, a closed lid). A wait that lasted too
long tells: results that are due get ten seconds more here, a wait for operations has its last round
after it, a check's time stands still. A request isn't sent long after its record, and the `Date` of
an answer that may be as old as the suspension isn't used (`api.transport`).
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sized
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, Thread
from types import FrameType
from typing import Generic, NamedTuple, TypeVar

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


class Done(NamedTuple, Generic[_K, _T]):
    """A finished call: the key that it was submitted with, and its result or Failure."""

    key: _K
    result: _T | Failure


class Inbox:
    """Runs calls in threads and hands out their results, in the order in which they arrive.

    `signum` is the number of the first signal, None before it. `monotonic` counts seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.signum: int | None = None
        self._monotonic = monotonic
        self._signalled_at = 0.0
        self._raises = False
        self._finished: deque[Done[Hashable, object]] = deque()  # for `next`
        # not a SimpleQueue: its `get` waits for ever where a signal handler returns after the time
        # is up, as after a stop (Ctrl-Z)
        self._bell = Lock()  # released when a call has finished, or a signal came

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

    def submit(self, key: Hashable, work: Callable[[], object]) -> None:
        """Run a call in a thread of its own; `next` returns its result with the key.

        Where no thread can be had the result is a Failure with a RuntimeError.
        """
        self._run(key, work, self._finished)

    def next(self, seconds: float) -> Done[Hashable, object] | None:
        """Return the next finished call, or None if there is none within that time.

        A result that arrived before a signal is returned before it. Raises Interrupted if a signal
        came and there is no result.
        """
        return self._take(self._finished, seconds)

    def forget_all(self) -> None:
        """Drop the results of all calls submitted so far."""
        self._finished = deque()

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted if a signal came; results that arrive meanwhile are kept."""
        self._take(deque(), seconds)

    def pause(self, seconds: float) -> None:
        """Wait even though a signal came."""
        time.sleep(seconds)

    def call(
        self, work: Callable[[], _T], seconds: float, tick: Callable[[float], None] | None = None
    ) -> _T:
        """Run a call in a thread of its own and return what it returns, within `seconds`.

        `tick` is called each second with the seconds that have passed. A result that arrived while
        this process was suspended is returned. Raises what `work` raises, TimeoutError,
        Interrupted, and RuntimeError if no thread can be had.
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

        `tick` is called about each second with the seconds that have passed. Where this process was
        suspended past the limit, results have ten seconds more to arrive. Returns the results, each
        with its key; one that hasn't arrived by then is missing. Raises Interrupted.
        """
        results: dict[_K, _T | Failure] = {}
        finished: deque[Done[_K, _T]] = deque()
        waiting = list(dict.fromkeys(keys))[::-1]
        running = 0
        began = self._monotonic()
        deadline = began + seconds
        while waiting or running:
            while waiting and running < AT_A_TIME:
                key = waiting.pop()
                self._run(key, partial(work, key), finished)
                running += 1
            asked = self._monotonic()
            pause = max(0.0, min(deadline - asked, _LONGEST_SLEEP))
            if (done := self._take(finished, pause)) is not None:
                results[done.key] = done.result
                running -= 1
                continue
            now = self._monotonic()
            if now - asked > pause + SUSPENDED_SECONDS:
                deadline = max(deadline, now + RESUMED_SECONDS)
            if now >= deadline:
                break
            if tick is not None:
                tick(now - began)
        return results

    def _take(self, finished: deque[Done[_K, _T]], seconds: float) -> Done[_K, _T] | None:
        """Take the next of these calls; None if none has finished in time."""
        while True:
            signum = self.signum  # read first: what arrived before it is there
            if finished:
                return finished.popleft()
            if signum is not None:
                raise Interrupted(signum)
            if not self._wait(finished, seconds):
                return None

    def _run(self, key: _K, work: Callable[[], _T], finished: deque[Done[_K, _T]]) -> None:
        try:
            self._start(lambda: self._put(finished, Done(key, attempt(work))))
        except RuntimeError as error:
            self._put(finished, Done(key, Failure(error)))

    # the simulation has its own of these and of `pause`

    def _start(self, run: Callable[[], None]) -> None:
        Thread(target=run, name="worker", daemon=True).start()

    def _wait(self, finished: Sized, seconds: float) -> bool:
        """Return True as soon as one has finished or a signal came, False if none does in time."""
        deadline = time.monotonic() + seconds
        while not finished and self.signum is None:
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._bell.acquire(timeout=min(left, _LONGEST_SLEEP))
        return True

    def _put(self, finished: deque[Done[_K, _T]], done: Done[_K, _T]) -> None:
        finished.append(done)
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
