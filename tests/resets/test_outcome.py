from typing import Any

import pytest

from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    DeclinedError,
    Interrupted,
    JournalError,
    RefusedError,
    UnreachableError,
    UnsettledError,
    UsageError,
)
from clc_reset.exit_codes import ExitCode
from clc_reset.models import Operation, OperationStatus, PollFailure, ResetAnswer, ServerResult
from clc_reset.models import ServerState as S
from clc_reset.resets.outcome import (
    NOT_REACHED,
    Ending,
    Outcome,
    followable,
    with_status,
)
from tests.resets.world import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    MISS,
    ONE,
    SUCCEEDED,
    TWO,
    A,
    B,
    C,
    queued,
    refused,
    states,
)

DENIED = AuthenticationError("refused")


def outcome(*found: S, waited: bool = True, **values: Any) -> Outcome:
    results = (ServerResult(f"S{n}", state) for n, state in enumerate(found))
    return Outcome(ACCOUNT, tuple(results), waited=waited)._replace(**values)


# --- exit codes ---


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (UnsettledError("x"), 3),
        (DENIED, 4),
        (UnreachableError("x"), 5),
        (RefusedError("x"), 5),
        (DeclinedError("x"), 1),
        (JournalError("x"), 1),
        (ZeroDivisionError("x"), 5),
        (Interrupted(1), 129),
    ],
)
def test_where_nothing_was_sent_the_error_tells_the_exit_code(
    error: BaseException, code: int
) -> None:
    ended = Outcome.not_sent(ACCOUNT, [A, B], waited=True).ended_by(error)
    assert ended.exit_code == code
    assert not ended.was_sent
    assert not ended.has_result
    assert [result.message for result in ended.results] == [NOT_REACHED] * 2


@pytest.mark.parametrize("error", [UsageError("x"), UnsettledError("x"), DENIED, RefusedError("x")])
def test_after_something_was_sent_no_error_says_that_nothing_was(error: ClcError) -> None:
    """Point 13: a wave that is refused after others were sent is exit 1."""
    ended = outcome(S.SUCCEEDED, S.NOT_SENT).ended_by(error)
    assert (ended.ending, ended.exit_code) == (Ending.STOPPED, ExitCode.FAILED)


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
def test_of_mixed_results_the_first_of_6_1_and_7_applies(found: tuple[S, ...], code: int) -> None:
    assert outcome(*found).exit_code == code
    assert outcome(*found, ending=Ending.TIME_LIMIT).exit_code == code
    assert outcome(*found, ending=Ending.INTERRUPTED, signum=2).exit_code == 130


@pytest.mark.parametrize(
    ("found", "code"),
    [((S.UNKNOWN, S.RUNNING), 6), ((S.RUNNING, S.FAILED), 4), ((S.SUCCEEDED,), 4)],
)
def test_a_refused_token_is_4_after_6_and_before_1(found: tuple[S, ...], code: int) -> None:
    assert outcome(*found, ending=Ending.ERROR, error=DENIED).exit_code == code


def test_what_is_queued_is_good_where_nobody_waits() -> None:
    assert outcome(S.QUEUED, S.QUEUED, waited=False).exit_code == ExitCode.OK
    assert outcome(S.QUEUED, S.FAILED, waited=False).exit_code == ExitCode.FAILED


def test_a_bug_is_1_where_everything_succeeded() -> None:
    assert outcome(S.SUCCEEDED).ended_by(ValueError("x")).exit_code == ExitCode.FAILED


def test_an_unreachable_api_is_never_5_from_status() -> None:
    ended = outcome(S.RUNNING, resets=False).ended_by(UnreachableError("x"))
    assert (ended.ending, ended.exit_code) == (Ending.ERROR, ExitCode.RUNNING)
    assert ended.has_result


@pytest.mark.parametrize(("in_doubt", "code"), [(False, 0), (True, 6)])
def test_an_empty_rest_is_0_or_6_where_a_server_is_in_doubt(in_doubt: bool, code: int) -> None:
    assert outcome(in_doubt=in_doubt).exit_code == code


def test_servers_that_were_all_left_out_are_shown() -> None:
    left_out = outcome(S.NOT_SENT, ending=Ending.STOPPED)
    assert left_out.has_result
    assert left_out.exit_code == ExitCode.FAILED


# --- answers ---


def test_from_before_the_request_the_outcome_is_unknown() -> None:
    sending = Outcome.not_sent(ACCOUNT, [A, B, C], waited=False).sending([A, B])
    assert states(sending) == {A: "unknown", B: "unknown", C: "not sent"}
    assert sending.exit_code == ExitCode.UNKNOWN


