"""`clc logout`: its options."""

import click

from clc_reset.cli import options
from clc_reset.cli.options import Invocation


@options.command("logout", "clc logout")
@options.verbose
@click.pass_obj
def command(invocation: Invocation) -> int:
    """Delete the token from the OS keyring.

    The API still accepts the token until it expires.
    """
    from clc_reset.commands import logout

    return logout.run(invocation.session)
