import gzip
import json
import socket
import ssl
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import respx
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from respx import Router

from clc_reset.api.transport import Answer, NoAnswer
from clc_reset.errors import ClcError, UnreachableError, UsageError
from clc_reset.models import Operation, OperationStatus, PollFailure, ResetAnswer, Sending
from tests.api.session import (
    DATE,
    NOWHERE,
    PATH,
    QUEUED,
    ROOT,
    WA1,
    WALL_CLOCK,
    Session,
    listening,
    states,
    transport,
)
from tests.builders import ORIGIN, A, B
from tests.fakes import NEVER, Loopback, http, jwt, loopback, refused
from tests.machine import Caplog, Patch

DEAF = "https://127.0.0.1:1"
GET = ("/v2/x", 60.0)


def problem_of(answer: ResetAnswer) -> str:
    """Return the message of a reset that wasn't sent."""
    assert answer.sending is Sending.NOT_SENT
    assert isinstance(answer.error, UnreachableError)
    return answer.error.message


# --- the way there -----------------------------------------------------------------------------


@contextmanager
def tls_server() -> Iterator[tuple[Loopback, trustme.CA]]:
    """A loopback server with a certificate of a private CA."""
    ca, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    with loopback(http(200, [QUEUED]), tls=tls) as server:
        yield server, ca


def test_ssl_cert_file_makes_a_certificate_trusted(monkeypatch: Patch, tmp_path: Path) -> None:
    with tls_server() as (server, ca):
        session = Session(server.url)
        answer = session.reset()
        with pytest.raises(UnreachableError) as raised:
            session.client.groups("ALIAS")
        poll = session.client.operation_status(WA1)
        assert (session.inbox.pauses, server.requests) == ([], [])
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert states(Session(server.url).reset(A)) == ["queued"]
    reason = "certificate verify failed: unable to get local issuer certificate"
    assert problem_of(answer) == raised.value.message == f"Can't reach {server.url}: {reason}."
    assert answer.error
    assert answer.error.hint == raised.value.hint
    assert "SSL_CERT_FILE" in raised.value.hint
    assert poll == PollFailure(f"{reason} (SSL_CERT_FILE can name a private CA)", unreachable=True)


def test_another_failure_of_tls_is_tried_three_times() -> None:
    def converse(connection: socket.socket) -> None:
        connection.sendall(b"220 no TLS here\r\n")
        connection.recv(65536)

    with listening(converse, times=3) as place:
        assert ": TLS failed: " in problem_of(Session(f"https://{place}").reset())


def test_a_chain_of_causes_may_lead_back_to_where_it_began(api_ctl_io: Router) -> None:
    first, second = httpx.ConnectError("refused"), OSError("below it")
    first.__context__, second.__context__ = second, first
    api_ctl_io.post().mock(side_effect=first)
    assert problem_of(Session().reset()) == f"Can't reach {ORIGIN}: refused."


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_truststore_looks_where_openssl_finds_nothing(monkeypatch: Patch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda _context: None)
    with tls_server() as (server, _ca):
        assert "certificate verify failed" in problem_of(Session(server.url).reset())


