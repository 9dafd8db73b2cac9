import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from clc_reset.api.client import may_be_repeated
from clc_reset.api.transport import Answer, NoAnswer
from clc_reset.errors import (
    AuthenticationError,
    Interrupted,
    RefusedError,
    UnreachableError,
)
from clc_reset.identifiers import DEFAULT_BASE_URL
from clc_reset.models import NoNews, Observation, Operation, OperationStatus, ResetAnswer, Sending
from clc_reset.sandbox.cloud import Cloud
from tests.api.session import (
    PATH,
    QUEUED,
    REFUSED,
    WALL_CLOCK,
    A,
    B,
    C,
    Session,
    keep_alive,
    states,
)
from tests.conftest import ORIGIN
from tests.fakes import HANG, NEVER, Loopback, http, jwt, loopback, wait_until

WA1 = Operation("wa1-12345", PATH, "ALIAS")
DATE = "Date: Sun, 09 Sep 2001 01:48:40 GMT\r\n"  # two minutes later than the wall clock here
THEN = datetime(2001, 9, 9, 1, 48, 40, tzinfo=UTC)


def error_of(answer: ResetAnswer) -> tuple[type[Exception], str, str]:
    """The error of a reset that wasn't sent."""
    assert answer.sending is Sending.NOT_SENT
    assert set(states(answer)) == {"not sent"}
    assert answer.error is not None
    return type(answer.error), answer.error.message, answer.error.hint


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
    with session.client as client:
        credential = client.log_in("demo", "demo")
    second = Session(token=credential.token)
    second.reset(A)
    told = [(each.method, each.url, each.outcome) for each in session.exchanges + second.exchanges]
    assert told == [
        ("POST", f"{ORIGIN}/v2/authentication/login", "200"),
        ("POST", f"{ORIGIN}/v2/operations/ALIAS/servers/reset", "200"),
    ]


def test_the_token_is_in_no_repr(api_ctl_io: respx.Router) -> None:
    assert "t0ken" not in repr(Session().client)


# --- the answer --------------------------------------------------------------------------------


def test_results_come_in_the_order_asked_whatever_the_order_and_case_of_the_answer(
    api_ctl_io: respx.Router,
) -> None:
    api_ctl_io.post().respond(200, json=[REFUSED, QUEUED])
    answer = Session().reset(A, B)
    first, second = answer.results
    assert answer.sending is Sending.SENT
    assert answer.turns == (B, A)
    assert (first.server, first.state, first.operation) == (A, "queued", WA1)
    assert (second.server, second.state, second.operation) == (B, "failed", None)
    assert second.message == "Not in a valid state."


def test_a_cloud_shares_one_operation_a_data_centre(served: Cloud) -> None:
    with Session(token="").client as client:
        token = client.log_in("demo", "demo").token
    results = Session(token=token).reset(A, C, B).results
    ids = [result.operation.id for result in results if result.operation]
    assert ids[0] == ids[2]
    assert ids[1].startswith("va1-")


def test_a_single_object_is_read_as_an_array_of_one(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=QUEUED)
    assert states(Session().reset(A)) == ["queued"]


@pytest.mark.parametrize("status", [200, 201, 202, 302, 400, 429, 500])
def test_an_array_is_read_whatever_the_status(api_ctl_io: respx.Router, status: int) -> None:
    route = api_ctl_io.post()
    route.respond(status, json=[QUEUED, REFUSED])
    answer = Session().reset(A, B)
    assert (answer.sending, states(answer)) == (Sending.SENT, ["queued", "failed"])
    assert route.call_count == 1


def test_a_server_left_out_is_unknown_and_never_dropped(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[QUEUED])
    answer = Session().reset(A, B)
    assert states(answer) == ["queued", "unknown"]
    assert "leaves this server out" in (answer.results[1].message or "")


def test_an_empty_array_leaves_all_unknown(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[])
    answer = Session().reset(A, B)
    assert (answer.sending, states(answer)) == (Sending.SENT, ["unknown", "unknown"])


NO_BODY, WORDS, REFUSED_ALL, ONE_QUEUED, HALF = (
    b"",
    {"message": "No."},
    [{**REFUSED, "server": A}, REFUSED],
    [QUEUED, REFUSED],
    [QUEUED],
)


