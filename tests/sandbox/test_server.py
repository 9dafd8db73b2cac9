import gzip
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from random import Random
from typing import Self

import pytest

from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.sandbox.server import Server, own_hosts, wait_for_the_end_of
from tests.fakes import wait_until


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

    def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        headers = {"Authorization": f"Bearer {self.cloud.token()}", **headers}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response, response.read()

    def raw(self, *lines: str) -> str:
        """Send a request line and headers as they are; `{port}` is the server's."""
        request = "\r\n".join([*lines, "Connection: close", "", ""])
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request.replace("{port}", str(self.port)).encode())
            return connection.makefile("rb").read().decode()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Behaviour()) as running:
        yield running


RESET = "/v2/operations/ALIAS/servers/reset"
A = '["WA1ALIASWB01"]'


def test_one_connection_serves_many_requests_and_each_is_logged() -> None:
    with Sandbox(Behaviour(), latency=0.1) as sandbox:
        began = time.monotonic()
        answer, body = sandbox.ask("POST", RESET, A)
        assert json.loads(body)[0]["isQueued"] is True
        assert answer.headers["Content-Type"].startswith("application/json")
        missing, _ = sandbox.ask("GET", "/v2/nothing")
        assert (missing.status, missing.headers.get("Content-Type")) == (404, None)
        assert time.monotonic() - began >= 0.2
        assert sandbox.server.server_address[0] == "127.0.0.1"
        first, second = sandbox.log
    assert re.fullmatch(f"POST {RESET} 200 .* ms 1 of 1 queued", first)
    assert second.startswith("GET /v2/nothing 404 ")


def test_a_long_answer_is_compressed_for_who_accepts_that(sandbox: Sandbox) -> None:
    path = f"/v2/groups/ALIAS/{next(iter(sandbox.cloud.groups))}"
    _, plain = sandbox.ask("GET", path)
    answer, small = sandbox.ask("GET", path, **{"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(small) < len(plain)
    assert gzip.decompress(small) == plain


def test_a_lost_answer_is_a_closed_connection() -> None:
    with Sandbox(Behaviour(lose_answer=True)) as sandbox:
        with pytest.raises(RemoteDisconnected):
            sandbox.ask("POST", RESET, A)
        assert sandbox.cloud.servers["WA1ALIASWB01"].resets == 1
        assert "the answer is lost" in sandbox.log[0]


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Length: -1"])
def test_a_body_of_unknown_or_absurd_length_is_refused(sandbox: Sandbox, header: str) -> None:
    for line, status in ((header, 411), ("Content-Length: 99999999999", 413)):
        answer = sandbox.raw("POST /v2/authentication/login HTTP/1.1", line)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert "Connection: close\r\n" in answer


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
            ["POST /v2/nothing HTTP/1.1", "Content-Length: x"],
        ):
            (date,) = re.findall(r"(?m)^Date: (.*)\r$", sandbox.raw(*request))
            behind = time.time() - parsedate_to_datetime(date).timestamp()
            assert 86400 <= behind < 86460


PATH = "/v2/datacenters/ALIAS"
ME = "127.0.0.1:{port}"
OWN = [ME, "LOCALHOST:{port}"]
FOREIGN = ["", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1{port}", f"{ME}.evil.example"]


@pytest.mark.parametrize(
    ("status", "target", "hosts"),
    [
        *((401, PATH, [host]) for host in OWN),
        *((421, PATH, [host]) for host in FOREIGN),
        (421, PATH, []),
        (421, PATH, [ME, "evil.example"]),
        (401, f"{PATH}?http://evil.example/", [ME]),
        *((401, f"HTTP://{host}{PATH}", [ME]) for host in OWN),
        (421, f"http://{ME}{PATH}", ["evil.example"]),
        *((421, f"http://{host}{PATH}", [ME]) for host in (*FOREIGN, f"demo@{ME}", "[", f"{ME}?")),
    ],
)
def test_it_answers_to_its_own_names_and_to_no_others(
    sandbox: Sandbox, status: int, target: str, hosts: list[str]
) -> None:
    answer = sandbox.raw(f"GET {target} HTTP/1.1", *(f"Host: {host}" for host in hosts))
    assert int(answer.split()[1]) == status
    is_told = f"This sandbox is {sandbox.server.url}, and no other host." in answer
    assert is_told == (status == 421)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (421, {"Host": "evil.example"}),
        *((403, {"Origin": site}) for site in ("http://localhost:1", "null", "")),
        *((403, {"Sec-Fetch-Site": site}) for site in ("cross-site", "same-site")),
        *((200, {"Sec-Fetch-Site": site}) for site in ("none", "same-origin")),
        *((200, {"Origin": f"http://{host}"}) for host in OWN),
    ],
)
def test_a_page_of_another_site_has_no_effect(
    sandbox: Sandbox, status: int, headers: dict[str, str]
) -> None:
    headers = {name: value.format(port=sandbox.port) for name, value in headers.items()}
    assert sandbox.ask("POST", RESET, A, **headers)[0].status == status
    assert sandbox.cloud.servers["WA1ALIASWB01"].resets == (status == 200)


def test_on_the_port_of_http_its_name_is_enough() -> None:
    assert own_hosts(80) == {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"}


@pytest.mark.parametrize("is_linux", [True, False])
def test_where_the_kernel_does_not_tell_the_process_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, *, is_linux: bool
) -> None:
    found: list[type[OSError] | None] = [None, PermissionError, ProcessLookupError]

    def look(process: int, _signum: int = 0) -> None:
        if problem := found.pop(0):
            raise problem  # the first is somebody else's process, but there

    if is_linux:
        monkeypatch.setattr(os, "pidfd_open", lambda _process: os.close(-1), raising=False)
    else:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(os, "kill", look)
    wait_for_the_end_of(7)
    assert found == []
