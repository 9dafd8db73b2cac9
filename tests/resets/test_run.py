"""One reset, of one wave or of several."""

import sqlite3
from typing import Any
from unittest.mock import Mock

import pytest

from clc_reset.errors import AuthenticationError, Interrupted, UnreachableError
from clc_reset.journal.record import Record
from clc_reset.models import ResetAnswer
from clc_reset.resets import events, polling
from clc_reset.resets.outcome import Ending
from tests.builders import ONE, TWO, A, B, C, D, many, queued, refused
from tests.machine import ROLLING, Caplog, Patch, fail_with
from tests.resets.world import World, fail, message, states, warnings


def test_a_reset_that_does_not_wait_ends_with_its_answer(world: World) -> None:
    outcome = world.reset(A, B)
    assert (outcome.exit_code, states(outcome)) == (0, {A: "queued", B: "queued"})
    assert (world.posts, world.inbox.calls) == ([(A, B)], [])
    assert world.events == [events.Sending((A, B), 1.0), events.Answered(outcome.results)]
    assert outcome.run == world.run_of().id
    assert outcome.has_record


def test_a_reset_that_waits_follows_its_operations(world: World) -> None:
    world.answer = world.queue_each
    world.lasting(o1=7, o2=12)
    world.clocks.seconds = 1
    outcome = world.reset(A, B, waits=True)
    assert states(outcome) == {A: "succeeded", B: "succeeded"}
    assert [event.servers for event in world.of(events.Following)] == [{ONE: [A], TWO: [B]}]
    assert [e.operation for e in world.of(events.StatusChanged)] == [ONE, TWO, ONE, TWO]
    assert outcome.seconds == world.seconds - 1
    assert all(row.over for row in world.run_of().rows)


@pytest.mark.parametrize(("raised", "code"), [(Interrupted(15), 143), (ZeroDivisionError("x"), 6)])
def test_an_api_that_raises_may_have_sent(world: World, raised: BaseException, code: int) -> None:
    world.answer = Mock(side_effect=raised)
    outcome = world.reset(A, B, waits=True)
    assert (outcome.exit_code, states(outcome)) == (code, {A: "unknown", B: "unknown"})
    assert world.rows() == ["intended", "intended"]


@pytest.mark.parametrize(
    ("error", "signum", "code"), [(UnreachableError("Down."), None, 5), (None, 2, 130)]
)
def test_what_was_not_sent_can_be_sent(world: World, error: Any, signum: Any, code: int) -> None:
    world.answer = lambda servers: ResetAnswer.not_sent(servers, error, signum)
    outcome = world.reset(A, B, waits=True)
    assert (outcome.exit_code, states(outcome)) == (code, {A: "not sent", B: "not sent"})
    assert world.rows() == ["planned", "planned"]
    assert world.inbox.calls == []
    world.answer = world.queue
    assert world.reset(A, B).exit_code == 0


def test_the_answer_to_a_request_that_a_signal_met_is_kept(world: World) -> None:
    world.answer = lambda servers: world.queue(servers)._replace(signum=2)
    outcome = world.reset(A, waits=True)
    assert (outcome.exit_code, states(outcome)) == (130, {A: "queued"})
    assert (world.inbox.calls, outcome.pending) == ([], (ONE,))


@pytest.mark.parametrize(("end", "code"), [(1, 129), ("denied", 4), ("time limit", 7)])
def test_a_wait_cut_short_records_what_is_known(world: World, end: Any, code: int) -> None:
    world.answer = world.queue_each
    world.lasting(o1=1, o2=1000)
    if isinstance(end, int):
        world.inbox.signal(20, end)
    elif end == "denied":
        world.inbox.at(20, lambda: world.script(AuthenticationError("401")))
    outcome = world.reset(A, B, waits=True, limit=30.0)
    assert states(outcome) == {A: "succeeded", B: "running"}
    assert (outcome.exit_code, outcome.limit) == (code, 30)
    assert [row.over for row in world.run_of().rows] == [True, False]


def test_half_an_hour_or_a_minute_for_each_server_of_a_data_centre_is_usual(world: World) -> None:
    world.script("executing")
    world.inbox.latency = lambda _key: 20.0
    assert world.reset(A, waits=True).limit == 1800
    assert world.reset(*many(40), *many(9, "VA1"), waits=True).limit == 2400


