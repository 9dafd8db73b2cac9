"""What the bodies of the API's answers mean. Pure: bytes and JSON in, values out.

Nothing is taken for granted: each reader says what was documented, recorded or reported, and
whatever else comes is read as far as it goes. No server that was asked for is ever lost. Each
takes `clean`, which makes the API's text fit to be shown and kept: here it becomes ours.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

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
from clc_reset.text import quote

LONGEST_WORD = 40
"""In characters; a status longer than that is no word."""
LONGEST_REASON = 500
"""In characters: a 500 may carry a stack trace of 4 kB."""

Clean = Callable[[str], str]

_STATUS_PATH = r"/v2/operations/([A-Za-z0-9]+)/status/[^/?]+"
_GROUP_ID = r"[0-9a-f]{32}"
_NOTHING_TO_RESET = {"archive", "templates"}


# --- reset -------------------------------------------------------------------------------------


def entities(body: bytes) -> list[object] | None:
    """The entities of a reset's answer; None if it is something else.

    Reported: a single object instead of an array for one server.
    """
    answer = decode(body)
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list):
        return None
    if answer and not any(isinstance(each, dict) and "isQueued" in each for each in answer):
        return None
    return answer


def is_about_servers(body: bytes) -> bool:
    """Whether an answer speaks of what was queued, so that it is no mere error.

    One whose entities can't be read may have queued any of them.
    """
    return bool(entities(body)) or b"isqueued" in body.lower()


def reconcile(
    servers: Sequence[str],
    entities: Sequence[object],
    resolve: Callable[[str], str | None],
    clean: Clean,
    sent_at: datetime | None = None,
) -> ResetAnswer:
    """Hold what the API answered against what was asked, ignoring case and order.

    A server that the answer leaves out is unknown, never dropped. One that is answered for in two
    ways is unknown too: the API contradicts itself. `resolve` makes a status link's href the path
    to ask for, None if it leads elsewhere.
    """
    reader = _Links(resolve, clean, {}, re.compile(_STATUS_PATH))
    found: dict[str, ServerResult] = {}
    unasked: dict[str, None] = {}
    asked = set(servers)
    for entity in entities:
        name = text(entity.get("server")) if isinstance(entity, dict) else ""
        server = name.upper()
        if server in asked and isinstance(entity, dict):
            result = _server_result(server, entity, reader)
            found[server] = _merged(found.get(server, result), result)
        elif name:
            unasked[clean(server)] = None
    missing = "The API's answer leaves this server out: it may have been reset."
    return ResetAnswer(
        Sending.SENT,
        tuple(
            found.get(server) or ServerResult(server, ServerState.UNKNOWN, None, missing)
            for server in servers
        ),
        turns=tuple(found),
        unasked=tuple(unasked),
        sent_at=sent_at,
    )


def _server_result(server: str, entity: Mapping[str, object], links: "_Links") -> ServerResult:
    reason = text(entity.get("errorMessage"))
    message = (reason and links.clean(reason)) or None
    operation = links.operation(entity.get("links"))
    match entity.get("isQueued"):
        case True:
            if operation is None:
                message = message or "Queued without a status link: it can't be followed."
            elif operation.path is None:
                away = "Queued; its status link leads away from the API and isn't followed."
                message = message or away
            return ServerResult(server, ServerState.QUEUED, operation, message)
        case False:
            return ServerResult(
                server, ServerState.FAILED, None, message or "Refused; the API gave no reason."
            )
        case _:
            message = message or "The API doesn't say whether this was queued."
            return ServerResult(server, ServerState.UNKNOWN, operation, message)


def _merged(first: ServerResult, second: ServerResult) -> ServerResult:
    if first == second:
        return first
    if first.state is second.state is ServerState.FAILED:
        return first._replace(message=f"{first.message} {second.message}")
    ids = {each.operation.id for each in (first, second) if each.operation}
    message = "The API answered for this server in more than one way"
    return ServerResult(
        first.server,
        ServerState.UNKNOWN,
        first.operation or second.operation,
        f"{message}: {', '.join(sorted(ids))}." if ids else f"{message}.",
    )


class _Links(NamedTuple):
    """Reads the status links of one answer, each operation in one spelling."""

    resolve: Callable[[str], str | None]
    clean: Clean
    known: dict[tuple[str, str], Operation]
    documented: re.Pattern[str]

    def operation(self, links: object) -> Operation | None:
        """The link whose rel is "status"; missing, null and empty links are alike."""
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and link.get("rel") == "status":
                href = text(link.get("href"))
                status_id = text(link.get("id")) or href.rstrip("/").rpartition("/")[2]
                status_id = self.clean(status_id)
                if href and status_id:
                    return self._operation(status_id, href)
        return None

    def _operation(self, status_id: str, href: str) -> Operation:
        path = self.resolve(href)
        if path is None or self.clean(path) != path:  # a secret in it would be asked for and kept
            return Operation(status_id, None)
        documented = self.documented.fullmatch(path)
        if documented is None:
            return Operation(status_id, path)
        account = documented[1].upper()
        return self.known.setdefault((status_id, account), Operation(status_id, path, account))


# --- log in and get status ---------------------------------------------------------------------


def credential(body: bytes, username: str, clean: Clean) -> Credential | None:
    """What the answer to a login gives; None if there is no token that can be used in it.

    Recorded: `{"userName","accountAlias","locationAlias","roles":[…],"bearerToken"}`.
    """
    answer = decode(body)
    if not isinstance(answer, dict):
        return None
    user, roles = text(answer.get("userName")), answer.get("roles")
    try:
        return Credential.from_token(
            text(answer.get("bearerToken")),
            source="login",
            # a user's name may be the password, too: the sandbox's is
            user=(user if user.lower() == username.lower() else clean(user)) or username,
            account=clean(text(answer.get("accountAlias"))) or None,
            roles=tuple(clean(each) for each in roles if text(each))
            if isinstance(roles, list)
            else (),
        )
    except ValueError:
        return None


def operation_status(body: bytes, clean: Clean) -> OperationStatus | None:
    """The status in the answer to Get Status: `{"status":"executing"}`; None in anything else."""
    answer = decode(body)
    word = clean(text(answer.get("status"))) if isinstance(answer, dict) else ""
    return OperationStatus(word) if 0 < len(word) <= LONGEST_WORD else None


# --- servers and groups ------------------------------------------------------------------------


def observation(
    entity: object,
    server: str,
    clean: Clean,
    seen_at: datetime | None,
    *,
    group: str | None = None,
) -> Observation | None:
    """What a server's entity shows; None if it is no entity of that server.

    Recorded: `{"id","groupId","locationId","status","details":{"powerState","inMaintenanceMode"},
    "changeInfo":{"modifiedDate","modifiedBy"}}`; `details` may be missing.
    """
    if not isinstance(entity, dict) or text(entity.get("id")).upper() != server:
        return None

    def told(holder: Mapping[str, object], key: str) -> str | None:
        return clean(text(holder.get(key))) or None

    details, change = (_object(entity.get(key)) for key in ("details", "changeInfo"))
    date = change.get("modifiedDate")
    changed_at = instant(date)
    maintenance = details.get("inMaintenanceMode")
    return Observation(
        server,
        seen_at,
        changed_at,
        changed_by=told(change, "modifiedBy"),
        status=told(entity, "status"),
        power=told(details, "powerState"),
        in_maintenance=maintenance if isinstance(maintenance, bool) else None,
        group=group or told(entity, "groupId"),
        datacenter=clean(text(entity.get("locationId")).upper()) or None,
        problem=None if date is None or changed_at else "its date of change can't be read",
    )


def instant(value: object) -> datetime | None:
    """A time of the API, to the second: `2015-03-26T23:59:28Z`; UTC if it names no zone."""
    told = text(value)
    try:
        found = datetime.fromisoformat(told if "T" in told else "").replace(microsecond=0)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def root_groups(body: bytes, clean: Clean) -> Iterator[tuple[str, str]]:
    """Each data centre, in upper case, with the id of its root group.

    Recorded: an array of `{"id":"wa1","links":[{"rel":"group","id":"…32 hex…"}]}`.
    """
    for each in _checked(decode(body), "it isn't a list of data centres"):
        datacenter = clean(text(each.get("id")).upper())
        unreadable = f"data centre {quote(datacenter)} has no root group"
        links = _objects(each, "links", unreadable)
        ids = [text(link.get("id")).lower() for link in links if link.get("rel") == "group"]
        if not (datacenter and ids and all(re.fullmatch(_GROUP_ID, each) for each in ids)):
            raise _unreadable(unreadable)
        yield from ((datacenter, group_id) for group_id in ids)


def nested_groups(
    body: bytes, datacenter: str, clean: Clean, seen_at: datetime | None, *, detailed: bool
) -> Iterator[ServerGroup]:
    """A root group and those inside it, to the bottom, less archives and templates.

    Recorded: `{"id","name","type","groups":[the same],"links":[{"rel":"server","id":"WA1…"}]}`;
    in detail there are no such links, but `"servers":[{"id":"wa1…",…}]`.
    """
    (root,) = _checked([decode(body)], f"that of {datacenter} isn't a group")
    left = [(root, 0)]
    while left:  # not by recursion: an answer may be nested deeper than Python can go
        group, depth = left.pop()
        group_id, name, kind = (clean(text(group.get(key))) for key in ("id", "name", "type"))
        if not (group_id and name and kind):
            raise _unreadable(f"a group in {datacenter} lacks its id, name or type")
        if kind.lower() in _NOTHING_TO_RESET:
            continue
        found = _members(group, name, clean, detailed=detailed)
        members = sorted(found, key=itemgetter(0))
        seen = (
            observation(entity, server, clean, seen_at, group=name) for server, entity in members
        )
        yield ServerGroup(
            group_id,
            name,
            datacenter,
            depth,
            tuple(server for server, _ in members),
            tuple(each for each in seen if each) if detailed else (),
        )
        inside = _objects(group, "groups", f"the groups in group {quote(name)} aren't a list")
        left += ((each, depth + 1) for each in reversed(inside))


def _members(
    group: Mapping[str, Any], name: str, clean: Clean, *, detailed: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The servers in a group itself, each with its entity or its link."""
    key = "servers" if detailed else "links"
    for each in _objects(group, key, f"the {key} of group {quote(name)} aren't a list"):
        if detailed or each.get("rel") == "server":
            server = text(each.get("id"))
            if not is_server_id(server):
                raise _unreadable(
                    f"{quote(clean(server))} in group {quote(name)} is not a server id"
                )
            yield server.upper(), each


