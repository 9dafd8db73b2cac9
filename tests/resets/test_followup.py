"""What `clc status` finds of earlier resets, now or once they are over."""

import sqlite3
from math import inf
from typing import Any

import pytest

from clc_reset.errors import AuthenticationError
from clc_reset.journal.record import Record
from clc_reset.journal.rows import Run
from clc_reset.models import ServerState
from clc_reset.resets import events, followup
from clc_reset.resets.followup import Selection
from clc_reset.resets.outcome import Ending
from tests.builders import ACCOUNT, ONE, ORIGIN, TWO, A, B, C, D, many, queued, refused
from tests.machine import ROLLING, Patch, fail_with
from tests.resets.world import World, changed, fail, states

BROKEN = fail_with(sqlite3.SQLITE_IOERR)
DENIED = AuthenticationError("expired")


def two(world: World, *servers: str) -> str:
    """Reset servers, each with an operation of its own, of the number in its name."""
    world.answer = world.queue_each
    return world.reset(*servers or (A, B)).run or ""


def select(world: World, *names: str) -> Selection:
    return followup.select(world.journal, ORIGIN, names, ACCOUNT)


def test_what_is_named_is_shown_in_that_order_each_once_else_the_latest_run(world: World) -> None:
    assert select(world) == Selection()
    first, second = two(world, A, B), two(world, C, D)
    names = [D.lower(), "WA1-2", first, second, "va1-7", "va1-7"]
    found = select(world, *names)
    assert [shown.row.server for shown in found.rows] == [D, B, A, C]
    assert found.operations == ("va1-7",)
    assert [run.id for run in found.runs] == [first, second]
    assert [shown.run.id for shown in select(world).rows] == [second, second]
    assert followup.select(world.journal, ORIGIN, (), "OTHER") == Selection()


def test_names_are_looked_up_in_the_account(world: World) -> None:
    two(world)
    anywhere = followup.select(world.journal, ORIGIN, ["NOBODY"], None)
    assert anywhere.missing[0][0] == f"The journal has no reset of 'NOBODY' at {ORIGIN}."
    apart = followup.select(world.journal, ORIGIN, [A, "wa1-1"], "SUB")
    assert (apart.rows, apart.operations) == ((), ("wa1-1",))


def test_each_operation_is_asked_once_and_an_end_never_again(world: World) -> None:
    two(world)
    world.statuses = {ONE: "succeeded", TWO: "executing"}.__getitem__
    outcome, _ = world.status()
    assert (outcome.exit_code, states(outcome)) == (7, {A: "succeeded", B: "running"})
    assert (len(world.polls()), world.looks()) == (2, [])
    world.script("failed")
    assert states(world.status()[0]) == {A: "succeeded", B: "failed"}
    assert len(world.polls()) == 3
    world.inbox.latency = lambda _key: 1e9
    world.status(*(f"wa1-{n}" for n in range(9, 49)))
    assert world.seconds == 100


def test_a_failed_shared_operation_is_looked_at_for_one_named_server(world: World) -> None:
    world.reset(A, B)
    world.script("failed")
    world.clocks.seconds = 60
    world.show = world.changing({B: 30}, "somebody")
    outcome, _ = world.status(B)
    assert changed(outcome) == {B: None}
    assert (outcome.results[0].message or "").startswith("The operation failed. 2 servers share it")
    assert world.status(B)[0].results == outcome.results  # as it was recorded


def test_a_change_is_always_the_same_number_of_seconds_after_the_request(world: World) -> None:
    world.knows_time = False
    world.lose(A, B)
    world.knows_time = True
    world.show = world.changing({A: 20})
    for step in (420.0, -840.0):  # seven minutes ahead, and behind
        world.clocks.seconds += 300
        world.clocks.wall += step
        outcome, _ = world.status()
        assert outcome.exit_code == 6
        assert outcome.results[0].message == "Sent; outcome unknown: it timed out."
        assert [r.evidence and r.evidence.after for r in outcome.results] == [20, -3600]


def test_a_server_that_another_run_took_shows_that_run(world: World) -> None:
    run = world.stop(A, B, C)
    outcome, _ = world.status(B)
    assert (outcome.exit_code, outcome.run, states(outcome)) == (1, run, {B: "not sent"})
    world.answer = lambda _servers: world.sent(queued(B), refused(C))
    taker = world.rest_of(run, at_a_time=2).run
    outcome, _ = world.status(run)
    assert states(outcome) == {A: "succeeded", B: "succeeded", C: "failed"}
    notes = [None, f"in run {taker}", f"Not in a valid state. (in run {taker})"]
    assert ([r.message for r in outcome.results], outcome.run) == (notes, run)
    world.sql("UPDATE server SET over = 0, status = NULL")
    world.script("executing")
    assert [r.message for r in world.status(run)[0].results] == notes  # while it runs, too
    taken = world.run_of(run)  # as it is once the other run was dropped
    (result,) = followup.known_results([followup.Shown(taken, taken.rows[1], run)])
    assert result.state is ServerState.NOT_SENT
    assert result.message == "Left to another run, which the journal has no longer."


