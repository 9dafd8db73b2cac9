import base64
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest, HTTPResponse
from tests.builders import FAR, A, B
from tests.fakes import refused
from tests.virtual import VirtualClocks

ARCHIVED, UNKNOWN = "WA1ALIASOLD01", "WA1ALIASXX99"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DATE = "Thu, 01 Jan 2026 12:00:00 GMT"
LONG_AGO = "2015-03-26T23:59:28Z"
CANNOT_BE_QUEUED = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
IN_DESIRED_STATE = "The server already in desired state."
LOGIN, RESET = "/v2/authentication/login", "/v2/operations/ALIAS/servers/reset"


class Visitor:
    """A client that is logged in, and a clock to turn."""

    def __init__(self, **behaviour: Any) -> None:
        self.clocks = VirtualClocks(NOON)
        self.cloud = Cloud(Behaviour(**behaviour), lambda: self.clocks.now().wall, Random(1))
        self.token = self.cloud.token()

    def send(self, method: str, target: str, content: object = None) -> HTTPResponse | None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.token}"}
        return self.cloud.handle(HTTPRequest(method, target, headers, body))

    def ask(self, method: str, target: str, content: object = None) -> HTTPResponse:
        answer = self.send(method, target, content)
        assert answer
        assert answer.headers["Date"]
        return answer

    def get(self, target: str) -> Any:
        answer = self.ask("GET", target)
        assert answer.status == 200
        return json.loads(answer.body)

    def operate(self, operation: str, *servers: str) -> Any:
        answer = self.ask("POST", f"/v2/operations/ALIAS/servers/{operation}", servers)
        assert answer.status == 200
        return json.loads(answer.body)

    def hrefs(self, *servers: str) -> dict[str, str]:
        """Reset servers and return the path of each one's status."""
        return {e["server"].upper(): e["links"][0]["href"] for e in self.operate("reset", *servers)}

    def status_at(self, seconds: float, href: str) -> Any:
        """An operation's status, seen so many seconds after noon."""
        self.clocks.seconds = seconds
        return self.get(href)["status"]

    def server(self, server: str) -> Any:
        return self.get(f"/v2/servers/ALIAS/{server}")

    def changed_at(self, seconds: float, server: str) -> Any:
        """The time of a server's latest change, seen so many seconds after noon."""
        self.clocks.seconds = seconds
        return self.server(server)["changeInfo"]["modifiedDate"]

    def root(self, datacenter: str, query: str = "groupLinks=true") -> str:
        links = self.get(f"/v2/datacenters/alias/{datacenter}?{query}")["links"]
        (group,) = (link["id"] for link in links if link["rel"] == "group")
        return f"/v2/groups/ALIAS/{group}"


def servers_below(group: Mapping[str, Any]) -> list[str]:
    return [link["id"] for g in flat(group) for link in g["links"] if link["rel"] == "server"]


def flat(group: Any) -> list[Any]:
    return [group, *(below for child in group["groups"] for below in flat(child))]


# logging in


def test_a_login_has_the_recorded_fields_in_a_varying_order() -> None:
    visitor = Visitor()
    login = {"username": "demo", "password": "demo"}
    answers = [json.loads(visitor.ask("POST", LOGIN, login).body) for _ in range(10)]
    assert {*answers[0]} == {
        *("userName", "accountAlias", "locationAlias", "roles", "bearerToken"),
    }
    assert len({tuple(answer) for answer in answers}) > 1
    visitor.token = answers[9]["bearerToken"]
    assert visitor.get("/v2/datacenters/ALIAS")


def test_a_token_is_a_jwt_of_about_500_characters_that_lives_14_days() -> None:
    visitor = Visitor(clock_skew=60)
    parts = visitor.token.split(".")[:2]
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts)
    assert header == {"typ": "JWT", "alg": "HS256"}
    assert (payload["role"], payload["unique_name"]) == (["AccountAdmin"], "demo")
    assert payload["urn:tier3:account-alias"] == "ALIAS"
    begins, fortnight = NOON.timestamp() + 60, 14 * 24 * 3600
    assert (payload["nbf"], payload["exp"]) == (begins, begins + fortnight)
    assert 350 < len(visitor.token) < 600
    for seconds, status in ((fortnight - 1, 200), (fortnight, 401)):
        visitor.clocks.seconds = seconds
        assert visitor.ask("GET", "/v2/datacenters/ALIAS").status == status
    assert Visitor(expired_token=True).ask("GET", "/v2/datacenters/ALIAS").status == 401


