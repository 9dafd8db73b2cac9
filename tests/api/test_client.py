import threading
from datetime import timedelta

import httpx
import pytest
import respx

from clc_reset.api import client as api
from clc_reset.errors import AuthenticationError, Interrupted, RefusedError, UnreachableError
from clc_reset.models import Observation, Operation, OperationStatus, PollFailure
from clc_reset.sandbox.cloud import Cloud
from tests.api.session import (
    DATE,
    PATH,
    QUEUED,
    REFUSED,
    RENEWAL,
    THEN,
    TOKEN,
    WA1,
    A,
    B,
    C,
    Once,
    Session,
    dripping,
)
from tests.conftest import ORIGIN
from tests.fakes import HANG, NEVER, jwt, loopback

Response = httpx.Response | Exception

# --- log in ------------------------------------------------------------------------------------


def test_a_login_gives_a_credential(served: Cloud) -> None:
    found = Session(token="").client.log_in("demo", "demo")
    assert (found.user, found.account, found.roles) == ("demo", "ALIAS", ("AccountAdmin",))
    assert found.expires
    assert found.issued
    assert found.expires - found.issued == timedelta(days=14)


def test_a_login_may_leave_everything_out_but_the_token(api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": jwt(), "roles": [3, "X"]})
    found = Session(token="").client.log_in("demo", "demo")
    assert (found.user, found.account, found.roles) == ("demo", "ABCD", ("X",))


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        *[
            (httpx.Response(status, json={"message": "Oh."}), RefusedError, f"({status}): Oh.")
            for status in (302, 404, 429, 500, 503)
        ],
        *[
            (httpx.Response(200, content=body), RefusedError, "without a usable token.")
            for body in (b"", b"<html>", b"[]", b"{}", b'{"bearerToken":"a b"}')
        ],
        (
            httpx.Response(401, json={"message": "We didn't."}),
            AuthenticationError,
            "The login as demo was refused (401): We didn't.",
        ),
        (
            httpx.Response(429, headers={"Retry-After": "90"}),
            RefusedError,
            "The login got no usable answer (429). The API asks to wait 90 s (Retry-After).",
        ),
        (httpx.ReadError("gone"), RefusedError, "The login failed: the connection was lost (gone)"),
        (httpx.ConnectError("refused"), UnreachableError, "refused."),
    ],
)
def test_a_login_that_fails_says_why_and_is_not_repeated(
    api_ctl_io: respx.Router, response: Response, kind: type[Exception], words: str
) -> None:
    route = api_ctl_io.post().mock(side_effect=[response])
    with pytest.raises(kind) as raised:
        Session(token="").client.log_in("demo", "demo")
    assert words in str(raised.value)
    assert route.call_count == 1


def test_a_login_without_an_answer_may_have_counted() -> None:
    with loopback(NEVER) as server, pytest.raises(RefusedError, match="login failed") as raised:
        Session(server.url, token="").client.log_in("demo", "demo")
    assert "three wrong passwords" in raised.value.hint


# --- get status --------------------------------------------------------------------------------