def test_an_api_that_is_up_at_times_is_no_error(world: World) -> None:
    two(world)
    world.statuses = {ONE: "succeeded", TWO: "down"}.__getitem__
    outcome, _ = world.status()
    assert (outcome.error, states(outcome)) == (None, {A: "succeeded", B: "queued"})


def test_an_operation_that_the_api_does_not_know_is_unknown_or_nobodys(world: World) -> None:
    run = world.reset(A).run
    world.script("404")
    outcome, nobody_knows = world.status("wa1-1")
    assert (states(outcome), outcome.exit_code, nobody_knows) == ({A: "unknown"}, 6, [])
    assert (outcome.run, outcome.can_change, outcome.can_be_awaited) == (run, True, False)
    answers = {"va1-1": "succeeded", "va1-2": "404", "va1-3": "500"}
    world.statuses = lambda asked: answers[asked.id]
    outcome, nobody_knows = world.status(*answers)
    assert [r.operation and r.operation.id for r in outcome.results] == ["va1-1", "va1-3"]
    assert (nobody_knows, outcome.run) == (["va1-2"], None)
    outcome, nobody_knows = world.status("va1-2", wait=True)
    assert (outcome.results, outcome.crash, nobody_knows) == ((), None, ["va1-2"])
    assert 30 <= world.seconds < 40


def test_without_a_token_what_is_known_is_shown(world: World) -> None:
    world.script("executing")
    world.reset(A, waits=True, limit=5.0)
    outcome = followup.unasked(select(world), DENIED)
    assert (states(outcome), outcome.exit_code) == ({A: "running"}, 4)
    assert outcome.results[0].message == "as last known"
    world.script("succeeded")
    world.reset(B, waits=True)
    assert followup.unasked(select(world), DENIED).exit_code == 0  # it is no error


def test_the_wait_is_taken_up_again_in_the_order_of_the_answer(world: World) -> None:
    servers = [*many(8)]
    world.answer = lambda asked: world.sent(*map(queued, asked), turns=servers[::-1])
    world.reset(*servers)
    world.lasting(o1=100)
    world.show = world.changing({s: 10.0 * n for n, s in enumerate(servers[::-1], 1)})
    outcome, _ = world.status(wait=True)
    assert outcome.exit_code == 0
    assert [event.server for event in world.of(events.ServerChanged)] == servers[::-1]
    assert all(row.over for row in world.run_of().rows)


def test_a_server_of_two_runs_is_held_against_the_request_that_is_followed(world: World) -> None:
    earlier = world.reset(A, C).run or ""
    world.clocks.seconds = 100
    world.answer = lambda servers: world.sent(*(queued(s, TWO) for s in servers))
    world.show = world.changing({A: 50, B: 50})
    latest = world.reset(A, B, again=True).run or ""
    world.lasting(o1=200, o2=120)
    outcome, _ = world.status(latest, earlier, wait=True)
    assert (outcome.run, outcome.exit_code) == (None, 0)  # there are two
    assert {server for at, server in world.looks() if at > 130} == {C}
    changes = [(event.operation, event.server) for event in world.of(events.ServerChanged)]
    assert changes == [(ONE, A)]


def test_a_wait_watches_lost_servers_until_each_has_changed(world: World) -> None:
    servers = many(40)
    world.lose(*servers)
    world.clocks.seconds = 4
    world.show = world.changing({s: 3.0 + n for n, s in enumerate(servers)})
    outcome, _ = world.status(wait=True, looks=False)  # that is for the progress only
    assert set(changed(outcome).values()) == {True}
    assert (outcome.exit_code, outcome.can_change) == (6, False)
    assert world.seconds < 80
    found = world.of(events.ServerChanged)
    assert [event.server for event in found if event.server in servers[:2]] == []  # seen before
    assert found[0].seconds == 5
    assert {event.server for event in found} == set(servers[2:])
    assert [(event.changed, event.of) for event in found] == [(n, 40) for n in range(3, 41)]
    by_time = [[k for at, k in world.looks() if at == t] for t in (9, 14)]
    assert [len(looked) for looked in by_time] == [16, 16]
    assert set(by_time[0]).isdisjoint(by_time[1])  # the next ones


