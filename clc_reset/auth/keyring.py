"""One credential for each base URL in the OS keyring. The only door to keyring.

Backends are other people's code over D-Bus, COM or a subprocess: they raise anything, store
nothing, or block for minutes. So each call has a thread of its own and a time limit, and whatever
it raises becomes a KeyringError. There is no plain-text fallback.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TypeVar

import keyring
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, NoKeyringError

from clc_reset.errors import WITHOUT_A_KEYRING, KeyringError
from clc_reset.imports import hidden
from clc_reset.models import Credential
from clc_reset.text import Redactor, describe, printable
from clc_reset.threads import Failure, Stop, attempt, call

if sys.platform != "darwin":  # pragma: no branch
    # elsewhere, too, it searches for macOS's own libraries, with ldconfig and a compiler
    with hidden("keyring.backends.macOS.api"):
        import keyring.backends.macOS

SERVICE = "clc-reset"
"""The keyring's service name; the user name in it is the base URL."""

_NO_BACKEND = "no usable keyring backend was found"
_LOCKED = "it is locked. Unlock it, then run this again"
_PLAIN_TEXT = "keyrings.alt.file.PlaintextKeyring"

_T = TypeVar("_T")


class Keyring:
    """The OS keyring, given `patience` seconds for each call.

    Every method raises KeyringError if the keyring can't be used, and Interrupted.
    """

    def __init__(self, patience: float, stop: Stop) -> None:
        self._patience = patience
        self._stop = stop

    def check(self) -> None:
        """Refuse a backend that is known to keep nothing, or to keep it in plain text."""
        names = self._ask(_backend_names)
        if names[0] in {f"{fail.__name__}.Keyring", f"{null.__name__}.Keyring"}:
            raise _unusable(_NO_BACKEND)
        if _PLAIN_TEXT in names:
            raise _unusable(f"{_PLAIN_TEXT} would keep the token in plain text")

    def load(self, origin: str) -> Credential | None:
        """Return the credential kept for an origin, or None."""
        kept = self._ask(lambda: keyring.get_password(SERVICE, origin))
        if not kept:
            return None
        try:
            return _credential(kept)
        except (ValueError, TypeError, RecursionError) as error:
            raise KeyringError(
                f"The keyring's entry for {origin} can't be read.", hint="Run: clc login"
            ) from error

    def store(self, origin: str, credential: Credential) -> str:
        """Keep a credential, read it back, and return the name of the backend that has it."""
        self.check()
        entry = json.dumps(
            {
                "token": credential.token,
                "user": credential.user,
                "account": credential.account,
                "roles": credential.roles,
            }
        )
        self._ask(lambda: keyring.set_password(SERVICE, origin, entry), secret=credential.token)
        name, *_ = self._ask(_backend_names)
        if self._ask(lambda: keyring.get_password(SERVICE, origin)) != entry:
            raise _unusable(f"{name} did not keep what was stored in it")
        return name

    def forget(self, origin: str) -> bool:
        """Delete an origin's credential; False if there was none."""
        if self._ask(lambda: keyring.get_password(SERVICE, origin)) is None:
            return False
        self._ask(lambda: keyring.delete_password(SERVICE, origin))
        return True

    def _ask(self, work: Callable[[], _T], secret: str = "") -> _T:
        """Call a backend. What it prints meanwhile goes to standard error.

        Standard output is replaced for the whole process, so by the thread that waits and not by
        the one that may hang: the result's turn comes after the wait.
        """
        try:
            with redirect_stdout(sys.stderr):
                answer = call(lambda: attempt(work), self._patience, self._stop)
        except TimeoutError:
            raise _unusable(
                f"it did not answer within {self._patience:g} s; it may wait to be unlocked"
            ) from None
        except RuntimeError as error:  # no thread can be had
            raise _unusable(describe(error)) from error
        if isinstance(answer, Failure):
            raise _unusable(_reason(answer.error, secret)) from answer.error
        return answer


def _credential(kept: str) -> Credential:
    """Read an entry. Raises ValueError, TypeError and RecursionError."""
    match json.loads(kept):
        case {
            "token": str(token),
            "user": str() | None as user,
            "account": str() | None as account,
            "roles": [*roles],
        } if all(isinstance(each, str) for each in roles):
            return Credential.from_token(
                token, "keyring", user=user, account=account, roles=tuple(roles)
            )
    raise ValueError("it isn't an entry of ours")


def _backend_names() -> list[str]:
    """The backend in use; after it those that it asks in turn, where it is a chain."""
    ring = keyring.get_keyring()
    kinds = map(type, (ring, *getattr(ring, "backends", ())))
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]


def _reason(error: BaseException, secret: str) -> str:
    """What a backend's error means, in one line without the secret."""
    if isinstance(error, NoKeyringError):
        return _NO_BACKEND  # its own advice is a plain-text file
    if isinstance(error, KeyringLocked):
        return _LOCKED
    words = Redactor([secret]).redact(describe(error))
    return printable(words.partition("\n")[0]).rstrip(".")


def _unusable(reason: str) -> KeyringError:
    return KeyringError(f"The keyring can't be used: {reason}.", hint=WITHOUT_A_KEYRING)
