"""`clc whoami`: whose token is used, for which account, how long, and where it comes from."""

from datetime import UTC, datetime

import click

from clc_reset.cli import identity, options
from clc_reset.cli.app import App
from clc_reset.wording import show_span


@click.command("whoami")
@options.output
@options.account
@options.verbose
@click.pass_obj
def command(app: App, account: str | None) -> None:
    """Show user, account, roles, the token's age and expiry, and where it comes from."""
    found = identity.credential(app)
    now = datetime.now(UTC)
    app.output.record(
        {
            "user": found.user,
            "account": identity.account(account, found) if account or found.account else None,
            "roles": found.roles,
            "source": found.source,
            "base_url": app.origin,
            "issued": found.issued.isoformat() if found.issued else None,
            "age": show_span(now - found.issued) if found.issued else None,
            "expires": found.expires.isoformat() if found.expires else None,
            "expires_in": show_span(found.expires - now) if found.expires else None,
        }
    )
