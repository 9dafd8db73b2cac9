"""The four sources of a credential, in their order, and the account to act in.

`CLC_TOKEN`; `CLC_TOKEN_FILE`; `CLC_USERNAME` with `CLC_PASSWORD` or `CLC_PASSWORD_FILE`, which is
one login for this run; the OS keyring. Where one of the first three has it, keyring isn't imported.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clc_reset.errors import WITHOUT_A_KEYRING, AuthenticationError, UsageError
from clc_reset.identifiers import ACCOUNT_VARIABLES, is_account_alias
from clc_reset.models import Credential
from clc_reset.text import quote, show_span, show_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from clc_reset.auth.keyring import Keyring
    from clc_reset.threads import Stop

LARGEST_SECRET = 64 * 1024
"""In bytes: what is longer is neither a token nor a password."""
DRY_RUN_SECONDS = 1.0
"""The keyring's time where it is asked for a hint only."""

_RENEWALS = {
    "CLC_TOKEN": "Set CLC_TOKEN to a new token",
    "CLC_TOKEN_FILE": "Put a new token into the file that CLC_TOKEN_FILE names",
}


class Sources(NamedTuple):
    """Where a credential for `origin` may come from.

    `keyring` opens the OS keyring, given so many seconds, or what is usual. `log_in` exchanges user
    name and password for a credential, in one request. `note` is told what is worth a warning.
    """

    environ: Mapping[str, str]
    origin: str
    keyring: Callable[[float | None], Keyring]
    log_in: Callable[[str, str], Credential]
    note: Callable[[str], None]
    now: Callable[[], datetime]
    stop: Stop

    def credential(self) -> Credential:
        """Return the credential of the first source that has one, still alive.

        Raises AuthenticationError if there is none, it has expired, or a login was refused, what
        `log_in` raises, and Interrupted.
        """
        credential = self._token() or self._log_in() or self.keyring(None).load(self.origin)
        if credential is None:
            hint = f"Run: clc login\n{WITHOUT_A_KEYRING}"
            if self.environ.get("CLC_USERNAME"):
                hint = f"CLC_USERNAME is set, but neither CLC_PASSWORD nor its file.\n{hint}"
            raise AuthenticationError(f"Not logged in at {self.origin}.", hint=hint)
        now = self.now()
        refuse_expired(credential, now)
        if credential.expires is not None and credential.expires_soon(now):
            self.note(
                f"Warning: the token from {credential.source} expires on "
                f"{show_time(credential.expires)}, in {show_span(credential.expires - now)}. "
                f"{_renewal(credential)}"
            )
        return credential

    def without_request(self) -> Credential | None:
        """Return the credential as far as it can be told without a request, or None.

        It may have expired. Raises Interrupted.
        """
        try:
            credential = self._token()
            if credential is None and not _may_log_in(self.environ):
                credential = self.keyring(DRY_RUN_SECONDS).load(self.origin)
        except AuthenticationError:
            return None
        return credential

    def _token(self) -> Credential | None:
        """The token that the environment holds or names."""
        name = _token_variable(self.environ)
        if name is None:
            return None
        text = self.environ[name]
        if name == "CLC_TOKEN_FILE":
            text = _read(text, name, self.stop)
        token = re.sub(r"(?i)^bearer(\s+|$)", "", text.strip())  # as in an Authorization header
        try:
            return Credential.from_token(token, name)
        except ValueError:
            raise AuthenticationError(
                f"{name} doesn't hold a token: a token is one word of ASCII.",
                hint=_correct(name),
            ) from None

    def _log_in(self) -> Credential | None:
        """Log in for this run, where the environment has user name and password."""
        if not _may_log_in(self.environ):
            return None
        password = self.environ.get("CLC_PASSWORD") or without_line_end(
            _read(self.environ["CLC_PASSWORD_FILE"], "CLC_PASSWORD_FILE", self.stop)
        )
        return replace(self.log_in(self.environ["CLC_USERNAME"], password), source="CLC_USERNAME")


