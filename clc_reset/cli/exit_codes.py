"""The exit codes: their numbers and what they mean. Known only here.

Help and usage errors load it, so it imports nothing heavy.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple

from clc_reset.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from clc_reset.resets.outcome import Outcome, Verdict

OK = 0
FAILED = 1
USAGE = 2
UNSETTLED = 3
AUTHENTICATION = 4
NOT_SENT = 5
UNKNOWN = 6
RUNNING = 7
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""These two are those of `clc sandbox COMMAND`, as env and the shells have them."""
HANGUP = 129
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143


class Meaning(NamedTuple):
    """What an exit code tells, and the answer to "was anything reset?"."""

    code: int
    meaning: str
    was_reset: str


TABLE = (
    Meaning(OK, "every server queued; with --wait, every operation succeeded", "yes"),
    Meaning(
        FAILED,
        "at least one server refused, or its operation failed, or it wasn't reached; "
        "or a confirmation was declined",
        "the others were; none where it was declined",
    ),
    Meaning(USAGE, "usage error", "no"),
    Meaning(UNSETTLED, "an earlier reset of a server isn't settled", "no"),
    Meaning(
        AUTHENTICATION,
        "no token, expired, refused, or the keyring can't be used",
        "reset: no; status, and while waiting: as printed",
    ),
    Meaning(
        NOT_SENT,
        "the API couldn't be reached, or refused the request; never from status",
        "no: safe to run again",
    ),
    Meaning(
        UNKNOWN,
        "sent, and the outcome is unknown for at least one server",
        "maybe: look before you repeat",
    ),
    Meaning(
        RUNNING,
        "the time limit passed with operations still running; "
        "status without --wait: still running now",
        "yes",
    ),
    Meaning(HANGUP, "SIGHUP", "as printed"),
    Meaning(INTERRUPTED, "Ctrl-C", "as printed"),
    Meaning(CLOSED_PIPE, "a closed pipe, quietly", "as printed"),
    Meaning(TERMINATED, "SIGTERM", "as printed"),
)

_OF_VERDICTS = {
    "DONE": OK,
    "FAILED": FAILED,
    "DECLINED": FAILED,
    "USAGE": USAGE,
    "UNSETTLED": UNSETTLED,
    "AUTHENTICATION": AUTHENTICATION,
    "NOT_SENT": NOT_SENT,
    "UNKNOWN": UNKNOWN,
    "RUNNING": RUNNING,
}


def of_verdict(verdict: Verdict) -> int:
    """The number of any verdict but an interruption, which has its signal's."""
    return _OF_VERDICTS[verdict.name]


def of_outcome(outcome: Outcome) -> int:
    """The exit code of a command that ends with this outcome."""
    if outcome.verdict.name == "INTERRUPTED":
        return of_signal(outcome.signum or signal.SIGINT)
    return of_verdict(outcome.verdict)


def of_error(error: Exception | KeyboardInterrupt, *, was_sent: bool = False) -> int:
    """The exit code of a command that an error ended before it sent anything.

    `was_sent` tells that it is about what was sent before: "safe to run again" says nothing then.
    """
    if isinstance(error, UsageError):  # as what click itself finds: no room below is asked
        return USAGE
    if isinstance(error, KeyboardInterrupt):
        return of_signal(error.signum if isinstance(error, Interrupted) else signal.SIGINT)
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    from clc_reset.resets.outcome import verdict_of

    code = of_verdict(verdict_of(error))
    return UNKNOWN if was_sent and code == NOT_SENT else code


def of_signal(signum: int) -> int:
    """The exit code of a process that a signal ended, as shells count."""
    return 128 + signum
