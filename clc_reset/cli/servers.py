"""`clc servers`: what a reset of a group would hit."""

import click

from clc_reset.cli import identity, options
from clc_reset.cli.app import App
from clc_reset.cli.ids import check_groups
from clc_reset.output import MEMBERS


@click.command("servers")
@options.groups
@options.account
@options.output
@options.verbose
@click.pass_obj
def command(app: App, groups: tuple[str, ...], account: str | None) -> None:
    """List servers, with their groups and data centres.

    Without -g all of the account's. What is in archives and templates is left out: it can't be
    reset.
    """
    check_groups(groups)
    found = identity.credential(app)
    alias = identity.account(account, found)
    with app.api.authorize(found.token) as api:
        members = app.groups(api, alias).members(groups)
    app.output.servers(alias, MEMBERS, members)
    if not members:
        app.output.note(f"No server in account {alias} that could be reset.")