def test_a_bad_ssl_cert_file_is_one_message(monkeypatch: Patch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(UnreachableError, match=r"SSL_CERT_FILE names /nowhere.pem.*\w\.$"):
        Session(DEAF)


def test_a_host_that_can_not_be_one_is_a_usage_error_or_not_reached() -> None:
    for host in ("127.0.0.256", "[1]", "127.999.1.1:1"):
        with pytest.raises(UsageError, match="CLC_BASE_URL can't be used"):
            Session(f"https://{host}")
    assert problem_of(Session("https://xn--a").reset())


@pytest.mark.parametrize(
    ("answer", "scheme"),
    [
        *((http(502), "http://"), (NEVER, "http://")),
        *[
            (f"HTTP/1.1 407 Not {echo}\r\n\r\n".encode(), "")
            for echo in ("s3cret/x", "dXNlcjpzM2NyZXQveA==", "s3cret%2Fx")
        ],
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_tried_three_times_and_its_password_is_not_shown(
    monkeypatch: Patch, answer: bytes, scheme: str, log: Caplog
) -> None:
    with loopback(answer) as proxy:
        address = f"user:s3cret%2Fx@{proxy.url.removeprefix('http://')}"
        monkeypatch.setenv("https_proxy", scheme + address)
        problem = problem_of(Session(DEAF).reset())
    assert "through the proxy named in the environment: " in problem
    for words in ("407 Not ", "[secret]"):
        assert (words in problem) is (b"407" in answer)
    assert "s3cret" not in f"{problem} {log.messages}"
    heads = [request.partition(b" HTTP")[0] for request in proxy.requests]
    assert heads == [b"CONNECT 127.0.0.1:1"] * 3


@pytest.mark.parametrize(
    "proxy",
    ["socks5://127.0.0.1:1", "http://127.0.0.1:x", "ftp://127.0.0.1", "http://user:s3cret/x@proxy"],
)
def test_a_proxy_that_can_not_be_used_is_one_message(monkeypatch: Patch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UnreachableError, match="proxy named in the environment") as raised:
        Session(DEAF)
    assert "s3cret" not in str(raised.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with loopback(http(200, [QUEUED])) as server:
        assert states(Session(server.url).reset(A)) == ["queued"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_proxy_on_this_machine_serves_a_loopback_url(monkeypatch: Patch, host: str) -> None:
    with loopback(http(200, [QUEUED]), host=host) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert states(Session(NOWHERE).reset(A)) == ["queued"]


def test_a_plain_loopback_url_shows_its_token_to_no_other_machine(monkeypatch: Patch) -> None:
    with loopback(http(200, [QUEUED])) as server:
        for proxy in (
            *("http://user:password@proxy.example.com:3128", "socks5://proxy.example.com"),
            *("http://127.0.0.1.example.com", "http://evil#@127.0.0.1", "http://evil/@127.0.0.1"),
            *("evil?@127.0.0.1:80", "http://127.0.0.1:80@evil"),
        ):
            monkeypatch.setenv("all_proxy", proxy)
            assert states(Session(server.url).reset(A)) == ["queued"], proxy


@pytest.mark.parametrize(
    ("origin", "exempting", "others"),
    [
        ("http://127.0.0.1", ["localhost,127.0.0.1,[::1]"], []),
        ("http://127.0.0.1:81", ["127.0.0.1:81"], ["127.0.0.1:82"]),
        ("http://[::1]:8080", ["x, [::1]", "[::1]:8080", "::1"], ["[::1]:8081"]),
        (
            "https://api.example:8443",
            ["API.example:8443", "api.example", ".example"],
            ["api.example:443"],
        ),
        ("https://api.example", ["api.example:443", "*"], ["pi.example", ""]),
    ],
)
def test_no_proxy_names_hosts_with_and_without_ports_and_brackets(
    monkeypatch: Patch, origin: str, exempting: list[str], others: list[str]
) -> None:
    monkeypatch.setenv("all_proxy", NOWHERE)
    for value in exempting + others:
        monkeypatch.setenv("no_proxy", value)
        assert ("proxy" in transport(origin).way) is (value in others), value


# --- links -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "path"),
    [
        *[(f"{origin}/v2/x", "/v2/x") for origin in (ORIGIN, f"{ORIGIN}:443", ORIGIN.upper())],
        *(("/v2/x y?z=1", "/v2/x%20y?z=1"), ("v2/x", "/v2/x"), ("/v2/../x", "/x"), ("", "/")),
        *[
            (href, None)
            for href in (
                *(f"https://example.com{PATH}", f"//example.com{PATH}", f"http://api.ctl.io{PATH}"),
                *(f"https://api.ctl.io:8443{PATH}", f"https://api.ctl.io/{PATH}", f"/./{PATH}"),
                *("https://api.ctl.io@example.com/", "https://user:password@api.ctl.io/"),
                *("https://api.ctl.io.example.com/", "https://[::1", "https://api.ctl.io:x/"),
                *("https://xn--a/x", "file:///etc/passwd", "javascript:alert(1)", "\x00"),
                # they come to hold a secret
                *("/v2/x?t0ken-of-ours", "/v2/T0KEN-of-ours.", "/v2/x?[secret]"),
                *("/v2/./proxy-secret", "/v2/\x1b[2J"),
            )
        ],
    ],
)
def test_only_a_link_to_the_api_without_a_secret_has_a_path(href: str, path: str | None) -> None:
    way = transport()
    way.hide("v2/proxy-secret")
    assert way.target(href) == path


PLACES = st.text() | st.from_regex(r"(?:/[A-Za-z0-9_-]+)+", fullmatch=True)


def test_what_any_link_comes_to_is_requested_of_the_api_as_it_is() -> None:
    way = transport(NOWHERE)

    @settings(max_examples=50)
    @given(PLACES | PLACES.map(lambda text: NOWHERE + text))
    def check(href: str) -> None:
        target = way.target(href)
        if target is not None:
            for url in (httpx.Request("GET", NOWHERE + target).url, httpx.URL(NOWHERE).join(href)):
                assert (url.host, url.port) == ("127.0.0.1", 1)
                assert url.raw_path == target.encode()

    check()


# --- what comes back ---------------------------------------------------------------------------


def test_a_body_that_drips_without_an_end_is_given_up() -> None:
    now = iter(range(0, 100_000, 100))
    with loopback(http(200, b"x" * 200_000)) as server:
        outcome = transport(server.url, lambda: float(next(now))).get(*GET)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == "no answer within 60 s"


BODY = json.dumps([QUEUED]).encode()
EMPTY = gzip.compress(b"", mtime=0)
OF_NOTHING = EMPTY[:10] + b"\x00\x00\x00\xff\xff" * 20_000  # blocks with nothing in them
SPACES = b" " * 50_000_000


@pytest.mark.parametrize(
    ("encoding", "packed", "problem"),
    [
        *[(name, gzip.compress(BODY), None) for name in ("gzip", "X-GZIP", "identity, gzip")],
        *(("identity", BODY, None), ("deflate", zlib.compress(BODY), None)),
        *[
            (encoding, b"x", f"the answer can't be decoded (Content-Encoding: {encoding})")
            for encoding in ("gzip, gzip", "gzip, deflate", "br", "zstd", "identity, br")
        ],
        ("gzip", gzip.compress(BODY)[:-8], "the answer can't be decoded (its end is missing)"),
        ("gzip", b"", "the answer (200) can't be read"),
        ("gzip", gzip.compress(b"[]" + b" " * 2**24), "the answer is larger than 16,384 KiB"),
    ],
)
def test_an_answer_is_unpacked_or_not(encoding: str, packed: bytes, problem: str | None) -> None:
    with loopback(http(200, packed, f"Content-Encoding: {encoding}\r\n")) as server:
        answer = Session(server.url).reset(A)
    assert (answer.problem, states(answer)) == (problem, ["unknown" if problem else "queued"])
    assert server.posts == 1
    assert b"\r\naccept-encoding: gzip\r\n" in server.requests[0].lower()


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(SPACES), gzip.compress(SPACES + b"\n\r" * 5), OF_NOTHING],
    ids=["spaces", "with padding", "of nothing"],
)
def test_a_poll_takes_64_kib_however_they_are_packed(packed: bytes) -> None:
    with loopback(http(200, packed, "Content-Encoding: gzip\r\n")) as server:
        tracemalloc.start()
        failure = Session(server.url).client.operation_status(WA1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert failure == PollFailure("the answer is larger than 64 KiB")
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2.0),
        (format_datetime(WALL_CLOCK.replace(minute=50), usegmt=True), 240.0),
        (format_datetime(WALL_CLOCK.replace(year=2000), usegmt=True), 0.0),
        ("Sun Sep  9 01:46:42 2001", 2.0),
        (f"Sun, 09 Sep 2001 01:48:45 GMT\r\n{DATE.rstrip()}", 5.0),  # by the clock of the API
        *[(text, 86400.0) for text in ("99999999999999999999", "9" * 5000)],
        (format_datetime(WALL_CLOCK.replace(year=9999), usegmt=True), 86400.0),
        *[(text, None) for text in ("soon", "", "-5", "\xb2", "Sun, 09 Sep 99999 01:46:42 GMT")],
    ],
)
def test_a_pause_that_is_asked_for_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    header = f"Retry-After: {text}\r\n"
    with loopback(http(503, headers=header)) as server:
        answer = transport(server.url).get(*GET)
    assert isinstance(answer, Answer)
    assert answer.retry_after == seconds


