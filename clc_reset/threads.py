"""One call with a time limit; many at a time; and the signals that end a wait for either.

The only place that starts a thread. All are daemon threads, which can't keep this process alive.

A signal never raises in the middle of something: it leaves a mark, and wakes whoever waits. So
nothing that has arrived can be lost between two lines, and no callback can swallow the signal.
"""

import signal
import time
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import FrameType
from typing import Generic, NamedTuple, TypeVar

from clc_reset.errors import Interrupted

AT_A_TIME = 16
"""Requests in flight at the most."""

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)
_LONGEST_SLEEP = 1.0
"""In seconds: the kernel may hand a signal to another thread, and then nothing wakes this one."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failure(NamedTuple):
    """What a call raised instead of returning."""

    error: BaseException


class _Wake:
    """Stands in a queue for "look at the mark"."""


class Stop:
    """The mark that a signal leaves. Nothing is asked to stop until there is one.

    `signum` is the first signal's number, None before it.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._waiting: list[SimpleQueue[object]] = []
        self._raises = False

    def install(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP leave the mark; a second one ends the process at once.

        One that is ignored from the start stays so: nohup, or a script's background.
        """
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL)
        self.set(signum)
        if self._raises:
            raise Interrupted(signum)

    def set(self, signum: int) -> None:
        """Leave the mark and wake whoever waits; safe in a signal handler."""
        if self.signum is None:
            self.signum = signum
        for queue in tuple(self._waiting):
            queue.put(_Wake())

    def check(self) -> None:
        """Raise Interrupted if there is a mark."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def take(self, queue: "SimpleQueue[_T]", seconds: float) -> _T:
        """Return the next item of a queue; one that came before the mark is taken before it.

        Raises Empty after `seconds`, and Interrupted if there is a mark and no item. The queue
        must be one whose items nobody else takes.
        """
        deadline = time.monotonic() + seconds
        waiting: SimpleQueue[object] = queue  # type: ignore[assignment] # a wake-up goes in, too
        self._waiting.append(waiting)
        try:
            while True:
                # the mark is looked at after the queue is known to the handler, and before a look
                # into the queue that finds nothing
                signum = self.signum
                try:
                    left = 0.0 if signum else deadline - time.monotonic()
                    item = _get(queue, min(left, _LONGEST_SLEEP))
                except Empty:
                    if signum:
                        raise Interrupted(signum) from None
                    if self.signum is None and left <= _LONGEST_SLEEP:
                        raise
                else:
                    if not isinstance(item, _Wake):
                        return item
        finally:
            self._waiting.remove(waiting)

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted as soon as there is a mark."""
        with suppress(Empty):
            self.take(SimpleQueue[object](), seconds)

    @contextmanager
    def blocking(self) -> Generator[None]:
        """Let a signal raise Interrupted here, in what can't be woken: a read, a prompt."""
        self._raises = True
        try:
            self.check()
            yield
        finally:
            self._raises = False


def _get(queue: "SimpleQueue[_T]", seconds: float) -> _T:
    return queue.get(timeout=seconds) if seconds > 0 else queue.get_nowait()


def call(
    work: Callable[[], _T],
    seconds: float,
    stop: Stop,
    *,
    tick: Callable[[float], None] | None = None,
    tick_seconds: float = 1.0,
) -> _T:
    """Call in a thread of its own, and return what it returns, within `seconds`.

    `tick` is told every `tick_seconds` how many seconds have passed. What has come is returned
    however late it is looked for: this process may have been suspended. Raises what `work` raises,
    TimeoutError, Interrupted, and RuntimeError if no thread can be had.
    """
    told: SimpleQueue[tuple[_T] | Failure] = SimpleQueue()
    began = time.monotonic()
    # in a tuple, since what is returned may itself be a Failure
    Thread(target=lambda: told.put(attempt(lambda: (work(),))), name="call", daemon=True).start()
    while True:
        left = began + seconds - time.monotonic()
        try:
            outcome = stop.take(told, left if tick is None else min(left, tick_seconds))
        except Empty:
            if left <= 0:
                raise TimeoutError from None
            if tick is not None:
                tick(time.monotonic() - began)
            continue
        if isinstance(outcome, Failure):
            raise outcome.error
        return outcome[0]


class _Call(Generic[_K, _T]):
    """A call in a pool. `overdue` is when it has taken too long, None until it is begun."""

    __slots__ = ("key", "overdue", "work")

    def __init__(self, key: _K, work: Callable[[], _T]) -> None:
        self.key = key
        self.work = work
        self.overdue: float | None = None


class Pool(Generic[_K, _T]):
    """Calls under way at the same time, each by a key that isn't under way twice.

    One that takes longer than `seconds` is a Failure with a TimeoutError, and its thread isn't
    counted until it is back. Where the system gives no more threads, there are fewer; where it
    gives none, a call is made where its outcome is taken.
    """

    def __init__(
        self, seconds: float, stop: Stop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._stop = stop
        self._clock = clock
        self._asked: SimpleQueue[_Call[_K, _T] | None] = SimpleQueue()
        self._told: SimpleQueue[tuple[_Call[_K, _T], _T | Failure]] = SimpleQueue()
        self._in_flight: dict[_Call[_K, _T], None] = {}  # a set, in the order of their beginning
        self._threads = 0

    def submit(self, key: _K, work: Callable[[], _T]) -> None:
        """Begin a call, in a new thread if all are busy."""
        asked = _Call(key, work)
        self._in_flight[asked] = None
        self._asked.put(asked)
        if len(self._in_flight) > self._threads:
            with suppress(RuntimeError):  # the threads that there are take turns
                Thread(target=self._work, name="pool", daemon=True).start()
                self._threads += 1

    def take(self, seconds: float) -> tuple[_K, _T | Failure] | None:
        """Return the next outcome, or None if there is none within that time.

        Raises Interrupted if there is none, and a signal came.
        """
        if self._in_flight and self._threads <= 0 and self._stop.signum is None:
            with suppress(Empty):
                self._make(self._asked.get_nowait())
        first = next(iter(self._in_flight), None)
        if first is not None and first.overdue is not None:
            seconds = min(seconds, first.overdue - self._clock())
        try:
            made, outcome = self._stop.take(self._told, seconds)
        except Empty:
            if first is None or first.overdue is None or first.overdue > self._clock():
                return None
            del self._in_flight[first]
            self._threads -= 1
            return first.key, Failure(TimeoutError())
        if made not in self._in_flight:  # it was overdue, and its thread is back
            self._threads += 1
            return None
        del self._in_flight[made]
        return made.key, outcome

    def close(self) -> None:
        """Begin no more calls, and let each thread end when it has heard what it waits for."""
        with suppress(Empty):
            while True:
                self._asked.get_nowait()
        self._asked.put(None)

    def _work(self) -> None:
        while self._make(self._asked.get()):
            pass

    def _make(self, asked: _Call[_K, _T] | None) -> bool:
        """Make a call, and tell its outcome. False if the pool is closed."""
        if asked is None:
            self._asked.put(None)  # for the next thread
            return False
        asked.overdue = self._clock() + self._seconds
        self._told.put((asked, attempt(asked.work)))
        return True


def gather(calls: Sequence[Callable[[], _T]], seconds: float, stop: Stop) -> list[_T]:
    """What the calls return, in their order, sixteen at a time. The first error ends it.

    Raises what a call raises, TimeoutError if one takes longer than `seconds`, and Interrupted.
    """
    pool: Pool[int, _T] = Pool(seconds, stop)
    outcomes: dict[int, _T] = {}
    left = list(enumerate(calls))[::-1]
    try:
        for _ in range(min(AT_A_TIME, len(left))):
            pool.submit(*left.pop())
        while len(outcomes) < len(calls):
            told = pool.take(seconds)
            if told is None:
                continue
            number, outcome = told
            if isinstance(outcome, Failure):
                raise outcome.error
            outcomes[number] = outcome
            if left:
                pool.submit(*left.pop())
    finally:
        pool.close()
    return [outcomes[number] for number in range(len(calls))]


def attempt(work: Callable[[], _T]) -> _T | Failure:
    """Return what a call returns, or as a Failure what it raises."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        return Failure(error)
