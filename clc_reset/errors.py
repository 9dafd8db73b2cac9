"""Every error that is raised on purpose.

    ClcError
    ├── UsageError             what was asked can't be done as it was asked; nothing was sent
    │   └── JournalError       the journal can't be read, or has no such run
    ├── DeclinedError          the user was asked, and said no; nothing was sent
    ├── UnsettledError         an earlier reset of a server isn't settled; nothing was sent
    ├── AuthenticationError    no token, or one that is expired or refused
    │   └── KeyringError       the OS keyring can't be used
    ├── UnreachableError       the API can't have received the request
    ├── RefusedError           the API received the request and refused it
    └── OutputError            the result exists, but standard output took none of it

    KeyboardInterrupt
    └── Interrupted            SIGINT, SIGTERM or SIGHUP

A reset whose outcome isn't known is not among them: that is a result.
Each says what happened, and in `hint` what to do next. `kind` is the word for it in `-o json`.
"""

from typing import ClassVar

INTERRUPTED = "interrupted"
INTERNAL = "internal"
OUTCOME_UNKNOWN = "outcome_unknown"
STOPPED = "stopped"
TIME_LIMIT = "time_limit"
"""The words in `-o json` for what is no ClcError."""

CHECK_THE_NETWORK = "Check the network, the proxy settings and CLC_BASE_URL."
WITHOUT_A_KEYRING = (
    "Without a keyring (a server, cron, a container), set CLC_TOKEN_FILE, CLC_TOKEN, "
    "or CLC_USERNAME with CLC_PASSWORD_FILE or CLC_PASSWORD."
)


class ClcError(Exception):
    """The root; `message` is one readable sentence or more, `hint` the next step or empty."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Both texts are shown to the user as they are, after control characters are stripped."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ClcError):
    """What was asked can't be done as it was asked; nothing was sent."""

    kind = "usage"


class JournalError(UsageError):
    """The journal can't be read, or has no such run."""


class DeclinedError(ClcError):
    """The user was asked, and said no; nothing was sent."""

    kind = "declined"


class UnsettledError(ClcError):
    """An earlier reset of a server isn't settled; nothing was sent."""

    kind = "unsettled"


class AuthenticationError(ClcError):
    """No token, or one that is expired or refused."""

    kind = "authentication"


class KeyringError(AuthenticationError):
    """The OS keyring can't be used."""


class UnreachableError(ClcError):
    """The API can't have received the request."""

    kind = "unreachable"


class RefusedError(ClcError):
    """The API received the request and refused it."""

    kind = "refused"


class OutputError(ClcError):
    """The result exists, but standard output took none of it."""

    kind = "output"


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop. `signum` is its number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
