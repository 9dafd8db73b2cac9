"""A deterministic world: virtual time, hosts with clocks of their own, and processes.

Each process is a thread, and one of all runs at a time: whoever waits hands the baton to the next
by virtual time. All chance comes from one generator, so that one seed makes one night.
"""

import _thread
from collections.abc import Callable, Sized
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Any

from clc_reset.workers import Inbox
from tests.virtual import VirtualClocks

BEGIN = 1_800_000_000.0
"""The wall clock's time at the beginning of a night."""
NEVER = float("inf")
MOST_TURNS = 200_000
LONGEST_NIGHT = 20 * 86400.0


class Killed(BaseException):
    """SIGKILL: raised at each step of a process from its death on, so that nothing more happens."""


class StuckError(Exception):
    """A night that doesn't end."""


class Host(VirtualClocks):
    """A machine with clocks of its own, which go on while a process is stopped."""

    def __init__(self, world: "World", name: str, wall_offset: float, since_boot: float) -> None:
        super().__init__(datetime.fromtimestamp(BEGIN, UTC), lambda: world.time)
        self.name = name
        self.wall += wall_offset
        self.boot = since_boot
        self.boot_id = f"boot of {name}"
        self._world = world

    def monotonic(self) -> float:
        return super().monotonic() + 1000.0  # as some time after the start

    def set_clock(self, step: float) -> None:
        self.wall += step
        self._world.note(self.name, f"the clock is set by {step:g} s")


