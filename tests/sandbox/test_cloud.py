import base64
import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest, HTTPResponse

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
STOPPED, ARCHIVED, UNKNOWN = "VA1ALIASJOB03", "WA1ALIASOLD01", "WA1ALIASXX99"
NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
LONG_AGO = "2015-03-26T23:59:28Z"
CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
IN_DESIRED_STATE = "The server already in desired state."


class Visitor:
    """A client that is logged in, and a clock to turn."""

    def __init__(self, **behaviour: Any) -> None:
        self.now = NOON
        self.cloud = Cloud(Behaviour(**behaviour), lambda: self.now, Random(1))
        self.token = self.cloud.token()

    def ask(self, method: str, target: str, content: object = None) -> HTTPResponse | None:
        body = b"" if content is None else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.token}"}
        return self.cloud.handle(HTTPRequest(method, target, headers, body))

    def get(self, target: str) -> Any:
        answer = self.ask("GET", target)
        assert answer
        assert answer.status == 200
        return json.loads(answer.body)

    def operate(self, operation: str, *servers: str) -> list[dict[str, Any]]:
        answer = self.ask("POST", f"/v2/operations/ALIAS/servers/{operation}", list(servers))
        assert answer
        assert answer.status == 200
        entities: list[dict[str, Any]] = json.loads(answer.body)
        return entities

    def reset(self, *servers: str) -> list[dict[str, Any]]:
        return self.operate("reset", *servers)

    def status_after(self, seconds: float, href: str) -> str:
        self.now += seconds
        status: str = self.get(href)["status"]
        return status

    def server(self, server: str) -> Any:
        return self.get(f"/v2/servers/ALIAS/{server}")

    def change(self, server: str) -> tuple[str, str]:
        changes = self.server(server)["changeInfo"]
        return changes["modifiedDate"], changes["modifiedBy"]

    def change_after(self, seconds: float, server: str) -> str:
        """When a server was changed, seen so many seconds after noon."""
        self.now = NOON + seconds
        return self.change(server)[0]

    def state(self, server: str) -> tuple[str, bool]:
        details = self.server(server)["details"]
        return details["powerState"], details["inMaintenanceMode"]


def log_in(cloud: Cloud, username: object = "demo", password: object = "demo") -> HTTPResponse:
    body = json.dumps({"username": username, "password": password}).encode()
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
    assert header["alg"] == "HS256"
    assert payload["exp"] - payload["nbf"] == 14 * 24 * 3600
    assert payload["urn:tier3:account-alias"] == "ALIAS"
    assert 350 < len(token) < 600


def test_a_wrong_password_is_a_400_in_the_documented_words() -> None:
    answer = log_in(Visitor().cloud, password="wrong")
    assert answer.status == 400
    assert json.loads(answer.body) == {
        "message": "We didn't recognize the username or password you entered. Please try again."
    }


def test_three_wrong_passwords_in_a_row_lock_the_user() -> None:
    cloud = Visitor().cloud
    assert [log_in(cloud, password="x").status for _ in range(2)] == [400, 400]
    assert log_in(cloud).status == 200
    assert [log_in(cloud, password="x").status for _ in range(3)] == [400, 400, 400]
    assert log_in(cloud).status == 400
    assert log_in(cloud).note == "demo is locked"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"username=demo&password=demo", 200),
        (b"username=demo&password=%64emo", 200),
        (b"username=demo&password=wrong", 400),
        (b"username=demo", 400),
    ],
)
def test_a_login_may_come_as_a_form(form: bytes, status: int) -> None:
    answer = Visitor().cloud.handle(HTTPRequest("POST", "/v2/authentication/login", {}, form))
    assert answer
    assert answer.status == status
    assert status == 200 or b"recognize the username or password" in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b'{"Username": "demo", "Password": "demo"}',
        b'{"USERNAME": "demo", "passWord": "demo"}',
        b"Username=demo&PASSWORD=demo",
    ],
)
def test_the_names_of_a_login_may_have_any_case(body: bytes) -> None:
    answer = Visitor().cloud.handle(HTTPRequest("POST", "/v2/authentication/login", {}, body))
    assert answer
    assert answer.status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"[1]", b"\xff", b"[" * 99_999])
def test_a_login_that_is_no_object_is_invalid(body: bytes) -> None:
    answer = Visitor().cloud.handle(HTTPRequest("POST", "/v2/authentication/login", {}, body))
    assert answer
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
    visitor = Visitor()
    visitor.now += 14 * 24 * 3600 - 1
    assert visitor.get("/v2/datacenters/ALIAS")
    visitor.now += 1
    answer = visitor.ask("GET", "/v2/datacenters/ALIAS")
    assert answer
    assert answer.status == 401


