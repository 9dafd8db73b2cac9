"""A client with all that it says, and servers that say anything back."""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from clc_reset.api.client import Client
from clc_reset.api.transport import Exchange, Transport
from clc_reset.models import ResetAnswer
from clc_reset.threads import Stop
from tests.conftest import ORIGIN
from tests.fakes import HANG, NEVER, queued

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
TOKEN = "t0ken-of-ours"
PATH = "/v2/operations/alias/status/wa1-12345"
QUEUED = queued(A, "wa1-12345", PATH)
REFUSED = {"server": "wa1aliaswb02", "isQueued": False, "errorMessage": "Not in a valid state."}
WALL_CLOCK = 1_000_000_000.0  # Sun, 09 Sep 2001 01:46:40 GMT


class Patient(Stop):
    """Lets time pass at once, and keeps each pause."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.check()
        self.pauses.append(seconds)
        self.now += seconds


class Session:
    """A client with everything it says and every pause it makes."""

    def __init__(
        self,
        origin: str = ORIGIN,
        *,
        token: str = TOKEN,
        answer_seconds: float = 180.0,
        read_seconds: float = 60.0,
        on_note: Callable[[str], None] | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.notes: list[str] = []
        self.stop = Patient()
        self.client = Client(
            origin,
            self.stop,
            on_exchange=on_exchange or self.exchanges.append,
            on_note=on_note or self.notes.append,
            clock=clock or (lambda: self.stop.now),
            wall_clock=lambda: WALL_CLOCK,
            answer_seconds=answer_seconds,
            read_seconds=read_seconds,
        )
        if token:
            self.client.authorize(token)

    def reset(self, *servers: str, tick: Callable[[float], None] | None = None) -> ResetAnswer:
        with self.client:
            return self.client.reset_servers("ALIAS", servers or (A, B), tick=tick)


def states(answer: ResetAnswer) -> list[str]:
    return [result.state for result in answer.results]


@contextmanager
def transport(origin: str = ORIGIN, *, connect_seconds: float = 10.0) -> Iterator[Transport]:
    """A way to an origin, by a clock that stands still."""
    made = Transport(
        origin,
        Stop(),
        lambda _exchange: None,
        lambda: 0.0,
        lambda: WALL_CLOCK,
        connect_seconds=connect_seconds,
        tick_seconds=0.01,
    )
    made.authorize(TOKEN)
    yield made
    made.close()


def next_request(file: IO[bytes]) -> bytes:
    """The head of the next request, its body read too; nothing where there is none."""
    head = b"".join(iter(lambda: file.readline().rstrip(b"\r\n") + b"\n", b"\n"))
    length = re.search(rb"(?im)^content-length: *([0-9]+)", head)
    file.read(int(length[1]) if length else 0)
    return head


class KeepAlive:
    """Answers by a script, any number of requests a connection, and tells on which each came."""

    def __init__(self, listener: socket.socket, script: Sequence[bytes | None]) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.connections: list[int] = []
        self._script = list(script)
        self._listener = listener
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def say(self, data: bytes) -> None:
        """Send what nobody asked for, on the first connection."""
        self._open[0].sendall(data)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                number = len(self._open) - 1
                threading.Thread(
                    target=self._converse, args=(connection, number), daemon=True
                ).start()
        except OSError:  # the test is over
            pass

    def _converse(self, connection: socket.socket, number: int) -> None:
        try:
            with connection.makefile("rb") as file:
                while next_request(file):
                    self.connections.append(number)
                    answer = self._script.pop(0)
                    if answer is not HANG:
                        connection.sendall(answer)
                    if answer == NEVER or (answer and answer.startswith(b"HTTP/1.0")):
                        connection.shutdown(socket.SHUT_RDWR)
                        return
        except OSError:
            pass


@contextmanager
def keep_alive(*script: bytes | None) -> Iterator[KeepAlive]:
    """Serve a script on connections that stay open, but for HTTP/1.0 and NEVER."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = KeepAlive(listener, script)
        yield server
        server.end()
