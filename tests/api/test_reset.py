import itertools
import json
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from respx import Router

from clc_reset.api import client as api
from clc_reset.api.transport import Transport
from clc_reset.clocks import ApiTime
from clc_reset.errors import AuthenticationError, Interrupted, RefusedError, UnreachableError
from clc_reset.models import ResetAnswer, Sending, ServerResult, ServerState
from clc_reset.text import first_line
from tests.api.session import (
    DATE,
    NOWHERE,
    QUEUED,
    REFUSED,
    THEN,
    TOKEN,
    WA1,
    Session,
    listening,
    states,
)
from tests.builders import ORIGIN, A, B
from tests.fakes import HANG, NEVER, http, loopback
from tests.machine import Caplog, Patch


def error_of(answer: ResetAnswer) -> tuple[type[Exception], str, str]:
    """The error of a reset that wasn't sent."""
    assert answer.sending is Sending.NOT_SENT
    assert set(states(answer)) == {"not sent"}
    assert answer.error is not None
    return type(answer.error), answer.error.message, answer.error.hint


def test_a_reset_is_one_post_of_a_bare_array(api_ctl_io: Router) -> None:
    route = api_ctl_io.post("/v2/operations/ALIAS/servers/reset")
    route.respond(200, json=[REFUSED, QUEUED])
    session = Session()
    answer = session.reset(A, B)
    assert (answer.sending, answer.turns) == (Sending.SENT, (B, A))
    assert answer.results == (
        ServerResult(A, ServerState.QUEUED, WA1),
        ServerResult(B, ServerState.FAILED, None, "Not in a valid state."),
    )
    assert route.call_count == 1
    request = route.calls.last.request
    assert json.loads(request.content) == [A, B]
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Accept"] == request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("clc-reset/")
    assert TOKEN not in repr(session.client)


# --- the answer --------------------------------------------------------------------------------

ESCAPED = json.dumps([{**REFUSED, "server": A}, REFUSED]).replace("Q", "\\u0051").encode()


@pytest.mark.parametrize(
    ("body", "in_2xx", "in_4xx", "in_5xx"),
    [
        (b"", "unknown", "not sent", "unknown"),
        (b"[]", "unknown", "not sent", "unknown"),
        ({"message": "No."}, "unknown", "not sent", "unknown"),
        (ESCAPED, *["failed"] * 3),
        ([QUEUED, REFUSED], *["queued failed"] * 3),
        # reported: an object instead of an array of one
        (QUEUED, *["queued unknown"] * 3),
    ],
    ids=["no body", "nothing", "words", "all refused", "one queued", "an object"],
)
def test_an_array_of_results_is_read_whatever_the_status_and_only_a_mere_429_is_sent_again(
    body: object, in_2xx: str, in_4xx: str, in_5xx: str
) -> None:
    is_array = "failed" in in_5xx or "queued" in in_5xx
    with loopback(NEVER) as server:
        session = Session(server.url)
        for status in (200, 202, 302, *range(400, 600)):
            server.script[:] = [http(status, body, "Retry-After: 0\r\n")]
            server.requests.clear()
            answer = session.reset(A, B)
            was_refused = 400 <= status < 500 and not is_array
            expected = in_2xx if status < 400 else in_4xx if status < 500 else in_5xx
            assert states(answer) in ([expected] * 2, expected.split()), status
            sending = Sending.NOT_SENT if was_refused else Sending.MAYBE_SENT
            is_empty = body == b"[]" and 200 <= status < 300  # is an answer only then
            assert answer.sending is (Sending.SENT if is_array or is_empty else sending), status
            assert (answer.error is not None) is was_refused
            assert server.posts == (3 if status == 429 and was_refused else 1), status
            left_out = "leaves this server out" in (answer.results[1].message or "")
            assert left_out is (is_empty or expected == "queued unknown")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, [], "The API refused the request (400)."),
        (400, [{"message": "One."}, {"message": "Two."}], "(400): One. Two."),
        (400, {"message": "No.", "modelState": {"": ["A.", "B."]}}, "(400): No. A. B."),
        (400, {"modelState": {"body": "odd"}}, "(400)."),
        (400, {"error": "Nope!"}, "(400): Nope!"),
        (400, "bare", "(400): bare."),
        (403, {"message": "Denied."}, "This user may not reset servers in account ALIAS (403): D"),
        (409, {"message": "x" * 5000}, "xxx…"),
        (429, "", "(429)."),
    ],
)
def test_a_refusal_says_why(api_ctl_io: Router, status: int, body: object, words: str) -> None:
    api_ctl_io.post().respond(status, json=body)
    kind, message, _ = error_of(Session().reset())
    assert kind is (AuthenticationError if status == 403 else RefusedError)
    assert words in message
    assert len(message) <= 500


