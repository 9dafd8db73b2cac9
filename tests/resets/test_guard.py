"""Never twice by accident: earlier resets that aren't settled."""

import sqlite3
from functools import partial
from typing import Any

import pytest

from clc_reset.errors import AuthenticationError
from clc_reset.models import Operation
from clc_reset.resets import guard
from clc_reset.resets.outcome import Outcome
from tests.builders import USER, A, B, C, D, many, operation, queued
from tests.machine import Caplog, fail_with
from tests.resets.world import Answer, World, message, states, warnings

BROKEN = fail_with(sqlite3.SQLITE_IOERR)


def is_refused(outcome: Outcome) -> bool:
    return outcome.exit_code == 3 and set(states(outcome).values()) == {"not sent"}


@pytest.mark.parametrize("final", ["succeeded", "failed"])
def test_an_operation_that_is_over_by_now_is_asked_once(world: World, final: str) -> None:
    world.reset(A, B)
    world.script(final)
    assert world.reset(A).exit_code == 0
    assert world.reset(B).exit_code == 0  # the journal knows it now
    assert (len(world.polls()), len(world.posts)) == (1, 3)


@pytest.mark.parametrize(
    ("changes", "user", "settled"),
    [({A: 77}, USER, True), ({A: 77}, "somebody", False), ({A: 1}, USER, False), ({}, USER, False)],
)
def test_what_is_gone_is_settled_by_a_change(
    world: World, changes: dict[str, float], user: str, settled: bool
) -> None:
    run = world.reset(A).run
    world.clocks.seconds = 120
    world.script("404")
    world.show = world.changing(changes, user)
    assert is_refused(world.reset(A)) is not settled
    assert world.run_of(run).rows[0].over is settled


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (None, "succeeded", "no answer recorded so far; not changed"),
        (queued(A, None), "succeeded", "queued, operation unknown; not changed"),
        (queued(A, Operation("wa1-9", None)), "succeeded", "operation wa1-9; not changed"),
        (queued(A), "500", "operation wa1-1 can't be asked: the API answered 500; not"),
        (queued(A), "404", "operation wa1-1 can't be asked: the API answered 404; not"),
        (queued(A), ZeroDivisionError("x"), "operation wa1-1 can't be asked: ZeroDivisionError: x"),
    ],
)
def test_unsettled_states_are_told(world: World, answer: Any, status: Answer, words: str) -> None:
    if answer is None:
        world.begin(A)
    else:
        world.answer = lambda _servers: world.sent(answer)
        world.reset(A)
    world.script(status)
    posts = len(world.posts)
    outcome = world.reset(A)
    assert is_refused(outcome)
    assert len(world.posts) == posts
    assert f"), {words}" in message(outcome)


@pytest.mark.parametrize(("number", "more"), [(20, []), (21, ["and 1 more server"])])
def test_of_many_servers_twenty_are_described(world: World, number: int, more: list[str]) -> None:
    servers = many(number)
    for first in range(0, number, 6):
        world.lose(*servers[first : first + 6])
    lines = message(world.reset(*servers)).splitlines()
    assert lines[21:-4] == more
    assert lines[-4].startswith("To follow it: ")


def test_polls_have_thirty_seconds_and_a_refused_token_ends_it(world: World) -> None:
    world.answer = world.queue_each
    world.reset(A, B)
    world.inbox.latency = lambda key: 1e9 if key == operation(1) else 0.0
    (line, *_) = message(world.reset(A, B)).splitlines()[1:]  # the other one is over
    assert f"{A}: reset" in line
    assert "can't be asked: no answer within 30 s" in line
    assert world.seconds == 30
    world.inbox.latency = lambda _key: 0.0
    world.script(AuthenticationError("refused"))
    assert world.reset(A).exit_code == 4
    assert len(world.posts) == 1


@pytest.mark.parametrize(
    ("servers", "options", "unsettled"),
    [
        ((A, B), {"at_a_time": 1}, 2),
        ((A, B), {"asks": True}, 2),
        ((A,), {"asks": True, "again": True}, 0),
    ],
)
def test_a_group_and_unsettled_servers_are_asked_about_in_one_question(
    world: World, servers: tuple[str, ...], options: Any, unsettled: int
) -> None:
    world.lose(*servers)
    assert world.reset(A, B, C, confirm=True, **options).exit_code == 0
    ((number, lines),) = world.questions
    assert (number, [line.partition(":")[0] for line in lines]) == (unsettled, [A, B][:unsettled])
    assert [server for post in world.posts[1:] for server in post] == [A, B, C]


@pytest.mark.parametrize("rounds", [1, 9])
def test_what_others_reset_meanwhile_is_asked_about_too(world: World, rounds: int) -> None:
    world.lose(A, B)
    world.answer = world.lose_answer

    def confirm() -> bool:
        if len(world.questions) <= rounds:
            world.reset(B, again=True)
        return True

    outcome = world.reset(A, B, confirm=confirm)
    asked = [2, 1] if rounds == 1 else [2, *[1] * (guard.MOST_TRIES - 1)]
    assert [number for number, _ in world.questions] == asked
    assert is_refused(outcome) is (rounds == 9)
    assert len(world.posts) == (3 if rounds == 1 else 1 + guard.MOST_TRIES)


def test_again_asks_nobody_and_looks_at_nothing(world: World) -> None:
    world.lose(A)
    assert world.reset(A, again=True, confirm=False).exit_code == 0
    assert (len(world.posts), world.questions, world.inbox.calls) == (2, [], [])


