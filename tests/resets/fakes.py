"""A world in which only time that is waited for passes, and all that a reset is handed."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from clc_reset.errors import Interrupted
from clc_reset.journal import Journal
from clc_reset.models import (
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets.batch import Order
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.tools import Tools
from clc_reset.threads import Failure, Pool, Stop, attempt

ORIGIN = "https://api.ctl.io"
ACCOUNT = "ALIAS"
USER = "nightly"
A, B, C, D = "WA1ALIASWB01", "WA1ALIASWB02", "WA1ALIASWB03", "WA1ALIASWB04"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""The API's time at the beginning of a world."""

MISS = NoNews("the API answered 500")
GONE = NoNews("the API answered 404", not_found=True)
UNREACHED = NoNews("connection refused", unreachable=True)

News = OperationStatus | NoNews


def operation(number: int) -> Operation:
    return Operation(f"wa1-{number}", f"/v2/operations/alias/status/wa1-{number}", ACCOUNT)


def word(text: str) -> OperationStatus:
    return OperationStatus(text)


ONE, TWO, THREE = operation(1), operation(2), operation(3)
SUCCEEDED, FAILED, EXECUTING = word("succeeded"), word("failed"), word("executing")


def queued(server: str, of: Operation | None = ONE) -> ServerResult:
    return ServerResult(server, ServerState.QUEUED, of)


def refused(server: str, message: str = "No.") -> ServerResult:
    return ServerResult(server, ServerState.FAILED, None, message)


def unknown(server: str) -> ServerResult:
    return ServerResult(server, ServerState.UNKNOWN, None, "The answer leaves it out.")


def order(*servers: str, **options: Any) -> Order:
    return Order(ORIGIN, ACCOUNT, USER, servers or (A, B), **options)


class World:
    """Its clock, its stop, its pool; and who is told what.

    `skew` is how far this machine's clock is off the API's, `latency` how long an answer takes.
    `tripwire` is told of each call of anything in it, before the call, and may raise.
    """

    def __init__(
        self,
        *,
        skew: timedelta = timedelta(),
        latency: Callable[[object], float] = lambda _asked: 0.0,
        knows_offset: bool = True,
    ) -> None:
        self.seconds = 0.0
        self.skew = skew
        self.latency = latency
        self.stop = PatientStop(self)
        self.api = FakeApi(self, knows_offset=knows_offset)
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.notes: list[str] = []
        self.tripwire: Callable[[str], None] = lambda _what: None

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        """This machine's time."""
        return self.at() + self.skew

    def at(self, seconds: float | None = None) -> datetime:
        """The API's time, now or so many seconds after the beginning."""
        return NOON + timedelta(seconds=self.seconds if seconds is None else seconds)

    def pool(self, seconds: float, stop: Stop) -> Pool[Any, Any]:
        return SimulatedPool(self, seconds, stop)

    def note(self, text: str) -> None:
        self.tripwire("note")
        self.notes.append(text)

    def journal(self, folder: Path | None) -> Journal:
        where = None if folder is None else str(folder / "journal")
        return Journal(where, self.note, lambda: self.now().timestamp())

    def tools(self, folder: Path | None = None) -> Tools:
        """With a journal in the folder, or none."""
        return Tools(
            cast("Any", self.api),
            cast("Any", Tripped(self.journal(folder), self, "journal")),
            cast("Any", Recording(self)),
            self.note,
            self.stop,
            self.clock,
            self.now,
            lambda: 0.5,
            self.pool,
        )

    def heard(self, name: str) -> list[tuple[Any, ...]]:
        """What the listener was told by one of its methods."""
        return [arguments for told, arguments in self.told if told == name]


