"""The four sources of a credential, in their order, and the account to act in.

`CLC_TOKEN`; `CLC_TOKEN_FILE`; `CLC_USERNAME` with `CLC_PASSWORD` or `CLC_PASSWORD_FILE`, which is
one login for this run; the OS keyring. Where one of the first three applies, keyring isn't
imported.
"""

import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
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
LIFE_WARNING = timedelta(days=2)
"""Less life than this is worth a warning: the next run of a cron job may come too late."""
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
        source = source_before_the_keyring()
        credential = self._log_in() if source == "CLC_USERNAME" else self._stored(source, None)
        if credential is None:
            hint = f"Run: clc login\n{WITHOUT_A_KEYRING}"
            if _username():
                hint = f"CLC_USERNAME is set, but not CLC_PASSWORD or CLC_PASSWORD_FILE.\n{hint}"
            raise AuthenticationError(f"Not logged in at {self.origin}.", hint=hint)
        now = self.clocks.now().utc
        refuse_expired(credential, now)
        if credential.expires is not None and credential.expires - now < LIFE_WARNING:
            _log.warning(
                "The token from %s expires on %s, in %s. %s",
                _label(credential),
                show_time(credential.expires),
                show_span(credential.expires - now),
                renewal(credential),
            )
        return credential

    def without_request(self) -> Credential | None:
        """Return the credential that can be had without a request, or None.

        It may have expired. Raises Interrupted.
        """
        source = source_before_the_keyring()
        with suppress(AuthenticationError):
            return None if source == "CLC_USERNAME" else self._stored(source, DRY_RUN_SECONDS)
        return None

    def _stored(self, variable: str | None, seconds: float | None) -> Credential | None:
        """Return the token in a variable, in the file that it names, or in the keyring."""
        if variable is None:
            return self.keyring(seconds).load(self.origin)
        is_file = variable == "CLC_TOKEN_FILE"
        token = (_read(variable, self.inbox) if is_file else os.environ[variable]).strip()
        if token.startswith(_QUOTES) or token.endswith(_QUOTES):
            raise AuthenticationError(
                f"The token in {variable} is in quotes.",
                hint="Remove the quotes; `docker --env-file` doesn't.",
            )
        token = re.sub(r"(?i)^bearer(\s+|$)", "", token)  # as in an Authorization header
        try:
            return Credential.from_token(token, variable)
        except ValueError:
            raise AuthenticationError(
                f"{variable} doesn't hold a token: a token is one word of ASCII.",
                hint=f"Correct or unset {variable}.",
            ) from None

    def _log_in(self) -> Credential:
        """Log in for this run."""
        password = os.environ.get("CLC_PASSWORD") or _read("CLC_PASSWORD_FILE", self.inbox)
        credential = self.log_in(_username(), without_line_end(password))
        return replace(credential, source="CLC_USERNAME")


def source_before_the_keyring() -> str | None:
    """Return the variable that is used instead of the keyring, or None."""
    for variable in ("CLC_TOKEN", "CLC_TOKEN_FILE"):
        if os.environ.get(variable, "").strip():
            return variable
    has_password = os.environ.get("CLC_PASSWORD") or os.environ.get("CLC_PASSWORD_FILE")
    return "CLC_USERNAME" if _username() and has_password else None


def refuse_expired(credential: Credential, now: datetime) -> None:
    """Raise AuthenticationError if the token's own expiry has passed."""
    if credential.expires is None or credential.expires > now:
        return
    hint = f"If it should still be valid, check this machine's clock: {show_time(now)}."
    if credential.source in {"CLC_TOKEN", "CLC_TOKEN_FILE", "keyring"}:  # the others are new
        hint = f"{renewal(credential)}\n{hint}"
    expired = show_time(credential.expires)
    message = f"The token from {_label(credential)} expired on {expired}."
    raise AuthenticationError(message, hint=hint)


def renewal(credential: Credential) -> str:
    """Return how to renew a token of this kind, in a sentence that names its source."""
    match credential.source:
        case "CLC_TOKEN":
            return "Set CLC_TOKEN to a new token, or unset it and run: clc login"
        case "CLC_TOKEN_FILE" as source:
            path = os.environ[source]
            return f"Put a new token into {path}, or unset CLC_TOKEN_FILE and run: clc login"
        case "keyring":
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


def usual_account(credential: Credential) -> str | None:
    """Return the account alias, in upper case, in which a command without `-a` acts."""
    usual = next(filter(None, map(os.environ.get, ACCOUNT_VARIABLES)), credential.account)
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


def _username() -> str:
    """Return CLC_USERNAME without white space at its ends, which an env file with CRLF has."""
    return os.environ.get("CLC_USERNAME", "").strip()


def _read(variable: str, inbox: Inbox) -> str:
    """Read the file or pipe that an environment variable names. Raises AuthenticationError."""
    path, text = os.environ[variable], ""
    problem = "which is empty"
    try:
        with inbox.interruptible(), Path(path).expanduser().open("rb") as file:
            text = read_text(file, LARGEST_SECRET)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the ~ of an unknown user
        problem = f"which can't be read: {why_unreadable(error)}"
    if not text.strip():
        raise AuthenticationError(
            f"{variable} names {_shown(path)}, {problem}.", hint=f"Correct or unset {variable}."
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
