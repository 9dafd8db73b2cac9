"""What has become of earlier resets: what the journal knows, and what the API says now."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clc_reset.errors import AuthenticationError, ClcError, KeyringError, UnreachableError
from clc_reset.journal import Journal, Run
from clc_reset.models import (
    NoNews,
    Operation,
    ResetAnswer,
    Sending,
    ServerResult,
)
from clc_reset.resets import batch, inquiry, rolling
from clc_reset.resets.inquiry import Part
from clc_reset.resets.outcome import Ending, Outcome, Verdict, remarks
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    ONE,
    ORIGIN,
    SUCCEEDED,
    THREE,
    TWO,
    UNREACHED,
    USER,
    A,
    B,
    C,
    D,
    News,
    World,
    check_that_what_shows_and_records_changes_nothing,
    operation,
    order,
    queued,
    refused,
    scripted,
    states,
    unknown,
)

AWAY = Operation("wa1-9", None)
DENIED = AuthenticationError("refused")
DOWN = UnreachableError("The API was not reached: connection refused.")


class Past:
    """Resets of the past, and what is asked about them."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.folder = folder

    @property
    def journal(self) -> Journal:
        return self.world.journal(self.folder)

    def reset(self, *results: ServerResult, **options: Any) -> Run:
        """A reset that was answered so."""
        servers = [each.server for each in results if each.server]
        self.world.api.reset = lambda _servers: self.world.api.sent(*results)
        batch.reset(order(*servers, again=True, **options), self.world.tools(self.folder))
        return self.latest()

    def end(self, answer: Callable[[Sequence[str]], ResetAnswer], *servers: str) -> Run:
        """A reset that ended so."""
        self.world.api.reset = answer
        batch.reset(order(*servers, again=True), self.world.tools(self.folder))
        return self.latest()

    def kill(self, *servers: str) -> Run:
        """One that was killed with its request in flight."""
        self.journal.begin(ORIGIN, ACCOUNT, USER, servers, unsettled_within=None)
        return self.latest()

    def latest(self) -> Run:
        run = self.journal.latest(ORIGIN, ACCOUNT)
        assert run
        return run

    def ask(
        self,
        *runs: Run | Part,
        operations: Sequence[Operation] = (),
        wait: bool = False,
        limit: float | None = None,
    ) -> Outcome:
        parts = [Part.whole(each) if isinstance(each, Run) else each for each in runs]
        tools = self.world.tools(self.folder)
        return inquiry.ask(parts, operations, ACCOUNT, tools, wait=wait, limit=limit)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


# asked once


def test_each_operation_is_asked_once_and_nothing_is_shown_of_it(past: Past) -> None:
    run = past.reset(queued(A), queued(B), queued(C, TWO), refused(D))
    past.world.told.clear()
    past.world.api.status = scripted(o1=[EXECUTING], o2=[SUCCEEDED])
    outcome = past.ask(run)
    assert states(outcome.results) == {A: "running", B: "running", C: "succeeded", D: "failed"}
    assert [asked for _, asked in past.world.api.polls] == [ONE, TWO]
    assert {name for name, _ in past.world.told} == {"close"}
    assert outcome.verdict is Verdict.FAILED
    assert past.latest().statuses == {ONE: EXECUTING, TWO: SUCCEEDED}


def test_an_end_is_an_end_and_is_not_asked_for_again(past: Past) -> None:
    run = past.reset(queued(A), wait=True)
    past.world.api.polls.clear()
    assert past.ask(run).verdict is Verdict.DONE
    assert past.ask(run, wait=True).verdict is Verdict.DONE
    assert past.world.api.polls == []
    assert past.world.heard("following") == [({ONE: [A]},)]  # that of the reset


def test_what_still_runs_is_told_as_running_now(past: Past) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    outcome = past.ask(past.reset(queued(A)))
    assert (outcome.verdict, outcome.ending) == (Verdict.RUNNING, Ending.COMPLETE)


@pytest.mark.parametrize("operations", [1, 20])
def test_answers_that_take_too_long_leave_it_as_it_was(past: Past, operations: int) -> None:
    run = past.reset(*(queued(f"S{n}", operation(n)) for n in range(operations)))
    past.world.latency = lambda _asked: 80.0
    past.world.api.status = lambda _asked: MISS
    outcome = past.ask(run)
    assert (outcome.verdict, outcome.ending) == (Verdict.RUNNING, Ending.COMPLETE)
    assert past.world.seconds <= inquiry.ONE_ROUND_SECONDS + 11