def test_an_expired_token_can_be_asked_for() -> None:
    visitor = Visitor(expired_token=True)
    assert log_in(visitor.cloud).status == 200
    answer = visitor.ask("GET", "/v2/datacenters/ALIAS")
    assert answer
    assert answer.status == 401


def test_another_account_is_a_403() -> None:
    answer = Visitor().ask("GET", "/v2/datacenters/OTHER")
    assert answer
    assert answer.status == 403


def test_a_reset_answers_in_lower_case_and_another_order() -> None:
    for _ in range(20):
        entities = Visitor().reset(A, B, C)
        assert sorted(each["server"] for each in entities) == sorted(
            each.lower() for each in (A, B, C)
        )
        assert [each["server"].upper() for each in entities] != [A, B, C]
        assert all(each["isQueued"] is True for each in entities)


def test_a_batch_shares_one_status_id_a_data_centre() -> None:
    visitor = Visitor()
    links = {each["server"]: each["links"] for each in visitor.reset(A, B, C)}
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


def test_a_reset_cycles_the_power_each_time() -> None:
    visitor = Visitor()
    visitor.reset(A)
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


def test_a_server_can_be_refused_on_request() -> None:
    visitor = Visitor(refuse=frozenset({A}))
    assert visitor.reset(A)[0]["isQueued"] is False
    assert visitor.cloud.servers[A].resets == 0


@pytest.mark.parametrize("content", [None, {}, {"serverIds": [A]}, [1], "x", []])
def test_a_body_that_is_no_array_of_ids_is_a_400(content: object) -> None:
    answer = Visitor().ask("POST", "/v2/operations/ALIAS/servers/reset", content)
    assert answer
    assert answer.status == 400
    assert "serverIds" in json.loads(answer.body)["modelState"]


def test_a_lost_answer_is_a_reset_all_the_same() -> None:
    visitor = Visitor(lose_answer=True)
    assert visitor.ask("POST", "/v2/operations/ALIAS/servers/reset", [A]) is None
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
    hrefs = {each["server"]: each["links"][0]["href"] for each in visitor.reset(A, B, C)}
    assert visitor.status_after(10, hrefs[A.lower()]) == "failed"
    assert visitor.status_after(0, hrefs[C.lower()]) == "succeeded"


def test_an_operation_without_duration_is_done_at_once() -> None:
    visitor = Visitor(duration=0)
    assert visitor.status_after(0, visitor.reset(A)[0]["links"][0]["href"]) == "succeeded"


def test_a_share_of_the_polls_gets_a_503_on_request() -> None:
    visitor = Visitor(flaky=0.3)
    href = visitor.reset(A)[0]["links"][0]["href"]
    answers = [visitor.ask("GET", href) for _ in range(1000)]
    assert 250 < Counter(each.status for each in answers if each)[503] < 350


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2/nothing",
        "/v2/operations/ALIAS/status/wa1-1",
        "/v2/groups/ALIAS/0123",
        "/v2/servers/ALIAS/WA1ALIASXX99",
        "/v2/datacenters/ALIAS/uc1",
        "//[",
    ],
)
def test_what_is_not_there_is_a_404_without_body_or_content_type(target: str) -> None:
    answer = Visitor().ask("GET", target)
    assert answer
    assert (answer.status, answer.body) == (404, b"")
    assert set(answer.headers) == {"Content-Length", "Date"}


def test_an_operation_that_is_none_is_a_404() -> None:
    answer = Visitor().ask("POST", "/v2/operations/ALIAS/servers/explode", [A])
    assert answer
    assert answer.status == 404


def test_a_wrong_method_is_a_405() -> None:
    answer = Visitor().ask("GET", "/v2/operations/ALIAS/servers/reset")
    assert answer
    assert answer.status == 405


def roots(visitor: Visitor) -> dict[str, str]:
    return {
        each["id"]: link["id"]
        for each in visitor.get("/v2/datacenters/alias?groupLinks=true")
        for link in each["links"]
        if link["rel"] == "group"
    }


def servers_below(group: Mapping[str, Any]) -> list[str]:
    own = [link["id"] for link in group["links"] if link["rel"] == "server"]
    return own + [each for below in group["groups"] for each in servers_below(below)]


def flat(group: Any) -> list[Any]:
    return [group, *(each for below in group["groups"] for each in flat(below))]


def groups_below(group: Mapping[str, Any]) -> dict[str, list[str]]:
    found = {}
    for below in group["groups"]:
        found[below["name"]] = servers_below({**below, "groups": []})
        found |= {f"{below['name']} / {n}": s for n, s in groups_below(below).items()}
    return found


