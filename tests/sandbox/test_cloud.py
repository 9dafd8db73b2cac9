import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest, HTTPResponse
from tests.builders import A, B
from tests.virtual import VirtualClocks

C = "VA1ALIASWB01"
STOPPED, ARCHIVED, UNKNOWN = "VA1ALIASJOB03", "WA1ALIASOLD01", "WA1ALIASXX99"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = "2015-03-26T23:59:28Z"
CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
IN_DESIRED_STATE = "The server already in desired state."


class Visitor:
    """A client that is logged in, and a clock to turn."""

    def __init__(self, **behaviour: Any) -> None:
        self.clocks = VirtualClocks(NOON)
        self.cloud = Cloud(Behaviour(**behaviour), lambda: self.clocks.now().wall, Random(1))
        self.token = self.cloud.token()

    def send(self, method: str, target: str, content: object = None) -> HTTPResponse | None:
        body = b"" if content is None else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.token}"}
        return self.cloud.handle(HTTPRequest(method, target, headers, body))

    def ask(self, method: str, target: str, content: object = None) -> HTTPResponse:
        answer = self.send(method, target, content)
        assert answer
        return answer

    def get(self, target: str) -> Any:
        answer = self.ask("GET", target)
        assert answer.status == 200
        return json.loads(answer.body)

    def operate(self, operation: str, *servers: str) -> list[dict[str, Any]]:
        answer = self.ask("POST", f"/v2/operations/ALIAS/servers/{operation}", list(servers))
        assert answer.status == 200
        entities: list[dict[str, Any]] = json.loads(answer.body)
        return entities

    def reset(self, *servers: str) -> list[dict[str, Any]]:
        return self.operate("reset", *servers)

    def status_after(self, seconds: float, href: str) -> str:
        self.clocks.go_on(seconds)
        status: str = self.get(href)["status"]
        return status

    def server(self, server: str) -> Any:
        return self.get(f"/v2/servers/ALIAS/{server}")

    def change(self, server: str) -> tuple[str, str]:
        changes = self.server(server)["changeInfo"]
        return changes["modifiedDate"], changes["modifiedBy"]

    def change_after(self, seconds: float, server: str) -> str:
        """When a server was changed, seen so many seconds after noon."""
        self.clocks.seconds = seconds
        return self.change(server)[0]

    def state(self, server: str) -> tuple[str, bool]:
        details = self.server(server)["details"]
        return details["powerState"], details["inMaintenanceMode"]


def log_in(cloud: Cloud, username: object = "demo", password: object = "demo") -> HTTPResponse:
    return send_login(cloud, json.dumps({"username": username, "password": password}).encode())


def send_login(cloud: Cloud, body: bytes) -> HTTPResponse:
    answer = cloud.handle(HTTPRequest("POST", "/v2/authentication/login", {}, body))
    assert answer
    return answer


def test_a_login_has_the_recorded_fields_in_a_varying_order() -> None:
    cloud = Visitor().cloud
    answers = [json.loads(log_in(cloud).body) for _ in range(10)]
    assert set(answers[0]) == {
        "userName",
        "accountAlias",
        "locationAlias",
        "roles",
        "bearerToken",
    }
    assert len({tuple(answer) for answer in answers}) > 1


def test_a_token_is_a_jwt_of_about_500_characters_that_lives_14_days() -> None:
    token = Visitor().token
    header, payload = (
        json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]
    )
    assert header == {"typ": "JWT", "alg": "HS256"}
    assert (payload["role"], payload["unique_name"]) == (["AccountAdmin"], "demo")
    assert payload["exp"] - payload["nbf"] == 14 * 24 * 3600
    assert payload["urn:tier3:account-alias"] == "ALIAS"
    assert 350 < len(token) < 600


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username": "DEMO", "password": "demo"}', 200),
        (b'{"Username": "demo", "Password": "demo"}', 200),
        (b'{"username": ["demo"], "password": "demo"}', 400),
        (b'{"username": "demo", "password": "wrong"}', 400),
        (b"username=demo&password=%64emo", 200),
        (b"Username=demo&PASSWORD=demo", 200),
        (b"username=demo&password=wrong", 400),
        (b"username=demo", 400),
    ],
)
def test_a_login_is_json_or_a_form_with_names_in_any_case(body: bytes, status: int) -> None:
    answer = send_login(Visitor().cloud, body)
    assert answer.status == status
    if status == 400:
        words = "We didn't recognize the username or password you entered. Please try again."
        assert json.loads(answer.body) == {"message": words}


