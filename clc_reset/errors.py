"""The errors that are raised on purpose.

A reset with an unknown outcome is not an error but a result. An error carries its cause in
`message` and its cure in `hint`; it never says what was sent, which only the outcome of a reset
knows.
"""

from typing import ClassVar

from clc_reset.exit_codes import ExitCode

INTERRUPTED = "interrupted"
INTERNAL = "internal"
OUTCOME_UNKNOWN = "outcome_unknown"
SHARED_FAILURE = "failed"
STOPPED = "stopped"
TIME_LIMIT = "time_limit"
NOT_FOUND = "not_found"
"""The `kind` in JSON of problems that are no ClcError."""

CHECK_THE_NETWORK = "Check the network, the proxy settings and CLC_BASE_URL."
WITHOUT_A_KEYRING = (
    "Without a keyring (a server, cron, a container), set CLC_TOKEN_FILE, CLC_TOKEN, "
    "or CLC_USERNAME with CLC_PASSWORD_FILE or CLC_PASSWORD."
)


class ClcError(Exception):
    """The root; `message` is one readable sentence or more, `hint` the next step or empty.

    `kind` is the word for it in `-o json`, `exit_code` the code of a command that it ends before
    anything was sent.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Both texts are printed as they are, after control characters are stripped."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ClcError):
    """The request can't be carried out as given."""

    kind = "usage"
    exit_code = ExitCode.USAGE


class JournalError(ClcError):
    """The journal can't be read or written."""

    kind = "journal"


class DeclinedError(ClcError):
    """The user answered no."""

    kind = "declined"


class UnsettledError(ClcError):
    """An earlier reset of a server is unsettled, or a run may be going on or can't be claimed."""

    kind = "unsettled"
    exit_code = ExitCode.UNSETTLED


class AuthenticationError(ClcError):
    """No token, one that is expired or refused, or a keyring that can't be used."""

    kind = "authentication"
    exit_code = ExitCode.AUTHENTICATION


class UnreachableError(ClcError):
    """The API can't have received the request."""

    kind = "unreachable"
    exit_code = ExitCode.NOT_SENT


class RefusedError(ClcError):
    """The API received the request and refused it."""

    kind = "refused"
    exit_code = ExitCode.NOT_SENT


class OutputError(ClcError):
    """The result exists, but standard output took none of it."""

    kind = "output"


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop. `signum` is its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