@pytest.mark.parametrize(
    ("body", "in_4xx", "in_5xx"),
    [
        (NO_BODY, "not sent", "unknown"),
        (WORDS, "not sent", "unknown"),
        (REFUSED_ALL, "failed", "failed"),
        (ONE_QUEUED, "queued failed", "queued failed"),
        (HALF, "queued unknown", "queued unknown"),
    ],
    ids=["no body", "words", "all refused", "one queued", "half an array"],
)
def test_every_4xx_and_5xx_is_sent_once_but_for_a_mere_429(
    body: object, in_4xx: str, in_5xx: str
) -> None:
    is_error = body in (NO_BODY, WORDS)
    with loopback(NEVER) as server:
        session = Session(server.url)
        for status in range(400, 600):
            server.script[:] = [http(status, body)]
            server.requests.clear()
            answer = session.reset(A, B)
            expected = in_4xx if status < 500 else in_5xx
            assert states(answer) in ([expected] * 2, expected.split()), status
            sending = Sending.NOT_SENT if status < 500 else Sending.MAYBE_SENT
            assert answer.sending is (sending if is_error else Sending.SENT), status
            assert (answer.error is not None) is (answer.sending is Sending.NOT_SENT)
            assert server.posts == (3 if status == 429 and is_error else 1), status


def test_what_speaks_of_queueing_and_can_not_be_read_may_have_been_taken() -> None:
    for status in (400, 429):
        with loopback(http(status, json.dumps([QUEUED, REFUSED]).encode()[:-9])) as server:
            answer = Session(server.url).reset(A, B)
        assert (answer.sending, server.posts) == (Sending.MAYBE_SENT, 1)
        assert answer.problem == f"the answer ({status}) can't be read"


# --- refusals: nothing was reset ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"message": "The request is invalid."}, RefusedError, "(400): The request is inv"),
        (400, [], RefusedError, "request (400)."),
        (400, [{"message": "One."}, {"message": "Two."}], RefusedError, "(400): One. Two."),
        (400, {"message": "No.", "modelState": {"": ["A.", "B."]}}, RefusedError, "No. A. B."),
        (400, {"modelState": {"body": "odd"}}, RefusedError, "(400)."),
        (400, {"error": "Nope!"}, RefusedError, "(400): Nope!"),
        (400, "bare", RefusedError, "(400): bare."),
        (401, None, AuthenticationError, "The API refused the token (401)."),
        (
            403,
            {"message": "Denied."},
            AuthenticationError,
            "This user may not reset servers in account ALIAS (403): Denied. Nothing was reset.",
        ),
        (404, None, RefusedError, "(404)."),
        (409, {"message": "x" * 5000}, RefusedError, "xxx…"),
        (429, None, RefusedError, "(429)."),
    ],
)
def test_a_refused_request_says_why(
    api_ctl_io: respx.Router, status: int, body: object, kind: type[Exception], words: str
) -> None:
    api_ctl_io.post().respond(status, content=b"" if body is None else json.dumps(body).encode())
    raised, message, _ = error_of(Session().reset())
    assert raised is kind
    assert words in message
    assert ".." not in message
    assert len(message) < 700


# --- sent once ---------------------------------------------------------------------------------


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_refused_connection_is_tried_three_times(deaf_port: int) -> None:
    session = Session(f"http://127.0.0.1:{deaf_port}")
    kind, message, _ = error_of(session.reset())
    assert kind is UnreachableError
    assert message.endswith("Connection refused.")
    assert len(session.exchanges) == 3
    assert session.stop.pauses == [0.5, 1.0]
    assert session.notes[0].endswith("Trying again in 0.5 s.")