# waited for


def test_the_wait_is_taken_up_again_with_the_answer_s_order(past: Past) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    run = past.reset(queued(B), queued(A))
    past.world.told.clear()
    past.world.api.show = past.world.api.changing({B: 7.0, A: 12.0})
    past.world.api.status = lambda _asked: SUCCEEDED if past.world.seconds > 20 else EXECUTING
    outcome = past.ask(run, wait=True)
    assert outcome.verdict is Verdict.DONE
    assert past.world.heard("following") == [({ONE: [B, A]},)]
    told = past.world.heard("server_changed")
    assert [each[1:4] for each in told] == [(B, 1, 2), (A, 2, 2)]


def test_a_time_limit_ends_it(past: Past) -> None:
    run = past.reset(queued(A))
    past.world.api.status = lambda _asked: EXECUTING
    outcome = past.ask(run, wait=True, limit=20.0)
    assert (outcome.verdict, outcome.ending, outcome.limit) == (
        Verdict.RUNNING,
        Ending.TIME_LIMIT,
        20.0,
    )


def test_two_runs_are_told_each_by_its_own_sending_and_user(past: Past) -> None:
    first = past.kill(A)
    past.world.seconds = 100
    past.journal.begin(ORIGIN, ACCOUNT, "other", [B], unsettled_within=None)
    second = past.latest()
    past.world.seconds = 200
    past.world.api.show = past.world.api.changing({A: 50, B: 150})
    outcome = past.ask(first, second)
    assert [(each.message or "").partition("; ")[2] for each in outcome.results] == [
        "changed 12:00:50 UTC by nightly, 50 s after it was sent.",
        "changed 12:02:30 UTC by nightly, 50 s after it was sent, not by other.",
    ]
    assert outcome.run is None


def test_a_server_of_two_runs_is_told_by_the_one_that_was_named(past: Past) -> None:
    first = past.kill(A, B)
    past.world.seconds = 100
    second = past.kill(A, C)
    past.world.seconds = 200
    past.world.api.show = past.world.api.changing({B: 150})
    outcome = past.ask(Part(second, (C,)), Part(first, (B,)))
    assert states(outcome.results) == {C: "unknown", B: "unknown"}
    assert (outcome.results[1].message or "").endswith("150 s after it was sent.")


# what the journal alone knows


def test_a_reset_that_was_killed_with_its_request_in_flight_is_unknown(past: Past) -> None:
    run = past.kill(A, B)
    for _ in range(3):  # to ask changes nothing
        outcome = past.ask(run)
        assert outcome.verdict is Verdict.UNKNOWN
        assert outcome.sending is Sending.MAYBE_SENT
        assert (outcome.results[0].message or "").startswith(
            "Maybe sent at 2026-01-15 12:00 UTC, no answer was ever recorded; not changed"
        )
        assert past.latest() == run


@pytest.mark.parametrize(
    ("error", "message"), [(DOWN, DOWN.message), (None, "Interrupted before it was sent.")]
)
def test_what_was_certainly_not_sent_has_failed_and_is_never_safe_to_repeat_from_status(
    past: Past, error: ClcError | None, message: str
) -> None:
    signum = None if error else 2
    run = past.end(lambda servers: ResetAnswer.not_sent(servers, error, signum), A, B)
    for outcome in (
        past.ask(run),
        past.ask(run, wait=True),
        inquiry.unasked([Part.whole(run)], [], DOWN),
    ):
        assert (outcome.sending, outcome.verdict) == (Sending.NOT_SENT, Verdict.FAILED)
        assert states(outcome.results) == {A: "not sent", B: "not sent"}
        assert outcome.results[0].message == message
        assert outcome.has_result
        (remark,) = remarks(outcome, ACCOUNT)
        assert remark.hint == f"To reset those: clc reset --rest-of {run.id}"


def test_an_answer_that_was_lost_says_why(past: Past) -> None:
    run = past.end(lambda servers: ResetAnswer.maybe_sent(servers, "no answer within 180 s"), A)
    outcome = past.ask(run)
    (remark,) = remarks(outcome, ACCOUNT)
    assert outcome.verdict is Verdict.UNKNOWN
    assert remark.message.startswith("A reset was sent, but no answer within 180 s. ")


