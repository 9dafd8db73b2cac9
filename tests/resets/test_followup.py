"""What `clc status` finds of earlier resets, now or once they are over."""

from collections.abc import Callable

import pytest

from clc_reset.errors import AuthenticationError, UnreachableError
from clc_reset.exit_codes import ExitCode
from clc_reset.journal.rows import Run, Where
from clc_reset.journal.runs import NewRun
from clc_reset.models import ResetAnswer, RollingOptions
from clc_reset.resets import events, followup
from clc_reset.resets.followup import Selection
from clc_reset.resets.outcome import Ending, Outcome
from tests.resets.world import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    ONE,
    ORIGIN,
    SUCCEEDED,
    TWO,
    UNREACHED,
    USER,
    WHERE,
    A,
    B,
    C,
    D,
    Status,
    World,
    begin,
    changed,
    fail,
    ids,
    kill,
    left_out,
    lost,
    message,
    operation,
    other,
    queued,
    refused,
    states,
    stop_after_the_first_wave,
)

DENIED = AuthenticationError("expired")


def two(world: World, *servers: str) -> str:
    """Reset servers, each with an operation of its own, of the number in its name."""
    world.answer = lambda asked: world.sent(*(queued(s, operation(int(s[-2:]))) for s in asked))
    run = world.reset(*servers or (A, B)).run
    assert run
    return run


def select(world: World, *names: str) -> Selection:
    return followup.select(world.journal, ORIGIN, names, ACCOUNT)


# --- names ---


def test_without_a_name_it_is_the_latest_run(world: World) -> None:
    two(world, A)
    run = two(world, B)
    assert [shown.run.id for shown in select(world).rows] == [run]
    assert followup.requested(select(world).runs[0]) == (
        f"Reset of 1 server in account ALIAS, requested at 2026-01-15 12:00 UTC (run {run})."
    )


def test_without_a_run_there_is_nothing(world: World) -> None:
    assert select(world) == Selection()


def test_servers_operations_and_runs_are_all_shown_in_the_order_named(world: World) -> None:
    """Point 7: no name hides another, and none is shown twice."""
    first = two(world, A, B)
    second = two(world, C, D)
    names = [D.lower(), "WA1-2", first, second, "va1-7", "va1-7"]
    found = select(world, *names)
    assert [shown.row.server for shown in found.rows] == [D, B, A, C]
    assert found.operations == ("va1-7",)
    assert [run.id for run in found.runs] == [first, second]
    reverse = select(world, *reversed(names))
    assert {shown.row.server for shown in reverse.rows} == {A, B, C, D}


def test_names_that_nobody_knows_hide_no_others(world: World) -> None:
    """Point 7: they get their messages, and the result is of the others."""
    two(world)
    elsewhere = world.journal.begin(
        NewRun(Where("https://other", ACCOUNT), USER, (C,), RollingOptions()), (C,)
    )
    assert not isinstance(elsewhere, tuple)
    found = select(world, "20200101-000000-0", "NOBODY", A, elsewhere.run or "")
    assert [shown.row.server for shown in found.rows] == [A]
    (unknown, _), (nobody, hint), (other_api, _) = found.missing
    assert unknown == "The journal has no run '20200101-000000-0'."
    assert nobody.startswith("The journal has no reset of 'NOBODY' in account ALIAS at https://api")
    assert hint == "To look at the server itself: clc servers NOBODY\nTo list runs: clc history"
    assert "was at https://other, but CLC_BASE_URL is https://api.ctl.io." in other_api
    anywhere = followup.select(world.journal, ORIGIN, ["NOBODY"], None)
    assert "in account" not in anywhere.missing[0][0]


def test_a_server_shows_its_unknown_reset_and_no_later_run_that_never_reached_it(
    world: World,
) -> None:
    """Point 7: exit 6, not 1."""
    world.answer = lost
    world.reset(B)
    world.seconds = 4000
    world.answer = lambda servers: world.sent(*map(queued, servers))
    stop_after_the_first_wave(world, A, B)
    outcome, _ = world.status(B)
    assert (states(outcome), outcome.exit_code) == ({B: "unknown"}, ExitCode.UNKNOWN)


def test_an_operation_that_reappears_is_asked_for(world: World) -> None:
    """Point 7: its status in an earlier run isn't its status now."""
    world.reset(A, waits=True)
    world.reset(B)
    world.script(EXECUTING)
    outcome, _ = world.status("wa1-1")
    assert states(outcome) == {B: "running"}