CAN_T_BE_READ = PollFailure("the answer (200) can't be read")


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (httpx.Response(200, json={"status": "executing"}), OperationStatus("executing")),
        (httpx.Response(200, json={"status": "x y"}), OperationStatus("x y")),
        (httpx.Response(500), PollFailure("the API answered 500")),
        (httpx.Response(503), PollFailure("the API answered 503", slow_down=True)),
        (
            httpx.Response(404, json={"message": "No."}),
            PollFailure("the API answered 404: No", not_found=True),
        ),
        (
            httpx.Response(429, headers={"Retry-After": "7"}),
            PollFailure("the API answered 429", slow_down=True, retry_after=7.0),
        ),
        (httpx.Response(302), PollFailure("the API answered 302")),
        (httpx.Response(200, content=b"<html>"), CAN_T_BE_READ),
        (httpx.Response(200, json={"status": None}), CAN_T_BE_READ),
        (
            httpx.Response(200, content=b" " * 70_000),
            PollFailure("the answer is larger than 64 KiB"),
        ),
        (httpx.ReadTimeout("x"), PollFailure("no answer within 60 s")),
        (httpx.ConnectError("refused"), PollFailure("refused", unreachable=True)),
        (httpx.ReadError("gone"), PollFailure("the connection was lost (gone)")),
    ],
)
def test_a_poll_is_the_word_of_the_api_or_says_why_not(
    api_ctl_io: respx.Router, response: Response, found: object
) -> None:
    api_ctl_io.get(PATH).mock(side_effect=[response])
    assert Session().client.operation_status(WA1) == found


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (401, "The API refused the token (401).", RENEWAL),
        (403, "This user may not see operation wa1-12345 (403).", "See: clc whoami"),
    ],
)
def test_a_poll_that_is_denied_is_an_error(
    api_ctl_io: respx.Router, status: int, message: str, hint: str
) -> None:
    api_ctl_io.get(PATH).respond(status)
    with pytest.raises(AuthenticationError) as raised:
        Session().client.operation_status(WA1)
    assert raised.value.message == message
    assert raised.value.hint.endswith(hint)


def test_a_status_is_asked_for_by_the_path_of_its_link(api_ctl_io: respx.Router) -> None:
    route = api_ctl_io.get("/elsewhere/x%20y?z=1").respond(200, json={"status": "executing"})
    Session().client.operation_status(Operation("wa1-1", "/elsewhere/x%20y?z=1"))
    assert route.calls.last.request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert route.calls.last.request.content == b""


def test_an_operation_can_be_asked_for_by_its_id() -> None:
    operation = Session().client.operation("abcd", "wa1-7")
    assert operation == Operation("wa1-7", "/v2/operations/abcd/status/wa1-7", "ABCD")


@pytest.mark.parametrize("href", ["https://example.com/x", "//x", "https://api.ctl.io:x/"])
def test_a_fault_of_one_link_is_that_of_one_server(api_ctl_io: respx.Router, href: str) -> None:
    link = {"rel": "status", "href": href, "id": "wa1-1"}
    elsewhere = {**QUEUED, "server": C, "links": [link]}
    api_ctl_io.post().respond(200, json=[elsewhere, QUEUED, REFUSED])
    session = Session()
    third, first, second = session.reset(C, A, B).results
    assert (third.state, third.operation) == ("queued", Operation("wa1-1", None))
    assert (first.operation, second.state) == (WA1, "failed")
    failure = PollFailure("its status link leads elsewhere and isn't followed")
    assert session.client.operation_status(Operation("wa1-1", None)) == failure
    assert len(api_ctl_io.calls) == 1


# --- what a server shows -----------------------------------------------------------------------

WA1_ROOT, VA1_ROOT = "1" * 32, "2" * 32
DATED = {"Date": DATE.removeprefix("Date: ").strip()}
ENTITY = {
    "id": A.lower(),
    "groupId": WA1_ROOT,
    "locationId": "wa1",
    "status": "active",
    "details": {"powerState": "started", "inMaintenanceMode": False},
    "changeInfo": {"modifiedDate": "2001-09-09T01:48:22Z", "modifiedBy": "nightly"},
}


def test_a_server_shows_when_it_was_changed_and_by_whom(api_ctl_io: respx.Router) -> None:
    api_ctl_io.get(f"/v2/servers/ALIAS/{A}").respond(200, json=ENTITY, headers=DATED)
    assert Session().client.server("ALIAS", A) == Observation(
        A,
        THEN,
        THEN - timedelta(seconds=18),
        "nightly",
        "active",
        "started",
        in_maintenance=False,
        group=WA1_ROOT,
        datacenter="WA1",
    )


