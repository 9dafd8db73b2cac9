"""Never twice by accident: earlier resets that aren't settled."""

from collections.abc import Callable

import pytest

from clc_reset.errors import AuthenticationError, Interrupted, UnreachableError
from clc_reset.exit_codes import ExitCode
from clc_reset.journal.rows import Where
from clc_reset.models import (
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerResult,
)
from clc_reset.resets import guard
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.request import Question
from tests.resets.world import (
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    ORIGIN,
    SUCCEEDED,
    USER,
    A,
    B,
    C,
    Status,
    World,
    begin,
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
    warnings,
)


def is_refused(outcome: Outcome) -> bool:
    return outcome.exit_code == ExitCode.UNSETTLED and set(states(outcome).values()) == {"not sent"}


# --- what is settled ---


@pytest.mark.parametrize("final", [SUCCEEDED, FAILED])
def test_an_operation_that_is_over_by_now_is_asked_once(world: World, final: Status) -> None:
    world.reset(A, B)
    world.script(final)
    assert world.reset(A).exit_code == ExitCode.OK
    assert world.reset(B).exit_code == ExitCode.OK  # the journal knows it now
    assert len(world.polls()) == 1
    assert len(world.posts) == 3


def test_what_was_refused_or_not_sent_or_has_succeeded_is_settled(world: World) -> None:
    world.reset(A, waits=True)
    world.answer = lambda servers: world.sent(*map(refused, servers))
    world.reset(B)
    world.answer = lambda servers: ResetAnswer.not_sent(servers, UnreachableError("x"))
    assert world.reset(C).exit_code == ExitCode.NOT_SENT
    world.calls.clear()
    world.answer = lambda servers: world.sent(*map(queued, servers))
    assert world.reset(A, B, C).exit_code == ExitCode.OK
    assert world.calls == []


@pytest.mark.parametrize(
    ("changes", "user", "settled"),
    [
        ({A: 77}, USER, True),
        ({A: 77}, "NIGHTLY", True),
        ({A: 77}, "somebody", False),
        ({A: 77}, None, False),
        ({A: 1}, USER, False),
        ({}, USER, False),
    ],
)
def test_an_operation_that_is_gone_is_settled_by_a_change_after_the_request(
    world: World, changes: dict[str, float], user: str | None, settled: bool
) -> None:
    world.reset(A)
    world.seconds = 120
    world.script(GONE)
    world.show = world.changing(changes, user)
    assert is_refused(world.reset(A)) is not settled


def test_a_settlement_is_recorded(world: World) -> None:
    world.reset(A)
    world.script(GONE)
    world.seconds = 120
    world.show = world.changing({A: 77})
    run = world.latest()
    world.reset(A)
    found = world.journal.run(run.id)
    assert found
    assert found.rows[0].over


@pytest.mark.parametrize(("seconds", "settled"), [(3599, False), (3601, True)])
def test_what_is_older_than_an_hour_is_settled(world: World, seconds: float, settled: bool) -> None:
    world.answer = lost
    world.reset(A)
    world.seconds = seconds
    assert is_refused(world.reset(A)) is not settled


def test_what_takes_longer_than_an_hour_is_unsettled_for_that_long(world: World) -> None:
    world.answer = lost
    servers = ids(120)  # two hours, one after another
    world.reset(*servers)
    world.seconds = 7000
    assert is_refused(world.reset(servers[0]))


def test_other_servers_accounts_and_apis_are_others(world: World) -> None:
    world.answer = lost
    begin(world, A, where=Where("https://other", "ALIAS"))
    begin(world, A, where=Where(ORIGIN, "SUB"))
    world.reset(B)
    assert world.reset(A).exit_code == ExitCode.UNKNOWN


# --- what isn't ---


def test_without_a_terminal_nothing_is_sent_and_the_message_says_how_to_follow(
    world: World,
) -> None:
    world.script(EXECUTING)
    world.reset(A, B)
    world.seconds = 120
    run = world.latest().id
    outcome = world.reset(B, C)
    assert is_refused(outcome)
    assert message(outcome) == (
        "An earlier reset of 1 server is unsettled:\n"
        f"{B}: reset 2 min ago (run {run}), operation wa1-1 running"
    )
    assert outcome.error
    assert outcome.error.hint == (
        f"To follow it: clc status --wait --run {run}\nTo reset anyway, add --again."
    )
    assert len(world.posts) == 1
    assert world.looks() == []


