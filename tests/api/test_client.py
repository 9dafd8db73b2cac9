import json
import socket
import threading
from itertools import count

import httpx
import pytest
from httpx import Response
from respx import Route, Router

from clc_reset.api import client as api
from clc_reset.errors import (
    CHECK_THE_NETWORK,
    AuthenticationError,
    ClcError,
    RefusedError,
    UnreachableError,
)
from clc_reset.models import Observation, Operation, OperationStatus, PollFailure
from tests.api.session import (
    DATE,
    PATH,
    QUEUED,
    ROOT,
    THEN,
    TOKEN,
    WA1,
    Session,
    datacenter,
    group,
    listening,
)
from tests.builders import FAR, ORIGIN, A, B
from tests.fakes import jwt, queued
from tests.machine import Patch

Answer = Response | Exception
Kind = type[ClcError]
DATED = {"Date": DATE.removeprefix("Date: ").strip()}


def says(status: int, message: str) -> Response:
    """An answer with a message, as the API gives it."""
    return Response(status, json={"message": message})


def wait(seconds: int) -> Response:
    """An answer that asks to wait."""
    return Response(429, headers={"Retry-After": str(seconds)})


# --- log in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "user"), [("Demo", "Demo"), (None, "demo"), ("", "demo")])
def test_a_login_needs_nothing_but_a_token(api_ctl_io: Router, name: str | None, user: str) -> None:
    found = {"bearerToken": jwt(), "roles": [3, "X"], "userName": name}
    route = api_ctl_io.post().respond(200, json=found)
    credential = Session(token="").client.log_in("demo", "wOrd")
    sent = {"username": "demo", "password": "wOrd"}
    assert json.loads(route.calls.last.request.content) == sent
    assert (credential.user, credential.account, credential.roles) == (user, "ABCD", ("X",))


DENIED = "Not demo/[secret]. Check the user name and the password.\nA login is not repeated auto"
LOST = "The login failed: the connection was lost (gone)."
NO_NAME = f"Can't reach {ORIGIN}: no name. {CHECK_THE_NETWORK}"
UNUSABLE = "The login got no usable answer"
NO_TOKEN = (
    "The login was answered (200), but without a usable token. Is CLC_BASE_URL the address of the "
    "CLC API?"
)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        *[
            (says(status, "Oh."), RefusedError, f"{UNUSABLE} ({status}): Oh. Try again later.")
            for status in (302, 404, 500)
        ],
        *[
            (Response(200, content=body), RefusedError, NO_TOKEN)
            for body in (b"", b"[]", b"{}", b'{"bearerToken":"a b"}')
        ],
        *[
            (says(status, "Not demo/pa55-w0rd."), AuthenticationError, f"({status}): {DENIED}")
            for status in (400, 401, 403)
        ],
        (Response(500, json={"bearerToken": jwt()}), RefusedError, f"{UNUSABLE} (500)."),
        (wait(90), RefusedError, f"{UNUSABLE} (429). The API asks to wait 90 s (Retry-After)."),
        (httpx.ReadError("gone"), RefusedError, f"{LOST} A login is not repeated auto"),
        (httpx.ConnectError("[Errno -2] No name"), UnreachableError, f"{NO_NAME}\nCenturyLink C"),
    ],
)
def test_failed_logins_say_why(api_ctl_io: Router, answer: Answer, kind: Kind, words: str) -> None:
    route = api_ctl_io.post().mock(side_effect=[answer])
    with pytest.raises(kind) as raised:
        Session(token="").client.log_in("demo", "pa55-w0rd")
    told = f"{raised.value.message} {raised.value.hint}"
    assert told.removeprefix("The login as demo was refused ").startswith(words)
    assert route.call_count == 1


# --- get status --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Response(200, json={"status": "executing"}), OperationStatus("executing")),
        (Response(500), PollFailure("the API answered 500")),
        (Response(500, json={"status": "failed"}), PollFailure("the API answered 500")),
        (Response(503), PollFailure("the API answered 503", slow_down=True)),
        (says(404, "No."), PollFailure("the API answered 404: No", not_found=True)),
        (wait(7), PollFailure("the API answered 429", slow_down=True, retry_after=7.0)),
        (wait(0), PollFailure("the API answered 429", slow_down=True)),
        (Response(302), PollFailure("the API answered 302")),
        (Response(200, json={"status": None}), PollFailure("the answer (200) can't be read")),
        (Response(204), PollFailure("the answer (204) can't be read")),
        (Response(200, content=b" " * 2**16), PollFailure("the answer (200) can't be read")),
        (
            Response(200, content=b" " * (2**16 + 1)),
            PollFailure("the answer is larger than 64 KiB"),
        ),
        (httpx.ReadTimeout("x"), PollFailure("no answer within 60 s")),
        (httpx.ConnectError("refused"), PollFailure("refused", unreachable=True)),
        (httpx.ReadError("gone"), PollFailure("the connection was lost (gone)")),
    ],
)
def test_a_poll_tells_a_status_or_why(api_ctl_io: Router, answer: Answer, found: object) -> None:
    api_ctl_io.get(PATH).mock(side_effect=[answer])
    assert Session().client.operation_status(WA1) == found


