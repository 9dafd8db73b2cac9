"""One reset, of one wave or of several."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    Interrupted,
    RefusedError,
    UnreachableError,
)
from clc_reset.exit_codes import ExitCode
from clc_reset.journal.record import Record
from clc_reset.journal.runs import NewRun
from clc_reset.models import Operation, OperationStatus, ResetAnswer, RollingOptions
from clc_reset.resets import events, polling
from clc_reset.resets.outcome import Ending, Outcome
from tests.resets.world import (
    BUSY,
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    ONE,
    SUCCEEDED,
    TWO,
    USER,
    WHERE,
    A,
    B,
    C,
    D,
    World,
    fail,
    ids,
    lost,
    message,
    operation,
    other,
    queued,
    refused,
    states,
    warnings,
)


def one_each(world: World) -> None:
    """Give each server an operation of its own, with its number."""
    world.answer = lambda servers: world.sent(*(queued(s, operation(int(s[-2:]))) for s in servers))


# --- one wave ---


def test_a_reset_that_does_not_wait_ends_with_its_answer(world: World) -> None:
    outcome = world.reset(A, B)
    assert states(outcome) == {A: "queued", B: "queued"}
    assert outcome.exit_code == ExitCode.OK
    assert world.posts == [(A, B)]
    assert world.calls == []
    assert world.events == [events.Sending((A, B), 1.0), events.Answered(outcome.results)]
    assert outcome.run == world.latest().id
    assert outcome.has_record


def test_a_reset_that_waits_follows_its_operations(world: World) -> None:
    one_each(world)
    world.lasting(o1=7, o2=12)
    outcome = world.reset(A, B, waits=True)
    assert set(states(outcome).values()) == {"succeeded"}
    (following,) = world.of(events.Following)
    assert following.servers == {ONE: [A], TWO: [B]}
    assert [e.operation for e in world.of(events.StatusChanged)] == [ONE, TWO, ONE, TWO]
    assert outcome.seconds == world.seconds
    assert all(row.over for row in world.latest().rows)


def test_what_cannot_be_followed_is_unknown_and_looked_at(world: World) -> None:
    away = Operation("wa1-9", None)
    world.answer = lambda _servers: world.sent(queued(A, None), queued(B, away), refused(C))
    outcome = world.reset(A, B, C, waits=True)
    assert states(outcome) == {A: "unknown", B: "unknown", C: "failed"}
    assert outcome.exit_code == ExitCode.UNKNOWN
    assert [server for _, server in world.looks()] == [A, B]


def test_servers_that_nobody_asked_for_are_kept(world: World) -> None:
    world.answer = lambda servers: world.sent(*map(queued, servers))._replace(
        unasked=tuple(servers)
    )
    assert world.reset(A, B, at_a_time=1).unasked == (A, B)


@pytest.mark.parametrize("raised", [Interrupted(15), ZeroDivisionError("x"), MemoryError()])
def test_an_api_that_raises_may_have_sent_it(world: World, raised: BaseException) -> None:
    def answer(_servers: Sequence[str]) -> ResetAnswer:
        raise raised

    world.answer = answer
    outcome = world.reset(A, B, waits=True)
    assert states(outcome) == {A: "unknown", B: "unknown"}
    assert outcome.exit_code == (143 if isinstance(raised, Interrupted) else 6)
    assert [row.state for row in world.latest().rows] == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("error", "signum", "code"),
    [
        (UnreachableError("Down."), None, 5),
        (RefusedError("No."), None, 5),
        (AuthenticationError("401."), None, 4),
        (None, 2, 130),
    ],
)
def test_a_request_that_was_not_sent_can_be_sent_again(
    world: World, error: ClcError | None, signum: int | None, code: int
) -> None:
    world.answer = lambda servers: ResetAnswer.not_sent(servers, error, signum)
    outcome = world.reset(A, B, waits=True)
    assert outcome.exit_code == code
    assert set(states(outcome).values()) == {"not sent"}
    assert [row.state for row in world.latest().rows] == ["planned", "planned"]
    assert world.calls == []
    one_each(world)
    assert world.reset(A, B).exit_code == ExitCode.OK


def test_a_signal_before_the_request_keeps_it_from_leaving(world: World) -> None:
    world.inbox.interrupt(15)
    outcome = world.reset(A)
    assert outcome.exit_code == 143
    assert world.posts == []


def test_the_answer_to_a_request_that_a_signal_met_is_kept(world: World) -> None:
    def answer(servers: Sequence[str]) -> ResetAnswer:
        world.inbox.interrupt(2)
        return world.sent(*map(queued, servers))._replace(signum=2)

    world.answer = answer
    outcome = world.reset(A, waits=True)
    assert states(outcome) == {A: "queued"}
    assert outcome.exit_code == 130
    assert world.calls == []
    assert outcome.pending == (ONE,)


def test_an_interrupted_wait_keeps_what_is_known(world: World) -> None:
    one_each(world)
    world.lasting(o1=1, o2=100)
    world.inbox.signal(20, 1)
    outcome = world.reset(A, B, waits=True)
    assert states(outcome) == {A: "succeeded", B: "running"}
    assert (outcome.exit_code, outcome.ending) == (129, Ending.INTERRUPTED)
    assert world.latest().rows[0].over


def test_a_refused_token_ends_the_wait_and_not_the_result(world: World) -> None:
    world.script(EXECUTING, AuthenticationError("401"))
    outcome = world.reset(A, waits=True)
    assert states(outcome) == {A: "running"}
    assert (outcome.exit_code, outcome.ending) == (ExitCode.AUTHENTICATION, Ending.ERROR)


def test_an_operation_done_at_the_limit_has_succeeded(world: World) -> None:
    """Point 10: done after 29.7 s, and the last poll was seconds before."""
    world.lasting(o1=29.7)
    outcome = world.reset(A, waits=True, limit=30.0)
    assert outcome.exit_code == ExitCode.OK
    assert world.looks() == []


def test_an_operation_done_while_suspended_past_the_limit_has_succeeded(world: World) -> None:
    """Point 10: stopped before the limit, continued an hour after it."""
    world.lasting(o1=100)
    world.inbox.suspend(10, until=3600)
    assert world.reset(A, waits=True, limit=30.0).exit_code == ExitCode.OK


def test_the_time_limit_is_part_of_the_outcome(world: World) -> None:
    world.script(EXECUTING)
    outcome = world.reset(A, waits=True, limit=30.0)
    assert (outcome.exit_code, outcome.ending) == (ExitCode.RUNNING, Ending.TIME_LIMIT)
    assert outcome.limit == 30


def test_half_an_hour_or_a_minute_a_server_of_the_largest_data_centre_is_usual(
    world: World,
) -> None:
    world.script(EXECUTING)
    world.latency = lambda _key: 20.0
    assert world.reset(A, waits=True).limit == 1800
    assert world.reset(*ids(40), *ids(9, "VA1"), waits=True).limit == 2400


def test_an_operation_that_nobody_knows_is_given_up_after_thirty_seconds(world: World) -> None:
    world.script(GONE)
    outcome = world.reset(A, waits=True)
    assert states(outcome) == {A: "unknown"}
    assert outcome.exit_code == ExitCode.UNKNOWN
    assert 30 <= world.seconds <= 36


# --- what only shows or records ---


def test_a_display_that_raises_is_one_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = world.reset(A, B, waits=True, emit=fail)
    assert outcome.exit_code == ExitCode.OK
    assert warnings(caplog) == ["The progress display failed (ZeroDivisionError: x)."]


@pytest.mark.parametrize("method", ["answered", "end", "checks_failed", "admit"])
def test_a_record_that_raises_loses_no_result(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(Record, method, fail)
    outcome = world.reset(A, B, at_a_time=1, checks=True)
    assert world.posts[0] == (A,)
    assert states(outcome)[A] in {"queued", "succeeded"}
    assert states(outcome)[B] == ("succeeded" if method == "end" else "not sent")
    assert (outcome.crash or "").startswith("ZeroDivisionError: x")
    assert outcome.exit_code == ExitCode.FAILED


def test_a_journal_that_fails_after_the_request_is_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(servers: Sequence[str]) -> ResetAnswer:
        world.broken = True
        return world.sent(*map(queued, servers))

    world.answer = answer
    outcome = world.reset(A, waits=True)
    assert outcome.exit_code == ExitCode.OK
    assert not outcome.has_record
    (warning,) = warnings(caplog)
    assert "What came of this reset isn't recorded." in warning


@pytest.mark.parametrize(("signalled", "seconds"), [(False, 8), (True, 5)])
def test_a_busy_journal_delays_the_end_by_few_seconds(
    world: World, caplog: pytest.LogCaptureFixture, signalled: bool, seconds: float
) -> None:
    """Point 12: neither the time limit nor a signal waits for it."""

    def answer(servers: Sequence[str]) -> ResetAnswer:
        world.busy = True
        return world.sent(*map(queued, servers))

    world.answer = answer
    world.script(EXECUTING)
    if signalled:
        world.inbox.signal(3)
    outcome = world.reset(A, waits=True, limit=60.0 if signalled else 3.0, looks=False)
    assert outcome.exit_code == (143 if signalled else ExitCode.RUNNING)
    assert world.seconds <= seconds
    assert len(warnings(caplog)) == 1


def test_an_interrupted_wait_names_its_own_run(world: World) -> None:
    """Point 6: another run may have begun since."""
    world.script(EXECUTING)
    world.inbox.at(5, lambda: other(world).reset(B))
    world.inbox.signal(10)
    outcome = world.reset(A, waits=True)
    assert outcome.run
    assert outcome.run != world.latest().id
    assert states(world.status(outcome.run)[0]) == {A: "running"}


def test_a_bug_while_waiting_loses_no_status(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one_each(world)
    world.lasting(o1=1, o2=100)
    pause = polling.Polling.run

    def run(self: polling.Polling) -> None:
        pause(self)
        raise ZeroDivisionError("x")

    monkeypatch.setattr(polling.Polling, "run", run)
    outcome = world.reset(A, B, waits=True, limit=10.0)
    assert states(outcome) == {A: "succeeded", B: "running"}
    assert (outcome.ending, outcome.exit_code) == (Ending.CRASHED, ExitCode.FAILED)


# --- waves ---


def test_each_wave_is_over_before_the_next_is_sent(world: World) -> None:
    world.statuses = lambda _op: SUCCEEDED if world.seconds >= 10 * len(world.posts) else EXECUTING
    outcome = world.reset(A, B, C, at_a_time=2, pause=3.0)
    assert world.posts == [(A, B), (C,)]
    assert outcome.exit_code == ExitCode.OK
    assert world.of(events.WaveStarted) == [
        events.WaveStarted(1, 2, (A, B), 0, 3),
        events.WaveStarted(2, 2, (C,), 2, 3),
    ]
    assert [event.seconds_left for event in world.of(events.Pausing)] == [3, 2, 1]
    assert (outcome.wave, outcome.waves) == (2, 2)
    assert len({row.wave.number for row in world.latest().rows if row.wave}) == 2


def test_the_time_limit_is_each_waves_own(world: World) -> None:
    world.statuses = lambda _op: SUCCEEDED if world.seconds >= 20 * len(world.posts) else EXECUTING
    assert world.reset(A, B, C, at_a_time=1, limit=30.0).exit_code == ExitCode.OK
    assert world.seconds > 60


@pytest.mark.parametrize(("allowed", "posts"), [(0, 1), (1, 3), (2, 4)])
def test_more_failures_than_allowed_end_the_run(world: World, allowed: int, posts: int) -> None:
    one_each(world)
    world.statuses = lambda asked: SUCCEEDED if asked == TWO else FAILED
    outcome = world.reset(A, B, C, D, at_a_time=1, max_failures=allowed)
    assert len(world.posts) == posts
    assert outcome.exit_code == ExitCode.FAILED
    if posts < 4:
        assert outcome.ending is Ending.STOPPED
        assert states(outcome)[D] == "not sent"


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (lost, SUCCEEDED, 6),
        (None, GONE, 6),
        (None, EXECUTING, 7),
        (None, MISS, 7),
        (None, BUSY, 7),
    ],
)
def test_an_unknown_outcome_or_the_limit_ends_the_run(
    world: World, answer: Any, status: Any, code: int
) -> None:
    if answer is lost:
        world.answer = lost
    world.script(status)
    outcome = world.reset(A, B, at_a_time=1, max_failures=9, limit=60.0)
    assert world.posts == [(A,)]
    assert states(outcome)[B] == "not sent"
    assert outcome.exit_code == (code if code == 6 else 1)


@pytest.mark.parametrize(
    "error", [UnreachableError("Down."), RefusedError("403"), AuthenticationError("401")]
)
def test_a_later_wave_that_is_refused_is_exit_1(world: World, error: Any) -> None:
    """Point 13: never 2 to 5, which say that nothing was reset."""
    world.answer = lambda servers: (
        world.sent(*map(queued, servers))
        if len(world.posts) == 1
        else ResetAnswer.not_sent(servers, error)
    )
    outcome = world.reset(A, B, C, at_a_time=1)
    assert states(outcome) == {A: "succeeded", B: "not sent", C: "not sent"}
    assert (outcome.exit_code, outcome.ending) == (ExitCode.FAILED, Ending.STOPPED)
    assert [row.state for row in world.latest().rows] == ["queued", "planned", "planned"]


def test_a_server_that_another_live_run_plans_stops_a_later_wave(world: World) -> None:
    def plan() -> None:
        new = NewRun(WHERE, USER, (D, B), RollingOptions(1))
        other(world).journal.begin(new, (D,), check=False)

    world.inbox.at(6, plan)
    outcome = world.reset(A, B, at_a_time=1, pause=10.0)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert outcome.exit_code == ExitCode.FAILED
    assert f"{B}: planned by run" in message(outcome)
    assert outcome.error is not None
    assert f"clc reset {B} --again" in outcome.error.hint  # not the whole command with --again


def test_a_later_wave_leaves_out_what_another_run_has_reset(world: World) -> None:
    """And nobody is asked any more; the run goes on with the others."""
    taken: list[Outcome] = []
    world.inbox.at(5, lambda: taken.append(other(world).reset(B, C, again=True, waits=True)))
    outcome = world.reset(A, B, C, D, at_a_time=1, pause=10.0, confirm=True)
    assert world.posts == [(A,), (D,)]
    assert states(outcome) == {A: "succeeded", B: "not sent", C: "not sent", D: "succeeded"}
    assert outcome.results[1].run == taken[0].run
    assert (outcome.exit_code, outcome.ending) == (ExitCode.FAILED, Ending.STOPPED)
    assert world.questions == []


def test_a_later_wave_that_cannot_be_recorded_is_not_sent(world: World) -> None:
    """Point 1: else its servers would be "not sent" for `--rest-of`."""
    world.inbox.at(5, lambda: setattr(world, "broken", True))
    outcome = world.reset(A, B, at_a_time=1, pause=10.0)
    assert world.posts == [(A,)]
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert outcome.exit_code == ExitCode.FAILED
    assert not outcome.has_record
    world.broken = False
    assert outcome.run
    assert world.rest_of(outcome.run, again=True).exit_code == ExitCode.OK
    assert world.posts == [(A,), (B,)]


def test_a_first_record_in_doubt_stops_a_rolling_run(world: World) -> None:
    opened: list[int] = []

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        opened.append(1)
        if len(opened) % 2 == 0:  # to read it back
            raise sqlite3.OperationalError("disk I/O error")
        return sqlite3.connect(*args, factory=FailingCommits, **options)

    world.connect = connect
    outcome = world.reset(A, B, at_a_time=1)
    assert outcome.exit_code == ExitCode.UNSETTLED
    assert world.posts == []
    assert world.reset(A, B).exit_code == ExitCode.OK  # one wave goes out with a warning


class FailingCommits(sqlite3.Connection):
    """A database whose commits fail."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