@pytest.mark.parametrize("asks", [True, False])
def test_an_unwritable_journal_is_a_warning(world: World, caplog: Caplog, asks: bool) -> None:
    world.reset(C, waits=True)
    world.on_open = BROKEN
    outcome = world.reset(A, B, asks=asks, confirm=True)
    assert (outcome.exit_code, outcome.run) == (0, None)
    assert len(warnings(caplog)) == 1
    assert len(world.questions) == asks


@pytest.mark.parametrize(("asks", "again"), [(True, False), (False, True)])
def test_no_journal_is_no_guard(world: World, caplog: Caplog, asks: bool, again: bool) -> None:
    world.journal = type(world.journal)(None, world.clocks)
    assert world.reset(A, B, asks=asks, again=again, confirm=True, at_a_time=1).exit_code == 0
    expected = [] if again else ["Without a journal, clc can't check for earlier resets."]
    assert warnings(caplog) == expected
    assert len(world.questions) == asks
    assert world.posts == [(A,), (B,)]


def test_a_status_that_cannot_be_recorded_is_asked_for_once(world: World, caplog: Caplog) -> None:
    world.reset(A)
    world.inbox.latency = lambda _key: 1.0
    world.inbox.at(0.5, lambda: setattr(world, "on_open", BROKEN))
    assert world.reset(A).exit_code == 0
    assert (len(world.polls()), len(world.posts)) == (1, 2)
    assert len(warnings(caplog)) == 2


def test_a_claim_leaves_out_what_was_reset_since_and_reports_what_it_finds(world: World) -> None:
    rest = world.journal.rest_of(world.stop(A, B, C, D))
    taker = world.reset(B, waits=True).run
    fewer = rest._replace(left=(rest.left[0], rest.left[2]))  # C was under way, and came back
    outcome = world.reset(*fewer.servers, rest=fewer, at_a_time=5)
    assert world.posts[-1] == (C, D)
    assert states(outcome) == {B: "not sent", D: "succeeded", C: "succeeded"}
    assert (outcome.exit_code, outcome.results[0].run) == (1, taker)
    assert outcome.results[0].message == f"Left out: run {taker} may have reset it."


@pytest.mark.parametrize("number", [10, 11])
def test_again_does_not_switch_the_guard_of_a_rest_off(world: World, number: int) -> None:
    world.lose(*many(number))
    run = world.stop(A, *many(number), again=True)
    outcome = world.rest_of(run, again=True)
    assert (outcome.exit_code, len(world.posts)) == (3, 2)
    advice = f"To reset it anyway: clc reset {' '.join(many(number))} --again"
    assert (advice in message(outcome)) is (number == 10)  # no command names more than ten


def test_the_rest_of_a_run_that_goes_on_is_claimed_only_again(world: World) -> None:
    found: list[Outcome] = []
    rest = partial(world.another().rest_of, waits=True)
    world.inbox.at(4, lambda: found.append(rest(world.run_of().id)))
    world.inbox.at(5, lambda: found.append(rest(world.run_of().id, again=True)))
    outcome = world.reset(A, B, C, at_a_time=1, pause=10.0)
    assert found[0].exit_code == 3
    assert "is still going on, or may be." in message(found[0])
    assert states(found[1]) == {B: "succeeded", C: "succeeded"}
    assert (outcome.exit_code, world.posts) == (1, [(A,)])
    assert states(outcome) == {A: "succeeded", B: "not sent", C: "not sent"}
    assert {result.run for result in outcome.results[1:]} == {found[1].run}


@pytest.mark.parametrize(
    ("status", "code"), [("executing", 3), ("500", 3), ("succeeded", 0), ("404", 0)]
)
def test_a_rest_waits_for_operations_of_its_run(world: World, status: str, code: int) -> None:
    world.script("executing")
    world.inbox.signal(5)
    run = world.reset(A, B, at_a_time=1).run
    world.inbox.signum = None
    world.script(status, *["succeeded"] * (not code))
    outcome = world.rest_of(run)
    assert outcome.exit_code == code
    assert world.posts == [(A,), (B,)][: 1 if code else 2]
    if code:
        words = f"Operations of run {run} aren't known to be over.\n"
        assert message(outcome).startswith(words)
    world.script(status)
    again = world.rest_of(run)  # what is gone leaves a doubt
    assert again.exit_code == code or (again.exit_code, status) == (6, "404")
    assert len(world.posts) == (1 if code else 2)


@pytest.mark.parametrize("found", [None, Operation("wa1-1", None)])
def test_a_rest_waits_for_no_operation_that_cannot_be_asked(world: World, found: Any) -> None:
    world.answer = lambda servers: world.sent(*(queued(s, found) for s in servers))
    outcome = world.reset(A, B, at_a_time=1)
    assert states(outcome) == {A: "unknown", B: "not sent"}
    world.answer = world.queue
    assert states(world.rest_of(outcome.run)) == {B: "succeeded"}
    outcome = world.rest_of(outcome.run)
    assert (outcome.results, outcome.exit_code) == ((), 6)


def test_a_rest_that_cannot_be_recorded_or_may_be_reset_already_sends_nothing(world: World) -> None:
    rest = world.journal.rest_of(world.stop(A, B))
    world.on_open = BROKEN
    outcome = world.reset(*rest.servers, rest=rest)
    assert is_refused(outcome)
    assert message(outcome).startswith(f"Run {rest.run.id} can't be claimed. The journal ")
    world.on_open = lambda _number: None
    world.clocks.seconds += 1
    world.begin(B)
    world.die()
    outcome = world.reset(*rest.servers, rest=rest, again=True)
    assert (outcome.results, outcome.in_doubt, outcome.exit_code) == ((), True, 6)
    assert world.posts == [(A,)]
