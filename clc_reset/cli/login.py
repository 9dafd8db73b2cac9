"""`clc login`: exchange a password for a token, and keep that in the OS keyring."""

from dataclasses import replace
from datetime import UTC, datetime

import click

from clc_reset.cli import identity, options, reading
from clc_reset.cli.app import App
from clc_reset.wording import show_time

_OTHERWISE = "Give the user name with -u, and the password with --password-stdin."


@click.command("login")
@click.option("-u", "--username", envvar="CLC_USERNAME", show_envvar=True, help="The user name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.account
@options.verbose
@click.pass_obj
def command(app: App, username: str | None, account: str | None, *, password_stdin: bool) -> None:
    """Log in, and keep the token in the OS keyring for 14 days.

    Asks for what is missing. With -a, that account becomes the one to act in.
    """
    origin = app.origin
    alias = None if account is None else identity.checked_alias(account)
    app.keyring().check()
    username = username or reading.ask(app, "user name", _OTHERWISE)
    password = (
        reading.password_from_standard_input()
        if password_stdin
        else reading.ask(app, "password", _OTHERWISE, hidden=True)
    )
    with app.api as api:
        found = api.log_in(username, password)
    identity.refuse_expired(found, datetime.now(UTC))
    found = replace(found, account=alias or found.account)
    backend = app.keyring().store(origin, found)
    until = f" until {show_time(found.expires)}" if found.expires else ""
    app.output.note(
        f"Logged in at {origin} as {found.user}, account {found.account or 'unknown'}{until}.\n"
        f"The token is in the keyring ({backend})."
    )
    if source := identity.source_before_the_keyring():
        app.output.note(f"Warning: {source} is set, and goes before the keyring.")
