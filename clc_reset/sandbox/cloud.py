"""A CLC cloud in memory: a request in, a response out, true to recorded traffic.

It is pure apart from the clock and the random numbers that it is given. It is also the tests' fake,
and `server` serves it on loopback. Each answer is documented or recorded unless a comment says
"reported", or "never recorded", where the answer is the least that a client could rely on.
"""

import base64
import json
import re
from bisect import bisect, insort
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from math import inf
from random import Random
from typing import NamedTuple
from urllib.parse import parse_qs, parse_qsl

from clc_reset.sandbox import inventory
from clc_reset.sandbox.inventory import ALIAS, USERNAME, Machine, MachineGroup

TOKEN_SECONDS = 14 * 24 * 3600
WRONG_PASSWORDS_THAT_LOCK = 3
FIRST_OPERATION = 12345

_NOT_RECOGNIZED = "We didn't recognize the username or password you entered. Please try again."
_CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
_IN_DESIRED_STATE = "The server already in desired state."  # reported
_WRONG_PATH = "The requested resource does not exist."
_ROLES = ["AccountAdmin"]

# Recorded of a power on, polled ten times at even intervals: notStarted four times, executing
# three, resumed twice, executing once more, then succeeded.
_SEQUENCE = ((0.4, "notStarted"), (0.7, "executing"), (0.9, "resumed"), (inf, "executing"))

# Recorded: the servers of a batch change one after another, the last 0 to 5 s before `succeeded`
# is returned, and none while the operation isn't started. These are shares of the duration.
_CHANGES_BEGIN = 0.4
_CHANGES_END = 0.98

