"""A scripted API, one clock and a real journal: time passes only while something waits."""

import heapq
import logging
import sqlite3
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from queue import Empty
from typing import Any

from clc_reset.checks import CheckResult
from clc_reset.clocks import ApiTime, Clocks, Moment
from clc_reset.journal.database import Database
from clc_reset.journal.rows import Run, Where
from clc_reset.journal.runs import Journal, NewRun
from clc_reset.models import (
    Observation,
    Operation,
    OperationStatus,
    PollFailure,
    ResetAnswer,
    RollingOptions,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets import events, followup
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.request import Dependencies, Question, ResetRequest
from clc_reset.resets.run import run
from clc_reset.workers import Inbox

ORIGIN, ACCOUNT, USER = "https://api.ctl.io", "ALIAS", "nightly"
WHERE = Where(ORIGIN, ACCOUNT)
A, B, C, D = "WA1ALIASWB01", "WA1ALIASWB02", "WA1ALIASWB03", "WA1ALIASWB04"
IDS = count(1)
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""The API's time when a world begins."""

Status = OperationStatus | PollFailure
Answer = Status | Exception | str
FAILURES = {
    "500": PollFailure("the API answered 500"),
    "503": PollFailure("the API answered 503", slow_down=True),
    "404": PollFailure("the API answered 404", not_found=True),
    "down": PollFailure("connection refused", unreachable=True),
}


def status(answer: Answer) -> Status:
    """The answer to a poll: `executing` is a status, `500` a failure; an exception is raised."""
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, str):
        return FAILURES.get(answer) or OperationStatus(answer)
    return answer


def operation(number: int) -> Operation:
    return Operation(f"wa1-{number}", f"/v2/operations/alias/status/wa1-{number}", ACCOUNT)


ONE, TWO = operation(1), operation(2)


def queued(server: str, its: Operation | None = ONE) -> ServerResult:
    return ServerResult(server, ServerState.QUEUED, its)


def refused(server: str) -> ServerResult:
    return ServerResult(server, ServerState.FAILED, None, "No.")


def lost(servers: Sequence[str]) -> ResetAnswer:
    return ResetAnswer.maybe_sent(servers, "no answer within 180 s")