def _objects(holder: Mapping[str, Any], key: str, otherwise: str) -> list[dict[str, Any]]:
    """The objects that an object lists; a missing list, null and an empty one are alike."""
    found = holder.get(key)
    return [] if found is None else _checked(found, otherwise)


def _checked(found: object, otherwise: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _unreadable(otherwise)
    return found


def _unreadable(reason: str) -> RefusedError:
    return RefusedError(
        f"The API's answer about the groups can't be read: {reason}.", hint="No server was reset."
    )


# --- any answer --------------------------------------------------------------------------------


def reason(body: bytes, clean: Clean) -> str:
    """The words of an error's body, or an empty string; no full stop at their end.

    Recorded: an object with `message`, `modelState` (its key may be empty) or `error`, a bare
    string, an array of `message`; a 500 may carry `exceptionMessage`. Others say nothing.
    """
    content = decode(body)
    words: list[str] = []
    for each in content if isinstance(content, list) else [content]:
        if isinstance(each, dict):
            words += (text(each.get(key)) for key in ("message", "error", "exceptionMessage"))
            state = each.get("modelState")
            for texts in state.values() if isinstance(state, dict) else ():
                words += (text(each) for each in texts) if isinstance(texts, list) else ()
        else:
            words.append(text(each))
    said = clean(" ".join(dict.fromkeys(word for word in words if word)))
    return f"{said[:LONGEST_REASON]}…" if len(said) > LONGEST_REASON else said.rstrip(". ")


def decode(body: bytes) -> Any:  # noqa: ANN401 - JSON is what it is; each reader looks closer
    """The JSON in a body, None if there is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return None


def text(value: object) -> str:
    """The value if it is text, without blanks at its ends; else an empty string."""
    return value.strip() if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
