import base64
import gzip
import html
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import respx
import trustme
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.api.transport import Answer, NoAnswer, Request, Transport
from clc_reset.errors import AuthenticationError, UnreachableError, UsageError
from clc_reset.models import NoNews, Operation, OperationStatus, ResetAnswer, Sending
from clc_reset.threads import Stop
from tests.api.session import (
    PATH,
    QUEUED,
    TOKEN,
    WALL_CLOCK,
    A,
    B,
    Session,
    keep_alive,
    states,
    transport,
)
from tests.conftest import ORIGIN
from tests.fakes import HANG, NEVER, Loopback, http, loopback, tls_with

WA1 = Operation("wa1-12345", PATH, "ALIAS")
GET = Request("GET", "/v2/x", None, 60.0)
HURRIED = Request("GET", "/v2/x", None, 0.2)
POST = Request("POST", "/v2/x", [], 0.5)


def problem_of(answer: ResetAnswer) -> str:
    """Why a reset that wasn't sent wasn't."""
    assert answer.sending is Sending.NOT_SENT
    assert isinstance(answer.error, UnreachableError)
    return answer.error.message


# --- the way there -----------------------------------------------------------------------------


@contextmanager
def tls_server(*script: bytes) -> Iterator[tuple[Loopback, trustme.CA]]:
    """A loopback server with a certificate of a private CA."""
    ca = trustme.CA()
    with loopback(*script, tls=tls_with(ca.issue_cert("127.0.0.1"))) as server:
        yield server, ca


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_name_that_does_not_resolve_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    session = Session()
    assert "Name or service not known" in problem_of(session.reset())
    assert len(session.exchanges) == 3


def test_a_certificate_that_nobody_vouches_for_is_tried_three_times_and_gets_no_post() -> None:
    with tls_server(http(200, [QUEUED])) as (server, _ca):
        session = Session(server.url)
        assert "certificate verify failed" in problem_of(session.reset())
    assert len(session.exchanges) == 3
    assert server.requests == []


def test_ssl_cert_file_names_a_certificate_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tls_server(http(200, [QUEUED])) as (server, ca):
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert states(Session(server.url).reset(A)) == ["queued"]
    assert server.posts == 1


def test_a_bad_ssl_cert_file_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(UnreachableError, match=r"SSL_CERT_FILE names /nowhere.pem.*\w\.$"):
        Session("https://127.0.0.1:1")


@pytest.mark.parametrize("host", ["127.0.0.256", "[1]", "127.999.1.1:1"])
def test_a_host_that_can_not_be_one_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageError, match="CLC_BASE_URL can't be used"):
        Session(f"https://{host}")


def test_a_host_that_turns_out_to_be_none_is_not_reached() -> None:
    assert problem_of(Session("https://xn--a").reset())


