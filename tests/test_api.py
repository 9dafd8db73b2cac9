import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import respx
import trustme
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.api import Api, may_be_repeated
from clc_reset.errors import (
    AuthenticationError,
    Interrupted,
    RefusedError,
    UnreachableError,
    UsageError,
)
from clc_reset.models import NoNews, Operation, OperationStatus, ResetAnswer
from clc_reset.sandbox.cloud import Cloud
from clc_reset.transport import Answer, Exchange, NoAnswer
from tests.conftest import ORIGIN
from tests.fakes import HANG, NEVER, Loopback, http, jwt, loopback, queued, tls_with

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
REFUSED = {"server": "wa1aliaswb02", "isQueued": False, "errorMessage": "Not in a valid state."}
WA1 = Operation("wa1-12345", "/v2/operations/alias/status/wa1-12345")
QUEUED = queued(A, WA1.id, WA1.href)


class Session:
    """An Api with everything it says and every pause it makes."""

    def __init__(
        self, origin: str = ORIGIN, *, token: str = "t0ken-of-ours", answer_seconds: float = 180.0
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.notes: list[str] = []
        self.pauses: list[float] = []
        self.now = 0.0
        self.api = Api(
            origin,
            on_exchange=self.exchanges.append,
            on_note=self.notes.append,
            clock=lambda: self.now,
            wall_clock=lambda: 1_000_000_000.0,
            sleep=self.sleep,
            answer_seconds=answer_seconds,
        )
        if token:
            self.api.authorize(token)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def reset(self, *servers: str) -> ResetAnswer:
        with self.api:
            return self.api.reset_servers("ALIAS", servers or (A, B))


def states(answer: ResetAnswer) -> list[str]:
    return [result.state for result in answer.results]


@contextmanager
def _tls_server(*script: bytes) -> Iterator[tuple[Loopback, trustme.CA]]:
    """A loopback server with a certificate of a private CA."""
    ca = trustme.CA()
    with loopback(*script, tls=tls_with(ca.issue_cert("127.0.0.1"))) as server:
        yield server, ca


# --- the request -------------------------------------------------------------------------------


def test_a_reset_is_one_post_of_a_bare_array(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.post("/v2/operations/ALIAS/servers/reset")
    route.respond(200, json=[QUEUED, REFUSED])
    Session().reset(A, B)
    assert route.call_count == 1
    request = route.calls.last.request
    assert json.loads(request.content) == [A, B]
    assert request.headers["Authorization"] == "Bearer t0ken-of-ours"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("clc-reset/")


def test_what_is_told_of_an_exchange_holds_no_secret(served: Cloud) -> None:
    session = Session(token="")
    with session.api as api:
        credential = api.log_in("demo", "demo")
    second = Session(token=credential.token)
    second.reset(A)
    told = [(each.method, each.url, each.outcome) for each in session.exchanges + second.exchanges]
    assert told == [
        ("POST", f"{ORIGIN}/v2/authentication/login", "200"),
        ("POST", f"{ORIGIN}/v2/operations/ALIAS/servers/reset", "200"),
    ]


def test_the_token_is_in_no_repr(api_ctl_io: respx.Router) -> None:
    assert "t0ken" not in repr(Session().api)


# --- the answer --------------------------------------------------------------------------------


def test_results_come_in_the_order_asked_whatever_the_order_and_case_of_the_answer(
    api_ctl_io: respx.Router,
) -> None:
    api_ctl_io.post().respond(200, json=[REFUSED, QUEUED])
    first, second = Session().reset(A, B).results
    assert (first.server, first.state, first.operation) == (A, "queued", WA1)
    assert (second.server, second.state, second.operation) == (B, "failed", None)
    assert second.message == "Not in a valid state."


def test_a_cloud_shares_one_operation_a_data_centre(served: Cloud) -> None:
    with Session(token="").api as api:
        token = api.log_in("demo", "demo").token
    results = Session(token=token).reset(A, C, B).results
    ids = [result.operation.id for result in results if result.operation]
    assert ids[0] == ids[2]
    assert ids[1].startswith("va1-")


@pytest.mark.parametrize(
    "links", [None, [], "x", [3], [{"rel": "self", "href": "/x"}], [{"rel": "status"}]]
)
def test_a_queued_server_without_a_status_link_is_queued_and_says_so(
    api_ctl_io: respx.Router, links: object
) -> None:
    api_ctl_io.post().respond(200, json=[{**QUEUED, "links": links}])
    (result,) = Session().reset(A).results
    assert (result.state, result.operation) == ("queued", None)
    assert "can't be followed" in (result.message or "")


def test_a_queued_server_may_come_with_a_message(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[{**QUEUED, "links": None, "errorMessage": "Hm."}])
    assert Session().reset(A).results[0].message == "Hm."


def test_a_status_id_is_read_from_the_link_where_it_has_none(api_ctl_io: respx.Router) -> None:
    link = {"rel": "status", "href": "/v2/operations/alias/status/wa1-12345"}
    api_ctl_io.post().respond(200, json=[{**QUEUED, "links": [{"rel": "self"}, link]}])
    assert Session().reset(A).results[0].operation == WA1


@pytest.mark.parametrize("more", [{}, {"links": None}, {"links": []}, {"errorMessage": ""}])
def test_a_server_refused_without_a_word_says_so(
    api_ctl_io: respx.Router, more: dict[str, object]
) -> None:
    api_ctl_io.post().respond(200, json=[{"server": A.lower(), "isQueued": False, **more}])
    (result,) = Session().reset(A).results
    assert (result.state, result.operation) == ("failed", None)
    assert result.message == "Refused; the API gave no reason."


def test_a_single_object_is_read_as_an_array_of_one(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=QUEUED)
    assert states(Session().reset(A)) == ["queued"]


@pytest.mark.parametrize("status", [200, 201, 202, 400])
def test_an_array_is_read_in_any_success_and_in_a_400(
    api_ctl_io: respx.Router, status: int
) -> None:
    api_ctl_io.post().respond(status, json=[QUEUED, REFUSED])
    assert states(Session().reset(A, B)) == ["queued", "failed"]


def test_a_server_left_out_is_unknown_and_never_dropped(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED])
    answer = Session().reset(A, B)
    assert states(answer) == ["queued", "unknown"]
    assert "leaves this server out" in (answer.results[1].message or "")


def test_an_empty_array_leaves_all_unknown(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[])
    assert states(Session().reset(A, B)) == ["unknown", "unknown"]


def test_a_server_that_nobody_asked_for_is_told(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED, REFUSED, 3, None])
    answer = Session().reset(A)
    assert states(answer) == ["queued"]
    assert answer.unasked == (B,)


