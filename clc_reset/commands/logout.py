"""Log out: delete the token from the OS keyring."""

import logging

from clc_reset.auth.sources import source_before_the_keyring
from clc_reset.commands.session import Session
from clc_reset.exit_codes import ExitCode

_log = logging.getLogger(__name__)


def run(session: Session) -> int:
    """Delete the token of the API in use; return the exit code.

    Raises UsageError, AuthenticationError and Interrupted.
    """
    was_logged_in = session.keyring().forget(session.origin)
    _log.info("%s at %s.", "Logged out" if was_logged_in else "Not logged in", session.origin)
    if source := source_before_the_keyring():
        _log.warning("%s is still set, and still used.", source)
    return ExitCode.OK
