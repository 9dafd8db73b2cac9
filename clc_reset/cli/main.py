"""The group of commands, and the last boundary: what a command line comes to is an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from clc_reset import __version__
from clc_reset.cli import exit_codes, options
from clc_reset.cli.context import Context

_SUMMARIES = {
    "reset": "Hard-reset servers, like pressing the reset button.",
    "status": "Show what has become of a reset.",
    "servers": "List servers, or look at those named.",
    "history": "List the latest resets from this machine.",
    "login": "Log in, and keep the token in the OS keyring.",
    "logout": "Forget the token in the OS keyring.",
    "whoami": "Show user, account, roles, and how old the token is.",
    "sandbox": "Run a CLC cloud on this machine, to rehearse a reset.",
    "completion": "Print the completion script of a shell.",
    "help": "Show the help of a command, or what the exit codes mean.",
}
"""The first sentence of each command's own help, which is in a module that help needn't load."""
_GROUPS = {
    "Resets": ("reset", "status", "servers", "history"),
    "Identity": ("login", "logout", "whoami"),
    "More": ("sandbox", "completion", "help"),
}
_EPILOG = "More: clc help COMMAND, clc help exit-codes, clc --version"
_COMPLETE = "_CLC_COMPLETE"


class Commands(options.Parsed, click.Group):
    """The group. Its `main` always ends in SystemExit with one of the documented codes."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:  # noqa: ANN401 - click's own signature
        """Run a command line and exit."""
        given = [*(args[0] if args else extra.get("args") or sys.argv[1:])]
        extra |= {"prog_name": "clc", "standalone_mode": False}
        ctx = extra.setdefault("obj", Context())
        try:
            code = super().main(*args, **extra)
        except click.ClickException as error:
            code = _usage_error(error, given, ctx)
        except (click.Abort, KeyboardInterrupt):
            code = exit_codes.INTERRUPTED
        except BrokenPipeError:
            code = exit_codes.CLOSED_PIPE
        except Exception as error:  # noqa: BLE001 - a traceback helps nobody
            code = exit_codes.FAILED  # a Tab press in a broken environment offers nothing
            if _COMPLETE not in os.environ:
                from clc_reset.cli import report

                code = report.error(ctx.output(), error)
        _flush()
        sys.exit(code or exit_codes.OK)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the command that is named, and no other."""
        name, found, rest = super().resolve_command(ctx, args)
        if found is not None:
            found = import_module(f"clc_reset.cli.commands.{name}").command
        return name, found, rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for; the epilog tells of the two options."""
        del ctx
        widest = max(map(len, _SUMMARIES))
        for title, names in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(each.ljust(widest), _SUMMARIES[each]) for each in names])


def _usage_error(error: click.ClickException, given: Sequence[str], ctx: Context) -> int:
    """Say what click says of a command line that can't be read."""
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or full
        error.show(sys.stderr)
    understood = error.ctx.params if isinstance(error, click.UsageError) and error.ctx else {}
    if (understood.get("form") or options.requested_form(given)) == "json":
        from clc_reset.errors import UsageError
        from clc_reset.ui.output import problem

        document = problem(UsageError.kind, error.format_message(), exit_codes.USAGE)
        ctx.output("json").document({"error": document})
    return exit_codes.USAGE


def _flush() -> None:
    """Flush here: an error in Python's own flush at its end would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            from clc_reset.ui.output import let_go_of

            let_go_of(stream)


def run() -> NoReturn:
    """The console script."""
    with suppress(OSError):  # a container may have no /dev/null
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
            pass  # a closed standard stream's number must not become a socket's
        os.close(descriptor)
    command.main(obj=Context(handles_signals=True))


@click.group(
    cls=Commands,
    commands={name: click.Command(name, help=summary) for name, summary in _SUMMARIES.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(__version__, "-V", "--version", message="clc %(version)s")
def command() -> None:
    """Hard-reset CenturyLink Cloud servers, and know what happened to each one."""