def test_a_reset_arrives_once_when_the_second_try_connects(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.post()
    route.side_effect = [httpx.ConnectError("no"), httpx.Response(200, json=[QUEUED])]
    assert states(Session().reset(A)) == ["queued"]
    assert route.call_count == 2


def test_the_platform_that_closed_is_named_where_it_is_not_reached(
    api_ctl_io: respx.Router,
) -> None:
    api_ctl_io.post().mock(side_effect=httpx.ConnectError("Name or service not known"))
    _, message, hint = error_of(Session().reset())
    assert message == f"{DEFAULT_BASE_URL} was not reached: Name or service not known."
    assert "closed on 30 September 2023" in hint


@pytest.mark.parametrize(
    ("retry_after", "pause"), [("2", 2.0), ("0", 0.0), ("soon", 0.5), ("", 0.5)]
)
def test_a_429_is_sent_again_after_the_time_it_names(retry_after: str, pause: float) -> None:
    asked_to_wait = http(429, headers=f"Retry-After: {retry_after}\r\n")
    with loopback(asked_to_wait, http(200, [QUEUED])) as server:
        session = Session(server.url)
        assert states(session.reset(A)) == ["queued"]
    assert session.stop.pauses == [pause]
    assert session.notes == [f"The API asked to wait (429). Trying again in {pause:g} s."]
    assert server.posts == 2


def test_a_429_that_asks_for_more_than_half_a_minute_ends_it_at_once() -> None:
    with loopback(http(429, headers="Retry-After: 3600\r\n")) as server:
        session = Session(server.url)
        kind, _, hint = error_of(session.reset())
    assert kind is RefusedError
    assert hint == "Wait, then run it again: no server was reset."
    assert server.posts == 1
    assert session.stop.pauses == []


def unknown_after(answer: bytes | None, seconds: float = 180.0) -> tuple[str, Loopback]:
    """What is told of a reset of two servers whose outcome isn't known."""
    with loopback(answer) as server:
        result = Session(server.url, answer_seconds=seconds).reset(A, B)
    assert result.sending is Sending.MAYBE_SENT
    assert states(result) == ["unknown", "unknown"]
    return result.problem or "", server


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NEVER, "the connection was lost before an answer came"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", "the connection was lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the connection was lost"),
        (http(200, [QUEUED], "Content-Encoding: gzip\r\n"), "can't be decoded"),
        (http(500, {"message": "An error has occurred."}), "answered 500: An error has occurred"),
        (http(502, b"<html>Bad gateway</html>"), "answered 502"),
        (http(503), "answered 503"),
        (http(504), "answered 504"),
        (http(302, headers="Location: /elsewhere\r\n"), "answered 302"),
        (http(200), "the answer (200) can't be read"),
        (http(204), "the answer (204) can't be read"),
        (http(200, b"<html>Welcome</html>"), "the answer (200) can't be read"),
        (http(200, {"message": "Hm."}), "the answer (200) can't be read: Hm"),
        (http(200, b"null"), "the answer (200) can't be read"),
        (http(200, b'["wa1aliaswb01"]'), "the answer (200) can't be read"),
        (http(200, b"[" * 100_000), "the answer (200) can't be read"),
        (http(200, b"\xff\xfe"), "the answer (200) can't be read"),
        (http(200, b" " * (16 * 2**20 + 1)), "larger than 16,384 KiB"),
    ],
)
def test_whatever_may_have_arrived_is_sent_once_and_unknown(answer: bytes, words: str) -> None:
    problem, server = unknown_after(answer)
    assert words in problem
    assert not problem.endswith(".")
    assert server.posts == 1


def test_a_read_timeout_is_sent_once_and_unknown() -> None:
    problem, server = unknown_after(HANG, 0.2)
    assert problem == "no answer within 0.2 s"
    assert server.posts == 1


def test_how_long_ago_a_reset_left_whose_answer_is_lost_is_told() -> None:
    with loopback(NEVER) as server:
        lost = Session(server.url).reset(A)
    assert lost.sending is Sending.MAYBE_SENT
    assert lost.seconds is not None
    assert 0 <= lost.seconds < 20


def test_a_surprise_in_the_transport_is_an_unknown_outcome(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().mock(side_effect=ZeroDivisionError)
    assert Session().reset(A).problem == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (NoAnswer("refused", never_left=True), True),
        (NoAnswer("dropped", never_left=False), False),
        (NoAnswer("interrupted", never_left=True, signum=2), False),
        (Answer(429, b""), True),
        (Answer(429, b"[]"), True),
        (Answer(429, b'[{"isQueued":false}]'), False),
        (Answer(429, b'{"all":[{"isQueued":true}]}'), False),
        (Answer(200, b""), False),
        (Answer(400, b""), False),
        (Answer(500, b""), False),
        (Answer(503, b"", 1.0), False),
    ],
)
def test_what_may_be_repeated_is_one_table(outcome: Answer | NoAnswer, again: bool) -> None:
    assert may_be_repeated(outcome) is again


def test_it_is_told_how_long_the_post_has_been_out() -> None:
    told: list[float] = []
    with loopback(HANG) as server:
        session = Session(server.url)

        def tick(seconds: float) -> None:
            told.append(seconds)
            session.stop.set(signal.SIGTERM)
            raise ZeroDivisionError

        result = session.reset(A, tick=tick)
    assert told == [0.0]
    assert result.signum == signal.SIGTERM


