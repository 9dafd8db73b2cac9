"""Every error that is raised on purpose.

    ClcError
    ├── UsageError             what was asked can't be done as it was asked; nothing was sent
    ├── DeclinedError          the user was asked, and said no; nothing was sent
    ├── AuthenticationError    no token, or one that is expired or refused
    │   └── KeyringError       the OS keyring can't be used
    ├── UnreachableError       the API can't have received the request
    ├── RefusedError           the API received the request and refused it
    └── OutputError            the result exists, but standard output took none of it

    KeyboardInterrupt
    └── Interrupted            SIGINT, SIGTERM or SIGHUP

A reset whose outcome isn't known is not among them: it is a result, see `models.ResetAnswer`.
Each says what happened, and in `hint` what to do next. `kind` is the word for it in `-o json`.
"""

import signal
from typing import ClassVar

INTERRUPTED = "interrupted"
INTERNAL = "internal"
OUTCOME_UNKNOWN = "outcome_unknown"
TIME_LIMIT = "time_limit"
"""The words in `-o json` for what is no ClcError."""

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


class DeclinedError(ClcError):
    """The user was asked, and said no; nothing was sent."""

    kind = "declined"


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
    """A signal asked this process to stop; `message` is what is certain at that point, or empty."""

    def __init__(self, signum: int, message: str = "") -> None:
        """`signum` is the signal's number."""
        super().__init__(signum)
        self.signum = signum
        self.message = message


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal behind an interruption; Python's own knows only of SIGINT."""
    return interrupt.signum if isinstance(interrupt, Interrupted) else signal.SIGINT
