"""`clc servers`: what a reset of a group would hit, and what servers show."""

from functools import partial
from typing import TYPE_CHECKING

import click

from clc_reset.cli import arguments, exit_codes, options, suggestions
from clc_reset.cli.context import Context, journal, origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clc_reset.models import Observation
    from clc_reset.resets.groups import Member

LOOK_SECONDS = 30.0
"""The limit for each look."""


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
    ctx: Context,
    servers: tuple[str, ...],
    groups: tuple[str, ...],
    account: str | None,
    form: str | None,
    *,
    verbose: bool,
) -> int:
    """List servers, or look at those named.

    Without names, it lists all servers of the account, or of the groups. Archives and templates
    are left out: they can't be reset. It shows where each server is, its power, and when it was
    last changed, be it by a reset or by anybody's edit.
    """
    arguments.check_groups(groups)
    if servers and groups:
        raise click.UsageError("Name either servers or groups.")
    output = ctx.output(form)
    ids: list[str] = []
    if servers:
        ids, duplicates = arguments.server_ids(
            servers, lambda: arguments.standard_input(ctx.stop), command="clc servers"
        )
        arguments.tell_duplicates(duplicates, output.note)

    from clc_reset.auth import sources
    from clc_reset.cli import report

    with ctx.client(output, verbose=verbose) as client:
        credential = ctx.sources(output, lambda: client).credential()
        client.authorize(credential.token)
        alias = sources.account(account, credential)
        if ids:
            from clc_reset.threads import gather

            seen = gather(
                [partial(client.server, alias, each) for each in ids], LOOK_SECONDS, ctx.stop
            )
        else:
            from clc_reset.resets.groups import Groups

            found = Groups(alias, client.groups(alias, detailed=True))
            journal(lambda _warning: None).keep_listing(
                origin(), alias, found.names, [each.server for each in found.members()]
            )
            seen = [_shown(each) for each in found.members(groups)]
    code = report.looked_up(output.servers(alias, seen))
    if not seen:
        output.note(f"Account {alias} has no server that could be reset.")
    return code or _missing(seen if ids else ())


def _shown(member: "Member") -> "Observation":
    from clc_reset.models import Observation

    shown = member.shown or Observation(member.server)
    return shown._replace(group=member.group, datacenter=member.datacenter)


def _missing(seen: "Sequence[Observation]") -> int:
    """Whether all that were named could be seen."""
    return exit_codes.FAILED if any(each.problem for each in seen) else exit_codes.OK