WRONG = "We didn't recognize the username or password you entered. Please try again."
INVALID = "The request is invalid."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"username": "DEMO", "password": "demo"}', None),
        (b'{"Username": "demo", "Password": "demo"}', None),
        (b"username=demo&password=%64emo", None),
        (b"Username=demo&PASSWORD=demo", None),
        (b'{"username": ["demo"], "password": "demo"}', WRONG),
        (b'{"username": "demo", "password": "wrong"}', WRONG),
        (b"username=demo&password=wrong", WRONG),
        (b"username=demo", WRONG),
        *((body, INVALID) for body in (b"", b"{}", b"[]", b"[1]", b"\xff", b"[" * 99_999)),
    ],
)
def test_a_login_is_json_or_a_form_with_names_in_any_case(body: bytes, message: str | None) -> None:
    answer = Visitor().ask("POST", LOGIN, body)
    content = json.loads(answer.body)
    assert (answer.status, content.get("message")) == (400 if message else 200, message)
    assert ("modelState" in content) == (message == INVALID)


def test_three_wrong_passwords_in_a_row_lock_the_user() -> None:
    visitor = Visitor()
    wrong, right = ({"username": "demo", "password": password} for password in ("x", "demo"))
    bodies = [wrong, wrong, right, wrong, wrong, wrong, right]
    answers = [visitor.ask("POST", LOGIN, body) for body in bodies]
    assert [answer.status for answer in answers] == [400, 400, 200, 400, 400, 400, 400]
    assert answers[-1].note == "demo is locked"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic {token}", "Bearer ä.ö.ü", "Bearer {token}x"],
)
def test_a_request_without_a_valid_token_is_a_401(authorization: str) -> None:
    visitor = Visitor()
    headers = {"authorization": authorization.format(token=visitor.token)}
    answer = visitor.cloud.handle(HTTPRequest("GET", "/v2/datacenters/ALIAS", headers))
    assert answer
    assert (answer.status, answer.body, answer.headers["Date"]) == (401, b"", DATE)


NO_SERVER = f"/v2/servers/ALIAS/{UNKNOWN}"
NOT_THERE = "The requested resource does not exist."


@pytest.mark.parametrize(
    ("status", "method", "target", "message"),
    [
        (403, "GET", "/v2/datacenters/OTHER", None),
        (404, "GET", "/v2/operations/OTHER/status/wa1-1", None),
        (404, "GET", "/", None),
        (404, "GET", "/v2/nothing", None),
        (404, "GET", "/v2/operations/ALIAS/status/wa1-1", None),
        (404, "GET", "/v2/groups/ALIAS/0123", None),
        (404, "GET", NO_SERVER, None),
        (404, "GET", f"{NO_SERVER}/credentials", None),
        (404, "GET", f"/v2/servers/ALIAS/{ARCHIVED}/credentials", None),
        (404, "GET", "/v2/datacenters/ALIAS/uc1", None),
        (404, "GET", "/v2/datacenters/ALIAS/uc1/deploymentCapabilities", None),
        (404, "GET", "//[", None),
        (405, "GET", RESET, "The requested resource does not support http method 'GET'."),
        (405, "PUT", LOGIN, "The requested resource does not support http method 'PUT'."),
        (404, "POST", "/v2/operations/ALIAS/servers/explode", NOT_THERE),
        (404, "POST", "/v2/nothing", NOT_THERE),
        (404, "POST", "/authentication/login", NOT_THERE),
    ],
)
def test_what_is_not_there_is_refused_without_a_body_but_for_posts_and_methods(
    status: int, method: str, target: str, message: str | None
) -> None:
    answer = Visitor().ask(method, target, [A])
    body = json.dumps({"message": message}, separators=(",", ":")).encode() if message else b""
    assert (answer.status, answer.body) == (status, body)
    assert ("Content-Type" in answer.headers) == bool(message)
    assert (answer.headers["Content-Length"], answer.headers["Date"]) == (f"{len(body)}", DATE)


