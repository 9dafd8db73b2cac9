"""Waits for operations: polls each until it is final, or until time is up, it is denied or stopped.

Knows neither HTTP nor screen. What asks the API is a callable, run in daemon threads, which can't
keep this process alive; what happens is told to a `Listener`.

The schedule, and why it is as it is:

- The first poll comes at once, the next after half a second: a short operation is noticed soon.
- The pause then grows to an eighth of the time waited, so that an end is noticed within about an
  eighth of the operation's duration, and polls grow with the logarithm of the time, not with it.
  It stays at five seconds at the most: nobody minds one request in five seconds.
- A pause is counted from when the operation was asked for, so that a distant API makes no end to be
  noticed later. Half of it, at least, follows the answer: a slow one isn't asked without a break.
- A tenth of jitter keeps operations that began together from being polled together. It only ever
  lengthens a pause: nobody asks sooner than after half a second.
- Whoever has been due longest is polled next. When there are more operations than sixteen requests
  at a time can serve, they take turns in this order, so that none is starved.
- Sixteen at a time, half as many for a while after the API asked to slow down (429, 503). A share
  would be lost on the operations that do answer, if every such answer halved it again.
- A poll that fails is no news and changes nothing: 500 and 503 are reported for operations that
  went on to succeed. The next turn asks again.
- Nothing begins after the time limit. What is in flight then has half a second to tell its news.
"""

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from clc_reset.errors import ClcError, signal_of
from clc_reset.models import NoNews, Operation, OperationStatus
from clc_reset.wording import describe

AT_A_TIME = 16
"""Requests in flight at the most."""
SECOND_POLL = 0.5
SHARE = 1 / 8
LONGEST_PAUSE = 5.0
JITTER = 0.1
SLOWED_SECONDS = 10.0
LONGEST_RETRY_AFTER = 60.0
"""However long the API asks to be left alone: an end must still be noticed."""
LONGEST_POLL = 90.0
"""Seconds; some calls take about a minute to answer (reported)."""
GRACE = 0.5
TICK = 1.0
"""Seconds after which the listener is told the time, at the latest."""
MISSES_WORTH_TELLING = 3

News = OperationStatus | NoNews | ClcError
"""A status; none this time; or an error that ends the wait."""


class Polls(Protocol):
    """Asks for the status of operations, several at a time."""

    def submit(self, operation: Operation) -> None:
        """Begin to ask."""

    def take(self, seconds: float) -> tuple[Operation, News] | None:
        """The next news, or None where there is none within that time."""


class Listener(Protocol):
    """Is told what happens, `seconds` after the wait began."""

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """An operation has a status that it didn't have before."""

    def silent(self, operation: Operation, reason: str) -> None:
        """Three polls in a row told nothing of it."""

    def heard_again(self, operation: Operation) -> None:
        """Of a silent one there is news again."""

    def tick(self, seconds: float) -> None:
        """Time has passed."""


@dataclass(slots=True)
class Waited:
    """What a wait came to: the last status of each operation that ever told one.

    `no_news` holds those whose last poll told nothing. All operations are final unless time was up
    (`timed_out`), an error ended the wait (`error`), or a signal did (`signum`, its number).
    """

    statuses: dict[Operation, OperationStatus] = field(default_factory=dict)
    no_news: dict[Operation, NoNews] = field(default_factory=dict)
    timed_out: bool = False
    error: ClcError | None = None
    signum: int | None = None


