import base64
import json
from collections.abc import Mapping
from itertools import groupby
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.sandbox.cloud import Behaviour, Cloud, HTTPRequest, HTTPResponse
from tests.builders import FAR, A, B
from tests.fakes import refused
from tests.virtual import NOON, VirtualClocks

ARCHIVED, UNKNOWN = "WA1ALIASOLD01", "WA1ALIASXX99"
DATE = "Thu, 15 Jan 2026 12:00:00 GMT"
LONG_AGO = "2015-03-26T23:59:28Z"
CANNOT_BE_QUEUED = "The operation cannot be queued because the server cannot be found "
CANNOT_BE_QUEUED += "or it is not in a valid state."
IN_DESIRED_STATE = "The server already in desired state."
LOGIN, RESET = "/v2/authentication/login", "/v2/operations/ALIAS/servers/reset"


class Visitor:
    """A client that is logged in, and a clock to turn."""

    def __init__(self, **behaviour: Any) -> None:
        self.clocks = VirtualClocks()
        self.cloud = Cloud(Behaviour(**behaviour), lambda: self.clocks.now().wall, Random(1))
        self.token = self.cloud.token()

    def ask(self, method: str, target: str, content: object = None) -> HTTPResponse:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.token}"}
        answer = self.cloud.handle(HTTPRequest(method, target, headers, body))
        assert answer
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


def test_a_login_has_the_recorded_fields_in_a_varying_order() -> None:
    visitor = Visitor()
    login = {"username": "demo", "password": "demo"}
    answers = [json.loads(visitor.ask("POST", LOGIN, login).body) for _ in range(10)]
    fields = {"accountAlias", "bearerToken", "locationAlias", "roles", "userName"}
    assert {*answers[0]} == fields
    assert len({tuple(answer) for answer in answers}) > 1
    visitor.token = answers[9]["bearerToken"]
    assert visitor.get("/v2/datacenters/ALIAS")


def test_a_token_is_a_jwt_of_about_500_characters_that_lives_14_days() -> None:
    visitor = Visitor(clock_skew=60)
    parts = visitor.token.split(".")[:2]
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts)
    assert header == {"typ": "JWT", "alg": "HS256"}
    begins, fortnight = NOON.timestamp() + 60, 14 * 24 * 3600
    names = ("role", "unique_name", "urn:tier3:account-alias", "nbf", "exp")
    values = [["AccountAdmin"], "demo", "ALIAS", begins, begins + fortnight]
    assert [payload[name] for name in names] == values
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
        (b'{"Username": "DEMO", "Password": "demo"}', None),
        (b"Username=demo&PASSWORD=%64emo", None),
        (b'{"username": ["demo"], "password": "demo"}', WRONG),
        (b"username=demo&password=wrong", WRONG),
        (b"username=demo", WRONG),
        *((body, INVALID) for body in (b"", b"{}", b"[1]", b"\xff", b"[" * 99_999)),
    ],
)
def test_a_login_is_json_or_a_form_with_names_in_any_case(body: bytes, message: str | None) -> None:
    answer = Visitor().ask("POST", LOGIN, body)
    content = json.loads(answer.body)
    assert (answer.status, content.get("message")) == (400 if message else 200, message)
    assert ("modelState" in content) == (message == INVALID)


def test_three_wrong_passwords_in_a_row_lock_the_user() -> None:
    visitor = Visitor()
    users = ("demo", "x", "demo", "demo", "x", "x", "demo")
    passwords = ("x", "demo", "demo", "x", "x", "x", "demo")
    names = zip(users, passwords, strict=True)
    bodies = [{"username": user, "password": password} for user, password in names]
    answers = [visitor.ask("POST", LOGIN, body) for body in bodies]
    assert [answer.status for answer in answers] == [400, 400, 200, 400, 400, 400, 400]
    assert answers[-1].note == "demo is locked"