def test_a_connection_that_is_not_made_in_time_never_left(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().mock(side_effect=httpx.ConnectTimeout)
    assert "no connection within 10 s" in problem_of(Session().reset(A))


def test_a_proxy_that_is_not_there_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, deaf_port: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{deaf_port}")
    session = Session("https://127.0.0.1:1")
    assert "refused" in problem_of(session.reset())
    assert len(session.exchanges) == 3


@pytest.mark.parametrize("answer", [http(502), http(407), NEVER])
def test_a_proxy_that_opens_no_tunnel_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with loopback(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert problem_of(Session("https://127.0.0.1:1").reset())
    assert [request.split()[0] for request in proxy.requests] == [b"CONNECT"] * 3


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://127.0.0.1:x", "ftp://127.0.0.1"])
def test_a_proxy_that_can_not_be_used_is_one_message(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UnreachableError, match="proxy named in the environment"):
        Session("https://127.0.0.1:1")


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_a_proxy_may_be_named_without_its_scheme(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    with loopback(http(502)) as proxy:
        monkeypatch.setenv("https_proxy", prefix + proxy.url.removeprefix("http://"))
        problem = problem_of(Session("https://127.0.0.1:1").reset())
    assert "through the proxy named in the environment" in problem
    assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:1 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_proxy_on_this_machine_serves_a_plain_loopback_url(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with loopback(http(200, [QUEUED]), host=host) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert states(Session("http://127.0.0.1:1").reset(A)) == ["queued"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_proxy", "http://user:password@proxy.example.com:3128"),
        ("http_proxy", "http://127.0.0.1.example.com"),
        ("http_proxy", "http://evil?@127.0.0.1"),
        ("http_proxy", "http://evil#@127.0.0.1"),
        ("http_proxy", "http://evil/@127.0.0.1"),
        ("http_proxy", "evil?@127.0.0.1:80"),
        ("http_proxy", "http://127.0.0.1:80@evil"),
        ("all_proxy", "socks5://proxy.example.com"),
    ],
)
def test_a_plain_loopback_url_shows_its_token_to_no_other_machine(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with loopback(http(200, [QUEUED])) as server:
        assert states(Session(server.url).reset(A)) == ["queued"]


def test_no_proxy_is_obeyed_whatever_the_proxy_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,[::1]")
    with loopback(http(200, [QUEUED])) as server:
        assert states(Session(server.url).reset(A)) == ["queued"]


def test_nothing_is_out_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def slow(*_args: object, **_options: object) -> None:
        threading.Event().wait(0.1)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with transport("http://127.0.0.1:1") as way:
        outcome = way.exchange(POST, told.append)
    assert isinstance(outcome, NoAnswer)
    assert outcome.never_left
    assert told == []


# --- links -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/v2/operations/alias/status/wa1-1",
        "//example.com/v2/operations/alias/status/wa1-1",
        "http://api.ctl.io/v2/operations/alias/status/wa1-1",
        "https://api.ctl.io:8443/v2/operations/alias/status/wa1-1",
        "https://api.ctl.io@example.com/",
        "https://user:password@api.ctl.io/",
        "https://api.ctl.io.example.com/",
        "https://api.ctl.io//v2/operations/alias/status/wa1-1",
        "/.//v2/operations/alias/status/wa1-1",
        "//evil",
        "https://xn--a/x",
        "file:///etc/passwd",
        "https://[::1",
        "https://api.ctl.io:x/",
        "https://api.ctl.io:99999999/",
        "\x00",
        "/v2/\x1b[2J",
        "javascript:alert(1)",
    ],
)
def test_a_link_that_leads_away_from_the_api_has_no_path(href: str) -> None:
    with transport() as way:
        assert [way.target(href) for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    ("href", "path"),
    [
        (f"{ORIGIN}/v2/x", "/v2/x"),
        (f"{ORIGIN}:443/v2/x", "/v2/x"),
        ("HTTPS://API.CTL.IO/v2/x", "/v2/x"),
        ("/v2/x y?z=1", "/v2/x%20y?z=1"),
        ("v2/x", "/v2/x"),
        ("/v2/../x", "/x"),
        ("", "/"),
    ],
)
def test_a_link_to_the_api_has_the_path_that_is_requested(href: str, path: str) -> None:
    with transport() as way:
        assert way.target(href) == path


def test_a_plain_path_is_the_target_that_joining_it_to_the_origin_gives() -> None:
    with transport("http://127.0.0.1:1") as way:

        @given(st.from_regex(r"(?:/[A-Za-z0-9_-]+)+", fullmatch=True))
        def check(path: str) -> None:
            joined = httpx.URL("http://127.0.0.1:1").join(path)
            assert str(joined) == f"http://127.0.0.1:1{joined.raw_path.decode()}"
            assert way.target(path) == path == joined.raw_path.decode()

        check()


def test_what_any_link_comes_to_is_requested_of_the_api_as_it_is() -> None:
    with transport("http://127.0.0.1:1") as way:

        @given(st.text() | st.text().map(lambda text: f"http://127.0.0.1:1{text}"))
        def check(href: str) -> None:
            target = way.target(href)
            if target is not None:
                requested = httpx.Request("GET", f"http://127.0.0.1:1{target}").url
                assert (requested.host, requested.port) == ("127.0.0.1", 1)
                assert requested.raw_path == target.encode()

        check()


# --- what comes back ---------------------------------------------------------------------------


def test_an_answer_that_drips_without_an_end_is_given_up() -> None:
    released = threading.Event()
    posts: list[bytes] = []

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            posts.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not released.wait(0.01):
                connection.sendall(b"X: y\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with transport(origin, connect_seconds=0.5) as way:
            outcome = way.exchange(POST)
        released.set()
        thread.join()
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == "no answer within 1 s"
    assert not outcome.never_left
    assert len(posts) == 1


def test_a_body_that_drips_without_an_end_is_given_up() -> None:
    now = iter(range(0, 100_000, 100))
    with loopback(http(200, b"x" * 200_000)) as server:
        way = Transport(
            server.url, Stop(), lambda _told: None, lambda: float(next(now)), lambda: WALL_CLOCK
        )
        outcome = way.ask(GET)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == "no answer within 60 s"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "br", "zstd", "identity, br"])
def test_an_answer_packed_tighter_than_was_asked_for_is_not_unpacked(encoding: str) -> None:
    header = f"Content-Encoding: {encoding}\r\n"
    with loopback(http(200, b"x", header)) as server:
        answer = Session(server.url).reset()
    assert server.posts == 1
    assert b"\r\naccept-encoding: gzip\r\n" in server.requests[0].lower()
    assert states(answer) == ["unknown", "unknown"]
    assert (answer.problem or "").startswith("the answer can't be decoded (Content-Encoding: ")


BODY = json.dumps([QUEUED]).encode()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("X-GZIP", gzip.compress(BODY)),
        ("identity", BODY),
        ("identity, gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
    ],
)
def test_an_answer_is_unpacked(encoding: str, packed: bytes) -> None:
    with loopback(http(200, packed, f"Content-Encoding: {encoding}\r\n")) as server:
        assert states(Session(server.url).reset(A)) == ["queued"]


