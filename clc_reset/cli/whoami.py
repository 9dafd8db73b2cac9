"""`clc whoami`: its options."""

import click

from clc_reset.cli import options
from clc_reset.cli.options import Invocation


@options.command("whoami", "clc whoami", "clc whoami -o json")
@options.output
@options.account
@options.verbose
@click.pass_obj
def command(invocation: Invocation, account: str | None) -> int:
    """Show user, account, roles and the token's age.

    Also shows when the token expires and where it comes from: the first of CLC_TOKEN,
    CLC_TOKEN_FILE, CLC_USERNAME with a password, and the keyring.
    """
    from clc_reset.commands import whoami

    return whoami.run(invocation.session, account)
