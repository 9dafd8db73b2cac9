"""The group of commands, and the one boundary where every error ends as a message and a code."""

import io
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from clc_reset import __version__
from clc_reset.cli import exit_codes
from clc_reset.cli.app import App
from clc_reset.errors import Interrupted

_SUMMARIES = {
    "login": "Log in, and keep the token in the OS keyring for 14 days.",
    "logout": "Forget the token in the OS keyring.",
    "whoami": "Show user, account, roles, the token's age and expiry, and where it comes from.",
    "servers": "List servers, with their groups and data centres.",
    "reset": "Power servers off and on again, as with the reset button.",
    "status": "Ask for the status of operations, as `clc reset` printed their ids.",
    "history": "List the latest resets from this machine, the newest first.",
    "sandbox": "Run a CLC cloud on this machine, on loopback, to rehearse a reset.",
    "completion": "Print the completion script of a shell.",
}
"""What help and a Tab press show of the commands, each a module that they need not load."""
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
        App().flush()
        sys.exit(code or exit_codes.OK)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the command that is named, and no other."""
        name, found, rest = super().resolve_command(ctx, args)
        if found is not None:
            found = import_module(f"{__package__}.{name}").command
        return name, found, rest

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
    """Let every error end as a message and a code."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback helps nobody
        code = app.end(error)
    else:
        return
    raise click.exceptions.Exit(code)


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


@click.group(
    cls=Commands,
    commands={name: click.Command(name, help=summary) for name, summary in _SUMMARIES.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="clc %(version)s")
def command() -> None:
    """Hard-reset CenturyLink Cloud servers, and be told the truth about each of them.

    A reset is the button on the front of the machine. It is sent once, and never repeated when it
    may have arrived.
    """
