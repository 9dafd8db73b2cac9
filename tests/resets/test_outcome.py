import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    DeclinedError,
    KeyringError,
    RefusedError,
    UnreachableError,
    UnsettledError,
    UsageError,
)
from clc_reset.models import (
    NoNews,
    Operation,
    OperationStatus,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets.outcome import (
    Ending,
    Outcome,
    Verdict,
    doubtful,
    followable,
    how_to_follow,
    remarks,
    requested,
    settled,
    summary,
    verdict_of,
)
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    NOON,
    ONE,
    SUCCEEDED,
    TWO,
    A,
    B,
    C,
    queued,
    refused,
    states,
    unknown,
)

NOT_SENT, MAYBE_SENT, SENT = Sending
SOMETHING_SENT = (MAYBE_SENT, SENT)
ERRORS: Mapping[ClcError, Verdict] = {
    UsageError("x"): Verdict.USAGE,
    DeclinedError("x"): Verdict.DECLINED,
    UnsettledError("x"): Verdict.UNSETTLED,
    AuthenticationError("x"): Verdict.AUTHENTICATION,
    KeyringError("x"): Verdict.AUTHENTICATION,
    UnreachableError("x"): Verdict.NOT_SENT,
    RefusedError("x"): Verdict.NOT_SENT,
}


def in_state(state: ServerState, server: str = A) -> ServerResult:
    return ServerResult(server, state, ONE)


def outcome(*results: ServerResult, sending: Sending = SENT, **rest: Any) -> Outcome:
    return Outcome(ACCOUNT, results, sending, **rest)


def said(known: Outcome, usual: str | None = ACCOUNT) -> list[tuple[str, str, str | None]]:
    return [(each.kind, each.message, each.hint) for each in remarks(known, usual)]


# the verdict


@pytest.mark.parametrize(("error", "verdict"), ERRORS.items())
def test_what_ended_it_before_anything_was_sent_is_the_verdict(
    error: ClcError, verdict: Verdict
) -> None:
    known = outcome(
        in_state(ServerState.NOT_SENT), sending=NOT_SENT, ending=Ending.ERROR, error=error
    )
    assert known.verdict is verdict
    assert verdict_of(error) is verdict


def test_a_surprise_before_anything_was_sent_is_safe_to_repeat() -> None:
    known = outcome(sending=NOT_SENT, ending=Ending.SURPRISE, surprise="x")
    assert known.verdict is Verdict.NOT_SENT
    assert verdict_of(ZeroDivisionError()) is Verdict.NOT_SENT


def test_an_earlier_reset_that_was_certainly_not_sent_has_failed() -> None:
    assert outcome(in_state(ServerState.NOT_SENT), sending=NOT_SENT).verdict is Verdict.FAILED


@pytest.mark.parametrize("sending", Sending)
def test_an_interruption_is_the_verdict_whatever_else_there_is(sending: Sending) -> None:
    known = outcome(in_state(ServerState.UNKNOWN), sending=sending, ending=Ending.INTERRUPTED)
    assert known.verdict is Verdict.INTERRUPTED


@given(
    st.lists(st.sampled_from(ServerState), min_size=1, max_size=5),
    st.sampled_from(SOMETHING_SENT),
    st.sampled_from([each for each in Ending if each is not Ending.INTERRUPTED]),
    st.booleans(),
    st.none() | st.sampled_from(list(ERRORS)),
)
def test_where_something_may_have_been_sent_the_first_of_6_1_and_7_applies(
    servers: list[ServerState],
    sending: Sending,
    ending: Ending,
    waited: bool,
    error: ClcError | None,
) -> None:
    known = outcome(
        *map(in_state, servers), sending=sending, ending=ending, waited=waited, error=error
    )
    words = {each.value for each in servers}
    if isinstance(error, AuthenticationError):  # it ended the wait
        expected = "authentication"
    elif "unknown" in words:
        expected = "unknown"
    elif words & {"failed", "not sent"}:
        expected = "failed"
    elif waited and words & {"queued", "running"}:
        expected = "running"
    else:
        expected = "done"
    assert known.verdict.value == expected


def test_there_is_a_result_unless_it_ended_before_a_request() -> None:
    for sending, ending in itertools.product(Sending, Ending):
        known = outcome(sending=sending, ending=ending)
        assert known.has_result is (sending in SOMETHING_SENT or ending is Ending.COMPLETE)
    assert not Outcome.interrupted(2).has_result


# what was heard becomes a result


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        (SUCCEEDED, "succeeded", ""),
        (FAILED, "failed", "The operation failed; the API doesn't say why."),
        (EXECUTING, "running", "executing"),
        (OperationStatus("notStarted"), "running", "waiting"),
        (OperationStatus("anything"), "running", "anything"),
    ],
)
def test_a_status_becomes_a_state(status: OperationStatus, state: str, message: str) -> None:
    (result,) = settled([queued(A)], {ONE: status})
    assert (result.state, result.words(plain=True)) == (state, message)


