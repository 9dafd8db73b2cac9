"""What `clc status` finds of earlier resets, now or once they are over."""

import sqlite3

import pytest

from clc_reset.errors import CHECK_THE_NETWORK, AuthenticationError, UnreachableError
from clc_reset.journal.rows import Run
from clc_reset.models import Operation, ResetAnswer, ServerResult, ServerState
from clc_reset.resets import events, followup
from clc_reset.resets.followup import Selection
from clc_reset.resets.outcome import Ending, Outcome
from tests.builders import ACCOUNT, ONE, ORIGIN, TWO, A, B, C, D, many, queued, refused, unknown
from tests.machine import AWAY, ROLLING, fail_with
from tests.resets.world import World, changed, fail, message, states

BROKEN = fail_with(sqlite3.SQLITE_IOERR)
DENIED = AuthenticationError("expired")


def two(world: World, *servers: str) -> str:
    """Reset servers, each with an operation of its own, of the number in its name."""
    world.answer = world.queue_each
    return world.reset(*servers or (A, B)).run or ""


def select(world: World, *names: str) -> Selection:
    return followup.select(world.journal, ORIGIN, names, ACCOUNT)


# --- names ---


def test_without_a_name_it_is_the_latest_run(world: World) -> None:
    assert select(world) == Selection()
    two(world, A)
    run = two(world, B)
    assert [shown.run.id for shown in select(world).rows] == [run]
    assert followup.select(world.journal, ORIGIN, (), "OTHER") == Selection()


def test_servers_operations_and_runs_are_shown_in_the_order_named_each_once(world: World) -> None:
    first, second = two(world, A, B), two(world, C, D)
    names = [D.lower(), "WA1-2", first, second, "va1-7", "va1-7"]
    found = select(world, *names)
    assert [shown.row.server for shown in found.rows] == [D, B, A, C]
    assert found.operations == ("va1-7",)
    assert [run.id for run in found.runs] == [first, second]


def test_names_that_nobody_knows_get_their_messages_and_hide_no_others(world: World) -> None:
    two(world)
    elsewhere = world.begin(C, where=AWAY).run or ""
    found = select(world, "20200101-000000-0", "NOBODY", A, elsewhere)
    assert [shown.row.server for shown in found.rows] == [A]
    assert len(found.missing) == 3
    anywhere = followup.select(world.journal, ORIGIN, ["NOBODY"], None)
    assert anywhere.missing[0][0] == f"The journal has no reset of 'NOBODY' at {ORIGIN}."
    apart = followup.select(world.journal, ORIGIN, [A, "wa1-1"], "SUB")
    assert (apart.rows, apart.operations) == ((), ("wa1-1",))


# --- once ---


def test_each_operation_is_asked_once_and_an_end_never_again(world: World) -> None:
    two(world)
    world.answers({ONE: "succeeded", TWO: "executing"})
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


def test_each_state_of_a_row_says_why(world: World) -> None:
    world.answer = lambda servers: world.sent(refused(A), unknown(B, "The answer leaves it out."))
    world.reset(A, B)
    world.answer = lambda servers: ResetAnswer.not_sent(servers, UnreachableError("Down"))
    world.reset(C)
    world.begin(D)
    outcome, _ = world.status(A, B, C, D)
    assert [(r.state.value, r.message) for r in outcome.results] == [
        ("failed", "Not in a valid state."),
        ("unknown", "The answer leaves it out."),
        ("not sent", "Not sent: down."),
        ("unknown", "Sent at 2026-01-15 12:00 UTC, maybe: no answer is recorded."),
    ]


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
    taken = world.run_of(run)  # as it is once the other run was dropped
    (result,) = followup.known([followup.Shown(taken, taken.rows[1], run)])
    assert result.state is ServerState.NOT_SENT
    assert result.message == "Left to another run, which the journal has no longer."


