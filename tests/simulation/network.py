"""The way to the cloud: the client's real code over a transport with faults, and what arrived."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx

from clc_reset.api.client import Client
from clc_reset.api.transport import Answer, NoAnswer, Transport
from clc_reset.clocks import ApiTime, Moment
from clc_reset.redaction import Redactor
from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest, HTTPResponse
from clc_reset.workers import Inbox
from tests.builders import ORIGIN
from tests.simulation.world import BEGIN, Process, World

if TYPE_CHECKING:
    from tests.simulation.commands import Command

SERVERS = ("WA1ALIASWB01", "WA1ALIASWB02", "WA1ALIASWB03", "WA1ALIASDB01", "VA1ALIASWB01")
FAILURES: tuple[str, ...] = ("refused", "lost before", "lost after", "hangs", "4xx", "429", "5xx")
FAILURES += ("5xx after", "garbage", "left out", "no date", "late")

_NO_REDACTION = Redactor([], [])
_READS = SimpleNamespace(method=b"GET")
_POSTS = SimpleNamespace(method=b"POST")


@dataclass
class Post:
    """A request that left. `operations` are those of the servers that the cloud queued it for."""

    command: "Command"
    servers: tuple[str, ...]
    left: Moment
    left_at: float
    commit: int  # the latest transaction of its process, which holds its intent
    committed_at: float
    operations: dict[str, str] = field(default_factory=dict)
    over: frozenset[str] = frozenset()  # operations that were over when it left


class Sky:
    """The sandbox's cloud at the other end, and the truth about it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.posts: list[Post] = []
        self.trouble = 0.0
        """The share of requests that something happens to."""
        self.durations: tuple[float, ...] = (0.5, 3.0, 20.0)
        self.fails = 0.0
        self.vanishes = 0.0
        self.vanished: dict[str, tuple[float, float]] = {}
        self.has_dates = True
        self.cloud = Cloud(Behaviour(), lambda: BEGIN + world.time, world.random)
        self.set_clock(0.0)

    def set_clock(self, skew: float) -> None:
        """Let the cloud's clock be so many seconds ahead, and issue a token by it."""
        self.cloud.behaviour = replace(self.cloud.behaviour, clock_skew=skew)
        self.token = self.cloud.token()
        self._headers = {"authorization": f"Bearer {self.token}"}

    def handle(self, method: str, target: str, content: object) -> HTTPResponse:
        """Let a request arrive."""
        body = b"" if content is None else json.dumps(content).encode()
        response = self.cloud.handle(HTTPRequest(method, target, self._headers, body))
        assert response is not None
        return response

    def reset(self, servers: tuple[str, ...]) -> tuple[HTTPResponse, dict[str, str]]:
        """Let a reset arrive, and return the operation of each server that it is queued for."""
        random = self.world.random
        failing = frozenset(server for server in servers if random.random() < self.fails)
        duration = random.choice(self.durations) * random.uniform(0.5, 1.5)
        self.cloud.behaviour = replace(self.cloud.behaviour, duration=duration, fail=failing)
        response = self.handle("POST", "/v2/operations/ALIAS/servers/reset", list(servers))
        found = {
            entity["server"].upper(): entity["links"][0]["id"]
            for entity in json.loads(response.body)
            if entity["isQueued"]
        }
        for operation in sorted(set(found.values())):
            if random.random() < self.vanishes:
                begins = self.world.time + random.expovariate(1 / duration)
                ends = random.choice((begins + 20.0, begins + 300.0, float("inf")))
                self.vanished[operation] = (begins, ends)
        return response, found

    def is_gone(self, operation: str) -> bool:
        """Return whether the API says that it knows no such operation."""
        begins, ends = self.vanished.get(operation, (float("inf"), 0.0))
        return begins <= self.world.time < ends

    def status(self, operation: str) -> str:
        """Return the true status of an operation."""
        response = self.handle("GET", f"/v2/operations/ALIAS/status/{operation}", None)
        return str(json.loads(response.body)["status"]) if response.body else "404"

    def over(self) -> frozenset[str]:
        """Return the operations that are over in truth."""
        operations = {op: None for post in self.posts for op in post.operations.values()}
        return frozenset(op for op in operations if self.status(op) in {"succeeded", "failed"})