def test_an_operation_in_two_runs_is_recorded_in_the_one_that_is_shown(world: World) -> None:
    first = world.reset(A).run
    second = world.reset(B).run
    world.status(first or "")
    for run, over in ((first, True), (second, False)):
        found = world.journal.run(run or "")
        assert found
        assert [row.over for row in found.rows] == [over]


# --- once ---


def test_each_operation_is_asked_once_and_nothing_is_shown_of_it(world: World) -> None:
    world.reset(A, B)
    world.script(EXECUTING)
    outcome, _ = world.status()
    assert states(outcome) == {A: "running", B: "running"}
    assert outcome.exit_code == ExitCode.RUNNING
    assert len(world.polls()) == 1
    assert world.looks() == []


def test_an_end_is_not_asked_for_again(world: World) -> None:
    two(world)
    world.statuses = lambda asked: SUCCEEDED if asked == ONE else FAILED
    outcome, _ = world.status()
    assert states(outcome) == {A: "succeeded", B: "failed"}
    world.calls.clear()
    again, _ = world.status()
    assert states(again) == {A: "succeeded", B: "failed"}
    assert world.calls == []


def test_a_failed_shared_operation_is_looked_at_for_one_named_server(world: World) -> None:
    """Point 7."""
    world.reset(A, B)
    world.script(FAILED)
    world.seconds = 60
    world.show = world.changing({B: 30})
    outcome, _ = world.status(B)
    assert changed(outcome) == {B: True}
    assert (outcome.results[0].message or "").startswith("The operation failed. 2 servers share it")


def test_a_failed_check_is_shown_and_not_looked_at(world: World) -> None:
    world.bad = {A: "exit code 1"}
    world.reset(A, B, checks=True)
    outcome, _ = world.status()
    assert states(outcome) == {A: "failed", B: "succeeded"}
    assert outcome.results[0].message == "The operation succeeded; the check failed: exit code 1."
    assert world.calls[1:] == []