def test_when_it_was_sent_is_told_by_the_clock_of_the_api() -> None:
    now = iter(range(0, 1000, 3))
    for answer in (http(200, [QUEUED], DATE), http(503, headers=DATE)):
        with loopback(answer) as server:
            result = Session(server.url, clock=lambda: float(next(now))).reset(A)
        assert result.sent_at == THEN - timedelta(seconds=3)


def test_without_the_clock_of_the_api_nobody_knows_when_it_was_sent() -> None:
    for answer in (http(200, [QUEUED]), http(503), NEVER):
        with loopback(answer) as server:
            assert Session(server.url).reset(A).sent_at is None


def test_the_offset_of_the_clocks_is_that_of_the_latest_answer() -> None:
    with loopback(http(404, headers=DATE), http(404)) as server, Session(server.url).client as api:
        before = api.offset
        for _ in range(2):
            api.operation_status(WA1)
        assert (before, api.offset) == (None, timedelta(seconds=120))
    assert THEN.timestamp() == WALL_CLOCK + 120


# --- nothing is ever raised --------------------------------------------------------------------


def test_without_a_thread_to_be_had_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    kind, message, _ = error_of(Session().reset())
    assert kind is UnreachableError
    assert "can't start new thread." in message


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no"), ValueError("no")])
@pytest.mark.parametrize("answer", [http(200, [QUEUED]), http(429), http(503), NEVER])
def test_a_surprise_at_any_moment_is_told_as_what_is_certain(
    answer: bytes, error: Exception
) -> None:
    """The clock is looked at before, during and after the sending."""
    with loopback(answer) as server:
        for failing in range(9):
            looks = iter(range(1000))

            def clock(failing: int = failing, looks: Iterator[int] = looks) -> float:
                if next(looks) >= failing:
                    raise error
                return 0.0

            server.requests.clear()
            result = Session(server.url, clock=clock).reset(A)
            if result.sending is Sending.NOT_SENT:
                assert server.posts == 0 or answer == http(429)
                assert isinstance(result.error, UnreachableError)
            assert server.posts == 1 or answer == http(429) or result.sending is Sending.NOT_SENT


def test_a_surprise_after_the_answer_is_an_unknown_outcome() -> None:
    class Odd(str):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment] # so that the answer can't be held against it

    with loopback(http(200, [QUEUED])) as server:
        answer = Session(server.url).reset(Odd(A))
    assert (answer.sending, states(answer)) == (Sending.MAYBE_SENT, ["unknown"])
    assert (answer.problem or "").startswith("TypeError: ")


def test_who_only_shows_changes_nothing() -> None:
    def fails(_told: object) -> None:
        raise ZeroDivisionError

    with loopback(http(429), http(200, [QUEUED])) as server:
        session = Session(server.url, on_note=fails, on_exchange=fails)
        assert states(session.reset(A)) == ["queued"]


# --- interrupted -------------------------------------------------------------------------------


@pytest.fixture
def once() -> Iterator[Callable[[Callable[[], bool], Session], None]]:
    """Leave a signal's mark as soon as something is so."""
    threads: list[threading.Thread] = []

    def watch(so: Callable[[], bool], session: Session) -> None:
        def look() -> None:
            wait_until(so)
            session.stop.set(signal.SIGTERM)

        threads.append(threading.Thread(target=look))
        threads[-1].start()

    yield watch
    for thread in threads:
        thread.join()


Once = Callable[[Callable[[], bool], Session], None]


def test_a_signal_while_the_answer_is_awaited_leaves_the_outcome_unknown(once: Once) -> None:
    with loopback(HANG) as server:
        session = Session(server.url)
        once(lambda: server.posts == 1, session)
        result = session.reset(A, B)
    assert result.sending is Sending.MAYBE_SENT
    assert result.problem == "the wait for its answer was interrupted"
    assert result.signum == signal.SIGTERM
    assert states(result) == ["unknown", "unknown"]


def not_sent_for(signum: int, result: ResetAnswer) -> bool:
    told = (result.sending, result.signum, result.error, set(states(result)))
    return told == (Sending.NOT_SENT, signum, None, {"not sent"})


def test_after_a_signal_nothing_is_sent() -> None:
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url)
        session.stop.set(signal.SIGINT)
        assert not_sent_for(signal.SIGINT, session.reset())
    assert server.posts == 0
    assert session.exchanges == []


