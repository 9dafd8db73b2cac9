"""Any bytes in answer to any request, held to what the server saw.

Seven seconds of it; more with `CLC_FUZZ_SECONDS=600`, from another beginning with `CLC_FUZZ_SEED`.
"""

import gzip
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import pytest

from clc_reset.errors import ClcError
from clc_reset.models import Credential, NoNews, Operation, OperationStatus, Sending
from tests.api.session import PATH, QUEUED, REFUSED, A, B, Session, next_request
from tests.fakes import http, jwt

SECONDS = float(os.environ.get("CLC_FUZZ_SECONDS", "7"))
SEED = int(os.environ.get("CLC_FUZZ_SEED", "20260115"))
LONGEST_CASE = 10.0
WAITING = 0.3
"""In seconds: how long a client waits for an answer that doesn't come."""

_PLAIN = (
    rb"HTTP/1\.1 [2-5]\d\d X\r\nContent-Length: (\d+)\r\n"
    rb"(?:Connection: close\r\n|Retry-After: \d\r\n)?\r\n(.*)"
)

ROOT = "1" * 32
GROUP = {"id": ROOT, "name": "Web", "type": "default", "links": [{"rel": "server", "id": A}]}
RESETS: list[object] = [
    [QUEUED, REFUSED],
    [QUEUED],
    [REFUSED, QUEUED],
    QUEUED,
    [REFUSED, {**REFUSED, "server": A}],
    [],
    {"message": "An error has occurred."},
]
WORDS: list[object] = [{"status": "executing"}, {"status": "succeeded"}, {"status": "failed"}]
BODIES: list[object] = [
    *RESETS,
    *WORDS,
    {"bearerToken": jwt(), "userName": "demo", "roles": ["X"]},
    [{"id": "wa1", "links": [{"rel": "group", "id": ROOT}]}],
    GROUP,
    {**GROUP, "groups": [GROUP], "servers": [{"id": A}]},
    b"<html>Bad gateway</html>",
    b"",
]
STATUSES = [200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 429, 500, 502, 503]
PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\x00",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Connection: close\r\n",
    b"Retry-After: 1\r\n",
    b"Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
    b"0\r\n\r\n",
    b"[",
    b'"isQueued":true',
    b"\xff\xfe",
    b"-1",
    b"9" * 30,
]


def whole(random: Random, usual: Sequence[object]) -> bytes:
    """An answer as a server might send it: plain, packed, in chunks, or with more behind it."""
    body = random.choice(random.choice([BODIES, usual]))
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # each second answer is one that the request is likely to get
    status = random.choice([random.choice(STATUSES), 429 if usual is RESETS else 200])
    headers = random.choice(["", "Connection: close\r\n", "Retry-After: 0\r\n"])
    match random.randrange(5):
        case 0:
            content = gzip.compress(content)
            headers += "Content-Encoding: gzip\r\n"
        case 1:
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
            head = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n"
            return f"{head}{headers}\r\n".encode() + chunks
        case 2:
            return http(status, content, headers) + whole(random, usual)
        case _:
            pass
    return http(status, content, headers)


def mutated(random: Random, usual: Sequence[object]) -> bytes:
    """Bytes that may or may not be an answer."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(200))
    data = bytearray(whole(random, usual))
    for _ in range(random.choice([0, 0, 0, 1, 1, 2, 5])):
        place = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                del data[place:]
            case 1:
                data[place : place + random.randrange(4)] = random.randbytes(random.randrange(4))
            case 2:
                data[place:place] = random.choice(PIECES)
            case _:
                del data[place : place + random.randrange(20)]
    return bytes(data)


class Truth:
    """A server that answers with bytes, and knows what it took and what it said."""

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.answer: Callable[[], bytes] = bytes
        self.token = b"case 0"
        self.said: list[bytes] = []
        self.posts = 0
        self._listener = listener

    def begin(self, token: str, answer: Callable[[], bytes]) -> None:
        """Begin a case; what comes with another's token is late, and none of it."""
        self.token, self.answer, self.said, self.posts = token.encode(), answer, [], 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the test is over
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(WAITING)  # so that nobody waits for more of what is half read
            with connection, connection.makefile("rb") as file:
                while self.token in (head := next_request(file)):
                    self.posts += head.startswith(b"POST ")
                    data = self.answer()
                    self.said.append(data)
                    connection.sendall(data)
                    if not is_clean(data, more=True):
                        return  # so that nobody waits for the rest of it
        except OSError:  # the client has gone
            pass