def test_an_empty_body_needs_no_unpacking() -> None:
    with loopback(http(204, b"", "Content-Encoding: gzip\r\n")) as server:
        assert Session(server.url).reset(A).problem == "the answer (204) can't be read"


def test_a_packed_answer_without_its_end_is_not_believed() -> None:
    packed = gzip.compress(BODY)[:-8]
    with loopback(http(200, packed, "Content-Encoding: gzip\r\n")) as server:
        problem = Session(server.url).reset(A).problem
    assert problem == "the answer can't be decoded (its end is missing)"


@pytest.mark.parametrize("padding", [b"", b"\n\r" * 5])
def test_a_poll_takes_64_kib_however_they_are_packed(padding: bytes) -> None:
    bomb = gzip.compress(b" " * 50_000_000 + padding)
    with loopback(http(200, bomb, "Content-Encoding: gzip\r\n")) as server:
        tracemalloc.start()
        (news,) = polls(server.url, 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert news == NoNews("the answer is larger than 64 KiB")
    assert peak < 10_000_000


def test_what_packs_nothing_is_too_large_as_well() -> None:
    empty = gzip.compress(b"", mtime=0)
    deflated = empty[:10] + b"\x00\x00\x00\xff\xff" * 20_000  # blocks with nothing in them
    with loopback(http(200, deflated, "Content-Encoding: gzip\r\n")) as server:
        (news,) = polls(server.url, 1)
    assert news == NoNews("the answer is larger than 64 KiB")


def test_16_mib_are_read_in_any_other_answer() -> None:
    with loopback(http(200, gzip.compress(b"[]" + b" " * 2**24), "Content-Encoding: gzip\r\n")) as (
        server
    ):
        assert "larger than 16,384 KiB" in (Session(server.url).reset(A).problem or "")


DAY = datetime.fromtimestamp(WALL_CLOCK, UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2.0),
        (format_datetime(DAY.replace(minute=50), usegmt=True), 240.0),
        (format_datetime(DAY.replace(year=2000), usegmt=True), 0.0),
        ("Sun Sep  9 01:46:42 2001", 2.0),
        ("99999999999999999999", 86400.0),
        ("9" * 5000, 86400.0),
        (format_datetime(DAY.replace(year=9999), usegmt=True), 86400.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("\xb2", None),
        ("Sun, 09 Sep 99999 01:46:42 GMT", None),
    ],
)
def test_a_pause_that_is_asked_for_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    header = f"Retry-After: {text}\r\n"
    with loopback(http(503, headers=header)) as server, transport(server.url) as way:
        answer = way.ask(GET)
    assert isinstance(answer, Answer)
    assert answer.retry_after == seconds


