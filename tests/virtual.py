"""A machine on which time passes only while something waits for it: clocks, and the inbox."""

import time
from collections.abc import Callable, Hashable, Sized
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any

from clc_reset.clocks import Clocks, Moment
from clc_reset.workers import Inbox

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


class VirtualClocks(Clocks):
    """Clocks that only waits move, `go_on` and whoever sets `seconds`, which have passed.

    `wall` and `boot` are what both clocks showed at the beginning; a test may set them. `elapsed`
    is called at each look, in the place of `seconds`.
    """

    def __init__(self, wall: datetime = NOON, elapsed: Callable[[], float] | None = None) -> None:
        self.seconds = 0.0
        self.wall = wall.timestamp()
        self.boot = 1000.0
        self.boot_id = "this boot"
        self.elapsed = elapsed or (lambda: self.seconds)

    def monotonic(self) -> float:
        return self.elapsed()

    def now(self) -> Moment:
        seconds = self.elapsed()
        return Moment(self.wall + seconds, self.boot + seconds, self.boot_id)

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class VirtualInbox(Inbox):
    """Runs each call when its `latency`, by its key, has passed, in the thread that waits.

    `calls` holds the time and key of each, `pauses` the length of each wait that nothing ended, at
    whose end `on_wait` gets their number.
    """

    def __init__(self, clocks: VirtualClocks) -> None:
        super().__init__(clocks.monotonic)
        self.clocks = clocks
        self.latency: Callable[[Hashable], float] = lambda _key: 0.0
        self.calls: list[tuple[float, Hashable]] = []
        self.most_at_once = self._under_way = 0
        self.pauses: list[float] = []
        self.on_wait: Callable[[int], object] = lambda _number: None
        self._coming: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Let something happen at a time, in the wait that reaches it."""
        heappush(self._coming, (seconds, next(self._order), act))

    def signal(self, seconds: float, signum: int = 15) -> None:
        """Let a signal come at a time."""
        self.at(seconds, lambda: self.interrupt(signum))

    def suspend(self, seconds: float, until: float) -> None:
        """Suspend this process from one time to another."""
        self.at(seconds, lambda: setattr(self.clocks, "seconds", until))

    def _run(self, key: Any, work: Callable[[], Any], finished: Any) -> None:
        self.calls.append((self.clocks.seconds, getattr(key, "key", key)))  # of a poll
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        super()._run(key, work, finished)

    def _put(self, finished: Any, done: Any) -> None:
        self._under_way -= 1
        super()._put(finished, done)

    def pause(self, seconds: float) -> None:
        self.clocks.go_on(seconds)
        self.pauses.append(seconds)
        self.on_wait(len(self.pauses))

    def _start(self, run: Callable[[], None]) -> None:
        self.at(self.clocks.seconds + self.latency(self.calls[-1][1]), run)

    def _wait(self, finished: Sized, seconds: float) -> bool:
        until = self.clocks.seconds + max(0.0, seconds)
        while not self._has_news(finished) and self._coming and self._coming[0][0] <= until:
            at, _, act = heappop(self._coming)
            self.clocks.seconds = max(self.clocks.seconds, at)
            act()
        if not self._has_news(finished) and (left := until - self.clocks.seconds) > 0:
            self.pause(left)
        return self._has_news(finished)

    def _has_news(self, finished: Sized) -> bool:
        return bool(finished) or self.signum is not None


class PatientInbox(Inbox):
    """Makes its calls in real threads, but sleeps on virtual clocks; `pauses` holds each sleep."""

    def __init__(
        self, clocks: VirtualClocks, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(monotonic)
        self.clocks = clocks
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.check()
        self.pauses.append(seconds)
        self.clocks.go_on(seconds)