# operations


def test_a_batch_is_answered_in_another_order_with_one_status_id_a_data_centre() -> None:
    visitor = Visitor()
    for number in (12345, 12347, 12349, 12351):
        entities = visitor.operate("reset", A, B.lower(), FAR, A.lower())
        links = {entity["server"]: entity["links"] for entity in entities}
        assert [len(entities), *sorted(links)] == [3, *map(str.lower, (FAR, A, B))]
        assert list(links) != [A.lower(), B.lower(), FAR.lower()]
        for server, operation in (
            (A, f"wa1-{number}"),
            (B, f"wa1-{number}"),
            (FAR, f"va1-{number + 1}"),
        ):
            href = f"/v2/operations/alias/status/{operation}"
            assert links[server.lower()] == [{"rel": "status", "href": href, "id": operation}]
        assert all(entity["isQueued"] is True for entity in entities)
    assert visitor.cloud.servers[A].resets == 4  # as often as it was queued, not named
    visitor.operate("reboot", A)
    visitor.operate("startMaintenance", A)
    assert visitor.cloud.servers[A].resets == 4


def test_a_server_that_is_refused_on_request_is_not_changed() -> None:
    visitor = Visitor(refuse=frozenset({A}), duration=0)
    entities = visitor.operate("reset", A, B)
    assert refused(A, CANNOT_BE_QUEUED) in entities
    assert {entity["isQueued"] for entity in entities} == {True, False}
    assert [visitor.cloud.servers[server].resets for server in (A, B)] == [0, 1]
    assert visitor.changed_at(0, A) == LONG_AGO != visitor.changed_at(0, B)


@pytest.mark.parametrize("content", [b"", {}, {"serverIds": [A]}, [1], "x", []])
def test_a_body_that_is_no_array_of_ids_is_a_400(content: object) -> None:
    answer = Visitor().ask("POST", RESET, content)
    assert (answer.status, [*json.loads(answer.body)["modelState"]]) == (400, ["serverIds"])


def test_an_operation_goes_through_the_recorded_statuses() -> None:
    visitor = Visitor(duration=10)
    href = visitor.hrefs(A)[A]
    assert [visitor.status_at(second, href) for second in (*range(11), 99)] == [
        *["notStarted"] * 4,
        *["executing"] * 3,
        *["resumed"] * 2,
        "executing",
        "succeeded",
        "succeeded",
    ]


def test_a_share_of_the_polls_gets_a_503_on_request() -> None:
    visitor = Visitor(flaky=0.3)
    href = visitor.hrefs(A)[A]
    answers = Counter(visitor.ask("GET", href).status for _ in range(1000))
    assert 250 < answers[503] < 350


def test_servers_take_their_turns_one_after_another_in_the_order_of_the_answer() -> None:
    visitor = Visitor(duration=100, servers=30)
    order = list(visitor.hrefs(*(f"WA1ALIASN0000{number}" for number in range(1, 9))))
    seen = [
        [server for server in order if visitor.changed_at(second, server) != LONG_AGO]
        for second in range(101)
    ]
    assert [changed for changed, _ in groupby(seen)] == [order[:number] for number in range(9)]
    dates = [visitor.changed_at(100, server) for server in order]
    assert dates == sorted(set(dates))
    assert dates[0] > "2026-01-01T12:00:40Z"  # none while the operation isn't started
    assert "2026-01-01T12:01:35Z" < dates[-1] < "2026-01-01T12:01:40Z"


def test_a_batch_stops_at_the_server_that_fails_on_request() -> None:
    visitor = Visitor(duration=100, servers=30, fail=frozenset({"WA1ALIASN00003"}))
    hrefs = visitor.hrefs(FAR, *(f"WA1ALIASN0000{number}" for number in range(1, 9)))
    order = [server for server in hrefs if server != FAR]
    place = order.index("WA1ALIASN00003")
    assert 0 < place < 7
    turn = 40 + 58 * (place + 1) / 8
    assert visitor.status_at(turn - 0.1, hrefs[order[0]]) in {"executing", "resumed"}
    assert visitor.status_at(turn + 0.1, hrefs[order[7]]) == "failed"
    # each data centre works its servers off by itself
    assert visitor.changed_at(97, FAR) == LONG_AGO
    assert visitor.changed_at(99, FAR) == "2026-01-01T12:01:38Z"
    assert visitor.server(FAR)["changeInfo"]["modifiedBy"] == "demo"
    assert visitor.status_at(100, hrefs[FAR]) == "succeeded"
    changed = [server for server in order if visitor.changed_at(1000, server) != LONG_AGO]
    assert changed == order[:place]
    assert {visitor.cloud.servers[server].resets for server in order} == {1}


