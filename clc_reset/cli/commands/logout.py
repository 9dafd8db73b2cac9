"""`clc logout`: forget the token in the OS keyring."""

import os

import click

from clc_reset.cli import options
from clc_reset.cli.context import Context, origin


@options.command("logout", "clc logout")
@options.verbose
@click.pass_obj
def command(ctx: Context, *, verbose: bool) -> None:
    """Forget the token in the OS keyring.

    The API still accepts it until it expires.
    """
    from clc_reset.auth.sources import source_before_the_keyring

    del verbose  # nothing is sent
    output = ctx.output()
    forgotten = ctx.keyring().forget(origin())
    output.note(f"Logged out at {origin()}." if forgotten else f"Not logged in at {origin()}.")
    if source := source_before_the_keyring(os.environ):
        output.note(f"Warning: {source} is still set, and still used.")