def is_clean(data: bytes, *, more: bool = False) -> bool:
    """Whether the bytes are one plain answer; there may be more behind it."""
    found = re.fullmatch(_PLAIN, data, re.DOTALL)
    if found is None:
        return False
    length = int(found[1])
    return length <= len(found[2]) if more else length == len(found[2])


def says_queued(data: bytes) -> bool:
    """Whether bytes are one plain answer whose array says that something is queued."""
    if not is_clean(data):
        return False
    try:
        content = json.loads(data.partition(b"\r\n\r\n")[2])
    except ValueError:
        return False
    array = content if isinstance(content, list) else [content]
    return any(isinstance(each, dict) and each.get("isQueued") is True for each in array)


def reset(session: Session, truth: Truth) -> None:
    answer = session.reset(A, B)
    assert [each.server for each in answer.results] == [A, B]
    if answer.sending is Sending.NOT_SENT:
        assert answer.error is not None
        assert not any(map(says_queued, truth.said))
    # each but the last was refused for being too early
    assert truth.posts <= 3
    for said in truth.said[:-1]:
        assert re.search(rb"HTTP/1\.[01] +429\b", said)  # a 100 may stand before it
        assert not says_queued(said)
    # what is told as queued was said to be
    if any(each.state == "queued" for each in answer.results):
        assert answer.sending is Sending.SENT


def polls(session: Session, truth: Truth) -> None:
    with session.client as client:
        for number in range(10):
            said = len(truth.said)
            try:
                told = client.operation_status(Operation(f"wa1-{number}", PATH))
            except ClcError:
                continue
            assert isinstance(told, OperationStatus | NoNews)
            if isinstance(told, OperationStatus) and said and is_clean(truth.said[-1]):
                # of all that was said the last is the answer, since nothing came after it
                assert told.word.encode() in truth.said[-1]
    assert truth.posts == 0


def look(session: Session, truth: Truth) -> None:
    with session.client as client:
        seen = client.server("ALIAS", A)
    assert seen.server == A
    assert truth.posts == 0


def log_in(session: Session, truth: Truth) -> None:
    with session.client as client, suppress(ClcError):
        assert isinstance(client.log_in("demo", "password"), Credential)
    assert truth.posts == 1


def groups(session: Session, truth: Truth) -> None:
    with session.client as client:
        try:
            found = client.groups("ALIAS", detailed=bool(len(truth.said) % 2))
        except ClcError:
            return
    assert all(server in {A, B} for each in found for server in each.servers)


@pytest.mark.parametrize(
    ("call", "usual", "share"),
    [
        (reset, RESETS, 0.4),
        (polls, WORDS, 0.3),
        (look, BODIES, 0.1),
        (log_in, BODIES, 0.1),
        (groups, BODIES, 0.1),
    ],
)
def test_any_bytes_are_told_as_what_is_certain(
    call: Callable[[Session, Truth], None], usual: Sequence[object], share: float
) -> None:
    random = Random(f"{SEED} {call.__name__}")
    deadline = time.monotonic() + SECONDS * share
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        truth = Truth(listener)
        thread = threading.Thread(target=truth.serve, daemon=True)
        thread.start()
        for number in itertools.count():
            if time.monotonic() > deadline:
                break
            token = f"case-{number}-of-ours"
            truth.begin(token, lambda: mutated(random, usual))
            session = Session(truth.url, token=token, answer_seconds=WAITING, read_seconds=WAITING)
            began = time.monotonic()
            call(session, truth)
            assert time.monotonic() - began < LONGEST_CASE, truth.said
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