@pytest.mark.parametrize("authorization", ["", "Bearer ä", "Basic {token}", "Bearer {token}x"])
def test_a_request_without_a_valid_token_is_a_401(authorization: str) -> None:
    visitor = Visitor()
    headers = {"authorization": authorization.format(token=visitor.token)}
    answer = visitor.cloud.handle(HTTPRequest("GET", "/v2/datacenters/ALIAS", headers))
    assert answer
    assert (answer.status, answer.body, answer.headers["Date"]) == (401, b"", DATE)


ACCOUNTS, DEPLOYMENT = ("OTHER", "ALIAS"), "/deploymentCapabilities"
NUMBERED = [f"WA1ALIASN0000{number}" for number in range(1, 9)]
NOT_THERE = "The requested resource does not exist."
NOT_SUPPORTED = "The requested resource does not support http method 'GET'."


@pytest.mark.parametrize(
    ("status", "method", "target", "message"),
    [
        (403, "GET", "datacenters/OTHER", None),
        *[(404, "GET", f"operations/{account}/status/wa1-1", None) for account in ACCOUNTS],
        *[(404, "GET", f"servers/ALIAS/{UNKNOWN}{path}", None) for path in ("", "/credentials")],
        *[(404, "GET", f"datacenters/ALIAS/uc1{path}", None) for path in ("", DEPLOYMENT)],
        (404, "GET", f"servers/ALIAS/{ARCHIVED}/credentials", None),
        *[(404, "GET", path, None) for path in ("nothing", "groups/ALIAS/0123")],
        *[(404, "POST", path, NOT_THERE) for path in ("nothing", "operations/ALIAS/servers/x")],
        (405, "GET", "operations/ALIAS/servers/reset", NOT_SUPPORTED),
    ],
)
def test_what_is_not_there_is_refused_without_a_body_but_for_posts_and_methods(
    status: int, method: str, target: str, message: str | None
) -> None:
    answer = Visitor().ask(method, f"/v2/{target}", [A])
    body = json.dumps({"message": message}, separators=(",", ":")).encode() if message else b""
    assert (answer.status, answer.body) == (status, body)
    assert ("Content-Type" in answer.headers) == bool(message)
    assert (answer.headers["Content-Length"], answer.headers["Date"]) == (f"{len(body)}", DATE)


def test_a_batch_is_answered_in_another_order_with_one_status_id_a_data_centre() -> None:
    visitor = Visitor()
    for number in (12345, 12347, 12349, 12351):
        entities = visitor.operate("reset", A, B.lower(), FAR, A.lower())
        assert all(entity["isQueued"] is True for entity in entities)
        links = {entity["server"].upper(): entity["links"] for entity in entities}
        assert [len(entities), *sorted(links)] == [3, FAR, A, B]
        assert list(links) != [A, B, FAR]
        near, far = f"wa1-{number}", f"va1-{number + 1}"
        for server, operation in ((A, near), (B, near), (FAR, far)):
            href = f"/v2/operations/alias/status/{operation}"
            assert links[server] == [{"rel": "status", "href": href, "id": operation}]
    visitor.operate("reboot", A)
    assert visitor.cloud.servers[A].resets == 4  # as often as it was queued, not named


def test_a_server_that_is_not_active_or_refused_on_request_is_not_changed() -> None:
    visitor = Visitor(refuse=frozenset({A}), duration=0)
    entities = visitor.operate("reset", A, B, ARCHIVED, UNKNOWN)
    assert [entity["isQueued"] for entity in entities].count(True) == 1
    for server in (A, ARCHIVED, UNKNOWN):
        assert refused(server, CANNOT_BE_QUEUED) in entities
    assert [visitor.cloud.servers[server].resets for server in (A, B, ARCHIVED)] == [0, 1, 0]
    assert visitor.changed_at(0, A) == LONG_AGO != visitor.changed_at(0, B)


@pytest.mark.parametrize("content", [b"", {"serverIds": [A]}, [1], []])
def test_a_body_that_is_no_array_of_ids_is_a_400(content: object) -> None:
    answer = Visitor().ask("POST", RESET, content)
    assert (answer.status, [*json.loads(answer.body)["modelState"]]) == (400, ["serverIds"])