def test_a_pause_until_a_date_counts_by_the_clock_of_the_api() -> None:
    date = "Date: Sun, 09 Sep 2001 01:50:00 GMT\r\nRetry-After: Sun, 09 Sep 2001 01:50:05 GMT\r\n"
    with loopback(http(429, headers=date)) as server, transport(server.url) as way:
        answer = way.ask(GET)
    assert isinstance(answer, Answer)
    assert answer.retry_after == 5.0
    assert answer.date == datetime(2001, 9, 9, 1, 50, tzinfo=UTC)


def test_any_date_is_read_as_far_as_it_goes() -> None:
    origin = "http://127.0.0.1:1"
    with respx.mock(base_url=origin) as router, transport(origin) as way:

        @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40))
        def check(text: str) -> None:
            router.get("/v2/x").respond(200, headers={"Date": text, "Retry-After": text})
            assert isinstance(way.ask(GET), Answer)

        check()


# --- kept connections --------------------------------------------------------------------------


def status(word: str) -> bytes:
    return http(200, {"status": word})


def polls(url: str, number: int) -> list[object]:
    with Session(url).client as client:
        return [client.operation_status(WA1) for _ in range(number)]


def test_polls_keep_a_connection_that_is_clean() -> None:
    with keep_alive(*[status("executing")] * 5) as server:
        assert polls(server.url, 5) == [OperationStatus("executing")] * 5
    assert server.connections == [0] * 5


