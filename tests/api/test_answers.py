import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.api.answers import (
    credential,
    decode,
    entities,
    instant,
    is_about_servers,
    nested_groups,
    observation,
    operation_status,
    reason,
    reconcile,
    root_groups,
    text,
)
from clc_reset.errors import RefusedError
from clc_reset.models import (
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerGroup,
    ServerResult,
    ServerState,
)
from clc_reset.text import printable
from tests.api.session import PATH, QUEUED, A
from tests.fakes import jwt

WA1 = Operation("wa1-12345", PATH, "ALIAS")
ID = "0123456789abcdef0123456789abcdef"
SEEN_AT = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def held(asked: list[str], entities: list[Any]) -> ResetAnswer:
    """What an answer says, where each link leads to the API and nothing is secret."""
    return reconcile(asked, entities, lambda href: href, printable)


def states(answer: ResetAnswer) -> list[str]:
    return [result.state for result in answer.results]


def read(entity: dict[str, Any]) -> ServerResult:
    (result,) = held([A], [entity]).results
    return result


# --- reset -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "links", [None, [], "x", [3], [{"rel": "self", "href": "/x"}], [{"rel": "status"}]]
)
def test_a_queued_server_without_a_status_link_is_queued_and_says_so(links: object) -> None:
    result = read({**QUEUED, "links": links})
    assert (result.state, result.operation) == ("queued", None)
    assert "can't be followed" in (result.message or "")


def test_a_queued_server_may_come_with_a_message() -> None:
    assert read({**QUEUED, "links": None, "errorMessage": "Hm."}).message == "Hm."


def test_a_status_id_is_read_from_the_link_where_it_has_none() -> None:
    link = {"rel": "status", "href": PATH}
    assert read({**QUEUED, "links": [{"rel": "self"}, link]}).operation == WA1


def test_the_status_link_is_picked_by_its_rel() -> None:
    links = [3, {"rel": "self", "href": "/x"}, {"rel": "status"}, *QUEUED["links"]]
    assert read({**QUEUED, "links": links}).operation == WA1


def test_a_link_of_another_form_tells_no_account() -> None:
    links = [{"rel": "status", "href": "/elsewhere?x", "id": "wa1-1"}]
    assert read({**QUEUED, "links": links}).operation == Operation("wa1-1", "/elsewhere?x")


def test_a_link_that_leads_elsewhere_is_no_path_and_says_so() -> None:
    answer = reconcile([A], [QUEUED], lambda _href: None, printable)
    assert answer.results[0].operation == Operation("wa1-12345", None)
    assert "isn't followed" in (answer.results[0].message or "")


def test_two_spellings_of_an_account_are_one_operation() -> None:
    other = json.loads(json.dumps(QUEUED).replace("/alias/", "/Alias/"))
    first, second = held([A, "B"], [QUEUED, {**other, "server": "b"}]).results
    assert first.operation == second.operation == WA1


@pytest.mark.parametrize("more", [{}, {"links": None}, {"links": []}, {"errorMessage": ""}])
def test_a_server_refused_without_a_word_says_so(more: dict[str, object]) -> None:
    result = read({"server": A.lower(), "isQueued": False, **more})
    assert (result.state, result.operation) == ("failed", None)
    assert result.message == "Refused; the API gave no reason."


@pytest.mark.parametrize("word", [None, "true", 1, {}])
def test_a_server_that_is_neither_queued_nor_refused_is_unknown(word: object) -> None:
    result = read({**QUEUED, "isQueued": word})
    assert (result.state, result.operation) == ("unknown", WA1)


def test_a_server_that_nobody_asked_for_is_told() -> None:
    refused = {"server": "b", "isQueued": False}
    answer = held([A], [QUEUED, refused, 3, None, {"isQueued": True}])
    assert states(answer) == ["queued"]
    assert answer.unasked == ("B",)
    assert answer.turns == (A,)


def test_the_same_answer_twice_is_one_answer() -> None:
    assert states(held([A], [QUEUED, QUEUED])) == ["queued"]


