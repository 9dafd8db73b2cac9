from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.api.answers import (
    entities,
    group_name,
    nested_groups,
    observation,
    operation_status,
    parse_time,
    reason,
    reconcile,
    root_groups,
)
from clc_reset.errors import RefusedError
from clc_reset.models import Observation, Operation, OperationStatus, ResetAnswer, ServerGroup
from tests.api.session import PATH, QUEUED, ROOT, WA1, datacenter, group
from tests.builders import A
from tests.fakes import queued

SEEN_AT = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
REFUSED = {"server": A.lower(), "isQueued": False}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["default", "archive"])},
            optional={
                "id": st.just(ROOT) | inner,
                "rel": st.sampled_from(["server", "group"]),
                "name": st.just("A") | inner,
                **dict.fromkeys(("links", "groups", "servers"), inner),
            },
        )
    ),
    max_leaves=20,
)


def held(asked: list[str], entities: list[Any]) -> ResetAnswer:
    """Reconcile an answer in which each link leads to the API."""
    return reconcile(asked, entities, lambda href: href)


# --- reset -------------------------------------------------------------------------------------

NO_LINK = "Queued without a status link: it can't be followed."
NO_WORD = "The API doesn't say whether this was queued."
TWO = "The API answered for this server in more than one way"


def linked(*links: object) -> dict[str, object]:
    return {**QUEUED, "links": list(links)}


def refused(message: str) -> dict[str, object]:
    return {**REFUSED, "errorMessage": message}


@pytest.mark.parametrize(
    ("found", "state", "operation", "message"),
    [
        ([QUEUED], "queued", WA1, None),
        ([QUEUED, QUEUED], "queued", WA1, None),
        ([{**QUEUED, "links": None}], "queued", None, NO_LINK),
        ([{**QUEUED, "links": "x"}], "queued", None, NO_LINK),
        ([linked(3, {"rel": "self", "href": "/x"})], "queued", None, NO_LINK),
        ([linked({"rel": "status"})], "queued", None, NO_LINK),
        ([{**linked(), "errorMessage": "Hm."}], "queued", None, "Hm."),
        ([linked({"rel": "self"}, {"rel": "status", "href": PATH})], "queued", WA1, None),
        ([linked({"rel": "status"}, *QUEUED["links"])], "queued", WA1, None),
        # a link of another form tells no account
        ([queued(A, "wa1-1", "/elsewhere?x")], "queued", Operation("wa1-1", "/elsewhere?x"), None),
        ([REFUSED], "failed", None, "Refused; the API gave no reason."),
        ([{**QUEUED, **refused("")}], "failed", None, "Refused; the API gave no reason."),
        *[([{**QUEUED, "isQueued": odd}], "unknown", WA1, NO_WORD) for odd in (None, "true", 1, 0)],
        ([QUEUED, queued(A, "wa1-777")], "unknown", WA1, f"{TWO}: wa1-12345, wa1-777."),
        ([REFUSED, linked()], "unknown", None, f"{TWO}."),
        ([refused("One."), refused("Two.")], "failed", None, "One. Two."),
        ([refused("x" * 4000), refused("y" * 4000)], "failed", None, "x" * 499 + "…"),
    ],
)
def test_a_result_is_what_the_entities_of_a_server_say(
    found: list[object], state: str, operation: Operation | None, message: str | None
) -> None:
    (result,) = held([A], found).results
    assert (result.state, result.operation, result.message) == (state, operation, message)


def test_two_spellings_of_an_account_are_one_operation() -> None:
    other = queued("b", "wa1-12345", PATH.replace("/alias/", "/Alias/"))
    first, second = held([A, "B"], [QUEUED, other]).results
    assert first.operation == second.operation == WA1


def test_a_server_that_nobody_asked_for_is_named() -> None:
    others = [{"server": name, "isQueued": False} for name in ("b\r\nError:\tx", "x[secret]")]
    answer = held([A], [QUEUED, 3, None, {"isQueued": True}, *others])
    assert (answer.turns, answer.unasked) == ((A,), ("B ERROR: X", "x[secret]"))


ENTITY = st.fixed_dictionaries(
    {},
    optional={
        "server": st.sampled_from(["s1", "S2", "s3", "s9", "", 3]),
        "isQueued": st.sampled_from([True, False, None]),
        "links": st.sampled_from([None, [], QUEUED["links"]]),
    },
)


@given(st.lists(st.sampled_from(["S1", "S2", "S3", "S4"]), unique=True), st.lists(ENTITY | JSON))
def test_no_server_is_ever_lost_or_made_up(asked: list[str], entities: list[object]) -> None:
    answer = held(asked, entities)
    assert [result.server for result in answer.results] == asked
    assert not set(answer.unasked) & set(asked)
    assert set(answer.turns) <= set(asked)


# --- any answer --------------------------------------------------------------------------------


@given(JSON)
def test_any_json_can_be_read_or_is_refused(value: Any) -> None:
    keys = ("message", "error", "modelState", "server", "links", "isQueued")
    for content in (value, [value], {"server": A, **dict.fromkeys(keys, value)}):
        assert isinstance(reason(content), str)
        assert isinstance(group_name(content), str | None)
        found = entities(content)
        assert found is None or len(held([A], found).results) == 1
        with suppress(RefusedError):
            list(root_groups(content))
    for key in ("details", "changeInfo", "status", "groupId", "locationId"):
        seen = observation({"id": A, key: value}, A, SEEN_AT)
        assert seen
        assert seen.server == A
    for detailed in (True, False):
        with suppress(RefusedError):
            groups(value, detailed=detailed)
    assert entities({"message": "Server not found", "server": "prod-node-3"}) is None