def test_three_wrong_passwords_in_a_row_lock_the_user() -> None:
    cloud = Visitor().cloud
    assert [log_in(cloud, password="x").status for _ in range(2)] == [400, 400]
    assert log_in(cloud).status == 200
    assert [log_in(cloud, password="x").status for _ in range(3)] == [400, 400, 400]
    assert log_in(cloud).status == 400
    assert log_in(cloud).note == "demo is locked"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"[1]", b"\xff", b"[" * 99_999])
def test_a_login_that_is_no_object_is_invalid(body: bytes) -> None:
    answer = send_login(Visitor().cloud, body)
    assert answer.status == 400
    assert "modelState" in json.loads(answer.body)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic ZGVtbzpkZW1v", "Bearer ä.ö.ü", "{token}x"],
)
def test_a_request_without_a_valid_token_is_a_401(authorization: str) -> None:
    visitor = Visitor()
    headers = {"authorization": authorization.format(token=f"Bearer {visitor.token}")}
    answer = visitor.cloud.handle(HTTPRequest("GET", "/v2/datacenters/ALIAS", headers))
    assert answer
    assert (answer.status, answer.body) == (401, b"")


def test_a_token_expires_after_14_days() -> None:
    assert Visitor(expired_token=True).ask("GET", "/v2/datacenters/ALIAS").status == 401
    visitor = Visitor()
    visitor.clocks.go_on(14 * 24 * 3600 - 1)
    assert visitor.get("/v2/datacenters/ALIAS")
    visitor.clocks.go_on(1)
    answer = visitor.ask("GET", "/v2/datacenters/ALIAS")
    assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/datacenters/OTHER", 403),
        ("GET", "/v2/operations/OTHER/status/wa1-1", 404),
        ("GET", "/v2/operations/ALIAS/servers/reset", 405),
    ],
)
def test_another_account_or_method_is_refused(method: str, target: str, status: int) -> None:
    assert Visitor().ask(method, target).status == status


def test_a_reset_answers_in_lower_case_and_another_order() -> None:
    for _ in range(20):
        entities = Visitor().reset(A, B, C)
        assert sorted(entity["server"] for entity in entities) == sorted(
            server.lower() for server in (A, B, C)
        )
        assert [entity["server"].upper() for entity in entities] != [A, B, C]
        assert all(entity["isQueued"] is True for entity in entities)


def test_a_batch_shares_one_status_id_a_data_centre() -> None:
    visitor = Visitor()
    links = {entity["server"]: entity["links"] for entity in visitor.reset(A, B, C)}
    assert links[A.lower()] == links[B.lower()]
    assert links[A.lower()] == [
        {"rel": "status", "href": "/v2/operations/alias/status/wa1-12345", "id": "wa1-12345"}
    ]
    assert links[C.lower()][0]["id"] == "va1-12346"
    assert visitor.reset(A)[0]["links"][0]["id"] == "wa1-12347"


def test_duplicates_are_dropped_and_any_case_is_accepted() -> None:
    visitor = Visitor()
    assert len(visitor.reset(A, A.lower(), B)) == 2
    assert visitor.cloud.servers[A].resets == 1
    visitor.operate("reboot", A)
    visitor.operate("startMaintenance", A)
    visitor.reset(A)
    assert visitor.cloud.servers[A].resets == 2


@pytest.mark.parametrize("server", [UNKNOWN, ARCHIVED, STOPPED])
def test_an_unknown_archived_or_stopped_server_is_refused_in_the_documented_words(
    server: str,
) -> None:
    assert Visitor().reset(server) == [
        {
            "server": server.lower(),
            "isQueued": False,
            "errorMessage": CANNOT_BE_QUEUED,
        }
    ]


def test_a_server_that_is_refused_on_request_is_not_changed() -> None:
    visitor = Visitor(refuse=frozenset({A}), duration=0)
    assert {e["server"]: e["isQueued"] for e in visitor.reset(A, B)} == {
        A.lower(): False,
        B.lower(): True,
    }
    assert visitor.cloud.servers[A].resets == 0
    assert (visitor.change(A)[0] == LONG_AGO, visitor.change(B)[0] == LONG_AGO) == (True, False)