def test_each_of_two_polls_at_a_time_has_a_connection_of_its_own() -> None:
    both = threading.Barrier(2)
    with loopback(HANG) as server, transport(server.url) as way:

        def poll() -> None:
            both.wait(20)
            way.ask(HURRIED)

        threads = [threading.Thread(target=poll) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 2


def test_bytes_after_an_answer_are_no_answer_to_the_next_poll() -> None:
    """A failing operation was reported as succeeded."""
    with keep_alive(
        status("executing") + status("succeeded"), status("failed"), status("failed")
    ) as server:
        assert polls(server.url, 2) == [OperationStatus("executing"), OperationStatus("failed")]
    assert server.connections == [0, 0, 1]


def test_bytes_after_an_answer_and_then_the_end_are_no_answer() -> None:
    with keep_alive(status("executing") + status("succeeded"), NEVER, status("failed")) as server:
        assert polls(server.url, 2) == [OperationStatus("executing"), OperationStatus("failed")]
    assert server.connections == [0, 0, 1]


def test_bytes_after_an_answer_and_then_silence_are_no_answer() -> None:
    script = (status("executing") + status("succeeded"), HANG)
    with keep_alive(*script) as server, transport(server.url) as way:
        way.ask(GET)
        outcome = way.ask(HURRIED)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == "no answer within 0.2 s"
    assert server.connections == [0, 0]


@pytest.mark.parametrize("more", [status("succeeded"), b"HTTP/1.1 200", b"\r\n", b"x" * 100])
def test_bytes_that_come_later_close_the_connection(more: bytes) -> None:
    script = (status("executing"), status("failed"))
    with keep_alive(*script) as server, Session(server.url).client as client:
        client.operation_status(WA1)
        server.say(more)
        assert client.operation_status(WA1) == OperationStatus("failed")
    assert server.connections == [0, 1]


def test_a_connection_that_the_server_ended_is_made_anew() -> None:
    ends = status("executing").replace(b"HTTP/1.1", b"HTTP/1.0")
    with keep_alive(status("executing"), ends, ends) as server:
        assert polls(server.url, 2) == [OperationStatus("executing")] * 2


def test_a_poll_that_goes_on_after_the_end_keeps_no_connection() -> None:
    with keep_alive(status("executing"), status("executing")) as server:
        with transport(server.url) as way:
            pass
        assert isinstance(way.ask(GET), Answer)
        assert isinstance(way.ask(GET), Answer)
    assert server.connections == [0, 1]


def test_a_poll_that_fails_drops_its_connection() -> None:
    with keep_alive(b"SSH-2.0\r\n\r\n", status("failed")) as server:
        first, second = polls(server.url, 2)
    assert isinstance(first, NoNews)
    assert second == OperationStatus("failed")
    assert server.connections == [0, 1]


@pytest.mark.parametrize("answer", [NEVER, b"SSH-2.0\r\n\r\n"])
def test_a_poll_that_a_kept_connection_loses_is_asked_again_on_another(answer: bytes) -> None:
    with keep_alive(status("executing"), answer, status("failed")) as server:
        assert polls(server.url, 2) == [OperationStatus("executing"), OperationStatus("failed")]
    assert server.connections == [0, 0, 1]


def test_a_poll_is_asked_twice_at_the_most() -> None:
    with keep_alive(status("executing"), NEVER, NEVER) as server:
        _, news = polls(server.url, 2)
    assert isinstance(news, NoNews)
    assert server.connections == [0, 0, 1]


def test_kept_connections_are_checked_through_tls_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server_side = tls_with(ca.issue_cert("127.0.0.1"))
    script = [status("executing") + status("succeeded"), status("failed"), status("failed")]
    connections: list[int] = []

    def serve(listener: socket.socket) -> None:
        number = -1
        while script:
            raw, _ = listener.accept()
            number += 1
            with server_side.wrap_socket(raw, server_side=True) as connection:
                while script and connection.recv(65536):
                    connections.append(number)
                    connection.sendall(script.pop(0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        told = polls(f"https://127.0.0.1:{listener.getsockname()[1]}", 2)
        thread.join()
    assert told == [OperationStatus("executing"), OperationStatus("failed")]
    assert connections == [0, 0, 1]


# --- secrets -----------------------------------------------------------------------------------

SECRET = "s3cr/t+T0ken=ü\"'&<x>"
FORMS = [
    SECRET,
    SECRET.upper(),
    html.escape(SECRET),
    quote(SECRET),
    quote(SECRET, safe=""),
    json.dumps(SECRET),
    base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(f"user:{SECRET}".encode()).decode(),
    base64.b64encode(f"xuser:{SECRET}".encode()).decode(),
]


def is_hidden(told: object) -> bool:
    """Whether nothing of the secret is in a text, in whatever form it was sent."""
    shown = str(told)
    assert "[secret]" in shown
    return not any(form[6:-4].lower() in shown.lower() for form in FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_a_password_that_comes_back_in_any_form_is_not_shown(form: str) -> None:
    answer = http(400, {"message": f"Not {form}!"})
    with loopback(answer) as server, pytest.raises(AuthenticationError) as raised:
        Session(server.url, token="").client.log_in("demo", SECRET)
    assert is_hidden(raised.value)


def test_a_password_in_a_bad_status_line_is_not_shown() -> None:
    for line in (f"HTTP/1.1 {SECRET}\r\n\r\n", f"{SECRET}\r\n\r\n", f"HTTP/1.1 200 OK\r\n{SECRET}"):
        with loopback(line.encode()) as server:
            session = Session(server.url, token="")
            with pytest.raises(Exception, match="got no answer") as raised:
                session.client.log_in("demo", SECRET)
        assert "T0ken" not in f"{raised.value} {session.exchanges}"


TOKEN_FORMS = ["t0k/n-of-ours", "T0K/N-OF-OURS", "t0k%2Fn-of-ours", "dDBrL24tb2Ytb3Vycw=="]


def leaks(told: object) -> bool:
    return any(form.lower() in str(told).lower() for form in TOKEN_FORMS)


@pytest.mark.parametrize("form", TOKEN_FORMS)
def test_the_token_is_told_by_nothing_that_comes_back(form: str) -> None:
    link = {"rel": "status", "href": f"/v2/operations/alias/status/{form}", "id": form}
    entities = [
        {**QUEUED, "links": [link]},
        {**QUEUED, "server": form},
        {"server": B, "isQueued": False, "errorMessage": f"Not with {form}"},
    ]
    server_id = A.lower()
    details = {"powerState": form, "inMaintenanceMode": form}
    change = {"modifiedDate": form, "modifiedBy": form}
    entity = {"id": server_id, "groupId": form, "status": form, "locationId": form}
    entity |= {"details": details, "changeInfo": change}  # type: ignore[dict-item]
    root = "1" * 32
    group = {"id": form, "name": form, "type": form, "servers": [entity]}
    listed = [{"id": form, "links": [{"rel": "group", "id": root}]}]
    script = [
        http(200, entities),
        http(200, {"status": form}),
        http(404, {"message": form}),
        http(200, entity),
        http(500, {"exceptionMessage": form}),
        http(200, listed),
        http(200, group),
        http(200, {"userName": form, "accountAlias": form, "roles": [form], "bearerToken": "t"}),
    ]
    with loopback(*script) as server:
        session = Session(server.url, token=TOKEN_FORMS[0])
        client = session.client
        answer = client.reset_servers("ALIAS", [A, B])
        told = [
            answer,
            client.operation_status(Operation("x", f"/{form}")),
            client.operation_status(Operation("x", f"/{form}")),
            client.server("ALIAS", A),
            client.server("ALIAS", A),
            client.groups("ALIAS", detailed=True),
            client.log_in("demo", "password"),
        ]
        client.close()
    assert not leaks([told, session.exchanges, session.notes])
    assert "[secret]" in str(told[1])
    assert answer.results[0].operation
    assert answer.results[0].operation.path is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nEcho t0ken-of-ours\r\n\r\n",
        b"t0ken-of-ours\r\n\r\n",
        http(200, b"", "Content-Encoding: t0ken-of-ours\r\n"),
        http(500, {"message": "You sent t0ken-of-ours"}),
    ],
)
def test_an_answer_that_echoes_the_token_is_told_without_it(answer: bytes) -> None:
    with loopback(answer) as server:
        result = Session(server.url).reset(A)
    assert result.sending is Sending.MAYBE_SENT
    assert result.problem
    assert TOKEN not in f"{result}"


def test_a_token_is_not_searched_for_in_the_answers_structure() -> None:
    with loopback(http(200, [QUEUED])) as server:
        assert states(Session(server.url, token="server").reset(A)) == ["queued"]


def test_a_password_of_quotation_marks_leaves_the_words_of_the_api_alone(
    api_ctl_io: respx.Router,
) -> None:
    api_ctl_io.post().respond(400, json={"message": "Please try again."})
    with pytest.raises(AuthenticationError, match="Please try again"):
        Session(token="").client.log_in("demo", '""""')


@pytest.mark.parametrize("phrase", ["s3cret/x", "dXNlcjpzM2NyZXQveA==", "s3cret%2Fx"])
def test_the_password_of_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch, phrase: str) -> None:
    with loopback(f"HTTP/1.1 407 Not {phrase}\r\n\r\n".encode()) as proxy:
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("https_proxy", f"http://user:s3cret%2Fx@{address}")
        session = Session("https://127.0.0.1:1")
        problem = problem_of(session.reset())
    assert "[secret]" in problem
    assert "407 Not " in problem
    assert "s3cret" not in f"{problem} {session.exchanges} {session.notes}"


def test_the_password_of_a_proxy_that_can_not_be_used_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:s3cret/x@proxy:3128")
    with pytest.raises(UnreachableError) as raised:
        Session("https://127.0.0.1:1")
    assert "s3cret" not in str(raised.value)