def test_two_different_answers_for_one_server_are_unknown_and_name_the_operations() -> None:
    other = json.loads(json.dumps(QUEUED).replace("12345", "777"))
    (result,) = held([A], [QUEUED, other]).results
    assert (result.state, result.operation) == (ServerState.UNKNOWN, WA1)
    assert "wa1-12345, wa1-777" in (result.message or "")


def test_two_refusals_of_one_server_are_a_refusal_with_both_reasons() -> None:
    refused = {"server": A, "isQueued": False, "errorMessage": "One."}
    (result,) = held([A], [refused, {**refused, "errorMessage": "Two."}]).results
    assert (result.state, result.message) == (ServerState.FAILED, "One. Two.")


def test_queued_and_refused_at_once_is_unknown() -> None:
    refused = {"server": A, "isQueued": False}
    (result,) = held([A], [refused, {"server": A, "isQueued": True}]).results
    assert (result.state, result.operation) == (ServerState.UNKNOWN, None)


def test_an_object_that_names_a_server_is_no_entity_for_that() -> None:
    assert entities(b'{"message":"Server not found","server":"prod-node-3"}') is None


@pytest.mark.parametrize(
    ("body", "so"),
    [
        (b"", False),
        (b"[]", False),
        (b'{"message":"No."}', False),
        (b'[{"isQueued":false}]', True),
        (b'[{"isQueued":true},{"serv', True),
        (b'{"servers":[{"IsQueued":true}]}', True),
    ],
)
def test_what_speaks_of_servers_is_no_mere_error(body: bytes, so: bool) -> None:
    assert is_about_servers(body) is so


@given(
    st.lists(st.sampled_from(["S1", "S2", "S3", "S4"]), unique=True, min_size=1),
    st.lists(
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "server": st.sampled_from(["s1", "S2", "s3", "s9", "", 3]),
                    "isQueued": st.sampled_from([True, False, None]),
                    "links": st.sampled_from([None, [], QUEUED["links"]]),
                },
            ),
        )
    ),
)
def test_no_server_is_ever_lost_or_made_up(asked: list[str], entities: list[object]) -> None:
    answer = held(asked, entities)
    assert [result.server for result in answer.results] == asked
    assert not set(answer.unasked) & set(asked)
    assert set(answer.turns) <= set(asked)


# --- any JSON, any bytes -----------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["message", "error", "modelState", "server", "links", "isQueued"]))
def test_any_json_is_read_as_far_as_it_goes(value: object, key: str) -> None:
    for content in (value, {key: value}, [{key: value}], [{"server": A, key: value}]):
        body = json.dumps(content).encode()
        assert isinstance(reason(body, printable), str)
        found = entities(body)
        assert found is None or len(held([A], found).results) == 1


@given(st.binary())
def test_any_bytes_are_read_as_far_as_they_go(body: bytes) -> None:
    assert isinstance(reason(body, printable), str)
    assert held([A], entities(body) or []).results[0].server == A


def test_json_that_is_too_deep_is_no_json() -> None:
    assert decode(b"[" * 100_000) is None


def test_only_text_is_text() -> None:
    assert [text(" a "), text(None), text(3)] == ["a", "", ""]


def test_words_end_without_a_full_stop() -> None:
    assert reason(b'{"message":"An error has occurred."}', printable) == "An error has occurred"


# --- log in and get status ---------------------------------------------------------------------


def test_a_status_is_one_word_in_an_object() -> None:
    assert operation_status(b'{"status":"executing"}', printable) == OperationStatus("executing")
    assert operation_status(b'["executing"]', printable) is None
    assert operation_status(b'{"status":"\\u0007"}', printable) is None


@pytest.mark.parametrize(
    ("told", "user"),
    [("Demo", "Demo"), ("demo-secret", "x-x"), (None, "demo"), ("", "demo")],
)
def test_the_name_of_a_user_is_kept_where_it_is_the_one_who_logged_in(
    told: object, user: str
) -> None:
    body = json.dumps({"userName": told, "bearerToken": jwt()}).encode()
    found = credential(body, "demo", lambda text: text.replace("demo", "x").replace("secret", "x"))
    assert found is not None
    assert found.user == user