def test_a_lost_answer_is_unknown_with_its_evidence(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    world.seconds = 120
    world.show = world.changing({A: 20})
    outcome, _ = world.status()
    assert (changed(outcome), outcome.exit_code) == ({A: True, B: False}, ExitCode.UNKNOWN)
    assert outcome.results[0].message == "Sent; outcome unknown: no answer within 180 s."


def test_a_change_is_always_the_same_number_of_seconds_after_the_request(world: World) -> None:
    """Point 8: whatever the wall clock does, and however often it is asked."""
    world.knows_time = False
    world.answer = lost
    world.reset(A, B)
    world.knows_time = True
    world.show = world.changing({A: 20}, USER)
    found = []
    for skew in (420.0, -420.0):
        world.seconds += 300
        world.skew = skew
        outcome, _ = world.status()
        found.append([r.evidence.after for r in outcome.results if r.evidence])
    assert found == [[20, -3600], [20, -3600]]


def test_a_request_under_way_or_killed_is_in_doubt(world: World) -> None:
    begin(world, A)
    outcome, _ = world.status()
    assert outcome.results[0].message == (
        "Sent at 2026-01-15 12:00 UTC, maybe: no answer is recorded."
    )
    assert outcome.exit_code == ExitCode.UNKNOWN


def test_servers_of_a_stopped_run_are_not_sent(world: World) -> None:
    run = stop_after_the_first_wave(world, A, B)
    outcome, _ = world.status(B)
    assert states(outcome) == {B: "not sent"}
    assert (outcome.exit_code, outcome.run) == (ExitCode.FAILED, run)


def test_what_was_refused_and_what_was_not_sent_say_why(world: World) -> None:
    world.answer = lambda servers: (
        world.sent(refused(A), left_out(B))
        if len(world.posts) == 1
        else ResetAnswer.not_sent(servers, UnreachableError("Down"))
    )
    world.reset(A, B)
    world.reset(C)
    outcome, _ = world.status(A, B, C)
    assert [(r.state.value, r.message) for r in outcome.results] == [
        ("failed", "No."),
        ("unknown", "The answer leaves it out."),
        ("not sent", "Not sent: down."),
    ]


def test_a_server_that_another_run_took_shows_that_run(world: World) -> None:
    run = stop_after_the_first_wave(world, A, B)
    taker = world.rest_of(run).run
    outcome, _ = world.status(run)
    assert states(outcome) == {A: "succeeded", B: "succeeded"}
    assert [r.message for r in outcome.results] == [None, f"in run {taker}"]
    assert outcome.run == run


def test_a_run_that_took_a_server_and_was_dropped_leaves_it_untold(world: World) -> None:
    shown = followup.Shown(run := _run_with_taken(world), run.rows[1], run.id)
    (result,) = followup.known([shown])
    assert result.message == "Left to another run, which the journal has no longer."


def _run_with_taken(world: World) -> Run:
    run = stop_after_the_first_wave(world, A, B)
    world.rest_of(run)
    found = world.journal.run(run)
    assert found
    return found


def test_an_api_that_is_down_is_said_once_and_what_is_known_is_shown(world: World) -> None:
    two(world)
    world.script(UNREACHED)
    outcome, _ = world.status()
    assert message(outcome) == "The API can't be reached: connection refused."
    assert outcome.exit_code == ExitCode.RUNNING
    world.statuses = lambda asked: SUCCEEDED if asked == ONE else UNREACHED
    outcome, _ = world.status()
    assert outcome.error is None
    assert states(outcome) == {A: "succeeded", B: "queued"}


def test_a_token_that_is_refused_now_shows_what_was_known(world: World) -> None:
    two(world)
    world.script(DENIED)
    outcome, _ = world.status()
    assert states(outcome) == {A: "queued", B: "queued"}
    assert outcome.exit_code == ExitCode.AUTHENTICATION


def test_an_operation_of_the_journal_that_is_gone_is_unknown(world: World) -> None:
    world.reset(A)
    world.script(GONE)
    outcome, lost_ones = world.status("wa1-1")
    assert (states(outcome), outcome.exit_code) == ({A: "unknown"}, ExitCode.UNKNOWN)
    assert (outcome.can_change, outcome.can_be_awaited) == (True, False)
    assert lost_ones == []


def test_operations_that_the_journal_does_not_know_are_asked_for(world: World) -> None:
    answers: dict[str, Status] = {"va1-1": SUCCEEDED, "va1-2": GONE, "va1-3": MISS}
    world.statuses = lambda asked: answers[asked.id]
    outcome, nobody_knows = world.status(*answers)
    assert [r.operation and r.operation.id for r in outcome.results] == ["va1-1", "va1-3"]
    assert nobody_knows == ["va1-2"]
    assert outcome.run is None


# --- without a token ---


@pytest.mark.parametrize(("lose", "state", "code"), [(False, "queued", 4), (True, "unknown", 6)])
def test_without_a_token_what_is_known_is_shown(
    world: World, lose: bool, state: str, code: int
) -> None:
    """Point 13: a lost answer is 6, with a token or without."""
    if lose:
        world.answer = lost
    world.reset(A)
    outcome = followup.unasked(select(world, A, "va1-7"), DENIED)
    assert [r.state.value for r in outcome.results] == [state, "queued"]
    assert outcome.exit_code == code


def test_without_a_token_what_is_over_is_no_error(world: World) -> None:
    world.reset(A, waits=True)
    outcome = followup.unasked(select(world), DENIED)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETE, ExitCode.OK)


def test_what_was_running_is_shown_as_last_known(world: World) -> None:
    world.script(EXECUTING)
    world.reset(A, waits=True, limit=5.0)
    outcome = followup.unasked(select(world), DENIED)
    assert [(r.state.value, r.message) for r in outcome.results] == [("running", "as last known")]


# --- waiting ---


def test_the_wait_is_taken_up_again_in_the_order_of_the_answer(world: World) -> None:
    servers = ids(8)
    world.answer = lambda asked: world.sent(*map(queued, asked), turns=servers[::-1])
    world.reset(*servers)
    world.lasting(o1=100)
    world.show = world.changing({s: 10.0 * n for n, s in enumerate(servers[::-1], 1)})
    outcome, _ = world.status(wait=True)
    assert outcome.exit_code == ExitCode.OK
    assert [event.server for event in world.of(events.ServerChanged)] == servers[::-1]
    assert all(row.over for row in world.latest().rows)


def test_a_time_limit_ends_the_wait_and_the_servers_are_looked_at(world: World) -> None:
    world.reset(A, B)
    world.script(EXECUTING)
    outcome, _ = world.status(wait=True, limit=30.0, looks=False)
    assert (outcome.ending, outcome.exit_code) == (Ending.TIME_LIMIT, ExitCode.RUNNING)
    assert outcome.limit == 30
    assert [server for _, server in world.looks()] == [A, B]