def test_a_signal_at_any_event_loses_no_result(tmp_path: Path) -> None:
    codes = set()
    for number in range(30):
        world = World(tmp_path / str(number))
        world.folder.parent.mkdir()
        world.latency = lambda _key: 0.3

        def emit(event: events.Event, world: World = world, number: int = number) -> None:
            world.events.append(event)
            if len(world.events) == number:
                world.inbox.interrupt(15)

        outcome = world.reset(A, B, C, at_a_time=1, pause=2.0, emit=emit, checks=True)
        posted = {server for wave in world.posts for server in wave}
        known = states(outcome)
        assert {server for server, state in known.items() if state != "not sent"} == posted
        assert [row.server for row in world.latest().rows if row.state == "planned"] == [
            server for server in (A, B, C) if server not in posted
        ]
        codes.add(outcome.exit_code)
    assert codes == {0, 143}


@pytest.mark.parametrize("pause", [0.0, 10.0])
def test_a_signal_between_waves_ends_the_run(world: World, pause: float) -> None:
    def status(_operation: Operation) -> OperationStatus:
        if not pause:
            world.inbox.interrupt(15)
        return SUCCEEDED

    world.statuses = status
    world.inbox.signal(5)
    outcome = world.reset(A, B, at_a_time=1, pause=pause)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert outcome.exit_code == 143
    assert world.posts == [(A,)]


