"""The way to the API as users have it: certificates, proxies, addresses."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
import trustme

from tests.fakes import Loopback, http, jwt, loopback, queued, run_clc, tls_with

A = "WA1ALIASWB01"
QUEUED = http(200, [queued(A, "wa1-12345")])
DONE = http(200, {"status": "succeeded"}, "Connection: close\r\n")
ROW = f"{A}\tqueued\twa1-12345\t\n"
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


def reset(server: Loopback, *options: str, **variables: str) -> tuple[int, str, str]:
    environment = {"CLC_BASE_URL": server.url, "CLC_TOKEN": TOKEN, **variables}
    result = run_clc("reset", A, *options, env=environment)
    assert TOKEN not in result.stdout + result.stderr
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_private_ca_is_trusted_through_ssl_cert_file(
    ca: trustme.CA, trusted: dict[str, str], host: str
) -> None:
    with loopback(QUEUED, DONE, tls=tls_with(ca.issue_cert(host)), host=host) as server:
        code, shown, _ = reset(server, "--wait", **trusted)
    assert (code, shown) == (0, f"{A}\tsucceeded\twa1-12345\t\n")
    assert len(server.requests) == 2


def test_without_it_nothing_is_sent_and_the_reason_is_named(ca: trustme.CA) -> None:
    with loopback(QUEUED, tls=tls_with(ca.issue_cert("127.0.0.1"))) as server:
        code, shown, said = reset(server)
    assert (code, shown, server.requests) == (5, "", [])
    assert "certificate verify failed: unable to get local issuer certificate" in said
    assert "No server was reset." in said


def test_an_expired_certificate_is_refused(ca: trustme.CA, trusted: dict[str, str]) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with loopback(QUEUED, tls=tls_with(ca.issue_cert("127.0.0.1", not_after=yesterday))) as server:
        code, shown, said = reset(server, **trusted)
    assert (code, shown, server.requests) == (5, "", [])
    assert "certificate has expired" in said


def test_a_certificate_of_another_host_is_refused(ca: trustme.CA, trusted: dict[str, str]) -> None:
    with loopback(QUEUED, tls=tls_with(ca.issue_cert("api.example.com"))) as server:
        code, shown, said = reset(server, **trusted)
    assert (code, shown, server.requests) == (5, "", [])
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in said


def test_ipv6_loopback_may_do_without_tls() -> None:
    with loopback(QUEUED, host="::1") as server:
        assert reset(server)[:2] == (0, ROW)


# --- proxies -----------------------------------------------------------------------------------


class Proxy(ThreadingTCPServer):
    """Opens tunnels, and remembers what it saw in clear."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Tunnel)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Tunnel(StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.server.seen.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        with create_connection((host.strip("[]"), int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(there, self.connection), daemon=True)
            back.start()
            pass_on(self.connection, there)
            back.join()


def pass_on(here: socket, there: socket) -> None:
    try:
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(SHUT_WR)
    except OSError:
        pass  # whoever it was has gone


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Proxy]:
    with Proxy() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def https(ca: trustme.CA) -> ssl.SSLContext:
    return tls_with(ca.issue_cert("127.0.0.1"))


def test_a_proxy_carries_the_reset_and_the_polls_and_reads_neither(
    https: ssl.SSLContext, trusted: dict[str, str], proxy: Proxy
) -> None:
    with loopback(QUEUED, DONE, tls=https) as server:
        code, shown, _ = reset(server, "--wait", HTTPS_PROXY=proxy.url, **trusted)
    assert (code, shown) == (0, f"{A}\tsucceeded\twa1-12345\t\n")
    place = server.url.removeprefix("https://").encode()
    assert [head.splitlines()[0] for head in proxy.seen] == [b"CONNECT %b HTTP/1.1" % place] * 2
    assert TOKEN.encode() not in b"".join(proxy.seen)


def test_a_proxy_is_left_out_where_no_proxy_says_so(
    https: ssl.SSLContext, trusted: dict[str, str], proxy: Proxy
) -> None:
    with loopback(QUEUED, tls=https) as server:
        code, shown, _ = reset(
            server, HTTPS_PROXY=proxy.url, NO_PROXY="example.com,127.0.0.1", **trusted
        )
    assert (code, shown, proxy.seen) == (0, ROW, [])


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_a_dead_proxy_is_named_as_the_reason_and_nothing_is_sent(
    https: ssl.SSLContext, trusted: dict[str, str], name: str
) -> None:
    with serving() as gone:
        url = gone.url.replace("//", "//someone:s3cret-of-theirs@")
    with loopback(QUEUED, tls=https) as server:
        code, shown, said = reset(server, **{name: url}, **trusted)
    assert (code, shown, server.requests) == (5, "", [])
    assert "through the proxy named in the environment, was not reached" in said
    assert "s3cret" not in said
