"""The options that several commands share, and the types of their values."""

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clc_reset.cli import completing
from clc_reset.cli.app import App
from clc_reset.cli.identity import ACCOUNT_VARIABLES
from clc_reset.output import FORMS

_Command = TypeVar("_Command", bound=Callable[..., object])

LONGEST_DURATION = 365 * 86400.0
"""In seconds: more is a slip of the finger."""

_DURATION = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?"
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # generic since click 8.4


class Duration(_ParamType):
    """`90`, `90s`, `200ms`, `10m` or `1h`, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text; a default in seconds is passed on."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(_DURATION, f"{value}".strip())
        seconds = float(found[1]) * _SECONDS[found[2]] if found else math.inf
        if seconds > LONGEST_DURATION:
            self.fail(f"{value!r} is not a duration such as 90, 90s, 200ms, 10m or 1h.", param, ctx)
        return seconds


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
        shell_complete=completing.groups,
        help="All servers of a group and of those inside it, by its name, in any case, or its "
        "id. Repeatable.",
    )(command)


def _app_option(attribute: str, *names: str, **details: Any) -> Callable[[_Command], _Command]:  # noqa: ANN401 - click's own
    """An option whose value the app keeps, for whatever the command builds with it."""

    def keep(ctx: click.Context, _param: click.Parameter, value: object) -> None:
        setattr(ctx.ensure_object(App), attribute, value)

    return click.option(*names, callback=keep, expose_value=False, **details)


def wait(command: _Command) -> _Command:
    """Add `--wait`, `--timeout` and `-q/--quiet`, which sets the app's."""
    for option in (
        _app_option("quiet", "-q", "--quiet", is_flag=True, help="Show no progress while waiting."),
        click.option(
            "--timeout",
            type=Duration(),
            default="30m",
            metavar="TIME",
            show_default=True,
            help="How long to wait, as in 90, 90s, 10m or 1h.",
        ),
        click.option("--wait", is_flag=True, help="Wait until every operation is done."),
    ):
        command = option(command)
    return command


output = _app_option(
    "form",
    "-o",
    "--output",
    type=click.Choice(FORMS),
    is_eager=True,
    help="The form of the result; by default a table on a terminal, tsv elsewhere.",
)
verbose = _app_option(
    "verbose",
    "-v",
    "--verbose",
    is_flag=True,
    help="Log each request to standard error: method, URL, status, milliseconds.",
)