@pytest.mark.parametrize("word", [None, "true", 1, {}])
def test_a_server_that_is_neither_queued_nor_refused_is_unknown(
    api_ctl_io: respx.Router, word: object
) -> None:
    api_ctl_io.post().respond(200, json=[{**QUEUED, "isQueued": word}])
    (result,) = Session().reset(A).results
    assert (result.state, result.operation) == ("unknown", WA1)


# --- refusals: nothing was reset ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"message": "The request is invalid."}, RefusedError, "(400): The request is inv"),
        (400, [], RefusedError, "(400)."),
        (400, [{"message": "One."}, {"message": "Two."}], RefusedError, "(400): One. Two."),
        (400, {"message": "No.", "modelState": {"": ["A.", "B."]}}, RefusedError, "No. A. B."),
        (400, {"modelState": {"body": "odd"}}, RefusedError, "(400)."),
        (400, {"error": "Nope."}, RefusedError, "(400): Nope."),
        (400, "bare", RefusedError, "(400): bare"),
        (401, None, AuthenticationError, "refused the token (401)."),
        (403, None, AuthenticationError, "in account ALIAS (403)."),
        (404, None, RefusedError, "(404)."),
        (409, {"message": "x" * 5000}, RefusedError, "xxx…"),
    ],
)
def test_a_refused_request_says_why(
    api_ctl_io: respx.Router, status: int, body: object, kind: type[Exception], words: str
) -> None:
    route = api_ctl_io.post()
    route.respond(status, content=b"" if body is None else json.dumps(body).encode())
    with pytest.raises(kind) as raised:
        Session().reset()
    assert words in str(raised.value)
    assert len(str(raised.value)) < 700
    assert route.call_count == 1