@pytest.mark.parametrize("wakes", [True, False])
def test_a_signal_while_connecting_means_that_nothing_ever_leaves(
    once: Once, monkeypatch: pytest.MonkeyPatch, wakes: bool
) -> None:
    """Also where the wait hears nothing of the signal: the mark alone holds the request back."""
    resolving, resolved = threading.Event(), threading.Event()
    real = socket.getaddrinfo
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url)

        def slow(*args: Any, **options: Any) -> object:
            resolving.set()
            if wakes:
                resolved.wait(10)
            else:
                session.stop.signum = signal.SIGTERM
            return real(*args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        if wakes:
            once(resolving.is_set, session)
        assert not_sent_for(signal.SIGTERM, session.reset())
        resolved.set()
        for thread in threading.enumerate():
            if thread.name == "call":
                thread.join(5)
    assert server.posts == 0


def test_a_signal_between_two_tries_means_that_nothing_was_sent(deaf_port: int) -> None:
    session = Session(
        f"http://127.0.0.1:{deaf_port}", on_note=lambda _note: session.stop.set(signal.SIGINT)
    )
    assert not_sent_for(signal.SIGINT, session.reset())
    assert len(session.exchanges) == 1


def test_python_s_own_interrupt_of_the_wait_is_a_signal_too() -> None:
    with loopback(HANG) as server:
        session = Session(server.url)

        def kill() -> None:
            wait_until(lambda: server.posts == 1)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=kill)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        thread.start()
        result = session.reset(A)
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert (result.sending, result.signum) == (Sending.MAYBE_SENT, signal.SIGINT)


def test_an_answer_that_has_arrived_is_told_in_spite_of_a_signal() -> None:
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url, on_exchange=lambda _exchange: session.stop.set(signal.SIGINT))
        result = session.reset(A)
    assert (result.sending, states(result)) == (Sending.SENT, ["queued"])


def test_a_signal_during_a_login_ends_it(once: Once) -> None:
    with loopback(HANG) as server:
        session = Session(server.url)
        once(lambda: server.posts == 1, session)
        with pytest.raises(Interrupted):
            session.client.log_in("demo", "demo")
        with pytest.raises(Interrupted):
            session.client.log_in("demo", "demo")
    assert server.posts == 1


# --- log in ------------------------------------------------------------------------------------


def test_a_login_gives_a_credential(served: Cloud) -> None:
    credential = Session(token="").client.log_in("demo", "demo")
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
        session.client.log_in("demo", "wrong")
    assert len(session.exchanges) == 1


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
def test_a_login_without_a_usable_answer_is_not_tried_again(
    api_ctl_io: respx.Router, status: int
) -> None:
    route = api_ctl_io.post()
    route.respond(status, json={"message": "Oh."})
    with pytest.raises(RefusedError, match=f"no usable answer \\({status}\\): Oh\\.$"):
        Session(token="").client.log_in("demo", "demo")
    assert route.call_count == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"bearerToken":"a b"}', b'{"bearerToken":3}']
)
def test_a_login_without_a_token_in_its_answer_is_refused(
    api_ctl_io: respx.Router, body: bytes
) -> None:
    api_ctl_io.post().respond(200, content=body)
    with pytest.raises(RefusedError, match="without a usable token"):
        Session(token="").client.log_in("demo", "demo")


