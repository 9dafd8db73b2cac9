"""A CLC cloud in memory: a request in, a response out, true to recorded traffic.

It is pure but for the clock and the random numbers that it is given; the tests' fake is this cloud,
and `server` puts the same one on loopback. What it answers is documented or recorded unless a
comment says "reported", or "never recorded", where it says the least that it can.
"""

import base64
import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import NamedTuple
from urllib.parse import parse_qs, parse_qsl

ALIAS = "ALIAS"
USERNAME = "demo"
PASSWORD = "demo"  # noqa: S105 - the sandbox's own, printed by it
TOKEN_SECONDS = 14 * 24 * 3600
WRONG_PASSWORDS_THAT_LOCK = 3
FIRST_OPERATION = 12345
CREATED = "2015-03-26T23:59:28Z"

_NOT_RECOGNIZED = "We didn't recognize the username or password you entered. Please try again."
_CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
_IN_DESIRED_STATE = "The server already in desired state."  # reported
_ANONYMOUS = "anonymous"
_INVALID_REQUEST = "The request is invalid."
_VERBS = ["GET", "PATCH", "DELETE"]
_HARDWARE = {
    "ipAddresses": [],
    "alertPolicies": [],
    "cpu": 2,
    "diskCount": 3,
    "hostName": "",
    "memoryMB": 4096,
    "storageGB": 19,
    "disks": [
        {"id": f"0:{number}", "sizeGB": size, "partitionPaths": []}
        for number, size in enumerate((1, 2, 16))
    ],
    "partitions": [],
    "snapshots": [],
    "customFields": [],
}

# Recorded of a power on, polled ten times at even intervals: notStarted four times, executing
# three, resumed twice, executing once more, then succeeded.
_SEQUENCE = ((0.4, "notStarted"), (0.7, "executing"), (0.9, "resumed"), (inf, "executing"))

# Recorded: one server after another has its turn, the last 0 to 5 s before `succeeded` is seen.
# None has it while the operation isn't started. These are shares of the duration.
_TURNS_BEGIN = 0.4
_TURNS_END = 0.98

# The documented operations: which states of power each is queued for, and which one it leads to.
# A stopped server is refused a reset (reported), a paused one is started by a reboot (recorded).
# The names are in lower case: the platform's routes take any.
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
    """How the cloud is to behave; the faults of a bad night are off by default.

    `duration` is the seconds that an operation takes. `refuse` and `fail` hold server ids in upper
    case: the first are never queued, a batch stops at one of the second. `flaky` is the share of
    polls that get a 503. `servers` is the size of the inventory, None for the small one.
    `clock_skew` is the seconds by which the cloud's clock is ahead.
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
    """A request. `target` is path and query, the names of the headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A response; `note` tells the log what it meant."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    note: str | None = None


@dataclass(slots=True)
class Machine:
    """One of the cloud's servers, as the turns that are over have left it.

    `resets` counts the resets that it was queued for, when they are queued. `modified` is in the
    API's own words, in UTC to the second.
    """

    id: str
    group: str
    status: str = "active"
    power: str = "started"
    in_maintenance: bool = False
    modified: str = CREATED
    modified_by: str = USERNAME
    resets: int = 0

    @property
    def datacenter(self) -> str:
        """Its data centre's id, in lower case: `wa1`."""
        return self.id[:3].lower()


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """One group of servers. `parent` is None for a data centre's root, its hardware group."""

    id: str
    name: str
    datacenter: str
    parent: str | None
    type: str = "default"


@dataclass(frozen=True, slots=True)
class _Call:
    """What a route needs of a request: the named part of its path, and who asks.

    The names of the query are in lower case.
    """

    body: bytes
    part: str
    query: Mapping[str, list[str]]
    user: str

    def asks(self, name: str, value: str) -> bool:
        """Whether the query has this value; clients write both in any case."""
        return self.query.get(name, [""])[0].lower() == value


class _Turn(NamedTuple):
    """When a server of a batch is to change, and to what. `number` orders those of one instant."""

    at: float
    number: int
    machine: Machine
    operation: str
    user: str


class _Job(NamedTuple):
    """A queued operation on the servers that it has in one data centre."""

    began: float
    ends: float
    final: str


_Route = Callable[[_Call], HTTPResponse | None]

_DATACENTERS = {"wa1": "WA1 - US West (Seattle)", "va1": "VA1 - US East (Sterling)"}