def test_an_answer_that_shows_the_token_is_told_without_it(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(400, json={"message": "Bad token t0ken-of-ours!"})
    with pytest.raises(RefusedError, match=r"Bad token \[secret\]!"):
        Session().reset()


# --- sent once ---------------------------------------------------------------------------------


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_refused_connection_is_tried_three_times(deaf_port: int) -> None:
    session = Session(f"http://127.0.0.1:{deaf_port}")
    with pytest.raises(UnreachableError, match="refused"):
        session.reset()
    assert len(session.exchanges) == 3
    assert session.pauses == [0.5, 1.0]
    assert session.notes[0].endswith("Trying again in 0.5 s.")


def test_a_reset_arrives_once_when_the_second_try_connects(
    api_ctl_io: respx.Router, served: Cloud
) -> None:
    with Session(token="").api as api:
        token = api.log_in("demo", "demo").token
    api_ctl_io.routes.clear()
    route = api_ctl_io.post()
    route.side_effect = [
        httpx.ConnectError("no"),
        httpx.Response(200, json=[QUEUED]),
    ]
    assert states(Session(token=token).reset(A)) == ["queued"]
    assert route.call_count == 2


def test_a_name_that_does_not_resolve_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    session = Session()
    with pytest.raises(UnreachableError, match="Name or service not known") as raised:
        session.reset()
    assert len(session.exchanges) == 3
    assert "closed on 30 September 2023" in raised.value.hint


def test_a_certificate_that_nobody_vouches_for_is_tried_three_times_and_gets_no_post() -> None:
    with _tls_server(http(200, [QUEUED])) as (server, _ca):
        session = Session(server.url)
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            session.reset()
    assert len(session.exchanges) == 3
    assert server.requests == []


def test_ssl_cert_file_names_a_certificate_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with _tls_server(http(200, [QUEUED])) as (server, ca):
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert states(Session(server.url).reset(A)) == ["queued"]
    assert server.posts == 1


def test_a_bad_ssl_cert_file_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(UnreachableError, match=r"SSL_CERT_FILE names /nowhere.pem"):
        Session("https://127.0.0.1:1")


def test_a_proxy_that_is_not_there_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, deaf_port: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{deaf_port}")
    session = Session("https://127.0.0.1:1")
    with pytest.raises(UnreachableError, match="refused"):
        session.reset()
    assert len(session.exchanges) == 3


@pytest.mark.parametrize("answer", [http(502), http(407), NEVER])
def test_a_proxy_that_opens_no_tunnel_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with loopback(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        session = Session("https://127.0.0.1:1")
        with pytest.raises(UnreachableError):
            session.reset()
    assert [request.split()[0] for request in proxy.requests] == [b"CONNECT"] * 3


def test_a_proxy_that_can_not_be_used_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(UnreachableError, match="proxy that the environment names"):
        Session("https://127.0.0.1:1")


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        ("2", 2.0),
        (format_datetime(datetime.fromtimestamp(1_000_000_007, UTC), usegmt=True), 7.0),
        (format_datetime(datetime.fromtimestamp(999_999_000, UTC), usegmt=True), 0.0),
        ("Sun Sep  9 01:46:42 2001", 2.0),
        ("soon", 0.5),
        ("", 0.5),
        ("-5", 0.5),
    ],
)
def test_a_429_is_sent_again_after_the_time_it_names(retry_after: str, pause: float) -> None:
    asked_to_wait = http(429, headers=f"Retry-After: {retry_after}\r\n")
    with loopback(asked_to_wait, http(200, [QUEUED])) as server:
        session = Session(server.url)
        assert states(session.reset(A)) == ["queued"]
    assert session.pauses == [pause]
    assert server.posts == 2


def test_a_429_is_sent_three_times_at_the_most() -> None:
    with loopback(http(429)) as server, pytest.raises(RefusedError, match="429"):
        Session(server.url).reset()
    assert server.posts == 3


