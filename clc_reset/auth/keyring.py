"""One credential for each base URL in the OS keyring. Only this module imports keyring.

Backends are third-party code over D-Bus, COM or a subprocess: they raise anything, store nothing,
block for minutes, or prompt with getpass. So each call has a thread of its own and a time limit,
and the terminal's settings are restored after it. There is no plain-text fallback.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from typing import TypeVar

import keyring
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, NoKeyringError

from clc_reset.errors import WITHOUT_A_KEYRING, AuthenticationError
from clc_reset.imports import hidden
from clc_reset.models import Credential
from clc_reset.redaction import Redactor
from clc_reset.terminal import settings_restored
from clc_reset.text import describe, printable
from clc_reset.workers import Failure, Inbox, attempt

if sys.platform != "darwin":  # pragma: no branch
    # on other systems, too, it searches for macOS's libraries, with ldconfig and a compiler
    with hidden("keyring.backends.macOS.api"):
        import keyring.backends.macOS

SERVICE = "clc-reset"
"""The keyring's service name; the user name in it is the base URL."""

_NO_BACKEND = "no usable keyring backend was found"
_PLAIN_TEXT = "plaintext"  # in the names of the backends of keyrings.alt and keyrings.cryptfile

_T = TypeVar("_T")


class Keyring:
    """The OS keyring, with a limit of `seconds` for each call.

    Every method raises AuthenticationError if the keyring can't be used, and Interrupted.
    """

    def __init__(self, seconds: float, inbox: Inbox) -> None:
        self._seconds = seconds
        self._inbox = inbox

    def check(self) -> None:
        """Refuse a backend that is known to store nothing, or to store plain text."""
        names = self._call(_backend_names)
        if names[0] in {f"{fail.__name__}.Keyring", f"{null.__name__}.Keyring"}:
            raise _unusable(_NO_BACKEND)
        for name in names:
            if _PLAIN_TEXT in name.lower():
                raise _unusable(f"{name} would store the token in plain text")

    def load(self, origin: str) -> Credential | None:
        """Return the credential stored for an origin, or None."""
        entry = self._call(lambda: keyring.get_password(SERVICE, origin))
        if not entry:
            return None
        with suppress(ValueError, TypeError, RecursionError):
            match json.loads(entry):
                case {
                    "token": str(token),
                    "user": str() | None as user,
                    "account": str() | None as account,
                    "roles": [*roles],
                } if all(isinstance(role, str) for role in roles):
                    return Credential.from_token(
                        token, "keyring", user=user, account=account, roles=tuple(roles)
                    )
        message = f"The keyring's entry for {origin} can't be read."
        raise AuthenticationError(message, hint="Run: clc login")

    def store(self, origin: str, credential: Credential) -> str:
        """Store a credential, read it back, and return the name of the backend that has it."""
        self.check()
        fields = ("token", "user", "account", "roles")
        entry = json.dumps({field: getattr(credential, field) for field in fields})
        self._call(lambda: keyring.set_password(SERVICE, origin, entry), secret=credential.token)
        name, *_ = self._call(_backend_names)
        if self._call(lambda: keyring.get_password(SERVICE, origin)) != entry:
            raise _unusable(f"{name} didn't keep what was stored in it")
        return name

    def forget(self, origin: str) -> bool:
        """Delete an origin's credential; return False if there was none."""
        if self._call(lambda: keyring.get_password(SERVICE, origin)) is None:
            return False
        self._call(lambda: keyring.delete_password(SERVICE, origin))
        return True

    def _call(self, work: Callable[[], _T], secret: str = "") -> _T:
        """Call a backend; what it prints goes to standard error.

        Standard output is replaced for the whole process. The main thread does so, not the worker,
        which may hang: it must be in place again when the result is printed.
        """
        try:
            with settings_restored(), redirect_stdout(sys.stderr):
                answer = self._inbox.call(lambda: attempt(work), self._seconds)
        except TimeoutError:
            raise _unusable(
                f"it didn't answer within {self._seconds:g} s; it may be waiting to be unlocked"
            ) from None
        except RuntimeError as error:  # no thread can be had
            raise _unusable(describe(error)) from error
        match answer:
            case Failure(NoKeyringError()):  # its own advice is a plain-text file
                raise _unusable(_NO_BACKEND)
            case Failure(KeyringLocked()):
                raise _unusable("it is locked. Unlock it, then run this again")
            case Failure(cause):
                text = Redactor([secret]).redact(describe(cause)).partition("\n")[0]
                raise _unusable(printable(text).rstrip(".")) from cause
        return answer


def _backend_names() -> list[str]:
    """Return the name of the backend in use, then of those in its chain if it is one."""
    backend = keyring.get_keyring()
    kinds = map(type, (backend, *getattr(backend, "backends", ())))
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]


def _unusable(reason: str) -> AuthenticationError:
    return AuthenticationError(f"The keyring can't be used: {reason}.", hint=WITHOUT_A_KEYRING)
