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
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import NamedTuple

from clc_reset.errors import AuthenticationError, Interrupted
from clc_reset.models import Observation, Operation, OperationStatus, PollFailure
from clc_reset.resets import evidence
from clc_reset.resets.events import (
    Emit,
    PollsFailing,
    PollsRecovered,
    ServerChanged,
    StatusChanged,
    Tick,
)
from clc_reset.resets.request import Dependencies
from clc_reset.text import describe
from clc_reset.workers import AT_A_TIME, Failure

SECOND_POLL = 0.5
SHARE = 1 / 8
LONGEST_PAUSE = 5.0
JITTER = 0.1
SLOWED_SECONDS = 10.0
LONGEST_RETRY_AFTER = 60.0
"""However long the API asks to be left alone: an end must still be noticed."""
LONGEST_POLL = 90.0
"""Seconds; some calls take about a minute to answer (reported)."""
LAST_SECONDS = 10.0
GIVE_UP_SECONDS = 30.0
TICK = 1.0
"""Seconds between two ticks, each of which draws a display."""
FAILURES_TO_REPORT = 3


class Wait(NamedTuple):
    """The operations to wait for, and the limits of the wait.

    `limit` is in seconds. `watch` chooses servers to look at meanwhile. With `once` each operation
    is asked one time only. `has_changed` is called each second, and ends the wait when it returns
    True; until then it goes on without operations, too. `on_status` is called with each new status.
    """

    operations: tuple[Operation, ...]
    limit: float
    watch: evidence.Watch
    once: bool = False
    has_changed: Callable[[], bool] | None = None
    on_status: Callable[[Operation, OperationStatus], None] | None = None


@dataclass(slots=True)
class Waited:
    """The knowledge that a wait has gained so far.

    `statuses` are the latest ones, `failures` the operations whose last poll failed, `given_up`
    those that the API doesn't know. All operations are over unless the limit passed (`timed_out`),
    an error ended the wait (`error`), or a signal did (`signum`, its number).
    """

    statuses: dict[Operation, OperationStatus] = field(default_factory=dict)
    failures: dict[Operation, PollFailure] = field(default_factory=dict)
    given_up: set[Operation] = field(default_factory=set)
    timed_out: bool = False
    error: AuthenticationError | None = None
    signum: int | None = None


@dataclass(slots=True)
class _Poll:
    """The state of one operation: when it was asked last, and what failed since."""

    asked_at: float = 0.0
    failures: int = 0
    unknown_since: float | None = None


