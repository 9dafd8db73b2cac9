"""A CLC cloud in memory: a request in, a response out, true to recorded traffic.

It is pure apart from the clock and the random numbers that it is given. It is also the tests' fake,
and `server` serves it on loopback. Each answer is documented or recorded unless a comment says
"reported", or "never recorded", where the answer is the least that a client could rely on.
"""

import base64
import hmac
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from heapq import heappop, heappush
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
_INVALID_REQUEST = "The request is invalid."
_WRONG_PATH = "The requested resource does not exist."
_ANONYMOUS = "anonymous"
_ROLES = ["AccountAdmin"]
_HREF_ALIAS = ALIAS.lower()  # recorded: hrefs are in lower case

# Recorded of a power on, polled ten times at even intervals: notStarted four times, executing
# three, resumed twice, executing once more, then succeeded.
_SEQUENCE = ((0.4, "notStarted"), (0.7, "executing"), (0.9, "resumed"), (inf, "executing"))

# Recorded: the servers of a batch change one after another, the last 0 to 5 s before `succeeded`
# is returned, and none while the operation isn't started. These are shares of the duration.
_CHANGES_BEGIN = 0.4
_CHANGES_END = 0.98

# The documented operations: the power states for which each is queued, and the resulting one. A
# stopped server is refused a reset (reported); a paused one is started by a reboot (recorded). The
# names are in lower case: the platform's routes accept any.
_POWER: Mapping[str, tuple[frozenset[str], str]] = {
    "reset": (frozenset({"started", "paused"}), "started"),
    "reboot": (frozenset({"started", "paused"}), "started"),
    "poweron": (frozenset({"stopped", "paused"}), "started"),
    "poweroff": (frozenset({"started", "paused"}), "stopped"),
    "shutdown": (frozenset({"started", "paused"}), "stopped"),
    "pause": (frozenset({"started"}), "paused"),
}
_MAINTENANCE: Mapping[str, bool] = {"startmaintenance": True, "stopmaintenance": False}


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


@dataclass(frozen=True, slots=True)
class _Call:
    """The parts of a request that a route needs.

    `part` is the named part of the path. The names in `query` are in lower case.
    """

    body: bytes
    part: str
    query: Mapping[str, list[str]]
    user: str

    def has_option(self, name: str, value: str) -> bool:
        """Return True if the query has this value, in any case."""
        return self.query.get(name, [""])[0].lower() == value


class _Change(NamedTuple):
    """A scheduled change of a server. `number` orders changes of the same instant."""

    at: float
    number: int
    machine: Machine
    operation: str
    user: str


class _Operation(NamedTuple):
    """A queued operation on the servers of one data centre. `final` is its last status."""

    began: float
    ends: float
    final: str