def test_a_rolling_reset_that_was_killed_between_waves_tells_what_was_sent(past: Past) -> None:
    world = past.world

    class Killed(BaseException):
        pass

    def kill(what: str) -> None:
        if what == "sleep":
            raise Killed

    world.tripwire = kill
    plan = rolling.Plan(2, pause=1.0)
    with pytest.raises(Killed):
        rolling.reset(order(A, B, C, D), plan, world.tools(past.folder))
    outcome = inquiry.known(past.latest())
    assert states(outcome.results) == {A: "succeeded", B: "succeeded", C: "not sent", D: "not sent"}
    assert (outcome.sending, outcome.verdict) == (Sending.SENT, Verdict.FAILED)
    assert outcome.results[2].message == "Not sent: its turn never came."


def test_the_last_status_heard_is_known(past: Past) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    run = past.reset(queued(A), refused(B), wait=True, limit=1.0)
    assert states(inquiry.known(run).results) == {A: "running", B: "failed"}


# where the API can't be asked


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (queued(A), Verdict.RUNNING),
        (unknown(A), Verdict.UNKNOWN),
        (queued(A, AWAY), Verdict.UNKNOWN),
    ],
)
def test_an_api_that_is_down_leaves_what_is_known_and_says_why(
    past: Past, result: ServerResult, verdict: Verdict
) -> None:
    run = past.reset(result)
    past.world.api.status = lambda _asked: UNREACHED
    for outcome in (past.ask(run), inquiry.unasked([Part.whole(run)], [], DOWN)):
        assert outcome.verdict is verdict
        assert len(outcome.results) == 1
    assert outcome.error is DOWN
    assert past.latest() == run  # and the journal says what it said


def test_an_api_that_is_down_is_said_once_and_not_looked_at(past: Past) -> None:
    run = past.reset(queued(A), unknown(B))
    past.world.api.status = lambda _asked: UNREACHED
    outcome = past.ask(run)
    assert (outcome.verdict, outcome.ending) == (Verdict.UNKNOWN, Ending.ERROR)
    assert isinstance(outcome.error, UnreachableError)
    assert outcome.error.message == "The API was not reached: connection refused."
    assert past.world.api.looks == []


def test_one_operation_that_answers_means_that_the_api_is_there(past: Past) -> None:
    run = past.reset(queued(A), queued(B, TWO))
    past.world.api.status = scripted(o1=[UNREACHED], o2=[EXECUTING])
    outcome = past.ask(run)
    assert (outcome.error, outcome.verdict) == (None, Verdict.RUNNING)


@pytest.mark.parametrize("error", [DENIED, KeyringError("locked")])
def test_without_a_token_what_is_known_is_told_and_ends_as_denied(
    past: Past, error: ClcError
) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    run = past.reset(queued(A), wait=True, limit=1.0)
    outcome = inquiry.unasked([Part.whole(run)], [], error)
    assert outcome.verdict is Verdict.AUTHENTICATION
    assert states(outcome.results) == {A: "running"}
    assert outcome.results[0].words(plain=False) == "executing; as last heard."


@pytest.mark.parametrize("error", [DENIED, DOWN, None])
def test_where_all_is_known_there_is_nothing_to_ask_and_no_error(
    past: Past, error: ClcError | None
) -> None:
    run = past.reset(queued(A), wait=True)
    outcome = inquiry.unasked([Part.whole(run)], [], error)
    assert (outcome.error, outcome.verdict) == (None, Verdict.DONE)


def test_a_token_that_is_refused_now_tells_what_was_last_heard(past: Past) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    run = past.reset(queued(A), wait=True, limit=1.0)

    def deny(_asked: Operation) -> News:
        raise DENIED

    past.world.api.status = deny
    outcome = past.ask(run, wait=True)
    assert outcome.verdict is Verdict.AUTHENTICATION
    assert states(outcome.results) == {A: "running"}
    assert outcome.results[0].words(plain=False) == "executing; as last heard."


def test_what_is_silent_now_is_as_it_was_last_heard(past: Past) -> None:
    past.world.api.status = lambda _asked: EXECUTING
    run = past.reset(queued(A), wait=True, limit=1.0)
    past.world.api.status = lambda _asked: MISS
    outcome = past.ask(run)
    assert outcome.results[0].words(plain=False) == (
        "executing; as last heard. No status yet: the API answered 500."
    )
    assert outcome.verdict is Verdict.RUNNING