def power(started: str, paused: str, stopped: str) -> dict[str | bool, str | bool]:
    """The effects of an operation on servers in these states: the new state, or a refusal."""
    return {"started": started, "paused": paused, "stopped": stopped}


@pytest.mark.parametrize(
    ("operation", "effects"),
    [
        ("reset", power("started", "started", CANNOT_BE_QUEUED)),
        ("reboot", power("started", "started", CANNOT_BE_QUEUED)),
        ("powerOn", power(IN_DESIRED_STATE, "started", "started")),
        ("powerOff", power("stopped", "stopped", IN_DESIRED_STATE)),
        ("POWEROFF", power("stopped", "stopped", IN_DESIRED_STATE)),
        ("shutDown", power("stopped", "stopped", IN_DESIRED_STATE)),
        ("pause", power("paused", IN_DESIRED_STATE, CANNOT_BE_QUEUED)),
        ("startMaintenance", {False: True, True: IN_DESIRED_STATE}),
        ("stopMaintenance", {True: False, False: IN_DESIRED_STATE}),
    ],
)
def test_an_operation_has_its_effect_at_the_servers_turn(
    operation: str, effects: dict[str | bool, str | bool]
) -> None:
    for before, after in effects.items():
        visitor = Visitor(duration=10)
        is_power = isinstance(before, str)
        setattr(visitor.cloud.servers[A], "power" if is_power else "in_maintenance", before)
        state = {"powerState": "started", "inMaintenanceMode": False}
        name = "powerState" if is_power else "inMaintenanceMode"
        (entity,) = visitor.operate(operation, A)
        assert entity.get("errorMessage", after) == after
        assert {**state, name: before}.items() <= visitor.server(A)["details"].items()
        if entity["isQueued"]:
            assert visitor.changed_at(9.7, A) == LONG_AGO
            assert visitor.changed_at(9.9, A) == "2026-01-01T12:00:09Z"
            assert {**state, name: after}.items() <= visitor.server(A)["details"].items()


@pytest.mark.parametrize("server", [UNKNOWN, ARCHIVED])
@pytest.mark.parametrize("operation", ["reset", "powerOn", "startMaintenance"])
def test_no_operation_is_queued_for_what_is_not_active(operation: str, server: str) -> None:
    assert Visitor().operate(operation, server)[0]["errorMessage"] == CANNOT_BE_QUEUED


def test_operations_that_overlap_have_their_turns_in_time() -> None:
    visitor = Visitor(duration=10)
    visitor.operate("powerOff", A)
    visitor.clocks.go_on(5)
    visitor.operate("pause", A)
    for seconds, state in ((10, "stopped"), (15, "paused")):
        assert visitor.changed_at(seconds, A) == f"2026-01-01T12:00:{seconds - 1:02}Z"
        assert visitor.server(A)["details"]["powerState"] == state


@pytest.mark.parametrize(("skew", "hour"), [(0, "12:00"), (3600, "13:00"), (-420, "11:53")])
def test_all_that_tells_a_time_tells_the_clouds_own(skew: float, hour: str) -> None:
    visitor = Visitor(duration=10, clock_skew=skew)
    answer = visitor.ask("POST", RESET, [A])
    assert answer.headers["Date"] == f"Thu, 01 Jan 2026 {hour}:00 GMT"
    href = json.loads(answer.body)[0]["links"][0]["href"]
    assert visitor.status_at(9.9, href) == "executing"
    assert visitor.status_at(10.0, href) == "succeeded"
    assert visitor.changed_at(10.0, A) == f"2026-01-01T{hour}:09Z"


# data centres, groups and servers


