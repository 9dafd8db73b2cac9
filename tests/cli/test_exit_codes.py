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