def test_any_date_can_be_read() -> None:
    way = transport(NOWHERE)
    with respx.mock(base_url=NOWHERE) as router:

        @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
        def check(text: str) -> None:
            router.get("/v2/x").respond(200, headers={"Date": text, "Retry-After": text})
            assert isinstance(way.get(*GET), Answer)

        check()


# --- a connection a request --------------------------------------------------------------------


def test_each_request_has_a_connection_of_its_own() -> None:
    """What came after an answer was once taken for the next: a failure as a success."""
    executing, succeeded, failed = (
        http(200, {"status": word}) for word in ("executing", "succeeded", "failed")
    )
    with loopback(executing + succeeded, failed, http(429), http(200, [QUEUED])) as server:
        session = Session(server.url)
        polls = [session.client.operation_status(WA1) for _ in range(2)]
        assert states(session.reset(A)) == ["queued"]
    assert polls == [OperationStatus("executing"), OperationStatus("failed")]
    assert len(server.requests) == 4  # this server takes one a connection
    assert all(b"\r\nconnection: close\r\n" in request.lower() for request in server.requests)


# --- secrets -----------------------------------------------------------------------------------


SECRET = "s3cret/T0ken"


@pytest.mark.parametrize(
    "answer",
    [
        http(500, {"message": "Not S3CRET%2fT0ken!"}),
        b"HTTP/1.1 s3cret/T0ken\r\n\r\n",
        b"s3cret/T0ken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ns3cret/T0ken",
        b"HTTP/1.1 200 OK\r\nEcho s3cret/T0ken\r\n\r\n",
        http(200, b"", "Content-Encoding: s3cret/T0ken\r\n"),
    ],
)
def test_a_token_or_a_password_in_an_answer_is_not_shown(answer: bytes, log: Caplog) -> None:
    with loopback(answer) as server:
        result = Session(server.url, token=SECRET).reset(A)
        with pytest.raises(ClcError, match="The login") as raised:
            Session(server.url, token="").client.log_in("demo", SECRET)
    assert result.problem
    assert "t0ken" not in f"{result} {raised.value} {log.messages}".lower()