def test_a_wait_for_an_operation_that_nobody_knows_ends_after_thirty_seconds(
    world: World,
) -> None:
    """Point 10."""
    world.script(GONE)
    outcome, nobody_knows = world.status("va1-9", wait=True)
    assert (outcome.results, nobody_knows) == ((), ["va1-9"])
    assert world.seconds < 40


def test_a_signal_ends_the_wait_with_what_is_known(world: World) -> None:
    two(world)
    world.lasting(o1=3, o2=1000)
    world.inbox.signal(20)
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "running"}
    assert outcome.exit_code == 143
    assert world.latest().rows[0].over


def test_a_server_of_two_runs_is_held_against_the_request_that_is_followed(world: World) -> None:
    earlier = world.reset(A, waits=True).run or ""
    world.seconds = 100
    world.answer = lambda servers: world.sent(*(queued(s, TWO) for s in servers))
    world.show = world.changing({A: 50, B: 50})
    latest = world.reset(A, B).run or ""
    world.lasting(o2=160)
    world.status(latest, earlier, wait=True)
    assert world.looks()
    assert world.of(events.ServerChanged) == []


# --- lost answers ---


def test_a_wait_watches_lost_servers_until_each_has_changed(world: World) -> None:
    servers = ids(40)
    world.answer = lost
    world.reset(*servers)
    world.show = world.changing({s: 10.0 + n for n, s in enumerate(servers)})
    outcome, _ = world.status(wait=True, looks=False)  # that is for the progress only
    assert set(changed(outcome).values()) == {True}
    assert outcome.exit_code == ExitCode.UNKNOWN
    assert not outcome.can_change
    assert world.seconds < 80
    found = world.of(events.ServerChanged)
    assert {event.server for event in found} == set(servers)
    assert [event.changed for event in found] == list(range(1, 41))
    assert {event.of for event in found} == {40}
    by_time = [[k for at, k in world.looks() if at == t] for t in (5, 10)]
    assert [len(looked) for looked in by_time] == [16, 16]
    assert set(by_time[0]).isdisjoint(by_time[1])  # the next ones


@pytest.mark.parametrize(("later", "ends"), [(600, 1800), (5000, 5000)])
def test_lost_servers_are_watched_until_the_usual_limit_after_the_request(
    world: World, later: float, ends: float
) -> None:
    world.answer = lost
    world.reset(A)
    world.seconds = later
    outcome, _ = world.status(wait=True)
    assert changed(outcome) == {A: False}
    assert not outcome.can_change
    assert ends <= world.seconds <= ends + 5


def test_a_limit_ends_the_watch(world: World) -> None:
    world.answer = lost
    world.reset(A)
    outcome, _ = world.status(wait=True, limit=12.0)
    assert world.seconds == 12
    assert (outcome.can_change, outcome.can_be_awaited) == (True, True)


@pytest.mark.parametrize("first_look", [False, True])
def test_a_change_within_two_seconds_of_the_request_is_not_awaited(
    world: World, first_look: bool
) -> None:
    world.answer = lost
    world.reset(A, B)
    show = world.changing({A: 1, B: 30})
    world.show = lambda s: show(s) if first_look or world.seconds >= 5 else fail()
    outcome, _ = world.status(wait=True)
    assert changed(outcome) == {A: None, B: True}
    assert world.seconds < 40
    (event,) = world.of(events.ServerChanged)
    assert event.server == B
    assert not outcome.can_change