def test_a_display_that_raises_is_one_warning(world: World, caplog: Caplog) -> None:
    assert world.reset(A, B, waits=True, emit=fail).exit_code == 0
    assert warnings(caplog) == ["The progress display failed (ZeroDivisionError: x)."]


@pytest.mark.parametrize("method", ["answered", "end", "checks_failed", "admit", "check"])
def test_a_bug_elsewhere_loses_no_result(world: World, monkeypatch: Patch, method: str) -> None:
    monkeypatch.setattr(World if method == "check" else Record, method, fail)
    outcome = world.reset(A, B, at_a_time=1, checks=True)
    assert outcome.exit_code == 1
    assert states(outcome) == {
        A: "queued" if method == "answered" else "succeeded",
        B: "succeeded" if method == "end" else "not sent",
    }
    assert (outcome.crash or "").startswith("ZeroDivisionError: x")
    assert outcome.has_record == (method != "end")


@pytest.mark.parametrize(("limit", "code", "seconds"), [(3.0, 7, 8), (60.0, 143, 5)])
def test_a_busy_journal_delays_the_end_by_few_seconds(
    world: World, caplog: Caplog, limit: float, code: int, seconds: float
) -> None:
    world.inbox.at(2, lambda: setattr(world, "on_open", fail_with(sqlite3.SQLITE_BUSY)))
    world.script("executing")
    if code == 143:
        world.inbox.signal(3)
    assert world.reset(A, waits=True, limit=limit, looks=False).exit_code == code
    assert world.seconds <= seconds
    assert len(warnings(caplog)) == 1


def test_a_bug_while_waiting_loses_no_status(world: World, monkeypatch: Patch) -> None:
    wait = polling.Polling.run
    monkeypatch.setattr(polling.Polling, "run", lambda self: (wait(self), fail()))
    world.answer = world.queue_each
    world.lasting(o1=1, o2=100)
    outcome = world.reset(A, B, waits=True, limit=10.0)
    assert states(outcome) == {A: "succeeded", B: "running"}
    assert (outcome.ending, outcome.exit_code) == (Ending.CRASHED, 1)


def test_each_wave_is_over_before_the_next_is_sent(world: World) -> None:
    world.statuses = lambda _op: (
        "succeeded" if world.seconds >= 20 * len(world.posts) else "executing"
    )
    options: dict[str, Any] = {"at_a_time": 2, "pause": 3.0, "limit": 30.0}
    outcome = world.reset(A, B, C, checks=True, check_seconds=0.0, **options)
    assert (outcome.exit_code, outcome.wave, outcome.waves) == (0, 2, 2)
    assert (world.posts, world.checked) == ([(A, B), (C,)], [A, B, C])
    assert world.of(events.WaveStarted) == [
        events.WaveStarted(1, 2, (A, B), 0, 3),
        events.WaveStarted(2, 2, (C,), 2, 3),
    ]
    assert [event.seconds_left for event in world.of(events.Pausing)] == [3, 2, 1]
    assert world.of(events.Checking)[0] == events.Checking(A, 1)
    assert len({row.wave.number for row in world.run_of().rows if row.wave}) == 2


@pytest.mark.parametrize(("allowed", "posts"), [(0, 1), (1, 3), (2, 4)])
def test_more_failures_than_allowed_end_the_run(world: World, allowed: int, posts: int) -> None:
    world.answer = world.queue_each
    world.statuses = lambda asked: "succeeded" if asked == TWO else "failed"
    outcome = world.reset(A, B, C, D, at_a_time=1, max_failures=allowed)
    assert (outcome.exit_code, len(world.posts)) == (1, posts)
    assert (outcome.ending is Ending.STOPPED) == (states(outcome)[D] == "not sent") == (posts < 4)


