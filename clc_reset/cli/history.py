"""`clc history`: its options and help."""

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.options import Invocation

USUAL = 20


@options.command("history", "clc history", "clc history WA1ALIASWB01 -n 5")
@click.argument("servers", nargs=-1, metavar="[SERVER]...", shell_complete=suggestions.servers)
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
def command(
    invocation: Invocation,
    servers: tuple[str, ...],
    number: int,
    form: str | None,
    *,
    verbose: bool,
) -> int:
    """List the latest resets from this machine.

    The newest comes first. With names, lists only the resets of those servers. The states are the
    latest ones known; to ask again: clc status --run RUN
    """
    ids: list[str] = []
    if servers:
        ids, _ = arguments.server_ids(servers, invocation.standard_input, command="clc history")

    from clc_reset.commands import history

    return history.run(invocation.session(form, verbose=verbose), ids, number)