# data centre, group, its parent, its type, the servers in it
_INVENTORY: tuple[tuple[str, str, str | None, str, tuple[str, ...]], ...] = (
    ("wa1", "WA1 Hardware", None, "default", ()),
    ("wa1", "Web", "WA1 Hardware", "default", ("WB01", "WB02", "WB03")),
    ("wa1", "Database", "WA1 Hardware", "default", ("DB01", "DB02")),
    ("wa1", "Retired", "Database", "archive", ("OLD01",)),
    ("wa1", "Staging", "WA1 Hardware", "default", ()),
    ("wa1", "Archive", "WA1 Hardware", "archive", ()),
    ("wa1", "Templates", "WA1 Hardware", "templates", ()),
    ("va1", "VA1 Hardware", None, "default", ()),
    ("va1", "Web", "VA1 Hardware", "default", ("WB01", "WB02")),
    ("va1", "Batch", "VA1 Hardware", "default", ("JOB01",)),
    ("va1", "Nightly", "Batch", "default", ("JOB02",)),
    ("va1", "Reports", "Nightly", "default", ("JOB03",)),
    ("va1", "Archive", "VA1 Hardware", "archive", ()),
    ("va1", "Templates", "VA1 Hardware", "templates", ()),
)
_STOPPED = "VA1ALIASJOB03"


