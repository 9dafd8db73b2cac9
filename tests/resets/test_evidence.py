"""What servers show after a doubtful outcome, from the recorded timelines of API.md."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from clc_reset.models import NoNews, Observation, Operation, OperationStatus, ResetAnswer
from clc_reset.resets import batch, evidence, inquiry
from clc_reset.resets.evidence import SECONDS_FOR_ALL, Sent, ask_each, has_changed, words
from clc_reset.resets.outcome import Ending, Outcome, Verdict
from clc_reset.threads import AT_A_TIME, Failure
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    GONE,
    NOON,
    ORIGIN,
    USER,
    A,
    B,
    World,
    fail,
    operation,
    order,
    queued,
    states,
    unknown,
)

TIMELINES = {
    "a reset of 8": (52, 66, 96, 111, 126, 156, 171, 186),
    "a reset of 3": (23, 39, 54),
    "a reboot of 3": (73, 134, 193),
}
"""Recorded: seconds from the POST to each server's change, in the order of the answer."""
SKEWS = {
    "right": timedelta(),
    "an hour ahead": timedelta(hours=1),
    "an hour behind": timedelta(hours=-1),
}
HOUR = timedelta(hours=1)
SENT = Sent(ACCOUNT, USER, NOON)

every_timeline = pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
every_clock = pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)


def clock_time(seconds: float) -> str:
    return f"{NOON + timedelta(seconds=seconds):%H:%M:%S} UTC"


class Case(NamedTuple):
    """A batch in the order of the answer, which isn't that of the request."""

    world: World
    turns: dict[str, float]
    servers: tuple[str, ...]

    @classmethod
    def of(cls, timeline: Sequence[int], skew: timedelta, until: float = 1e9) -> "Case":
        world = World(skew=skew)
        turns = {f"WA1ALIASWB{n:02}": float(at) for n, at in enumerate(timeline)}
        world.api.show = world.api.changing({s: at for s, at in turns.items() if at <= until})
        return cls(world, turns, tuple(sorted(turns, reverse=True)))

    def answer(self, servers: Sequence[str]) -> ResetAnswer:
        return self.world.api.sent(*map(queued, servers), turns=list(self.turns))

    def check(self, outcome: Outcome, at: float, *, state: str) -> None:
        """Hold the rows to what had changed `at` so many seconds, when the servers were seen."""
        assert [each.server for each in outcome.results] == list(self.servers)
        for each in outcome.results:
            assert each.server
            turn = self.turns[each.server]
            expected = (
                f"changed {clock_time(turn)} by nightly, {turn:.0f} s after it was sent."
                if turn <= at
                else f"not changed as of {clock_time(self.world.seconds)}."
            )
            assert each.words(plain=True).endswith(f"; {expected}")
            assert each.state == state
            shown = outcome.observations[each.server]
            assert shown.seen_at == self.world.at()
            assert shown.changed_at
            assert (shown.changed_at > NOON) is (turn <= at)


# the recorded timelines


@every_clock
@every_timeline
def test_a_batch_whose_answer_is_lost_shows_at_each_second_who_has_changed(
    timeline: Sequence[int], skew: timedelta
) -> None:
    for second in range(timeline[-1] + 10):
        case = Case.of(timeline, skew)

        def lose(servers: Sequence[str], case: Case = case, second: int = second) -> ResetAnswer:
            case.world.seconds += second
            return ResetAnswer.maybe_sent(servers, "no answer within 180 s")

        case.world.api.reset = lose
        outcome = batch.reset(order(*case.servers, wait=True), case.world.tools())
        case.check(outcome, second, state="unknown")
        assert outcome.verdict is Verdict.UNKNOWN


@every_clock
@every_timeline
def test_a_batch_whose_operation_fails_shows_at_each_second_who_has_changed(
    timeline: Sequence[int], skew: timedelta
) -> None:
    for second in range(timeline[-1] + 10):
        case = Case.of(timeline, skew, until=second)

        def status(
            _asked: Operation, world: World = case.world, second: int = second
        ) -> OperationStatus:
            return FAILED if world.seconds >= second else EXECUTING

        case.world.api.reset = case.answer
        case.world.api.status = status
        outcome = batch.reset(order(*case.servers, wait=True), case.world.tools())
        case.check(outcome, second, state="failed")
        assert outcome.verdict is Verdict.FAILED