class World:
    """The API, the machine and its clocks.

    `latency` is how long a call with a key takes, `statuses` and `show` are what the API answers
    for an operation and a server, `answer` for a reset. `skew` is how far this machine's wall clock
    is ahead of the API's. `calls` are the polls and looks, each with its time. The journal can't be
    opened while it is `broken`, or `busy`; `opened` counts its transactions.
    """

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.skew = 0.0
        self.boot_id = "boot"
        self.knows_time = True
        self.latency: Callable[[Hashable], float] = lambda _key: 0.0
        self.answer: Callable[[Sequence[str]], ResetAnswer] = self.queue
        self.statuses: Callable[[Operation], Answer] = lambda _operation: "succeeded"
        self.show: Callable[[str], Observation] = self.changing({})
        self.posts: list[tuple[str, ...]] = []
        self.calls: list[tuple[float, Hashable]] = []
        self.checked: list[str] = []
        self.bad: dict[str, str] = {}
        self.events: list[events.Event] = []
        self.questions: list[Question] = []
        self.broken = self.busy = False
        self.opened = 0
        self.connect: Callable[..., sqlite3.Connection] = sqlite3.connect
        self.inbox = VirtualInbox(self)
        self.clocks = VirtualClocks(self)
        self.folder = folder / "journal"
        database = Database(str(self.folder), self.inbox, self.clocks.monotonic, self._open)
        self.journal = Journal(database, self.clocks, lambda: f"{next(IDS):08x}")

    def _open(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        if self.busy:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        self.opened += 1
        return self.connect(*args, **kwargs)

    # --- commands ------------------------------------------------------------------------------

    def deps(self, confirm: Callable[[Question], bool] | bool | None = None) -> Dependencies:
        def ask(question: Question) -> bool:
            self.questions.append(question)
            return confirm(question) if callable(confirm) else bool(confirm)

        asks = None if confirm is None else ask
        api = Api(self)
        return Dependencies(
            api, self.journal, self.inbox, self.clocks, confirm=asks, jitter=lambda: 0.5
        )

    def emit(self, event: events.Event) -> None:
        self.events.append(event)

    def reset(
        self,
        *servers: str,
        confirm: Callable[[Question], bool] | bool | None = None,
        emit: events.Emit | None = None,
        checks: bool = False,
        **options: Any,
    ) -> Outcome:
        """Reset servers; options are those of the request and of rolling."""
        rolling = {name: options.pop(name) for name in RollingOptions._fields if name in options}
        request = ResetRequest(WHERE, USER, servers, RollingOptions(**rolling), **options)
        if checks or request.options.at_a_time:
            request = request._replace(waits=True)
        deps = self.deps(confirm)
        return run(request, deps._replace(checks=self if checks else None), emit or self.emit)

    def rest_of(self, run_id: str | None, **options: Any) -> Outcome:
        rest = self.journal.rest_of(run_id or "")
        return self.reset(*rest.servers, rest=rest, **rest.options._asdict() | options)

    def status(self, *names: str, wait: bool = False, **options: Any) -> tuple[Outcome, list[str]]:
        selection = followup.select(self.journal, ORIGIN, names, ACCOUNT)
        named = tuple(
            Operation(name, f"/v2/operations/alias/status/{name}", ACCOUNT)
            for name in selection.operations
        )
        options = {"looks": True, "waits": wait} | options
        return followup.FollowUp(selection, named, self.deps(), self.emit, **options).ask()

    def begin(self, *servers: str, where: Where = WHERE) -> None:
        """Record a run whose request is under way, or that was killed before an answer came."""
        self.journal.begin(NewRun(where, USER, servers, RollingOptions()), servers, check=False)

    def stop(self, *servers: str, **options: Any) -> str:
        """Let a rolling run be interrupted in its first pause, and return its id."""
        self.inbox.signal(self.seconds + 5)
        outcome = self.reset(*servers, at_a_time=1, pause=10.0, **options)
        assert outcome.exit_code == 143
        self.inbox.signum = None
        return outcome.run or ""

    def other(self) -> "World":
        """Another process on the same machine, at the same moment."""
        another = World(self.folder.parent)
        another.seconds = self.seconds
        another.statuses, another.show = self.statuses, self.show
        return another

    def kill_others(self) -> None:
        """Let go of all locks, as the end of a process does."""
        for lock in self.folder.glob("*.lock"):
            lock.unlink()
            lock.touch()

    def run_of(self, run: str | None = None) -> Run:
        """The run with that id, or the latest one."""
        found = self.journal.run(run) if run else self.journal.latest(ORIGIN, ACCOUNT)
        assert found is not None
        return found

    def rows(self, run: str | None = None) -> list[str]:
        """The states of the servers in a run, or in the latest one."""
        return [row.state.value for row in self.run_of(run).rows]

    # the operator's checks

    def run(
        self, servers: Sequence[str], seconds: float, attempt: Callable[[str, int], None]
    ) -> dict[str, CheckResult]:
        assert seconds >= 1
        for server in servers:
            self.checked.append(server)
            attempt(server, 1)
        return {s: CheckResult(s not in self.bad, self.bad.get(s)) for s in servers}

    # --- what the API answers ------------------------------------------------------------------

    def at(self, seconds: float | None = None) -> datetime:
        """The API's time, now or so many seconds after the beginning."""
        return NOON + timedelta(seconds=self.seconds if seconds is None else seconds)

    def queue(self, servers: Sequence[str]) -> ResetAnswer:
        """All share one operation."""
        return self.sent(*map(queued, servers))

    def queue_each(self, servers: Sequence[str]) -> ResetAnswer:
        """Each has an operation of its own, with the number at the end of its name."""
        return self.sent(*(queued(server, operation(int(server[-2:]))) for server in servers))

    def sent(self, *results: ServerResult, turns: Sequence[str] = ()) -> ResetAnswer:
        names = turns or [result.server for result in results if result.server]
        left = self.clocks.now()
        return ResetAnswer(Sending.SENT, results, tuple(names), left=left, sent_at=self.at())

    def changing(
        self, seconds: Mapping[str, float], user: str | None = USER
    ) -> Callable[[str], Observation]:
        """Servers that change so many seconds after the beginning; others changed an hour ago."""

        def show(server: str) -> Observation:
            at = seconds.get(server, self.seconds + 1)
            changed_at = self.at(-3600 if at > self.seconds else at).replace(microsecond=0)
            return Observation(server, self.at(), changed_at, user)

        return show

    def lasting(self, **durations: float) -> None:
        """Let operations, `o1` by name, succeed at a time."""
        self.statuses = lambda asked: (
            "succeeded" if self.seconds >= durations[f"o{asked.id[4:]}"] else "executing"
        )

    def answers(self, answers: Mapping[Operation, Answer]) -> None:
        """Answer polls of each operation with a status of its own."""
        self.statuses = answers.__getitem__

    def script(self, *answers: Answer) -> None:
        """Answer polls with these, one after another, the last one for ever."""
        left = list(answers)
        self.statuses = lambda _operation: left.pop(0) if len(left) > 1 else left[0]

    # --- what happened -------------------------------------------------------------------------

    def polls(self, asked: Operation | None = None) -> list[float]:
        return [at for at, key in self.calls if (key == asked if asked else is_poll(key))]

    def looks(self) -> list[tuple[float, str]]:
        """The looks at servers, of waits and of others."""
        return [
            (at, key if isinstance(key, str) else key[1])
            for at, key in self.calls
            if isinstance(key, str) or (isinstance(key, tuple) and not is_poll(key))
        ]

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def is_poll(key: Hashable) -> bool:
    return isinstance(key, Operation)


def states(outcome: Outcome) -> dict[str | None, str]:
    return {result.server: result.state.value for result in outcome.results}


def changed(outcome: Outcome) -> dict[str | None, bool | None]:
    """What the servers that were looked at show."""
    return {r.server: r.evidence.changed for r in outcome.results if r.evidence}


def message(outcome: Outcome) -> str:
    """The message and the next step."""
    assert outcome.error is not None
    return f"{outcome.error.message}\n{outcome.error.hint}".strip()


def left_out(server: str) -> ServerResult:
    return ServerResult(server, ServerState.UNKNOWN, None, "The answer leaves it out.")


class VirtualInbox(Inbox):
    """Runs each call when its latency has passed, in the thread that waits."""

    def __init__(self, world: World) -> None:
        super().__init__(lambda: world.seconds)
        self._world = world
        self._coming: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._latency = 0.0
        self.most_at_once = 0

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._coming, (seconds, next(self._order), act))

    def signal(self, seconds: float, signum: int = 15) -> None:
        self.at(seconds, lambda: self.interrupt(signum))

    def suspend(self, seconds: float, until: float) -> None:
        """Suspend this process at a time."""
        self.at(seconds, lambda: setattr(self._world, "seconds", until))

    def submit(self, key: Hashable, work: Callable[[], object]) -> int:
        self._world.calls.append((self._world.seconds, key))
        self._latency = self._world.latency(key)
        self.most_at_once = max(self.most_at_once, len(self._keys) + 1)
        return super().submit(key, work)

    def pause(self, seconds: float) -> None:
        self._world.seconds += seconds

    def _start(self, run: Callable[[], None]) -> None:
        arrives = self._world.seconds + self._latency
        heapq.heappush(self._coming, (arrives, next(self._order), run))

    def _get(self, seconds: float) -> tuple[int, object] | None:
        until = self._world.seconds + seconds
        while not self._queue and self._coming and self._coming[0][0] <= until:
            at, _, act = heapq.heappop(self._coming)
            self._world.seconds = max(self._world.seconds, at)
            act()
        if not self._queue:
            self._world.seconds = max(self._world.seconds, until)
            raise Empty
        return self._queue.popleft()


