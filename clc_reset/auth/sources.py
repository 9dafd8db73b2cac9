"""The four sources of a credential, in their order, and the account to act in.

`CLC_TOKEN`; `CLC_TOKEN_FILE`; `CLC_USERNAME` with `CLC_PASSWORD` or `CLC_PASSWORD_FILE`, which is
one login for this run; the OS keyring. Where one of the first three applies, keyring isn't
imported.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from clc_reset.clocks import Clocks
from clc_reset.errors import WITHOUT_A_KEYRING, AuthenticationError, UsageError
from clc_reset.identifiers import ACCOUNT_VARIABLES, is_account_alias
from clc_reset.models import Credential
from clc_reset.text import quote, show_span, show_time
from clc_reset.workers import Inbox

if TYPE_CHECKING:
    from clc_reset.auth.keyring import Keyring

LARGEST_SECRET = 64 * 1024
"""In bytes: anything longer is neither a token nor a password."""
DRY_RUN_SECONDS = 1.0
"""The keyring's time where it is only asked for a hint."""

_QUOTES = ("'", '"')
_PATH_STARTS = ("/", "~", "./", "../")
# a token, or 16 characters with lower-case and upper-case letters and digits
_RANDOM_TEXT = r".*eyJ.*|(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{16,}"

_log = logging.getLogger(__name__)


class Sources(NamedTuple):
    """The sources of a credential for `origin`.

    `keyring` opens the OS keyring with a time limit in seconds, None for the usual one. `log_in`
    exchanges user name and password for a credential, in one request.
    """

    environ: Mapping[str, str]
    origin: str
    keyring: "Callable[[float | None], Keyring]"
    log_in: Callable[[str, str], Credential]
    clocks: Clocks
    inbox: Inbox

    def credential(self) -> Credential:
        """Return the credential of the first source that has one.

        Logs a warning if it expires soon. Raises AuthenticationError if there is none, it has
        expired, or a login was refused; what `log_in` raises; and Interrupted.
        """
        credential = self._token() or self._log_in() or self.keyring(None).load(self.origin)
        if credential is None:
            hint = f"Run: clc login\n{WITHOUT_A_KEYRING}"
            if _username(self.environ):
                hint = f"CLC_USERNAME is set, but not CLC_PASSWORD or CLC_PASSWORD_FILE.\n{hint}"
            raise AuthenticationError(f"Not logged in at {self.origin}.", hint=hint)
        now = self.clocks.now().utc
        refuse_expired(credential, now)
        if credential.expires is not None and credential.expires_soon(now):
            _log.warning(
                "The token from %s expires on %s, in %s. %s",
                _label(credential),
                show_time(credential.expires),
                show_span(credential.expires - now),
                renewal(credential, self.environ),
            )
        return credential

    def without_request(self) -> Credential | None:
        """Return the credential that can be had without a request, or None.

        It may have expired. Raises Interrupted.
        """
        try:
            credential = self._token()
            if credential is None and not _can_log_in(self.environ):
                credential = self.keyring(DRY_RUN_SECONDS).load(self.origin)
        except AuthenticationError:
            return None
        return credential

    def _token(self) -> Credential | None:
        """Return the token in the environment, or in the file that it names."""
        name = _token_variable(self.environ)
        if name is None:
            return None
        text = self.environ[name]
        if name == "CLC_TOKEN_FILE":
            text = _read(text, name, self.inbox)
        token = text.strip()
        if token.startswith(_QUOTES) or token.endswith(_QUOTES):
            raise AuthenticationError(
                f"The token in {name} is in quotes.",
                hint="Remove the quotes; `docker --env-file` doesn't.",
            )
        token = re.sub(r"(?i)^bearer(\s+|$)", "", token)  # as in an Authorization header
        try:
            return Credential.from_token(token, name)
        except ValueError:
            raise AuthenticationError(
                f"{name} doesn't hold a token: a token is one word of ASCII.",
                hint=_correct(name),
            ) from None

    def _log_in(self) -> Credential | None:
        """Log in for this run, if the environment has user name and password."""
        if not _can_log_in(self.environ):
            return None
        password = self.environ.get("CLC_PASSWORD") or _read(
            self.environ["CLC_PASSWORD_FILE"], "CLC_PASSWORD_FILE", self.inbox
        )
        credential = self.log_in(_username(self.environ), without_line_end(password))
        return replace(credential, source="CLC_USERNAME")


def source_before_the_keyring(environ: Mapping[str, str]) -> str | None:
    """Return the variable that is used instead of the keyring, or None."""
    return _token_variable(environ) or ("CLC_USERNAME" if _can_log_in(environ) else None)


