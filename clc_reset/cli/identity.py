"""Who the user is and which account to act in: the four sources of a credential, in their order."""

import os
from dataclasses import replace
from datetime import UTC, datetime

from clc_reset.cli.app import App
from clc_reset.cli.reading import secret_file, without_line_end
from clc_reset.errors import WITHOUT_A_KEYRING, AuthenticationError, UsageError
from clc_reset.models import Credential, is_account_alias
from clc_reset.wording import quote, show_span, show_time

ACCOUNT_VARIABLES = ("CLC_ACCOUNT", "CLC_ALIAS")
DRY_RUN_KEYRING_SECONDS = 1.0


def source_before_the_keyring() -> str | None:
    """The variable that is used instead of the keyring, where one is."""
    for name in ("CLC_TOKEN", "CLC_TOKEN_FILE"):
        if os.environ.get(name, "").strip():
            return name
    return "CLC_USERNAME" if _login_of_this_run() else None


def credential(app: App) -> Credential:
    """The credential of the first source that has one, still alive.

    Raises AuthenticationError where there is none, it has expired, or a login was refused.
    """
    found = _from_environment() or _from_login_of_this_run(app) or app.keyring().load(app.origin)
    if found is None:
        hint = f"Run: clc login\n{WITHOUT_A_KEYRING}"
        if os.environ.get("CLC_USERNAME"):
            hint = f"CLC_USERNAME is set, but neither CLC_PASSWORD nor its file.\n{hint}"
        raise AuthenticationError(f"Not logged in at {app.origin}.", hint=hint)
    now = datetime.now(UTC)
    refuse_expired(found, now)
    if found.expires is not None and found.expires_soon(now):
        app.output.note(
            f"Warning: the token from {found.source} expires on {show_time(found.expires)}, "
            f"in {show_span(found.expires - now)}. Run: clc login.{_instead(found)}"
        )
    return found


def refuse_expired(found: Credential, now: datetime) -> None:
    """Raise AuthenticationError where the token's own expiry has passed."""
    if found.expires is None or not found.has_expired(now):
        return
    raise AuthenticationError(
        f"The token from {found.source} expired on {show_time(found.expires)}, run: clc login",
        hint=f"It was not sent.{_instead(found)} If it should be good, check this machine's clock: "
        f"{show_time(now)}.",
    )


def _instead(found: Credential) -> str:
    """What to do beside a login where the keyring's token isn't used, with a blank in front."""
    if found.source in {"CLC_TOKEN", "CLC_TOKEN_FILE"}:
        return f" Unset {found.source} then, which goes before the keyring, or renew its token."
    return ""


def account(alias: str | None, found: Credential) -> str:
    """The account alias to act in, in upper case: the one given, else the login's own.

    Raises UsageError where there is none, or where it can't be one.
    """
    chosen = found.account if alias is None else alias
    if chosen is None:
        raise UsageError(
            "The token doesn't tell which account it belongs to.",
            hint="Name the account alias with -a, or in CLC_ACCOUNT.",
        )
    return checked_alias(chosen)


def usual_account(found: Credential) -> str | None:
    """The account alias, in upper case, that a command without `-a` acts in."""
    usual = next(filter(None, map(os.environ.get, ACCOUNT_VARIABLES)), found.account)
    return usual.upper() if usual else None


def checked_alias(alias: str) -> str:
    """An account alias in upper case. Raises UsageError where it can't be one."""
    if not is_account_alias(alias):
        hint = "Is a shell variable unset?" if not alias.strip() else "It looks like this: ALIAS"
        raise UsageError(
            f"{quote(alias)} can't be an account alias: those are letters and digits.", hint=hint
        )
    return alias.upper()


def known_account(app: App, alias: str | None) -> str | None:
    """The account as far as it can be told without a request, or None."""
    if alias is not None:
        return checked_alias(alias)
    try:
        found = _from_environment()
        if found is None and not _login_of_this_run():
            found = app.keyring(DRY_RUN_KEYRING_SECONDS).load(app.origin)
    except AuthenticationError:
        return None
    return checked_alias(found.account) if found and found.account else None


def _from_environment() -> Credential | None:
    if token := os.environ.get("CLC_TOKEN", "").strip():
        return _credential(token, "CLC_TOKEN")
    if path := os.environ.get("CLC_TOKEN_FILE"):
        return _credential(secret_file(path, "CLC_TOKEN_FILE").strip(), "CLC_TOKEN_FILE")
    return None


def _credential(token: str, source: str) -> Credential:
    try:
        return Credential.from_token(token, source)
    except ValueError:
        raise AuthenticationError(
            f"{source} doesn't hold a token: a token is one word of ASCII.",
            hint=f"Correct or unset {source}. Nothing was sent.",
        ) from None


def _login_of_this_run() -> tuple[str, str, str] | None:
    """User name, password and the password's file, where the environment has enough of them."""
    username = os.environ.get("CLC_USERNAME", "")
    password = os.environ.get("CLC_PASSWORD", "")
    path = os.environ.get("CLC_PASSWORD_FILE", "")
    return (username, password, path) if username and (password or path) else None


def _from_login_of_this_run(app: App) -> Credential | None:
    login = _login_of_this_run()
    if login is None:
        return None
    username, password, path = login
    if not password:
        password = without_line_end(secret_file(path, "CLC_PASSWORD_FILE"))
    return replace(app.api.log_in(username, password), source="CLC_USERNAME")