@pytest.mark.parametrize("content", [None, {}, {"serverIds": [A]}, [1], "x", []])
def test_a_body_that_is_no_array_of_ids_is_a_400(content: object) -> None:
    answer = Visitor().ask("POST", "/v2/operations/ALIAS/servers/reset", content)
    assert answer.status == 400
    assert "serverIds" in json.loads(answer.body)["modelState"]


def test_a_lost_answer_is_a_reset_all_the_same() -> None:
    visitor = Visitor(lose_answer=True)
    assert visitor.send("POST", "/v2/operations/ALIAS/servers/reset", [A]) is None
    assert visitor.cloud.servers[A].resets == 1


def test_an_operation_goes_through_the_recorded_statuses() -> None:
    visitor = Visitor(duration=10)
    href = visitor.reset(A)[0]["links"][0]["href"]
    seen = [visitor.status_after(step, href) for step in (0, *[1] * 10, 99)]
    assert seen == [
        *["notStarted"] * 4,
        *["executing"] * 3,
        *["resumed"] * 2,
        "executing",
        "succeeded",
        "succeeded",
    ]


def test_an_operation_fails_on_request_for_all_who_share_it() -> None:
    visitor = Visitor(duration=10, fail=frozenset({B}))
    hrefs = {entity["server"]: entity["links"][0]["href"] for entity in visitor.reset(A, B, C)}
    assert visitor.status_after(10, hrefs[A.lower()]) == "failed"
    assert visitor.status_after(0, hrefs[C.lower()]) == "succeeded"


def test_a_share_of_the_polls_gets_a_503_on_request() -> None:
    visitor = Visitor(flaky=0.3)
    href = visitor.reset(A)[0]["links"][0]["href"]
    answers = [visitor.ask("GET", href) for _ in range(1000)]
    assert 250 < Counter(answer.status for answer in answers)[503] < 350


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2/nothing",
        "/v2/operations/ALIAS/status/wa1-1",
        "/v2/groups/ALIAS/0123",
        "/v2/servers/ALIAS/WA1ALIASXX99",
        "/v2/servers/ALIAS/WA1ALIASXX99/credentials",
        "/v2/servers/ALIAS/WA1ALIASOLD01/credentials",
        "/v2/datacenters/ALIAS/uc1",
        "/v2/datacenters/ALIAS/uc1/deploymentCapabilities",
        "//[",
    ],
)
def test_what_is_not_there_is_a_404_without_body_or_content_type(target: str) -> None:
    answer = Visitor().ask("GET", target)
    assert (answer.status, answer.body) == (404, b"")
    assert set(answer.headers) == {"Content-Length", "Date"}


@pytest.mark.parametrize(
    "target", ["/v2/operations/ALIAS/servers/explode", "/v2/nothing", "/authentication/login"]
)
def test_a_wrong_path_is_404_on_post(target: str) -> None:
    answer = Visitor().ask("POST", target, [A])
    message = {"message": "The requested resource does not exist."}
    assert (answer.status, json.loads(answer.body)) == (404, message)


def roots(visitor: Visitor) -> dict[str, str]:
    return {
        datacenter["id"]: link["id"]
        for datacenter in visitor.get("/v2/datacenters/alias?groupLinks=true")
        for link in datacenter["links"]
        if link["rel"] == "group"
    }


def servers_below(group: Mapping[str, Any]) -> list[str]:
    own = [link["id"] for link in group["links"] if link["rel"] == "server"]
    return own + [server for below in group["groups"] for server in servers_below(below)]


def flat(group: Any) -> list[Any]:
    return [group, *(below for child in group["groups"] for below in flat(child))]


def test_each_data_centre_names_its_root_group_when_asked() -> None:
    visitor = Visitor()
    assert set(roots(visitor)) == {"wa1", "va1"}
    without = visitor.get("/v2/datacenters/ALIAS")
    assert all(link["rel"] != "group" for datacenter in without for link in datacenter["links"])
    assert visitor.get("/v2/datacenters/ALIAS/WA1")["id"] == "wa1"
    assert visitor.get("/v2/datacenters/ALIAS/") == without