@every_clock
@every_timeline
def test_a_batch_whose_time_is_up_shows_at_each_second_who_has_changed(
    timeline: Sequence[int], skew: timedelta
) -> None:
    for second in range(timeline[-1] + 10):
        case = Case.of(timeline, skew)
        case.world.api.reset = case.answer
        case.world.api.status = lambda _asked: EXECUTING
        asked = order(*case.servers, wait=True, limit=second)
        outcome = batch.reset(asked, case.world.tools())
        assert case.world.seconds == second
        case.check(outcome, second, state="running")
        assert outcome.verdict is Verdict.RUNNING


@every_clock
@every_timeline
def test_a_batch_whose_clc_was_killed_shows_later_at_each_second_who_had_changed(
    timeline: Sequence[int], skew: timedelta, tmp_path: Path
) -> None:
    case = Case.of(timeline, skew)
    tools = case.world.tools(tmp_path)
    tools.journal.begin(ORIGIN, ACCOUNT, USER, case.servers)
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    for second in range(timeline[-1] + 10):
        case.world.seconds = second
        outcome = inquiry.ask([inquiry.Part.whole(run)], [], ACCOUNT, tools, wait=False, limit=None)
        case.check(outcome, second, state="unknown")
        assert outcome.verdict is Verdict.UNKNOWN


@every_clock
def test_while_waiting_each_change_is_told_as_it_is_seen(skew: timedelta) -> None:
    timeline = TIMELINES["a reset of 8"]
    case = Case.of(timeline, skew)
    case.world.api.reset = case.answer
    case.world.api.status = lambda _asked: (
        OperationStatus("succeeded") if case.world.seconds >= 187 else EXECUTING
    )
    outcome = batch.reset(order(*case.servers, wait=True), case.world.tools())
    assert outcome.verdict is Verdict.DONE
    told = case.world.heard("server_changed")
    assert [(server, changed, of) for _, server, changed, of, _ in told] == [
        (server, number, 8) for number, server in enumerate(case.turns, start=1)
    ]
    assert all(0 <= seconds - case.turns[server] <= 7 for _, server, _, _, seconds in told)
    assert outcome.observations == {}  # there is no doubt


def test_without_looks_nothing_is_looked_at_while_waiting() -> None:
    case = Case.of(TIMELINES["a reset of 3"], timedelta())
    case.world.api.reset = case.answer
    case.world.api.status = lambda _asked: (
        OperationStatus("succeeded") if case.world.seconds >= 60 else EXECUTING
    )
    batch.reset(order(*case.servers, wait=True, looks=False), case.world.tools())
    assert case.world.api.looks == []


# what else a server may show


def seen_after_a_loss(
    show: Callable[[World, str], Observation], *, latency: Callable[[object], float] | None = None
) -> tuple[dict[str | None, str], World]:
    """The messages after a lost answer, and where."""
    world = World(latency=latency or (lambda _asked: 0.0))

    def lose(servers: Sequence[str]) -> ResetAnswer:
        world.seconds += 100
        return ResetAnswer.maybe_sent(servers, "no answer")

    world.api.reset = lose
    world.api.show = lambda server: show(world, server)
    outcome = batch.reset(order(A, B, wait=True), world.tools())
    assert set(states(outcome.results).values()) == {"unknown"}
    assert outcome.verdict is Verdict.UNKNOWN
    said = {each.server: (each.message or "") for each in outcome.results}
    return {
        name: text.removeprefix("Sent; outcome unknown: no answer; ") for name, text in said.items()
    }, world


def test_a_lost_reset_is_dated_from_the_try_that_left() -> None:
    """Before it there may have been others, which certainly never did."""
    world = World()

    def lose(servers: Sequence[str]) -> ResetAnswer:
        world.seconds += 30  # to be refused a connection, and a second for the try that left
        return ResetAnswer.maybe_sent(servers, "no answer")._replace(seconds=1.0)

    world.api.reset = lose
    world.api.show = world.api.changing({A: 10.0, B: 35.0})
    world.seconds = 0
    outcome = batch.reset(order(A, B, wait=True), world.tools())
    said = [each.message or "" for each in outcome.results]
    assert said[0].endswith("not changed as of 12:00:30 UTC.")


PROBLEMS = [
    "the API knows no such server (404)",
    "this user may not see it (403)",
    "its date of change can't be read",
]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_server_that_can_t_be_seen_is_told_as_that_and_the_others_are_told(problem: str) -> None:
    said, _ = seen_after_a_loss(
        lambda world, server: (
            Observation(server, world.at(), problem=problem)
            if server == A
            else world.api.unchanged(server)
        )
    )
    assert said == {A: f"couldn't be looked at: {problem}.", B: "not changed as of 12:01:40 UTC."}


