import gzip
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, RemoteDisconnected
from random import Random
from typing import NamedTuple, Self

import pytest

from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.sandbox.server import Server, own_hosts, wait_for_the_end_of
from tests.fakes import wait_until


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Sandbox:
    """A served cloud, and the lines of its log."""

    def __init__(self, behaviour: Behaviour, latency: float = 0.0) -> None:
        self.log: list[str] = []
        self.cloud = Cloud(behaviour, time.time, Random(1))
        self.server = Server(self.cloud, port=0, latency=latency, log=self.log.append)
        self.port = self.server.server_address[1]
        self.connection = HTTPConnection("127.0.0.1", self.port, timeout=10)

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.connection.close()
        self.server.shutdown()
        self.server.server_close()

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.cloud.token()}", **headers}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def raw(self, *lines: str) -> str:
        """Send a request line and headers as they are; `{port}` is the server's."""
        request = "\r\n".join([*lines, "Connection: close", "", ""])
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request.replace("{port}", str(self.port)).encode())
            return connection.makefile("rb").read().decode()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Behaviour(servers=50)) as running:
        yield running


RESET = "/v2/operations/ALIAS/servers/reset"
A = '["WA1ALIASWB01"]'


def test_one_connection_serves_many_requests_and_each_is_logged() -> None:
    with Sandbox(Behaviour(), latency=0.1) as sandbox:
        began = time.monotonic()
        answer = sandbox.ask("POST", RESET, A)
        assert json.loads(answer.body)[0]["isQueued"] is True
        assert answer.headers["Content-Type"].startswith("application/json")
        missing = sandbox.ask("GET", "/v2/nothing")
        assert (missing.status, missing.headers.get("Content-Type")) == (404, None)
        assert time.monotonic() - began >= 0.2
        assert sandbox.server.server_address[0] == "127.0.0.1"
        first, second = sandbox.log
    assert re.fullmatch(f"POST {RESET} 200 .* ms 1 of 1 queued", first)
    assert second.startswith("GET /v2/nothing 404 ")


def test_a_long_answer_is_compressed_for_who_accepts_that(sandbox: Sandbox) -> None:
    path = f"/v2/groups/ALIAS/{next(iter(sandbox.cloud.groups))}"
    plain = sandbox.ask("GET", path)
    small = sandbox.ask("GET", path, **{"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    assert len(small.body) < len(plain.body)
    assert gzip.decompress(small.body) == plain.body


def test_a_lost_answer_is_a_closed_connection() -> None:
    with Sandbox(Behaviour(lose_answer=True)) as sandbox:
        with pytest.raises(RemoteDisconnected):
            sandbox.ask("POST", RESET, A)
        assert sandbox.cloud.servers["WA1ALIASWB01"].resets == 1
        assert "the answer is lost" in sandbox.log[0]


@pytest.mark.parametrize(
    "header", ["Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: x"]
)
def test_a_body_of_unknown_length_is_refused(sandbox: Sandbox, header: str) -> None:
    assert sandbox.raw(f"POST {LOGIN} HTTP/1.1", header).split()[1] == "411"


def test_what_is_no_http_is_answered_and_logged(sandbox: Sandbox) -> None:
    assert "400" in sandbox.raw("\x16\x03\x01")
    assert sandbox.log


def test_a_client_that_goes_away_is_one_line_in_the_log(sandbox: Sandbox) -> None:
    connection = socket.create_connection(("127.0.0.1", sandbox.port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.sendall(b"POST /v2/authentication/login HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
    connection.close()  # a reset of the connection, not an end
    wait_until(lambda: sandbox.log)
    assert "connection lost: ConnectionResetError" in sandbox.log[0]


def test_an_answer_has_one_date_and_that_is_the_clouds() -> None:
    with Sandbox(Behaviour(clock_skew=-86400)) as sandbox:
        for request in (
            ["GET /v2/nothing HTTP/1.1", "Host: 127.0.0.1:{port}"],
            ["GET /v2/nothing HTTP/1.1", "Host: evil.example"],
        ):
            (date,) = re.findall(r"(?m)^Date: (.*)\r$", sandbox.raw(*request))
            behind = time.time() - parsedate_to_datetime(date).timestamp()
            assert 86400 <= behind < 86460


LOGIN, USER = "/v2/authentication/login", '{"username": "demo", "password": "demo"}'
WRONG = '{"username": "demo", "password": "wrong"}'
OWN = ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"]
FOREIGN = ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1{port}"]
FOREIGN += ["localhost.evil.example:{port}", "127.0.0.1:{port}.evil.example"]


@pytest.mark.parametrize(
    ("status", "hosts"),
    [
        *((401, [host]) for host in OWN),
        *((421, [host]) for host in FOREIGN),
        (421, []),
        (421, [OWN[0], "evil.example"]),
    ],
)
def test_it_answers_to_its_own_names_and_to_no_others(
    sandbox: Sandbox, status: int, hosts: list[str]
) -> None:
    lines = (f"Host: {host}" for host in hosts)
    answer = sandbox.raw("GET /v2/datacenters/ALIAS HTTP/1.1", *lines)
    assert int(answer.split()[1]) == status


def test_another_host_has_no_effect_and_is_told_why(sandbox: Sandbox) -> None:
    answer = sandbox.ask("POST", RESET, A, Host="evil.example")
    message = f"This sandbox is {sandbox.server.url}, and no other host."
    assert (answer.status, json.loads(answer.body)) == (421, {"message": message})
    assert sandbox.cloud.servers["WA1ALIASWB01"].resets == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Origin", value) for value in ("https://evil.example", "null", "")),
        *(("Sec-Fetch-Site", value) for value in ("cross-site", "same-site", "same-origin")),
    ],
)
def test_a_web_page_can_not_lock_the_user(sandbox: Sandbox, name: str, value: str) -> None:
    for _ in range(3):
        assert sandbox.ask("POST", LOGIN, WRONG, **{name: value}).status == 403
    assert sandbox.ask("POST", LOGIN, USER, **{"Sec-Fetch-Site": "none"}).status == 200


def test_on_the_port_of_http_its_name_is_enough() -> None:
    assert own_hosts(80) == {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"}
    assert own_hosts(8080) == {"127.0.0.1:8080", "localhost:8080"}


def test_where_the_kernel_does_not_tell_the_process_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = iter([None, PermissionError, ProcessLookupError])  # there; another user's; gone
    looks: list[tuple[int, int]] = []

    def kill(process: int, signum: int) -> None:
        looks.append((process, signum))
        if error := next(outcomes):
            raise error

    monkeypatch.delattr(os, "pidfd_open", raising=False)  # as elsewhere than on Linux
    monkeypatch.setattr(os, "kill", kill)
    wait_for_the_end_of(7)
    assert looks == [(7, 0)] * 3