def test_a_group_holds_those_inside_it_and_its_servers_in_upper_case() -> None:
    visitor = Visitor()
    wa1, va1 = (visitor.get(f"/v2/groups/ALIAS/{root}") for root in roots(visitor).values())
    assert wa1["locationId"] == "WA1"
    assert {child["type"] for child in wa1["groups"]} == {"default", "archive", "templates"}
    assert wa1["serversCount"] == len(servers_below(wa1)) - 1  # archived servers don't count
    assert wa1["changeInfo"]["modifiedBy"] == "demo"
    assert [group["name"] for group in flat(va1)] == [
        *("VA1 Hardware", "Default Group", "Web", "Batch", "Nightly", "Reports"),
        *("Archive", "Templates"),
    ]
    own = {group["name"]: servers_below({**group, "groups": []}) for group in flat(wa1)}
    assert (own["Web"][:2], own["Staging"], own["Default Group"]) == ([A, B], [], [])


@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_options_have_any_case(case: Callable[[str], str]) -> None:
    visitor = Visitor()
    links = visitor.get(f"/v2/datacenters/ALIAS/WA1?{case('groupLinks=true')}")["links"]
    assert [link["name"] for link in links if link["rel"] == "group"] == ["WA1 Hardware"]
    query = case("serverDetail=detailed")
    assert "servers" in visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}?{query}")


def test_a_server_has_the_recorded_fields() -> None:
    visitor = Visitor()
    server = visitor.server(A)
    details = server["details"]
    assert (server["id"], server["name"], server["status"]) == (A.lower(), A, "active")
    assert server["description"] == "Web WB01"
    assert (details["powerState"], details["inMaintenanceMode"]) == ("started", False)
    assert details["storageGB"] == sum(disk["sizeGB"] for disk in details["disks"])
    assert details["diskCount"] == len(details["disks"])
    for status in ("archived", "queuedForRestore"):
        visitor.cloud.servers[ARCHIVED].status = status
        archived = visitor.server(ARCHIVED)
        assert archived["details"] == {"powerState": "stopped", "storageGB": 19}
    assert archived["description"] == ""
    visitor.cloud.servers[A].status = "underConstruction"
    assert "details" not in visitor.server(A)


EVERY_LINK = ["self", "group", "account", "billing"]


@pytest.mark.parametrize(
    ("server", "rels"),
    [(A, [*EVERY_LINK, "statistics", "capabilities", "credentials"]), (ARCHIVED, EVERY_LINK)],
)
def test_a_server_has_the_recorded_links(server: str, rels: list[str]) -> None:
    entity = Visitor().server(server)
    assert [link["rel"] for link in entity["links"]] == rels
    assert all("ALIAS" not in link["href"] for link in entity["links"])


def test_links_lead_to_the_server_its_group_account_and_credentials() -> None:
    visitor = Visitor()
    server = visitor.server(A)
    links = {link["rel"]: link["href"] for link in server["links"]}
    assert visitor.get(links["self"]) == server
    assert visitor.get(links["group"])["name"] == "Web"
    assert visitor.get(links["account"])["primaryDataCenter"] == "WA1"
    assert visitor.get(links["credentials"]) == {"userName": "root", "password": "demo"}
    links = {
        link["rel"]: link["href"] for link in visitor.get("/v2/datacenters/ALIAS/VA1")["links"]
    }
    capabilities = visitor.get(links["deploymentCapabilities"])
    assert [template["osType"] for template in capabilities["templates"]] == ["debian7_64Bit"]


def test_a_group_in_detail_holds_its_servers_instead_of_links_to_them() -> None:
    visitor = Visitor()
    for root in roots(visitor).values():
        group = visitor.get(f"/v2/groups/ALIAS/{root}?serverDetail=detailed")
        plain = visitor.get(f"/v2/groups/ALIAS/{root}")
        for detailed, same in zip(flat(group), flat(plain), strict=True):
            servers = [link["id"] for link in same["links"] if link["rel"] == "server"]
            assert detailed["servers"] == [visitor.server(server) for server in servers]
            assert "servers" not in same
            assert not [link for link in detailed["links"] if link["rel"] == "server"]
            assert detailed["serversCount"] == same["serversCount"]


@pytest.mark.parametrize("query", ["serverDetail=", "serverDetail=none", "detailed"])
def test_there_is_no_detail_but_the_recorded_one(query: str) -> None:
    visitor = Visitor()
    assert "servers" not in visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}?{query}")