def test_an_operation_goes_through_the_recorded_statuses_and_a_share_of_polls_gets_a_503() -> None:
    visitor = Visitor(duration=10)
    href = visitor.hrefs(A)[A]
    beginning = ["notStarted"] * 4 + ["executing"] * 3 + ["resumed"] * 2 + ["executing"]
    seen = [visitor.status_at(second, href) for second in (*range(11), 99)]
    assert seen == [*beginning, "succeeded", "succeeded"]
    visitor.cloud.behaviour = Behaviour(flaky=0.3)
    statuses = [visitor.ask("GET", href).status for _ in range(1000)]
    assert 250 < statuses.count(503) < 350


def test_servers_take_their_turns_one_after_another_in_the_order_of_the_answer() -> None:
    visitor = Visitor(duration=100, servers=30)
    order = list(visitor.hrefs(*NUMBERED))
    seen = [
        [server for server in order if visitor.changed_at(second, server) != LONG_AGO]
        for second in range(101)
    ]
    assert [changed for changed, _ in groupby(seen)] == [order[:number] for number in range(9)]
    dates = [visitor.changed_at(100, server) for server in order]
    assert dates == sorted(set(dates))
    assert dates[0] > "2026-01-15T12:00:40Z"  # none while the operation isn't started
    assert "2026-01-15T12:01:35Z" < dates[-1] < "2026-01-15T12:01:40Z"


def test_a_batch_stops_at_the_server_that_fails_on_request() -> None:
    visitor = Visitor(duration=100, servers=30, fail=frozenset(NUMBERED[2:3]))
    hrefs = visitor.hrefs(FAR, *NUMBERED)
    order = [server for server in hrefs if server != FAR]
    place = order.index(NUMBERED[2])
    assert 0 < place < 7
    turn = 40 + 58 * (place + 1) / 8
    assert visitor.status_at(turn - 0.1, hrefs[order[0]]) in {"executing", "resumed"}
    assert visitor.status_at(turn + 0.1, hrefs[order[7]]) == "failed"
    # each data centre works its servers off by itself
    assert visitor.changed_at(97, FAR) == LONG_AGO
    assert visitor.changed_at(99, FAR) == "2026-01-15T12:01:38Z"
    assert visitor.server(FAR)["changeInfo"]["modifiedBy"] == "demo"
    assert visitor.status_at(100, hrefs[FAR]) == "succeeded"
    changed = [server for server in order if visitor.changed_at(1000, server) != LONG_AGO]
    assert changed == order[:place]
    assert {visitor.cloud.servers[server].resets for server in order} == {1}


POWER, MAINTENANCE = ("powerState", "power"), ("inMaintenanceMode", "in_maintenance")
STATES = ("started", "paused", "stopped")


@pytest.mark.parametrize(
    ("operation", "names", "before", "after"),
    [
        ("reset", POWER, STATES, ("started", "started", CANNOT_BE_QUEUED)),
        ("reboot", POWER, STATES, ("started", "started", CANNOT_BE_QUEUED)),
        ("powerOn", POWER, STATES, (IN_DESIRED_STATE, "started", "started")),
        ("POWEROFF", POWER, STATES, ("stopped", "stopped", IN_DESIRED_STATE)),
        ("shutDown", POWER, STATES, ("stopped", "stopped", IN_DESIRED_STATE)),
        ("pause", POWER, STATES, ("paused", IN_DESIRED_STATE, CANNOT_BE_QUEUED)),
        ("startMaintenance", MAINTENANCE, (False, True), (True, IN_DESIRED_STATE)),
        ("stopMaintenance", MAINTENANCE, (True, False), (False, IN_DESIRED_STATE)),
    ],
)
def test_an_operation_has_its_effect_at_the_servers_turn(
    operation: str, names: tuple[str, str], before: tuple[object], after: tuple[object]
) -> None:
    name, attribute = names
    for state, effect in zip(before, after, strict=True):
        visitor = Visitor(duration=10)
        setattr(visitor.cloud.servers[A], attribute, state)
        (entity,) = visitor.operate(operation, A)
        details = {"powerState": "started", "inMaintenanceMode": False, name: state}
        assert details.items() <= visitor.server(A)["details"].items()
        if not entity["isQueued"]:
            assert entity["errorMessage"] == effect
            continue
        assert visitor.changed_at(9.7, A) == LONG_AGO
        assert visitor.changed_at(9.9, A) == "2026-01-15T12:00:09Z"
        assert {**details, name: effect}.items() <= visitor.server(A)["details"].items()


