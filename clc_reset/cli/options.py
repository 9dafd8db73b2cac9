"""The options that several commands share, the types of their values, and the commands' class."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clc_reset.cli import exit_codes, suggestions
from clc_reset.cli.context import Context
from clc_reset.identifiers import ACCOUNT_VARIABLES

_Command = TypeVar("_Command", bound=Callable[..., object])

FORMS = ("table", "tsv", "json")
LONGEST_DURATION = 365 * 86400.0
"""In seconds: more is a slip of the finger."""
MOST_NUMBER = 1_000_000

_DURATION = r"(-?)([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?"
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # generic since click 8.4


class Duration(_ParamType):
    """`90`, `90s`, `200ms`, `10m` or `1h`, in seconds; `-1h` where it may be `signed`."""

    name = "duration"

    def __init__(self, *, signed: bool = False) -> None:
        self._signed = signed

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text; a default in seconds is passed on."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(_DURATION, f"{value}".strip())
        seconds = float(found[2]) * _SECONDS[found[3]] if found else math.inf
        sign = -1.0 if found and found[1] else 1.0
        if seconds > LONGEST_DURATION or (sign < 0 and not self._signed):
            self.fail(f"{value!r} is not a duration such as 90, 90s, 200ms, 10m or 1h.", param, ctx)
        return sign * seconds


class Parsed(click.Command):
    """What reads its arguments here; `--help` prints, and ends it."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401 - click's own
        """Read the arguments; a closed pipe ends in 141, not in click's 1."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:
            raise click.exceptions.Exit(exit_codes.CLOSED_PIPE) from None


class Command(Parsed):
    """A command whose errors all end as one message and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run it; its result is the exit code. From here on a signal leaves a mark."""
        context = ctx.ensure_object(Context)
        try:
            context.stop.check()
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback helps nobody
            from clc_reset.cli import report

            output = context.output(ctx.params.get("form"))
            return report.error(output, error, was_sent=ctx.info_name == "status")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples, each on a line as it can be pasted."""
        del ctx
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(name: str, *examples: str, **details: Any) -> Callable[[Callable[..., Any]], Command]:  # noqa: ANN401 - click's own
    """Make a command; its examples stand at the end of its help."""
    return click.command(name, cls=Command, epilog="\n".join(examples), **details)


def requested_form(arguments: Sequence[str]) -> str | None:
    """The output form that is asked for by a command line that can't be parsed."""
    asked = None
    words = list(arguments)
    if "--" in words:
        del words[words.index("--") :]
    for word, following in pairwise([*words, ""]):
        found = re.fullmatch(r"(?:--output=?|-[A-Za-z]*?o)(\w*)", word)
        value = found and (found[1] or following)
        if value in FORMS:
            asked = value
    return asked


def account(command: _Command) -> _Command:
    """Add `-a/--account`."""
    return click.option(
        "-a",
        "--account",
        metavar="ALIAS",
        envvar=ACCOUNT_VARIABLES,
        show_envvar=True,
        help="The account alias to act in; by default the login's own.",
    )(command)


def groups(command: _Command) -> _Command:
    """Add `-g/--group`, as often as it is given."""
    return click.option(
        "-g",
        "--group",
        "groups",
        metavar="GROUP",
        multiple=True,
        shell_complete=suggestions.groups,
        help="All servers of a group and of the groups inside it. Give its name, in any case and "
        "also as 'WA1 Web', or its id. Repeatable.",
    )(command)


def wait(command: _Command) -> _Command:
    """Add `--wait`, `--timeout` and `-q/--quiet`."""
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="Show no progress, and no summary if nothing failed.",
        ),
        click.option(
            "--timeout",
            type=Duration(),
            metavar="TIME",
            help="How long to wait, as in 90, 90s, 10m or 1h; by default 30 minutes, or a minute "
            "for each server of the largest data centre if that is longer.",
        ),
        click.option("--wait", is_flag=True, help="Wait until every operation is done."),
    ):
        command = option(command)
    return command


def check_timeout(timeout: float | None, *, waits: bool, otherwise: str = "Add --wait.") -> None:
    """Refuse a time limit where nothing is waited for."""
    if timeout is not None and not waits:
        raise click.UsageError(f"--timeout needs something to wait for. {otherwise}")


output = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    help="The form of the result; by default a table on a terminal, tsv elsewhere.",
)
verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log each request to standard error: method, URL, status, milliseconds.",
)
