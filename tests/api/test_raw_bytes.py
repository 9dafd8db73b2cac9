"""Any bytes in answer to any request, held to what the server saw.

Seven seconds of it; more with `CLC_FUZZ_SECONDS=600`, from another beginning with `CLC_FUZZ_SEED`.
"""

import gzip
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import pytest

from clc_reset.api import client as api
from clc_reset.errors import ClcError
from clc_reset.models import Credential, Operation, OperationStatus, Sending
from tests.api.session import PATH, QUEUED, REFUSED, ROOT, A, B, Session, datacenter, group
from tests.fakes import Loopback, http, jwt, loopback

SECONDS = float(os.environ.get("CLC_FUZZ_SECONDS", "7"))
SEED = int(os.environ.get("CLC_FUZZ_SEED", "20260115"))
LONGEST_CASE = 10.0
WAITING = 0.3
"""In seconds: how long a client waits for an answer that doesn't come."""

RESETS: list[object] = [
    *([QUEUED, REFUSED], [QUEUED], [REFUSED, QUEUED], [REFUSED, {**REFUSED, "server": A}]),
    *(QUEUED, [], {"message": "An error has occurred."}),
]
WORDS: list[object] = [{"status": word} for word in ("executing", "succeeded", "failed")]
BODIES: list[object] = [
    *RESETS,
    *WORDS,
    {"bearerToken": jwt(), "userName": "demo", "roles": ["X"]},
    [datacenter("wa1")],
    group("Web", ids=[A]),
    group("Web", group("Blue", ids=[A]), servers=[{"id": A}]),
    *(b"<html>Bad gateway</html>", b""),
]
STATUSES = [200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 429, 500, 502, 503]
HEADERS = (
    *(b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Encoding: gzip"),
    *(b"Content-Encoding: deflate", b"Connection: close", b"Retry-After: 1"),
    b"Date: Sun, 09 Sep 2001 01:46:40 GMT",
)
LINES = (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n", b"0\r\n", http(429)[:-2])
PIECES = [
    *(line + b"\r\n" for line in HEADERS + LINES),
    *(b"\n", b"\r\n\r\n", b"\x00", b"[", b'"isQueued":true', b"\xff\xfe", b"-1", b"9" * 30),
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
            return http(status, gzip.compress(content), f"{headers}Content-Encoding: gzip\r\n")
        case 1:
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
            head = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n"
            return f"{head}{headers}\r\n".encode() + chunks
        case 2:
            return http(status, content, headers) + whole(random, usual)
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


def plain_body(data: bytes) -> bytes:
    """The body of what is one plain answer; nothing for other bytes."""
    headers = rb"(?:Connection: close\r\n|Retry-After: \d\r\n)?"
    form = rb"HTTP/1\.1 [2-5]\d\d X\r\nContent-Length: (\d+)\r\n%b\r\n(.*)" % headers
    found = re.fullmatch(form, data, re.DOTALL)
    return found[2] if found and int(found[1]) == len(found[2]) else b""


def says_queued(data: bytes) -> bool:
    """Return whether bytes are one plain answer whose array says that something is queued."""
    with suppress(ValueError):
        content = json.loads(plain_body(data))
        array = content if isinstance(content, list) else [content]
        return any(isinstance(item, dict) and item.get("isQueued") is True for item in array)
    return False


def reset(session: Session, server: Loopback, answers: list[bytes]) -> None:
    answer = session.reset(A, B)
    sent = answers[: len(server.requests)]
    assert [result.server for result in answer.results] == [A, B]
    if answer.sending is Sending.NOT_SENT:
        assert answer.error is not None
        assert not any(map(says_queued, sent))
    # each but the last was refused for being too early
    assert server.posts <= 3
    for refusal in sent[:-1]:
        assert re.search(rb"HTTP/1\.[01] +429\b", refusal)  # a 100 may stand before it
        assert not says_queued(refusal)
    if any(result.state == "queued" for result in answer.results):
        assert answer.sending is Sending.SENT


def reads(session: Session, server: Loopback, answers: list[bytes]) -> None:
    for number in range(10):
        with suppress(ClcError):
            status = session.client.operation_status(Operation(f"wa1-{number}", PATH))
            body = plain_body(answers[: len(server.requests)][-1])
            if isinstance(status, OperationStatus) and body:
                assert status.word in body.decode(errors="replace")
    assert session.client.server("ALIAS", A).server == A
    assert isinstance(session.client.group_name("ALIAS", ROOT), str | None)
    with suppress(ClcError):
        found = session.client.groups("ALIAS", detailed=bool(len(answers[0]) % 2))
        assert all(server in {A, B} for group in found for server in group.servers)
    assert server.posts == 0


def log_in(session: Session, server: Loopback, _answers: list[bytes]) -> None:
    with suppress(ClcError):
        assert isinstance(session.client.log_in("demo", "password"), Credential)
    assert server.posts == 1


@pytest.mark.parametrize(
    ("call", "usual", "share"), [(reset, RESETS, 0.5), (reads, WORDS, 0.4), (log_in, BODIES, 0.1)]
)
def test_any_bytes_end_in_what_is_certain(
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Session, Loopback, list[bytes]], None],
    usual: Sequence[object],
    share: float,
) -> None:
    monkeypatch.setattr(api, "ANSWER_SECONDS", WAITING)
    monkeypatch.setattr(api, "REQUEST_SECONDS", WAITING)
    monkeypatch.setattr(api, "LOOK_SECONDS", WAITING)
    random = Random(f"{SEED} {call.__name__}")
    deadline = time.monotonic() + SECONDS * share
    with loopback() as server:
        while time.monotonic() < deadline:
            answers = [mutated(random, usual) for _ in range(20)]
            server.script[:] = answers
            server.requests.clear()
            began = time.monotonic()
            call(Session(server.url), server, answers)
            assert time.monotonic() - began < LONGEST_CASE, answers
