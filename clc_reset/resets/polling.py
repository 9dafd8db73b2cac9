"""Polls operations until all are final, or until time is up, the token is refused or a signal came.

Pure: what asks the API, the clock and the random numbers are handed in.

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
- A look at a server takes a place that no poll will want, half of the places at the most. Where
  there are as many operations as places, one at a time shares a place with them. No end waits for
  one, and there is none while the API asks to slow down.
"""

import heapq
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from clc_reset.errors import AuthenticationError, Interrupted
from clc_reset.models import NoNews, Observation, Operation, OperationStatus
from clc_reset.resets.evidence import Watch
from clc_reset.threads import AT_A_TIME

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

News = OperationStatus | NoNews | AuthenticationError
"""A status; none this time; or the token is refused, which ends the wait."""


class Requests(Protocol):
    """Asks the API, several requests at a time."""

    def poll(self, operation: Operation) -> None:
        """Begin to ask for an operation's status."""

    def look(self, server: str) -> None:
        """Begin to look at a server."""

    def take(self, seconds: float) -> tuple[Operation, News] | Observation | None:
        """The next news of an operation, or what a server shows; None within that time.

        Each poll and each look tells once. Raises Interrupted if a signal came.
        """


class Listener(Protocol):
    """Is told what happens, `seconds` after the wait began."""

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """An operation has a status that it didn't have before."""

    def silent(self, operation: Operation, reason: str) -> None:
        """Three polls in a row told nothing of it."""

    def heard_again(self, operation: Operation) -> None:
        """A silent one has a status again."""

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        """A server shows a change: the operation is through with it, and with `changed` in all."""

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
    error: AuthenticationError | None = None
    signum: int | None = None


class Polling:
    """One wait. `waited`, which may be handed in, is what it has come to so far, at any moment.

    `limit` is in seconds. With `once` each operation is asked one time only. `watch` says which
    servers to look at meanwhile. `clock` counts seconds; `jitter` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        requests: Requests,
        listener: Listener,
        *,
        limit: float,
        once: bool = False,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        waited: Waited | None = None,
    ) -> None:
        self.waited = Waited() if waited is None else waited
        self._requests = requests
        self._listener = listener
        self._once = once
        self._watch = watch or Watch({}, {})
        self._clock = clock
        self._jitter = jitter
        self._began = clock()
        self._deadline = self._began + limit
        self._slowed_until = self._began
        self._in_flight = 0
        self._looks_in_flight = 0
        self._asked_at: dict[Operation, float] = {}
        self._misses: dict[Operation, int] = {}
        self._due = [
            (self._began, turn, each) for turn, each in enumerate(dict.fromkeys(operations))
        ]
        self._turns = self._unfinished = len(self._due)

    def run(self) -> Waited:
        """Poll until the end. A signal ends it, and is told in what it returns."""
        try:
            self._run()
        except Interrupted as interrupt:
            self.waited.signum = interrupt.signum
        return self.waited

    def _run(self) -> None:
        self._begin_what_is_due(self._began)  # whatever the limit, there is a first round
        while self._due or self._in_flight:
            now = self._clock()
            self._listener.tick(now - self._began)
            if now >= self._deadline:
                self._hear_the_last()
                return
            self._begin_what_is_due(now)
            self._begin_looks(now)
            told = self._requests.take(self._time_to_sleep(self._clock()))
            if told is not None and not self._hear(told):
                return

    def _hear_the_last(self) -> None:
        """Take what is in flight, for a moment; then time is up."""
        while self._in_flight:
            left = self._deadline + GRACE - self._clock()
            told = self._requests.take(left) if left > 0 else None
            if told is None:
                break
            if not self._hear(told):
                return
        self.waited.timed_out = bool(self._due or self._in_flight)

    def _places(self, now: float) -> int:
        at_a_time = AT_A_TIME if now >= self._slowed_until else AT_A_TIME // 2
        return at_a_time - self._in_flight - self._looks_in_flight

    def _begin_what_is_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._places(now) > 0:
            _, _, operation = heapq.heappop(self._due)
            self._in_flight += 1
            self._asked_at[operation] = now
            self._requests.poll(operation)

    def _begin_looks(self, now: float) -> None:
        """Look at the servers whose turn is next, unless the API asked to slow down."""
        if now < self._slowed_until:
            return
        most = max(1, min(AT_A_TIME // 2, AT_A_TIME - self._unfinished)) - self._looks_in_flight
        for server in self._watch.next(now - self._began, min(self._places(now), most)):
            self._looks_in_flight += 1
            self._requests.look(server)

    def _time_to_sleep(self, now: float) -> float:
        """Until something is due, unless that has to wait for an answer in flight; see TICK."""
        until = min(self._deadline, now + TICK)
        if self._due and self._due[0][0] > now:
            until = min(until, self._due[0][0])
        return max(0.0, until - now)

    def _hear(self, told: tuple[Operation, News] | Observation) -> bool:
        """Take what one request told; False if it ends the wait."""
        now = self._clock()
        if isinstance(told, Observation):
            self._looks_in_flight -= 1
            self._hear_observation(told, now)
            return True
        operation, news = told
        self._in_flight -= 1
        match news:
            case OperationStatus():
                self._hear_status(operation, news, now)
            case NoNews():
                self._hear_nothing(operation, news, now)
            case _:
                self.waited.error = news
                return False
        return True

    def _hear_status(self, operation: Operation, status: OperationStatus, now: float) -> None:
        self.waited.no_news.pop(operation, None)
        if self._misses.pop(operation, 0) >= MISSES_WORTH_TELLING:
            self._listener.heard_again(operation)
        if self.waited.statuses.get(operation) != status:
            self.waited.statuses[operation] = status
            self._listener.changed(operation, status, now - self._began)
        if status.is_final:
            self._unfinished -= 1
            self._watch.end(operation)
        else:
            self._ask_again(operation, now)

    def _hear_nothing(self, operation: Operation, news: NoNews, now: float) -> None:
        self.waited.no_news[operation] = news
        misses = self._misses[operation] = self._misses.get(operation, 0) + 1
        if misses == MISSES_WORTH_TELLING:
            self._listener.silent(operation, news.reason)
        if news.slow_down:
            self._slowed_until = now + SLOWED_SECONDS
        self._ask_again(operation, now, min(news.retry_after or 0.0, LONGEST_RETRY_AFTER))

    def _hear_observation(self, observation: Observation, now: float) -> None:
        change = self._watch.hear(observation)
        if change is not None:
            self._listener.server_changed(
                change.operation, observation.server, change.changed, change.of, now - self._began
            )

    def _ask_again(self, operation: Operation, now: float, at_least: float = 0.0) -> None:
        if not self._once:
            pause = self._pause(now)
            due = max(self._asked_at[operation] + pause, now + pause / 2, now + at_least)
            self._turns += 1
            heapq.heappush(self._due, (due, self._turns, operation))

    def _pause(self, now: float) -> float:
        pause = min(max(SECOND_POLL, (now - self._began) * SHARE), LONGEST_PAUSE)
        return pause * (1 + JITTER * self._jitter())
