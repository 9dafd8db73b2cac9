"""`clc login`: its options."""

from functools import partial

import click

from clc_reset.cli import arguments, options
from clc_reset.cli.options import Invocation


@options.command(
    "login",
    "clc login",
    "clc login -u nightly --password-stdin < password-file",
)
@click.option("-u", "--username", envvar="CLC_USERNAME", show_envvar=True, help="User name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.account
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation, username: str | None, account: str | None, *, password_stdin: bool
) -> int:
    """Log in and store the token in the OS keyring.

    Prompts for the user name and the password if they aren't given. The token is valid for 14
    days. With -a, commands act in that account by default.
    """
    from clc_reset.commands import login

    # a password that is typed is asked for, so that it isn't shown
    is_piped = password_stdin and not arguments.is_typed()
    read = partial(arguments.password, invocation.inbox) if is_piped else None
    return login.run(invocation.session, username, account, read)