class PatientStop(Stop):
    """Lets time pass at once."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def sleep(self, seconds: float) -> None:
        self._world.tripwire("sleep")
        self.check()
        self._world.seconds += seconds


class SimulatedPool(Pool[Any, Any]):
    """Makes each call at once, and tells what it came to when its latency has passed."""

    def __init__(self, world: World, seconds: float, stop: Stop) -> None:
        super().__init__(seconds, stop)
        self._world = world
        self._limit = seconds
        self._asked_to_stop = stop
        self._flying: list[tuple[float, int, Any, Any]] = []
        self._turns = itertools.count()

    def submit(self, key: Any, work: Callable[[], Any]) -> None:
        self._world.tripwire("submit")
        latency = self._world.latency(key)
        outcome = attempt(work)
        if latency > self._limit:
            latency, outcome = self._limit, Failure(TimeoutError())
        due = self._world.seconds + latency
        heapq.heappush(self._flying, (due, next(self._turns), key, outcome))
        self._world.api.flying(len(self._flying))

    def take(self, seconds: float) -> tuple[Any, Any] | None:
        self._world.tripwire("take")
        world = self._world
        arrives = self._flying[0][0] if self._flying else float("inf")
        if arrives > world.seconds and self._asked_to_stop.signum is not None:
            raise Interrupted(self._asked_to_stop.signum)
        if arrives > world.seconds + seconds:
            world.seconds += max(0.0, seconds)
            return None
        _, _, key, outcome = heapq.heappop(self._flying)
        world.seconds = max(world.seconds, arrives)
        world.api.delivered.append((key, outcome))
        return key, outcome


class FakeApi:
    """A cloud, and its client: what it saw, what it says of operations, what servers show.

    `reset` answers a request; by default it queues all in ONE. `status` tells of an operation,
    `show` of a server. `took` is False where what reached it was refused, or nothing did.
    """

    def __init__(self, world: World, *, knows_offset: bool) -> None:
        self._world = world
        self.hear_offset: Callable[[], timedelta | None] = lambda: (
            -world.skew if knows_offset else None
        )
        self.posts: list[tuple[str, ...]] = []
        self.answers: list[ResetAnswer] = []
        self.took = True
        self.polls: list[tuple[float, Operation]] = []
        self.looks: list[tuple[float, str]] = []
        self.delivered: list[tuple[Any, Any]] = []
        self.most = 0
        self.reset: Callable[[Sequence[str]], ResetAnswer] = lambda servers: self.sent(
            *map(queued, servers)
        )
        self.status: Callable[[Operation], News] = lambda _operation: SUCCEEDED
        self.show: Callable[[str], Observation] = self.unchanged

    @property
    def offset(self) -> timedelta | None:
        return self.hear_offset()

    def flying(self, number: int) -> None:
        self.most = max(self.most, number)

    def reset_servers(
        self,
        account: str,
        servers: Sequence[str],
        *,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        assert account == ACCOUNT
        self._world.tripwire("reset_servers")
        if self._world.stop.signum is not None:  # the request doesn't leave
            return ResetAnswer.not_sent(servers, signum=self._world.stop.signum)
        self.posts.append(tuple(servers))
        if tick is not None:
            tick(1.0)
        answer = self.reset(servers)
        self.answers.append(answer)
        return answer

    def operation_status(self, asked: Operation) -> News:
        self.polls.append((self._world.seconds, asked))
        return self.status(asked)

    def server(self, account: str, server: str) -> Observation:
        assert account == ACCOUNT
        self.looks.append((self._world.seconds, server))
        return self.show(server)

    def server_of(self, server: str) -> Observation:
        return self.server(ACCOUNT, server)

    # answers

    def sent(self, *results: ServerResult, turns: Sequence[str] = ()) -> ResetAnswer:
        """The answer, a moment after the request left."""
        names = turns or [each.server for each in results if each.server]
        return ResetAnswer(Sending.SENT, results, tuple(names), sent_at=self._world.at())

    def unchanged(self, server: str) -> Observation:
        """A server that was last changed an hour ago."""
        changed_at = NOON - timedelta(hours=1)
        return Observation(server, self._world.at(), changed_at, USER, status="active")

    def changing(
        self, seconds: Mapping[str, float], user: str | None = USER
    ) -> Callable[[str], Observation]:
        """Servers that change so many seconds after the beginning, to the second."""

        def show(server: str) -> Observation:
            at = seconds.get(server)
            if at is None or at > self._world.seconds:
                return self.unchanged(server)
            changed_at = self._world.at(at).replace(microsecond=0)
            return Observation(server, self._world.at(), changed_at, user)

        return show


class Recording:
    """A listener that keeps what it is told."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., None]:
        def told(*arguments: Any) -> None:
            self._world.tripwire(f"listener.{name}")
            self._world.told.append((name, arguments))

        return told


class Tripped:
    """What stands behind, with a tripwire before each of its methods."""

    def __init__(self, behind: object, world: World, name: str) -> None:
        self._behind = behind
        self._world = world
        self._name = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._behind, name)
        if not callable(method):
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            self._world.tripwire(f"{self._name}.{name}")
            found = method(*arguments, **options)
            if name in {"begin", "resume"} and not isinstance(found, tuple):
                return Tripped(found, self._world, "entry")
            return found

        return call


def scripted(**scripts: Sequence[News]) -> Callable[[Operation], News]:
    """Each operation, by its number as in `o1`, hears these in turn; the last one for ever."""
    turns = Counter[str]()

    def status(asked: Operation) -> News:
        key = "o" + asked.id.rpartition("-")[2]
        turns[key] += 1
        script = scripts[key]
        return script[min(turns[key], len(script)) - 1]

    return status


def states(results: Sequence[ServerResult]) -> dict[str | None, str]:
    return {each.server: each.state.value for each in results}


class Tripwire:
    """Acts at one call of all that happens in a world, counted from 0; keeps what was called."""

    def __init__(self, at: int | None, act: Callable[[], object]) -> None:
        self.calls: list[str] = []
        self._at = at
        self._act = act

    def __call__(self, what: str) -> None:
        self.calls.append(what)
        if len(self.calls) - 1 == self._at:
            self._act()


SHOWS_OR_RECORDS = ("listener.", "journal.", "entry.", "note")


def fail() -> Any:
    """Raise what nobody expects."""
    raise ZeroDivisionError("x")


def check_that_what_shows_and_records_changes_nothing(
    run: Callable[[World, Path], Outcome], folder: Path
) -> set[str]:
    """Let each call of the listener, the journal and the notes raise, one at a time.

    Returns the names of all that was called.
    """
    world = World()
    world.tripwire = wire = Tripwire(None, fail)
    expected = run(world, folder / "expected")
    assert not [each for each in world.notes if "failed" in each]
    shown = [n for n, what in enumerate(wire.calls) if what.startswith(SHOWS_OR_RECORDS)]
    for number in shown:
        other = World()
        other.tripwire = Tripwire(number, fail)
        outcome = run(other, folder / f"{number}")
        what = wire.calls[number]
        assert (outcome.results, outcome.verdict) == (expected.results, expected.verdict), what
        assert (outcome.sending, outcome.ending) == (expected.sending, expected.ending), what
        warnings = [each for each in other.notes if "failed (ZeroDivisionError: x)" in each]
        assert len(warnings) == (what != "note"), (what, other.notes)
        assert other.api.posts == world.api.posts, what
    return {wire.calls[number] for number in shown}