_Route = Callable[[_Call], HTTPResponse | None]
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
        self._operation_numbers = itertools.count(FIRST_OPERATION)
        self._operations: dict[str, _Operation] = {}
        self._changes: list[_Change] = []  # a heap
        self._change_numbers = itertools.count()
        self._wrong_passwords = 0
        self._children: dict[str | None, list[MachineGroup]] = defaultdict(list)
        for group in self.groups.values():
            self._children[group.parent].append(group)
        self._members: dict[str, list[Machine]] = defaultdict(list)
        for machine in self.servers.values():
            self._members[machine.group].append(machine)
        self._routes = self._make_routes()

    def _make_routes(self) -> Mapping[re.Pattern[str], tuple[str, _Route]]:
        # a slash at the end of a collection is accepted (recorded: 72 requests)
        routes: dict[str, tuple[str, _Route]] = {
            "/v2/authentication/login": ("POST", self._log_in),
            "/v2/accounts/{alias}": ("GET", self._account),
            "/v2/operations/{alias}/servers/{part}": ("POST", self._operate),
            "/v2/operations/{alias}/status/{part}": ("GET", self._status),
            "/v2/datacenters/{alias}/?": ("GET", self._datacenters),
            "/v2/datacenters/{alias}/{part}": ("GET", self._one_datacenter),
            "/v2/datacenters/{alias}/{part}/deploymentCapabilities": ("GET", self._deployment),
            "/v2/groups/{alias}/{part}": ("GET", self._one_group),
            "/v2/servers/{alias}/{part}": ("GET", self._one_server),
            "/v2/servers/{alias}/{part}/credentials": ("GET", self._credentials),
        }
        names = {name: f"(?P<{name}>[^/]+)" for name in ("alias", "part")}
        return {re.compile(path.format(**names)): route for path, route in routes.items()}

    @property
    def now(self) -> float:
        """The time by the cloud's own clock, in seconds since 1970."""
        return self._clock() + self.behaviour.clock_skew

    @property
    def date(self) -> str:
        """The time by the cloud's own clock, in the format of a `Date` header."""
        return formatdate(self.now, usegmt=True)

    def handle(self, request: HTTPRequest) -> HTTPResponse | None:
        """Return the response to a request, or None if the answer is lost."""
        self._apply_changes()
        response = self._respond(request)
        return response and self._dated(response)

    def refusal(self, status: int, message: str) -> HTTPResponse:
        """Return an error response to a request that the cloud doesn't handle."""
        return self._dated(_error(status, message))

    def _dated(self, response: HTTPResponse) -> HTTPResponse:
        return replace(response, headers={"Date": self.date, **response.headers})

    def _respond(self, request: HTTPRequest) -> HTTPResponse | None:
        path, _, query = request.target.partition("?")
        for pattern, (method, route) in self._routes.items():
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if request.method != method:
                given = request.method[:20]
                return _error(
                    405, f"The requested resource does not support http method '{given}'."
                )
            parts = match.groupdict()
            user = _ANONYMOUS
            if "alias" in parts:
                token_user = self._user(request.headers.get("authorization", ""))
                if token_user is None:
                    return _empty(401, "no valid token")  # its body was never recorded
                if parts["alias"].upper() != ALIAS:
                    # reported: a status by another alias gets 404; never recorded: the rest
                    return _empty(404 if "/status/" in path else 403, "another account")
                user = token_user
            # documented as GroupLinks and as groupLinks, and clients send both
            options = {name.lower(): values for name, values in parse_qs(query).items()}
            return route(_Call(request.body, parts.get("part", ""), options, user))
        if request.method == "POST":
            return _error(404, _WRONG_PATH)  # recorded; other methods never were
        return _empty(404)

    def token(self) -> str:
        """Return a bearer token as the Login API issues it: a JWT, HS256, valid for 14 days."""
        issued = int(self.now)
        if self.behaviour.expired_token:
            issued -= TOKEN_SECONDS + 24 * 3600
        header = {"typ": "JWT", "alg": "HS256"}
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
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, payload))
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        return _base64(hmac.digest(self._key, signed.encode(), sha256))

    def _user(self, authorization: str) -> str | None:
        """Return the user of a valid token, or None if the header has none."""
        scheme, _, token = authorization.strip().partition(" ")
        signed, _, signature = token.strip().rpartition(".")
        if scheme.lower() != "bearer" or not token.isascii():
            return None
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        part = signed.partition(".")[2]
        payload = json.loads(base64.urlsafe_b64decode(part + "=="))
        return str(payload["unique_name"]) if payload["nbf"] <= self.now < payload["exp"] else None

    def _log_in(self, call: _Call) -> HTTPResponse:
        # documented: a form, which the official Python client sends; the official Go client sends
        # `Username` and `Password`
        body = _parse(call.body) or dict(parse_qsl(call.body.decode(errors="replace")))
        if not isinstance(body, dict) or not body:
            return _error(400, _INVALID_REQUEST, {"": ["A login object is required."]})
        login = {name.lower(): value for name, value in body.items()}
        # reported: clcv2 compares user names ignoring case
        is_user = f"{login.get('username')}".lower() == USERNAME
        is_locked = self._wrong_passwords >= WRONG_PASSWORDS_THAT_LOCK
        if is_locked or not is_user or login.get("password") != inventory.PASSWORD:
            self._wrong_passwords += is_user
            # never recorded: the answer to a locked user
            note = f"{USERNAME} is locked" if is_locked else "wrong user name or password"
            return _error(400, _NOT_RECOGNIZED, note=note)
        self._wrong_passwords = 0
        fields = [
            ("userName", USERNAME),
            ("accountAlias", ALIAS),
            ("locationAlias", "WA1"),
            ("roles", _ROLES),
            ("bearerToken", self.token()),
        ]
        self._random.shuffle(fields)  # recorded: the order of the keys varies
        return _response(dict(fields), f"{USERNAME} logged in")

    def _account(self, _call: _Call) -> HTTPResponse:
        return _response(inventory.ACCOUNT)

    def _operate(self, call: _Call) -> HTTPResponse | None:
        operation = call.part.lower()
        if operation not in _POWER and operation not in _MAINTENANCE:
            return _error(404, _WRONG_PATH)
        body = _parse(call.body)
        if not isinstance(body, list) or not all(isinstance(server, str) for server in body):
            return _error(400, _INVALID_REQUEST, {"serverIds": ["An array is required."]})
        if not body:  # never recorded
            return _error(400, _INVALID_REQUEST, {"serverIds": ["It is empty."]})
        ids = list(dict.fromkeys(server.upper() for server in body))  # recorded: no duplicates
        refusals = {server: self._refusal(operation, server) for server in ids}
        accepted = [server for server in ids if refusals[server] is None]
        order = self._another_order(ids)
        machines = [self.servers[server] for server in order if refusals[server] is None]
        operation_ids = {}
        # recorded: one operation for each data centre
        for datacenter in dict.fromkeys(self.servers[server].datacenter for server in accepted):
            batch = [machine for machine in machines if machine.datacenter == datacenter]
            operation_ids[datacenter] = self._queue(operation, datacenter, batch, call.user)
        if self.behaviour.lose_answer:
            return None
        entities: list[_Entity] = []
        for server in order:
            message = refusals[server]
            if message is None:
                entities.append(_queued(server, operation_ids[server[:3].lower()]))
            else:
                entities.append(
                    {"server": server.lower(), "isQueued": False, "errorMessage": message}
                )
        return _response(entities, f"{len(accepted)} of {len(ids)} queued")

    def _refusal(self, operation: str, server: str) -> str | None:
        """Return the reason why an operation isn't queued for a server, or None if it is."""
        machine = self.servers.get(server)
        if machine is None or machine.status != "active" or server in self.behaviour.refuse:
            return _CANNOT_BE_QUEUED
        if operation in _MAINTENANCE:
            is_there = machine.in_maintenance is _MAINTENANCE[operation]
            return _IN_DESIRED_STATE if is_there else None
        before, after = _POWER[operation]
        if machine.power in before:
            return None
        return _IN_DESIRED_STATE if machine.power == after else _CANNOT_BE_QUEUED

    def _queue(self, operation: str, datacenter: str, batch: list[Machine], user: str) -> str:
        """Start an operation that changes the servers in this order, and return its id."""
        began, duration = self.now, self.behaviour.duration
        ends, final = began + duration, "succeeded"
        step = (_CHANGES_END - _CHANGES_BEGIN) / len(batch)
        for place, machine in enumerate(batch, 1):
            at = began + duration * (_CHANGES_BEGIN + step * place)
            if machine.id in self.behaviour.fail:
                # never recorded: when an operation fails, and the fate of the other servers
                ends, final = at, "failed"
                break
            change = _Change(at, next(self._change_numbers), machine, operation, user)
            heappush(self._changes, change)
        for machine in batch:
            machine.resets += operation == "reset"
        operation_id = f"{datacenter}-{next(self._operation_numbers)}"
        self._operations[operation_id] = _Operation(began, ends, final)
        return operation_id

    def _apply_changes(self) -> None:
        """Change the servers whose time has come."""
        now = self.now
        while self._changes and self._changes[0].at <= now:
            change = heappop(self._changes)
            machine = change.machine
            if change.operation in _MAINTENANCE:
                machine.in_maintenance = _MAINTENANCE[change.operation]
            else:
                machine.power = _POWER[change.operation][1]
            machine.modified = f"{datetime.fromtimestamp(change.at, UTC):%Y-%m-%dT%H:%M:%SZ}"
            machine.modified_by = change.user

    def _another_order(self, ids: list[str]) -> list[str]:
        """Return the ids shuffled, never in the order given (recorded: 20 of 20 batches)."""
        shuffled = self._random.sample(ids, len(ids))
        return [*shuffled[1:], shuffled[0]] if shuffled == ids else shuffled

    def _status(self, call: _Call) -> HTTPResponse:
        operation = self._operations.get(call.part.lower())
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

    def _datacenters(self, call: _Call) -> HTTPResponse:
        return _response(
            [self._datacenter(datacenter, call) for datacenter in inventory.DATACENTERS]
        )

    def _one_datacenter(self, call: _Call) -> HTTPResponse:
        datacenter = call.part.lower()
        if datacenter not in inventory.DATACENTERS:
            return _empty(404)
        return _response(self._datacenter(datacenter, call))

    def _deployment(self, call: _Call) -> HTTPResponse:
        if call.part.lower() not in inventory.DATACENTERS:
            return _empty(404)
        return _response(inventory.DEPLOYMENT_CAPABILITIES)

    def _datacenter(self, datacenter: str, call: _Call) -> _Entity:
        href = f"/v2/datacenters/{_HREF_ALIAS}/{datacenter}"
        links: list[_Entity] = [
            {"rel": "self", "href": href},
            {"rel": "deploymentCapabilities", "href": f"{href}/deploymentCapabilities"},
        ]
        if call.has_option("grouplinks", "true"):
            links += [
                {**_link("group", "groups", root.id), "name": root.name}
                for root in self._children[None]
                if root.datacenter == datacenter
            ]
        return {"id": datacenter, "name": inventory.DATACENTERS[datacenter], "links": links}

    def _one_group(self, call: _Call) -> HTTPResponse:
        group = self.groups.get(call.part.lower())
        if group is None:
            return _empty(404)
        entity, _count = self._group(group, is_detailed=call.has_option("serverdetail", "detailed"))
        return _response(entity)

    def _group(self, group: MachineGroup, *, is_detailed: bool) -> tuple[_Entity, int]:
        """Return the entity of a group and its `serversCount`."""
        members = self._members[group.id]
        href = f"/v2/groups/{_HREF_ALIAS}/{group.id}"
        links: list[_Entity] = [{"rel": "self", "href": href, "verbs": ["GET", "PATCH", "DELETE"]}]
        if group.parent:
            links.append(_link("parentGroup", "groups", group.parent))
        if not is_detailed:  # recorded: the id in upper case, the href in lower case
            links += [_link("server", "servers", machine.id) for machine in members]
        children = [
            self._group(child, is_detailed=is_detailed) for child in self._children[group.id]
        ]
        # recorded: archived servers don't count
        count = sum(machine.status != "archived" for machine in members)
        count += sum(child_count for _child, child_count in children)
        entity: _Entity = {
            "id": group.id,
            "name": group.name,
            "description": group.name,
            "locationId": group.datacenter.upper(),
            "type": group.type,
            "status": "active",
            "serversCount": count,
            # undocumented, recorded: either the servers, or links to them
            **({"servers": [_server(machine) for machine in members]} if is_detailed else {}),
            "groups": [child for child, _child_count in children],
            "links": links,
            "changeInfo": _change_info(inventory.CREATED, USERNAME),
            "customFields": [],
        }
        return entity, count

    def _one_server(self, call: _Call) -> HTTPResponse:
        machine = self.servers.get(call.part.upper())
        return _empty(404) if machine is None else _response(_server(machine))

    def _credentials(self, call: _Call) -> HTTPResponse:
        machine = self.servers.get(call.part.upper())
        if machine is None or machine.status != "active":
            return _empty(404)  # never recorded; only active servers have the link
        return _response(inventory.CREDENTIALS)