def test_a_signal_ends_the_watch_and_keeps_what_was_seen(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    world.show = world.changing({A: 7})
    world.inbox.signal(22)
    outcome, _ = world.status(wait=True)
    assert changed(outcome) == {A: True, B: False}
    assert outcome.exit_code == 143


def test_a_look_of_the_watch_that_fails_leaves_the_one_before(world: World) -> None:
    world.answer = lost
    world.reset(A)
    show = world.changing({A: 30})
    world.show = lambda s: show(s) if not 1 < world.seconds < 20 else fail()
    outcome, _ = world.status(wait=True)
    assert changed(outcome) == {A: True}


def test_a_change_before_the_watch_is_counted(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    world.show = world.changing({A: 20, B: 50})
    world.seconds = 30
    world.status(wait=True)
    (event,) = world.of(events.ServerChanged)
    assert (event.server, event.changed, event.of) == (B, 2, 2)


def test_the_time_of_one_request_is_stored_once_for_a_thousand_servers(world: World) -> None:
    world.knows_time = False
    world.answer = lost
    world.reset(*ids(1000))
    world.knows_time = True
    world.opened = 0
    world.status()
    assert world.opened < 10


# --- live runs ---


def live(world: World, act: Callable[[World], object], at: float = 5.0) -> Outcome:
    """Let a rolling run over A, B and C pause for 10 s between waves; act during the first one."""
    world.inbox.at(at, lambda: act(other(world)))
    return world.reset(A, B, C, at_a_time=1, pause=10.0)


def test_servers_that_a_live_run_has_still_to_send_are_planned(world: World) -> None:
    """Point 2: neither "not sent" nor to be sent by anybody else."""
    found: list[Outcome] = []
    live(world, lambda another: found.append(another.status()[0]))
    assert states(found[0]) == {A: "succeeded", B: "planned", C: "planned"}
    assert found[0].exit_code == ExitCode.RUNNING


class Follower:
    """A `status --wait` on a machine where other runs get on while it waits."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runner = other(world)

    def wave(self, at: float, *servers: str) -> None:
        """Let the run send a wave, which is answered at once."""

        def send() -> None:
            self.record.admit(servers, check=False)
            self.record.answered(self.world.sent(*(queued(s, TWO) for s in servers)))

        self.world.inbox.at(at, send)

    def begin(self, *servers: str) -> None:
        new = NewRun(WHERE, USER, servers, RollingOptions(1))
        record = self.runner.journal.begin(new, servers[:1])
        assert not isinstance(record, tuple)
        record.answered(self.world.sent(queued(servers[0])))
        self.record = record


@pytest.fixture
def follower(world: World) -> Follower:
    made = Follower(world)
    made.begin(A, B)
    return made


def test_a_wait_follows_the_waves_of_a_live_run_to_its_end(follower: Follower) -> None:
    world = follower.world
    world.lasting(o1=2, o2=60)
    follower.wave(20, B)
    world.inbox.at(30, lambda: follower.record.end(()))
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "succeeded"}
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETE, ExitCode.OK)


def test_a_wait_for_a_run_that_is_killed_ends(follower: Follower) -> None:
    world = follower.world
    world.inbox.at(20, lambda: kill(world))
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert world.seconds < 22


def test_a_wait_for_a_live_run_ends_at_the_limit(follower: Follower) -> None:
    outcome, _ = follower.world.status(wait=True, limit=40.0)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.TIME_LIMIT, ExitCode.RUNNING)
    assert follower.world.seconds == 40


def test_a_wait_ends_when_a_named_server_of_a_live_run_is_over(follower: Follower) -> None:
    world = follower.world
    follower.wave(20, B)
    world.inbox.at(30, lambda: follower.record.end(()))
    outcome, _ = world.status(B, wait=True)
    assert states(outcome) == {B: "succeeded"}


def test_a_journal_that_cannot_be_read_for_a_while_ends_no_wait(follower: Follower) -> None:
    world = follower.world
    world.inbox.at(10, lambda: setattr(world, "broken", True))
    world.inbox.at(40, lambda: setattr(world, "broken", False))
    world.inbox.at(50, lambda: follower.record.end(()))
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "not sent"}
    assert outcome.error is None


def test_a_journal_that_fails_when_a_run_has_got_on_keeps_what_is_known(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = follower.world
    resolve = world.journal.resolve

    def once(run: Run) -> object:
        world.broken = world.seconds > 0
        return resolve(run)

    monkeypatch.setattr(world.journal, "resolve", once)
    world.inbox.at(20, lambda: follower.record.end(()))
    outcome, _ = world.status(wait=True)
    assert states(outcome) == {A: "succeeded", B: "planned"}
    assert (outcome.ending, outcome.exit_code) == (Ending.ERROR, ExitCode.RUNNING)


def test_a_run_that_was_dropped_meanwhile_stays_as_it_was(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = follower.world
    monkeypatch.setattr(world.journal, "run", lambda _run: None)
    world.inbox.at(20, lambda: follower.record.end(()))
    run = world.latest().id
    selection = followup.select(world.journal, ORIGIN, [], ACCOUNT)
    asked = followup.FollowUp(selection, (), world.deps(), world.emit, waits=True, limit=40.0)
    outcome, _ = asked.ask()
    assert outcome.run == run
    assert states(outcome)[B] == "planned"