TOKEN_FORMS = ["t0k/n-of-ours", "T0K/N-OF-OURS", "t0k%2Fn-of-ours", "dDBrL24tb2Ytb3Vycw=="]


@pytest.mark.parametrize("form", TOKEN_FORMS)
def test_the_token_is_in_nothing_that_comes_back(form: str, log: Caplog) -> None:
    link = {"rel": "status", "href": f"/v2/operations/alias/status/{form}", "id": form}
    result, odd = {**QUEUED, "links": [link]}, {**QUEUED, "server": form}
    details = {"powerState": form, "inMaintenanceMode": form}
    change = {"modifiedDate": form, "modifiedBy": form}
    entity: dict[str, object] = {"id": A, "details": details, "changeInfo": change}
    entity |= dict.fromkeys(("groupId", "status", "locationId"), form)
    script = [
        http(200, [result, odd, refused(B, f"Not with {form}")]),
        http(200, {"status": form}),
        http(404, {"message": form}),
        http(200, entity),
        http(500, {"exceptionMessage": form}),
        http(200, [{"id": form, "links": [{"rel": "group", "id": ROOT}]}]),
        http(200, {"id": form, "name": form, "type": form, "servers": [entity]}),
        http(200, {"userName": form, "accountAlias": form, "roles": [form], "bearerToken": "t"}),
    ]
    with loopback(*script) as server:
        client = Session(server.url, token=TOKEN_FORMS[0]).client
        answer = client.reset("ALIAS", [A, B], None)
        shown = [
            answer,
            *[client.operation_status(Operation("x", f"/{form}")) for _ in range(2)],
            *[client.server("ALIAS", A) for _ in range(2)],
            client.groups("ALIAS", detailed=True),
            client.log_in("demo", "password"),
        ]
    told = f"{shown} {log.messages}".lower()
    assert not any(form.lower() in told for form in TOKEN_FORMS)
    assert "[secret]" in str(shown[1])
    assert answer.results[0].operation
    assert answer.results[0].operation.path is None


def test_the_password_and_token_of_a_login_are_secrets_from_then_on(api_ctl_io: Router) -> None:
    token, password = jwt(), "correct horse battery staple"
    found = {"bearerToken": token, "userName": token[20:60], "roles": [token[9:]]}
    api_ctl_io.post("/v2/authentication/login").respond(200, json=found)
    echo = [{"message": f"{password.upper()} / {token[60:90]}"}]
    pieces = [{"message": token[at : at + 15]} for at in range(0, len(token), 15)]
    route = api_ctl_io.get(PATH)
    route.side_effect = [httpx.Response(500, json=content) for content in (echo, pieces)]
    client = Session(token="").client
    credential = client.log_in("demo", password)
    assert credential.token == token
    assert (credential.user, credential.roles) == ("[secret]", ("[secret]",))
    for shown in ("[secret] / [secret]", "[secret]"):
        assert client.operation_status(WA1) == PollFailure(f"the API answered 500: {shown}")