# --- servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("2001-09-09T01:46:40Z", 0),
        ("2001-09-09T01:46:40", 0),
        ("2001-09-09T01:46:40.9999999Z", 0),
        ("2001-09-09T03:46:41+02:00", 1),
        ("2001-09-09", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("yesterday, at Two", None),
        ("", None),
        (None, None),
        (1000000000, None),
    ],
)
def test_a_time_is_read_to_the_second(told: object, seconds: int | None) -> None:
    read = instant(told)
    assert (read and (read - SEEN_AT).total_seconds()) == seconds
    assert read is None or read.tzinfo is UTC


@pytest.mark.parametrize("details", [{}, {"details": None}, {"details": [], "changeInfo": 3}])
def test_a_server_without_details_shows_none(details: dict[str, object]) -> None:
    entity = {"id": A.lower(), "status": "underConstruction", **details}
    seen = observation(entity, A, printable, SEEN_AT, group="Web")
    assert seen == Observation(A, SEEN_AT, status="underConstruction", group="Web")


def test_a_date_of_change_that_can_not_be_read_is_a_problem() -> None:
    dates: list[object] = ["soon", 3, []]
    for date in dates:
        entity = {"id": A, "changeInfo": {"modifiedDate": date, "modifiedBy": "x"}}
        seen = observation(entity, A, printable, None)
        assert seen
        assert (seen.changed_at, seen.changed_by) == (None, "x")
        assert seen.problem == "its date of change can't be read"


@given(JSON, st.sampled_from(["details", "changeInfo", "status", "groupId", "locationId"]))
def test_any_entity_of_a_server_is_seen_as_far_as_it_goes(value: object, key: str) -> None:
    seen = observation({"id": A, key: value}, A, printable, SEEN_AT)
    assert seen is not None
    assert seen.server == A
    assert observation(value, A, printable, SEEN_AT) is None


# --- groups ------------------------------------------------------------------------------------


def link(server: object) -> dict[str, object]:
    return {"rel": "server", "href": "/v2/servers/alias/x", "id": server}


def group(name: str, *inside: Any, servers: tuple[str, ...] = (), **more: object) -> dict[str, Any]:
    links = [{"rel": "self", "href": "/x"}, *map(link, servers)]
    described = {"id": ID, "name": name, "type": "default", "serversCount": 0}
    return {**described, "groups": list(inside), "links": links, **more}


def datacenter(name: str, root: object = ID) -> dict[str, Any]:
    return {"id": name, "links": [{"rel": "self"}, {"rel": "group", "id": root}]}


def groups(content: object, *, detailed: bool = False) -> list[ServerGroup]:
    body = json.dumps(content).encode()
    return list(nested_groups(body, "WA1", printable, SEEN_AT, detailed=detailed))


def shown(content: object) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(each.depth, each.name, each.servers) for each in groups(content)]


def roots(content: object) -> list[tuple[str, str]]:
    return list(root_groups(json.dumps(content).encode(), printable))


def test_groups_come_in_the_order_of_the_answer_each_before_those_inside_it() -> None:
    root = group(
        "WA1 Hardware",
        group("Web", group("Blue", servers=("B2", "b1")), servers=("W1",)),
        group("Database"),
    )
    assert shown(root) == [
        (0, "WA1 Hardware", ()),
        (1, "Web", ("W1",)),
        (2, "Blue", ("B1", "B2")),
        (1, "Database", ()),
    ]
    assert groups(root)[0].id == ID
    assert groups(root)[0].datacenter == "WA1"


@pytest.mark.parametrize("kind", ["archive", "templates", "Archive"])
@pytest.mark.parametrize("detailed", [True, False])
def test_archives_and_templates_are_left_out_with_all_that_is_inside(
    kind: str, detailed: bool
) -> None:
    below = group("Deeper", servers=("OLD1",))
    old = {**group("Old", below, servers=("OLD2",), type=kind), "servers": [{"id": "OLD2"}]}
    found = groups(group("Root", group("A", old)), detailed=detailed)
    assert [each.name for each in found] == ["Root", "A"]
    assert not any(each.servers for each in found)