def test_a_server_missing_from_the_answer_stays_unknown() -> None:
    sending = Outcome.not_sent(ACCOUNT, [A, B], waited=False).sending([A, B])
    answer = ResetAnswer.maybe_sent([A], "x")._replace(results=(queued(A),), unasked=("X",))
    answered = sending.with_answer(answer)
    assert states(answered) == {A: "queued", B: "unknown"}
    assert answered.unasked == ("X",)
    assert answered.problem == "x"


def test_what_was_not_sent_says_why() -> None:
    sending = Outcome.not_sent(ACCOUNT, [A], waited=False).sending([A])
    answered = sending.with_answer(ResetAnswer.not_sent([A], UnreachableError("No network.")))
    assert answered.results[0].message == "Not sent: no network."
    assert (answered.ending, answered.exit_code) == (Ending.ERROR, ExitCode.NOT_SENT)
    answered = sending.with_answer(ResetAnswer.not_sent([A], signum=15))
    assert answered.results[0].message == "Not sent: interrupted before it was sent."
    assert answered.exit_code == 143


def test_a_server_that_was_left_out_names_the_other_run() -> None:
    (result,) = Outcome.not_sent(ACCOUNT, [A], waited=True).leaving_out({A: "run-2"}).results
    assert (result.run, result.message) == ("run-2", "Left out: run run-2 may have reset it.")


# --- waves ---


@pytest.mark.parametrize(
    ("state", "ends"),
    [(S.SUCCEEDED, False), (S.FAILED, True), (S.UNKNOWN, True), (S.RUNNING, True)],
)
def test_a_failure_or_a_doubt_ends_the_run(state: S, ends: bool) -> None:
    assert outcome(state, S.NOT_SENT).ends_the_run(["S0"], 0) is ends
    if state is S.FAILED:
        assert not outcome(state, S.NOT_SENT).ends_the_run(["S0"], 1)
        assert outcome(state, state).ends_the_run(["S0"], 1)
    assert outcome(S.SUCCEEDED, ending=Ending.TIME_LIMIT).ends_the_run(["S0"], 0)


# --- operations ---


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        (OperationStatus("Succeeded"), "succeeded", None),
        (FAILED, "failed", "The operation failed; the API doesn't say why."),
        (EXECUTING, "running", None),
    ],
)
def test_a_status_becomes_a_state(status: OperationStatus, state: str, message: str | None) -> None:
    result = with_status(queued(A), status, 1)
    assert (result.state, result.message) == (state, message)
    assert result.status == (EXECUTING if state == "running" else None)


def test_a_shared_operation_that_failed_says_how_many_share_it() -> None:
    result = with_status(queued(A), FAILED, 1200)
    assert (result.message or "").startswith("The operation failed. 1,200 servers share it")


def test_what_a_wait_learned_of_operations_is_in_the_results() -> None:
    three = Operation("wa1-3", "/3")
    found = (queued(A), queued(B, TWO), queued(C, three), refused("D"), queued("E", None))
    known = Outcome(ACCOUNT, found).with_statuses(
        {ONE: SUCCEEDED}, {TWO: PollFailure("no answer")}, {three}, {}
    )
    assert list(states(known).values()) == ["succeeded", "queued", "unknown", "failed", "queued"]
    assert known.results[1].message == "No status: no answer."
    assert known.results[2].message == "The API doesn't know this operation any more."
    untouched = Outcome(ACCOUNT, (queued(A),)).with_statuses({}, {TWO: MISS}, (), {})
    assert untouched.results == (queued(A),)


def test_what_cannot_be_followed_is_unknown_once_it_is_waited_for() -> None:
    away = queued(A, Operation("x", None))
    assert [followable(r).state for r in (queued(A), queued(A, None), away, refused(A))] == [
        "queued",
        "unknown",
        "unknown",
        "failed",
    ]
    assert "leads away from the API" in (followable(away).message or "")


def test_only_operations_that_can_be_asked_are_pending() -> None:
    found = (queued(A), queued(B), queued(C, Operation("x", None)), refused("D"))
    assert Outcome(ACCOUNT, found).pending == (ONE,)


def test_servers_that_a_look_can_tell_more_of_are_in_doubt() -> None:
    shared = queued(A)._replace(state=S.FAILED)
    cases = {
        "shared": shared,
        "own": queued(B, TWO)._replace(state=S.FAILED),
        "refused": refused(C),
        "check": shared._replace(has_failed_check=True),
        "unknown": ServerResult("D", S.UNKNOWN),
        "running": queued("E"),
        "no server": ServerResult(None, S.UNKNOWN, ONE),
    }
    for ending, more in ((Ending.COMPLETE, set[str]()), (Ending.TIME_LIMIT, {"running"})):
        found = Outcome(ACCOUNT, tuple(cases.values()), ending).doubtful({ONE: 2, TWO: 1})
        assert {n for n, r in cases.items() if r in found} == {"shared", "unknown"} | more
