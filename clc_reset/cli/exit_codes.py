"""The exit codes: their numbers, what they mean, which error ends in which. Known only here."""

from collections.abc import Collection
from typing import NamedTuple

from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    DeclinedError,
    RefusedError,
    UnreachableError,
    UsageError,
    signal_of,
)

OK = 0
FAILED = 1
USAGE = 2
AUTHENTICATION = 4
NOT_SENT = 5
UNKNOWN = 6
RUNNING = 7
HANGUP = 129
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""The last two are those of `clc sandbox COMMAND`, as env and the shells have them."""


class Meaning(NamedTuple):
    """What an exit code tells, and the answer to "was anything reset?"."""

    code: int
    meaning: str
    was_reset: str


TABLE = (
    Meaning(OK, "every server queued; with --wait, every operation succeeded", "yes"),
    Meaning(
        FAILED,
        "at least one server refused, or its operation failed; or the confirmation was declined",
        "the others were; none where it was declined",
    ),
    Meaning(USAGE, "usage error", "no"),
    Meaning(AUTHENTICATION, "no token, expired, refused, or the keyring can't be used", "no"),
    Meaning(
        NOT_SENT,
        "the API couldn't be reached, or refused the request",
        "no: safe to run again",
    ),
    Meaning(
        UNKNOWN,
        "sent, and the outcome is unknown for at least one server",
        "maybe: look before you repeat",
    ),
    Meaning(
        RUNNING,
        "the time limit passed with operations still running "
        "(status without --wait: still running now)",
        "yes",
    ),
    Meaning(HANGUP, "SIGHUP", "as printed"),
    Meaning(INTERRUPTED, "Ctrl-C", "as printed"),
    Meaning(CLOSED_PIPE, "a closed pipe, quietly", "as printed"),
    Meaning(TERMINATED, "SIGTERM", "as printed"),
)

_OF_ERRORS: tuple[tuple[type[ClcError], int], ...] = (
    (UsageError, USAGE),
    (DeclinedError, FAILED),
    (AuthenticationError, AUTHENTICATION),
    (UnreachableError, NOT_SENT),
    (RefusedError, NOT_SENT),
)


def of_error(error: BaseException, *, sent: Collection[str]) -> int:
    """The exit code of an error. `sent` names the servers of a reset that may have arrived.

    After that a surprise of any kind, and a result that couldn't be printed, leave whoever reads
    the exit code without knowing: 6. Before it, nothing was reset: 5.
    """
    if isinstance(error, KeyboardInterrupt):
        return of_signal(signal_of(error))
    for kind, code in _OF_ERRORS:
        if isinstance(error, kind):
            return code
    return UNKNOWN if sent else NOT_SENT


def of_signal(signum: int) -> int:
    """The exit code of a process that a signal ended, as shells count."""
    return 128 + signum