@pytest.mark.parametrize(
    ("response", "problem", "concerns_all"),
    [
        (httpx.Response(401), "the API refused the token (401)", AuthenticationError),
        (httpx.Response(403), "this user may not see it (403)", None),
        (httpx.Response(404), "the API knows no such server (404)", None),
        (httpx.Response(500, json={"message": "Oh."}), "the API answered 500: Oh", None),
        (httpx.Response(200, text="x"), "the answer (200) can't be read", None),
        (httpx.Response(200, json={**ENTITY, "id": B}), "the answer (200) can't be read", None),
        (httpx.ConnectError("refused"), "refused", UnreachableError),
        (httpx.ConnectTimeout(""), "no connection within 10 s", UnreachableError),
        (httpx.ReadTimeout(""), "no answer within 10 s", None),
        (ZeroDivisionError(), "ZeroDivisionError", None),
    ],
)
def test_a_server_that_can_not_be_seen_says_why(
    api_ctl_io: respx.Router,
    response: Response,
    problem: str,
    concerns_all: type[Exception] | None,
) -> None:
    route = api_ctl_io.get(f"/v2/servers/ALIAS/{A}").mock(side_effect=[response])
    seen = Session().client.server("ALIAS", A)
    assert seen._replace(error=None) == Observation(A, problem=problem)
    assert type(seen.error) is (concerns_all or type(None))
    assert route.call_count == 1


def test_the_name_of_a_group_is_asked_for(api_ctl_io: respx.Router) -> None:
    named, refused = httpx.Response(200, json={"name": "Web"}), httpx.ConnectError("refused")
    route = api_ctl_io.get(f"/v2/groups/ALIAS/{WA1_ROOT}")
    route.side_effect = [named, httpx.Response(404), refused]
    ids = ("../x", *[WA1_ROOT] * 3)
    names = [Session().client.group_name("ALIAS", group_id) for group_id in ids]
    assert names == [None, "Web", None, None]
    assert route.call_count == len(api_ctl_io.calls) == 3


# --- groups ------------------------------------------------------------------------------------


def group(name: str, *servers: str, detailed: bool = False) -> dict[str, object]:
    """A group as it is listed, in detail or without."""
    links = [{"rel": "server", "id": server} for server in servers]
    entities = [{**ENTITY, "id": server.lower()} for server in servers]
    lists = {"links": [], "servers": entities} if detailed else {"links": links}
    return {"id": "3" * 32, "name": name, "type": "default", **lists}


def account(router: respx.Router, **roots: str) -> respx.Route:
    """Let an account have data centres; returns the route to their groups."""
    listed = [{"id": dc, "links": [{"rel": "group", "id": root}]} for dc, root in roots.items()]
    router.get("/v2/datacenters/ALIAS?groupLinks=true").respond(200, json=listed)
    return router.get(url__startswith=f"{ORIGIN}/v2/groups/ALIAS/")


def test_groups_come_by_data_centre_all_asked_for_at_once(api_ctl_io: respx.Router) -> None:
    both = threading.Barrier(2)

    def answer(request: httpx.Request) -> httpx.Response:
        both.wait(20)
        assert request.url.query == b""
        is_west = request.url.path.endswith(WA1_ROOT)
        return httpx.Response(200, json=group("W", "W2", "W1") if is_west else group("E", "V1"))

    account(api_ctl_io, wa1=WA1_ROOT, va1=VA1_ROOT).mock(side_effect=answer)
    found = Session().client.groups("ALIAS")
    assert [(group.datacenter, group.name, group.servers) for group in found] == [
        ("VA1", "E", ("V1",)),
        ("WA1", "W", ("W1", "W2")),
    ]
    assert not any(group.observations for group in found)


def test_in_detail_each_group_has_what_its_servers_show(api_ctl_io: respx.Router) -> None:
    route = account(api_ctl_io, wa1=WA1_ROOT)
    route.respond(200, json=group("Web", B, A, detailed=True), headers=DATED)
    (found,) = Session().client.groups("ALIAS", detailed=True)
    assert route.calls.last.request.url.query == b"serverDetail=detailed"
    assert found.servers == (A, B)
    assert [(seen.server, seen.group, seen.seen_at) for seen in found.observations] == [
        (A, "Web", THEN),
        (B, "Web", THEN),
    ]