class Network(Transport):
    """The transport of one process."""

    def __init__(self, sky: Sky, process: Process, inbox: Inbox) -> None:
        self.origin = self.way = ORIGIN
        self.api_time = None
        self.redactor = _NO_REDACTION
        self._inbox = inbox
        self._clocks = process.host
        self._sky = sky
        self._process = process

    def authorize(self, token: str) -> None:
        """Nothing is redacted, so that a secret which goes astray is found."""

    def _outcome(self, request: Any) -> Answer | NoAnswer:
        world, sky = self._process.world, self._sky
        is_reset = request.method == "POST"
        fault = ""
        if world.random.random() < sky.trouble:
            fault = world.random.choice(FAILURES)
        try:
            self._trace(request, "connection.connect_tcp.started", {})
            if fault == "refused":
                raise httpx.ConnectError("Connection refused")
            request.is_here = False
            marker = _POSTS if is_reset else _READS
            self._trace(request, "http11.send_request_headers.started", {"request": marker})
            return self._answered(request, request.left, fault)
        except Exception as error:  # noqa: BLE001 - as the real one
            is_here = request.is_here or isinstance(error, httpx.ConnectError)
            return self._no_answer(request, error, never_left=is_here and request.left is None)

    def _answered(self, request: Any, left: Moment, fault: str) -> Answer:
        world, sky = self._process.world, self._sky
        post = None
        if isinstance(request.content, list):
            process, servers = self._process, tuple(map(str, request.content))
            commit, committed_at = process.commit, process.committed_at
            post = Post(process.command, servers, left, world.time, commit, committed_at)
            post.over = sky.over()
            sky.posts.append(post)
            world.note(process.name, f"POST {' '.join(servers)} leaves {fault}".strip())
        self._travel(1.0 if fault == "late" else 0.02)
        if fault in {"lost before", "hangs"}:
            self._travel(10.0)
            raise httpx.ReadError("Connection reset by peer")
        response = self._arrived(request, post, fault)
        date = datetime.fromtimestamp(int(sky.cloud.now), UTC)
        self._travel(0.02 if fault != "late" else 0.5)
        if fault == "lost after":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        time = None
        if sky.has_dates and fault != "no date":
            time = self.api_time = ApiTime(date, self._clocks.now())
        body = response.body[:-3] if fault == "garbage" else response.body
        content = json.loads(body) if body and fault != "garbage" else None
        if fault == "left out" and isinstance(content, list):
            content = content[1:]
        retry = 3.0 if response.status in {429, 503} else None
        return Answer(response.status, body, content, retry, time, left)

    def _arrived(self, request: Any, post: Post | None, fault: str) -> HTTPResponse:
        world, sky = self._process.world, self._sky
        refusals = (400, 403, 401) if post is None else (400, 404, 403, 401)  # 404: it is gone
        status = {"4xx": world.random.choice(refusals), "429": 429, "5xx": 503}
        if fault in status:
            return HTTPResponse(status[fault], {}, b'{"message":"no"}')
        if post is not None:
            response, post.operations = sky.reset(post.servers)
            world.note("cloud", f"queues {post.operations} of {self._process.name}")
            if fault == "5xx after":
                return HTTPResponse(500, {}, b"")
            return response
        operation = request.path.rpartition("/")[2]
        if sky.is_gone(operation):
            return HTTPResponse(404, {}, b"")
        return sky.handle(request.method, request.path, request.content)

    def _travel(self, share: float) -> None:
        """Take some time, where this runs in a thread of its own."""
        worker = self._process.world.current
        if worker.is_worker:
            worker.step(self._process.world.random.expovariate(1 / (60 * share)))


class VirtualClient(Client):
    """The real client over a simulated transport."""

    def __init__(self, sky: Sky, process: Process, inbox: Inbox) -> None:
        self._transport = Network(sky, process, inbox)
        self._inbox = inbox
        self._clocks = process.host
        self._renewal = "Log in again."