def test_a_poll_that_is_denied_is_an_error(api_ctl_io: Router) -> None:
    api_ctl_io.get(PATH).respond(403)
    with pytest.raises(AuthenticationError) as denied:
        Session().client.operation_status(WA1)
    assert denied.value.message == "This user may not see operation wa1-12345 (403)."
    assert denied.value.hint.startswith("AccountAdmin, ServerAdmin and ServerOperator may.")


@pytest.mark.parametrize("href", ["https://example.com/x", "//x", "https://api.ctl.io:x/"])
def test_a_status_is_asked_for_by_its_link_to_the_api_only(api_ctl_io: Router, href: str) -> None:
    linked = queued(B, "wa1-2", f"{ORIGIN}/elsewhere/x%20y?z=1")
    api_ctl_io.post().respond(200, json=[queued(FAR, "wa1-1", href), linked, QUEUED])
    route = api_ctl_io.get("/elsewhere/x%20y?z=1").respond(200, json={"status": "executing"})
    session = Session()
    third, first, second = session.reset(FAR, A, B).results
    away, elsewhere = Operation("wa1-1", None), Operation("wa1-2", "/elsewhere/x%20y?z=1")
    operations = [result.operation for result in (third, first, second)]
    assert (third.state, operations) == ("queued", [away, WA1, elsewhere])
    failure = PollFailure("its status link leads elsewhere and isn't followed")
    assert session.client.operation_status(away) == failure
    assert len(api_ctl_io.calls) == 1
    assert session.client.operation_status(elsewhere) == OperationStatus("executing")
    assert route.calls.last.request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert route.calls.last.request.content == b""


# --- what a server shows -----------------------------------------------------------------------

NO_TOKEN, NO_CONNECTION = "API refused the token (401)", "no connection within 10 s"


@pytest.mark.parametrize(
    ("answer", "problem", "error"),
    [
        (Response(401), f"the {NO_TOKEN}", f"The {NO_TOKEN}."),
        (Response(403), "this user may not see it (403)", None),
        (Response(404, headers=DATED), "the API knows no such server (404)", None),
        (says(500, "Oh."), "the API answered 500: Oh", None),
        (Response(200, json={"id": B}), "the answer (200) can't be read", None),
        (httpx.ConnectError("refused"), "refused", f"Can't reach {ORIGIN}: refused."),
        (httpx.ConnectTimeout(""), NO_CONNECTION, f"Can't reach {ORIGIN}: {NO_CONNECTION}."),
        (httpx.ReadTimeout(""), "no answer within 10 s", None),
        (ZeroDivisionError(), "ZeroDivisionError", None),
    ],
)
def test_a_server_that_can_not_be_seen_says_why(
    api_ctl_io: Router, answer: Answer, problem: str, error: str | None
) -> None:
    route = api_ctl_io.get(f"/v2/servers/ALIAS/{A}").mock(side_effect=[answer])
    seen = Session().client.server("ALIAS", A)
    seen_at = THEN if "404" in problem else None
    assert seen._replace(error=None) == Observation(A, seen_at, problem=problem)
    assert (seen.error and seen.error.message) == error
    assert route.call_count == 1


def test_the_name_of_a_group_is_asked_for(api_ctl_io: Router) -> None:
    named, refused = Response(200, json={"name": "Web"}), httpx.ConnectError("refused")
    route = api_ctl_io.get(f"/v2/groups/ALIAS/{ROOT}")
    route.side_effect = [named, Response(404), refused]
    ids = ("../x", *[ROOT] * 3)
    names = [Session().client.group_name("ALIAS", group_id) for group_id in ids]
    assert names == [None, "Web", None, None]
    assert route.call_count == len(api_ctl_io.calls) == 3


# --- groups ------------------------------------------------------------------------------------

OTHER_ROOT = ROOT[::-1]


def account(router: Router, *datacenters: object) -> Route:
    """Let an account have data centres; returns the route to their groups."""
    router.get("/v2/datacenters/ALIAS?groupLinks=true").respond(200, json=datacenters)
    return router.get(url__startswith=f"{ORIGIN}/v2/groups/ALIAS/")


