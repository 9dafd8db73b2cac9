"""`clc sandbox`: a CLC cloud on this machine, for one command or until it is stopped."""

import os
import shlex
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clc_reset.cli import exit_codes, options
from clc_reset.cli.context import Context
from clc_reset.errors import UsageError

if TYPE_CHECKING:
    from clc_reset.sandbox.cloud import Behaviour
    from clc_reset.sandbox.server import Server
    from clc_reset.ui.output import Output

_LEADS_PAST_THE_SANDBOX = (
    "CLC_TOKEN",
    "CLC_TOKEN_FILE",
    "CLC_PASSWORD_FILE",
    "CLC_ACCOUNT",
    "CLC_ALIAS",
)
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@options.command(
    "sandbox",
    "clc sandbox clc reset WA1ALIASWB01 WA1ALIASWB02 --wait",
    "clc sandbox --lose-answer ./nightly-reset.sh",
    "clc sandbox --fail WA1ALIASDB01 --duration 10s sh",
    context_settings={"allow_interspersed_args": False},
)
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
@click.option(
    "--fail",
    multiple=True,
    metavar="SERVER",
    help="Let its operation fail at this server; those after it aren't reset. Repeatable.",
)
@click.option("--lose-answer", is_flag=True, help="Take a reset, and never answer it.")
@click.option(
    "--flaky",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Answer this share of the polls with 503.",
)
@click.option("--expired-token", is_flag=True, help="Give out tokens that have expired.")
@click.option(
    "--clock-skew",
    type=options.Duration(signed=True),
    default="0",
    metavar="TIME",
    help="How far its clock is off, as in 5m or -1h.",
)
@options.verbose
@click.pass_obj
def command(
    ctx: Context,
    arguments: tuple[str, ...],
    port: int,
    servers: int | None,
    duration: float,
    latency: float,
    refuse: tuple[str, ...],
    fail: tuple[str, ...],
    flaky: float,
    clock_skew: float,
    *,
    lose_answer: bool,
    expired_token: bool,
    verbose: bool,
) -> int:
    """Run a CLC cloud on this machine, to rehearse a reset.

    With COMMAND, it runs that against the cloud and ends with its exit code. Without, it serves on
    loopback until Ctrl-C and logs each request. The account is ALIAS, user name and password are
    demo. What was reset is forgotten when it ends.
    """
    from clc_reset.sandbox.cloud import Behaviour

    output = ctx.output()
    behaviour = Behaviour(
        duration=duration,
        refuse=frozenset(each.upper() for each in refuse),
        fail=frozenset(each.upper() for each in fail),
        lose_answer=lose_answer,
        flaky=flaky,
        expired_token=expired_token,
        servers=servers,
        clock_skew=clock_skew,
    )
    log = output.note if verbose or not arguments else _say_nothing
    with _server(behaviour, port, latency, log) as server:
        if arguments:
            return _run(output, server, arguments, quiet=not verbose)
        _invite(output, server.url, server.servers)
        with ctx.stop.blocking():
            server.serve_forever()
        return exit_codes.OK


def _server(
    behaviour: "Behaviour", port: int, latency: float, log: Callable[[str], None]
) -> "Server":
    """A new cloud on loopback, listening. Raises UsageError if it can't be had."""
    from random import Random

    from clc_reset.sandbox.cloud import Cloud
    from clc_reset.sandbox.server import Server

    cloud = Cloud(behaviour, time.time, Random())  # noqa: S311 - it shuffles answers
    unknown = sorted((behaviour.refuse | behaviour.fail) - cloud.servers.keys())
    if unknown:
        raise UsageError(
            f"The sandbox has no server {', '.join(unknown)}.",
            hint=f"It has, among others: {', '.join(list(cloud.servers)[:12])}",
        )
    try:
        return Server(cloud, port=port, latency=latency, log=log)
    except OSError as error:
        raise UsageError(
            f"Port {port} can't be used: {error.strerror}.",
            hint="Leave --port out to take a free one.",
        ) from error


def _say_nothing(_line: str) -> None:
    pass


def _run(output: "Output", server: "Server", arguments: tuple[str, ...], *, quiet: bool) -> int:
    """Become the command; come back only where it can't be run."""
    from clc_reset.sandbox.server import serve_beside
    from clc_reset.text import quote

    environ = _environment(server.url)
    path = shutil.which(arguments[0], path=environ["PATH"])
    reason, code = "not found", exit_codes.NOT_FOUND
    if path is not None:
        try:
            serve_beside(server, path, arguments, environ, quiet=quiet)
        except OSError as error:
            reason, code = error.strerror or f"{error}", exit_codes.NOT_EXECUTABLE
    elif Path(arguments[0]).exists() or shutil.which(
        arguments[0], mode=os.F_OK, path=environ["PATH"]
    ):
        reason, code = "not executable", exit_codes.NOT_EXECUTABLE
    output.error("usage", f"{quote(arguments[0])}: {reason}.", "", code)
    return code


def _invite(output: "Output", url: str, servers: list[str]) -> None:
    from clc_reset.text import count, enumerate_names

    output.note(
        f"A CLC cloud is running on this machine, with {count(len(servers), 'server')}: "
        f"{enumerate_names(servers)}.\n"
        "To use it in another terminal:\n"
    )
    misleading = [each for each in _LEADS_PAST_THE_SANDBOX if os.environ.get(each)]
    if misleading:
        output.line(f"unset {' '.join(misleading)}")
    variables = _variables(url)
    output.line(
        "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    )
    output.note("\nand there: clc reset WA1ALIASWB01 WA1ALIASWB02\nCtrl-C ends it.")


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
    own = Path(sys.argv[0]).absolute()  # not resolved: a link's folder has it, too
    return f"{own.parent}" if own.name == "clc" else sysconfig.get_path("scripts")