def _queued(server_id: str, operation_id: str) -> _Entity:
    href = f"/v2/operations/{_HREF_ALIAS}/status/{operation_id}"
    links = [{"rel": "status", "href": href, "id": operation_id}]
    return {"server": server_id.lower(), "isQueued": True, "links": links}


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
        "changeInfo": _change_info(machine.modified, machine.modified_by),
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
    server_id = machine.id.lower()
    href = f"/v2/servers/{_HREF_ALIAS}/{server_id}"
    is_active = machine.status == "active"
    verbs = ["GET", "PATCH", "DELETE"] if is_active else ["GET", "PATCH"]
    links: list[_Entity] = [
        {"rel": "self", "href": href, "id": server_id, "verbs": verbs},
        _link("group", "groups", machine.group),
        {"rel": "account", "href": f"/v2/accounts/{_HREF_ALIAS}", "id": _HREF_ALIAS},
        {"rel": "billing", "href": f"/v2/billing/{_HREF_ALIAS}/serverPricing/{server_id}"},
    ]
    if is_active:
        links += [
            {"rel": name, "href": f"{href}/{name}"}
            for name in ("statistics", "capabilities", "credentials")
        ]
    return links


def _link(rel: str, collection: str, entity_id: str) -> _Entity:
    href = f"/v2/{collection}/{_HREF_ALIAS}/{entity_id.lower()}"
    return {"rel": rel, "href": href, "id": entity_id}


def _change_info(modified: str, modified_by: str) -> dict[str, str]:
    return {
        "createdBy": USERNAME,
        "createdDate": inventory.CREATED,
        "modifiedBy": modified_by,
        "modifiedDate": modified,
    }


def _empty(status: int, note: str | None = None) -> HTTPResponse:
    """Return a response without a body, and so without a Content-Type (recorded of a 404)."""
    return HTTPResponse(status, {"Content-Length": "0"}, b"", note)


def _response(content: object, note: str | None = None, status: int = 200) -> HTTPResponse:
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
    }
    return HTTPResponse(status, headers, body, note)


def _error(
    status: int, message: str, state: dict[str, list[str]] | None = None, note: str | None = None
) -> HTTPResponse:
    content = {"message": message, **({"modelState": state} if state else {})}
    return _response(content, note, status)


def _parse(body: bytes) -> object:
    """Return the value of a JSON text, or None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
