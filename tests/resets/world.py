"""A scripted API and the machine of whoever uses it: time passes only while something waits."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clc_reset.clocks import ApiTime, Moment
from clc_reset.journal.rows import Run
from clc_reset.models import (
    Observation,
    Operation,
    OperationStatus,
    PollFailure,
    ResetAnswer,
    RollingOptions,
    ServerResult,
)
from clc_reset.resets import events, followup
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.request import Dependencies, ResetRequest
from clc_reset.resets.run import run
from tests.builders import ACCOUNT, ORIGIN, USER, lost, operation, queued, sent
from tests.machine import HERE, Machine
from tests.virtual import NOON

Status = OperationStatus | PollFailure
Answer = Status | Exception | str
"""What is said of an operation; `executing` is a status, `500` one of FAILURES."""
FAILURES = {
    "500": PollFailure("the API answered 500"),
    "503": PollFailure("the API answered 503", slow_down=True),
    "404": PollFailure("the API answered 404", not_found=True),
    "down": PollFailure("connection refused", unreachable=True),
}

Confirm = Callable[[], bool] | bool | None


class World(Machine):
    """The API, whose clock shows NOON at the beginning, and the machine of whoever uses it.

    `statuses`, `show` and `answer` are what the API answers for an operation, a server and a reset.
    `recorded` is the moment from which the latest request has 60 s to leave.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "journal")
        self.knows_time = True
        self.answer: Callable[[Sequence[str]], ResetAnswer] = self.queue
        self.statuses: Callable[[Operation], Answer] = lambda _operation: "succeeded"
        self.show: Callable[[str], Observation] = self.changing({})
        self.posts: list[tuple[str, ...]] = []
        self.recorded: Moment | None = None
        self.checked: list[str] = []
        self.bad: dict[str, str] = {}
        self.on_check: Callable[[], object] = lambda: None
        self.events: list[events.Event] = []
        self.questions: list[tuple[int, list[str]]] = []

    @property
    def seconds(self) -> float:
        """The seconds since the beginning."""
        return self.clocks.seconds

    def deps(self, confirm: Confirm = None, *, checks: bool = False) -> Dependencies:
        def ask(unsettled: int, lines: Sequence[str]) -> bool:
            self.questions.append((unsettled, [*lines]))
            return confirm() if callable(confirm) else bool(confirm)

        api, asks = Api(self), None if confirm is None else ask
        check = self.check if checks else None
        return Dependencies(api, self.journal, self.inbox, self.clocks, check, asks, lambda: 0.5)

    def reset(
        self,
        *servers: str,
        confirm: Confirm = None,
        emit: events.Emit | None = None,
        checks: bool = False,
        **options: Any,
    ) -> Outcome:
        """Reset servers; options are those of the request and of rolling."""
        rolling = {name: options.pop(name) for name in RollingOptions._fields if name in options}
        request = ResetRequest(HERE, USER, servers, RollingOptions(**rolling), **options)
        if checks or request.options.at_a_time:
            request = request._replace(waits=True)
        return run(request, self.deps(confirm, checks=checks), emit or self.events.append)

    def rest_of(self, run_id: str | None, **options: Any) -> Outcome:
        rest = self.journal.rest_of(run_id or "")
        return self.reset(*rest.servers, rest=rest, **rest.options._asdict() | options)

    def status(self, *names: str, wait: bool = False, **options: Any) -> tuple[Outcome, list[str]]:
        selection = followup.select(self.journal, ORIGIN, names, ACCOUNT)
        named = tuple(map(operation, selection.operations))
        options = {"looks": True, "waits": wait, "limit": None} | options
        return followup.FollowUp(selection, named, self.deps(), self.events.append, **options).ask()

    def lose(self, *servers: str) -> str:
        """Reset servers, lose the answer, and return the run's id."""
        self.answer = self.lose_answer
        run = self.reset(*servers).run
        self.answer = self.queue
        return run or ""

    def stop(self, *servers: str, **options: Any) -> str:
        """Let a rolling run be interrupted in its first pause, and return its id."""
        self.inbox.signal(self.seconds + 5)
        outcome = self.reset(*servers, at_a_time=1, pause=10.0, **options)
        assert outcome.exit_code == 143
        self.inbox.signum = None
        return outcome.run or ""

    def another(self) -> "World":
        """Another process on the same machine, at the same moment."""
        another = World(self.folder.parent)
        another.clocks.seconds = self.seconds
        another.statuses, another.show = self.statuses, self.show
        return another

    def run_of(self, run: str | None = None) -> Run:
        """The run with that id, or the latest one."""
        found = self.journal.run(run) if run else self.journal.latest(ORIGIN, ACCOUNT)
        assert found is not None
        return found

    def rows(self, run: str | None = None) -> list[str]:
        """The states of the servers in a run, or in the latest one."""
        return [row.state.value for row in self.run_of(run).rows]

    def check(self, servers: Sequence[str], seconds: float, attempt: Any) -> dict[str, str]:
        assert seconds >= 1
        self.on_check()
        for server in servers:
            self.checked.append(server)
            attempt(server, 1)
        return {server: self.bad[server] for server in servers if server in self.bad}

    def at(self, seconds: float | None = None) -> datetime:
        """The API's time, now or so many seconds after the beginning."""
        return NOON + timedelta(seconds=self.seconds if seconds is None else seconds)

    def queue(self, servers: Sequence[str]) -> ResetAnswer:
        """All share one operation."""
        return self.sent(*map(queued, servers))

    def queue_each(self, servers: Sequence[str]) -> ResetAnswer:
        """Each has an operation of its own, with the number at the end of its name."""
        return self.sent(*(queued(server, operation(int(server[-2:]))) for server in servers))

    def lose_answer(self, servers: Sequence[str]) -> ResetAnswer:
        return lost(*servers)

    def sent(self, *results: ServerResult, turns: Sequence[str] | None = None) -> ResetAnswer:
        return sent(*results, turns=turns, left=self.clocks.now(), sent_at=self.at())

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

    def script(self, *answers: Answer) -> None:
        """Answer polls with these, one after another, the last one for ever."""
        left = list(answers)
        self.statuses = lambda _operation: left.pop(0) if len(left) > 1 else left[0]

    def polls(self, asked: Operation | None = None) -> list[float]:
        return [at for at, key in self.inbox.calls if (key == asked if asked else is_poll(key))]

    def looks(self) -> list[tuple[float, str]]:
        """The looks at servers, of waits and of others."""
        calls = self.inbox.calls
        return [(at, key[1]) for at, key in calls if isinstance(key, tuple) and not is_poll(key)]

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


class Api:
    """A world's API as a client sees it."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def api_time(self) -> ApiTime | None:
        world = self._world
        return ApiTime(world.at(), world.clocks.now()) if world.knows_time else None

    def reset(
        self, account: str, servers: Sequence[str], recorded: Moment | None, tick: Any = None
    ) -> ResetAnswer:
        assert account == ACCOUNT
        self._world.recorded = recorded
        if self._world.inbox.signum is not None:  # the request doesn't leave
            return ResetAnswer.not_sent(servers, signum=self._world.inbox.signum)
        self._world.posts.append(tuple(servers))
        if tick is not None:
            tick(1.0)
        return self._world.answer(servers)

    def operation_status(self, asked: Operation) -> Status:
        answer = self._world.statuses(asked)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return FAILURES.get(answer) or OperationStatus(answer)
        return answer

    def server(self, account: str, server: str) -> Observation:
        assert account == ACCOUNT
        return self._world.show(server)


def warnings(caplog: Any) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def fail(*_arguments: object, **_options: object) -> Any:
    """Raise what nobody expects."""
    raise ZeroDivisionError("x")