class Polling:
    """One wait. `waited` is what it has learned so far."""

    def __init__(self, wait: Wait, deps: Dependencies, emit: Emit, waited: Waited) -> None:
        self.waited = waited
        self._wait = wait
        self._deps = deps
        self._emit = emit
        self._clock = deps.clocks.monotonic
        self._began = self._clock()
        self._deadline = self._began + wait.limit
        self._ends = inf  # of the last round, once that has begun
        self._has_changed = False
        self._tick_at = self._began
        self._slowed_until = self._began
        self._polls: dict[Operation, _Poll] = {}
        self._due: list[tuple[float, int, Operation]] = []
        self._order = 0
        self._in_flight: dict[Hashable, tuple[int, float]] = {}  # ticket, and when it is overdue
        self._unfinished: set[Operation] = set()
        for operation in dict.fromkeys(wait.operations):
            self._polls[operation] = _Poll()
            self._unfinished.add(operation)
            self._schedule(operation, self._began)

    def run(self) -> Waited:
        """Poll until the end. A signal ends it, and is in what it returns."""
        try:
            self._begin_polls(self._began)  # whatever the limit, there is a first round
            while self._goes_on():
                self._step()
        except Interrupted as interrupt:
            self.waited.signum = interrupt.signum
        finally:
            self._deps.inbox.forget_all()
        return self.waited

    def _goes_on(self) -> bool:
        now = self._clock()
        if self.waited.error is not None or self._has_changed:
            return False
        if now >= self._deadline and not self._is_last_round:
            self._begin_last_round(now)
        is_asking = self._due or any(isinstance(key, Operation) for key in self._in_flight)
        if is_asking and now < self._ends:
            return True
        if self._is_last_round:
            self.waited.timed_out = bool(self._unfinished) or self._wait.has_changed is not None
            return False
        return self._wait.has_changed is not None

    @property
    def _is_last_round(self) -> bool:
        return self._ends < inf

    def _step(self) -> None:
        now = self._clock()
        if now >= self._tick_at:
            self._tick_at = now + TICK
            self._emit(Tick(now - self._began))
            self._has_changed = self._wait.has_changed is not None and self._wait.has_changed()
        self._begin_polls(now)
        self._begin_looks(now)
        done = self._deps.inbox.next(self._time_to_sleep(self._clock()))
        if done is not None:
            self._in_flight.pop(done.key, None)
            self._take(done.key, done.result)
        self._drop_overdue(self._clock())

    def _begin_last_round(self, now: float) -> None:
        """Ask each unfinished operation once more; those under way are asked when they are back."""
        self._ends = now + LAST_SECONDS  # from now: this process may have been suspended
        if self._wait.once:
            return
        self._due = []
        for operation in self._polls:
            if operation in self._unfinished and operation not in self._in_flight:
                self._schedule(operation, now)

    def _places(self, now: float) -> int:
        at_a_time = AT_A_TIME if now >= self._slowed_until else AT_A_TIME // 2
        return at_a_time - len(self._in_flight)

    def _begin_polls(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and self._places(now) > 0:
            _, _, operation = heapq.heappop(self._due)
            self._polls[operation].asked_at = now
            work = partial(self._deps.api.operation_status, operation)
            self._submit(operation, work, now + LONGEST_POLL)

    def _begin_looks(self, now: float) -> None:
        """Look at the servers that come next, unless the API asked to slow down."""
        if now < self._slowed_until or self._is_last_round:
            return
        looks = sum(isinstance(key, str) for key in self._in_flight)
        most = max(1, min(AT_A_TIME // 2, AT_A_TIME - len(self._unfinished))) - looks
        watch = self._wait.watch
        for server in watch.next(now - self._began, min(self._places(now), most)):
            work = partial(self._deps.api.server, watch.sent(server).account, server)
            self._submit(server, work, now + LONGEST_POLL)

    def _submit(self, key: Operation | str, work: Callable[[], object], overdue: float) -> None:
        self._in_flight[key] = (self._deps.inbox.submit(key, work), overdue)

    def _drop_overdue(self, now: float) -> None:
        for key, (ticket, overdue) in list(self._in_flight.items()):
            if now >= overdue:
                self._deps.inbox.forget(ticket)
                del self._in_flight[key]
                self._take(key, PollFailure(f"no answer within {LONGEST_POLL:g} s"))

    def _time_to_sleep(self, now: float) -> float:
        """Return the time until something is due, unless that has to wait for an answer."""
        deadline = self._ends if self._is_last_round else self._deadline
        until = min(deadline, self._tick_at)
        if self._due and (self._due[0][0] > now or self._places(now) > 0):
            until = min(until, self._due[0][0])
        return max(0.0, until - now)

    def _take(self, key: Hashable, result: object) -> None:
        now = self._clock()
        match key, result:
            case Operation() as operation, OperationStatus() as status:
                self._take_status(operation, status, now)
            case Operation() as operation, PollFailure() as failure:
                self._take_failure(operation, failure, now)
            case Operation(), Failure(AuthenticationError() as error):
                self.waited.error = error
            case Operation() as operation, Failure(error):
                self._take_failure(operation, PollFailure(describe(error)), now)
            case _:
                self._take_look(evidence.observed(str(key), result), now)

    def _take_status(self, operation: Operation, status: OperationStatus, now: float) -> None:
        poll = self._polls[operation]
        self.waited.failures.pop(operation, None)
        if poll.failures >= FAILURES_TO_REPORT:
            self._emit(PollsRecovered(operation))
        poll.failures, poll.unknown_since = 0, None
        if self.waited.statuses.get(operation) != status:
            self.waited.statuses[operation] = status
            if self._wait.on_status is not None:
                self._wait.on_status(operation, status)
            self._emit(StatusChanged(operation, status, now - self._began))
        if status.is_final:
            self._finish(operation)
        else:
            self._ask_again(operation, now)

    def _take_failure(self, operation: Operation, failure: PollFailure, now: float) -> None:
        poll = self._polls[operation]
        self.waited.failures[operation] = failure
        poll.failures += 1
        if poll.failures == FAILURES_TO_REPORT:
            self._emit(PollsFailing(operation, failure.reason, poll.failures))
        if failure.slow_down:
            self._slowed_until = now + SLOWED_SECONDS
        if not failure.not_found:
            poll.unknown_since = None
        elif poll.unknown_since is None:
            poll.unknown_since = poll.asked_at
        since = poll.unknown_since
        if since is not None and (self._wait.once or now - since >= GIVE_UP_SECONDS):
            self.waited.given_up.add(operation)
            self.waited.statuses.pop(operation, None)
            self._finish(operation)
        else:
            pause = min(failure.retry_after or 0.0, LONGEST_RETRY_AFTER)
            self._ask_again(operation, now, pause)

    def _take_look(self, observation: Observation, now: float) -> None:
        change = self._wait.watch.add(observation)
        if change is not None:
            place = (change.operation, observation.server, change.changed, change.of)
            self._emit(ServerChanged(*place, now - self._began))

    def _finish(self, operation: Operation) -> None:
        self._unfinished.discard(operation)
        self._wait.watch.end(operation)

    def _ask_again(self, operation: Operation, now: float, at_least: float = 0.0) -> None:
        asked_at = self._polls[operation].asked_at
        if self._wait.once:
            return
        if self._is_last_round:
            if asked_at < self._deadline:
                self._schedule(operation, now)
        else:
            pause = self._pause(now)
            self._schedule(operation, max(asked_at + pause, now + pause / 2, now + at_least))

    def _schedule(self, operation: Operation, at: float) -> None:
        self._order += 1
        heapq.heappush(self._due, (at, self._order, operation))

    def _pause(self, now: float) -> float:
        pause = min(max(SECOND_POLL, (now - self._began) * SHARE), LONGEST_PAUSE)
        return pause * (1 + JITTER * self._deps.jitter())