# The documented operations: what each changes of a server, the values from which it is queued, and
# the resulting one. A stopped server is refused a reset (reported); a paused one is started by a
# reboot (recorded). The names are in lower case: the platform's routes accept any.
_OPERATIONS: dict[str, tuple[str, set[str | bool], str | bool]] = {
    "reset": ("power", {"started", "paused"}, "started"),
    "reboot": ("power", {"started", "paused"}, "started"),
    "poweron": ("power", {"stopped", "paused"}, "started"),
    "poweroff": ("power", {"started", "paused"}, "stopped"),
    "shutdown": ("power", {"started", "paused"}, "stopped"),
    "pause": ("power", {"started"}, "paused"),
    "startmaintenance": ("in_maintenance", {False}, True),
    "stopmaintenance": ("in_maintenance", {True}, False),
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Settings of a cloud; all faults are off by default.

    `duration` is the seconds that an operation takes. `refuse` and `fail` hold server ids in upper
    case: the first are never queued, a batch stops at one of the second. `lose_answer` drops the
    answer to an operation that was queued. `flaky` is the share of polls that get a 503. `servers`
    is the size of the inventory, None for the small one. `clock_skew` is the seconds by which the
    cloud's clock is ahead.
    """

    duration: float = 3.0
    refuse: frozenset[str] = frozenset()
    fail: frozenset[str] = frozenset()
    lose_answer: bool = False
    flaky: float = 0.0
    expired_token: bool = False
    servers: int | None = None
    clock_skew: float = 0.0


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request. `target` is path and query; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A response. `note` explains it in the log."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    note: str | None = None


class _Change(NamedTuple):
    """A scheduled change of a server by an operation."""

    at: float
    machine: Machine
    operation: str


class _Operation(NamedTuple):
    """A queued operation on the servers of one data centre. `final` is its last status."""

    began: float
    ends: float
    final: str


_Route = Callable[[HTTPRequest, str], HTTPResponse | None]
"""Takes the last named part of the path, too."""
_Entity = dict[str, object]


class Cloud:
    """The account ALIAS, with one user who may do anything in it.

    `clock` returns seconds since 1970. Not thread-safe: the caller serializes requests.
    """

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float], random: Random) -> None:
        self.behaviour = behaviour
        self.groups = {group.id: group for group in inventory.groups()}
        self.servers = {machine.id: machine for machine in inventory.machines(behaviour.servers)}
        self._clock = clock
        self._random = random
        self._key = random.randbytes(32)
        self._issued: dict[str, int] = {}  # tokens, and their times
        self._operations: dict[str, _Operation] = {}
        self._changes: list[_Change] = []  # in order
        self._wrong_passwords = 0
        self._members: dict[str, list[Machine]] = defaultdict(list)
        for machine in self.servers.values():
            self._members[machine.group].append(machine)
        routes: dict[str, tuple[str, _Route]] = {
            "/v2/authentication/login": ("POST", self._log_in),
            "/v2/accounts/{alias}": ("GET", lambda *_: _response(inventory.ACCOUNT)),
            "/v2/operations/{alias}/servers/{part}": ("POST", self._operate),
            "/v2/operations/{alias}/status/{part}": ("GET", self._status),
            # a slash at the end of a collection is accepted (recorded: 72 requests)
            "/v2/datacenters/{alias}/?": ("GET", self._all_datacenters),
            "/v2/datacenters/{alias}/{part}": ("GET", self._one_datacenter),
            "/v2/datacenters/{alias}/{part}/deploymentCapabilities": ("GET", self._deployment),
            "/v2/groups/{alias}/{part}": ("GET", self._one_group),
            "/v2/servers/{alias}/{part}": ("GET", self._one_server),
            "/v2/servers/{alias}/{part}/credentials": ("GET", self._credentials),
        }
        names = {name: f"(?P<{name}>[^/]+)" for name in ("alias", "part")}
        self._routes = [(re.compile(path.format(**names)), *to) for path, to in routes.items()]

    @property
    def now(self) -> float:
        """The time by the cloud's own clock, in seconds since 1970."""
        return self._clock() + self.behaviour.clock_skew

    def handle(self, request: HTTPRequest) -> HTTPResponse | None:
        """Return the response to a request, or None if the answer is lost."""
        self._apply_changes()
        response = self._respond(request)
        return response and self._dated(response)

    def refusal(self, status: int, message: str) -> HTTPResponse:
        """Return an error response to a request that the cloud doesn't handle."""
        return self._dated(_error(status, message))

    def _dated(self, response: HTTPResponse) -> HTTPResponse:
        date = {"Date": formatdate(self.now, usegmt=True)}
        return replace(response, headers={**date, **response.headers})

    def _respond(self, request: HTTPRequest) -> HTTPResponse | None:
        path = request.target.partition("?")[0]
        for pattern, method, route in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if request.method != method:
                given = request.method[:20]
                message = f"The requested resource does not support http method '{given}'."
                return _error(405, message)
            parts = match.groupdict()
            if "alias" in parts:
                if not self._is_logged_in(request.headers.get("authorization", "")):
                    return _empty(401, "no valid token")  # its body was never recorded
                if parts["alias"].upper() != ALIAS:
                    # reported: a status by another alias gets 404; never recorded: the rest
                    return _empty(404 if "/status/" in path else 403, "another account")
            return route(request, parts.get("part", ""))
        # recorded; other methods never were
        return _error(404, _WRONG_PATH) if request.method == "POST" else _empty(404)

    def token(self) -> str:
        """Return a bearer token as the Login API issues it: a JWT, valid for 14 days."""
        issued = int(self.now)
        if self.behaviour.expired_token:
            issued -= TOKEN_SECONDS + 24 * 3600
        payload = {
            "iss": "urn:api-tier3",
            "aud": "urn:tier3-users",
            "nbf": issued,
            "exp": issued + TOKEN_SECONDS,
            "role": _ROLES,  # recorded: an array in 152 of 152 tokens
            "unique_name": USERNAME,
            "urn:tier3:account-alias": ALIAS,
            "urn:tier3:location-alias": "WA1",
        }
        parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "HS256"}, payload)]
        parts.append(sha256(self._key + parts[1]).digest())  # its signature; the cloud knows it
        token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()
        self._issued[token] = issued
        return token

    def _is_logged_in(self, authorization: str) -> bool:
        scheme, _, token = authorization.strip().partition(" ")
        issued = self._issued.get(token.strip(), -inf)
        return scheme.lower() == "bearer" and issued <= self.now < issued + TOKEN_SECONDS

    def _log_in(self, request: HTTPRequest, _part: str) -> HTTPResponse:
        # documented: a form, which the official Python client sends; the official Go client sends
        # `Username` and `Password`
        body = _parse(request.body) or dict(parse_qsl(request.body.decode(errors="replace")))
        if not isinstance(body, dict) or not body:
            return _invalid("", "A login object is required.")
        given = {name.lower(): value for name, value in body.items()}
        # reported: clcv2 compares user names ignoring case
        is_user = f"{given.get('username')}".lower() == USERNAME
        is_locked = self._wrong_passwords >= WRONG_PASSWORDS_THAT_LOCK
        if is_locked or not is_user or given.get("password") != inventory.PASSWORD:
            self._wrong_passwords += 1  # wrong names count (documented)
            # never recorded: the answer to a locked user
            note = f"{USERNAME} is locked" if is_locked else "wrong user name or password"
            return _error(400, _NOT_RECOGNIZED, note=note)
        self._wrong_passwords = 0
        login = {
            "userName": USERNAME,
            "accountAlias": ALIAS,
            "locationAlias": "WA1",
            "roles": _ROLES,
            "bearerToken": self.token(),
        }
        fields = self._random.sample([*login.items()], len(login))
        return _response(dict(fields), f"{USERNAME} logged in")  # recorded: in a varying order

    def _operate(self, request: HTTPRequest, part: str) -> HTTPResponse | None:
        operation = part.lower()
        if operation not in _OPERATIONS:
            return _error(404, _WRONG_PATH)
        body = _parse(request.body)
        if not isinstance(body, list) or not all(isinstance(server, str) for server in body):
            return _invalid("serverIds", "An array is required.")
        if not body:  # never recorded
            return _invalid("serverIds", "It is empty.")
        ids = list(dict.fromkeys(server.upper() for server in body))  # recorded: no duplicates
        refusals = {server: self._refusal(operation, server) for server in self._another_order(ids)}
        # recorded: one operation for each data centre
        batches: dict[str, list[Machine]] = {s[:3]: [] for s in ids if refusals[s] is None}
        for server, message in refusals.items():
            if message is None:
                batches[server[:3]].append(self.servers[server])
        links = {place: self._queue(operation, batch) for place, batch in batches.items()}
        if self.behaviour.lose_answer:
            return None
        entities: list[_Entity] = [
            {"server": server.lower(), "isQueued": False, "errorMessage": message}
            if message
            else {"server": server.lower(), "isQueued": True, "links": [links[server[:3]]]}
            for server, message in refusals.items()
        ]
        queued = sum(map(len, batches.values()))
        return _response(entities, f"{queued} of {len(ids)} queued")

    def _refusal(self, operation: str, server: str) -> str | None:
        """Return the reason why an operation isn't queued for a server, or None if it is."""
        machine = self.servers.get(server)
        if machine is None or machine.status != "active" or server in self.behaviour.refuse:
            return _CANNOT_BE_QUEUED
        attribute, before, after = _OPERATIONS[operation]
        value = getattr(machine, attribute)
        if value in before:
            return None
        return _IN_DESIRED_STATE if value == after else _CANNOT_BE_QUEUED

    def _queue(self, operation: str, batch: list[Machine]) -> _Entity:
        """Start an operation that changes the servers in this order, and return its link."""
        began, duration = self.now, self.behaviour.duration
        ends, final = began + duration, "succeeded"
        step = (_CHANGES_END - _CHANGES_BEGIN) / len(batch)
        for place, machine in enumerate(batch, 1):
            at = began + duration * (_CHANGES_BEGIN + step * place)
            if machine.id in self.behaviour.fail:
                # never recorded: when an operation fails, and the fate of the other servers
                ends, final = at, "failed"
                break
            insort(self._changes, _Change(at, machine, operation), key=lambda change: change.at)
        for machine in batch:
            machine.resets += operation == "reset"
        operation_id = f"{batch[0].datacenter}-{FIRST_OPERATION + len(self._operations)}"
        self._operations[operation_id] = _Operation(began, ends, final)
        href = f"{_href('operations')}/status/{operation_id}"
        return {"rel": "status", "href": href, "id": operation_id}

    def _apply_changes(self) -> None:
        """Change the servers whose time has come."""
        due = bisect(self._changes, self.now, key=lambda change: change.at)
        for at, machine, operation in self._changes[:due]:
            attribute, _, after = _OPERATIONS[operation]
            setattr(machine, attribute, after)
            machine.modified = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        del self._changes[:due]

    def _another_order(self, ids: list[str]) -> list[str]:
        """Return the ids shuffled, never in the order given (recorded: 20 of 20 batches)."""
        shuffled = self._random.sample(ids, len(ids))
        return [*shuffled[1:], shuffled[0]] if shuffled == ids else shuffled

    def _status(self, _request: HTTPRequest, part: str) -> HTTPResponse:
        operation = self._operations.get(part.lower())
        if operation is None:
            return _empty(404)
        if self._random.random() < self.behaviour.flaky:
            return _empty(503)  # reported while polling; its body was never recorded
        now = self.now
        status = operation.final
        if now < operation.ends:
            passed = (now - operation.began) / self.behaviour.duration
            status = next(name for share, name in _SEQUENCE if passed < share)
        return _response({"status": status}, status)

    def _all_datacenters(self, request: HTTPRequest, _part: str) -> HTTPResponse:
        return _response([self._datacenter(name, request) for name in inventory.DATACENTERS])

    def _one_datacenter(self, request: HTTPRequest, part: str) -> HTTPResponse:
        is_there = part.lower() in inventory.DATACENTERS
        return _response(self._datacenter(part.lower(), request)) if is_there else _empty(404)

    def _deployment(self, _request: HTTPRequest, part: str) -> HTTPResponse:
        is_there = part.lower() in inventory.DATACENTERS
        return _response(inventory.DEPLOYMENT_CAPABILITIES) if is_there else _empty(404)

    def _datacenter(self, datacenter: str, request: HTTPRequest) -> _Entity:
        href = _href("datacenters", datacenter)
        links: list[_Entity] = [
            {"rel": "self", "href": href},
            {"rel": "deploymentCapabilities", "href": f"{href}/deploymentCapabilities"},
        ]
        if _has_option(request, "grouplinks", "true"):
            links += [
                {**_link("group", "groups", root.id), "name": root.name}
                for root in self.groups.values()
                if root.datacenter == datacenter and root.parent is None
            ]
        return {"id": datacenter, "name": inventory.DATACENTERS[datacenter], "links": links}

    def _one_group(self, request: HTTPRequest, part: str) -> HTTPResponse:
        group = self.groups.get(part.lower())
        is_detailed = _has_option(request, "serverdetail", "detailed")
        return _response(self._group(group, is_detailed=is_detailed)) if group else _empty(404)

    def _group(self, group: MachineGroup, *, is_detailed: bool) -> _Entity:
        members = self._members[group.id]
        links: list[_Entity] = [
            {"rel": "self", "href": _href("groups", group.id), "verbs": ["GET", "PATCH", "DELETE"]}
        ]
        if group.parent:
            links.append(_link("parentGroup", "groups", group.parent))
        if not is_detailed:  # recorded: the id in upper case, the href in lower case
            links += [_link("server", "servers", machine.id) for machine in members]
        return {
            "id": group.id,
            "name": group.name,
            "description": group.name,
            "locationId": group.datacenter.upper(),
            "type": group.type,
            "status": "active",
            "serversCount": self._count(group),
            # undocumented, recorded: either the servers, or links to them
            **({"servers": [_server(machine) for machine in members]} if is_detailed else {}),
            "groups": [self._group(g, is_detailed=is_detailed) for g in self._children(group)],
            "links": links,
            "changeInfo": _change_info(inventory.CREATED),
            "customFields": [],
        }

    def _children(self, group: MachineGroup) -> list[MachineGroup]:
        return [child for child in self.groups.values() if child.parent == group.id]

    def _count(self, group: MachineGroup) -> int:
        own = sum(machine.status != "archived" for machine in self._members[group.id])  # recorded
        return own + sum(map(self._count, self._children(group)))

    def _one_server(self, _request: HTTPRequest, part: str) -> HTTPResponse:
        machine = self.servers.get(part.upper())
        return _response(_server(machine)) if machine else _empty(404)

    def _credentials(self, _request: HTTPRequest, part: str) -> HTTPResponse:
        machine = self.servers.get(part.upper())
        # never recorded; only active servers have the link
        is_there = machine is not None and machine.status == "active"
        return _response(inventory.CREDENTIALS) if is_there else _empty(404)