def test_a_429_that_asks_for_more_than_half_a_minute_ends_it_at_once() -> None:
    with loopback(http(429, headers="Retry-After: 3600\r\n")) as server:
        session = Session(server.url)
        with pytest.raises(RefusedError, match="429"):
            session.reset()
    assert server.posts == 1
    assert session.pauses == []


def unknown_after(
    answer: bytes | None, answer_seconds: float = 180.0
) -> tuple[ResetAnswer, Loopback]:
    with loopback(answer) as server:
        result = Session(server.url, answer_seconds=answer_seconds).reset(A, B)
    assert states(result) == ["unknown", "unknown"]
    return result, server


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NEVER, "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", "the connection was lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the connection was lost"),
        (http(200, [QUEUED], "Content-Encoding: gzip\r\n"), "can't be decoded"),
        (http(500, {"message": "An error has occurred."}), "answered 500: An error has occurred."),
        (http(502, b"<html>Bad gateway</html>"), "answered 502"),
        (http(503), "answered 503"),
        (http(504), "answered 504"),
        (http(302, headers="Location: /elsewhere\r\n"), "answered 302"),
        (http(200), "the answer (200) can't be read"),
        (http(204), "the answer (204) can't be read"),
        (http(200, b"<html>Welcome</html>"), "the answer (200) can't be read"),
        (http(200, {"message": "Hm."}), "the answer (200) can't be read: Hm."),
        (http(200, b"null"), "the answer (200) can't be read"),
        (http(200, b'["wa1aliaswb01"]'), "the answer (200) can't be read"),
        (http(200, b"[" * 100_000), "the answer (200) can't be read"),
        (http(200, b"\xff\xfe"), "the answer (200) can't be read"),
        (http(200, b" " * (16 * 2**20 + 1)), "larger than 16,384 KiB"),
    ],
)
def test_whatever_may_have_arrived_is_sent_once_and_unknown(answer: bytes, words: str) -> None:
    result, server = unknown_after(answer)
    assert words in result.problem
    assert server.posts == 1


def test_a_read_timeout_is_sent_once_and_unknown() -> None:
    result, server = unknown_after(HANG, answer_seconds=0.2)
    assert result.problem == "no answer within 0.2 s"
    assert server.posts == 1


def test_an_answer_that_drips_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc_reset.transport.CONNECT_SECONDS", 0.2)
    released = threading.Event()
    posts: list[bytes] = []

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        posts.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not released.wait(0.01):
            connection.sendall(b"X: y\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        session = Session(f"http://127.0.0.1:{listener.getsockname()[1]}", answer_seconds=0.2)
        result = session.reset(A)
        released.set()
        thread.join()
    assert result.problem == "no answer within 0.4 s"
    assert len(posts) == 1


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "br", "zstd"])
def test_an_answer_packed_tighter_than_was_asked_for_is_not_unpacked(encoding: str) -> None:
    header = f"Content-Encoding: {encoding}\r\n"
    with loopback(http(200, b"x", header)) as server:
        answer = Session(server.url).reset()
    assert server.posts == 1
    assert b"\r\naccept-encoding: gzip\r\n" in server.requests[0].lower()
    assert states(answer) == ["unknown", "unknown"]
    assert answer.problem == f"the answer can't be decoded (Content-Encoding: {encoding})"


def test_a_surprise_in_the_transport_is_an_unknown_outcome(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().mock(side_effect=ZeroDivisionError)
    assert Session().reset(A).problem == "ZeroDivisionError"


def test_a_connection_that_is_not_made_in_time_never_left(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().mock(side_effect=httpx.ConnectTimeout)
    with pytest.raises(UnreachableError, match="no connection within 10 s"):
        Session().reset(A)


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (NoAnswer("refused", never_left=True), True),
        (NoAnswer("dropped", never_left=False), False),
        (NoAnswer("interrupted", never_left=True, signum=2), False),
        (Answer(429, None, b""), True),
        (Answer(200, None, b""), False),
        (Answer(400, None, b""), False),
        (Answer(500, None, b""), False),
        (Answer(503, "1", b""), False),
    ],
)
def test_what_may_be_repeated_is_one_table(outcome: Answer | NoAnswer, again: bool) -> None:
    assert may_be_repeated(outcome) is again