def test_a_look_that_raises_is_told_as_that_and_the_others_are_told() -> None:
    def show(world: World, server: str) -> Observation:
        if server == A:
            raise ZeroDivisionError("x")
        return world.api.unchanged(server)

    said, world = seen_after_a_loss(show)
    assert said[A] == "couldn't be looked at: ZeroDivisionError: x."
    assert said[B] == "not changed as of 12:01:40 UTC."
    assert world.notes == ["Warning: without a journal there is no check for earlier resets."]


def test_a_look_that_drips_has_ten_seconds_and_the_others_are_told() -> None:
    said, world = seen_after_a_loss(
        lambda world, server: world.api.unchanged(server),
        latency=lambda asked: 1e9 if asked == A else 1.0,
    )
    assert said[A] == "couldn't be looked at: no answer came in time."
    assert said[B] == "not changed as of 12:01:40 UTC."
    assert world.seconds == 100 + SECONDS_FOR_ALL


def test_ten_seconds_are_the_limit_for_all_looks_however_many_there_are() -> None:
    world = World(latency=lambda _asked: 3.0)
    servers = [f"S{n}" for n in range(100)]
    seen = evidence.look(servers, world.api.server_of, world.stop, world.pool, world.clock)
    assert world.seconds == SECONDS_FOR_ALL
    assert world.api.most == AT_A_TIME
    assert list(seen) == servers
    told = [each.problem is None for each in seen.values()]
    assert told == [True] * AT_A_TIME * 3 + [False] * (100 - AT_A_TIME * 3)


def test_a_signal_while_looking_loses_nothing_of_what_was_seen() -> None:
    world = World(latency=lambda asked: 0.0 if asked == A else 5.0)

    def stop(what: str) -> None:
        if what == "take" and world.api.delivered:
            world.stop.set(15)

    world.tripwire = stop
    seen = evidence.look([A, B], world.api.server_of, world.stop, world.pool, world.clock)
    assert seen[A].problem is None
    assert seen[B].problem == "no answer came in time"
    assert world.seconds == 0


def test_each_is_asked_once() -> None:
    world = World()
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return name.lower()

    heard = ask_each(["A", "B", "A"], ask, world.stop, world.pool, 1.0, world.clock)
    assert heard == {"A": "a", "B": "b"}
    assert asked == ["A", "B"]


def test_one_that_takes_too_long_is_a_failure_that_says_so() -> None:
    shown = evidence.seen(A, Failure(TimeoutError()))
    assert shown == Observation(A, problem="no answer came in time")


# which servers are looked at


def test_a_refused_server_and_one_with_an_operation_of_its_own_are_not_looked_at() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(
        queued(servers[0]), queued(servers[1], operation(2)), unknown(servers[2])
    )
    world.api.status = lambda _asked: FAILED
    outcome = batch.reset(order("S1", "S2", "S3", wait=True), world.tools())
    assert [server for _, server in world.api.looks] == ["S3"]
    assert outcome.results[0].message == "The operation failed; the API doesn't say why."


def test_a_reset_that_doesn_t_wait_looks_at_nothing() -> None:
    world = World()
    world.api.reset = lambda servers: ResetAnswer.maybe_sent(servers, "no answer")
    assert batch.reset(order(), world.tools()).verdict is Verdict.UNKNOWN
    assert world.api.looks == []


def test_servers_of_an_operation_that_the_api_forgot_are_looked_at(tmp_path: Path) -> None:
    world = World()
    tools = world.tools(tmp_path)
    batch.reset(order(), tools)
    world.seconds = 60
    world.api.status = lambda _asked: GONE
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    outcome = inquiry.ask([inquiry.Part.whole(run)], [], ACCOUNT, tools, wait=False, limit=None)
    assert outcome.verdict is Verdict.RUNNING
    assert [each.message for each in outcome.results] == [
        "No status yet: the API answered 404; not changed as of 12:01:00 UTC."
    ] * 2


def test_after_a_signal_nothing_is_looked_at() -> None:
    world = World()

    def status(_asked: Operation) -> OperationStatus:
        world.stop.set(2)
        return EXECUTING

    world.api.status = status
    outcome = batch.reset(order(wait=True), world.tools())
    assert outcome.ending is Ending.INTERRUPTED
    assert world.api.looks == []


