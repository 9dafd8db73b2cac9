"""`clc logout`: forget the token in the OS keyring."""

import click

from clc_reset.cli import identity, options
from clc_reset.cli.app import App


@click.command("logout")
@options.verbose
@click.pass_obj
def command(app: App) -> None:
    """Forget the token in the OS keyring. It stays valid until it expires."""
    forgotten = app.keyring().forget(app.origin)
    app.output.note(
        f"Logged out at {app.origin}." if forgotten else f"Not logged in at {app.origin}."
    )
    if source := identity.source_before_the_keyring():
        app.output.note(f"Warning: {source} is still set, and still used.")
