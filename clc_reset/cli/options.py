"""Shared options, the types of their values, and the class of all commands."""

import math
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise, takewhile
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from clc_reset.cli import suggestions
from clc_reset.errors import OutputError, UsageError
from clc_reset.exit_codes import ExitCode
from clc_reset.identifiers import ACCOUNT_VARIABLES, is_account_alias

if TYPE_CHECKING:
    from clc_reset.commands.session import Session
    from clc_reset.workers import Inbox

    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # generic since click 8.4

_Command = TypeVar("_Command", bound=Callable[..., object])

FORMS = ("table", "tsv", "json")
LONGEST_DURATION = 365 * 86400.0
"""In seconds: more is a slip of the finger."""
MOST_NUMBER = 1_000_000

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|h|d)"


class Invocation:
    """One run of the command line; every command gets it as click's `obj`.

    With `handles_signals` the process's signals go to the inbox once that is used.
    """

    def __init__(self, *, handles_signals: bool = False) -> None:
        self._handles_signals = handles_signals

    @cached_property
    def inbox(self) -> "Inbox":
        """The inbox of worker threads and signals."""
        from clc_reset.workers import Inbox

        inbox = Inbox()
        if self._handles_signals:
            inbox.handle_signals()
        return inbox

    def session(
        self, form: str | None = None, *, quiet: bool = False, verbose: bool = False
    ) -> "Session":
        """Return the surroundings of the command, with the output format that was asked for."""
        from clc_reset.commands.session import Session

        return Session(self.inbox, form, quiet=quiet, verbose=verbose)

    def standard_input(self) -> str:
        """Return all of standard input. Raises UsageError and Interrupted."""
        from clc_reset.cli import arguments  # `clc --help` does without

        return arguments.standard_input(self.inbox)

    def report(self, raised: Exception | KeyboardInterrupt, form: str | None) -> int:
        """Print an error that ended the command; return its exit code."""
        from clc_reset.commands import report
        from clc_reset.ui.render import Renderer
        from clc_reset.ui.streams import Streams

        return report.error(Renderer(Streams(sys.stdin, sys.stdout, sys.stderr), form), raised)


class Misuse(click.UsageError):
    """A UsageError as click has it: main prints both, without loading what other errors need."""

    def __init__(self, error: UsageError, ctx: click.Context) -> None:
        super().__init__(error.message, ctx)
        self.hint = error.hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message and the next step."""
        from clc_reset.text import printable

        for line in f"Error: {self.message}\n{self.hint}".splitlines():
            click.echo(printable(line), file=file)


class Duration(_ParamType):
    """`90`, `90s`, `200ms`, `10m`, `1h30m` or `1d`, in seconds; `-1h` where it may be `signed`."""

    name = "duration"

    def __init__(self, *, signed: bool = False) -> None:
        self._signed = signed

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds of a text."""
        text = f"{value}".strip()
        sign = -1.0 if self._signed and text.startswith("-") else 1.0
        seconds = _seconds(text.removeprefix("-") if sign < 0 else text)
        if seconds is None:
            self.fail(f"{value!r} is not a duration such as 90, 90s, 10m or 1h30m.", param, ctx)
        if seconds > LONGEST_DURATION:
            self.fail(f"{value!r} is longer than 365 days.", param, ctx)
        return sign * seconds


def _seconds(text: str) -> float | None:
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        return float(text)
    if not re.fullmatch(rf"(?:{_PART})+", text):
        return None
    return math.fsum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))


@contextmanager
def printing() -> Generator[None]:
    """Turn an error of standard output into exit code 141 (a closed pipe) or an OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.CLOSED_PIPE) from None
    except OSError as error:
        raise OutputError(f"Standard output can't be written: {error.strerror}.") from error


class Parsed(click.Command):
    """A part of the command line that reads arguments, and prints its `--help`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments. Raises OutputError, and what click raises."""
        with printing():
            return super().make_context(*args, **extra)


class Command(Parsed):
    """A command whose errors all end as one message and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and return its exit code. From here on a signal leaves a mark."""
        invocation: Invocation = ctx.obj
        try:
            invocation.inbox.check()
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except UsageError as error:
            raise Misuse(error, ctx) from error
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback helps nobody
            return invocation.report(error, ctx.params.get("form"))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples, each on one line so that it can be pasted."""
        del ctx
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(name: str, *examples: str, **details: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a command; its examples stand at the end of its help."""
    return click.command(name, cls=Command, epilog="\n".join(examples), **details)


def requested_form(arguments: Sequence[str]) -> str | None:
    """Return the output form asked for by a command line that can't be parsed, or None."""
    form = None
    line = takewhile(lambda argument: argument != "--", arguments)
    for argument, following in pairwise([*line, ""]):
        match = re.fullmatch(r"(?:--output=?|-[A-Za-z]*?o)(\w*)", argument)
        value = match and (match[1] or following)
        if value in FORMS:
            form = value
    return form


def _account_alias(_ctx: click.Context, _param: click.Parameter, alias: str | None) -> str | None:
    """Return the alias in upper case."""
    if alias is None or is_account_alias(alias):
        return alias and alias.upper()
    if not alias.strip():
        raise click.BadParameter("It is empty: is a shell variable unset?")
    raise click.BadParameter(f"{alias!r} has more than letters and digits.")


def wait(command: _Command) -> _Command:
    """Add `--wait`, `--timeout` and `-q/--quiet`."""
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="Show no progress; print nothing if everything succeeded, unless -o is given.",
        ),
        click.option(
            "--timeout",
            type=Duration(),
            metavar="TIME",
            help="How long to wait, such as 90, 90s, 10m or 1h30m; by default 30 minutes, or a "
            "minute per server of the largest data centre if that is longer.",
        ),
        click.option("--wait", is_flag=True, help="Wait until every operation is done."),
    ):
        command = option(command)
    return command


def check_timeout(timeout: object, *, waits: bool) -> None:
    """Raise click's UsageError for a time limit where nothing is waited for."""
    if timeout is not None and not waits:
        raise click.UsageError("--timeout needs something to wait for. Add --wait.")


account = click.option(
    "-a",
    "--account",
    metavar="ALIAS",
    envvar=ACCOUNT_VARIABLES,
    show_envvar=True,
    callback=_account_alias,
    help="Account alias to act in; by default the login's own.",
)
groups = click.option(
    "-g",
    "--group",
    "groups",
    metavar="GROUP",
    multiple=True,
    shell_complete=suggestions.groups,
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
verbose_without_requests = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    help="Accepted by every command; this one sends no requests.",
)
"""For commands that send nothing; they don't get the value."""