# --- interrupted -------------------------------------------------------------------------------


@pytest.fixture
def stop_soon() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Send this process a SIGTERM, which raises Interrupted, as soon as something is so."""

    def stop(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGTERM, stop)
    threads: list[threading.Thread] = []

    def when(so: Callable[[], bool]) -> None:
        def watch() -> None:
            while not so():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield when
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGTERM, before)


def test_a_signal_while_the_answer_is_awaited_leaves_the_outcome_unknown(
    stop_soon: Callable[[Callable[[], bool]], None],
) -> None:
    with loopback(HANG) as server:
        stop_soon(lambda: server.posts == 1)
        result = Session(server.url).reset(A, B)
    assert (result.problem, result.signum) == (
        "the wait for its answer was interrupted",
        signal.SIGTERM,
    )
    assert states(result) == ["unknown", "unknown"]


def test_a_signal_while_connecting_means_that_nothing_ever_leaves(
    stop_soon: Callable[[Callable[[], bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving, resolved = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(*args: object, **options: object) -> object:
        resolving.set()
        resolved.wait(10)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with loopback(http(200, [QUEUED])) as server:
        stop_soon(resolving.is_set)
        session = Session(server.url)
        with pytest.raises(Interrupted) as raised:
            session.api.reset_servers("ALIAS", [A])
        resolved.set()
        for thread in threading.enumerate():
            if thread.name.startswith("exchange"):
                thread.join(5)
    assert raised.value.message == "No server was reset."
    assert server.posts == 0


def test_a_signal_between_two_tries_means_that_nothing_was_sent(deaf_port: int) -> None:
    session = Session(f"http://127.0.0.1:{deaf_port}")

    def interrupted(_seconds: float) -> None:
        raise Interrupted(signal.SIGINT)

    api = Api(
        f"http://127.0.0.1:{deaf_port}",
        on_exchange=session.exchanges.append,
        on_note=session.notes.append,
        sleep=interrupted,
    )
    with pytest.raises(Interrupted) as raised:
        api.reset_servers("ALIAS", [A])
    assert raised.value.message == "No server was reset."


def test_a_signal_during_a_login_ends_it(stop_soon: Callable[[Callable[[], bool]], None]) -> None:
    with loopback(HANG) as server:
        stop_soon(lambda: server.posts == 1)
        with pytest.raises(Interrupted):
            Session(server.url).api.log_in("demo", "demo")


# --- log in ------------------------------------------------------------------------------------


def test_a_login_gives_a_credential(served: Cloud) -> None:
    credential = Session(token="").api.log_in("demo", "demo")
    assert (credential.user, credential.account, credential.roles) == (
        "demo",
        "ALIAS",
        ("AccountAdmin",),
    )
    assert credential.expires
    assert credential.issued
    assert credential.expires - credential.issued == timedelta(days=14)


def test_a_wrong_password_is_told_in_the_words_of_the_api_and_not_tried_again(
    served: Cloud,
) -> None:
    session = Session(token="")
    with pytest.raises(AuthenticationError, match="We didn't recognize the username"):
        session.api.log_in("demo", "wrong")
    assert len(session.exchanges) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_login_never_shows_the_password(api_ctl_io: respx.Router, status: int) -> None:
    password = 'päss"word'
    api_ctl_io.post().respond(status, json={"message": f"Not {password}."})
    with pytest.raises(AuthenticationError) as raised:
        Session(token="").api.log_in("demo", password)
    assert password not in str(raised.value)
    assert "Not [secret]." in str(raised.value)


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_a_login_without_a_usable_answer_is_not_tried_again(
    api_ctl_io: respx.Router, status: int
) -> None:
    route = api_ctl_io.post()
    route.respond(status)
    with pytest.raises(RefusedError, match=f"no usable answer \\({status}\\)"):
        Session(token="").api.log_in("demo", "demo")
    assert route.call_count == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"bearerToken":"a b"}', b'{"bearerToken":3}']
)
def test_a_login_without_a_token_in_its_answer_is_refused(
    api_ctl_io: respx.Router, body: bytes
) -> None:
    api_ctl_io.post().respond(200, content=body)
    with pytest.raises(RefusedError, match="no token that can be used"):
        Session(token="").api.log_in("demo", "demo")


def test_a_login_may_leave_everything_out_but_the_token(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": jwt(), "roles": [3, "X"]})
    credential = Session(token="").api.log_in("demo", "demo")
    assert (credential.user, credential.account, credential.roles) == ("demo", "ABCD", ("X",))


def test_a_login_that_does_not_reach_the_api_is_tried_once(deaf_port: int) -> None:
    session = Session(f"http://127.0.0.1:{deaf_port}", token="")
    with pytest.raises(UnreachableError):
        session.api.log_in("demo", "demo")
    assert len(session.exchanges) == 1


def test_each_post_has_a_connection_of_its_own() -> None:
    answers = [http(200, {"bearerToken": "t"}), http(429), http(200, [QUEUED])]
    with loopback(*answers) as server, Session(server.url).api as api:
        api.log_in("demo", "demo")
        api.reset_servers("ALIAS", [A])
    assert [b"\r\nconnection: close\r\n" in each.lower() for each in server.requests] == [True] * 3


# --- status ------------------------------------------------------------------------------------


def status_of(router: respx.Router, response: httpx.Response | Exception) -> object:
    router.get("/v2/operations/alias/status/wa1-12345").mock(side_effect=[response])
    return Session().api.operation_status(WA1)


@pytest.mark.parametrize("word", ["notStarted", "executing", "resumed", "succeeded", "x y"])
def test_a_status_is_the_word_of_the_api(api_ctl_io: respx.Router, word: str) -> None:
    answer = httpx.Response(200, json={"status": word})
    assert status_of(api_ctl_io, answer) == OperationStatus(word)


def test_a_status_is_asked_for_by_the_link_that_came_back(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get("/elsewhere/x%20y?z=1").respond(200, json={"status": "executing"})
    session = Session()
    for href in ("/elsewhere/x%20y?z=1", f"{ORIGIN}/elsewhere/x%20y?z=1"):
        session.api.operation_status(Operation("wa1-1", href))
        session.api.operation_status(Operation("wa1-1", href))
    assert route.call_count == 4
    assert route.calls.last.request.headers["Authorization"] == "Bearer t0ken-of-ours"
    assert route.calls.last.request.content == b""


@pytest.mark.parametrize(
    ("response", "news"),
    [
        (httpx.Response(500), NoNews("the API answered 500")),
        (httpx.Response(503), NoNews("the API answered 503", slow_down=True)),
        (httpx.Response(404, json={"message": "No."}), NoNews("the API answered 404: No.")),
        (
            httpx.Response(429, headers={"Retry-After": "7"}),
            NoNews("the API answered 429", slow_down=True, retry_after=7.0),
        ),
        (httpx.Response(302), NoNews("the API answered 302")),
        (httpx.Response(200, content=b"<html>"), NoNews("the answer (200) can't be read")),
        (httpx.Response(200, json={"status": "x" * 99}), NoNews("the answer (200) can't be read")),
        (httpx.Response(200, json={"status": None}), NoNews("the answer (200) can't be read")),
        (httpx.Response(200, json=["executing"]), NoNews("the answer (200) can't be read")),
        (
            httpx.Response(200, content=b" " * 70_000),
            NoNews("the answer is larger than 64 KiB"),
        ),
        (httpx.ReadTimeout("x"), NoNews("no answer within 60 s")),
        (httpx.ConnectError("refused"), NoNews("refused", unreachable=True)),
        (httpx.ReadError("gone"), NoNews("the connection was lost (gone)")),
    ],
)
def test_a_poll_that_fails_is_no_news(
    api_ctl_io: respx.Router, response: httpx.Response | Exception, news: NoNews
) -> None:
    assert status_of(api_ctl_io, response) == news


@pytest.mark.parametrize("status", [401, 403])
def test_a_poll_that_is_denied_is_an_error(api_ctl_io: respx.Router, status: int) -> None:
    with pytest.raises(AuthenticationError, match=f"while waiting \\({status}\\)"):
        status_of(api_ctl_io, httpx.Response(status))


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
        "file:///etc/passwd",
        "https://[::1",
        "https://api.ctl.io:x/",
        "\x00",
        "javascript:alert(1)",
    ],
)
def test_a_link_that_leads_away_from_the_api_is_not_followed(
    api_ctl_io: respx.Router, href: str
) -> None:
    session = Session()
    assert session.api.path_of(Operation("wa1-1", href)) is None
    with pytest.raises(RefusedError, match="leads away from the API"):
        session.api.operation_status(Operation("wa1-1", href))
    assert not api_ctl_io.calls
    assert session.api.path_of(WA1) == WA1.href


@given(st.from_regex(r"(?:/[A-Za-z0-9_-]+)+", fullmatch=True))
def test_a_plain_path_is_the_target_that_joining_it_to_the_origin_gives(path: str) -> None:
    joined = httpx.URL("http://127.0.0.1:1").join(path)
    assert str(joined) == f"http://127.0.0.1:1{joined.raw_path.decode()}"
    target = Session("http://127.0.0.1:1").api.path_of(Operation("wa1-1", path))
    assert target == path == joined.raw_path.decode()


# --- what is only read -------------------------------------------------------------------------

GROUP = "/v2/groups/ALIAS/0123"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(500, json={"message": "An error has occurred."}),
        httpx.Response(503),
        httpx.Response(429),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("gone"),
        httpx.ConnectError("refused"),
    ],
)
def test_what_fails_for_a_moment_is_read_again(
    api_ctl_io: respx.Router, failure: httpx.Response | Exception
) -> None:
    route = api_ctl_io.get(GROUP).mock(
        side_effect=[failure, failure, httpx.Response(200, text="x")]
    )
    session = Session()
    assert session.api.read("ALIAS", GROUP) == b"x"
    assert route.call_count == 3
    assert session.pauses == [1.0, 2.0]


def test_a_429_to_a_read_is_tried_again_after_the_time_it_names(api_ctl_io: respx.Router) -> None:
    asked_to_wait = httpx.Response(429, headers={"Retry-After": "7"})
    api_ctl_io.get(GROUP).mock(side_effect=[asked_to_wait, httpx.Response(200, text="x")])
    session = Session()
    session.api.read("ALIAS", GROUP)
    assert session.pauses == [7.0]


def test_a_read_is_not_tried_again_after_half_a_minute(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get(GROUP).respond(429, headers={"Retry-After": "31"})
    with pytest.raises(RefusedError, match="429"):
        Session().api.read("ALIAS", GROUP)
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("failure", "kind", "words", "tries"),
    [
        (httpx.Response(401), AuthenticationError, "refused the token (401).", 1),
        (httpx.Response(403), AuthenticationError, "see nothing in account ALIAS (403).", 1),
        (httpx.Response(404), RefusedError, "(404).", 1),
        (httpx.Response(302), RefusedError, "(302).", 1),
        (httpx.Response(204), RefusedError, "(204).", 1),
        (httpx.Response(500, json={"message": "Oh."}), RefusedError, "(500): Oh.", 3),
        (httpx.ReadTimeout("slow"), RefusedError, "no answer: no answer within 60 s.", 3),
        (httpx.ConnectError("refused"), UnreachableError, "was not reached: refused.", 3),
    ],
)
def test_a_read_that_fails_for_good_says_why(
    api_ctl_io: respx.Router,
    failure: httpx.Response | Exception,
    kind: type[Exception],
    words: str,
    tries: int,
) -> None:
    route = api_ctl_io.get(GROUP).mock(side_effect=[failure] * 3)
    with pytest.raises(kind) as raised:
        Session().api.read("ALIAS", GROUP)
    assert words in str(raised.value)
    assert route.call_count == tries


def test_an_account_that_is_not_found_may_be_another_one(api_ctl_io: respx.Router) -> None:
    api_ctl_io.get(GROUP).respond(404)
    with pytest.raises(RefusedError) as raised:
        Session().api.read("ALIAS", GROUP)
    assert "Give another one with -a." in raised.value.hint


def test_an_answer_larger_than_16_mib_is_not_read(api_ctl_io: respx.Router) -> None:
    api_ctl_io.get(GROUP).respond(200, content=b" " * (16 * 2**20 + 1))
    with pytest.raises(RefusedError, match="larger than 16,384 KiB"):
        Session().api.read("ALIAS", GROUP)


def test_a_reset_after_a_read_has_a_connection_of_its_own() -> None:
    with loopback(http(200, b"x"), http(200, [QUEUED])) as server, Session(server.url).api as api:
        api.read("ALIAS", GROUP)
        api.reset_servers("ALIAS", [A])
    assert [b"\r\nconnection: close\r\n" in each.lower() for each in server.requests] == [True] * 2


# --- the way there -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.256", "[1]", "127.999.1.1:1"])
def test_a_host_that_can_not_be_one_is_a_usage_error(host: str) -> None:
    with pytest.raises(UsageError, match="CLC_BASE_URL can't be used"):
        Session(f"https://{host}")


def test_a_host_that_turns_out_to_be_none_is_not_reached() -> None:
    with pytest.raises(UnreachableError):
        Session("https://xn--a").reset()


def test_without_a_thread_to_be_had_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_self: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    with pytest.raises(UnreachableError, match="can't start new thread"):
        Session().reset()


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_a_proxy_may_be_named_without_its_scheme(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    with loopback(http(502)) as proxy:
        monkeypatch.setenv("https_proxy", prefix + proxy.url.removeprefix("http://"))
        with pytest.raises(UnreachableError, match="through the proxy that the environment names"):
            Session("https://127.0.0.1:1").reset()
    assert proxy.requests[0].startswith(b"CONNECT 127.0.0.1:1 ")


def test_a_proxy_on_this_machine_serves_a_plain_loopback_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with loopback(http(200, [QUEUED])) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert states(Session("http://127.0.0.1:1").reset(A)) == ["queued"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_proxy", "http://user:password@proxy.example.com:3128"),
        ("http_proxy", "http://127.0.0.1.example.com"),
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


def test_the_password_of_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:s3cret/x@proxy:3128")
    with pytest.raises(UnreachableError) as raised:
        Session("https://127.0.0.1:1")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nEcho t0ken-of-ours\r\n\r\n",
        b"t0ken-of-ours\r\n\r\n",
        http(500, {"message": "You sent t0ken-of-ours"}),
    ],
)
def test_an_answer_that_echoes_the_token_is_told_without_it(answer: bytes) -> None:
    result, _ = unknown_after(answer)
    assert "t0ken" not in result.problem
    assert "[secret]" in result.problem


def test_a_message_of_a_server_that_echoes_the_token_is_told_without_it() -> None:
    refused = {"server": A, "isQueued": False, "errorMessage": "Not with t0ken-of-ours!"}
    with loopback(http(200, [refused])) as server:
        (result,) = Session(server.url).reset(A).results
    assert result.message == "Not with [secret]!"


def test_a_token_is_not_searched_for_in_the_answers_structure() -> None:
    with loopback(http(200, [QUEUED])) as server:
        assert states(Session(server.url, token="server").reset(A)) == ["queued"]


@pytest.mark.parametrize("password", ["hunterPW2 ", 'hunter"PW2', "hunterPWü2", '"hunter"'])
def test_a_password_that_comes_back_in_any_form_is_not_shown(
    api_ctl_io: respx.Router, password: str
) -> None:
    echo = json.dumps({"username": "demo", "password": password})
    api_ctl_io.post().respond(400, json={"message": echo, "error": password})
    with pytest.raises(AuthenticationError) as raised:
        Session(token="").api.log_in("demo", password)
    assert "hunter" not in str(raised.value)


def test_a_password_of_quotation_marks_leaves_the_words_of_the_api_alone(
    api_ctl_io: respx.Router,
) -> None:
    api_ctl_io.post().respond(400, json={"message": "Please try again."})
    with pytest.raises(AuthenticationError, match="Please try again"):
        Session(token="").api.log_in("demo", '""""')


def test_a_login_without_an_answer_may_have_counted() -> None:
    with loopback(NEVER) as server, pytest.raises(RefusedError, match="got no answer") as raised:
        Session(server.url, token="").api.log_in("demo", "demo")
    assert "three wrong passwords" in raised.value.hint