def test_the_rest_of_a_run_goes_on_as_the_run_did(world: World) -> None:
    world.inbox.signal(5)
    run = world.reset(A, B, C, at_a_time=1, pause=10.0).run
    world.inbox.signum = None
    assert run
    outcome = world.rest_of(run)
    assert world.posts == [(A,), (B,), (C,)]
    assert world.seconds >= 15
    assert states(outcome) == {B: "succeeded", C: "succeeded"}
    again = world.rest_of(run)
    assert (again.results, again.exit_code) == ((), ExitCode.OK)


# --- checks ---


def test_a_check_has_to_pass_before_the_next_wave(world: World) -> None:
    outcome = world.reset(A, B, C, at_a_time=2, checks=True, check_seconds=0.0)
    assert world.checked == [A, B, C]
    assert world.of(events.Checking)[0] == events.Checking(A, 1)
    assert outcome.exit_code == ExitCode.OK


@pytest.mark.parametrize(("allowed", "posts"), [(0, 1), (1, 2)])
def test_a_server_whose_check_fails_has_failed(world: World, allowed: int, posts: int) -> None:
    world.bad = {A: "exit code 7: no route"}
    outcome = world.reset(A, B, at_a_time=1, checks=True, max_failures=allowed)
    assert len(world.posts) == posts
    assert states(outcome)[A] == "failed"
    message = "The operation succeeded; the check failed: exit code 7: no route."
    assert outcome.results[0].message == message
    assert world.latest().rows[0].failed_check == message
    assert outcome.exit_code == ExitCode.FAILED


