"""`clc servers`: its options and help."""

import click

from clc_reset.cli import arguments, options
from clc_reset.cli.options import Invocation


@options.command(
    "servers",
    "clc servers -g 'WA1 Web'",
    "clc servers WA1ALIASWB01 -o json",
    "clc servers -g Database | clc reset - --wait",
)
@options.servers
@options.groups
@options.account
@options.output
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation, servers: tuple[str, ...], groups: tuple[str, ...], account: str | None
) -> int:
    """List servers, or look at the ones named.

    Without names, lists all servers of the account, or of the groups. Archives and templates are
    left out: they can't be reset. Shows where each server is, its power, and when it was last
    changed, by a reset or by anybody's edit.
    """
    if servers and groups:
        raise click.UsageError("Name either servers or groups.")
    ids = arguments.server_ids(
        servers, invocation.standard_input, "clc servers", may_be_none=not servers
    )

    from clc_reset.commands import servers as work

    return work.run(invocation.session, ids, groups, account=account)
