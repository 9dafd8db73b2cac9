import signal

import pytest

from clc_reset.cli import exit_codes
from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    DeclinedError,
    Interrupted,
    JournalError,
    KeyringError,
    OutputError,
    RefusedError,
    UnreachableError,
    UnsettledError,
    UsageError,
)
from clc_reset.models import Sending
from clc_reset.resets.outcome import Ending, Outcome, Verdict


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (JournalError("x"), 2),
        (DeclinedError("x"), 1),
        (UnsettledError("x"), 3),
        (AuthenticationError("x"), 4),
        (KeyringError("x"), 4),
        (UnreachableError("x"), 5),
        (RefusedError("x"), 5),
        (OutputError("x"), 5),
        (ClcError("x"), 5),
        (ZeroDivisionError(), 5),
        (BrokenPipeError(), 141),
        (Interrupted(signal.SIGHUP), 129),
        (Interrupted(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_before_anything_was_sent_has_its_code(
    error: Exception | KeyboardInterrupt, code: int
) -> None:
    assert exit_codes.of_error(error) == code


def test_status_never_says_that_it_is_safe_to_run_again() -> None:
    assert exit_codes.of_error(ZeroDivisionError(), was_sent=True) == 6
    assert exit_codes.of_error(AuthenticationError("x"), was_sent=True) == 4


def test_every_verdict_has_a_number_and_an_interruption_its_signals() -> None:
    verdicts = set(Verdict) - {Verdict.INTERRUPTED}
    assert {each: exit_codes.of_verdict(each) for each in verdicts} == {
        Verdict.DONE: 0,
        Verdict.FAILED: 1,
        Verdict.DECLINED: 1,
        Verdict.USAGE: 2,
        Verdict.UNSETTLED: 3,
        Verdict.AUTHENTICATION: 4,
        Verdict.NOT_SENT: 5,
        Verdict.UNKNOWN: 6,
        Verdict.RUNNING: 7,
    }


def test_an_outcome_has_its_verdicts_number_or_its_signals() -> None:
    outcome = Outcome("ALIAS", (), Sending.SENT)
    assert exit_codes.of_outcome(outcome) == 0
    cut = outcome._replace(ending=Ending.INTERRUPTED, signum=signal.SIGTERM)
    assert exit_codes.of_outcome(cut) == 143
    assert exit_codes.of_outcome(cut._replace(signum=None)) == 130


def test_the_table_has_each_code_once_in_order() -> None:
    codes = [each.code for each in exit_codes.TABLE]
    assert codes == sorted(set(codes)) == [*range(8), 129, 130, 141, 143]
