"""One credential a base URL in the OS keyring. The only door to keyring.

Backends are other people's code over D-Bus, COM or a subprocess: they raise anything, store
nothing, or block for minutes. So each call runs in a thread of its own with a time limit, and
whatever it raises becomes a KeyringError. There is no plain-text fallback.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from clc_reset.errors import WITHOUT_A_KEYRING, KeyringError
from clc_reset.models import Credential
from clc_reset.wording import describe

if sys.platform != "darwin":  # pragma: no branch
    # elsewhere, too, keyring searches for macOS's own libraries, with ldconfig and a compiler
    sys.modules.setdefault("keyring.backends.macOS.api", None)  # type: ignore[arg-type]

import keyring
from keyring import backend, core
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked, NoKeyringError

SERVICE = "clc-reset"
"""The keyring's service name; the user name in it is the base URL."""

_NO_BACKEND = "no usable keyring backend was found"
_LOCKED = "it is locked. Unlock it, then run this again"
_PLAIN_TEXT = "keyrings.alt.file.PlaintextKeyring"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


class Keyring:
    """The OS keyring, given `patience` seconds for each call.

    Every method raises KeyringError where the keyring can't be used.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience

    def check(self) -> None:
        """Refuse a backend that is known to keep nothing, or to keep it in plain text."""
        names = self._in_time(_backend_names)
        if names[0] in {f"{fail.__name__}.Keyring", f"{null.__name__}.Keyring"}:
            raise _unusable(_NO_BACKEND)
        if _PLAIN_TEXT in names:
            raise _unusable(f"{_PLAIN_TEXT} would keep the token in plain text")

    def load(self, origin: str) -> Credential | None:
        """The credential kept for an origin, or None."""
        kept = self._in_time(lambda: keyring.get_password(SERVICE, origin))
        if not kept:
            return None
        try:
            entry = json.loads(kept)
            texts = [entry["token"], entry["user"] or "", entry["account"] or "", *entry["roles"]]
            token, user, account, *roles = ("".join(each) for each in texts)
            return Credential.from_token(
                token, "keyring", user=user or None, account=account or None, roles=tuple(roles)
            )
        except (ValueError, TypeError, KeyError) as error:
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
        self._in_time(lambda: keyring.set_password(SERVICE, origin, entry), secret=credential.token)
        name, *_ = self._in_time(_backend_names)
        if self._in_time(lambda: keyring.get_password(SERVICE, origin)) != entry:
            raise _unusable(f"{name} did not keep what was stored in it")
        return name

    def forget(self, origin: str) -> bool:
        """Delete an origin's credential; False where there was none."""
        if self._in_time(lambda: keyring.get_password(SERVICE, origin)) is None:
            return False
        self._in_time(lambda: keyring.delete_password(SERVICE, origin))
        return True

    def _in_time(self, call: Callable[[], _T], secret: str = "") -> _T:
        """Call a backend in a daemon thread: one that hangs can't keep this process alive."""
        outcomes: SimpleQueue[_T | _Raised] = SimpleQueue()

        def work() -> None:
            try:
                with redirect_stdout(sys.stderr):  # a backend may be chatty
                    _choose_backend()
                    outcomes.put(call())
            except BaseException as error:  # noqa: BLE001 - backends raise anything, SystemExit too
                outcomes.put(_Raised(error))

        Thread(target=work, daemon=True).start()
        try:
            outcome = outcomes.get(timeout=self._patience)
        except Empty:
            reason = f"it did not answer within {self._patience:g} s; it may wait to be unlocked"
            raise _unusable(reason) from None
        if isinstance(outcome, _Raised):
            raise _unusable(_reason(outcome.error, secret)) from outcome.error
        return outcome


def _choose_backend() -> None:
    """Let keyring choose, as it would by itself, unless a backend is set."""
    if getattr(core, "_keyring_backend", keyring) is None:
        core.init_backend(limit=_may_be_chosen)


def _may_be_chosen(ring: backend.KeyringBackend) -> bool:
    """Not the chain of several backends where there is one, which it would not be chosen for.

    To learn that from the chain itself takes as many connections to D-Bus as all the rest.
    """
    if not isinstance(ring, ChainerBackend):
        return True
    others = (fail.Keyring, null.Keyring, ChainerBackend)
    return sum(not isinstance(each, others) for each in backend.get_all_keyring()) > 1


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
    words = describe(error).partition("\n")[0]
    words = words.replace(secret, "[secret]") if secret else words
    return words.rstrip(".")


def _unusable(reason: str) -> KeyringError:
    return KeyringError(f"The keyring can't be used: {reason}.", hint=WITHOUT_A_KEYRING)