class VirtualClocks(Clocks):
    """The clocks of a world's machine."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.seconds

    def now(self) -> Moment:
        world = self._world
        return Moment(world.at().timestamp() + world.skew, 500 + world.seconds, world.boot_id)


class Api:
    """A world's API as a client sees it."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def api_time(self) -> ApiTime | None:
        world = self._world
        return ApiTime(world.at(), world.clocks.now()) if world.knows_time else None

    def reset(
        self,
        account: str,
        servers: Sequence[str],
        _recorded: Moment | None,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        assert account == ACCOUNT
        if self._world.inbox.signum is not None:  # the request doesn't leave
            return ResetAnswer.not_sent(servers, signum=self._world.inbox.signum)
        self._world.posts.append(tuple(servers))
        if tick is not None:
            tick(1.0)
        return self._world.answer(servers)

    def operation_status(self, asked: Operation) -> Status:
        return status(self._world.statuses(asked))

    def server(self, account: str, server: str) -> Observation:
        assert account == ACCOUNT
        return self._world.show(server)


def warnings(caplog: Any) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def ids(number: int, datacenter: str = "WA1") -> list[str]:
    return [f"{datacenter}ALIAS{n:05}" for n in range(number)]


def fail(*_arguments: object, **_options: object) -> Any:
    """Raise what nobody expects."""
    raise ZeroDivisionError("x")