@pytest.mark.parametrize("is_rest", [False, True])
def test_a_server_that_another_run_plans_stops_a_later_wave(world: World, is_rest: bool) -> None:
    run = world.stop(C, A, B) if is_rest else None
    world.inbox.at(world.seconds + 6, lambda: world.another().begin(D, B, options=ROLLING))
    outcome = world.rest_of(run, again=True) if run else world.reset(A, B, at_a_time=1, pause=10.0)
    assert (outcome.exit_code, states(outcome)) == (1, {A: "succeeded", B: "not sent"})
    assert f"{B}: planned by run" in message(outcome)
    assert f"clc reset {B} --again" in message(outcome)  # not the whole command with --again


def test_a_wave_that_is_refused_names_what_it_left_out(world: World) -> None:
    others: list[str | None] = []
    world.inbox.at(6, lambda: others.append(world.another().begin(C, D, options=ROLLING).run))
    outcome = world.reset(A, B, C, D, at_a_time=2, pause=10.0)
    assert f"{D}: planned by run" in message(outcome)
    assert [result.run for result in outcome.results] == [None, None, *others, None]


def test_a_later_wave_leaves_out_what_another_run_has_reset_and_asks_nobody(world: World) -> None:
    taken: list[str | None] = []
    world.inbox.at(5, lambda: taken.append(world.another().reset(B, C, waits=True, again=True).run))
    outcome = world.reset(A, B, C, D, at_a_time=1, pause=10.0, confirm=True)
    assert (world.posts, world.questions) == ([(A,), (D,)], [])
    assert states(outcome) == {A: "succeeded", B: "not sent", C: "not sent", D: "succeeded"}
    assert [result.run for result in outcome.results[1:3]] == taken * 2
    assert (outcome.exit_code, outcome.ending) == (1, Ending.STOPPED)


def test_a_first_record_in_doubt_stops_a_rolling_run(world: World) -> None:
    broken = fail_with(sqlite3.SQLITE_IOERR)
    world.at_commit = lambda _execute: None
    world.on_open = lambda number: number % 2 == 0 and broken(number)  # to read it back
    outcome = world.reset(A, B, at_a_time=1)
    assert (outcome.exit_code, world.posts) == (3, [])
    assert message(outcome).startswith("It can't be told whether this run is recorded. The journal")
    assert world.reset(A, B).exit_code == 0  # one wave goes out with a warning,
    assert world.recorded == world.clocks.now()  # but not long after a record that may be there


@pytest.mark.parametrize(
    ("at_a_time", "allowed", "last"),
    [(1, 0, "not sent"), (1, 1, "succeeded"), (None, 0, "succeeded")],
)
def test_a_server_whose_check_fails_has_failed_and_is_not_looked_at(
    world: World, at_a_time: int | None, allowed: int, last: str
) -> None:
    world.bad = {A: "exit code 7: no route"}
    outcome = world.reset(A, B, at_a_time=at_a_time, checks=True, max_failures=allowed)
    assert (outcome.exit_code, states(outcome)) == (1, {A: "failed", B: last})
    expected = "The operation succeeded; the check failed: exit code 7: no route."
    assert outcome.results[0].message == world.run_of().rows[0].failed_check == expected
    assert states(world.status()[0]) == states(outcome)
    assert world.looks() == []


def test_only_servers_whose_operation_succeeded_are_checked(world: World) -> None:
    answers = {A: queued(A), B: refused(B), C: queued(C, TWO)}
    world.answer = lambda servers: world.sent(*map(answers.__getitem__, servers))
    world.reset(B, checks=True)
    world.reset(A, B, checks=True)
    world.lasting(o2=20)
    world.reset(C, checks=True, limit=10.0)
    assert world.checked == [A]


@pytest.mark.parametrize("others", [(), (C,)])
def test_checks_that_a_signal_cut_short_have_not_failed(world: World, others: Any) -> None:
    world.bad = {B: "interrupted before it passed: " + "x" * 999}
    world.on_check = lambda: world.inbox.interrupt(15)
    outcome = world.reset(A, B, *others, at_a_time=2, checks=True)
    assert (outcome.exit_code, world.posts) == (143, [(A, B)])
    assert states(outcome) == {A: "succeeded", B: "succeeded"} | dict.fromkeys(others, "not sent")
    assert outcome.results[0].message is None
    assert "cut short: interrupted" in (outcome.results[1].message or "")
    assert len(outcome.results[1].message or "") == 500
    assert world.run_of().rows[1].failed_check is None