def test_a_status_is_one_word_in_an_object() -> None:
    for word in (" executing ", "x" * 40):
        assert operation_status({"status": word}) == OperationStatus(word.strip())
    for content in (["executing"], {"status": " "}, {"status": 3}, {"status": "x" * 41}):
        assert operation_status(content) is None


# --- servers -----------------------------------------------------------------------------------


def test_a_time_is_read_to_the_second() -> None:
    for written in ("", ".9999999", "Z", "+00:00"):
        assert parse_time(f"2001-09-09T01:46:40{written}") == SEEN_AT
    read = parse_time("2001-09-09T03:46:40+02:00")
    assert (read, read and read.tzinfo) == (SEEN_AT, UTC)
    beyond = ("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00")
    for unreadable in ("2001-09-09", "yesterday, at Two", "", None, 1000000000, *beyond):
        assert parse_time(unreadable) is None


@pytest.mark.parametrize("date", ["soon", 3])
def test_what_a_server_does_not_tell_is_not_shown(date: object) -> None:
    seen = Observation(A, SEEN_AT)
    for odd in ({}, {"details": None, "changeInfo": None}, {"details": [], "changeInfo": 3}):
        assert observation({"id": A.lower(), **odd}, A, SEEN_AT) == seen
    problem = "its date of change can't be read"
    entity = {"id": A, "changeInfo": {"modifiedDate": date, "modifiedBy": "x"}}
    seen = Observation(A, SEEN_AT, changed_by="x", problem=problem)
    assert observation(entity, A, SEEN_AT) == seen


# --- groups ------------------------------------------------------------------------------------


def groups(content: object, *, detailed: bool = False) -> list[ServerGroup]:
    return list(nested_groups(content, "WA1", SEEN_AT, detailed=detailed))


def test_groups_come_in_the_order_of_the_answer_each_before_those_inside_it() -> None:
    web = group("Web", group("Blue", ids=("B2", "b1")), ids=("W1",))
    blue = (Observation(server, group="Blue", datacenter="WA1") for server in ("B1", "B2"))
    assert groups(group("WA1 Hardware", web, group("Database"))) == [
        ServerGroup(ROOT, "WA1 Hardware", "WA1", 0, ()),
        ServerGroup(ROOT, "Web", "WA1", 1, (Observation("W1", group="Web", datacenter="WA1"),)),
        ServerGroup(ROOT, "Blue", "WA1", 2, tuple(blue)),
        ServerGroup(ROOT, "Database", "WA1", 1, ()),
    ]


@pytest.mark.parametrize("detailed", [True, False])
def test_archives_are_left_out_with_all_inside_and_missing_lists_are_empty(detailed: bool) -> None:
    below = group("Deeper", ids=("OLD1",))
    for kind in ("archive", "templates", "Archive"):
        old = group("Old", below, ids=("OLD2",), type=kind, servers=[{"id": "OLD2"}])
        found = groups(group("Root", group("A", old)), detailed=detailed)
        assert [(group.name, group.servers) for group in found] == [("Root", ()), ("A", ())]
    empty: list[dict[str, object]] = [{}, {"groups": None, "links": None}, {"groups": []}]
    for lists in empty:
        content = {"id": ROOT, "name": "Root", "type": "default", **lists}
        assert groups(content, detailed=detailed) == [ServerGroup(ROOT, "Root", "WA1", 0, ())]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "that of WA1 isn't a group"),
        (group("", ids=("W1",)), "lacks its id, name or type"),
        (group("A", id=3), "lacks its id, name or type"),
        (group("A", type=None), "lacks its id, name or type"),
        (group("A", links={}), "the links of group 'A' aren't a list"),
        (group("A", links=[3]), "the links of group 'A' aren't a list"),
        (group("A", groups={"id": ROOT}), "the groups in group 'A' aren't a list"),
        (group("A", ids=("W1", "../x")), "'../x' in group 'A' is not a server id"),
        (group("A", ids=("ß",)), "'ß' in group 'A' is not a server id"),
        (group("A", group("B", links=[{"rel": "server"}])), "'' in group 'B' is not a server id"),
        (group("A", servers={}), "the servers of group 'A' aren't a list"),
    ],
)
def test_a_group_that_can_not_be_read_in_full_is_an_error(content: object, words: str) -> None:
    with pytest.raises(RefusedError, match="can't be read: ") as raised:
        groups(content, detailed="servers" in words)
    assert words in raised.value.message


def test_a_data_centre_without_a_root_group_is_an_error() -> None:
    unreadable: list[object] = [
        *(None, {}, ["wa1"], [{"id": "wa1"}], [{"id": "wa1", "links": {}}]),
        *([datacenter("wa1", "../../x")], [datacenter("wa1", None)], [datacenter("")]),
        [datacenter("va1"), datacenter("wa1", "")],
    ]
    for content in unreadable:
        with pytest.raises(RefusedError, match="can't be read: "):
            list(root_groups(content))


def test_groups_may_be_nested_to_any_depth() -> None:
    content = group("A")
    for _ in range(5000):
        content = group("A", content)
    assert groups(content)[-1].depth == 5000