class Cloud:
    """One account, ALIAS, with a user who may do anything in it.

    `clock` is seconds since 1970. Not safe for threads: whoever serves it takes turns.
    """

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float], random: Random) -> None:
        self.behaviour = behaviour
        self.servers: dict[str, Machine] = {}
        self.groups: dict[str, MachineGroup] = {}
        self._clock = clock
        self._random = random
        self._key = random.randbytes(32)
        self._numbers = itertools.count(FIRST_OPERATION)
        self._jobs: dict[str, _Job] = {}
        self._turns: list[_Turn] = []  # a heap
        self._turn_numbers = itertools.count()
        self._wrong_passwords = 0
        self._children: dict[str | None, list[MachineGroup]] = {}
        self._members: dict[str, list[Machine]] = {}
        self._routes: Mapping[str, Mapping[str, _Route]] = {
            r"/v2/authentication/login": {"POST": self._log_in},
            r"/v2/operations/(?P<alias>[^/]+)/servers/(?P<part>[^/]+)": {"POST": self._operate},
            r"/v2/operations/(?P<alias>[^/]+)/status/(?P<part>[^/]+)": {"GET": self._status},
            r"/v2/datacenters/(?P<alias>[^/]+)": {"GET": self._datacenters},
            r"/v2/datacenters/(?P<alias>[^/]+)/(?P<part>[^/]+)": {"GET": self._one_datacenter},
            r"/v2/groups/(?P<alias>[^/]+)/(?P<part>[^/]+)": {"GET": self._one_group},
            r"/v2/servers/(?P<alias>[^/]+)/(?P<part>[^/]+)": {"GET": self._one_server},
        }
        self._build()

    @property
    def now(self) -> float:
        """The time by the cloud's own clock, in seconds since 1970."""
        return self._clock() + self.behaviour.clock_skew

    @property
    def date(self) -> str:
        """The time by the cloud's own clock, as a `Date` header has it."""
        return formatdate(self.now, usegmt=True)

    def handle(self, request: HTTPRequest) -> HTTPResponse | None:
        """Answer one request; None if the answer never comes."""
        self._take_turns()
        response = self._respond(request)
        return response and self._dated(response)

    def refusal(self, status: int, message: str) -> HTTPResponse:
        """The response to a request that isn't for this cloud to handle."""
        return self._dated(_message(status, message))

    def _dated(self, response: HTTPResponse) -> HTTPResponse:
        return replace(response, headers={"Date": self.date, **response.headers})

    def _respond(self, request: HTTPRequest) -> HTTPResponse | None:
        path, _, query = request.target.partition("?")
        for pattern, routes in self._routes.items():
            found = re.fullmatch(pattern, path)
            if not found:
                continue
            if request.method not in routes:
                return _message(
                    405,
                    f"The requested resource does not support http method '{request.method[:20]}'.",
                )
            parts = found.groupdict()
            user = _ANONYMOUS
            if "alias" in parts:
                known = self._user(request.headers.get("authorization", ""))
                if known is None:
                    return _empty(401, "no valid token")  # its body was never recorded
                if parts["alias"].upper() != ALIAS:
                    # a status by another alias is reported to get 404; the rest was never recorded
                    return _empty(404 if "/status/" in path else 403, "another account")
                user = known
            # documented as GroupLinks and as groupLinks, and clients send both
            names = {name.lower(): values for name, values in parse_qs(query).items()}
            return routes[request.method](_Call(request.body, parts.get("part", ""), names, user))
        return _empty(404)

    def token(self) -> str:
        """A bearer token as the Login API gives it out: a JWT, HS256, 14 days long."""
        issued = int(self.now)
        if self.behaviour.expired_token:
            issued -= TOKEN_SECONDS + 24 * 3600
        header = {"typ": "JWT", "alg": "HS256"}
        payload = {
            "urn:tier3:account-alias": ALIAS,
            "urn:tier3:location-alias": "WA1",
            "unique_name": USERNAME,
            "role": "AccountAdmin",
            "iss": "urn:api-tier3",
            "aud": "urn:tier3-users",
            "exp": issued + TOKEN_SECONDS,
            "nbf": issued,
        }
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, payload))
        return f"{signed}.{_base64(self._signature(signed))}"

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), sha256)

    def _user(self, authorization: str) -> str | None:
        """Return the user of a valid token; None if there is none."""
        scheme, _, token = authorization.strip().partition(" ")
        signed, _, signature = token.strip().rpartition(".")
        if scheme.lower() != "bearer" or not token.isascii():
            return None
        if not hmac.compare_digest(signature, _base64(self._signature(signed))):
            return None
        payload = json.loads(_unbase64(signed.partition(".")[2]))
        return str(payload["unique_name"]) if payload["nbf"] <= self.now < payload["exp"] else None

    def _log_in(self, call: _Call) -> HTTPResponse:
        # documented is a form, and the platform's own Python client sends one, its own Go client
        # `Username` and `Password`
        body = _json(call.body) or dict(parse_qsl(call.body.decode(errors="replace")))
        if not isinstance(body, dict) or not body:
            return _message(400, _INVALID_REQUEST, {"": ["A login object is required."]})
        login = {name.lower(): value for name, value in body.items()}
        locked = self._wrong_passwords >= WRONG_PASSWORDS_THAT_LOCK
        if locked or (login.get("username"), login.get("password")) != (USERNAME, PASSWORD):
            self._wrong_passwords += login.get("username") == USERNAME
            # what a locked user is told was never recorded
            note = f"{USERNAME} is locked" if locked else "wrong user name or password"
            return _message(400, _NOT_RECOGNIZED, note=note)
        self._wrong_passwords = 0
        fields = [
            ("userName", USERNAME),
            ("accountAlias", ALIAS),
            ("locationAlias", "WA1"),
            ("roles", ["AccountAdmin"]),
            ("bearerToken", self.token()),
        ]
        self._random.shuffle(fields)  # recorded: the order of the keys varies
        return _content(dict(fields), f"{USERNAME} logged in")

    def _operate(self, call: _Call) -> HTTPResponse | None:
        operation = call.part.lower()
        if operation not in _POWER and operation not in _MAINTENANCE:
            return _empty(404)
        asked = _json(call.body)
        if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
            return _message(400, _INVALID_REQUEST, {"serverIds": ["An array is required."]})
        if not asked:  # never recorded
            return _message(400, _INVALID_REQUEST, {"serverIds": ["It is empty."]})
        ids = list(dict.fromkeys(each.upper() for each in asked))
        refusals = {each: self._refusal(operation, each) for each in ids}
        order = self._another_order(ids)
        batches: dict[str, list[Machine]] = {
            each[:3].lower(): [] for each in ids if refusals[each] is None
        }
        for each in order:
            if refusals[each] is None:
                batches[each[:3].lower()].append(self.servers[each])
        # recorded: one operation a data centre
        jobs = {
            datacenter: self._queue(operation, datacenter, batch, call.user)
            for datacenter, batch in batches.items()
        }
        entities = [
            _queued(each, jobs[each[:3].lower()]) if message is None else _refused(each, message)
            for each, message in ((each, refusals[each]) for each in order)
        ]
        if self.behaviour.lose_answer:
            return None
        queued = sum(message is None for message in refusals.values())
        return _content(entities, f"{queued} of {len(ids)} queued")

    def _refusal(self, operation: str, server: str) -> str | None:
        """Return why a server isn't queued for an operation; None if it is."""
        machine = self.servers.get(server)
        if machine is None or machine.status != "active" or server in self.behaviour.refuse:
            return _CANNOT_BE_QUEUED
        if operation in _MAINTENANCE:
            there = machine.in_maintenance is _MAINTENANCE[operation]
            return _IN_DESIRED_STATE if there else None
        before, after = _POWER[operation]
        if machine.power in before:
            return None
        return _IN_DESIRED_STATE if machine.power == after else _CANNOT_BE_QUEUED

    def _queue(self, operation: str, datacenter: str, batch: list[Machine], user: str) -> str:
        """Begin an operation on servers, whose turns come in this order, and return its id."""
        began, duration = self.now, self.behaviour.duration
        ends, final = began + duration, "succeeded"
        step = (_TURNS_END - _TURNS_BEGIN) / len(batch)
        for place, machine in enumerate(batch, 1):
            at = began + duration * (_TURNS_BEGIN + step * place)
            if machine.id in self.behaviour.fail:
                ends, final = at, "failed"  # never recorded: when, and what of the others
                break
            heappush(self._turns, _Turn(at, next(self._turn_numbers), machine, operation, user))
        for machine in batch:
            machine.resets += operation == "reset"
        job = f"{datacenter}-{next(self._numbers)}"
        self._jobs[job] = _Job(began, ends, final)
        return job

    def _take_turns(self) -> None:
        """Change the servers whose turns have come."""
        now = self.now
        while self._turns and self._turns[0].at <= now:
            turn = heappop(self._turns)
            if turn.operation in _MAINTENANCE:
                turn.machine.in_maintenance = _MAINTENANCE[turn.operation]
            else:
                turn.machine.power = _POWER[turn.operation][1]
            turn.machine.modified = f"{datetime.fromtimestamp(turn.at, UTC):%Y-%m-%dT%H:%M:%SZ}"
            turn.machine.modified_by = turn.user

    def _another_order(self, ids: list[str]) -> list[str]:
        """Recorded: the order of the answer is never the request's (20 of 20 batches)."""
        shuffled = self._random.sample(ids, len(ids))
        return [*shuffled[1:], shuffled[0]] if shuffled == ids else shuffled

    def _status(self, call: _Call) -> HTTPResponse:
        job = self._jobs.get(call.part.lower())
        if job is None:
            return _empty(404)
        if self._random.random() < self.behaviour.flaky:
            return _empty(503)  # reported while polling; its body was never recorded
        now = self.now
        status = job.final
        if now < job.ends:
            passed = (now - job.began) / self.behaviour.duration
            status = next(word for share, word in _SEQUENCE if passed < share)
        return _content({"status": status}, status)

    def _datacenters(self, call: _Call) -> HTTPResponse:
        return _content([self._datacenter(each, call) for each in _DATACENTERS])

    def _one_datacenter(self, call: _Call) -> HTTPResponse:
        datacenter = call.part.lower()
        if datacenter not in _DATACENTERS:
            return _empty(404)
        return _content(self._datacenter(datacenter, call))

    def _datacenter(self, datacenter: str, call: _Call) -> dict[str, object]:
        links = [
            {"rel": "self", "href": f"/v2/datacenters/{ALIAS.lower()}/{datacenter}"},
            {
                "rel": "deploymentCapabilities",
                "href": f"/v2/datacenters/{ALIAS.lower()}/{datacenter}/deploymentCapabilities",
            },
        ]
        if call.asks("grouplinks", "true"):
            links += [
                {
                    "rel": "group",
                    "href": f"/v2/groups/{ALIAS.lower()}/{root.id}",
                    "id": root.id,
                    "name": root.name,
                }
                for root in self._children[None]
                if root.datacenter == datacenter
            ]
        return {"id": datacenter, "name": _DATACENTERS[datacenter], "links": links}

    def _one_group(self, call: _Call) -> HTTPResponse:
        group = self.groups.get(call.part.lower())
        if group is None:
            return _empty(404)
        return _content(self._group(group, detailed=call.asks("serverdetail", "detailed")))

    def _group(self, group: MachineGroup, *, detailed: bool) -> dict[str, object]:
        members = self._members.get(group.id, [])
        href = f"/v2/groups/{ALIAS.lower()}/{group.id}"
        links = [{"rel": "self", "href": href, "verbs": _VERBS}]
        if group.parent:
            parent = f"/v2/groups/{ALIAS.lower()}/{group.parent}"
            links.append({"rel": "parentGroup", "href": parent, "id": group.parent})
        if not detailed:
            links += [
                {
                    "rel": "server",
                    "href": f"/v2/servers/{ALIAS.lower()}/{each.id.lower()}",
                    "id": each.id,
                }
                for each in members
            ]
        below = [
            self._group(child, detailed=detailed) for child in self._children.get(group.id, [])
        ]
        active = sum(each.status != "archived" for each in members)
        return {
            "id": group.id,
            "name": group.name,
            "description": group.name,
            "locationId": group.datacenter.upper(),
            "type": group.type,
            "status": "active",
            "serversCount": active + sum(_count(each) for each in below),
            # undocumented, recorded: either the servers, or links to them
            **({"servers": [_server(each) for each in members]} if detailed else {}),
            "groups": below,
            "links": links,
            "changeInfo": _changes(CREATED, USERNAME),
            "customFields": [],
        }

    def _one_server(self, call: _Call) -> HTTPResponse:
        machine = self.servers.get(call.part.upper())
        return _empty(404) if machine is None else _content(_server(machine))

    def _build(self) -> None:
        ids: dict[tuple[str, str], str] = {}
        for datacenter, name, parent, kind, servers in _INVENTORY:
            group_id = hashlib.md5(
                f"{datacenter} {name}".encode(), usedforsecurity=False
            ).hexdigest()
            ids[datacenter, name] = group_id
            above = ids[datacenter, parent] if parent else None
            self._add_group(MachineGroup(group_id, name, datacenter, above, kind))
            status, power = ("archived", "stopped") if kind == "archive" else ("active", "started")
            for server in servers:
                server_id = f"{datacenter.upper()}{ALIAS}{server}"
                self._add_server(Machine(server_id, group_id, status, power))
        self.servers[_STOPPED].power = "stopped"
        size = self.behaviour.servers
        if size is not None:
            self._resize(size, ids)

    def _resize(self, size: int, groups: Mapping[tuple[str, str], str]) -> None:
        for server in list(self.servers.values())[size:]:
            del self.servers[server.id]
            self._members[server.group].remove(server)
        more = size - len(self.servers)
        for server_id in itertools.islice(_more_server_ids(), more):
            self._add_server(Machine(server_id, groups[server_id[:3].lower(), "Web"]))

    def _add_group(self, group: MachineGroup) -> None:
        self.groups[group.id] = group
        self._children.setdefault(group.parent, []).append(group)

    def _add_server(self, server: Machine) -> None:
        self.servers[server.id] = server
        self._members.setdefault(server.group, []).append(server)


