"""`clc sandbox`: a CLC cloud on this machine, for one command or until it is stopped."""

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from clc_reset.cli import exit_codes, options
from clc_reset.cli.app import App
from clc_reset.sandbox.behaviour import Behaviour
from clc_reset.wording import count, enumerate_names, quote

if TYPE_CHECKING:
    from clc_reset.sandbox.server import Server

_LEADS_PAST_THE_SANDBOX = (
    "CLC_TOKEN",
    "CLC_TOKEN_FILE",
    "CLC_PASSWORD_FILE",
    "CLC_ACCOUNT",
    "CLC_ALIAS",
)
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@click.command("sandbox", context_settings={"allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, metavar="[COMMAND [ARG]...]", type=click.UNPROCESSED)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="The port to listen on; by default a free one.",
)
@click.option(
    "--servers",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="How many servers it has; by default a dozen.",
)
@click.option(
    "--duration",
    type=options.Duration(),
    default="3s",
    metavar="TIME",
    show_default=True,
    help="How long an operation takes.",
)
@click.option(
    "--latency",
    type=options.Duration(),
    default="0",
    metavar="TIME",
    help="How long an answer takes.",
)
@click.option(
    "--refuse", multiple=True, metavar="SERVER", help="Refuse to queue this server. Repeatable."
)
@click.option("--fail", multiple=True, metavar="SERVER", help="Let its operation fail. Repeatable.")
@click.option("--lose-answer", is_flag=True, help="Take a reset, and never answer it.")
@click.option(
    "--flaky",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Answer this share of the polls with 503.",
)
@click.option("--expired-token", is_flag=True, help="Give out tokens that have expired.")
@options.verbose
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917 - click passes one an option, and reads \b
    app: App,
    arguments: tuple[str, ...],
    port: int,
    servers: int | None,
    duration: float,
    latency: float,
    refuse: tuple[str, ...],
    fail: tuple[str, ...],
    flaky: float,
    *,
    lose_answer: bool,
    expired_token: bool,
) -> int:
    """Run a CLC cloud on this machine, on loopback, to rehearse a reset.

    With COMMAND, run that against it and end with its exit code:

    \b
      clc sandbox clc reset WA1ALIASWB01 WA1ALIASWB02
      clc sandbox --refuse WA1ALIASDB01 ./nightly-reset.sh

    Without, serve until Ctrl-C and log each request. The account is ALIAS, user name and password
    are demo. What was reset is forgotten when it ends.
    """
    behaviour = Behaviour(
        duration=duration,
        refuse=frozenset(each.upper() for each in refuse),
        fail=frozenset(each.upper() for each in fail),
        lose_answer=lose_answer,
        flaky=flaky,
        expired_token=expired_token,
        servers=servers,
    )
    logs = app.verbose or not arguments
    with app.sandbox(behaviour, port=port, latency=latency, logs=logs) as server:
        if arguments:
            return _run(app, server, arguments)
        _invite(app, server.url, server.servers)
        server.serve_forever()
        return exit_codes.OK


def _run(app: App, server: "Server", arguments: tuple[str, ...]) -> int:
    """Become the command; come back only where it can't be run."""
    environ = _environment(server.url)
    path = shutil.which(arguments[0], path=environ["PATH"])
    if path is not None:
        reason, code = app.serve_beside(server, path, arguments, environ), exit_codes.NOT_EXECUTABLE
    elif os.path.exists(arguments[0]) or shutil.which(  # noqa: PTH110 - a name, if not a path
        arguments[0], mode=os.F_OK, path=environ["PATH"]
    ):
        reason, code = "not executable", exit_codes.NOT_EXECUTABLE
    else:
        reason, code = "not found", exit_codes.NOT_FOUND
    app.output.error("usage", f"{quote(arguments[0])}: {reason}.", "", code)
    return code


def _invite(app: App, url: str, servers: list[str]) -> None:
    app.output.note(
        f"A CLC cloud is running on this machine, with {count(len(servers), 'server')}: "
        f"{enumerate_names(servers)}.\n"
        "To use it in another terminal:\n"
    )
    misleading = [each for each in _LEADS_PAST_THE_SANDBOX if os.environ.get(each)]
    if misleading:
        app.output.line(f"unset {' '.join(misleading)}")
    variables = _variables(url)
    app.output.line(
        "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    )
    app.output.note("\nand there: clc reset WA1ALIASWB01 WA1ALIASWB02\nCtrl-C ends it.")


def _variables(url: str) -> dict[str, str]:
    """What leads a client to the sandbox, as its own user and past any proxy."""
    variables = {"CLC_BASE_URL": url, "CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"}
    if any(os.environ.get(each) for each in _PROXIES):
        others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        without = ",".join(filter(None, (others, "127.0.0.1")))
        variables |= {"no_proxy": without, "NO_PROXY": without}
    return variables


def _environment(url: str) -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _LEADS_PAST_THE_SANDBOX}
    path = f"{own_folder()}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, **_variables(url), "PATH": path}


def own_folder() -> str:
    """The folder of the `clc` that runs, or, for `python -m clc_reset`, of the installed one."""
    own = os.path.abspath(sys.argv[0])  # noqa: PTH100 - not resolved: a link's folder has it, too
    if os.path.basename(own) == "clc":  # noqa: PTH119
        return os.path.dirname(own)  # noqa: PTH120
    return sysconfig.get_path("scripts")