def test_a_signal_ends_it_and_what_is_known_is_told(past: Past) -> None:
    run = past.reset(queued(A), queued(B, TWO))

    def status(asked: Operation) -> News:
        if past.world.seconds > 5:
            past.world.stop.set(signal.SIGINT)
        return SUCCEEDED if asked == ONE else EXECUTING

    past.world.api.status = status
    outcome = past.ask(run, wait=True)
    assert (outcome.verdict, outcome.signum) == (Verdict.INTERRUPTED, signal.SIGINT)
    assert states(outcome.results) == {A: "succeeded", B: "running"}
    assert past.latest().statuses == {ONE: SUCCEEDED, TWO: EXECUTING}


# operations that nobody knows the servers of


@pytest.mark.parametrize(
    ("news", "wait", "state", "verdict"),
    [
        (SUCCEEDED, False, "succeeded", Verdict.DONE),
        (FAILED, True, "failed", Verdict.FAILED),
        (EXECUTING, False, "running", Verdict.RUNNING),
        (GONE, False, "unknown", Verdict.UNKNOWN),
        (MISS, True, "queued", Verdict.RUNNING),
        (UNREACHED, False, "queued", Verdict.RUNNING),
    ],
)
def test_an_operation_may_be_asked_for_by_its_id(
    past: Past, news: News, wait: bool, state: str, verdict: Verdict
) -> None:
    past.world.api.status = lambda _asked: news
    outcome = past.ask(operations=[THREE], wait=wait, limit=20.0)
    assert [(each.server, each.state) for each in outcome.results] == [(None, state)]
    assert (outcome.verdict, outcome.account) == (verdict, ACCOUNT)
    assert past.world.api.looks == []


def test_both_may_be_asked_for_together(past: Past) -> None:
    run = past.reset(queued(A), queued(B, TWO))
    part = Part.of_operation(run, "wa1-2")
    assert (part.servers, part.is_whole) == ((B,), False)
    assert Part.whole(run).is_whole
    past.world.api.status = lambda _asked: SUCCEEDED
    outcome = past.ask(part, operations=[THREE])
    assert states(outcome.results) == {B: "succeeded", None: "succeeded"}
    assert not outcome.is_latest or outcome.run == run.id


def test_a_part_of_an_operation_leaves_out_who_has_none(past: Past) -> None:
    world = past.world
    run = past.reset(queued(A), refused(B), queued(C, None))
    assert Part.of_operation(run, "wa1-1").servers == (A,)
    world.seconds = 1
    killed = past.kill(A)
    assert Part.of_operation(killed, "wa1-1").servers == ()


# how it is followed


def test_a_run_that_is_not_the_latest_is_named(past: Past) -> None:
    first = past.reset(queued(A))
    past.world.api.status = lambda _asked: EXECUTING
    assert past.ask(first).is_latest
    second = past.reset(queued(B, TWO))
    assert not past.ask(first).is_latest
    assert past.ask(second).is_latest
    assert not past.ask(first, second).is_latest


# what only shows or records


def eventful(world: World, folder: Path) -> Outcome:
    past = Past(folder)
    wire, world.tripwire = world.tripwire, lambda _what: None
    past.world = world
    run = past.reset(queued(A), queued(B), queued(C, TWO))
    world.told.clear()
    world.api.posts.clear()
    world.tripwire = wire
    world.api.show = world.api.changing({A: 11.0})
    world.api.status = scripted(
        o1=[EXECUTING] * 20 + [FAILED], o2=[NoNews("x")] * 4 + [EXECUTING, SUCCEEDED]
    )
    return past.ask(run, wait=True)


def test_what_only_shows_or_records_changes_nothing_whenever_it_raises(tmp_path: Path) -> None:
    called = check_that_what_shows_and_records_changes_nothing(eventful, tmp_path)
    assert called >= {
        *(f"journal.{name}" for name in ("resume", "latest")),
        *(f"entry.{name}" for name in ("heard", "flush", "close")),
        *(f"listener.{name}" for name in ("following", "changed", "server_changed", "close")),
    }


def test_an_operation_of_another_run_is_recorded_nowhere(past: Past) -> None:
    run = past.reset(queued(A))
    past.world.api.status = lambda _asked: SUCCEEDED
    past.ask(Part(run, ()), operations=[operation(7)])
    assert past.latest() == run