def test_before_its_turn_a_server_shows_that_it_was_changed_long_ago() -> None:
    visitor = Visitor(duration=100)
    visitor.reset(A)
    assert visitor.change_after(97, A) == LONG_AGO
    assert visitor.change_after(99, A) == "2026-01-01T12:01:38Z"
    assert visitor.change(A) == ("2026-01-01T12:01:38Z", "demo")


def test_servers_take_their_turns_one_after_another_in_the_order_of_the_answer() -> None:
    visitor = Visitor(duration=100, servers=30)
    asked = [server for server in visitor.cloud.servers if server.startswith("WA1ALIASN")][:8]
    order = [entity["server"] for entity in visitor.reset(*asked)]
    seen: list[list[str]] = []
    for second in range(101):
        changed = [server for server in order if visitor.change_after(second, server) != LONG_AGO]
        if not seen or changed != seen[-1]:
            seen.append(changed)
    assert seen == [order[:number] for number in range(9)]
    dates = [visitor.change(server)[0] for server in order]
    assert dates == sorted(set(dates))
    assert dates[0] > "2026-01-01T12:00:40Z"  # none while the operation isn't started
    assert "2026-01-01T12:01:35Z" < dates[-1] < "2026-01-01T12:01:40Z"


def test_each_data_centre_works_its_servers_off_by_itself() -> None:
    visitor = Visitor(duration=100)
    visitor.reset(A, B, C)
    assert visitor.change_after(70, C) == LONG_AGO
    assert len({visitor.change_after(100, server)[0] for server in (A, B, C)} - {LONG_AGO}) == 1
    assert sorted(visitor.change(server)[0] for server in (A, B, C)) == [
        "2026-01-01T12:01:09Z",
        "2026-01-01T12:01:38Z",
        "2026-01-01T12:01:38Z",
    ]


def test_a_batch_stops_at_the_server_that_fails() -> None:
    visitor = Visitor(duration=100, servers=30, fail=frozenset({"WA1ALIASN00003"}))
    asked = [f"WA1ALIASN0000{number}" for number in range(1, 9)]
    entities = visitor.reset(*asked)
    order = [entity["server"].upper() for entity in entities]
    place = order.index("WA1ALIASN00003")
    assert 0 < place < 7
    href = entities[0]["links"][0]["href"]
    turn = 40 + 58 * (place + 1) / 8
    assert visitor.status_after(turn - 0.1, href) in {"executing", "resumed"}
    assert visitor.status_after(0.2, href) == "failed"
    changed = [server for server in order if visitor.change_after(1000, server) != LONG_AGO]
    assert changed == order[:place]
    assert {visitor.cloud.servers[server].resets for server in order} == {1}


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ("reset", "started", "started"),
        ("reset", "paused", "started"),
        ("reset", "stopped", CANNOT_BE_QUEUED),
        ("reboot", "started", "started"),
        ("reboot", "paused", "started"),
        ("reboot", "stopped", CANNOT_BE_QUEUED),
        ("powerOn", "started", IN_DESIRED_STATE),
        ("powerOn", "paused", "started"),
        ("powerOn", "stopped", "started"),
        ("powerOff", "started", "stopped"),
        ("powerOff", "paused", "stopped"),
        ("powerOff", "stopped", IN_DESIRED_STATE),
        ("shutDown", "started", "stopped"),
        ("shutDown", "stopped", IN_DESIRED_STATE),
        ("POWEROFF", "started", "stopped"),
        ("pause", "started", "paused"),
        ("pause", "paused", IN_DESIRED_STATE),
        ("pause", "stopped", CANNOT_BE_QUEUED),
    ],
)
def test_a_power_operation_has_its_effect_at_the_servers_turn(
    operation: str, before: str, after: str
) -> None:
    visitor = Visitor(duration=10)
    visitor.cloud.servers[A].power = before
    (entity,) = visitor.operate(operation, A)
    assert entity.get("errorMessage", after) == after
    assert visitor.state(A) == (before, False)
    if entity["isQueued"]:
        assert visitor.change_after(9.7, A) == LONG_AGO
        assert visitor.change_after(9.9, A) == "2026-01-01T12:00:09Z"
        assert visitor.state(A) == (after, False)


