"""`clc history`: its options and help."""

import click

from clc_reset.cli import arguments, options
from clc_reset.cli.options import Invocation

USUAL = 20


@options.command("history", "clc history", "clc history WA1ALIASWB01 -n 5")
@options.servers
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, options.MOST_NUMBER),
    default=USUAL,
    show_default=True,
    metavar="N",
    help="How many runs to list.",
)
@options.output
@options.verbose
@click.pass_obj
def command(invocation: Invocation, servers: tuple[str, ...], number: int) -> int:
    """List the latest resets from this machine.

    The newest comes first. With names, lists only the resets of those servers. The states are the
    latest ones known; to ask again: clc status --run RUN
    """
    from clc_reset.commands import history

    ids = arguments.server_ids(
        servers, invocation.standard_input, "clc history", may_be_none=not servers
    )
    return history.run(invocation.session, ids, number)