# --- sent once ---------------------------------------------------------------------------------


def test_a_refused_connection_is_tried_three_times(log: Caplog) -> None:
    problem = f"Can't reach {NOWHERE}: connection refused."
    hint = "Check the network, the proxy settings and CLC_BASE_URL."
    assert error_of(Session(NOWHERE).reset()) == (UnreachableError, problem, hint)
    post = f"POST {NOWHERE}/v2/operations/ALIAS/servers/reset (connection refused) 0 ms"
    first, second = (f"{problem} Trying again in {pause} s." for pause in ("0.5", "1"))
    assert log.messages == [post, first, post, second, post]


@pytest.mark.parametrize(
    ("retry_after", "pause"), [("2", 2.0), ("0", 0.0), ("30", 30.0), ("soon", 0.5), ("", 0.5)]
)
def test_a_429_is_sent_again_after_the_time_it_names(
    retry_after: str, pause: float, log: Caplog
) -> None:
    asked_to_wait = http(429, headers=f"Retry-After: {retry_after}\r\n")
    with loopback(asked_to_wait, http(200, [QUEUED])) as server:
        session = Session(server.url)
        assert states(session.reset(A)) == ["queued"]
    assert (session.inbox.pauses, server.posts) == ([pause], 2)
    assert log.messages[1] == f"The API asked to wait (429). Trying again in {pause:g} s."


CUT = json.dumps([QUEUED, REFUSED]).encode()[:-9]
UNREADABLE = "the answer (200) can't be read"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HANG, "no answer within 0.2 s"),
        (NEVER, "the connection was lost before an answer came"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", "the connection was lost ("),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the connection was lost"),
        (http(200, [QUEUED], "Content-Encoding: gzip\r\n"), "the answer can't be decoded ("),
        (http(500, {"message": "An error has occurred."}), "answered 500: An error has occurred"),
        (http(502, b"<html>Bad gateway</html>"), "the API answered 502"),
        (http(302, headers="Location: /elsewhere\r\n"), "the API answered 302"),
        (http(400, CUT), "the answer (400) can't be read"),
        (http(429, CUT), "the answer (429) can't be read"),
        (http(204), "the answer (204) can't be read"),
        (http(200, {"message": "Hm."}), f"{UNREADABLE}: Hm"),
        *[
            (http(200, body), UNREADABLE)
            for body in (b"<html>", b"null", b'["wa1aliaswb01"]', b"[" * 100_000, b"\xff\xfe")
        ],
        (http(200, b" " * (16 * 2**20 + 1)), "the answer is larger than 16,384 KiB"),
    ],
)
def test_whatever_may_have_arrived_is_sent_once_and_unknown(
    monkeypatch: Patch, answer: bytes | None, words: str
) -> None:
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.2 if answer is HANG else 60.0)
    with loopback(answer) as server:
        result = Session(server.url).reset(A, B)
    assert (result.sending, states(result)) == (Sending.MAYBE_SENT, ["unknown", "unknown"])
    assert words in (result.problem or "")
    assert not (result.problem or "").endswith(".")
    assert result.results[1].message == f"Sent; outcome unknown: {result.problem}."
    assert server.posts == 1


def test_without_a_trace_it_is_not_known_whether_a_request_left(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Transport, "_trace", lambda *_: None)
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.2)
    with loopback(HANG) as server:
        assert Session(server.url).reset().sending is Sending.MAYBE_SENT
    assert server.posts == 1


