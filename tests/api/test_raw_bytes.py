"""Any bytes in answer to any request, held to what the server saw."""

import gzip
import json
import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc_reset.api import client as api
from clc_reset.errors import ClcError
from clc_reset.models import Credential, OperationStatus, Sending
from tests.api.session import QUEUED, REFUSED, ROOT, WA1, Session, datacenter, group
from tests.builders import A, B
from tests.fakes import Loopback, http, jwt, loopback
from tests.machine import Patch

Call = Callable[[Session, Loopback, list[bytes]], None]

BODIES: list[object] = [
    *([QUEUED, REFUSED], [QUEUED], [REFUSED, QUEUED], [REFUSED, {**REFUSED, "server": A}]),
    *(QUEUED, [], {"message": "An error has occurred."}, b"<html>Bad gateway</html>", b""),
    *({"status": "executing"}, {"status": "succeeded"}, {"status": "failed"}),
    *({"bearerToken": jwt(), "userName": "demo", "roles": ["X"]}, [datacenter("wa1")]),
    *(group("Web", ids=[A]), group("Web", group("Blue", ids=[A]), servers=[{"id": A}])),
]
STATUSES = [200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 429, 500, 502, 503]
HEADERS = [
    *("", "Connection: close\r\n", "Retry-After: 0\r\n", "Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n"),
    *("Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", "Content-Encoding: gzip\r\n"),
]
PIECES = [
    *(header.encode() for header in HEADERS),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"0\r\n\r\n", b"\n", b"\r\n\r\n", b"\x00", b"["),
    *(b'"isQueued":true', b"\xff\xfe", b"-1", b"9" * 30),
]


def packed(status: int, body: object) -> bytes:
    content = gzip.compress(json.dumps(body).encode(), mtime=0)
    return http(status, content, "Content-Encoding: gzip\r\n")


def cut(answer: bytes, at: int, piece: bytes, to: int) -> bytes:
    """An answer with a piece in the place of some of its bytes."""
    at %= len(answer)
    return answer[:at] + piece + answer[at + to :]


JSON = [body for body in BODIES if not isinstance(body, bytes)]
STATUS = st.sampled_from(STATUSES)
ANSWERS = st.builds(http, STATUS, st.sampled_from(BODIES), st.sampled_from(HEADERS))
ANSWERS |= st.builds(packed, STATUS, st.sampled_from(JSON))
PLACES = st.integers(0, 600)
ODD = st.builds(cut, ANSWERS, PLACES, st.sampled_from(PIECES), st.integers(0, 20) | st.just(9999))
BYTES = ANSWERS | ODD | st.binary() | st.builds(bytes.__add__, ANSWERS, ANSWERS)


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
    # on a busy machine a connection may be given up before a byte is sent on it
    sent = [
        answer for answer, asked in zip(answers, server.requests, strict=False) if asked.strip()
    ]
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


def reads_and_log_in(session: Session, server: Loopback, answers: list[bytes]) -> None:
    with suppress(ClcError):
        status = session.client.operation_status(WA1)
        if isinstance(status, OperationStatus) and (body := plain_body(answers[0])):
            assert status.word in body.decode()
    assert session.client.server("ALIAS", A).server == A
    assert isinstance(session.client.group_name("ALIAS", ROOT), str | None)
    with suppress(ClcError):
        found = session.client.groups("ALIAS", detailed=bool(len(answers[0]) % 2))
        assert all(shown.server in {A, B} for group in found for shown in group.servers)
    assert server.posts == 0
    with suppress(ClcError):
        assert isinstance(session.client.log_in("demo", "password"), Credential)
    assert server.posts == 1


@pytest.mark.parametrize(("call", "times"), [(reset, 200), (reads_and_log_in, 50)])
def test_any_bytes_end_in_what_is_certain(call: Call, times: int, monkeypatch: Patch) -> None:
    for name in ("ANSWER_SECONDS", "REQUEST_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(api, name, 3.0)  # a busy machine may need it; no answer here does

    @settings(max_examples=times)
    @given(st.lists(BYTES, min_size=13, max_size=13))
    def check(answers: list[bytes]) -> None:
        with loopback() as server:  # its own: a request that timed out may come to it late
            server.script[:] = answers
            call(Session(server.url), server, answers)

    check()
