"""The meaning of the API's answers. Pure: decoded JSON in, values out.

Nothing is taken for granted: each reader says what was documented, recorded or reported, and reads
anything else as well as it can. No server that was asked for is ever lost. The JSON is redacted
before it comes here (`redaction.Redactor.decode`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from clc_reset.errors import RefusedError
from clc_reset.identifiers import is_server_id
from clc_reset.models import (
    Credential,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerGroup,
    ServerResult,
    ServerState,
)
from clc_reset.text import REDACTED, in_one_line, quote, shorten

_STATUS_PATH = re.compile(r"/v2/operations/([A-Za-z0-9]+)/status/[^/?]+")
# as recorded; to resolve any link takes 0.1 ms, a second for 10,000
_PLAIN_STATUS_PATH = re.compile(r"/v2/operations/([A-Za-z0-9]+)/status/[A-Za-z0-9_-]+")
_LONGEST_STATUS = 40  # characters; a longer text is no status


# --- reset -------------------------------------------------------------------------------------


def entities(content: object) -> list[object] | None:
    """Return the entities of a reset's answer, one a server; None if it is something else.

    Reported: a single object instead of an array for one server.
    """
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return None
    if content and not any(isinstance(item, dict) and "isQueued" in item for item in content):
        return None
    return content


def mentions_queueing(content: object, body: bytes) -> bool:
    """Return whether an answer mentions what was queued, so that it is not a mere error.

    One whose entities can't be read may have queued any of them.
    """
    return bool(entities(content)) or b"isqueued" in body.lower()


def reconcile(
    servers: Sequence[str],
    entities: Sequence[object],
    resolve: Callable[[str], str | None],
) -> ResetAnswer:
    """Match the API's answer with the servers asked for, ignoring case and order.

    A server missing from the answer is unknown, never dropped. One with two different results is
    unknown, too: the API contradicts itself. `resolve` returns the path to request for the href of
    a status link, None if it can't be followed.
    """
    operations: dict[tuple[str, str | None], Operation] = {}
    found: dict[str, ServerResult] = {}
    unasked: dict[str, None] = {}
    asked = set(servers)
    for entity in entities:
        if not isinstance(entity, dict):
            continue
        name = text(entity.get("server"))
        server = name.upper()
        if server in asked:
            operation = _operation(entity.get("links"), resolve, operations)
            result = _server_result(server, entity, operation)
            found[server] = _merged(found[server], result) if server in found else result
        elif name:
            unasked[name if REDACTED in name else server] = None
    missing = "The API's answer leaves this server out: it may have been reset."
    results = (
        found.get(server) or ServerResult(server, ServerState.UNKNOWN, None, missing)
        for server in servers
    )
    return ResetAnswer(Sending.SENT, tuple(results), turns=tuple(found), unasked=tuple(unasked))


def _server_result(
    server: str, entity: Mapping[str, object], operation: Operation | None
) -> ServerResult:
    match entity.get("isQueued"):
        case True:
            state, message = ServerState.QUEUED, ""
            if operation is None:
                message = "Queued without a status link: it can't be followed."
            elif operation.path is None:
                message = "Queued; its status link leads elsewhere and isn't followed."
        case False:
            state, message = ServerState.FAILED, "Refused; the API gave no reason."
            operation = None
        case _:
            state, message = ServerState.UNKNOWN, "The API doesn't say whether this was queued."
    if "errorMessage" in entity:
        message = shorten(text(entity["errorMessage"])) or message
    return ServerResult(server, state, operation, message or None)


def _merged(first: ServerResult, second: ServerResult) -> ServerResult:
    if first == second:
        return first
    if first.state is second.state is ServerState.FAILED:
        return first._replace(message=shorten(f"{first.message} {second.message}"))
    ids = sorted({result.operation.id for result in (first, second) if result.operation})
    message = "The API answered for this server in more than one way"
    message += f": {', '.join(ids)}." if ids else "."
    operation = first.operation or second.operation
    return ServerResult(first.server, ServerState.UNKNOWN, operation, message)


def _operation(
    links: object,
    resolve: Callable[[str], str | None],
    known: dict[tuple[str, str | None], Operation],
) -> Operation | None:
    """Return the operation of the link whose rel is "status".

    Missing, null and empty links are alike. An operation that is `known` by its id and account is
    one value, whatever the spelling of its link.
    """
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "status":
            href = text(link.get("href"))
            status_id = text(link.get("id")) or href.rstrip("/").rpartition("/")[2]
            if href and status_id:
                documented = _PLAIN_STATUS_PATH.fullmatch(href)
                path = href if documented else resolve(href)
                documented = documented or _STATUS_PATH.fullmatch(path or "")
                account = documented[1].upper() if documented else None
                operation = Operation(status_id, path, account)
                return known.setdefault((status_id, account or path), operation)
    return None


# --- log in and get status ---------------------------------------------------------------------


def credential(content: object, username: str) -> Credential | None:
    """Return the credential in the answer to a login; None if it has no token that can be used.

    Recorded: `{"userName","accountAlias","locationAlias","roles":[…],"bearerToken"}`.
    """
    if not isinstance(content, dict):
        return None
    roles = content.get("roles")
    try:
        return Credential.from_token(
            text(content.get("bearerToken")),
            source="login",
            user=text(content.get("userName")) or username,
            account=text(content.get("accountAlias")) or None,
            roles=tuple(filter(None, map(text, roles))) if isinstance(roles, list) else (),
        )
    except ValueError:
        return None


def operation_status(content: object) -> OperationStatus | None:
    """Return the status in `{"status":"executing"}`, the answer to Get Status; else None."""
    word = text(content.get("status")) if isinstance(content, dict) else ""
    return OperationStatus(word) if 0 < len(word) <= _LONGEST_STATUS else None


# --- servers and groups ------------------------------------------------------------------------


def observation(entity: object, server: str, seen_at: datetime | None) -> Observation | None:
    """Return what a server's entity shows; None if it isn't that server's.

    Recorded: `{"id","groupId","locationId","status","details":{"powerState","inMaintenanceMode"},
    "changeInfo":{"modifiedDate","modifiedBy"}}`; `details` may be missing.
    """
    if not isinstance(entity, dict) or text(entity.get("id")).upper() != server:
        return None

    def field(holder: Mapping[str, object], key: str) -> str | None:
        return shorten(text(holder.get(key))) or None

    details, change = (_object(entity.get(key)) for key in ("details", "changeInfo"))
    date = change.get("modifiedDate")
    changed_at = parse_time(date)
    maintenance = details.get("inMaintenanceMode")
    datacenter = field(entity, "locationId")
    return Observation(
        server,
        seen_at,
        changed_at,
        changed_by=field(change, "modifiedBy"),
        status=field(entity, "status"),
        power=field(details, "powerState"),
        in_maintenance=maintenance if isinstance(maintenance, bool) else None,
        group=field(entity, "groupId"),
        datacenter=datacenter and datacenter.upper(),
        problem=None if date is None or changed_at else "its date of change can't be read",
    )


def parse_time(value: object) -> datetime | None:
    """Return a time of the API, to the second: `2015-03-26T23:59:28Z`; UTC if it has no zone."""
    written = text(value)
    try:
        found = datetime.fromisoformat(written if "T" in written else "").replace(microsecond=0)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def is_group_id(value: str) -> bool:
    """Return whether a text can be a group's id, and so be put into a URL's path."""
    return re.fullmatch("[0-9a-f]{32}", value) is not None


def group_name(content: object) -> str | None:
    """Return the name of a group, None if it has none."""
    return shorten(text(_object(content).get("name"))) or None


def root_groups(content: object) -> Iterator[tuple[str, str]]:
    """Yield each data centre, in upper case, with the id of its root group.

    Recorded: an array of `{"id":"wa1","links":[{"rel":"group","id":"…32 hex…"}]}`.
    """
    for entity in _objects(content, "it isn't a list of data centres"):
        datacenter = text(entity.get("id")).upper()
        unreadable = f"data centre {quote(datacenter)} has no root group"
        links = _listed(entity, "links", unreadable)
        ids = [text(link.get("id")).lower() for link in links if link.get("rel") == "group"]
        if not (datacenter and ids and all(map(is_group_id, ids))):
            raise _unreadable(unreadable)
        yield from ((datacenter, group_id) for group_id in ids)


def nested_groups(
    content: object, datacenter: str, seen_at: datetime | None, *, detailed: bool
) -> Iterator[ServerGroup]:
    """Yield a root group and the groups inside it, to the bottom, less archives and templates.

    Recorded: `{"id","name","type","groups":[the same],"links":[{"rel":"server","id":"WA1…"}]}`;
    in detail there are no such links, but `"servers":[{"id":"wa1…",…}]`.
    """
    left = [(group, 0) for group in _objects([content], f"that of {datacenter} isn't a group")]
    while left:  # not by recursion: an answer may be nested deeper than Python can go
        group, depth = left.pop()
        group_id, name, kind = (text(group.get(key)) for key in ("id", "name", "type"))
        if not (group_id and name and kind):
            raise _unreadable(f"a group in {datacenter} lacks its id, name or type")
        if kind.lower() in {"archive", "templates"}:
            continue
        key = "servers" if detailed else "links"
        listed = _listed(group, key, f"the {key} of group {quote(name)} aren't a list")
        members: list[Observation] = []
        for item in listed:
            if detailed or item.get("rel") == "server":
                server = text(item.get("id"))
                if not is_server_id(server):
                    raise _unreadable(f"{quote(server)} in group {quote(name)} is not a server id")
                shown = observation(item, server.upper(), seen_at) if detailed else None
                shown = shown or Observation(server.upper())
                members.append(shown._replace(group=name, datacenter=datacenter))
        members.sort(key=attrgetter("server"))
        yield ServerGroup(group_id, name, datacenter, depth, tuple(members))
        inside = _listed(group, "groups", f"the groups in group {quote(name)} aren't a list")
        left += ((inner, depth + 1) for inner in reversed(inside))


def _listed(holder: Mapping[str, Any], key: str, otherwise: str) -> list[dict[str, Any]]:
    """Return the objects that an object lists; a missing list, null and an empty one are alike."""
    found = holder.get(key)
    return [] if found is None else _objects(found, otherwise)


def _objects(found: object, otherwise: str) -> list[dict[str, Any]]:
    """Return the objects in a list. Raises RefusedError if it isn't one."""
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _unreadable(otherwise)
    return found


def _unreadable(reason: str) -> RefusedError:
    return RefusedError(
        f"The API's answer about the groups can't be read: {reason}.",
        hint="Try again later, or name the servers themselves.",
    )


# --- any answer --------------------------------------------------------------------------------


def reason(content: object) -> str:
    """Return the text of an error, or an empty string; no full stop at its end.

    Recorded: an object with `message`, `modelState` (its key may be empty) or `error`, a bare
    string, an array of `message`; a 500 may carry `exceptionMessage`.
    """
    texts: list[str] = []
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, dict):
            texts += (text(item.get(key)) for key in ("message", "error", "exceptionMessage"))
            for lines in _object(item.get("modelState")).values():
                texts += map(text, lines) if isinstance(lines, list) else ()
        else:
            texts.append(text(item))
    return " ".join(dict.fromkeys(filter(None, texts))).rstrip(". ")


def text(value: object) -> str:
    """Return the value if it is text, in one line and stripped; else an empty string."""
    return in_one_line(value.strip()) if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
