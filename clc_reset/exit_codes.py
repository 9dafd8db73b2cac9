"""The exit codes: their numbers, their meanings, and whether anything was reset.

Help and usage errors load this module, so it imports nothing heavy.
"""

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """The exit code of a command; `meaning` and `was_reset` are what the documentation says."""

    meaning: str
    was_reset: str

    def __new__(cls, number: int, meaning: str, was_reset: str) -> Self:
        """Make a member that is its number."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        member.was_reset = was_reset
        return member

    OK = (0, "every server queued; with --wait, every operation succeeded", "yes")
    FAILED = (
        1,
        (
            "a server was refused, its operation or check failed, or it was not reached; "
            "or a confirmation was declined"
        ),
        "others may have been; the result says which",
    )
    USAGE = (2, "usage error", "no")
    UNSETTLED = (
        3,
        "an earlier reset of a server is unsettled, or a run may be going on or can't be claimed",
        "no",
    )
    AUTHENTICATION = (
        4,
        "no token, expired, refused, or the keyring can't be used",
        "reset: no; status, and while waiting: as printed",
    )
    NOT_SENT = (
        5,
        "the API couldn't be reached, or refused the request; never from status",
        "no: safe to run again",
    )
    UNKNOWN = (
        6,
        "sent, and the outcome is unknown for at least one server",
        "maybe: look before you repeat",
    )
    RUNNING = (
        7,
        (
            "the time limit passed with operations still running; status without --wait: "
            "still running now, or planned by a live run"
        ),
        "as printed",
    )
    HANGUP = (129, "SIGHUP", "as printed")
    INTERRUPTED = (130, "Ctrl-C", "as printed")
    CLOSED_PIPE = (141, "a closed pipe, quietly", "as printed")
    TERMINATED = (143, "SIGTERM", "as printed")


def of_signal(signum: int) -> int:
    """Return the exit code of a process that a signal ended, as shells count."""
    return 128 + signum
