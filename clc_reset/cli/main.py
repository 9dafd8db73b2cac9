"""The group of commands, and the last boundary: every command line ends in an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from clc_reset import __version__
from clc_reset.cli import options
from clc_reset.cli.options import Invocation
from clc_reset.errors import OutputError
from clc_reset.exit_codes import ExitCode

_SUMMARIES = {
    "reset": "Hard-reset servers, like pressing the reset button.",
    "status": "Show the state of earlier resets.",
    "servers": "List servers, or look at the ones named.",
    "history": "List the latest resets from this machine.",
    "login": "Log in and store the token in the OS keyring.",
    "logout": "Delete the token from the OS keyring.",
    "whoami": "Show user, account, roles and the token's age.",
    "sandbox": "Run a CLC cloud on this machine, to rehearse a reset.",
    "completion": "Print the completion script for a shell.",
    "help": "Show help for a command, or what the exit codes mean.",
}
"""The first sentence of each command's own help, whose module isn't loaded for the overview."""
_GROUPS = {
    "Resets": ("reset", "status", "servers", "history"),
    "Identity": ("login", "logout", "whoami"),
    "More": ("sandbox", "completion", "help"),
}
_COMPLETE = "_CLC_COMPLETE"


class Commands(click.Group):
    """The group. Its `main` always ends in SystemExit with one of the documented codes."""

    def main(
        self,
        args: Sequence[str] | None = None,
        *_: object,
        obj: Invocation | None = None,
        **__: object,
    ) -> NoReturn:
        """Run a command line and exit.

        Click's own ends with 1 where a pipe is closed.
        """
        arguments = sys.argv[1:] if args is None else [*args]
        invocation = obj or Invocation()
        code: int = ExitCode.OK
        try:
            if instruction := os.environ.get(_COMPLETE):
                from click.shell_completion import shell_complete

                code = shell_complete(self, {}, "clc", _COMPLETE, instruction)
            else:
                with self.make_context("clc", [*arguments], obj=invocation) as ctx:
                    result = self.invoke(ctx)
                if isinstance(result, str):
                    click.echo(result)
                else:
                    code = result
        except click.exceptions.Exit as end:
            code = end.exit_code
        except BrokenPipeError:
            code = ExitCode.CLOSED_PIPE
        except Exception as error:  # noqa: BLE001 - a traceback helps nobody
            code = ExitCode.FAILED  # a Tab press in a broken environment offers nothing
            if _COMPLETE not in os.environ:
                problem = error
                if isinstance(error, OSError) and error.filename is None:  # of a help text
                    problem = OutputError(f"Standard output can't be written: {error.strerror}.")
                invocation.form = options.requested_form(arguments)
                code = invocation.report(problem)
        _flush()
        sys.exit(code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the command that is named, and no other."""
        name, found, rest = super().resolve_command(ctx, args)
        if found is not None:
            found = import_module(f"clc_reset.cli.{name}").command
        return name, found, rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by purpose; the epilog names the two options."""
        del ctx
        widest = max(map(len, _SUMMARIES))
        for title, names in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), _SUMMARIES[name]) for name in names])


def _flush() -> None:
    """Flush here: an error in Python's own flush at its end would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            from clc_reset.ui.outlet import let_go_of

            let_go_of(stream)


def run() -> NoReturn:
    """Run the console script.

    The process ends without Python's teardown: that takes a tenth of its time, and a thread may
    still be waiting for the API.
    """
    with suppress(OSError):  # a container may have no /dev/null
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
            pass  # a closed standard stream's number must not become a socket's
        os.close(descriptor)
    try:
        command.main(obj=Invocation(handles_signals=True))
    except SystemExit as end:
        if logging := sys.modules.get("logging"):
            logging.shutdown()
        os._exit(int(end.code or 0))


@click.group(
    cls=Commands,
    commands={name: click.Command(name, help=summary) for name, summary in _SUMMARIES.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="More: clc help COMMAND, clc help exit-codes, clc --version",
)
@click.version_option(__version__, "-V", "--version", message="clc %(version)s")
def command() -> None:
    """Hard-reset CenturyLink Cloud servers, and know what happened to each one."""