def test_each_data_centre_names_its_root_group_when_asked() -> None:
    visitor = Visitor()
    assert set(roots(visitor)) == {"wa1", "va1"}
    without = visitor.get("/v2/datacenters/ALIAS")
    assert all(link["rel"] != "group" for each in without for link in each["links"])
    assert visitor.get("/v2/datacenters/ALIAS/WA1")["id"] == "wa1"


@pytest.mark.parametrize("query", ["groupLinks=true", "GroupLinks=True", "GROUPLINKS=TRUE"])
def test_the_root_group_can_be_asked_for_in_any_case(query: str) -> None:
    links = Visitor().get(f"/v2/datacenters/ALIAS/WA1?{query}")["links"]
    assert [each["name"] for each in links if each["rel"] == "group"] == ["WA1 Hardware"]


def test_a_group_holds_its_subgroups_to_the_bottom_and_its_servers_in_upper_case() -> None:
    visitor = Visitor()
    group = visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}")
    assert group["type"] == "default"
    assert {each["type"] for each in group["groups"]} == {"default", "archive", "templates"}
    assert {A, B} <= set(servers_below(group))
    assert group["locationId"] == "WA1"


def test_groups_nest_three_deep_and_one_of_them_is_empty() -> None:
    visitor = Visitor()
    wa1, va1 = (visitor.get(f"/v2/groups/ALIAS/{root}") for root in roots(visitor).values())
    assert groups_below(va1)["Batch / Nightly / Reports"] == ["VA1ALIASJOB03"]
    assert groups_below(wa1)["Staging"] == []


def test_a_group_and_each_below_it_tell_who_changed_them_last() -> None:
    visitor = Visitor()
    group = visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}")
    for each in (group, *group["groups"]):
        assert each["changeInfo"]["modifiedBy"] == "demo"
        assert each["changeInfo"]["modifiedDate"].endswith("Z")
        assert each["customFields"] == []


def test_the_count_of_a_group_leaves_archived_servers_out() -> None:
    visitor = Visitor()
    group = visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}")
    assert group["serversCount"] == len(servers_below(group)) - 1


def test_a_server_has_its_id_in_lower_case_and_its_name_in_upper_case() -> None:
    server = Visitor().server(A)
    assert (server["id"], server["name"], server["status"]) == (A.lower(), A, "active")
    assert server["details"]["powerState"] == "started"


def test_a_server_has_the_recorded_hardware() -> None:
    server = Visitor().server(A)
    details = server["details"]
    assert (server["os"], server["type"], server["storageType"]) == (
        "debian7_64Bit",
        "standard",
        "standard",
    )
    assert (details["cpu"], details["memoryMB"], details["inMaintenanceMode"]) == (2, 4096, False)
    assert details["storageGB"] == sum(each["sizeGB"] for each in details["disks"])
    assert details["diskCount"] == len(details["disks"])
    assert server["changeInfo"]["createdBy"] == "demo"


def test_an_archived_server_has_details_and_is_stopped() -> None:
    server = Visitor().server(ARCHIVED)
    assert (server["status"], server["details"]["powerState"]) == ("archived", "stopped")


def test_a_server_under_construction_has_no_details() -> None:
    visitor = Visitor()
    visitor.cloud.servers[A].status = "underConstruction"
    assert "details" not in visitor.server(A)


def test_a_group_in_detail_holds_its_servers_instead_of_links_to_them() -> None:
    visitor = Visitor()
    for root in roots(visitor).values():
        group = visitor.get(f"/v2/groups/ALIAS/{root}?serverDetail=detailed")
        plain = visitor.get(f"/v2/groups/ALIAS/{root}")
        for each, same in zip(flat(group), flat(plain), strict=True):
            servers = [link["id"] for link in same["links"] if link["rel"] == "server"]
            assert each["servers"] == [visitor.server(server) for server in servers]
            assert "servers" not in same
            assert not [link for link in each["links"] if link["rel"] == "server"]
            assert each["serversCount"] == same["serversCount"]


@pytest.mark.parametrize("query", ["serverdetail=detailed", "SERVERDETAIL=Detailed"])
def test_detail_can_be_asked_for_in_any_case(query: str) -> None:
    visitor = Visitor()
    assert "servers" in visitor.get(f"/v2/groups/ALIAS/{roots(visitor)['wa1']}?{query}")


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
    asked = [each for each in visitor.cloud.servers if each.startswith("WA1ALIASN")][:8]
    order = [each["server"] for each in visitor.reset(*asked)]
    seen: list[list[str]] = []
    for second in range(101):
        changed = [each for each in order if visitor.change_after(second, each) != LONG_AGO]
        if not seen or changed != seen[-1]:
            seen.append(changed)
    assert seen == [order[:number] for number in range(9)]
    dates = [visitor.change(each)[0] for each in order]
    assert dates == sorted(set(dates))
    assert dates[0] > "2026-01-01T12:00:40Z"  # none while the operation isn't started
    assert "2026-01-01T12:01:35Z" < dates[-1] < "2026-01-01T12:01:40Z"


