import signal

import pytest

from clc_reset.cli import exit_codes
from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    DeclinedError,
    Interrupted,
    KeyringError,
    OutputError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from clc_reset.models import ServerState as S


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (DeclinedError("x"), 1),
        (AuthenticationError("x"), 4),
        (KeyringError("x"), 4),
        (UnreachableError("x"), 5),
        (RefusedError("x"), 5),
        (Interrupted(signal.SIGHUP), 129),
        (Interrupted(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.parametrize("sent", [[], ["WA1ALIASWB01"]])
def test_an_error_has_its_code_whatever_was_sent(
    error: BaseException, code: int, sent: list[str]
) -> None:
    assert exit_codes.of_error(error, sent=sent) == code


@pytest.mark.parametrize("error", [OutputError("x"), ClcError("x"), ZeroDivisionError()])
def test_a_surprise_is_5_and_once_a_reset_was_sent_6(error: BaseException) -> None:
    assert exit_codes.of_error(error, sent=[]) == 5
    assert exit_codes.of_error(error, sent=["WA1ALIASWB01"]) == 6


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([S.SUCCEEDED, S.SUCCEEDED], 0),
        ([S.SUCCEEDED, S.RUNNING], 7),
        ([S.QUEUED], 7),
        ([S.RUNNING, S.FAILED], 1),
        ([S.FAILED, S.RUNNING, S.UNKNOWN], 6),
    ],
)
def test_after_a_wait_running_is_7(states: list[S], code: int) -> None:
    assert exit_codes.of_states(states, waited=True) == code


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([S.QUEUED, S.QUEUED], 0),
        ([S.QUEUED, S.FAILED], 1),
        ([S.FAILED, S.UNKNOWN, S.QUEUED], 6),
        ([S.UNKNOWN], 6),
    ],
)
def test_the_verdict_is_the_worst_that_applies(states: list[S], code: int) -> None:
    assert exit_codes.of_states(states) == code