class Threads:
    """Polls with daemon threads, as many as are needed at a time.

    A poll that takes longer than LONGEST_POLL is no news, and its thread is not counted any more:
    an answer that drips in without an end takes nobody else's turn.
    """

    def __init__(
        self,
        poll: Callable[[Operation], OperationStatus | NoNews],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`poll` may raise a ClcError to end the wait; anything else it raises is no news."""
        self._poll = poll
        self._clock = clock
        self._asked: SimpleQueue[tuple[int, Operation] | None] = SimpleQueue()
        self._told: SimpleQueue[tuple[int, News]] = SimpleQueue()
        self._in_flight: dict[int, tuple[Operation, float]] = {}  # by number; when it is overdue
        self._numbers = itertools.count()
        self._threads = 0

    def submit(self, operation: Operation) -> None:
        """Begin to ask, in a new thread if all are busy."""
        number = next(self._numbers)
        self._in_flight[number] = (operation, self._clock() + LONGEST_POLL)
        self._asked.put((number, operation))
        if len(self._in_flight) > self._threads:
            self._threads += 1
            Thread(target=self._work, name="poll", daemon=True).start()

    def take(self, seconds: float) -> tuple[Operation, News] | None:
        """The next news, or None where there is none within that time."""
        for number, (operation, overdue) in self._in_flight.items():
            if overdue <= self._clock():
                del self._in_flight[number]
                self._threads -= 1
                return operation, NoNews(f"no answer within {LONGEST_POLL:g} s")
            break  # the first is the one that was asked for first
        try:
            number, news = self._told.get(timeout=seconds)
        except Empty:
            return None
        if number not in self._in_flight:  # it was overdue, and its thread is one too many
            self._asked.put(None)
            return None
        return self._in_flight.pop(number)[0], news

    def close(self) -> None:
        """Let the threads end, each when it has heard what it waits for."""
        for _ in range(self._threads):
            self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            number, operation = asked
            try:
                news: News = self._poll(operation)
            except ClcError as error:
                news = error
            except Exception as error:  # noqa: BLE001 - a wait never dies of a single poll
                news = NoNews(describe(error))
            self._told.put((number, news))


def wait(  # noqa: PLR0913 - two of them make time, for tests
    operations: Iterable[Operation],
    polls: Polls,
    listener: Listener,
    *,
    limit: float,
    once: bool = False,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = random.random,
) -> Waited:
    """Poll each operation until it is final, for `limit` seconds at the most.

    With `once` each is asked one time only. `clock` counts seconds; `random` gives numbers from 0
    to 1. A KeyboardInterrupt ends the wait, and is told in what it returns.
    """
    waiting = _Wait(operations, polls, listener, limit, once, clock, random)
    try:
        waiting.run()
    except KeyboardInterrupt as interrupt:
        waiting.waited.signum = signal_of(interrupt)
    return waiting.waited


class _Wait:
    def __init__(  # noqa: PLR0913, PLR0917 - what `wait` was given
        self,
        operations: Iterable[Operation],
        polls: Polls,
        listener: Listener,
        limit: float,
        once: bool,  # noqa: FBT001
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.waited = Waited()
        self._polls = polls
        self._listener = listener
        self._once = once
        self._clock = clock
        self._random = random
        self._began = clock()
        self._deadline = self._began + limit
        self._slowed_until = self._began
        self._in_flight = 0
        self._asked_at: dict[Operation, float] = {}
        self._misses: dict[Operation, int] = {}
        self._due = [
            (self._began, turn, each) for turn, each in enumerate(dict.fromkeys(operations))
        ]
        self._turns = len(self._due)

    def run(self) -> None:
        self._begin_what_is_due(self._began)  # whatever the limit, there is a first round
        while self._due or self._in_flight:
            now = self._clock()
            self._listener.tick(now - self._began)
            if now >= self._deadline:
                self._hear_the_last()
                return
            self._begin_what_is_due(now)
            told = self._polls.take(self._time_to_sleep(self._clock()))
            if told is not None and not self._hear(*told):
                return

    def _hear_the_last(self) -> None:
        """Take what is in flight, for a moment; then time is up."""
        while self._in_flight:
            left = self._deadline + GRACE - self._clock()
            told = self._polls.take(left) if left > 0 else None
            if told is None:
                break
            if not self._hear(*told):
                return
        self.waited.timed_out = bool(self._due or self._in_flight)

    def _begin_what_is_due(self, now: float) -> None:
        at_a_time = AT_A_TIME if now >= self._slowed_until else AT_A_TIME // 2
        while self._due and self._due[0][0] <= now and self._in_flight < at_a_time:
            _, _, operation = heapq.heappop(self._due)
            self._in_flight += 1
            self._asked_at[operation] = now
            self._polls.submit(operation)

    def _time_to_sleep(self, now: float) -> float:
        """Until something is due, unless that has to wait for an answer in flight; see TICK."""
        until = min(self._deadline, now + TICK)
        if self._due and self._due[0][0] > now:
            until = min(until, self._due[0][0])
        return max(0.0, until - now)

    def _hear(self, operation: Operation, news: News) -> bool:
        """Take one poll's news; False where it ends the wait."""
        self._in_flight -= 1
        now = self._clock()
        match news:
            case OperationStatus():
                self._hear_status(operation, news, now)
            case NoNews():
                self._hear_nothing(operation, news, now)
            case error:
                self.waited.error = error
                return False
        return True

    def _hear_status(self, operation: Operation, status: OperationStatus, now: float) -> None:
        self.waited.no_news.pop(operation, None)
        if self._misses.pop(operation, 0) >= MISSES_WORTH_TELLING:
            self._listener.heard_again(operation)
        if self.waited.statuses.get(operation) != status:
            self.waited.statuses[operation] = status
            self._listener.changed(operation, status, now - self._began)
        if not status.is_final:
            self._ask_again(operation, now)

    def _hear_nothing(self, operation: Operation, news: NoNews, now: float) -> None:
        self.waited.no_news[operation] = news
        misses = self._misses[operation] = self._misses.get(operation, 0) + 1
        if misses == MISSES_WORTH_TELLING:
            self._listener.silent(operation, news.reason)
        if news.slow_down:
            self._slowed_until = now + SLOWED_SECONDS
        self._ask_again(operation, now, min(news.retry_after or 0.0, LONGEST_RETRY_AFTER))

    def _ask_again(self, operation: Operation, now: float, at_least: float = 0.0) -> None:
        if not self._once:
            pause = self._pause(now)
            due = max(self._asked_at[operation] + pause, now + pause / 2, now + at_least)
            self._turns += 1
            heapq.heappush(self._due, (due, self._turns, operation))

    def _pause(self, now: float) -> float:
        pause = min(max(SECOND_POLL, (now - self._began) * SHARE), LONGEST_PAUSE)
        return pause * (1 + JITTER * self._random())