def test_operations_that_overlap_have_their_turns_in_time_by_the_clouds_own_clock() -> None:
    visitor = Visitor(duration=10, clock_skew=-420)
    visitor.operate("powerOff", A)
    visitor.clocks.go_on(5)
    answer = visitor.ask("POST", "/v2/operations/ALIAS/servers/pause", [A])
    assert answer.headers["Date"] == "Thu, 15 Jan 2026 11:53:05 GMT"
    href = json.loads(answer.body)[0]["links"][0]["href"]
    for seconds, state, status in ((10, "stopped", "executing"), (15, "paused", "succeeded")):
        assert visitor.changed_at(seconds, A) == f"2026-01-15T11:53:{seconds - 1:02}Z"
        assert visitor.server(A)["details"]["powerState"] == state
        assert visitor.get(href)["status"] == status


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
    assert wa1["changeInfo"]["modifiedBy"] == "demo"
    assert {child["type"] for child in wa1["groups"]} == {"default", "archive", "templates"}
    assert wa1["serversCount"] == len(servers_below(wa1)) - 1  # archived servers don't count
    names = ["VA1 Hardware", "Default Group", "Web", "Batch", "Nightly", "Reports"]
    assert [group["name"] for group in flat(va1)] == [*names, "Archive", "Templates"]
    own = {group["name"]: servers_below({**group, "groups": []}) for group in flat(wa1)}
    assert (own["Web"][:2], own["Staging"], own["Default Group"]) == ([A, B], [], [])


def test_a_group_in_detail_holds_its_servers_instead_of_links_to_them() -> None:
    visitor = Visitor()
    for root in map(visitor.root, ("WA1", "VA1")):
        plain, shown = visitor.get(root), visitor.get(f"{root}?SERVERDETAIL=Detailed")
        for group, same in zip(flat(shown), flat(plain), strict=True):
            servers = servers_below({**same, "groups": []})
            assert group["servers"] == [visitor.server(server) for server in servers]
            assert "servers" not in same
            assert servers_below(group) == []
            assert group["serversCount"] == same["serversCount"]
        for query in ("serverDetail=", "serverDetail=none", "detailed"):
            assert visitor.get(f"{root}?{query}") == plain


def test_a_server_has_the_recorded_fields_and_links() -> None:
    visitor = Visitor()
    server, archived = visitor.server(A), visitor.server(ARCHIVED)
    assert (server["id"], server["name"], server["status"]) == (A.lower(), A, "active")
    assert (server["description"], archived["description"]) == ("Web WB01", "")
    for status in ("archived", "queuedForRestore"):
        visitor.cloud.servers[ARCHIVED].status = status
        assert visitor.server(ARCHIVED)["details"] == {"powerState": "stopped", "storageGB": 19}
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


@pytest.mark.parametrize("size", [1, 11, 12, 300])
def test_the_inventory_has_the_size_asked_for(size: int) -> None:
    visitor = Visitor(servers=size)
    roots = map(visitor.root, ("WA1", "VA1"))
    below = [server for root in roots for server in servers_below(visitor.get(root))]
    assert len(below) == len(set(below)) == len(visitor.cloud.servers) == size


@given(st.text(), st.text(), st.binary(), st.text())
def test_any_request_gets_an_answer(method: str, target: str, body: bytes, header: str) -> None:
    cloud = Cloud(Behaviour(), lambda: 1.0, Random(1))
    answer = cloud.handle(HTTPRequest(method, f"/{target}", {"authorization": header}, body))
    assert answer
    assert 400 <= answer.status < 500