def test_an_unknown_outcome_comes_with_the_evidence(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    world.seconds = 120
    world.show = world.changing({A: 77})
    first, second = message(world.reset(A, B)).splitlines()[1:]
    assert first.endswith("unknown; changed 12:01:17 UTC by nightly, 77 s after the request")
    assert second.endswith("outcome unknown; not changed as of 12:02:00 UTC")


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (None, SUCCEEDED, "no answer recorded so far; not changed"),
        (left_out, SUCCEEDED, "outcome unknown; not changed"),
        (lambda s: queued(s, None), SUCCEEDED, "queued, operation unknown; not changed"),
        (lambda s: queued(s, Operation("wa1-9", None)), SUCCEEDED, "operation wa1-9; not changed"),
        (queued, EXECUTING, "operation wa1-1 running"),
        (queued, MISS, "operation wa1-1 can't be asked: the API answered 500; not"),
        (queued, GONE, "operation wa1-1 can't be asked: the API answered 404; not"),
        (queued, ZeroDivisionError("x"), "operation wa1-1 can't be asked: ZeroDivisionError: x"),
    ],
)
def test_each_unsettled_state_is_described(
    world: World,
    answer: Callable[[str], ServerResult] | None,
    status: Status | Exception,
    expected: str,
) -> None:
    if answer is None:
        begin(world, A)
    else:
        world.answer = lambda servers: world.sent(*map(answer, servers))
        world.reset(A)
    world.script(status)
    posts = len(world.posts)
    outcome = world.reset(A)
    assert is_refused(outcome)
    assert len(world.posts) == posts
    assert f"), {expected}" in message(outcome)


def test_of_many_servers_twenty_are_described_and_three_runs_named(world: World) -> None:
    world.answer = lost
    servers = [f"S{n}" for n in range(30)]
    for first in range(0, 30, 6):
        world.reset(*servers[first : first + 6])
    outcome = world.reset(*servers)
    lines = message(outcome).splitlines()
    assert (len(lines), lines[-1]) == (22, "and 10 more servers")
    assert outcome.error
    assert outcome.error.hint.count("--run") == 3


def test_a_poll_without_an_end_has_thirty_seconds(world: World) -> None:
    world.answer = lambda servers: world.sent(*(queued(s, operation(int(s[-1]))) for s in servers))
    world.reset(A, B)
    world.latency = lambda key: 1e9 if key == operation(1) else 0.0
    outcome = world.reset(A, B)
    (line,) = message(outcome).splitlines()[1:]  # the other one is over
    assert f"{A}: reset" in line
    assert "can't be asked: no answer within 30 s" in line
    assert world.seconds == 30


def test_a_refused_token_ends_it_with_nothing_sent(world: World) -> None:
    world.reset(A)
    world.script(AuthenticationError("refused"))
    assert world.reset(A).exit_code == ExitCode.AUTHENTICATION
    assert len(world.posts) == 1


def test_the_time_of_a_request_is_stored_when_it_is_first_known(world: World) -> None:
    """So the same change is always the same number of seconds after the request."""
    world.knows_time = False
    world.answer = lost
    world.reset(A)
    world.seconds, world.knows_time = 120, True
    world.reset(A)
    (row,) = world.latest().rows
    assert row.wave
    assert row.wave.sent_at == world.at(0)


# --- on a terminal ---


