"""`clc login`: exchange a password for a token, and keep that in the OS keyring."""

import os
from datetime import UTC, datetime

import click

from clc_reset.cli import arguments, options
from clc_reset.cli.context import Context, origin

_OTHERWISE = "Give the user name with -u, and the password with --password-stdin."


@options.command(
    "login",
    "clc login",
    "clc login -u nightly --password-stdin < password-file",
)
@click.option("-u", "--username", envvar="CLC_USERNAME", show_envvar=True, help="The user name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.account
@options.verbose
@click.pass_obj
def command(
    ctx: Context,
    username: str | None,
    account: str | None,
    *,
    password_stdin: bool,
    verbose: bool,
) -> None:
    """Log in, and keep the token in the OS keyring.

    The token lives 14 days. What is missing is asked for. With -a, that account becomes the one to
    act in.
    """
    from dataclasses import replace

    from clc_reset.auth.sources import checked_alias, refuse_expired, source_before_the_keyring
    from clc_reset.text import show_time

    output = ctx.output()
    alias = None if account is None else checked_alias(account)
    keyring = ctx.keyring()
    where = origin()
    keyring.check()
    username = username or ctx.prompts.ask("user name", _OTHERWISE)
    password = (
        arguments.password(ctx.stop)
        if password_stdin
        else ctx.prompts.ask("password", _OTHERWISE, hidden=True)
    )
    with ctx.client(output, verbose=verbose) as client:
        credential = client.log_in(username, password)
    refuse_expired(credential, datetime.now(UTC))
    credential = replace(credential, account=alias or credential.account)
    backend = keyring.store(where, credential)
    until = f" until {show_time(credential.expires)}" if credential.expires else ""
    output.note(
        f"Logged in at {where} as {credential.user}, account "
        f"{credential.account or 'unknown'}{until}.\nThe token is in the keyring ({backend})."
    )
    if source := source_before_the_keyring(os.environ):
        output.note(f"Warning: {source} is set, and takes precedence over the keyring.")
