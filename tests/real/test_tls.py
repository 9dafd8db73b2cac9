"""The way to the API as users have it: certificates and proxies."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
import trustme

from tests.builders import A
from tests.fakes import Loopback, http, jwt, loopback, queued, run_clc, tls_with

QUEUED = http(200, [queued(A, "wa1-12345")])
DONE = http(200, {"status": "succeeded"}, "Connection: close\r\n")
SUCCEEDED = f"{A}\tsucceeded\twa1-12345"
TOKEN = jwt()


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(ca: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """What makes `clc` trust the CA."""
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return {"SSL_CERT_FILE": str(file)}


def reset(server: Loopback, **variables: str) -> tuple[int, str, str]:
    environment = {"CLC_BASE_URL": server.url, "CLC_TOKEN": TOKEN, **variables}
    result = run_clc("reset", A, "--wait", env=environment)
    assert TOKEN not in result.stdout + result.stderr
    columns = result.stdout.split("\t")[:3]  # server, state, operation
    return result.returncode, "\t".join(columns), result.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_private_ca_is_trusted_through_ssl_cert_file(
    ca: trustme.CA, trusted: dict[str, str], host: str
) -> None:
    with loopback(QUEUED, DONE, tls=tls_with(ca.issue_cert(host)), host=host) as server:
        assert reset(server, **trusted)[:2] == (0, SUCCEEDED)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("host", "days", "trusts", "words"),
    [
        ("127.0.0.1", 1, False, "verify failed: unable to get local issuer certificate"),
        ("127.0.0.1", -1, True, "certificate has expired"),
        ("api.example.com", 1, True, "mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
def test_any_other_certificate_is_refused_and_nothing_is_sent(
    ca: trustme.CA, trusted: dict[str, str], host: str, days: int, trusts: bool, words: str
) -> None:
    certificate = ca.issue_cert(host, not_after=datetime.now(UTC) + timedelta(days))
    with loopback(QUEUED, tls=tls_with(certificate)) as server:
        code, shown, stderr = reset(server, **(trusted if trusts else {}))
    assert (code, shown, server.requests) == (5, "", [])
    assert words in stderr
    assert "No server was reset." in stderr


class Tunnel(StreamRequestHandler):
    """Opens a tunnel, and remembers what it saw in clear."""

    seen: list[bytes] = []  # noqa: RUF012 - one test's

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.seen.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        with create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(there, self.connection), daemon=True)
            back.start()
            pass_on(self.connection, there)
            back.join()


def pass_on(here: socket, there: socket) -> None:
    with suppress(OSError):  # whoever it was has gone
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(SHUT_WR)


def test_a_proxy_carries_the_reset_and_the_polls_and_reads_neither(
    ca: trustme.CA, trusted: dict[str, str]
) -> None:
    tls = tls_with(ca.issue_cert("127.0.0.1"))
    with (
        ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy,
        loopback(QUEUED, DONE, tls=tls) as server,
    ):
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{proxy.server_address[1]}"
        assert reset(server, HTTPS_PROXY=url, **trusted)[:2] == (0, SUCCEEDED)
        proxy.shutdown()
    place = server.url.removeprefix("https://").encode()
    assert [head.splitlines()[0] for head in Tunnel.seen] == [b"CONNECT %b HTTP/1.1" % place] * 2
    assert TOKEN.encode() not in b"".join(Tunnel.seen)