def refuse_expired(
    credential: Credential, now: datetime, environ: Mapping[str, str] = os.environ
) -> None:
    """Raise AuthenticationError if the token's own expiry has passed."""
    if credential.expires is None or not credential.has_expired(now):
        return
    hint = f"If it should still be valid, check this machine's clock: {show_time(now)}."
    if credential.source in {"CLC_TOKEN", "CLC_TOKEN_FILE", "keyring"}:  # the others are new
        hint = f"{renewal(credential, environ)}\n{hint}"
    raise AuthenticationError(
        f"The token from {_label(credential)} expired on {show_time(credential.expires)}.",
        hint=hint,
    )


def renewal(credential: Credential, environ: Mapping[str, str] = os.environ) -> str:
    """Return how to renew a token of this kind, in a sentence that names its source."""
    source = credential.source
    if source == "CLC_TOKEN":
        return "Set CLC_TOKEN to a new token, or unset it and run: clc login"
    if source == "CLC_TOKEN_FILE":
        path = environ.get(source) or "its file"
        return f"Put a new token into {path}, or unset CLC_TOKEN_FILE and run: clc login"
    if source == "keyring":
        return "To renew the token in the keyring, run: clc login"
    return (
        f"The token is new, from the login as {credential.user or 'CLC_USERNAME'}: check that "
        "this user may act in the account."
    )


def account(alias: str | None, credential: Credential) -> str:
    """Return the account alias to act in, in upper case: the one given, else the login's own.

    Raises UsageError if there is none, or if it isn't an alias.
    """
    chosen = credential.account if alias is None else alias
    if chosen is None:
        raise UsageError(
            "The token doesn't say which account it belongs to.",
            hint="Give the account alias with -a, or in CLC_ACCOUNT.",
        )
    return checked_alias(chosen)


def usual_account(environ: Mapping[str, str], credential: Credential) -> str | None:
    """Return the account alias, in upper case, in which a command without `-a` acts."""
    usual = next(filter(None, map(environ.get, ACCOUNT_VARIABLES)), credential.account)
    return usual.upper() if usual else None


def checked_alias(alias: str) -> str:
    """Return an account alias in upper case. Raises UsageError if it isn't one."""
    if not is_account_alias(alias):
        hint = "It looks like this: ALIAS" if alias.strip() else "Is a shell variable unset?"
        raise UsageError(
            f"{quote(alias)} isn't an account alias: that has letters and digits only.", hint=hint
        )
    return alias.upper()


def without_line_end(password: str) -> str:
    """Return a password without one line end; blanks at its ends may belong to it."""
    return password.removesuffix("\n").removesuffix("\r")


def _label(credential: Credential) -> str:
    """Return the name of a credential's source as a sentence has it."""
    source = credential.source
    return f"the {source}" if source in {"keyring", "login"} else source


def _token_variable(environ: Mapping[str, str]) -> str | None:
    """Return the variable that a token comes from, or None."""
    return next(
        (name for name in ("CLC_TOKEN", "CLC_TOKEN_FILE") if environ.get(name, "").strip()), None
    )


def _username(environ: Mapping[str, str]) -> str:
    """Return CLC_USERNAME without white space at its ends, which an env file with CRLF has."""
    return environ.get("CLC_USERNAME", "").strip()


def _can_log_in(environ: Mapping[str, str]) -> bool:
    """Return whether the environment has a user name with a password or its file."""
    password = environ.get("CLC_PASSWORD") or environ.get("CLC_PASSWORD_FILE")
    return bool(_username(environ) and password)


def _correct(variable: str) -> str:
    return f"Correct or unset {variable}."


def _read(path: str, variable: str, inbox: Inbox) -> str:
    """Read the file or pipe that an environment variable names. Raises AuthenticationError."""
    try:
        with inbox.interruptible(), Path(path).expanduser().open("rb") as file:
            text = read_text(file, LARGEST_SECRET)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the ~ of an unknown user
        raise AuthenticationError(
            f"{variable} names {_shown(path)}, which can't be read: {why_unreadable(error)}.",
            hint=_correct(variable),
        ) from error
    if not text.strip():
        raise AuthenticationError(
            f"{variable} names {_shown(path)}, which is empty.", hint=_correct(variable)
        )
    return text


def _shown(path: str) -> str:
    """Return the path, or "a file" where the text may be the secret itself."""
    is_random = any(re.fullmatch(_RANDOM_TEXT, part, re.DOTALL) for part in path.split("/"))
    with suppress(OSError, ValueError, RuntimeError):
        file = Path(path).expanduser()
        if file.exists() or ("/" in path and file.parent.is_dir() and not is_random):
            return path
    return path if path.startswith(_PATH_STARTS) and not is_random else "a file"


def read_text(file: BinaryIO, limit: int) -> str:
    """Return all of a UTF-8 text, at most `limit` bytes. Raises OSError and ValueError."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit >> 10} KiB")
    return data.decode("utf-8-sig")


def why_unreadable(error: Exception) -> str:
    """Return the reason why a text can't be read, in a clause."""
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8 text"
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
