"""`clc servers`: what a reset of a group would hit, and what servers show."""

from collections.abc import Sequence

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.errors import AuthenticationError
from clc_reset.exit_codes import ExitCode
from clc_reset.resets import evidence
from clc_reset.resets.groups import Groups

LOOK_SECONDS = 30.0
"""The limit for all looks at servers that are named."""


def run(
    session: Session,
    servers: Sequence[str],
    groups: Sequence[str],
    *,
    account: str | None,
) -> int:
    """List servers, or look at those named; return the exit code."""
    servers = session.each_once(servers)
    credential = session.log_in()
    alias = sources.account(account, credential)
    if servers:
        return _look(session, alias, servers)
    found = Groups(alias, session.client.groups(alias, detailed=True))
    listed = [shown.server for shown in found.members()]
    session.journal.keep_listing(session.origin, alias, found.names, listed)
    seen = found.members(groups)
    code = report.looked_up(session, session.renderer.servers(alias, seen))
    if not seen:
        session.streams.note(f"Account {alias} has no server that could be reset.")
    return code


def _look(session: Session, account: str, servers: Sequence[str]) -> int:
    """Look at each server; one that can't be seen doesn't hide the others."""
    places = [(account, server) for server in servers]
    found = evidence.look(places, session.client, session.inbox, LOOK_SECONDS).values()
    errors = [observation.error for observation in found if observation.error is not None]
    if len(errors) == len(found):
        raise errors[0]
    names = session.inbox.map(
        lambda group: session.client.group_name(account, group),
        [observation.group for observation in found if observation.group],
        evidence.SECONDS_FOR_ALL,
    )
    seen = []
    for observation in found:
        name = names.get(observation.group or "")
        group = name if isinstance(name, str) else observation.group  # the API may not tell it
        seen.append(observation._replace(group=group))
    code = report.looked_up(session, session.renderer.servers(account, seen))
    for error in errors:
        if isinstance(error, AuthenticationError):
            return report.error(session.renderer, error)
    return code or (ExitCode.FAILED if any(o.problem for o in seen) else ExitCode.OK)
