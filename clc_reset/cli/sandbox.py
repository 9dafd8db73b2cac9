"""`clc sandbox`: a CLC cloud on this machine, for one command or until it is stopped."""

import click

from clc_reset.cli import options
from clc_reset.cli.options import Invocation


@options.command(
    "sandbox",
    "clc sandbox bash",
    "clc sandbox clc reset WA1ALIASWB01 WA1ALIASWB02 --wait",
    "clc sandbox --lose-answer ./nightly-reset.sh",
    "clc sandbox --fail WA1ALIASDB01 --duration 10s bash",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, metavar="[COMMAND [ARG]...]", type=click.UNPROCESSED)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="The port to listen on; by default a free one.",
)
@click.option(
    "--servers",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="How many servers it has; by default 11.",
)
@options.time("--duration", "How long an operation takes.", default="3s")
@options.time("--latency", "How long an answer takes.", default="0")
@click.option(
    "--refuse", multiple=True, metavar="SERVER", help="Refuse to queue this server. Repeatable."
)
@click.option(
    "--fail",
    multiple=True,
    metavar="SERVER",
    help="Fail the operation at this server; the servers after it aren't reset. Repeatable.",
)
@click.option("--lose-answer", is_flag=True, help="Accept a reset, but lose the answer.")
@click.option(
    "--flaky",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Answer this share of polls with 503, such as 0.3.",
)
@click.option("--expired-token", is_flag=True, help="Give out tokens that have expired.")
@click.option(
    "--clock-skew",
    type=options.signed_duration,
    default="0",
    metavar="TIME",
    help="How far its clock is off, such as 5m or -1h.",
)
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    arguments: tuple[str, ...],
    port: int,
    latency: float,
    refuse: tuple[str, ...],
    fail: tuple[str, ...],
    **given: object,
) -> int:
    """Run a CLC cloud on this machine, to rehearse a reset.

    With COMMAND, run it against the cloud and end with its exit code. Without COMMAND, serve on
    loopback until Ctrl-C and log each request. The account is ALIAS; user name and password are
    demo. Nothing is kept when it ends.
    """
    from clc_reset.commands import sandbox

    behaviour = sandbox.Behaviour(
        refuse=frozenset(server.upper() for server in refuse),
        fail=frozenset(server.upper() for server in fail),
        **given,  # type: ignore[arg-type] # click's own types
    )
    return sandbox.run(invocation.session, arguments, behaviour, port, latency)
