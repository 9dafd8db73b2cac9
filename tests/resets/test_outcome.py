"""Exit codes, and what answers, statuses and errors make of an outcome."""

from typing import Any

import pytest

from clc_reset.errors import AuthenticationError, Interrupted, UnreachableError, UsageError
from clc_reset.models import Operation, OperationStatus, PollFailure, ResetAnswer, ServerResult
from clc_reset.models import ServerState as S
from clc_reset.resets.outcome import NOT_REACHED, Ending, Outcome, with_status
from tests.builders import ACCOUNT, EXECUTING, FAILED, ONE, SUCCEEDED, TWO, A, B, C, queued, refused
from tests.resets.world import states

DENIED = AuthenticationError("refused")


def outcome(*found: S, waited: bool = True, **values: Any) -> Outcome:
    results = (ServerResult(f"S{n}", state) for n, state in enumerate(found))
    return Outcome(ACCOUNT, tuple(results), waited=waited)._replace(**values)


def sending(*servers: str) -> Outcome:
    """A reset of A and B while the request for some of them is under way."""
    return Outcome.not_sent(ACCOUNT, [A, B], waited=False).sending(servers)


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("x"), 2), (DENIED, 4), (ZeroDivisionError("x"), 5), (Interrupted(1), 129)],
)
def test_if_nothing_was_sent_the_error_tells_the_exit_code(error: BaseException, code: int) -> None:
    ended = Outcome.not_sent(ACCOUNT, [A, B], waited=True).ended_by(error)
    assert (ended.exit_code, ended.was_sent, ended.has_result) == (code, False, False)
    assert [result.message for result in ended.results] == [NOT_REACHED] * 2
    ended = outcome(S.SUCCEEDED, S.NOT_SENT).ended_by(error)
    assert ended.exit_code == (code if code == 129 else 1)
    assert (ended.ending is Ending.STOPPED) == (code != 129 and ended.crash is None)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ((S.SUCCEEDED,), 0),
        ((S.SUCCEEDED, S.RUNNING), 7),
        ((S.QUEUED,), 7),
        ((S.PLANNED, S.SUCCEEDED), 7),
        ((S.RUNNING, S.FAILED), 1),
        ((S.SUCCEEDED, S.NOT_SENT), 1),
        ((S.FAILED, S.RUNNING, S.UNKNOWN), 6),
    ],
)
def test_of_mixed_results_the_first_of_6_4_1_and_7_applies(found: tuple[S, ...], code: int) -> None:
    assert outcome(*found).exit_code == code
    assert outcome(*found, ending=Ending.TIME_LIMIT).exit_code == code
    assert outcome(*found, ending=Ending.INTERRUPTED, signum=2).exit_code == 130
    denied = outcome(*found, ending=Ending.ERROR, error=DENIED)
    assert denied.exit_code == (6 if code == 6 else 4)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (outcome(S.QUEUED, S.QUEUED, waited=False), 0),
        (outcome(S.QUEUED, S.FAILED, waited=False), 1),
        (outcome(S.SUCCEEDED).ended_by(ValueError("x")), 1),
        (outcome(S.RUNNING, resets=False).ended_by(UnreachableError("x")), 7),
        (outcome(), 0),
        (outcome(in_doubt=True), 6),
        (outcome(S.NOT_SENT, ending=Ending.STOPPED), 1),
    ],
)
def test_other_endings_have_a_result_and_their_codes(ended: Outcome, code: int) -> None:
    assert (ended.exit_code, ended.has_result) == (code, True)


def test_an_answer_leaves_servers_without_a_result_unknown_and_says_why_none_was_sent() -> None:
    assert states(sending(A)) == {A: "unknown", B: "not sent"}
    answer = ResetAnswer.maybe_sent([A], "x")._replace(results=(queued(A),))
    answered = sending(A, B).with_answer(answer)
    assert states(answered) == {A: "queued", B: "unknown"}
    assert (answered.problem, answered.exit_code) == ("x", 6)
    for not_sent, message in (
        (ResetAnswer.not_sent([A, B], UnreachableError("No network.")), "no network"),
        (ResetAnswer.not_sent([A, B], signum=15), "interrupted before it was sent"),
    ):
        results = sending(A, B).with_answer(not_sent).results
        assert [result.message for result in results] == [f"Not sent: {message}."] * 2


@pytest.mark.parametrize(
    ("state", "ends"),
    [(S.SUCCEEDED, False), (S.FAILED, True), (S.UNKNOWN, True), (S.RUNNING, True)],
)
def test_a_failure_or_a_doubt_ends_the_run(state: S, ends: bool) -> None:
    assert outcome(state, S.NOT_SENT).ends_the_run(["S0"], 0) is ends
    assert outcome(S.FAILED, state).ends_the_run(["S1"], 1) is ends
    assert outcome(state, ending=Ending.TIME_LIMIT).ends_the_run(["S0"], 0)


def test_a_status_becomes_a_state() -> None:
    before = queued(A)._replace(status=OperationStatus("resumed"), message="No status: it is down.")
    assert with_status(before, SUCCEEDED, 2) == ServerResult(A, S.SUCCEEDED, ONE)
    assert with_status(before, EXECUTING, 1) == ServerResult(A, S.RUNNING, ONE, status=EXECUTING)
    failed = with_status(before, FAILED, 1200)
    assert (failed.state, failed.status) == (S.FAILED, None)
    assert "1,200 servers share it" in (failed.message or "")


def test_what_a_wait_learned_of_operations_is_in_the_results() -> None:
    three = Operation("wa1-3", "/3")
    running = queued(C, three)._replace(state=S.RUNNING, status=EXECUTING)
    found = (queued(A), queued(B, TWO), running, refused("D"), queued("E", None))
    failures = {TWO: PollFailure("no answer")}
    known = Outcome(ACCOUNT, found).with_statuses({ONE: SUCCEEDED}, failures, {three}, {})
    assert list(states(known).values()) == ["succeeded", "queued", "unknown", "failed", "queued"]
    assert known.results[1].message == "No status: no answer."
    gone = "The API doesn't know this operation any more."
    assert (known.results[2].message, known.results[2].status) == (gone, None)


def test_what_cannot_be_followed_is_not_pending() -> None:
    found = (queued(A), queued(B), queued(A, None), queued(A, Operation("x", None)), refused(A))
    assert Outcome(ACCOUNT, found).pending == (ONE,)