def test_a_failed_check_is_no_failed_operation(world: World) -> None:
    """Its servers aren't looked at in later waves, as those of a shared operation are."""
    world.bad = {A: "exit code 1"}
    outcome = world.reset(A, B, C, D, at_a_time=2, checks=True, max_failures=2)
    assert states(outcome) == {A: "failed", B: "succeeded", C: "succeeded", D: "succeeded"}
    assert world.looks() == []


def test_a_check_works_on_one_wave_of_all(world: World) -> None:
    world.bad = {B: "exit code 1"}
    outcome = world.reset(A, B, checks=True)
    assert states(outcome) == {A: "succeeded", B: "failed"}


def test_only_servers_whose_operation_succeeded_are_checked(world: World) -> None:
    world.answer = lambda servers: world.sent(queued(A), refused(B))
    world.reset(A, B, checks=True)
    assert world.checked == [A]
    world.script(EXECUTING)
    world.reset(C, checks=True, limit=10.0)
    assert world.checked == [A]


def test_checks_that_a_signal_cut_short_have_not_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Point 11: nor have those that passed before it been cut short."""
    world.bad = {B: "interrupted before it passed"}
    run = world.run

    def interrupted(*arguments: Any) -> Any:
        world.inbox.interrupt(15)
        return run(*arguments)

    monkeypatch.setattr(world, "run", interrupted)
    outcome = world.reset(A, B, C, at_a_time=2, checks=True)
    assert states(outcome) == {A: "succeeded", B: "succeeded", C: "not sent"}
    assert outcome.results[0].message is None
    assert "cut short: interrupted" in (outcome.results[1].message or "")
    assert outcome.exit_code == 143
    assert world.latest().rows[1].failed_check is None


def test_a_check_that_raises_stops_the_run_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "run", fail)
    outcome = world.reset(A, B, at_a_time=1, checks=True)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert outcome.exit_code == ExitCode.FAILED