def test_each_data_centre_names_its_root_group_when_asked() -> None:
    visitor = Visitor()
    without = visitor.get("/v2/datacenters/ALIAS")
    assert [datacenter["id"] for datacenter in without] == ["wa1", "va1"]
    assert all(link["rel"] != "group" for datacenter in without for link in datacenter["links"])
    assert visitor.get("/v2/datacenters/ALIAS/WA1") == without[0]
    assert visitor.get("/v2/datacenters/ALIAS/") == without
    assert visitor.root("va1", "grouplinks=TRUE") == visitor.root("VA1") != visitor.root("WA1")
    links = {link["rel"]: link["href"] for link in without[1]["links"]}
    capabilities = visitor.get(links["deploymentCapabilities"])
    assert [template["osType"] for template in capabilities["templates"]] == ["debian7_64Bit"]


def test_a_group_holds_those_inside_it_and_its_servers_in_upper_case() -> None:
    visitor = Visitor()
    wa1, va1 = (visitor.get(visitor.root(datacenter)) for datacenter in ("WA1", "VA1"))
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


@pytest.mark.parametrize(
    ("query", "is_detailed"),
    [
        *((f"server{query}", True) for query in ("Detail=detailed", "DETAIL=DETAILED")),
        *((query, False) for query in ("serverDetail=", "serverDetail=none", "detailed")),
    ],
)
def test_a_group_in_detail_holds_its_servers_instead_of_links_to_them(
    query: str, *, is_detailed: bool
) -> None:
    visitor = Visitor()
    for root in map(visitor.root, ("WA1", "VA1")):
        plain, shown = visitor.get(root), visitor.get(f"{root}?{query}")
        if not is_detailed:
            assert shown == plain
            continue
        for group, same in zip(flat(shown), flat(plain), strict=True):
            servers = servers_below({**same, "groups": []})
            assert group["servers"] == [visitor.server(server) for server in servers]
            assert "servers" not in same
            assert servers_below(group) == []
            assert group["serversCount"] == same["serversCount"]


def test_a_server_has_the_recorded_fields_and_links() -> None:
    visitor = Visitor()
    server, archived = visitor.server(A), visitor.server(ARCHIVED)
    details = server["details"]
    assert (server["id"], server["name"], server["status"]) == (A.lower(), A, "active")
    assert (server["description"], archived["description"]) == ("Web WB01", "")
    assert details["storageGB"] == sum(disk["sizeGB"] for disk in details["disks"])
    assert details["diskCount"] == len(details["disks"])
    for status in ("archived", "queuedForRestore"):
        visitor.cloud.servers[ARCHIVED].status = status
        details = visitor.server(ARCHIVED)["details"]
        assert details == {"powerState": "stopped", "storageGB": 19}
    visitor.cloud.servers[B].status = "underConstruction"
    assert "details" not in visitor.server(B)
    links = {link["rel"]: link["href"] for link in server["links"]}
    every = ["self", "group", "account", "billing"]
    assert list(links) == [*every, "statistics", "capabilities", "credentials"]
    assert [link["rel"] for link in archived["links"]] == every
    assert "ALIAS" not in "".join(links.values())
    assert visitor.get(links["self"]) == server
    assert visitor.get(links["group"])["name"] == "Web"
    assert visitor.get(links["account"])["primaryDataCenter"] == "WA1"
    assert visitor.get(links["credentials"]) == {"userName": "root", "password": "demo"}


@pytest.mark.parametrize("size", [1, 5, 11, 12, 300])
def test_the_inventory_has_the_size_asked_for(size: int) -> None:
    visitor = Visitor(servers=size)
    roots = map(visitor.root, ("WA1", "VA1"))
    below = [server for root in roots for server in servers_below(visitor.get(root))]
    assert len(below) == len(set(below)) == len(visitor.cloud.servers) == size


# every request


@given(st.text(), st.text(), st.binary(), st.text())
def test_any_request_gets_an_answer(method: str, target: str, body: bytes, header: str) -> None:
    cloud = Cloud(Behaviour(), lambda: 1.0, Random(1))
    answer = cloud.handle(HTTPRequest(method, f"/{target}", {"authorization": header}, body))
    assert answer
    assert 400 <= answer.status < 500