def test_an_api_that_is_down_is_said_once_and_what_is_known_is_shown(world: World) -> None:
    two(world)
    world.script("down")
    outcome, _ = world.status()
    expected = f"The API can't be reached: connection refused.\n{CHECK_THE_NETWORK}"
    assert (message(outcome), outcome.ending, outcome.exit_code) == (expected, Ending.ERROR, 7)
    world.answers({ONE: "succeeded", TWO: "down"})
    outcome, _ = world.status()
    assert (outcome.error, states(outcome)) == (None, {A: "succeeded", B: "queued"})


def test_an_operation_of_the_journal_that_is_gone_is_unknown(world: World) -> None:
    run = world.reset(A).run
    world.script("404")
    outcome, nobody_knows = world.status("wa1-1")
    assert (states(outcome), outcome.exit_code, nobody_knows) == ({A: "unknown"}, 6, [])
    assert outcome.run == run
    assert (outcome.can_change, outcome.can_be_awaited) == (True, False)


def test_operations_that_the_journal_does_not_know_are_asked_for(world: World) -> None:
    answers = {"va1-1": "succeeded", "va1-2": "404", "va1-3": "500"}
    world.statuses = lambda asked: answers[asked.id]
    outcome, nobody_knows = world.status(*answers)
    assert [r.operation and r.operation.id for r in outcome.results] == ["va1-1", "va1-3"]
    assert (nobody_knows, outcome.run) == (["va1-2"], None)


# --- without a token ---


@pytest.mark.parametrize(
    ("reset", "state", "message", "code"),
    [
        ("queued", "queued", None, 4),
        ("lost", "unknown", "Sent; outcome unknown: it timed out.", 6),
        ("running", "running", "as last known", 4),
    ],
)
def test_without_a_token_what_is_known_is_shown(
    world: World, reset: str, state: str, message: str | None, code: int
) -> None:
    world.answer = world.lose_answer if reset == "lost" else world.queue
    world.script("executing")
    world.reset(A, waits=reset == "running", limit=5.0)
    outcome = followup.unasked(select(world, A, "va1-7"), DENIED)
    first, named = outcome.results
    assert (first.state, first.message, outcome.exit_code) == (state, message, code)
    assert named == ServerResult(None, ServerState.QUEUED, Operation("va1-7", None), "Not asked.")


def test_without_a_token_a_reset_that_is_over_is_no_error(world: World) -> None:
    world.reset(A, waits=True)
    outcome = followup.unasked(select(world), DENIED)
    assert (states(outcome), outcome.exit_code) == ({A: "succeeded"}, 0)


# --- waiting ---


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


def test_a_wait_for_an_operation_that_nobody_knows_ends_after_thirty_seconds(world: World) -> None:
    world.script("404")
    outcome, nobody_knows = world.status("va1-9", wait=True)
    assert (outcome.results, nobody_knows) == ((), ["va1-9"])
    assert world.seconds < 40


def test_a_server_of_two_runs_is_held_against_the_request_that_is_followed(world: World) -> None:
    earlier = world.reset(A, waits=True).run or ""
    world.clocks.seconds = 100
    world.answer = lambda servers: world.sent(*(queued(s, TWO) for s in servers))
    world.show = world.changing({A: 50, B: 50})
    latest = world.reset(A, B).run or ""
    world.lasting(o2=160)
    outcome, _ = world.status(latest, earlier, wait=True)
    assert outcome.run is None  # there are two
    assert world.looks()
    assert world.of(events.ServerChanged) == []


# --- lost answers ---


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


@pytest.mark.parametrize(("later", "ends"), [(600, 1800), (5000, 5000)])
def test_lost_servers_are_watched_until_the_usual_limit_after_the_request(
    world: World, later: float, ends: float
) -> None:
    world.lose(A)
    world.clocks.seconds = later
    outcome, _ = world.status(wait=True)
    assert (changed(outcome), outcome.can_change) == ({A: False}, False)
    assert ends <= world.seconds <= ends + 5


def test_a_limit_ends_the_watch(world: World) -> None:
    world.lose(A)
    outcome, _ = world.status(wait=True, limit=12.0)
    assert world.seconds == 12
    assert (outcome.can_change, outcome.can_be_awaited) == (True, True)


