"""`clc whoami`: whose token is used, for which account, how long, and where it comes from."""

from datetime import UTC, datetime

import click

from clc_reset.cli import options
from clc_reset.cli.context import Context, origin


@options.command("whoami", "clc whoami", "clc whoami -o json")
@options.output
@options.account
@options.verbose
@click.pass_obj
def command(ctx: Context, account: str | None, form: str | None, *, verbose: bool) -> int:
    """Show user, account, roles, and how old the token is.

    Shows as well when the token expires, and where it comes from. The first of these that is set
    is used: CLC_TOKEN, CLC_TOKEN_FILE, CLC_USERNAME with a password, the keyring.
    """
    from clc_reset.auth import sources
    from clc_reset.cli import report
    from clc_reset.text import show_span

    output = ctx.output(form)
    own = ctx.sources(output, lambda: ctx.client(output, verbose=verbose)).credential()
    now = datetime.now(UTC)
    delivery = output.record(
        {
            "user": own.user,
            "account": sources.account(account, own) if account or own.account else None,
            "roles": own.roles,
            "source": own.source,
            "base_url": origin(),
            "issued": own.issued.isoformat() if own.issued else None,
            "age": show_span(now - own.issued) if own.issued else None,
            "expires": own.expires.isoformat() if own.expires else None,
            "expires_in": show_span(own.expires - now) if own.expires else None,
        }
    )
    return report.looked_up(delivery)