def _has_option(request: HTTPRequest, name: str, value: str) -> bool:
    """Return True if the query has this value; name and value in any case.

    The options are documented as GroupLinks and as groupLinks, and clients send both.
    """
    options = parse_qs(request.target.partition("?")[2].lower())
    return options.get(name, [""])[0] == value


def _server(machine: Machine) -> _Entity:
    entity: _Entity = {
        "id": machine.id.lower(),
        "name": machine.id,
        "description": machine.description,
        "groupId": machine.group,
        "isTemplate": False,
        "locationId": machine.datacenter.upper(),
        "osType": "Debian 7 64-bit",
        "os": "debian7_64Bit",
        "status": machine.status,
        "type": "standard",
        "storageType": "standard",
        "changeInfo": _change_info(machine.modified),
        "links": _server_links(machine),
    }
    details: _Entity = {**inventory.DETAILS, "powerState": machine.power}
    if machine.status == "active":
        entity["details"] = {**details, "inMaintenanceMode": machine.in_maintenance}
    elif machine.status in {"archived", "queuedForRestore"}:
        # recorded: no more than this in 26 of 38 archived and all 104 queuedForRestore; the others
        # of the 38 have everything
        entity["details"] = {name: details[name] for name in ("powerState", "storageGB")}
    return entity  # recorded: other states have no details, at least at times