def test_maintenance_begins_and_ends_at_the_servers_turn() -> None:
    visitor = Visitor(duration=10)
    assert visitor.operate("stopMaintenance", A)[0]["errorMessage"] == IN_DESIRED_STATE
    assert visitor.operate("startMaintenance", A)[0]["isQueued"]
    assert visitor.change_after(9, A) == LONG_AGO
    assert visitor.change_after(10, A) == "2026-01-01T12:00:09Z"
    assert visitor.state(A) == ("started", True)
    assert visitor.operate("startMaintenance", A)[0]["errorMessage"] == IN_DESIRED_STATE
    assert visitor.operate("stopMaintenance", A)[0]["isQueued"]
    assert visitor.change_after(20, A) == "2026-01-01T12:00:19Z"
    assert visitor.state(A) == ("started", False)


@pytest.mark.parametrize("server", [UNKNOWN, ARCHIVED])
@pytest.mark.parametrize("operation", ["powerOn", "startMaintenance"])
def test_no_operation_is_queued_for_what_is_not_active(operation: str, server: str) -> None:
    assert Visitor().operate(operation, server)[0]["errorMessage"] == CANNOT_BE_QUEUED


def test_operations_that_overlap_have_their_turns_in_time() -> None:
    visitor = Visitor(duration=10)
    visitor.operate("powerOff", A)
    visitor.clocks.go_on(5)
    visitor.operate("pause", A)
    assert visitor.change_after(10, A) == "2026-01-01T12:00:09Z"
    assert visitor.state(A) == ("stopped", False)
    assert visitor.change_after(15, A) == "2026-01-01T12:00:14Z"
    assert visitor.state(A) == ("paused", False)


@pytest.mark.parametrize(
    ("skew", "date", "modified"),
    [
        (0, "Thu, 01 Jan 2026 12:00:00 GMT", "2026-01-01T12:00:09Z"),
        (3600, "Thu, 01 Jan 2026 13:00:00 GMT", "2026-01-01T13:00:09Z"),
        (-420, "Thu, 01 Jan 2026 11:53:00 GMT", "2026-01-01T11:53:09Z"),
    ],
)
def test_all_that_tells_a_time_tells_the_clouds_own(skew: float, date: str, modified: str) -> None:
    visitor = Visitor(duration=10, clock_skew=skew)
    answer = visitor.ask("POST", "/v2/operations/ALIAS/servers/reset", [A])
    assert answer.headers["Date"] == date
    href = json.loads(answer.body)[0]["links"][0]["href"]
    assert visitor.status_after(9.9, href) == "executing"
    assert visitor.status_after(0.1, href) == "succeeded"
    assert visitor.change(A)[0] == modified
    claims = json.loads(base64.urlsafe_b64decode(visitor.token.split(".")[1] + "=="))
    assert claims["nbf"] == NOON.timestamp() + skew


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v2/authentication/login"),
        ("GET", "/v2/datacenters/ALIAS"),
        ("GET", "/v2/datacenters/OTHER"),
        ("PUT", "/v2/datacenters/ALIAS"),
        ("GET", "/v2/nothing"),
    ],
)
def test_every_answer_has_a_date(method: str, target: str) -> None:
    visitor = Visitor()
    for token in (visitor.token, ""):
        answer = visitor.cloud.handle(
            HTTPRequest(method, target, {"authorization": f"Bearer {token}"})
        )
        assert answer
        assert answer.headers["Date"] == "Thu, 01 Jan 2026 12:00:00 GMT"


def test_a_request_that_is_not_for_the_cloud_is_answered_in_its_form() -> None:
    answer = Visitor().cloud.refusal(421, "Not here.")
    assert (answer.status, json.loads(answer.body)) == (421, {"message": "Not here."})
    assert answer.headers["Date"] == "Thu, 01 Jan 2026 12:00:00 GMT"


@pytest.mark.parametrize("size", [1, 5, 11, 12, 300])
def test_the_inventory_has_the_size_asked_for(size: int) -> None:
    visitor = Visitor(servers=size)
    below = [
        server
        for root in roots(visitor).values()
        for server in servers_below(visitor.get(f"/v2/groups/ALIAS/{root}"))
    ]
    assert len(below) == len(set(below)) == len(visitor.cloud.servers) == size


@given(st.text(), st.text(), st.binary(), st.text())
def test_any_request_gets_an_answer(method: str, target: str, body: bytes, header: str) -> None:
    cloud = Cloud(Behaviour(), lambda: 1.0, Random(1))
    answer = cloud.handle(HTTPRequest(method, f"/{target}", {"authorization": header}, body))
    assert answer
    assert 400 <= answer.status < 500