@pytest.mark.parametrize("first_look", [False, True])
def test_a_change_within_two_seconds_of_the_request_is_not_awaited(
    world: World, first_look: bool
) -> None:
    world.lose(A, B)
    show = world.changing({A: 1, B: 30})
    world.show = lambda s: show(s) if first_look or world.seconds >= 5 else fail()
    outcome, _ = world.status(wait=True)
    assert (changed(outcome), outcome.can_change) == ({A: None, B: True}, False)
    assert world.seconds < 40
    assert [event.server for event in world.of(events.ServerChanged)] == [B]


@pytest.mark.parametrize(("signal", "code"), [(1e9, 6), (22.0, 143)])
def test_a_failed_look_or_a_signal_leaves_what_was_seen_before(
    world: World, signal: float, code: int
) -> None:
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


# --- live runs ---


def test_servers_that_a_live_run_has_still_to_send_are_planned(world: World) -> None:
    found: list[Outcome] = []
    world.inbox.at(5, lambda: found.append(world.another().status()[0]))
    world.reset(A, B, C, at_a_time=1, pause=10.0)
    assert states(found[0]) == {A: "succeeded", B: "planned", C: "planned"}
    assert found[0].results[1].message == "The run has still to send it."
    assert found[0].exit_code == 7


class Runner:
    """A run that gets on while a `status --wait` follows it: its first wave was answered."""

    def __init__(self, world: World, *servers: str) -> None:
        self.world = world
        self.record = world.another().begin(*servers, options=ROLLING)
        self.record.answered(world.sent(queued(servers[0])))

    def send(self) -> None:
        """Send the second wave, which is answered at once."""
        self.record.admit(self.record.servers[1:], check=False)
        self.record.answered(self.world.sent(queued(self.record.servers[1], TWO)))

    def end(self) -> None:
        self.record.end(())


@pytest.fixture
def runner(world: World) -> Runner:
    return Runner(world, A, B)


@pytest.mark.parametrize("names", [(A, B, C, D), (B,)])
def test_a_wait_follows_the_waves_of_live_runs_to_their_ends(
    world: World, runner: Runner, names: tuple[str, ...]
) -> None:
    world.lasting(o1=2, o2=60)
    for live in (runner, Runner(world, C, D)):
        world.inbox.at(20, live.send)
        world.inbox.at(30, live.end)
    outcome, _ = world.status(*names, wait=True)
    assert states(outcome) == dict.fromkeys(names, "succeeded")
    assert (outcome.ending, outcome.exit_code, outcome.limit) == (Ending.COMPLETE, 0, 1800)


def test_a_wait_for_a_run_that_is_killed_ends(world: World, runner: Runner) -> None:
    world.inbox.at(20, world.die)
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert world.seconds < 22


def test_a_wait_for_a_live_run_ends_at_the_limit(world: World, runner: Runner) -> None:
    outcome, _ = world.status(wait=True, limit=40.0)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.TIME_LIMIT, 7)
    assert world.seconds == 40


def test_a_journal_that_cannot_be_read_for_a_while_ends_no_wait(
    world: World, runner: Runner
) -> None:
    before = world.on_open
    world.inbox.at(10, lambda: setattr(world, "on_open", BROKEN))
    world.inbox.at(40, lambda: setattr(world, "on_open", before))
    world.inbox.at(50, runner.end)
    outcome, _ = world.status(wait=True)
    assert (outcome.error, states(outcome)) == (None, {A: "succeeded", B: "not sent"})


def test_a_journal_that_fails_when_a_run_has_got_on_keeps_what_is_known(
    world: World, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = world.journal.resolve

    def once(run: Run) -> object:
        if world.seconds > 0:
            world.on_open = BROKEN
        return resolve(run)

    monkeypatch.setattr(world.journal, "resolve", once)
    world.inbox.at(20, runner.end)
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.ERROR, 7)


def test_a_run_that_was_dropped_meanwhile_stays_as_it_was(
    world: World, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.journal, "run", lambda _run: None)
    world.inbox.at(20, runner.end)
    outcome, _ = world.status(wait=True, limit=40.0)
    assert outcome.run == runner.record.run
    assert states(outcome)[B] == "planned"
