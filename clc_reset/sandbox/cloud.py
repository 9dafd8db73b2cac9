"""A CLC cloud in memory: a request in, an answer out, true to recorded traffic.

It is pure but for the clock and the random numbers that it is given; the tests' fake is this cloud,
and `server` puts the same one on loopback. What it answers is documented or recorded unless a
comment says "never recorded", where it says the least that it can.
"""

import base64
import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from urllib.parse import parse_qs, parse_qsl, urlsplit

from clc_reset.sandbox.behaviour import Behaviour

ALIAS = "ALIAS"
USERNAME = "demo"
PASSWORD = "demo"  # noqa: S105 - the sandbox's own, printed by it
TOKEN_SECONDS = 14 * 24 * 3600
WRONG_PASSWORDS_THAT_LOCK = 3
FIRST_OPERATION = 12345

_WRONG_PASSWORD = "We didn't recognize the username or password you entered. Please try again."  # noqa: S105
_CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
_INVALID_REQUEST = "The request is invalid."
_VERBS = ["GET", "PATCH", "DELETE"]
_CHANGES = {
    "createdBy": USERNAME,
    "createdDate": "2015-03-26T23:59:28Z",
    "modifiedBy": USERNAME,
    "modifiedDate": "2015-03-26T23:59:28Z",
}
_HARDWARE = {
    "ipAddresses": [],
    "alertPolicies": [],
    "cpu": 2,
    "diskCount": 3,
    "hostName": "",
    "inMaintenanceMode": False,
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
_SEQUENCE = ((0.4, "notStarted"), (0.7, "executing"), (0.9, "resumed"), (1.0, "executing"))


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. `target` is path and query, the names of the headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `note` tells the log what it meant. An empty body has no Content-Type."""

    status: int
    body: bytes = b""
    note: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell of the body."""
        length = {"Content-Length": str(len(self.body))}
        return (
            {"Content-Type": "application/json; charset=utf-8", **length} if self.body else length
        )


@dataclass(slots=True)
class Server:
    """One server; `resets` counts how often its power was cycled."""

    id: str
    group: str
    status: str = "active"
    power: str = "started"
    resets: int = 0

    @property
    def datacenter(self) -> str:
        """Its data centre's id, in lower case: `wa1`."""
        return self.id[:3].lower()


@dataclass(frozen=True, slots=True)
class Group:
    """One group of servers. `parent` is None for a data centre's root, its hardware group."""

    id: str
    name: str
    datacenter: str
    parent: str | None
    type: str = "default"


@dataclass(frozen=True, slots=True)
class _Call:
    """What a route needs of a request; `id` is the last part of its path where that is one.

    The names of the query are in lower case.
    """

    body: bytes
    id: str
    query: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Operation:
    began: float
    fails: bool


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
        self.servers: dict[str, Server] = {}
        self.groups: dict[str, Group] = {}
        self._clock = clock
        self._random = random
        self._key = random.randbytes(32)
        self._numbers = itertools.count(FIRST_OPERATION)
        self._operations: dict[str, _Operation] = {}
        self._wrong_passwords = 0
        self._children: dict[str | None, list[Group]] = {}
        self._members: dict[str, list[Server]] = {}
        self._build()

    def handle(self, request: Request) -> Answer | None:
        """Answer one request; None where the answer never comes."""
        url = urlsplit(request.target)
        for pattern, routes in _ROUTES:
            found = pattern.fullmatch(url.path)
            if not found:
                continue
            if request.method not in routes:
                return _message(
                    405,
                    f"The requested resource does not support http method '{request.method[:20]}'.",
                )
            parts = found.groupdict()
            if "alias" in parts:
                if not self._is_authorized(request.headers.get("authorization", "")):
                    return Answer(401, note="no valid token")  # its body was never recorded
                if parts["alias"].upper() != ALIAS:
                    # a status by another alias is reported to get 404; the rest was never recorded
                    return Answer(404 if "/status/" in url.path else 403, note="another account")
            # documented as GroupLinks and as groupLinks, and clients send both
            query = {name.lower(): values for name, values in parse_qs(url.query).items()}
            call = _Call(request.body, parts.get("id", ""), query)
            return routes[request.method](self, call)
        return Answer(404)

    def token(self) -> str:
        """A bearer token as the Login API gives it out: a JWT, HS256, 14 days long."""
        issued = int(self._clock())
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

    def _is_authorized(self, authorization: str) -> bool:
        scheme, _, token = authorization.strip().partition(" ")
        signed, _, signature = token.strip().rpartition(".")
        if scheme.lower() != "bearer" or not token.isascii():
            return False
        if not hmac.compare_digest(signature, _base64(self._signature(signed))):
            return False
        payload = json.loads(_unbase64(signed.partition(".")[2]))
        return bool(payload["nbf"] <= self._clock() < payload["exp"])

    def _log_in(self, call: _Call) -> Answer:
        # the platform's own Python client sends a form where it opens a session
        body = _json(call.body) or dict(parse_qsl(call.body.decode(errors="replace")))
        if not isinstance(body, dict) or not body:
            return _message(400, _INVALID_REQUEST, {"": ["A login object is required."]})
        locked = self._wrong_passwords >= WRONG_PASSWORDS_THAT_LOCK
        if locked or (body.get("username"), body.get("password")) != (USERNAME, PASSWORD):
            self._wrong_passwords += body.get("username") == USERNAME
            # what a locked user is told was never recorded
            note = f"{USERNAME} is locked" if locked else "wrong user name or password"
            return _message(400, _WRONG_PASSWORD, note=note)
        self._wrong_passwords = 0
        fields = [
            ("userName", USERNAME),
            ("accountAlias", ALIAS),
            ("locationAlias", "WA1"),
            ("roles", ["AccountAdmin"]),
            ("bearerToken", self.token()),
        ]
        self._random.shuffle(fields)  # recorded: the order of the keys varies
        return _answer(dict(fields), f"{USERNAME} logged in")

    def _reset(self, call: _Call) -> Answer | None:
        asked = _json(call.body)
        if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
            return _message(400, _INVALID_REQUEST, {"serverIds": ["An array is required."]})
        if not asked:  # never recorded
            return _message(400, _INVALID_REQUEST, {"serverIds": ["It is empty."]})
        ids = list(dict.fromkeys(each.upper() for each in asked))
        taken = {each: self.servers[each] for each in ids if self._can_be_reset(each)}
        operations = self._queue(taken.values())
        entities = [
            _queued(each, operations[each[:3].lower()]) if each in taken else _refused(each)
            for each in self._another_order(ids)
        ]
        if self.behaviour.lose_answer:
            return None
        return _answer(entities, f"{len(taken)} of {len(ids)} queued")

    def _can_be_reset(self, server_id: str) -> bool:
        server = self.servers.get(server_id)
        return (
            server is not None
            and server_id not in self.behaviour.refuse
            and (server.status, server.power) == ("active", "started")
        )

    def _queue(self, servers: Iterable[Server]) -> dict[str, str]:
        """Begin one operation a data centre (recorded), and return their ids by data centre."""
        batches: dict[str, list[Server]] = {}
        for server in servers:
            server.resets += 1
            batches.setdefault(server.datacenter, []).append(server)
        ids = {datacenter: f"{datacenter}-{next(self._numbers)}" for datacenter in batches}
        for datacenter, batch in batches.items():
            fails = any(server.id in self.behaviour.fail for server in batch)
            self._operations[ids[datacenter]] = _Operation(self._clock(), fails)
        return ids

    def _another_order(self, ids: list[str]) -> list[str]:
        """Recorded: the order of the answer is never the request's (20 of 20 batches)."""
        shuffled = self._random.sample(ids, len(ids))
        return [*shuffled[1:], shuffled[0]] if shuffled == ids else shuffled

    def _status(self, call: _Call) -> Answer:
        operation = self._operations.get(call.id.lower())
        if operation is None:
            return Answer(404)
        if self._random.random() < self.behaviour.flaky:
            return Answer(503)  # reported while polling; its body was never recorded
        age = self._clock() - operation.began
        final = "failed" if operation.fails else "succeeded"
        for share, status in _SEQUENCE:
            if age < share * self.behaviour.duration:
                return _answer({"status": status}, status)
        return _answer({"status": final}, final)

    def _datacenters(self, call: _Call) -> Answer:
        return _answer([self._datacenter(each, call) for each in _DATACENTERS])

    def _one_datacenter(self, call: _Call) -> Answer:
        datacenter = call.id.lower()
        if datacenter not in _DATACENTERS:
            return Answer(404)
        return _answer(self._datacenter(datacenter, call))

    def _datacenter(self, datacenter: str, call: _Call) -> dict[str, object]:
        links = [
            {"rel": "self", "href": f"/v2/datacenters/{ALIAS.lower()}/{datacenter}"},
            {
                "rel": "deploymentCapabilities",
                "href": f"/v2/datacenters/{ALIAS.lower()}/{datacenter}/deploymentCapabilities",
            },
        ]
        if call.query.get("grouplinks", [""])[0].lower() == "true":
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

    def _one_group(self, call: _Call) -> Answer:
        group = self.groups.get(call.id.lower())
        return Answer(404) if group is None else _answer(self._group(group))

    def _group(self, group: Group) -> dict[str, object]:
        members = self._members.get(group.id, [])
        href = f"/v2/groups/{ALIAS.lower()}/{group.id}"
        links = [{"rel": "self", "href": href, "verbs": _VERBS}]
        if group.parent:
            parent = f"/v2/groups/{ALIAS.lower()}/{group.parent}"
            links.append({"rel": "parentGroup", "href": parent, "id": group.parent})
        links += [
            {
                "rel": "server",
                "href": f"/v2/servers/{ALIAS.lower()}/{each.id.lower()}",
                "id": each.id,
            }
            for each in members
        ]
        below = [self._group(child) for child in self._children.get(group.id, [])]
        active = sum(each.status != "archived" for each in members)
        return {
            "id": group.id,
            "name": group.name,
            "description": group.name,
            "locationId": group.datacenter.upper(),
            "type": group.type,
            "status": "active",
            "serversCount": active + sum(_count(each) for each in below),
            "groups": below,
            "links": links,
            "changeInfo": _CHANGES,
            "customFields": [],
        }

    def _one_server(self, call: _Call) -> Answer:
        server = self.servers.get(call.id.upper())
        if server is None:
            return Answer(404)
        href = f"/v2/servers/{ALIAS.lower()}/{server.id.lower()}"
        entity: dict[str, object] = {
            "id": server.id.lower(),
            "name": server.id,
            "description": "",
            "groupId": server.group,
            "isTemplate": False,
            "locationId": server.datacenter.upper(),
            "osType": "Debian 7 64-bit",
            "os": "debian7_64Bit",
            "status": server.status,
            "type": "standard",
            "storageType": "standard",
            "changeInfo": _CHANGES,
            "links": [{"rel": "self", "href": href, "id": server.id.lower(), "verbs": _VERBS}],
        }
        if server.status == "active":
            entity["details"] = {**_HARDWARE, "powerState": server.power}
        return _answer(entity)

    def _build(self) -> None:
        ids: dict[tuple[str, str], str] = {}
        for datacenter, name, parent, kind, servers in _INVENTORY:
            group_id = hashlib.md5(
                f"{datacenter} {name}".encode(), usedforsecurity=False
            ).hexdigest()
            ids[datacenter, name] = group_id
            above = ids[datacenter, parent] if parent else None
            self._add_group(Group(group_id, name, datacenter, above, kind))
            for server in servers:
                self._add_server(
                    Server(
                        f"{datacenter.upper()}{ALIAS}{server}",
                        group_id,
                        status="archived" if kind == "archive" else "active",
                    )
                )
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
            self._add_server(Server(server_id, groups[server_id[:3].lower(), "Web"]))

    def _add_group(self, group: Group) -> None:
        self.groups[group.id] = group
        self._children.setdefault(group.parent, []).append(group)

    def _add_server(self, server: Server) -> None:
        self.servers[server.id] = server
        self._members.setdefault(server.group, []).append(server)


_Route = Callable[[Cloud, _Call], Answer | None]
# ruff: noqa: SLF001 - the table of routes stands outside the class that it belongs to
_ROUTES: tuple[tuple[re.Pattern[str], Mapping[str, _Route]], ...] = tuple(
    (re.compile(pattern), routes)
    for pattern, routes in (
        (r"/v2/authentication/login", {"POST": Cloud._log_in}),
        (r"/v2/operations/(?P<alias>[^/]+)/servers/reset", {"POST": Cloud._reset}),
        (r"/v2/operations/(?P<alias>[^/]+)/status/(?P<id>[^/]+)", {"GET": Cloud._status}),
        (r"/v2/datacenters/(?P<alias>[^/]+)", {"GET": Cloud._datacenters}),
        (r"/v2/datacenters/(?P<alias>[^/]+)/(?P<id>[^/]+)", {"GET": Cloud._one_datacenter}),
        (r"/v2/groups/(?P<alias>[^/]+)/(?P<id>[^/]+)", {"GET": Cloud._one_group}),
        (r"/v2/servers/(?P<alias>[^/]+)/(?P<id>[^/]+)", {"GET": Cloud._one_server}),
    )
)


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


def _refused(server_id: str) -> dict[str, object]:
    return {"server": server_id.lower(), "isQueued": False, "errorMessage": _CANNOT_BE_QUEUED}


def _count(group: dict[str, object]) -> int:
    count = group["serversCount"]
    return count if isinstance(count, int) else 0


def _answer(content: object, note: str = "") -> Answer:
    return Answer(200, json.dumps(content, separators=(",", ":")).encode(), note)


def _message(
    status: int, message: str, state: dict[str, list[str]] | None = None, note: str = ""
) -> Answer:
    content = {"message": message, **({"modelState": state} if state else {})}
    return Answer(status, json.dumps(content).encode(), note)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