@pytest.mark.parametrize("lists", [{}, {"groups": None, "links": None}, {"groups": []}])
def test_missing_null_and_empty_lists_are_alike(lists: dict[str, object]) -> None:
    content = {"id": ID, "name": "Root", "type": "default", **lists}
    assert shown(content) == [(0, "Root", ())]
    assert groups(content, detailed=True)[0].observations == ()


def test_the_count_of_servers_is_not_believed() -> None:
    assert shown(group("Root", servers=("W1",), serversCount=0)) == [(0, "Root", ("W1",))]


def test_a_server_may_be_listed_twice() -> None:
    twice = {"servers": [{"id": "w1", "rel": "x"}, {"id": "w1", "status": "archived"}]}
    (found,) = groups({**group("Root"), **twice}, detailed=True)
    assert found.servers == ("W1", "W1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "that of WA1 isn't a group"),
        ([], "that of WA1 isn't a group"),
        ("x", "that of WA1 isn't a group"),
        ({}, "lacks its id, name or type"),
        (group("", servers=("W1",)), "lacks its id, name or type"),
        (group("A", id=3), "lacks its id, name or type"),
        (group("A", type=None), "lacks its id, name or type"),
        (group("A", links={}), "the links of group 'A' aren't a list"),
        (group("A", links="x"), "the links of group 'A' aren't a list"),
        (group("A", links=[3]), "the links of group 'A' aren't a list"),
        (group("A", groups={"id": ID}), "the groups in group 'A' aren't a list"),
        (group("A", None), "the groups in group 'A' aren't a list"),
        (group("A", links=[link(None)]), "'' in group 'A' is not a server id"),
        (group("A", servers=("W1", "../x")), "'../x' in group 'A' is not a server id"),
        (group("A", servers=("ß",)), "'ß' in group 'A' is not a server id"),
        (group("A", group("B", links=[link("")])), "'' in group 'B' is not a server id"),
    ],
)
def test_a_group_that_can_not_be_read_in_full_is_an_error(content: object, words: str) -> None:
    with pytest.raises(RefusedError, match="can't be read: ") as raised:
        groups(content)
    assert words in raised.value.message


@pytest.mark.parametrize("servers", [{}, "x", [3], [{}], [{"id": None}], [{"id": "../x"}]])
def test_servers_in_detail_that_can_not_be_read_are_an_error(servers: object) -> None:
    with pytest.raises(RefusedError, match="can't be read: "):
        groups({**group("A"), "servers": servers}, detailed=True)


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        "x",
        ["wa1"],
        [{"id": "wa1"}],
        [{"id": "wa1", "links": {}}],
        [{"id": "wa1", "links": []}],
        [datacenter("wa1", "../../x")],
        [datacenter("wa1", None)],
        [datacenter("")],
        [datacenter("va1"), datacenter("wa1", "")],
    ],
)
def test_a_data_centre_without_a_root_group_is_an_error(content: object) -> None:
    with pytest.raises(RefusedError, match="can't be read: "):
        roots(content)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(RefusedError):
        list(root_groups(body, printable))
    with pytest.raises(RefusedError):
        list(nested_groups(body, "WA1", printable, None, detailed=False))


@pytest.mark.parametrize("depth", [300, 1000, 100_000])
def test_however_deep_groups_are_nested_they_are_read_or_refused(depth: int) -> None:
    start = f'{{"id":"{ID}","name":"A","type":"default","links":[],"groups":['
    body = (start * depth + "]}" * depth).encode()
    try:
        deepest = list(nested_groups(body, "WA1", printable, None, detailed=False))[-1].depth
    except RefusedError:
        assert depth > 300
    else:
        assert deepest == depth - 1


GROUPS = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.fixed_dictionaries(
            {},
            optional={
                "id": st.just(ID) | inner,
                "rel": st.sampled_from(["server", "group"]),
                "name": st.just("A") | inner,
                "type": st.sampled_from(["default", "archive"]),
                "links": inner,
                "groups": inner,
                "servers": inner,
            },
        )
    ),
)


@given(GROUPS, st.booleans())
def test_any_json_is_read_or_refused(content: object, detailed: bool) -> None:
    with suppress(RefusedError):
        roots(content)
    with suppress(RefusedError):
        groups(content, detailed=detailed)