def test_a_shared_operation_that_failed_tells_how_many_share_it() -> None:
    results = settled([queued(A), queued(B), queued(C, TWO)], {ONE: FAILED})
    assert [each.message for each in results] == [
        "The operation failed. 2 servers share it, and the API doesn't say which of them failed."
    ] * 2 + [None]


def test_no_status_is_told_and_changes_nothing_but_where_nobody_knows_the_server() -> None:
    named = ServerResult(None, ServerState.QUEUED, TWO)
    results = settled([queued(A), named, refused(B)], {}, {ONE: MISS, TWO: MISS})
    assert [each.state for each in results] == ["queued", "unknown", "failed"]
    assert results[0].message == "No status yet: the API answered 500."


def test_what_cannot_be_followed_is_unknown_once_it_is_waited_for() -> None:
    away = Operation("wa1-9", None)
    results = [queued(A), queued(B, None), queued(C, away), refused(B)]
    assert [followable(each).state for each in results] == [
        "queued",
        "unknown",
        "unknown",
        "failed",
    ]
    assert "leads away" in (followable(results[2]).message or "")


def test_a_look_can_tell_more_of_some_servers() -> None:
    failed = ServerResult("S1", ServerState.FAILED, ONE)
    results = [
        failed,
        failed._replace(server="S2"),
        ServerResult("S3", ServerState.FAILED, TWO),
        refused("S4"),
        refused("S5"),
        unknown("S6"),
        ServerResult("S7", ServerState.RUNNING, Operation("wa1-7", "/7")),
        ServerResult("S8", ServerState.QUEUED, Operation("wa1-8", "/8")),
        ServerResult(None, ServerState.UNKNOWN, Operation("wa1-9", "/9")),
        queued("S9", None),
    ]
    silent: dict[Operation, NoNews] = {
        Operation("wa1-7", "/7"): MISS,
        Operation("wa1-8", "/8"): GONE,
    }
    assert doubtful(results, silent, timed_out=False) == ["S1", "S2", "S6", "S8"]
    assert doubtful(results, {}, timed_out=True) == ["S1", "S2", "S6", "S7", "S8", "S9"]


# what is said beside it


def test_there_is_nothing_to_say_of_what_is_done() -> None:
    assert said(outcome(in_state(ServerState.SUCCEEDED), waited=True, run="r")) == []


def test_an_interruption_says_whether_anything_was_reset() -> None:
    known = Outcome.interrupted(2)
    assert said(known) == [("interrupted", "Interrupted. No server was reset.", None)]


def test_an_interrupted_wait_says_how_to_follow() -> None:
    known = outcome(queued(A), queued(B, TWO), ending=Ending.INTERRUPTED, signum=2, run="r")
    message = "Interrupted. The resets continue in the cloud. 2 operations are still running."
    assert said(known) == [("interrupted", message, "To follow them: clc status --wait")]
    (remark,) = said(outcome(in_state(ServerState.SUCCEEDED), ending=Ending.INTERRUPTED))
    assert remark[1:] == ("Interrupted. No operation is still running.", None)


def test_a_request_that_was_interrupted_names_the_servers() -> None:
    known = outcome(
        unknown(A),
        unknown(B),
        sending=MAYBE_SENT,
        ending=Ending.INTERRUPTED,
        problem="the wait was interrupted",
    )
    ((kind, message, hint),) = said(known)
    assert kind == "interrupted"
    assert message == (
        "A reset was sent, but the wait was interrupted. "
        f"The outcome is unknown for 2 servers: {A}, {B}."
    )
    assert hint == (
        "They may have been reset, or not. It was not sent again. Look at them before you repeat "
        "it: running it again would reset them again."
    )


def test_the_time_limit_says_so_and_what_is_unknown_beside_it() -> None:
    known = outcome(queued(A), unknown(B), ending=Ending.TIME_LIMIT, limit=90.0, run="r")
    first, second = said(known)
    continues = "The resets continue in the cloud. 1 operation is still running."
    message = f"The time limit of 90 s has passed. {continues}"
    assert first == ("time_limit", message, "To follow them: clc status --wait")
    assert second[:2] == ("outcome_unknown", f"The outcome is unknown for 1 server: {B}.")


def test_an_error_before_the_request_speaks_for_itself() -> None:
    error = UnreachableError("The API was not reached.", hint="Check the network.")
    known = outcome(
        in_state(ServerState.NOT_SENT), sending=NOT_SENT, ending=Ending.ERROR, error=error
    )
    assert said(known) == [("unreachable", "The API was not reached.", "Check the network.")]