# --- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [http(200, [QUEUED], DATE), http(503, headers=DATE)])
def test_the_time_of_sending_is_known_by_the_clock_of_the_api(answer: bytes) -> None:
    looks = itertools.count(step=0.25)
    with loopback(answer) as server:
        result = Session(server.url, elapsed=lambda: next(looks)).reset(A)
    assert result.sent_at == THEN - timedelta(seconds=0.25)  # one look after it left


@pytest.mark.parametrize("answer", [http(200, [QUEUED]), http(503), NEVER])
def test_without_a_date_the_time_of_sending_is_known_from_an_earlier_answer(answer: bytes) -> None:
    with loopback(answer, http(200, {"bearerToken": "t"}, DATE), answer) as server:
        session = Session(server.url)
        began = session.clocks.now()
        result = session.reset(A)
        assert (result.left, result.sent_at) == (began, None)
        assert session.client.api_time is None
        session.client.log_in("demo", "demo")
        session.inbox.sleep(7)
        result = session.reset(A)
    assert result.sent_at == THEN + timedelta(seconds=7)
    assert session.client.api_time == ApiTime(THEN, began)


def test_a_name_that_does_not_resolve_is_tried_three_times(monkeypatch: Patch) -> None:
    def slow(*_args: object, **_options: object) -> None:
        threading.Event().wait(0.1)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.01)
    ticks: list[float] = []
    session = Session(monotonic=lambda: 0.0)  # it never times out
    kind, message, hint = error_of(session.reset(tick=ticks.append))
    assert kind is UnreachableError
    assert message == f"Can't reach {ORIGIN}: name or service not known."
    assert "closed on 30 September 2023" in hint
    assert (ticks, session.inbox.pauses) == ([], [0.5, 1.0])


# --- suspended -----------------------------------------------------------------------------------


def test_a_request_does_not_leave_nor_is_repeated_more_than_60_s_after_its_record() -> None:
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url)
        recorded = session.clocks.now()
        session.clocks.seconds = 60.5
        error = error_of(session.reset(A, recorded=recorded))
        session.clocks.seconds = 60.0
        assert states(session.reset(A, recorded=recorded)) == ["queued"]
        server.script[:] = [http(429)]
        assert error_of(session.reset(A, recorded=recorded)) == error
    reason = "more than 60 s had passed since it was recorded."
    message = f"The request was given up: {reason}"
    assert error == (UnreachableError, message, "Run the command again.")
    assert (server.posts, session.inbox.pauses) == (2, [0.5])


def test_an_answer_that_came_during_a_suspension_does_not_tell_when_the_request_left() -> None:
    with loopback(http(200, {"bearerToken": "t"}, DATE), http(200, [QUEUED], DATE)) as server:
        session = Session(server.url, elapsed=lambda: 3600.0 * (server.posts == 2))
        session.client.log_in("demo", "demo")
        result = session.reset(A)
    assert result.sent_at == THEN  # by the answer to the login
    with loopback(http(200, [QUEUED], DATE)) as server:
        assert Session(server.url, elapsed=lambda: 3600.0 * server.posts).reset(A).sent_at is None


def test_only_the_waiting_inbox_limits_the_time_for_an_answer(monkeypatch: Patch) -> None:
    """So one that came while the process was suspended is read, however late it is."""
    released = threading.Event()
    ticks: list[float] = []

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        released.wait(20)
        connection.sendall(http(200, [QUEUED], DATE))

    def tick(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 3:  # three times as long as an answer may take
            released.set()

    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.05)
    with listening(answer) as place:
        session = Session(
            f"http://{place}", elapsed=lambda: 3600.0 * bool(ticks), monotonic=lambda: 0.0
        )
        result = session.reset(A, tick=tick)
    assert (states(result), result.sent_at) == (["queued"], None)
    assert ticks[:3] == [0.0, 3600.0, 3600.0]


# --- nothing is ever raised --------------------------------------------------------------------