@pytest.mark.parametrize(
    ("later", "limit", "ends"), [(600, None, 1800), (5000, None, 5000), (0, 12.0, 12)]
)
def test_limits_count_from_the_request(world: World, later: float, limit: Any, ends: float) -> None:
    world.lose(A)
    world.clocks.seconds = later
    outcome, _ = world.status(wait=True, limit=limit)
    can_change = limit is not None
    assert (changed(outcome), outcome.can_change) == ({A: False}, can_change)
    assert outcome.can_be_awaited is can_change
    assert ends <= world.seconds <= ends + (0 if limit else 5)


@pytest.mark.parametrize("first_look", [False, True])
def test_a_change_within_two_seconds_is_not_awaited(world: World, first_look: bool) -> None:
    world.lose(A, B)
    show = world.changing({A: 1, B: 30})
    world.show = lambda s: show(s) if first_look or world.seconds >= 5 else fail()
    outcome, _ = world.status(wait=True)
    assert (changed(outcome), outcome.can_change) == ({A: None, B: True}, False)
    assert world.seconds < 40
    assert [event.server for event in world.of(events.ServerChanged)] == [B]


@pytest.mark.parametrize(("signal", "code"), [(1e9, 6), (22.0, 143)])
def test_a_failed_look_or_a_signal_undoes_nothing(world: World, signal: float, code: int) -> None:
    world.lose(A, B)
    show = world.changing({A: 7, B: 30})
    world.show = lambda s: show(s) if not 10 < world.seconds < 20 else fail()
    world.inbox.signal(signal)
    outcome, _ = world.status(wait=True)
    assert (changed(outcome), outcome.exit_code) == ({A: True, B: code == 6}, code)


def test_the_time_of_one_request_is_stored_once_for_a_thousand_servers(world: World) -> None:
    world.knows_time = False
    world.lose(*many(1000))
    world.knows_time = True
    world.opened = 0
    world.status()
    assert world.opened < 10
    assert {row.wave and row.wave.sent_at for row in world.run_of().rows} == {world.at(0)}


def go_on(world: World, *servers: str, sends: float = inf, ends: float = inf) -> Record:
    """A run that gets on while a `status --wait` follows it: its first wave was answered."""

    def send() -> None:
        record.admit(servers[1:], check=False)
        record.answered(world.sent(queued(servers[1], TWO)))

    record = world.another().begin(*servers, options=ROLLING)
    record.answered(world.sent(queued(servers[0])))
    world.inbox.at(sends, send)
    world.inbox.at(ends, lambda: record.end(()))
    return record


@pytest.mark.parametrize("names", [(A, B, C, D), (B,)])
def test_a_wait_follows_the_waves_of_live_runs_to_their_ends(world: World, names: Any) -> None:
    world.lasting(o1=2, o2=60)
    go_on(world, A, B, sends=20, ends=30)
    go_on(world, C, D, sends=20, ends=30)
    outcome, _ = world.status(*names, wait=True)
    assert states(outcome) == dict.fromkeys(names, "succeeded")
    assert (outcome.ending, outcome.exit_code, outcome.limit) == (Ending.COMPLETE, 0, 1800)


def test_a_wait_for_a_live_run_ends_at_the_limit_and_when_it_is_killed(world: World) -> None:
    go_on(world, A, B)
    outcome, _ = world.status(wait=True, limit=40.0)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.TIME_LIMIT, 7)
    assert world.seconds == 40
    world.inbox.at(60, world.die)
    assert states(world.status(wait=True)[0]) == {A: "succeeded", B: "not sent"}
    assert world.seconds < 62


def test_a_journal_that_cannot_be_read_for_a_while_ends_no_wait(world: World) -> None:
    go_on(world, A, B, ends=50)
    before = world.on_open
    world.inbox.at(10, lambda: setattr(world, "on_open", BROKEN))
    world.inbox.at(40, lambda: setattr(world, "on_open", before))
    outcome, _ = world.status(wait=True)
    assert (outcome.error, states(outcome)) == (None, {A: "succeeded", B: "not sent"})


def test_a_journal_that_fails_later_keeps_what_is_known(world: World, monkeypatch: Patch) -> None:
    resolve = world.journal.resolve

    def once(run: Run) -> object:
        if world.seconds > 0:
            world.on_open = BROKEN
        return resolve(run)

    monkeypatch.setattr(world.journal, "resolve", once)
    go_on(world, A, B, ends=20)
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.ERROR, 7)


def test_a_run_that_was_dropped_meanwhile_stays_as_it_was(world: World, monkeypatch: Patch) -> None:
    monkeypatch.setattr(world.journal, "run", lambda _run: None)
    record = go_on(world, A, B, ends=20)
    outcome, _ = world.status(wait=True, limit=40.0)
    assert (outcome.run, outcome.ending) == (record.run, Ending.TIME_LIMIT)
    assert states(outcome)[B] == "planned"