def test_unsettled_servers_are_asked_about_in_one_question(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    assert world.reset(A, B, C, confirm=True).exit_code == ExitCode.UNKNOWN
    (question,) = world.questions
    assert (question.servers, question.unsettled) == ((A, B, C), 2)
    assert [line.partition(":")[0] for line in question.lines] == [A, B]
    assert len(world.posts) == 2


def test_a_group_and_unsettled_servers_are_asked_about_in_one_question(world: World) -> None:
    world.answer = lost
    world.reset(A)
    world.reset(A, B, confirm=True, asks=True)
    assert [question.unsettled for question in world.questions] == [1]
    assert len(world.posts) == 2


def test_a_group_is_asked_about_with_again_too(world: World) -> None:
    assert world.reset(A, B, confirm=True, asks=True, again=True).exit_code == ExitCode.OK
    assert [question.unsettled for question in world.questions] == [0]


def test_no_sends_nothing(world: World) -> None:
    world.answer = lost
    world.reset(A)
    outcome = world.reset(A, confirm=False)
    assert outcome.exit_code == ExitCode.FAILED
    assert message(outcome) == "Declined."
    assert len(world.posts) == 1


@pytest.mark.parametrize("rounds", [1, 9])
def test_what_another_process_resets_during_the_question_is_asked_about_too(
    world: World, rounds: int
) -> None:
    world.answer = lost
    world.reset(A, B)

    def confirm(_question: Question) -> bool:
        if len(world.questions) <= rounds:
            world.reset(B, again=True)
        return True

    outcome = world.reset(A, B, confirm=confirm)
    if rounds == 1:
        assert outcome.exit_code == ExitCode.UNKNOWN
        assert [question.unsettled for question in world.questions] == [2, 1]
        assert len(world.posts) == 3
    else:
        assert is_refused(outcome)
        assert len(world.questions) == guard.MOST_TRIES
        assert len(world.posts) == 1 + guard.MOST_TRIES


@pytest.mark.parametrize("step", ["poll", "look", "question"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_signal_at_any_step_ends_it_with_nothing_sent(
    world: World, step: str, asks: bool
) -> None:
    world.answer = lambda servers: world.sent(queued(A), left_out(B))
    world.reset(A, B)

    def confirm(_question: Question) -> bool:
        if step == "question":
            raise Interrupted(2)
        return True

    def status(_operation: Operation) -> OperationStatus:
        if step == "poll":
            world.inbox.interrupt(2)
        return EXECUTING

    def show(server: str) -> Observation:
        if step == "look":
            world.inbox.interrupt(2)
        return Observation(server)

    world.statuses, world.show = status, show
    outcome = world.reset(A, B, confirm=confirm, asks=asks)
    assert outcome.exit_code == 130
    assert set(states(outcome).values()) == {"not sent"}
    assert len(world.posts) == 1


def test_a_question_that_fails_is_a_bug_with_nothing_sent(world: World) -> None:
    world.answer = lost
    world.reset(A)
    outcome = world.reset(A, confirm=lambda _question: 1 // 0 == 0)
    assert outcome.exit_code == ExitCode.NOT_SENT
    assert (outcome.crash or "").startswith("ZeroDivisionError: ")
    assert len(world.posts) == 1


# --- without a check, without a journal ---


def test_again_asks_nobody_and_looks_at_nothing(world: World) -> None:
    world.answer = lost
    world.reset(A)
    assert world.reset(A, again=True, confirm=False).exit_code == ExitCode.UNKNOWN
    assert len(world.posts) == 2
    assert (world.questions, world.calls) == ([], [])


@pytest.mark.parametrize("asks", [True, False])
def test_a_journal_that_cannot_be_written_is_a_warning(
    world: World, caplog: pytest.LogCaptureFixture, asks: bool
) -> None:
    world.reset(C, waits=True)
    world.broken = True
    outcome = world.reset(A, B, asks=asks, confirm=True)
    assert outcome.exit_code == ExitCode.OK
    assert outcome.run is None
    (warning,) = warnings(caplog)
    assert "journal.sqlite3 can't be" in warning
    assert "This reset isn't recorded" in warning
    assert len(world.questions) == asks


@pytest.mark.parametrize(("asks", "again"), [(True, False), (False, True)])
def test_a_journal_that_is_off_is_no_guard(
    world: World, caplog: pytest.LogCaptureFixture, asks: bool, again: bool
) -> None:
    world.journal = type(world.journal)(None, world.clocks)
    assert world.reset(A, B, asks=asks, again=again, confirm=True, at_a_time=1).exit_code == 0
    expected = [] if again else ["Without a journal, clc can't check for earlier resets."]
    assert warnings(caplog) == expected
    assert len(world.questions) == asks
    assert world.posts == [(A,), (B,)]


# --- the points of the protocol that the guard decides ---


def test_a_server_that_a_live_run_has_still_to_send_is_unsettled(world: World) -> None:
    """A run is sending wave by wave: its planned servers belong to it (point 2)."""
    others: list[Outcome] = []
    world.inbox.at(5, lambda: others.append(other(world).reset(B, C)))
    outcome = world.reset(A, B, at_a_time=1, pause=10.0)
    assert outcome.exit_code == ExitCode.OK
    assert is_refused(others[0])
    assert f"{B}: planned by run {outcome.run}, which is still going on" in message(others[0])


def test_of_two_that_confirm_at_the_same_moment_one_sends(world: World) -> None:
    """Point 3: the confirmation is recorded in the transaction of the second check."""
    world.answer = lost
    world.reset(A)
    second = other(world)
    world.script(EXECUTING)

    def yes_once(_question: Question) -> bool:
        if len(world.questions) == 1:
            assert second.reset(A, confirm=True).exit_code == ExitCode.OK
        return len(world.questions) == 1  # then it is the other's reset that is asked about

    assert world.reset(A, confirm=yes_once).exit_code == ExitCode.FAILED
    assert (len(world.posts), len(second.posts)) == (1, 1)


def test_the_rest_of_a_run_is_claimed_by_one_of_two(world: World) -> None:
    """Point 4: the second one read the rest before the first one claimed it."""
    run = stop_after_the_first_wave(world, A, B, C)
    rest = world.journal.rest_of(run)
    first = world.rest_of(run)
    assert first.exit_code == ExitCode.OK
    posts = len(world.posts)
    second = world.reset(*rest.servers, rest=rest)
    assert len(world.posts) == posts
    assert (second.results, second.exit_code) == ((), ExitCode.OK)


def test_the_rest_leaves_out_what_another_run_has_reset_since(world: World) -> None:
    """Point 4: read before the other reset, claimed after it."""
    run = stop_after_the_first_wave(world, A, B, C)
    rest = world.journal.rest_of(run)
    taker = world.reset(B, waits=True)
    outcome = world.reset(*rest.servers, rest=rest, at_a_time=5)
    assert world.posts[-1] == (C,)
    assert states(outcome) == {B: "not sent", C: "succeeded"}
    assert outcome.results[0].run == taker.run
    assert outcome.exit_code == ExitCode.FAILED


def test_a_claim_that_finds_more_than_was_read_reports_all_that_it_sends(world: World) -> None:
    run = stop_after_the_first_wave(world, A, B, C)
    rest = world.journal.rest_of(run)
    fewer = rest._replace(left=rest.left[1:])  # B was under way, and came back meanwhile
    outcome = world.reset(*fewer.servers, rest=fewer)
    assert world.posts[-1] == (B, C)
    assert states(outcome) == {C: "succeeded" if outcome.waited else "queued", B: "queued"}


@pytest.mark.parametrize("number", [2, 11])
def test_again_does_not_switch_the_guard_of_a_rest_off(world: World, number: int) -> None:
    servers = [f"WA1ALIASN{place:02d}" for place in range(number)]
    usual, world.answer = world.answer, lost
    world.reset(*servers)
    world.answer = usual
    world.inbox.signal(world.seconds + 5)
    run = world.reset(A, *servers, at_a_time=1, pause=10.0, again=True).run or ""
    world.inbox.signum = None
    outcome = world.rest_of(run, again=True)
    assert (outcome.exit_code, len(world.posts)) == (ExitCode.UNSETTLED, 2)
    advice = f"To reset it anyway: clc reset {' '.join(servers)} --again"
    assert outcome.error is not None
    assert (advice in outcome.error.hint) is (number == 2)  # no command names more than ten


def test_the_rest_of_a_run_that_goes_on_is_refused(world: World) -> None:
    """Point 2: during the pause of a live run, its rest belongs to it."""
    seen: list[Outcome] = []
    world.inbox.at(5, lambda: seen.append(other(world).rest_of(world.latest().id)))
    assert world.reset(A, B, at_a_time=1, pause=10.0).exit_code == ExitCode.OK
    (refusal,) = seen
    assert refusal.exit_code == ExitCode.UNSETTLED
    assert "is still going on, or may be." in message(refusal)
    assert world.posts == [(A,), (B,)]


def test_again_claims_the_rest_of_a_run_that_may_go_on(world: World) -> None:
    """The run that goes on leaves out what was claimed, and names it."""
    claimed: list[Outcome] = []
    world.inbox.at(
        5, lambda: claimed.append(other(world).rest_of(world.latest().id, again=True, waits=True))
    )
    outcome = world.reset(A, B, C, at_a_time=1, pause=10.0)
    assert states(claimed[0]) == {B: "succeeded", C: "succeeded"}
    assert world.posts == [(A,)]
    assert states(outcome) == {A: "succeeded", B: "not sent", C: "not sent"}
    assert {result.run for result in outcome.results[1:]} == {claimed[0].run}
    assert outcome.exit_code == ExitCode.FAILED


def test_again_does_not_switch_the_guard_off_for_a_rest(world: World) -> None:
    run = stop_after_the_first_wave(world, A, B)
    world.answer = lost
    world.seconds += 1
    rest = world.journal.rest_of(run)
    begin(world, B)
    kill(world)
    outcome = world.reset(*rest.servers, rest=rest, again=True)
    assert len(world.posts) == 1
    assert (outcome.results, outcome.in_doubt, outcome.exit_code) == ((), True, ExitCode.UNKNOWN)


@pytest.mark.parametrize("status", [EXECUTING, SUCCEEDED])
def test_a_rest_waits_for_operations_of_its_run(world: World, status: OperationStatus) -> None:
    world.script(EXECUTING)
    world.inbox.signal(5)
    run = world.reset(A, B, at_a_time=1).run
    world.inbox.signum = None
    world.script(status)
    assert run
    outcome = world.rest_of(run)
    if status is EXECUTING:
        assert outcome.exit_code == ExitCode.UNSETTLED
        assert message(outcome) == f"Operations of run {run} are still running."
        assert world.posts == [(A,)]
    else:
        assert outcome.exit_code == ExitCode.OK
        assert world.posts == [(A,), (B,)]


def test_a_rest_that_cannot_be_recorded_sends_nothing(world: World) -> None:
    run = stop_after_the_first_wave(world, A, B)
    rest = world.journal.rest_of(run)
    world.broken = True
    outcome = world.reset(*rest.servers, rest=rest)
    assert is_refused(outcome)
    assert f"Run {run} can't be claimed." in message(outcome)
    assert world.posts == [(A,)]


@pytest.mark.parametrize("step", [-4200.0, 4200.0])
def test_a_step_of_the_wall_clock_hides_no_reset(world: World, step: float) -> None:
    """Point 8: 70 minutes, between a reset and the next one two seconds later."""
    world.answer = lost
    world.reset(A)
    world.skew += step
    world.seconds = 2
    assert is_refused(world.reset(A))


def test_a_status_that_cannot_be_recorded_is_asked_for_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Point 9: what the API says holds, whatever the journal takes."""
    world.reset(A)

    def status(_operation: Operation) -> OperationStatus:
        world.broken = True
        return SUCCEEDED

    world.statuses = status
    assert world.reset(A).exit_code == ExitCode.OK
    assert len(world.polls()) == 1
    assert len(warnings(caplog)) == 2
    assert len(world.posts) == 2


def test_a_yes_covers_the_unsettled_servers_of_later_waves(world: World) -> None:
    world.answer = lost
    world.reset(B)
    world.answer = lambda servers: world.sent(*map(queued, servers))
    assert world.reset(A, B, at_a_time=1, confirm=True).exit_code == ExitCode.OK
    assert len(world.questions) == 1
    assert world.posts[1:] == [(A,), (B,)]