@pytest.mark.parametrize("detailed", [True, False])
def test_the_servers_of_the_other_form_are_none_of_the_group(
    api_ctl_io: respx.Router, detailed: bool
) -> None:
    other = group("Web", A, detailed=not detailed)
    account(api_ctl_io, wa1=WA1_ROOT).respond(200, json=other)
    (found,) = Session().client.groups("ALIAS", detailed=detailed)
    assert found.servers == ()


@pytest.mark.parametrize("detailed", [True, False])
def test_the_servers_and_groups_of_the_sandbox_are_read(served: Cloud, detailed: bool) -> None:
    session = Session(token="")
    client = session.client.authorize(session.client.log_in("demo", "demo").token, "")
    found = client.groups("ALIAS", detailed=detailed)
    servers = {server for group in found for server in group.servers}
    assert {A, B, C} <= servers
    shown = {seen.server for group in found for seen in group.observations}
    assert shown == (servers if detailed else set())
    seen = client.server("ALIAS", A)
    assert (seen.status, seen.power, seen.problem) == ("active", "started", None)


def test_an_account_without_a_data_centre_has_no_groups(api_ctl_io: respx.Router) -> None:
    account(api_ctl_io)
    assert Session().client.groups("ALIAS") == []


@pytest.mark.parametrize(
    ("failure", "pauses"),
    [
        (httpx.Response(500, json={"message": "An error has occurred."}), [1.0, 2.0]),
        (httpx.Response(503), [1.0, 2.0]),
        (httpx.Response(429), [1.0, 2.0]),
        (httpx.Response(429, headers={"Retry-After": "7"}), [7.0, 7.0]),
        (httpx.ReadTimeout("slow"), [1.0, 2.0]),
        (httpx.ReadError("gone"), [1.0, 2.0]),
        (httpx.ConnectError("refused"), [1.0, 2.0]),
    ],
)
def test_only_what_failed_is_read_again_and_after_the_pause_asked_for(
    api_ctl_io: respx.Router, failure: Response, pauses: list[float]
) -> None:
    route = api_ctl_io.get(f"/v2/groups/ALIAS/{WA1_ROOT}")
    route.mock(side_effect=[failure, failure, httpx.Response(200, json=group("Web", A))])
    account(api_ctl_io, wa1=WA1_ROOT, va1=VA1_ROOT).respond(200, json=group("Web", A))
    session = Session()
    assert len(session.client.groups("ALIAS")) == 2
    assert session.inbox.pauses == pauses
    assert (route.call_count, len(api_ctl_io.calls)) == (3, 5)


@pytest.mark.parametrize(
    ("failure", "kind", "words", "tries"),
    [
        (httpx.Response(401), AuthenticationError, "refused the token (401).", 1),
        (
            httpx.Response(403),
            AuthenticationError,
            "This user may not see the groups of account ALIAS (403).",
            1,
        ),
        (httpx.Response(404), RefusedError, "(404).", 1),
        (httpx.Response(302), RefusedError, "(302).", 1),
        (httpx.Response(204), RefusedError, "(204).", 1),
        (httpx.Response(429, headers={"Retry-After": "31"}), RefusedError, "(429). The API", 1),
        (httpx.Response(500, json={"message": "Oh."}), RefusedError, "(500): Oh.", 3),
        (
            httpx.ReadTimeout("slow"),
            RefusedError,
            f"The request to {ORIGIN} failed: no answer within 60 s.",
            3,
        ),
        (httpx.ConnectError("refused"), UnreachableError, f"Can't reach {ORIGIN}: refused.", 3),
    ],
)
def test_a_read_that_fails_for_good_says_why(
    api_ctl_io: respx.Router, failure: Response, kind: type[Exception], words: str, tries: int
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


def test_a_signal_ends_the_reading(once: Once) -> None:
    with loopback(HANG) as server:
        session = Session(server.url)
        once(lambda: bool(server.requests), session)
        with pytest.raises(Interrupted):
            session.client.groups("ALIAS")


def test_an_answer_without_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REQUEST_SECONDS", 0.1)
    with dripping() as origin, pytest.raises(RefusedError, match=r"no answer within 0\.1 s"):
        Session(origin).client.groups("ALIAS")
