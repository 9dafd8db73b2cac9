"""Log in: exchange a password for a token, and store it in the OS keyring."""

import logging
from collections.abc import Callable
from dataclasses import replace

from clc_reset.auth.sources import refuse_expired, source_before_the_keyring
from clc_reset.commands.session import Session
from clc_reset.exit_codes import ExitCode
from clc_reset.text import show_time

_WITHOUT_A_TERMINAL = "Give the user name with -u, and the password with --password-stdin."

_log = logging.getLogger(__name__)


def run(
    session: Session,
    username: str | None,
    account: str | None,
    read_password: Callable[[], str] | None,
) -> int:
    """Log in and store the token; return the exit code.

    A missing user name and, without `read_password`, the password are asked for on the terminal.
    `account` becomes the one to act in, instead of the login's own. Raises ClcError and
    Interrupted.
    """
    origin = session.origin
    keyring = session.keyring()
    keyring.check()  # before the password is sent
    username = (username or "").strip() or session.prompts.ask("user name", _WITHOUT_A_TERMINAL)
    if read_password is None:
        password = session.prompts.ask("password", _WITHOUT_A_TERMINAL, hidden=True)
    else:
        password = read_password()
    credential = session.client.log_in(username, password)
    refuse_expired(credential, session.clocks.now().utc)
    credential = replace(credential, account=account or credential.account)
    backend = keyring.store(origin, credential)
    until = f" until {show_time(credential.expires)}" if credential.expires else ""
    known = credential.account or "unknown"
    _log.info("Logged in at %s as %s, account %s%s.", origin, credential.user, known, until)
    _log.info("The token is in the keyring (%s).", backend)
    if source := source_before_the_keyring():
        _log.warning("%s is set, and takes precedence over the keyring.", source)
    return ExitCode.OK