def _more_server_ids() -> Iterator[str]:
    """WA1ALIASN00001, VA1ALIASN00001, WA1ALIASN00002, …: made up, and easy to count through."""
    return (
        f"{datacenter}{ALIAS}N{number:05d}"
        for number in itertools.count(1)
        for datacenter in ("WA1", "VA1")
    )


def _queued(server_id: str, operation: str) -> dict[str, object]:
    href = f"/v2/operations/{ALIAS.lower()}/status/{operation}"
    links = [{"rel": "status", "href": href, "id": operation}]
    return {"server": server_id.lower(), "isQueued": True, "links": links}


def _refused(server_id: str, message: str) -> dict[str, object]:
    return {"server": server_id.lower(), "isQueued": False, "errorMessage": message}


def _server(machine: Machine) -> dict[str, object]:
    server_id = machine.id.lower()
    href = f"/v2/servers/{ALIAS.lower()}/{server_id}"
    entity: dict[str, object] = {
        "id": server_id,
        "name": machine.id,
        "description": "",
        "groupId": machine.group,
        "isTemplate": False,
        "locationId": machine.datacenter.upper(),
        "osType": "Debian 7 64-bit",
        "os": "debian7_64Bit",
        "status": machine.status,
        "type": "standard",
        "storageType": "standard",
        "changeInfo": _changes(machine.modified, machine.modified_by),
        "links": [{"rel": "self", "href": href, "id": server_id, "verbs": _VERBS}],
    }
    if machine.status in {"active", "archived"}:  # recorded: those always have details
        entity["details"] = {
            **_HARDWARE,
            "powerState": machine.power,
            "inMaintenanceMode": machine.in_maintenance,
        }
    return entity


def _changes(modified: str, modified_by: str) -> dict[str, str]:
    return {
        "createdBy": USERNAME,
        "createdDate": CREATED,
        "modifiedBy": modified_by,
        "modifiedDate": modified,
    }


def _count(group: dict[str, object]) -> int:
    count = group["serversCount"]
    return count if isinstance(count, int) else 0


def _empty(status: int, note: str | None = None) -> HTTPResponse:
    """Recorded of a 404: an empty body has no Content-Type."""
    return HTTPResponse(status, {"Content-Length": "0"}, b"", note)


def _content(content: object, note: str | None = None, status: int = 200) -> HTTPResponse:
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
    }
    return HTTPResponse(status, headers, body, note)


def _message(
    status: int, message: str, state: dict[str, list[str]] | None = None, note: str | None = None
) -> HTTPResponse:
    content = {"message": message, **({"modelState": state} if state else {})}
    return _content(content, note, status)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
