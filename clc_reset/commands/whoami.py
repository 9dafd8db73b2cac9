"""Show whose token is used, for which account and how long, and where it comes from."""

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.text import show_span


def run(session: Session, account: str | None) -> int:
    """Print the credential in use without its token; return the exit code.

    Raises ClcError and Interrupted.
    """
    own = session.sources.credential()
    now = session.clocks.now().utc
    delivery = session.renderer.record(
        {
            "user": own.user,
            "account": sources.account(account, own) if account or own.account else None,
            "roles": own.roles,
            "source": own.source,
            "base_url": session.origin,
            "issued": own.issued.isoformat() if own.issued else None,
            "age": show_span(now - own.issued) if own.issued else None,
            "expires": own.expires.isoformat() if own.expires else None,
            "expires_in": show_span(own.expires - now) if own.expires else None,
        }
    )
    return report.looked_up(session, delivery)