def source_before_the_keyring(environ: Mapping[str, str]) -> str | None:
    """Return the variable that is used instead of the keyring, or None."""
    return _token_variable(environ) or ("CLC_USERNAME" if _may_log_in(environ) else None)


def refuse_expired(credential: Credential, now: datetime) -> None:
    """Raise AuthenticationError if the token's own expiry has passed."""
    if credential.expires is None or not credential.has_expired(now):
        return
    raise AuthenticationError(
        f"The token from {credential.source} expired on {show_time(credential.expires)}.",
        hint=f"It was not sent. {_renewal(credential)}\n"
        f"If it should still be valid, check this machine's clock: {show_time(now)}.",
    )


def account(alias: str | None, credential: Credential) -> str:
    """Return the account alias to act in, in upper case: the one given, else the login's own.

    Raises UsageError if there is none, or where it can't be one.
    """
    chosen = credential.account if alias is None else alias
    if chosen is None:
        raise UsageError(
            "The token doesn't tell which account it belongs to.",
            hint="Name the account alias with -a, or in CLC_ACCOUNT.",
        )
    return checked_alias(chosen)


def usual_account(environ: Mapping[str, str], credential: Credential) -> str | None:
    """Return the account alias, in upper case, that a command without `-a` acts in."""
    usual = next(filter(None, map(environ.get, ACCOUNT_VARIABLES)), credential.account)
    return usual.upper() if usual else None


def checked_alias(alias: str) -> str:
    """Return an account alias in upper case. Raises UsageError if it can't be one."""
    if not is_account_alias(alias):
        hint = "Is a shell variable unset?" if not alias.strip() else "It looks like this: ALIAS"
        raise UsageError(
            f"{quote(alias)} can't be an account alias: those are letters and digits.", hint=hint
        )
    return alias.upper()


def without_line_end(password: str) -> str:
    """Return it without a line end at its end: a password may begin or end with a blank."""
    return password.removesuffix("\n").removesuffix("\r")


def _token_variable(environ: Mapping[str, str]) -> str | None:
    return next(
        (each for each in ("CLC_TOKEN", "CLC_TOKEN_FILE") if environ.get(each, "").strip()), None
    )


def _may_log_in(environ: Mapping[str, str]) -> bool:
    """Whether the environment has user name and password, or the password's file."""
    password = environ.get("CLC_PASSWORD") or environ.get("CLC_PASSWORD_FILE")
    return bool(environ.get("CLC_USERNAME") and password)


def _renewal(credential: Credential) -> str:
    """How a token of this kind is renewed, in a sentence."""
    source = credential.source
    if source in _RENEWALS:
        return (
            f"{_RENEWALS[source]}, or unset {source}, which takes precedence over the keyring, "
            "and run: clc login"
        )
    if source == "keyring":
        return "Run: clc login"
    return "The next login gets a new one."


def _correct(variable: str) -> str:
    return f"Correct or unset {variable}. Nothing was sent."


def _read(path: str, variable: str, stop: Stop) -> str:
    """Read the file, or pipe, that an environment variable names. Raises AuthenticationError."""
    try:
        with stop.blocking(), Path(path).open("rb") as file:
            data = file.read(LARGEST_SECRET + 1)
        if len(data) > LARGEST_SECRET:
            raise ValueError(f"it is larger than {LARGEST_SECRET >> 10} KiB")
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise AuthenticationError(
            f"{variable} names {_shown(path)}, which can't be read: {_reason(error)}.",
            hint=_correct(variable),
        ) from error
    if not text.strip():
        raise AuthenticationError(
            f"{variable} names {_shown(path)}, which is empty.", hint=_correct(variable)
        )
    return text


def _shown(path: str) -> str:
    """The path, unless it may be the secret itself, set in the wrong variable."""
    file = Path(path)
    with suppress(OSError, ValueError):
        if file.exists() or (file.parent.is_dir() and len(file.parent.parts) > 1):
            return path
    return "a file"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