def test_a_login_may_leave_everything_out_but_the_token(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": jwt(), "roles": [3, "X"]})
    credential = Session(token="").client.log_in("demo", "demo")
    assert (credential.user, credential.account, credential.roles) == ("demo", "ABCD", ("X",))


def test_a_login_that_does_not_reach_the_api_is_tried_once(deaf_port: int) -> None:
    session = Session(f"http://127.0.0.1:{deaf_port}", token="")
    with pytest.raises(UnreachableError):
        session.client.log_in("demo", "demo")
    assert len(session.exchanges) == 1


def test_a_login_without_an_answer_may_have_counted() -> None:
    with loopback(NEVER) as server, pytest.raises(RefusedError, match="got no answer") as raised:
        Session(server.url, token="").client.log_in("demo", "demo")
    assert "three wrong passwords" in raised.value.hint


def test_each_post_has_a_connection_of_its_own() -> None:
    status = http(200, {"status": "executing"})
    login, again, queued = http(200, {"bearerToken": "t"}), http(429), http(200, [QUEUED])
    with keep_alive(status, login, again, queued, status) as server:
        client = Session(server.url).client
        client.operation_status(WA1)
        client.log_in("demo", "demo")
        assert states(client.reset_servers("ALIAS", [A])) == ["queued"]
        client.operation_status(WA1)
        client.close()
    assert server.connections == [0, 1, 2, 3, 0]


# --- get status --------------------------------------------------------------------------------


def status_of(router: respx.Router, response: httpx.Response | Exception) -> object:
    router.get(PATH).mock(side_effect=[response])
    return Session().client.operation_status(WA1)


@pytest.mark.parametrize("word", ["notStarted", "executing", "resumed", "succeeded", "x y"])
def test_a_status_is_the_word_of_the_api(api_ctl_io: respx.Router, word: str) -> None:
    answer = httpx.Response(200, json={"status": word})
    assert status_of(api_ctl_io, answer) == OperationStatus(word)


def test_a_status_is_asked_for_by_the_path_of_its_link(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get("/elsewhere/x%20y?z=1").respond(200, json={"status": "executing"})
    Session().client.operation_status(Operation("wa1-1", "/elsewhere/x%20y?z=1"))
    assert route.call_count == 1
    assert route.calls.last.request.headers["Authorization"] == "Bearer t0ken-of-ours"
    assert route.calls.last.request.content == b""


def test_an_operation_can_be_asked_for_by_its_id() -> None:
    operation = Session().client.operation("abcd", "wa1-7")
    assert operation == Operation("wa1-7", "/v2/operations/abcd/status/wa1-7", "ABCD")


@pytest.mark.parametrize(
    ("response", "news"),
    [
        (httpx.Response(500), NoNews("the API answered 500")),
        (httpx.Response(503), NoNews("the API answered 503", slow_down=True)),
        (
            httpx.Response(404, json={"message": "No."}),
            NoNews("the API answered 404: No", not_found=True),
        ),
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
    with pytest.raises(AuthenticationError, match=f"while waiting \\({status}\\)\\.$"):
        status_of(api_ctl_io, httpx.Response(status))


def test_a_link_that_leads_away_from_the_api_is_not_followed(api_ctl_io: respx.Router) -> None:
    news = Session().client.operation_status(Operation("wa1-1", None))
    assert news == NoNews("its status link leads away from the API and isn't followed")
    assert not api_ctl_io.calls


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/v2/operations/alias/status/wa1-1",
        f"{ORIGIN}//v2/operations/alias/status/wa1-1",
        "/.//v2/operations/alias/status/wa1-1",
        "https://xn--a/x",
        "https://api.ctl.io:x/",
        "/v2/\x07",
    ],
)
def test_a_fault_of_one_link_is_that_of_one_server(api_ctl_io: respx.Router, href: str) -> None:
    link = {"rel": "status", "href": href, "id": "wa1-1"}
    elsewhere = {**QUEUED, "server": C, "links": [link]}
    api_ctl_io.post().respond(200, json=[elsewhere, QUEUED, REFUSED])
    third, first, second = Session().reset(C, A, B).results
    assert (third.state, third.operation) == ("queued", Operation("wa1-1", None))
    assert "isn't followed" in (third.message or "")
    assert (first.operation, second.state) == (WA1, "failed")


# --- what a server shows -----------------------------------------------------------------------

ENTITY = {
    "id": A.lower(),
    "groupId": "0123456789abcdef0123456789abcdef",
    "locationId": "wa1",
    "status": "active",
    "details": {"powerState": "started", "inMaintenanceMode": False},
    "changeInfo": {"modifiedDate": "2001-09-09T01:48:22Z", "modifiedBy": "nightly"},
}


def test_a_server_shows_when_it_was_changed_and_by_whom(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get(f"/v2/servers/ALIAS/{A}")
    date = DATE.removeprefix("Date: ").strip()
    route.respond(200, json=ENTITY, headers={"Date": date})
    assert Session().client.server("ALIAS", A) == Observation(
        A,
        THEN,
        THEN - timedelta(seconds=18),
        "nightly",
        "active",
        "started",
        in_maintenance=False,
        group="0123456789abcdef0123456789abcdef",
        datacenter="WA1",
    )


def test_a_server_of_the_sandbox_is_seen(served: Cloud) -> None:
    with Session(token="").client as client:
        token = client.log_in("demo", "demo").token
    seen = Session(token=token).client.server("ALIAS", A)
    assert (seen.status, seen.power, seen.problem) == ("active", "started", None)
    assert seen.changed_at is not None


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (httpx.Response(401), "the API refused the token (401)"),
        (httpx.Response(403), "this user may not see it (403)"),
        (httpx.Response(404), "the API knows no such server (404)"),
        (httpx.Response(500, json={"message": "Oh."}), "the API answered 500: Oh"),
        (httpx.Response(200, text="x"), "the answer (200) can't be read"),
        (httpx.Response(200, json={**ENTITY, "id": B}), "the answer (200) can't be read"),
        (httpx.ConnectError("refused"), "refused"),
        (httpx.ConnectTimeout(""), "no connection within 10 s"),
        (httpx.ReadTimeout(""), "no answer within 10 s"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_a_server_that_can_not_be_seen_says_why(
    api_ctl_io: respx.Router, response: httpx.Response | Exception, problem: str
) -> None:
    route = api_ctl_io.get(f"/v2/servers/ALIAS/{A}").mock(side_effect=[response])
    assert Session().client.server("ALIAS", A) == Observation(A, problem=problem)
    assert route.call_count == 1


# --- groups ------------------------------------------------------------------------------------

WA1_ROOT, VA1_ROOT = "1" * 32, "2" * 32


def datacenters(**roots: str) -> list[dict[str, object]]:
    return [{"id": dc, "links": [{"rel": "group", "id": root}]} for dc, root in roots.items()]


def group(name: str, *servers: str) -> dict[str, object]:
    """A group as it is listed without detail."""
    links = [{"rel": "server", "id": server} for server in servers]
    return {"id": "3" * 32, "name": name, "type": "default", "links": links}


def detailed(name: str, *servers: str) -> dict[str, object]:
    """A group as it is listed in detail."""
    entities = [{**ENTITY, "id": server.lower()} for server in servers]
    return {"id": "3" * 32, "name": name, "type": "default", "links": [], "servers": entities}


def account(router: respx.Router, *datacentres: dict[str, object]) -> respx.Route:
    router.get("/v2/datacenters/ALIAS?groupLinks=true").respond(200, json=list(datacentres))
    return router.get(url__startswith=f"{ORIGIN}/v2/groups/ALIAS/")


def test_groups_come_by_data_centre_each_asked_for_its_root(api_ctl_io: respx.Router) -> None:
    route = account(api_ctl_io, *datacenters(wa1=WA1_ROOT, va1=VA1_ROOT))

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.query == b""
        root = request.url.path.rpartition("/")[2]
        found = group("West", "W2", "W1") if root == WA1_ROOT else group("East", "V1")
        return httpx.Response(200, json=found)

    route.mock(side_effect=answer)
    found = Session().client.groups("ALIAS")
    assert [(each.datacenter, each.name, each.servers) for each in found] == [
        ("VA1", "East", ("V1",)),
        ("WA1", "West", ("W1", "W2")),
    ]
    assert not any(each.observations for each in found)


def test_in_detail_each_group_has_what_its_servers_show(api_ctl_io: respx.Router) -> None:
    date = {"Date": DATE.removeprefix("Date: ").strip()}
    route = account(api_ctl_io, *datacenters(wa1=WA1_ROOT))
    route.respond(200, json=detailed("Web", B, A), headers=date)
    (found,) = Session().client.groups("ALIAS", detailed=True)
    assert route.calls.last.request.url.query == b"serverDetail=detailed"
    assert found.servers == (A, B)
    assert [(each.server, each.group, each.seen_at) for each in found.observations] == [
        (A, "Web", THEN),
        (B, "Web", THEN),
    ]


@pytest.mark.parametrize("in_detail", [True, False])
def test_the_servers_of_the_other_form_are_none_of_the_group(
    api_ctl_io: respx.Router, in_detail: bool
) -> None:
    route = account(api_ctl_io, *datacenters(wa1=WA1_ROOT))
    route.respond(200, json=group("Web", A) if in_detail else detailed("Web", A))
    (found,) = Session().client.groups("ALIAS", detailed=in_detail)
    assert found.servers == ()


@pytest.mark.parametrize("in_detail", [True, False])
def test_the_groups_of_the_sandbox_are_read(served: Cloud, in_detail: bool) -> None:
    with Session(token="").client as client:
        token = client.log_in("demo", "demo").token
    found = Session(token=token).client.groups("ALIAS", detailed=in_detail)
    servers = {server for each in found for server in each.servers}
    assert {A, B, C} <= servers
    shown = {each.server for group in found for each in group.observations}
    assert shown == (servers if in_detail else set())


def test_an_account_without_a_data_centre_has_no_groups(api_ctl_io: respx.Router) -> None:
    account(api_ctl_io)
    assert Session().client.groups("ALIAS") == []


def test_data_centres_are_asked_at_once(api_ctl_io: respx.Router) -> None:
    both = threading.Barrier(2)

    def answer(_request: httpx.Request) -> httpx.Response:
        both.wait(20)
        return httpx.Response(200, json=group("Web", A))

    account(api_ctl_io, *datacenters(wa1=WA1_ROOT, va1=VA1_ROOT)).mock(side_effect=answer)
    assert len(Session().client.groups("ALIAS")) == 2


FAILURES: list[httpx.Response | Exception] = [
    httpx.Response(500, json={"message": "An error has occurred."}),
    httpx.Response(503),
    httpx.Response(429),
    httpx.ReadTimeout("slow"),
    httpx.ReadError("gone"),
    httpx.ConnectError("refused"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_for_a_moment_is_read_again(
    api_ctl_io: respx.Router, failure: httpx.Response | Exception
) -> None:
    route = account(api_ctl_io, *datacenters(wa1=WA1_ROOT))
    route.mock(side_effect=[failure, failure, httpx.Response(200, json=group("Web", A))])
    session = Session()
    assert session.client.groups("ALIAS")[0].servers == (A,)
    assert route.call_count == 3
    assert session.stop.pauses == [1.0, 2.0]


def test_only_what_failed_is_read_again(api_ctl_io: respx.Router) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        if asked.count(WA1_ROOT) == 1 and asked[-1] == WA1_ROOT:
            return httpx.Response(500)
        return httpx.Response(200, json=group("Web", A))

    account(api_ctl_io, *datacenters(wa1=WA1_ROOT, va1=VA1_ROOT)).mock(side_effect=answer)
    assert len(Session().client.groups("ALIAS")) == 2
    assert sorted(asked) == [WA1_ROOT, WA1_ROOT, VA1_ROOT]


def test_a_429_to_a_read_is_tried_again_after_the_time_it_names(api_ctl_io: respx.Router) -> None:
    asked_to_wait = httpx.Response(429, headers={"Retry-After": "7"})
    route = api_ctl_io.get("/v2/datacenters/ALIAS")
    route.mock(side_effect=[asked_to_wait, httpx.Response(200, json=[])])
    session = Session()
    session.client.groups("ALIAS")
    assert session.stop.pauses == [7.0]


def test_a_read_is_not_tried_again_after_half_a_minute(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get("/v2/datacenters/ALIAS").respond(429, headers={"Retry-After": "31"})
    with pytest.raises(RefusedError, match="429"):
        Session().client.groups("ALIAS")
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("failure", "kind", "words", "tries"),
    [
        (httpx.Response(401), AuthenticationError, "refused the token (401).", 1),
        (
            httpx.Response(403),
            AuthenticationError,
            "This user may not see the groups of account ALIAS (403). Nothing was reset.",
            1,
        ),
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
    route = api_ctl_io.get("/v2/datacenters/ALIAS").mock(side_effect=[failure] * 3)
    with pytest.raises(kind) as raised:
        Session().client.groups("ALIAS")
    assert words in str(raised.value)
    assert ".." not in str(raised.value)
    assert route.call_count == tries


def test_an_account_that_is_not_found_may_be_another_one(api_ctl_io: respx.Router) -> None:
    api_ctl_io.get("/v2/datacenters/ALIAS").respond(404)
    with pytest.raises(RefusedError) as raised:
        Session().client.groups("ALIAS")
    assert "Name another with -a." in raised.value.hint


def test_a_group_that_can_not_be_read_in_full_is_an_error(api_ctl_io: respx.Router) -> None:
    account(api_ctl_io, *datacenters(wa1=WA1_ROOT)).respond(200, json=group("Web", "../x"))
    with pytest.raises(RefusedError, match="is not a server id"):
        Session().client.groups("ALIAS")


def test_an_answer_without_an_end_is_not_waited_for() -> None:
    released = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not released.wait(0.01):
                connection.sendall(b"X: y\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        session = Session(f"http://127.0.0.1:{listener.getsockname()[1]}", read_seconds=0.1)
        with (
            session.client as client,
            pytest.raises(RefusedError, match=r"no answer within 0\.1 s"),
        ):
            client.groups("ALIAS")
        released.set()
        thread.join()


def test_a_signal_ends_the_reading(once: Once) -> None:
    with loopback(HANG) as server:
        session = Session(server.url)
        once(lambda: bool(server.requests), session)
        with pytest.raises(Interrupted):
            session.client.groups("ALIAS")
