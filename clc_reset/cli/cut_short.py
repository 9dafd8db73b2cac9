"""How a command that was cut short ends: what is known is told, and no reset is passed over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clc_reset.cli import exit_codes, following
from clc_reset.errors import INTERNAL, INTERRUPTED, ClcError, Interrupted
from clc_reset.models import ServerState
from clc_reset.output import problem
from clc_reset.wording import describe, enumerate_names

if TYPE_CHECKING:
    from clc_reset.cli.app import App


def end(app: App, error: Exception | KeyboardInterrupt) -> int:
    """Say what an error came to; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        return exit_codes.UNKNOWN if _outcome_is_unknown(app) else exit_codes.CLOSED_PIPE
    code = exit_codes.of_error(error, sent=app.sent)
    if isinstance(error, ClcError):
        app.output.error(error.kind, error.message, error.hint, code)
    elif isinstance(error, KeyboardInterrupt):
        _tell_what_is_known(app, INTERRUPTED, _interruption(error, app), code)
    else:
        _tell_what_is_known(app, INTERNAL, _surprise(error), code)
    return code


def _outcome_is_unknown(app: App) -> bool:
    """Whether a reset may have been sent of which a server's outcome isn't known."""
    states = {each.state for each in app.known}
    return bool(app.sent) and (not states or ServerState.UNKNOWN in states)


def _tell_what_is_known(app: App, kind: str, message: str, code: int) -> None:
    """End a command that was cut short; a reset that may have been sent is never passed over."""
    hint = ""
    if app.known:
        states = Counter(each.state for each in app.known)
        known = ", ".join(f"{number:,} {state}" for state, number in states.items())
        operations = following.operations_of(app.known)
        message += f" A reset was sent: {known}. {following.go_on(operations)}"
        hint = following.resume_hint(operations, app.usual_account)
        if not app.output.has_result:
            app.output.results(app.account, app.known, {"error": problem(kind, message, code)})
    elif app.sent:
        message += f" A reset was sent, and may have reached: {enumerate_names(app.sent)}."
        hint = "Look at the servers before you repeat it: running it again would reset them again."
    app.output.error(kind, message, hint, code)


def _interruption(error: KeyboardInterrupt, app: App) -> str:
    if isinstance(error, Interrupted) and error.message:
        app.sent = ()  # it is certain that nothing was
        return f"Interrupted. {error.message}"
    return "Interrupted."


def _surprise(error: Exception) -> str:
    words = describe(error)
    return f"{words}." if isinstance(error, OSError) else f"{words} (a defect of clc)."
