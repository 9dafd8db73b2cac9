import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
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
    ("status", "header"),
    [
        ("411", "Transfer-Encoding: chunked"),
        ("411", "Content-Length: -1"),
        ("411", "Content-Length: x"),
        ("413", "Content-Length: 99999999999"),
    ],
)
def test_a_body_of_unknown_or_absurd_length_is_refused(
    sandbox: Sandbox, status: str, header: str
) -> None:
    answer = sandbox.raw("POST /v2/authentication/login HTTP/1.1", header)
    assert answer.split()[1] == status


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


LOGIN, USER = "/v2/authentication/login", '{"username": "demo", "password": "demo"}'
WRONG = '{"username": "demo", "password": "wrong"}'
OWN = ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"]
FOREIGN = ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1{port}"]
FOREIGN += ["localhost.evil.example:{port}", "127.0.0.1:{port}.evil.example"]


PATH = "/v2/datacenters/ALIAS"
ME = "127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("status", "target", "hosts"),
    [
        *((401, PATH, [host]) for host in OWN),
        *((421, PATH, [host]) for host in FOREIGN),
        (421, PATH, []),
        (421, PATH, [ME, "evil.example"]),
        (401, f"{PATH}?http://evil.example/", [ME]),
        *((401, f"{scheme}://{host}{PATH}", [ME]) for host in OWN for scheme in ("http", "HTTP")),
        (421, f"http://{ME}{PATH}", ["evil.example"]),
        *((421, f"http://{host}{PATH}", [ME]) for host in (*FOREIGN, f"demo@{ME}", "[", f"{ME}?")),
    ],
)
def test_it_answers_to_its_own_names_and_to_no_others(
    sandbox: Sandbox, status: int, target: str, hosts: list[str]
) -> None:
    answer = sandbox.raw(f"GET {target} HTTP/1.1", *(f"Host: {host}" for host in hosts))
    assert int(answer.split()[1]) == status


def test_another_host_has_no_effect_and_is_told_why(sandbox: Sandbox) -> None:
    answer = sandbox.ask("POST", RESET, A, Host="evil.example")
    message = f"This sandbox is {sandbox.server.url}, and no other host."
    assert (answer.status, json.loads(answer.body)) == (421, {"message": message})
    assert sandbox.cloud.servers["WA1ALIASWB01"].resets == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("Origin", value)
            for value in ("https://evil.example", "null", "", "http://localhost:1")
        ),
        *(("Sec-Fetch-Site", value) for value in ("cross-site", "same-site")),
    ],
)
def test_another_site_can_not_lock_the_user(sandbox: Sandbox, name: str, value: str) -> None:
    for _ in range(3):
        assert sandbox.ask("POST", LOGIN, WRONG, **{name: value}).status == 403
    assert sandbox.ask("POST", LOGIN, USER).status == 200


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_a_page_of_its_own_would_be_answered(sandbox: Sandbox, site: str) -> None:
    for host in ("127.0.0.1", "localhost"):
        headers = {"Origin": f"http://{host}:{sandbox.port}", "Sec-Fetch-Site": site}
        assert sandbox.ask("GET", PATH, **headers).status == 200


def test_on_the_port_of_http_its_name_is_enough() -> None:
    assert own_hosts(80) == {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"}
    assert own_hosts(8080) == {"127.0.0.1:8080", "localhost:8080"}


@pytest.mark.parametrize("reason", [OSError, None])
def test_where_the_kernel_does_not_tell_the_process_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, reason: type[OSError] | None
) -> None:
    def refused(_process: int) -> int:
        assert reason
        raise reason

    signals: list[int] = []

    def kill(process: int, signum: int) -> None:
        signals.append(signum)
        if len(signals) == 2:
            raise PermissionError  # somebody else's, but there
        if len(signals) == 3:
            raise ProcessLookupError(process)

    if reason:
        monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    else:
        monkeypatch.delattr(os, "pidfd_open", raising=False)  # not on Linux
    monkeypatch.setattr(os, "kill", kill)
    wait_for_the_end_of(7)
    assert signals == [0, 0, 0]


BESIDE = """
import os, sys, time
from random import Random
from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.sandbox.server import Server, serve_beside
server = Server(Cloud(Behaviour(), time.time, Random()), port=0, latency=0, log=print)
quiet, path, *command = sys.argv[1:]
environ = {**os.environ, "URL": server.url}
def clean_up():
    if os.environ.get("MARK"):
        open(os.environ["MARK"], "w").close()
try:
    serve_beside(server, path, command, environ, quiet=quiet == "quiet", clean_up=clean_up)
except OSError as error:
    sys.exit(error.strerror)
"""
ASK = """
import os, urllib.request
assert not os.path.exists(os.environ["MARK"])
urllib.request.urlopen(os.environ["URL"] + "/v2/nothing")
"""


def beside(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BESIDE, *arguments], capture_output=True, check=False, text=True
    )


@pytest.mark.parametrize("quiet", ["quiet", "aloud"])
def test_a_command_is_served_until_it_ends_and_then_all_is_cleaned_up(
    quiet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    result = beside(quiet, sys.executable, "python", "-c", ASK)
    assert result.returncode == 1
    assert "HTTP Error 404" in result.stderr
    wait_until((tmp_path / "mark").exists)


def test_a_script_without_a_first_line_is_run_by_the_shell_and_a_folder_can_not_be_run(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3')
    script.chmod(0o755)
    result = beside("quiet", str(script), "script", "word")
    assert (result.returncode, result.stdout) == (3, "word\n")
    assert beside("quiet", str(tmp_path), "x").stderr == "Permission denied\n"
