"""`clc servers`: what a reset of a group would hit, and what servers show."""

from collections.abc import Sequence

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.exit_codes import ExitCode
from clc_reset.models import Observation
from clc_reset.resets import evidence
from clc_reset.resets.groups import Groups, Member

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
    listed = [member.server for member in found.members()]
    session.journal.keep_listing(session.origin, alias, found.names, listed)
    seen = [_observation(member) for member in found.members(groups)]
    code = report.looked_up(session.renderer.servers(alias, seen))
    if not seen:
        session.streams.note(f"Account {alias} has no server that could be reset.")
    return code


def _look(session: Session, account: str, servers: Sequence[str]) -> int:
    """Look at each server; one that can't be seen doesn't hide the others."""
    places = [(account, server) for server in servers]
    found = evidence.look(places, session.client, session.inbox, LOOK_SECONDS)
    seen = _with_group_names(session, account, list(found.values()))
    errors = [observation.error for observation in seen]
    if errors and errors[0] is not None and all(error is not None for error in errors):
        raise errors[0]
    code = report.looked_up(session.renderer.servers(account, seen))
    return code or (ExitCode.FAILED if any(o.problem for o in seen) else ExitCode.OK)


def _with_group_names(
    session: Session, account: str, seen: Sequence[Observation]
) -> list[Observation]:
    """Return the observations with the names of their groups, where the API tells them."""
    ids = [observation.group for observation in seen if observation.group]
    names = session.inbox.map(
        lambda group: session.client.group_name(account, group), ids, evidence.SECONDS_FOR_ALL
    )
    named = []
    for observation in seen:
        name = names.get(observation.group or "")
        group = name if isinstance(name, str) else observation.group
        named.append(observation._replace(group=group))
    return named


def _observation(member: Member) -> Observation:
    shown = member.shown or Observation(member.server)
    return shown._replace(group=member.group, datacenter=member.datacenter)
