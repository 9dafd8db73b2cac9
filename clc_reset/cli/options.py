"""Shared options, the types of their values, and the class of all commands."""

import math
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from clc_reset.cli import suggestions
from clc_reset.errors import UsageError
from clc_reset.exit_codes import ExitCode
from clc_reset.identifiers import ACCOUNT_VARIABLES, is_account_alias

if TYPE_CHECKING:
    from clc_reset.commands.session import Session
    from clc_reset.workers import Inbox

_Function = Callable[..., object]

FORMS = ("table", "tsv", "json")
LONGEST_DURATION = 365 * 86400.0
"""In seconds: more is a slip of the finger."""
MOST_NUMBER = 1_000_000

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = rf"({_NUMBER})(ms|s|min|m|h|d)"


class Invocation:
    """One run of the command line; every command gets it as click's `obj`.

    With `handles_signals` the process's signals go to the inbox once that is used. `form` is the
    output format asked for; it, `quiet` and `verbose` are there once a command's line is parsed.
    """

    def __init__(self, *, handles_signals: bool = False) -> None:
        self._handles_signals = handles_signals
        self.form: str | None = None
        self.quiet = False
        self.verbose = False

    @cached_property
    def inbox(self) -> "Inbox":
        """The inbox of worker threads and signals."""
        from clc_reset.workers import Inbox

        inbox = Inbox()
        if self._handles_signals:
            inbox.handle_signals()
        return inbox

    @cached_property
    def session(self) -> "Session":
        """The surroundings of the command."""
        from clc_reset.commands.session import Session

        return Session(self.inbox, self.form, quiet=self.quiet, verbose=self.verbose)

    def standard_input(self) -> str:
        """Return all of standard input. Raises UsageError and Interrupted."""
        from clc_reset.cli import arguments  # `clc --help` does without

        return arguments.standard_input(self.inbox)

    def report(self, error: BaseException) -> int:
        """Print an error that ended the command line; return its exit code."""
        if isinstance(error, click.ClickException | UsageError):
            return self._report_usage(error)
        from clc_reset.commands import report

        return report.error(self.session.renderer, error)

    def _report_usage(self, error: click.ClickException | UsageError) -> ExitCode:
        """Print a usage error, without loading what other errors need."""
        from clc_reset.text import printable

        if isinstance(error, click.ClickException):
            message = error.format_message()
        else:
            message = error.message
            lines = f"{message}\n{error.hint}".splitlines()
            error = click.ClickException("\n".join(map(printable, lines)))
        with suppress(OSError, ValueError, AttributeError):  # standard error is full, or closed
            sys.stderr.flush()
            error.show()
        if self.form == "json":
            from clc_reset.ui.render import problem

            document = {"error": problem(UsageError.kind, message, ExitCode.USAGE)}
            self.session.renderer.document(document)
        return ExitCode.USAGE


class Command(click.Command):
    """A command of `clc`. It returns its exit code, or a text to print."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. From here on a signal leaves a mark."""
        invocation: Invocation = ctx.obj
        invocation.form = ctx.params.pop("form", None)
        invocation.quiet = ctx.params.pop("quiet", False)
        invocation.verbose = ctx.params.pop("verbose")
        try:
            invocation.inbox.check()
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback helps nobody
            return invocation.report(error)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples, each on one line so that it can be pasted."""
        del ctx
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(name: str, *examples: str, **details: Any) -> Callable[[_Function], Command]:
    """Make a command; its examples stand at the end of its help."""
    return click.command(name, cls=Command, epilog="\n".join(examples), **details)


def requested_form(arguments: Sequence[str]) -> str | None:
    """Return the output form asked for by a command line that can't be parsed, or None."""
    line = "\n".join(arguments).partition("\n--\n")[0]
    forms = re.findall(r"^(?:--output[=\n]|-[A-Za-z]*?o\n?)(table|tsv|json)$", line, re.MULTILINE)
    return forms[-1] if forms else None


def duration(value: str) -> float:
    """Return the seconds of `90`, `90s`, `200ms`, `10m`, `1h30m` or `1d`."""
    return _seconds(value, value.strip())


def signed_duration(value: str) -> float:
    """Return the seconds of a duration that may be negative: `-1h`."""
    text = value.strip()
    seconds = _seconds(value, text.removeprefix("-"))
    return -seconds if text.startswith("-") else seconds


def _seconds(value: str, text: str) -> float:
    parts = f"{text}s" if re.fullmatch(_NUMBER, text) else text
    if not re.fullmatch(rf"(?:{_PART})+", parts):
        raise click.BadParameter(f"{value!r} is not a duration such as 90, 90s, 10m or 1h30m.")
    units = re.findall(_PART, parts)
    seconds = math.fsum(float(number) * _UNITS[unit] for number, unit in units)
    if seconds > LONGEST_DURATION:
        raise click.BadParameter(f"{value!r} is longer than 365 days.")
    return seconds


def _account_alias(value: str) -> str:
    """Return an account alias in upper case."""
    if not value.strip():
        raise click.BadParameter("It is empty: is a shell variable unset?")
    if not is_account_alias(value):
        raise click.BadParameter(f"{value!r} has more than letters and digits.")
    return value.upper()


def not_empty(noun: str, hint: str = "") -> Callable[[str], str]:
    """Return a type of values that raises UsageError for an empty one, as of an unset variable."""

    def check(value: str) -> str:
        if not value.strip():
            raise UsageError(f"{noun} is empty: is a shell variable unset?", hint=hint)
        return value

    return check


def time(name: str, help_text: str, default: str | None = None) -> Callable[[_Function], _Function]:
    """Return an option that takes a duration."""
    shows = default != "0"
    return click.option(
        name, type=duration, metavar="TIME", default=default, show_default=shows, help=help_text
    )


def run(name: str, help_text: str) -> Callable[[_Function], _Function]:
    """Return an option that takes a run's id, or its beginning."""
    return click.option(
        name,
        metavar="RUN",
        shell_complete=suggestions.runs,
        type=not_empty("A run's id", "To list the runs: clc history"),
        help=help_text,
    )


def check_timeout(timeout: object, *, waits: bool) -> None:
    """Raise click's UsageError for a time limit where nothing is waited for."""
    if timeout is not None and not waits:
        raise click.UsageError("--timeout needs something to wait for. Add --wait.")


servers = click.argument(
    "servers", nargs=-1, metavar="[SERVER]...", shell_complete=suggestions.servers
)
wait = click.option("--wait", is_flag=True, help="Wait until every operation is done.")
timeout = time(
    "--timeout",
    "How long to wait, such as 90, 90s, 10m or 1h30m; by default 30 minutes, or a minute per "
    "server of the largest data centre if that is longer.",
)
quiet = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Show no progress; print nothing if everything succeeded, unless -o is given.",
)
account = click.option(
    "-a",
    "--account",
    metavar="ALIAS",
    envvar=ACCOUNT_VARIABLES,
    show_envvar=True,
    type=_account_alias,
    help="Account alias to act in; by default the login's own.",
)
groups = click.option(
    "-g",
    "--group",
    "groups",
    metavar="GROUP",
    multiple=True,
    shell_complete=suggestions.groups,
    type=not_empty("A group's name", "Leave -g out, or give it the name or id of a group."),
    help="All servers of a group and of the groups inside it. GROUP is a name in upper or "
    "lower case, also as 'WA1 Web', or an id. Repeatable.",
)
output = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    help="Output format; by default a table on a terminal, tsv elsewhere.",
)
verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log each request to standard error: method, URL, status, milliseconds.",
)