def test_an_error_while_waiting_says_what_goes_on() -> None:
    error = AuthenticationError("The token was refused.", hint="Run: clc login")
    known = outcome(queued(A), ending=Ending.ERROR, error=error, run="r")
    continues = "The resets continue in the cloud. 1 operation is still running."
    hint = "Run: clc login\nTo follow them: clc status --wait"
    assert said(known) == [("authentication", f"The token was refused. {continues}", hint)]


@pytest.mark.parametrize(
    ("sending", "says"), [(NOT_SENT, "No server was reset."), (SENT, "The resets continue")]
)
def test_a_surprise_says_whether_anything_was_reset(sending: Sending, says: str) -> None:
    known = outcome(queued(A), sending=sending, ending=Ending.SURPRISE, surprise="Oops.")
    ((kind, message, _),) = said(known)
    assert kind == "internal"
    assert message.startswith(f"Oops. {says}")


def test_operations_without_a_status_are_named() -> None:
    known = outcome(ServerResult(None, ServerState.UNKNOWN, ONE), unknown(A))
    assert [each[1] for each in said(known)] == [
        f"The outcome is unknown for 1 server: {A}.",
        "No status of 1 operation: wa1-1.",
    ]


@pytest.mark.parametrize("ending", [each for each in Ending if each is not Ending.ERROR])
def test_servers_that_were_not_reached_are_named_with_the_command_for_them(ending: Ending) -> None:
    left = ServerResult(B, ServerState.NOT_SENT)
    known = outcome(in_state(ServerState.SUCCEEDED), left, ending=ending, limit=1.0, run="r")
    assert said(known)[-1] == (
        "stopped",
        f"Not sent: 1 server: {B}.",
        "To reset those: clc reset --rest-of r",
    )


def test_without_a_journal_there_is_no_command_for_the_rest() -> None:
    left = ServerResult(B, ServerState.NOT_SENT)
    assert said(outcome(left, ending=Ending.STOPPED)) == [
        ("stopped", f"Not sent: 1 server: {B}.", None)
    ]


# how to follow


def test_a_run_is_followed_by_the_command_that_knows_it() -> None:
    known = outcome(queued(A), run="r")
    assert how_to_follow(known, ACCOUNT) == "To follow them: clc status --wait"
    assert how_to_follow(known, "ELSE") == "To follow them: clc status --wait -a ALIAS"
    later = outcome(queued(A), run="r", is_latest=False)
    assert how_to_follow(later, None) == "To follow them: clc status --wait --run r -a ALIAS"
    assert how_to_follow(outcome(refused(A), run="r"), ACCOUNT) is None


def test_without_the_journal_operations_are_named_by_their_accounts() -> None:
    results = [
        queued("S1"),
        queued("S2", Operation("wa1-2", "/2", "ELSE")),
        queued("S3", TWO),
        queued("S4", Operation("wa1 4", "/4", ACCOUNT)),
        queued("S5", Operation("wa1-5", "/5")),
    ]
    assert how_to_follow(outcome(*results), ACCOUNT) == (
        "To follow them: clc status --wait wa1-1 wa1-2\n"
        "To follow them: clc status --wait -a ELSE wa1-2\n"
        "These can't be followed by their ids: wa1 4, wa1-5"
    )


# the summary


def test_the_summary_counts_and_names_what_failed() -> None:
    results = [in_state(ServerState.SUCCEEDED)] * 299 + [refused(B), refused(C)]
    assert summary(outcome(*results, seconds=6.2)) == f"299 succeeded, 2 failed in 6 s: {B}, {C}"
    assert summary(outcome(*results[:2], seconds=0.3)) == "2 succeeded"
    assert summary(outcome(*results[:2])) == "2 succeeded"


def test_one_server_has_no_summary_nor_has_what_was_not_sent() -> None:
    assert summary(outcome(refused(A))) is None
    nothing = outcome(queued(A), queued(B), sending=NOT_SENT, ending=Ending.ERROR)
    assert summary(nothing) is None


def test_what_was_requested_is_told_with_its_time() -> None:
    assert requested(NOON, 2, ACCOUNT, "r") == (
        "Reset of 2 servers in account ALIAS, requested at 2026-01-15 12:00 UTC (run r)."
    )


def test_servers_are_listed_by_their_states() -> None:
    known = outcome(queued(A), refused(B), ServerResult(None, ServerState.QUEUED, TWO))
    assert known.servers(ServerState.QUEUED, ServerState.FAILED) == [A, B]
    assert known.pending == (ONE, TWO)
    assert states(known.results) == {A: "queued", B: "failed", None: "queued"}