def test_where_looking_itself_fails_there_is_a_note_and_the_outcome_stands() -> None:
    world = World()
    tools = world.tools()
    world.api.reset = lambda servers: ResetAnswer.maybe_sent(servers, "no answer")

    world.api.hear_offset = fail
    outcome = batch.reset(order(wait=True), tools)
    assert outcome.verdict is Verdict.UNKNOWN
    assert len(world.notes) == 2
    assert world.notes[1] == "The servers can't be looked at: ZeroDivisionError: x."


def test_where_no_watch_can_be_kept_there_is_a_note_and_the_wait_goes_on() -> None:
    world = World()

    world.api.hear_offset = fail
    world.api.reset = lambda servers: world.api.sent(*map(queued, servers))._replace(sent_at=None)
    outcome = batch.reset(order(wait=True), world.tools())
    assert outcome.verdict is Verdict.DONE
    assert world.notes[1:] == ["The servers can't be looked at: ZeroDivisionError: x."]


# the words


def observed(
    seconds: float | None, by: str | None = USER, seen: datetime | None = NOON
) -> Observation:
    at = None if seconds is None else NOON + timedelta(seconds=seconds)
    return Observation(A, seen, at, by)


AFTER = "changed 12:01:17 UTC by nightly, 77 s after it was sent"
NEAR = "within 2 s of the sending: before or after it"
WORDS = [
    (observed(77), SENT, True, AFTER),
    (observed(77, "NIGHTLY"), SENT, True, AFTER.replace("nightly", "NIGHTLY")),
    (observed(77, "else"), SENT, False, AFTER.replace("nightly", "else") + ", not by nightly"),
    (observed(77, None), SENT, False, AFTER.replace("nightly", "nobody named")),
    (observed(77, "else"), SENT._replace(user=None), True, AFTER.replace("nightly", "else")),
    (observed(3), SENT, True, "changed 12:00:03 UTC by nightly, 3 s after it was sent"),
    (observed(2), SENT, False, f"changed 12:00:02 UTC by nightly, {NEAR}"),
    (observed(-2), SENT, False, f"changed 11:59:58 UTC by nightly, {NEAR}"),
    (observed(-3), SENT, False, "not changed as of 12:00:00 UTC"),
    (observed(-3, seen=None), SENT, False, "not changed"),
    (
        observed(77),
        SENT._replace(at=None),
        False,
        "last changed 12:01:17 UTC by nightly; when the reset was sent isn't known by that clock",
    ),
    (observed(None), SENT, False, "it shows no date of change"),
    (Observation(A, problem="no answer"), SENT, False, "couldn't be looked at: no answer"),
    (
        observed(86400, seen=NOON + timedelta(days=2)),
        SENT,
        True,
        "changed 2026-01-16 12:00:00 UTC by nightly, 86400 s after it was sent",
    ),
]


@pytest.mark.parametrize(("shown", "sent", "changed", "expected"), WORDS)
def test_what_is_shown_is_said_as_what_it_is(
    shown: Observation, sent: Sent, changed: bool, expected: str
) -> None:
    assert words(shown, sent) == expected
    assert has_changed(shown, sent) is changed


@pytest.mark.parametrize("by", [USER, "somebody"])
@every_clock
def test_without_any_date_header_no_time_is_claimed(by: str, skew: timedelta) -> None:
    world = World(skew=skew, knows_offset=False)
    world.api.reset = lambda servers: ResetAnswer.maybe_sent(servers, "no answer")
    world.api.show = lambda server: Observation(server, None, NOON + HOUR, by)
    outcome = batch.reset(order(A, wait=True), world.tools())
    assert re.fullmatch(
        rf"Sent; outcome unknown: no answer; last changed 13:00:00 UTC by {by}; "
        "when the reset was sent isn't known by that clock.",
        outcome.results[0].message or "",
    )


def test_an_answer_that_names_its_time_needs_no_other_clock() -> None:
    world = World(skew=HOUR, knows_offset=False)
    world.api.show = world.api.changing({A: 30.0})
    world.api.status = lambda _asked: FAILED if world.seconds > 40 else NoNews("x")
    outcome = batch.reset(order(A, B, wait=True), world.tools())
    assert [(each.message or "").partition("; changed")[2] for each in outcome.results] == [
        " 12:00:30 UTC by nightly, 30 s after it was sent.",
        "",
    ]
