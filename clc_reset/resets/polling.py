"""Poll operations until all are over, the limit has passed, or a signal or an error ends it.

The schedule, and why it is as it is:

- The first poll comes at once, the next after half a second: a short operation is noticed soon.
- The pause then grows to an eighth of the time waited, so that an end is noticed within about an
  eighth of the operation's duration, and polls grow with the logarithm of the time, not with it.
  It stays at five seconds at the most: nobody minds one request in five seconds.
- A pause is counted from the request, so that a distant API delays no notice. Half of it, at least,
  follows the answer: a slow API isn't asked without a break.
- A tenth of jitter keeps operations that began together from being polled together. It only
  lengthens a pause.
- The operation that has been due longest is polled next, so that none is starved when there are
  more than sixteen requests at a time can serve.
- Sixteen at a time, half as many for a while after the API asked to slow down (429, 503).
- A poll that fails changes nothing: 500 and 503 are reported for operations that went on to
  succeed. The next one asks again. Only 404 for thirty seconds gives an operation up.
- At the limit every unfinished operation is asked once more, with ten seconds for all: the last
  answer may be five seconds old, or as old as a suspension of this process was long.
- A look at a server takes a place that no poll will want, half of the places at the most, or one.
  No end waits for a look, and there is none while the API asks to slow down.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from math import inf
from typing import NamedTuple

from clc_reset.errors import AuthenticationError
from clc_reset.journal.record import Statuses
from clc_reset.models import Operation, OperationStatus, PollFailure
from clc_reset.resets import evidence
from clc_reset.resets.events import Emit, PollsFailing, PollsRecovered, StatusChanged, Tick
from clc_reset.resets.request import Dependencies
from clc_reset.text import describe
from clc_reset.workers import AT_A_TIME, Done, Failure

SECOND_POLL = 0.5
SHARE = 1 / 8
LONGEST_PAUSE = 5.0
JITTER = 0.1
SLOWED_SECONDS = 10.0
LONGEST_RETRY_AFTER = 60.0
"""However long the API asks to be left alone: an end must still be noticed."""
LONGEST_POLL = 90.0
"""Seconds; some calls take about a minute to answer (reported), and a header may drip for ever."""
LAST_SECONDS = 10.0
GIVE_UP_SECONDS = 30.0
TICK = 1.0
"""Seconds between two ticks, each of which draws a display."""
FAILURES_TO_REPORT = 3


class Wait(NamedTuple):
    """The options of a wait for operations.

    `limit` is in seconds. `statuses` records each new status. `sent` returns the request of a
    server in a run. `shares` is how many servers share an operation. `turns` has the places of
    servers in the order in which the API works on them. With `once` each operation is asked one
    time only; `looks` lets servers be looked at meanwhile. `has_changed` is called each second, and
    ends the wait when it returns True; until then it goes on without operations, too.
    """

    limit: float
    statuses: Statuses
    sent: Callable[[evidence.Key], evidence.Sent]
    shares: Mapping[Operation | None, int]
    turns: Mapping[evidence.Key, int]
    once: bool = False
    looks: bool = False
    has_changed: Callable[[], bool] | None = None


class _Poll:
    """The state of an unfinished operation: when it was asked last, and what failed since."""

    asked_at = 0.0
    failures = 0
    gone_since = inf


class _Call(NamedTuple):
    """A call for an operation or a server, which may end when another has taken its place.

    `overdue` is when it is given up; no two calls for one key have the same.
    """

    key: Operation | evidence.Key
    overdue: float


class Polling:
    """One wait, and what it has learned so far.

    `statuses` are the latest ones, `failures` the operations whose last poll failed, `given_up`
    those that the API doesn't know. After `run` all operations are over unless the limit passed
    (`timed_out`) or a refused token ended the wait (`error`).
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        wait: Wait,
        watch: evidence.Watch,
        deps: Dependencies,
        emit: Emit,
    ) -> None:
        self.statuses: dict[Operation, OperationStatus] = {}
        self.failures: dict[Operation, PollFailure] = {}
        self.given_up: set[Operation] = set()
        self.timed_out = False
        self.error: AuthenticationError | None = None
        self._wait = wait
        self._watch = watch
        self._deps = deps
        self._emit = emit
        self._clock = deps.clocks.monotonic
        self._began = self._tick_at = self._slowed_until = self._clock()
        self._deadline = self._began + wait.limit
        self._ends = inf  # of the last round, once that has begun
        self._unfinished = {operation: _Poll() for operation in operations}
        self._order = count()
        self._due = [(self._began, next(self._order), op) for op in self._unfinished]  # a heap
        self._in_flight: dict[Operation | evidence.Key, float] = {}  # and when it is given up

    def run(self) -> None:
        """Poll until the end. Raises Interrupted."""
        try:
            self._begin_polls(self._began)  # whatever the limit, there is a first round
            while self._goes_on(self._clock()):
                self._step()
        finally:
            self._deps.inbox.forget_all()

    def _goes_on(self, now: float) -> bool:
        """Begin the last round when it is time; return whether there is something to wait for."""
        if self.error is not None:
            return False
        if now >= self._deadline and not self._is_last_round:
            self._begin_last_round(now)
        is_asking = bool(self._due) or any(isinstance(key, Operation) for key in self._in_flight)
        waits_for_change = self._wait.has_changed is not None
        if self._is_last_round and not (is_asking and now < self._ends):
            self.timed_out = bool(self._unfinished) or waits_for_change
            return False
        return (is_asking or waits_for_change) and not self._has_changed(now)

    def _has_changed(self, now: float) -> bool:
        """Tick once a second; return whether something has changed elsewhere by then."""
        if now < self._tick_at:
            return False
        self._tick_at = now + TICK
        self._wait.statuses.flush()
        self._emit(Tick(now - self._began))
        return self._wait.has_changed is not None and self._wait.has_changed()

    @property
    def _is_last_round(self) -> bool:
        return self._ends < inf

    def _begin_last_round(self, now: float) -> None:
        """Ask each unfinished operation once more; those under way are asked when they are back."""
        self._ends = now + LAST_SECONDS  # from now: this process may have been suspended
        if not self._wait.once:
            self._due = []
            for operation in self._unfinished:
                if operation not in self._in_flight:
                    self._schedule(operation, now)

    def _step(self) -> None:
        """Begin what is due, and take one answer."""
        now = self._clock()
        self._begin_polls(now)
        self._begin_looks(now)
        done = self._deps.inbox.next(self._time_to_sleep(self._clock()))
        now = self._clock()
        match done:
            case Done(_Call(key, overdue), result) if self._in_flight.get(key) == overdue:
                self._take(key, result, now)
        for key in [key for key, overdue in self._in_flight.items() if now >= overdue]:
            self._take(key, PollFailure(f"no answer within {LONGEST_POLL:g} s"), now)

    def _places(self, now: float) -> int:
        at_a_time = AT_A_TIME if now >= self._slowed_until else AT_A_TIME // 2
        return at_a_time - len(self._in_flight)

    def _begin_polls(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._places(now) > 0:
            _, _, operation = heapq.heappop(self._due)
            self._unfinished[operation].asked_at = now
            self._submit(operation, partial(self._deps.api.operation_status, operation), now)

    def _begin_looks(self, now: float) -> None:
        """Look at the servers that come next, unless the API asked to slow down."""
        if now < self._slowed_until or self._is_last_round:
            return
        looks = sum(not isinstance(key, Operation) for key in self._in_flight)
        most = max(1, min(AT_A_TIME // 2, AT_A_TIME - len(self._unfinished))) - looks
        most = max(0, min(self._places(now), most))
        for key in self._watch.next(now - self._began, most, self._in_flight):
            account, server = self._watch.sent(key).account, key[1] or ""
            self._submit(key, partial(self._deps.api.server, account, server), now)

    def _submit(
        self, key: Operation | evidence.Key, work: Callable[[], object], now: float
    ) -> None:
        self._in_flight[key] = now + LONGEST_POLL
        self._deps.inbox.submit(_Call(key, now + LONGEST_POLL), work)

    def _time_to_sleep(self, now: float) -> float:
        """Return the time until something is due, unless that has to wait for an answer."""
        until = min(self._ends if self._is_last_round else self._deadline, self._tick_at)
        if self._due and (self._due[0][0] > now or self._places(now) > 0):
            until = min(until, self._due[0][0])
        return max(0.0, until - now)

    def _take(self, key: Operation | evidence.Key, result: object, now: float) -> None:
        del self._in_flight[key]
        if not isinstance(key, Operation):
            seen = evidence.observed(key[1] or "", result)
            if change := self._watch.add(key, seen, now - self._began):
                self._emit(change)
            return
        match result:
            case OperationStatus() as status:
                self._take_status(key, status, now)
            case Failure(AuthenticationError() as error):
                self.error = error
            case Failure(error):
                self._take_failure(key, PollFailure(describe(error)), now)
            case PollFailure() as failure:  # pragma: no branch - there is nothing else
                self._take_failure(key, failure, now)

    def _take_status(self, operation: Operation, status: OperationStatus, now: float) -> None:
        poll = self._unfinished[operation]
        self.failures.pop(operation, None)
        if poll.failures >= FAILURES_TO_REPORT:
            self._emit(PollsRecovered(operation))
        poll.failures, poll.gone_since = 0, inf
        if self.statuses.get(operation) != status:
            self.statuses[operation] = status
            self._wait.statuses.add(operation, status)
            self._emit(StatusChanged(operation, status, now - self._began))
        if status.is_final:
            self._finish(operation)
        else:
            self._ask_again(operation, now)

    def _take_failure(self, operation: Operation, failure: PollFailure, now: float) -> None:
        poll = self._unfinished[operation]
        self.failures[operation] = failure
        poll.failures += 1
        if poll.failures == FAILURES_TO_REPORT:
            self._emit(PollsFailing(operation, failure.reason, poll.failures))
        if failure.slow_down:
            self._slowed_until = now + SLOWED_SECONDS
        poll.gone_since = min(poll.gone_since, poll.asked_at) if failure.not_found else inf
        if now - poll.gone_since >= (0.0 if self._wait.once else GIVE_UP_SECONDS):
            self.given_up.add(operation)
            self.statuses.pop(operation, None)
            self._finish(operation)
        else:
            self._ask_again(operation, now, min(failure.retry_after or 0.0, LONGEST_RETRY_AFTER))

    def _finish(self, operation: Operation) -> None:
        del self._unfinished[operation]
        self._watch.end(operation)

    def _ask_again(self, operation: Operation, now: float, at_least: float = 0.0) -> None:
        asked_at = self._unfinished[operation].asked_at
        if self._wait.once:
            return
        if self._is_last_round:
            if asked_at < self._deadline:
                self._schedule(operation, now)
            return
        pause = min(max(SECOND_POLL, (now - self._began) * SHARE), LONGEST_PAUSE)
        pause *= 1 + JITTER * self._deps.jitter()
        self._schedule(operation, max(asked_at + pause, now + pause / 2, now + at_least))

    def _schedule(self, operation: Operation, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), operation))