class Process:
    """A thread that runs while it has the baton. `steps` counts its chances to be disturbed."""

    def __init__(self, world: "World", name: str, host: Host) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.is_worker = False
        self.command: Any = None
        self.before: Callable[[], None] = lambda: None
        self.is_dead = False
        self.commit = 0  # the number of its latest transaction
        self.committed_at = 0.0
        self.is_over = False
        self.over_at: float | None = None
        self.is_listening = False
        self.suspended_until = 0.0
        self.suspended = 0.0  # seconds, in all
        self.steps = 0
        self.disturbances: dict[int, Callable[[], None]] = {}
        self.wakes = 0  # the number of the wake-up that counts
        self.baton = _thread.allocate_lock()
        self.baton.acquire()

    def start(self, work: Callable[[], None]) -> None:
        """Run in a thread of its own from now on, once it is this process's turn."""

        def run() -> None:
            self.baton.acquire()
            try:
                self.before()
                work()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - a bug in the simulation ends the night
                self.world.error = error
            self.is_over = True
            self.over_at = self.over_at or self.world.time
            self.world.hand_over(None)

        _thread.start_new_thread(run, ())
        self.wake(self.world.time)

    def wake(self, when: float) -> None:
        """Give it the baton at that time, and at no other."""
        self.wakes += 1
        self.world.push(max(when, self.suspended_until), (self, self.wakes))

    def step(self, seconds: float = 0.0) -> None:
        """Let others run for so many seconds. Raises Killed."""
        if self.is_dead:
            raise Killed
        self.steps += 1
        if self.disturbances and (disturb := self.disturbances.pop(self.steps, None)) is not None:
            disturb()
            if self.is_dead:
                raise Killed
        world = self.world
        until = max(world.time + seconds, self.suspended_until)
        if not world.events or world.events[0][0] > until:
            world.time = until  # nobody else has anything to do until then
            return
        self.wake(until)
        world.hand_over(self)
        if self.is_dead:
            raise Killed

    def suspend(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        self.world.note(self.name, f"is suspended for {seconds:g} s")
        self.suspended_until = self.world.time + seconds
        self.suspended += seconds

    def kill(self) -> None:
        """SIGKILL."""
        self.is_dead = True
        self.suspended_until = 0.0
        self.world.note(self.name, "is killed")
        if self.world.current is not self:
            self.wake(self.world.time)


class World:
    """Virtual time, the events to come, and what happened."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = 0.0
        self.events: list[tuple[float, int, object]] = []
        self.order = 0
        self.turns = 0
        self.error: BaseException | None = None
        self.trace: list[tuple[float, str, str]] = []
        self.violations: list[str] = []
        self.main = Process(self, "main", Host(self, "nowhere", 0.0, 0.0))
        self.current = self.main

    def push(self, when: float, item: object) -> None:
        self.order += 1
        heappush(self.events, (when, self.order, item))

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call a function then, in whichever thread; it must not wait."""
        self.push(self.time + seconds, work)

    def note(self, who: str, what: str) -> None:
        """Put a line into the trace."""
        self.trace.append((self.time, who, what))

    def violate(self, what: str) -> None:
        """Note that an invariant doesn't hold."""
        self.violations.append(what)
        self.note("INVARIANT", what)

    def hand_over(self, me: Process | None) -> None:
        """Let events happen until it is this process's turn again; None leaves for good."""
        while True:
            when, _, item = heappop(self.events)
            self.turns += 1
            if self.turns > MOST_TURNS or LONGEST_NIGHT < when < NEVER:
                self.error = self.error or StuckError()
            if self.error is not None:
                item = (self.main, self.main.wakes)
            elif when != NEVER:
                self.time = max(self.time, when)
            if not isinstance(item, tuple):
                self.current = self.main
                item()  # type: ignore[operator]
                continue
            process, wake = item
            if wake != process.wakes or process.is_over:
                continue
            if process is not self.main and process.suspended_until > self.time:
                self.push(process.suspended_until, item)
                continue
            self.current = process
            if process is me:
                return
            process.baton.release()
            if me is not None:
                me.baton.acquire()
            return

    def run(self) -> None:
        """Let everything happen that is to happen."""
        self.current = self.main
        self.main.wake(NEVER)
        self.hand_over(self.main)
        if self.error is not None:
            raise self.error


class VirtualInbox(Inbox):
    """The inbox of a simulated process: calls take virtual time."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.host.monotonic)
        self.signalled_at: float | None = None
        self._process = process
        self._delay: float | None = None

    def interrupt(self, signum: int) -> None:
        if self.signalled_at is None:
            self.signalled_at = self._process.world.time
        self._process.world.note(self._process.name, f"gets signal {signum}")
        super().interrupt(signum)

    def pause(self, seconds: float) -> None:
        self._process.step(seconds)

    def _start(self, run: Callable[[], None]) -> None:
        process, world = self._process, self._process.world
        chance = 1.0 if process.command.is_fine else world.random.random()
        if chance < 0.01:
            raise RuntimeError("can't start new thread")
        if chance < 0.06:  # a thread of its own, in which it may wait
            worker = Process(world, f"{process.name}'s worker", process.host)
            worker.is_worker, worker.command = True, process.command
            worker.start(lambda: _when_awake(process, worker, run))
            return

        def leave() -> None:
            if process.is_dead or process.is_over:
                return
            if process.suspended_until > world.time:
                world.push(process.suspended_until, leave)
                return
            self._delay = 0.001 + world.random.expovariate(10)
            run()  # what it puts is delivered then
            self._delay = None

        world.after(world.random.expovariate(20), leave)

    def _wait(self, finished: Sized, seconds: float) -> bool:
        process, world = self._process, self._process.world
        until = world.time + max(0.0, seconds)
        process.is_listening = True
        while not finished and self.signum is None:
            process.step(until - world.time)
            if world.time >= until:
                break
        process.is_listening = False
        return bool(finished) or self.signum is not None

    def _put(self, finished: Any, done: Any) -> None:
        if self._delay is None:
            super()._put(finished, done)
        else:
            self._process.world.after(self._delay, partial(super()._put, finished, done))

    def _ring(self) -> None:
        if self._process.is_listening:
            self._process.wake(self._process.world.time)


def _when_awake(process: Process, worker: Process, run: Callable[[], None]) -> None:
    worker.step(worker.world.random.expovariate(0.2))
    while process.suspended_until > worker.world.time:
        worker.step(process.suspended_until - worker.world.time)
    if not (process.is_dead or process.is_over):
        run()
