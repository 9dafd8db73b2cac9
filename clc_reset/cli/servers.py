"""`clc servers`: its options and help."""

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.options import Invocation


@options.command(
    "servers",
    "clc servers -g 'WA1 Web'",
    "clc servers WA1ALIASWB01 -o json",
    "clc servers -g Database | clc reset - --wait",
)
@click.argument("servers", nargs=-1, metavar="[SERVER]...", shell_complete=suggestions.servers)
@options.groups
@options.account
@options.output
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation,
    servers: tuple[str, ...],
    groups: tuple[str, ...],
    account: str | None,
    form: str | None,
    *,
    verbose: bool,
) -> int:
    """List servers, or look at the ones named.

    Without names, lists all servers of the account, or of the groups. Archives and templates are
    left out: they can't be reset. Shows where each server is, its power, and when it was last
    changed, by a reset or by anybody's edit.
    """
    arguments.check_groups(groups)
    if servers and groups:
        raise click.UsageError("Name either servers or groups.")
    ids: list[str] = []
    duplicates = 0
    if servers:
        ids, duplicates = arguments.server_ids(
            servers, invocation.standard_input, command="clc servers"
        )

    from clc_reset.commands import servers as work

    session = invocation.session(form, verbose=verbose)
    return work.run(session, ids, groups, account=account, duplicates=duplicates)