def test_each_data_centre_works_its_servers_off_by_itself() -> None:
    visitor = Visitor(duration=100)
    visitor.reset(A, B, C)
    assert visitor.change_after(70, C) == LONG_AGO
    assert len({visitor.change_after(100, each)[0] for each in (A, B, C)} - {LONG_AGO}) == 1
    assert sorted(visitor.change(each)[0] for each in (A, B, C)) == [
        "2026-01-01T12:01:09Z",
        "2026-01-01T12:01:38Z",
        "2026-01-01T12:01:38Z",
    ]


def test_all_turns_are_over_when_an_operation_has_succeeded() -> None:
    visitor = Visitor(duration=0.5)
    entities = visitor.reset(A, B)
    assert visitor.status_after(0.5, entities[0]["links"][0]["href"]) == "succeeded"
    assert {visitor.change(each) for each in (A, B)} == {("2026-01-01T12:00:00Z", "demo")}


def test_a_refused_server_is_never_changed() -> None:
    visitor = Visitor(refuse=frozenset({A}))
    visitor.reset(A, B)
    assert visitor.change_after(9, A) == LONG_AGO
    assert visitor.change_after(9, B) != LONG_AGO


def test_a_batch_stops_at_the_server_that_fails() -> None:
    visitor = Visitor(duration=100, servers=30, fail=frozenset({"WA1ALIASN00003"}))
    asked = [f"WA1ALIASN0000{number}" for number in range(1, 9)]
    entities = visitor.reset(*asked)
    order = [each["server"].upper() for each in entities]
    place = order.index("WA1ALIASN00003")
    assert 0 < place < 7
    href = entities[0]["links"][0]["href"]
    turn = 40 + 58 * (place + 1) / 8
    assert visitor.status_after(turn - 0.1, href) in {"executing", "resumed"}
    assert visitor.status_after(0.2, href) == "failed"
    changed = [each for each in order if visitor.change_after(1000, each) != LONG_AGO]
    assert changed == order[:place]
    assert {visitor.cloud.servers[each].resets for each in order} == {1}


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


def test_only_a_reset_counts_as_one() -> None:
    visitor = Visitor()
    visitor.operate("reboot", A)
    visitor.operate("startMaintenance", A)
    assert visitor.cloud.servers[A].resets == 0


def test_operations_that_overlap_have_their_turns_in_time() -> None:
    visitor = Visitor(duration=10)
    visitor.operate("powerOff", A)
    visitor.now += 5
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
    assert answer
    assert answer.headers["Date"] == date
    href = json.loads(answer.body)[0]["links"][0]["href"]
    assert visitor.status_after(9.9, href) == "executing"
    assert visitor.status_after(0.1, href) == "succeeded"
    assert visitor.change(A)[0] == modified
    claims = json.loads(base64.urlsafe_b64decode(visitor.token.split(".")[1] + "=="))
    assert claims["nbf"] == NOON + skew


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


def test_ten_thousand_servers_are_reset_in_one_batch_and_all_have_their_turns() -> None:
    visitor = Visitor(servers=10_000, duration=100)
    ids = [each for each in visitor.cloud.servers if each not in {STOPPED, ARCHIVED}]
    assert all(each["isQueued"] for each in visitor.reset(*ids))
    seen = [changed_servers(visitor, seconds) for seconds in (0, 69, 100)]
    assert (seen[0], seen[2]) == (0, len(ids))
    assert 0.45 < seen[1] / seen[2] < 0.55


def changed_servers(visitor: Visitor, seconds: float) -> int:
    """How many servers show a change so many seconds after noon."""
    visitor.now = NOON + seconds
    return sum(
        server["changeInfo"]["modifiedDate"] != LONG_AGO
        for root in roots(visitor).values()
        for group in flat(visitor.get(f"/v2/groups/ALIAS/{root}?serverDetail=detailed"))
        for server in group["servers"]
    )


@given(st.text(), st.text(), st.binary(), st.text())
def test_any_request_gets_an_answer(method: str, target: str, body: bytes, header: str) -> None:
    cloud = Cloud(Behaviour(), lambda: 1.0, Random(1))
    answer = cloud.handle(HTTPRequest(method, f"/{target}", {"authorization": header}, body))
    assert answer
    assert 400 <= answer.status < 500
