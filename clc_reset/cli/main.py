"""The group of commands, and the one boundary where every error ends as a message and a code."""

import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from clc_reset import __version__
from clc_reset.cli import (
    completion,
    exit_codes,
    following,
    history,
    login,
    logout,
    reset,
    sandbox,
    servers,
    status,
    whoami,
)
from clc_reset.cli.app import App
from clc_reset.errors import INTERNAL, INTERRUPTED, ClcError, Interrupted
from clc_reset.models import ServerState
from clc_reset.output import let_go_of, problem
from clc_reset.wording import describe, enumerate_names

_COMPLETE = "_CLC_COMPLETE"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Commands(click.Group):
    """The group. Its `main` always ends in SystemExit with one of the documented codes."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:  # noqa: ANN401 - click's own signature
        """Run a command line and exit."""
        extra |= {"prog_name": "clc", "standalone_mode": False}
        try:
            code = super().main(*args, **extra)
        except click.ClickException as error:
            said = io.StringIO()
            error.show(said)
            App().output.note(said.getvalue())
            code = exit_codes.USAGE
        except (click.Abort, KeyboardInterrupt) as error:  # while an error was being told
            code = exit_codes.of_error(error.__cause__ or error, sent=())
        except Exception:
            if _COMPLETE not in os.environ:
                raise
            code = exit_codes.FAILED  # a Tab press in a broken environment offers nothing
        _flush()
        sys.exit(code or exit_codes.OK)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401
        """Read the group's own options; `--help` and `--version` print and end here."""
        with _boundary(App()):
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Read the command's arguments and run it; its result is the exit code."""
        app = ctx.ensure_object(App)
        with _boundary(app):
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """End the help with the exit codes."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes, and whether anything was reset"):
            formatter.write_dl(
                [
                    (str(each.code), f"{each.meaning} ({each.was_reset})")
                    for each in exit_codes.TABLE
                ]
            )


@contextmanager
def _boundary(app: App) -> Generator[None]:
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except BrokenPipeError:
        code = exit_codes.UNKNOWN if _outcome_is_unknown(app) else exit_codes.CLOSED_PIPE
    except ClcError as error:
        code = exit_codes.of_error(error, sent=app.sent)
        app.output.error(error.kind, error.message, error.hint, code)
    except KeyboardInterrupt as error:
        code = exit_codes.of_error(error, sent=app.sent)
        _tell_what_is_known(app, INTERRUPTED, _interruption(error, app), code)
    except Exception as error:  # noqa: BLE001 - a traceback at two in the morning helps nobody
        code = exit_codes.of_error(error, sent=app.sent)
        _tell_what_is_known(app, INTERNAL, _surprise(error), code)
    else:
        return
    raise click.exceptions.Exit(code)


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


def run() -> NoReturn:
    """The console script: `command`, with the signals that end a process made into errors."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        pass  # a closed standard stream's number must not become a socket's
    os.close(descriptor)
    for signum in _SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup, or a script's background
            signal.signal(signum, _stop)
    command.main()


def _stop(signum: int, _frame: FrameType | None) -> None:
    """Stop at the first signal in good order; a second one ends the process at once."""
    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    raise Interrupted(signum)


def _flush() -> None:
    """Write what is left, here rather than in Python's own end, which would change the code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        let_go_of(sys.stdout)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="clc %(version)s")
def command() -> None:
    """Hard-reset CenturyLink Cloud servers, and be told the truth about each of them.

    A reset is the button on the front of the machine. It is sent once, and never repeated when it
    may have arrived.
    """


for _each in (login, logout, whoami, servers, reset, status, history, sandbox, completion):
    command.add_command(_each.command)