def _server_links(machine: Machine) -> list[_Entity]:
    """Return the links of a server, as recorded for every one and for active ones."""
    itself = _link("self", "servers", machine.id.lower())
    is_active = machine.status == "active"
    links: list[_Entity] = [
        {**itself, "verbs": ["GET", "PATCH", "DELETE"] if is_active else ["GET", "PATCH"]},
        _link("group", "groups", machine.group),
        {"rel": "account", "href": _href("accounts"), "id": ALIAS.lower()},
        {"rel": "billing", "href": f"{_href('billing')}/serverPricing/{itself['id']}"},
    ]
    if is_active:
        more = ("statistics", "capabilities", "credentials")
        links += [{"rel": name, "href": f"{itself['href']}/{name}"} for name in more]
    return links


def _link(rel: str, collection: str, entity_id: str) -> _Entity:
    return {"rel": rel, "href": _href(collection, entity_id), "id": entity_id}


def _href(*path: str) -> str:
    """Return `/v2/collection/alias/id`, in lower case (recorded), or without an id."""
    collection, *rest = path
    return "/".join(("/v2", collection, ALIAS, *rest)).lower()


def _change_info(modified: str) -> _Entity:
    created = {"createdBy": USERNAME, "createdDate": inventory.CREATED}
    return {**created, "modifiedBy": USERNAME, "modifiedDate": modified}


def _empty(status: int, note: str | None = None) -> HTTPResponse:
    """Return a response without a body, and so without a Content-Type (recorded of a 404)."""
    return HTTPResponse(status, {"Content-Length": "0"}, b"", note)


def _response(content: object, note: str | None = None, status: int = 200) -> HTTPResponse:
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": f"{len(body)}"}
    return HTTPResponse(status, headers, body, note)


def _error(status: int, message: str, note: str | None = None) -> HTTPResponse:
    return _response({"message": message}, note, status)


def _invalid(name: str, problem: str) -> HTTPResponse:
    content = {"message": "The request is invalid.", "modelState": {name: [problem]}}
    return _response(content, status=400)


def _parse(body: bytes) -> object:
    """Return the value of a JSON text, or None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
