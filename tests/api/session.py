"""A client with its inbox and clocks, none of which takes time, and what the API answers."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from clc_reset.api.client import Client
from clc_reset.api.transport import Transport
from clc_reset.clocks import Moment
from clc_reset.models import ResetAnswer
from clc_reset.workers import Inbox
from tests.builders import ACCOUNT, ORIGIN, A, B, operation
from tests.fakes import queued, refused, wait_until
from tests.virtual import PatientInbox, VirtualClocks

TOKEN = "t0ken-of-ours"
NOWHERE = "http://127.0.0.1:1"
"""An origin where nobody listens."""
PATH = "/v2/operations/alias/status/wa1-12345"
WA1 = operation("wa1-12345")
QUEUED = queued(A, "wa1-12345", PATH)
REFUSED = refused(B)
RENEWAL = "Run: clc login"
DATE = "Date: Sun, 09 Sep 2001 01:48:40 GMT\r\n"
THEN = datetime(2001, 9, 9, 1, 48, 40, tzinfo=UTC)
WALL_CLOCK = THEN - timedelta(minutes=2)
ROOT = "0123456789abcdef" * 2
"""The id of a group."""


def group(name: str, *inside: Any, ids: Sequence[str] = (), **more: object) -> dict[str, Any]:
    """A group as it is listed, with links to these servers."""
    links: list[object] = [{"rel": "self", "href": "/x"}]
    links += [{"rel": "server", "href": "/v2/servers/alias/x", "id": server} for server in ids]
    described = {"id": ROOT, "name": name, "type": "default", "serversCount": 0}
    return {**described, "groups": list(inside), "links": links, **more}


def datacenter(name: str, root: object = ROOT) -> dict[str, Any]:
    return {"id": name, "links": [{"rel": "self"}, {"rel": "group", "id": root}]}


class Session:
    """A client and the pauses that it makes."""

    def __init__(
        self,
        origin: str = ORIGIN,
        *,
        token: str = TOKEN,
        elapsed: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clocks = VirtualClocks(WALL_CLOCK, elapsed)
        self.inbox = PatientInbox(self.clocks, monotonic)
        self.client = Client(origin, self.inbox, self.clocks)
        if token:
            self.client.authorize(token, RENEWAL)

    def reset(self, *servers: str, recorded: Moment | None = None, tick: Any = None) -> ResetAnswer:
        return self.client.reset(ACCOUNT, servers or (A, B), recorded, tick)

    def interrupt_when(self, so: Callable[[], bool]) -> None:
        """Leave a signal's mark as soon as something is so."""

        def look() -> None:
            wait_until(so)
            self.inbox.interrupt(signal.SIGTERM)

        threading.Thread(target=look, daemon=True).start()


def transport(origin: str = ORIGIN, elapsed: Callable[[], float] | None = None) -> Transport:
    made = Transport(origin, Inbox(), VirtualClocks(WALL_CLOCK, elapsed))
    made.authorize(TOKEN)
    return made


def states(answer: ResetAnswer) -> list[str]:
    return [result.state for result in answer.results]


@contextmanager
def listening(converse: Callable[[socket.socket], None], times: int = 1) -> Iterator[str]:
    """Let a function hold each of so many connections; yields the host and port."""

    def serve() -> None:
        for _ in range(times):
            connection, _ = listener.accept()
            with connection:
                converse(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()