def test_groups_come_by_data_centre_all_asked_for_at_once(api_ctl_io: Router) -> None:
    both = threading.Barrier(2)

    def answer(request: httpx.Request) -> Response:
        both.wait(20)
        is_west = request.url.path.endswith(ROOT)
        found = group("W", ids=("W2", "W1")) if is_west else group("E", ids=("V1",))
        return Response(200, json=found)

    account(api_ctl_io, datacenter("wa1"), datacenter("va1", OTHER_ROOT)).mock(side_effect=answer)
    found = Session().client.groups("ALIAS")
    shown = [
        (seen.datacenter, seen.group, seen.server) for group in found for seen in group.servers
    ]
    assert shown == [("VA1", "E", "V1"), ("WA1", "W", "W1"), ("WA1", "W", "W2")]


@pytest.mark.parametrize(
    ("failure", "pauses"),
    [
        *[(Response(status), [1.0, 2.0]) for status in (429, 500, 503)],
        *((httpx.ReadError("x"), [1.0, 2.0]), (wait(15), [15.0, 15.0])),
    ],
)
def test_only_what_failed_is_read_again_and_after_the_pause_asked_for(
    api_ctl_io: Router, failure: Answer, pauses: list[float]
) -> None:
    route = api_ctl_io.get(f"/v2/groups/ALIAS/{ROOT}")
    route.mock(side_effect=[failure, failure, Response(200, json=group("Web"))])
    found = account(api_ctl_io, datacenter("wa1"), datacenter("va1", OTHER_ROOT))
    found.respond(200, json=group("Web"))
    session = Session()
    session.clocks.seconds = 100.0
    assert len(session.client.groups("ALIAS")) == 2
    assert session.inbox.pauses == pauses
    assert (route.call_count, len(api_ctl_io.calls)) == (3, 5)


TIMED_OUT = f"The request to {ORIGIN} failed: no answer within 60 s."
NAME_ANOTHER = "(404). Is ALIAS the right account alias? Name another with -a."


@pytest.mark.parametrize(
    ("failure", "kind", "words", "tries"),
    [
        (Response(401), AuthenticationError, "The API refused the token (401). Run: clc", 1),
        (Response(404), RefusedError, NAME_ANOTHER, 1),
        (Response(302), RefusedError, "The API refused the request (302). None", 1),
        (wait(30), RefusedError, "30 s (Retry-After). Wait, then run it again.", 2),
        (wait(31), RefusedError, "(429). The API asks to wait 31 s (Retry-After).", 1),
        (says(500, "Oh."), RefusedError, "(500): Oh. Try again later.", 3),
        (httpx.ReadTimeout("slow"), RefusedError, f"{TIMED_OUT} Try again later.", 3),
        (httpx.ConnectError("refused"), UnreachableError, f"Can't reach {ORIGIN}: refused.", 3),
    ],
)
def test_a_read_that_fails_for_good_says_why(
    api_ctl_io: Router, failure: Answer, kind: Kind, words: str, tries: int
) -> None:
    route = api_ctl_io.get("/v2/datacenters/ALIAS").mock(side_effect=[failure] * 3)
    with pytest.raises(kind) as raised:
        Session().client.groups("ALIAS")
    assert words in f"{raised.value.message} {raised.value.hint or None}"
    assert route.call_count == tries


@pytest.mark.parametrize("other", [Response(500), httpx.ReadError("gone")])
def test_what_is_refused_for_good_ends_all_reading(api_ctl_io: Router, other: Answer) -> None:
    final = api_ctl_io.get(f"/v2/groups/ALIAS/{ROOT}").respond(404)
    route = account(api_ctl_io, datacenter("wa1"), datacenter("va1", OTHER_ROOT))
    route.mock(side_effect=[other] * 3)
    with pytest.raises(RefusedError, match=r"\(404\)") as raised:
        Session().client.groups("ALIAS")
    assert raised.value.hint.startswith("Is ALIAS the right account alias?")
    assert (final.call_count, route.call_count) == (1, 1)


def test_headers_that_drip_without_an_end_are_not_waited_for(monkeypatch: Patch) -> None:
    released = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not released.wait(0.01):
            connection.sendall(b"X: y\r\n")

    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.1)
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.5)
    with listening(drip) as first, listening(drip) as second:
        with pytest.raises(RefusedError, match=r"no answer within 0\.1 s"):
            Session(f"http://{first}").client.groups("ALIAS")
        session = Session(f"http://{second}", monotonic=count(step=0.1).__next__)
        assert session.reset().problem == "no answer within 0.5 s"
        released.set()