def test_without_a_thread_to_be_had_nothing_was_sent(monkeypatch: Patch) -> None:
    def exhausted(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    kind, message, _ = error_of(Session().reset())
    assert (kind, message) == (UnreachableError, f"Can't reach {ORIGIN}: can't start new thread.")
    with pytest.raises(UnreachableError, match="can't start new thread"):
        Session().client.groups("ALIAS")


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no")])
@pytest.mark.parametrize("answer", [http(200, [QUEUED]), http(429), http(503), NEVER])
def test_an_error_at_any_moment_leaves_what_is_certain(answer: bytes, error: Exception) -> None:
    """The clock is looked at before, during and after the sending."""
    with loopback(answer) as server:
        for failing in range(12):
            looks = iter(range(1000))

            def clock(failing: int = failing, looks: Iterator[int] = looks) -> float:
                if next(looks) >= failing:
                    raise error
                return 0.0

            server.requests.clear()
            result = Session(server.url, elapsed=clock).reset(A)
            if result.sending is Sending.NOT_SENT:
                assert server.posts == 0 or answer == http(429)
                assert isinstance(result.error, UnreachableError)
                assert first_line(error) in result.error.message
            assert server.posts == 1 or answer == http(429) or result.sending is Sending.NOT_SENT


def test_an_error_after_the_answer_is_an_unknown_outcome() -> None:
    class Odd(str):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment] # so that the answer can't be held against it

    with loopback(http(200, [QUEUED])) as server:
        answer = Session(server.url).reset(Odd(A))
    assert (answer.sending, states(answer)) == (Sending.MAYBE_SENT, ["unknown"])
    assert (answer.problem or "").startswith("TypeError: ")
    assert answer.left is not None


# --- interrupted -------------------------------------------------------------------------------


def assert_not_sent_for(signum: int, result: ResetAnswer) -> None:
    assert (result.sending, result.signum, result.error) == (Sending.NOT_SENT, signum, None)
    assert set(states(result)) == {"not sent"}


def test_a_signal_while_the_answer_is_awaited_leaves_the_outcome_unknown() -> None:
    with loopback(HANG) as server:
        session, other = Session(server.url), Session(server.url)
        session.interrupt_when(lambda: server.posts == 1)
        result = session.reset(A, B)
        other.interrupt_when(lambda: server.posts == 2)
        with pytest.raises(Interrupted):
            other.client.log_in("demo", "demo")
    assert (result.sending, result.signum) == (Sending.MAYBE_SENT, signal.SIGTERM)
    assert result.problem == "the wait for its answer was interrupted"
    assert states(result) == ["unknown", "unknown"]


def test_after_a_signal_nothing_is_sent_nor_tried_again() -> None:
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url)
        session.inbox.interrupt(signal.SIGINT)
        assert_not_sent_for(signal.SIGINT, session.reset())
        with pytest.raises(Interrupted):
            session.client.log_in("demo", "demo")
    assert server.posts == 0
    session = Session(NOWHERE)
    inbox = session.inbox
    inbox.sleep = lambda seconds: inbox.interrupt(signal.SIGINT)  # type: ignore[method-assign]
    assert_not_sent_for(signal.SIGINT, session.reset())


@pytest.mark.parametrize("wakes", [True, False])
def test_a_signal_while_connecting_stops_it(monkeypatch: Patch, wakes: bool, log: Caplog) -> None:
    """Also if the wait isn't woken by the signal: its mark alone holds the request back."""
    resolving, resolved = threading.Event(), threading.Event()
    real = socket.getaddrinfo
    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url)

        def slow(*args: Any, **options: Any) -> object:
            resolving.set()
            if wakes:
                resolved.wait(10)
            else:
                session.inbox.signum = signal.SIGTERM
            return real(*args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        if wakes:
            session.interrupt_when(resolving.is_set)
        assert_not_sent_for(signal.SIGTERM, session.reset())
        resolved.set()
        for thread in threading.enumerate():
            if thread.name == "worker":
                thread.join(5)
    assert server.posts == 0
    assert len(log.messages) == 1


@pytest.mark.usefixtures("log")  # to log a request takes a look at the clock, after its answer
def test_an_answer_that_has_arrived_is_kept_in_spite_of_a_signal() -> None:
    def seconds() -> float:
        if server.posts and threading.current_thread() is threading.main_thread():
            session.inbox.interrupt(signal.SIGINT)
        return 0.0

    with loopback(http(200, [QUEUED])) as server:
        session = Session(server.url, elapsed=seconds)
        result = session.reset(A)
    assert session.inbox.signum == signal.SIGINT
    assert (result.sending, states(result)) == (Sending.SENT, ["queued"])
