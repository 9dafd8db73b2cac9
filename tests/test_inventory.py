import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import RefusedError
from clc_reset.groups import Group, Groups
from clc_reset.inventory import AT_A_TIME, nested_groups, read_groups, root_groups
from tests.fakes import wait_until

ID = "0123456789abcdef0123456789abcdef"


def link(server: object) -> dict[str, object]:
    return {"rel": "server", "href": "/v2/servers/alias/x", "id": server}


def group(name: str, *inside: Any, servers: tuple[str, ...] = (), **more: object) -> dict[str, Any]:
    links = [{"rel": "self", "href": "/x"}, *map(link, servers)]
    described = {"id": ID, "name": name, "type": "default", "serversCount": 0}
    return {**described, "groups": list(inside), "links": links, **more}


def datacenter(name: str, root: object = ID) -> dict[str, Any]:
    return {"id": name, "links": [{"rel": "self"}, {"rel": "group", "id": root}]}


def read(content: object) -> list[Group]:
    return list(nested_groups(json.dumps(content).encode(), "WA1"))


def shown(content: object) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(each.depth, each.name, each.servers) for each in read(content)]


# --- what the answers mean ---------------------------------------------------------------------


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
    assert read(root)[0].id == ID
    assert read(root)[0].datacenter == "WA1"


@pytest.mark.parametrize("kind", ["archive", "templates", "Archive"])
def test_archives_and_templates_are_left_out_with_all_that_is_inside(kind: str) -> None:
    below = group("Deeper", servers=("OLD1",))
    root = group("Root", group("A", group("Old", below, servers=("OLD2",), type=kind)))
    assert shown(root) == [(0, "Root", ()), (1, "A", ())]


@pytest.mark.parametrize("lists", [{}, {"groups": None, "links": None}, {"groups": []}])
def test_missing_null_and_empty_lists_are_alike(lists: dict[str, object]) -> None:
    assert shown({"id": ID, "name": "Root", "type": "default", **lists}) == [(0, "Root", ())]


def test_the_count_of_servers_is_not_believed() -> None:
    assert shown(group("Root", servers=("W1",), serversCount=0)) == [(0, "Root", ("W1",))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "that of WA1 is no group"),
        ([], "that of WA1 is no group"),
        ("x", "that of WA1 is no group"),
        ({}, "lacks its id, name or type"),
        (group("", servers=("W1",)), "lacks its id, name or type"),
        (group("A", id=3), "lacks its id, name or type"),
        (group("A", type=None), "lacks its id, name or type"),
        (group("A", links={}), "the links of group 'A' are no list"),
        (group("A", links="x"), "the links of group 'A' are no list"),
        (group("A", links=[3]), "the links of group 'A' are no list"),
        (group("A", groups={"id": ID}), "the groups in group 'A' are no list"),
        (group("A", None), "the groups in group 'A' are no list"),
        (group("A", links=[link(None)]), "'' in group 'A' is no server id"),
        (group("A", servers=("W1", "../x")), "'../x' in group 'A' is no server id"),
        (group("A", servers=("ß",)), "'ß' in group 'A' is no server id"),
        (group("A", group("B", links=[link("")])), "'' in group 'B' is no server id"),
    ],
)
def test_a_group_that_can_not_be_read_in_full_is_an_error(content: object, words: str) -> None:
    with pytest.raises(RefusedError, match="can't be read: ") as raised:
        read(content)
    assert words in raised.value.message


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
        list(root_groups(json.dumps(content).encode()))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(RefusedError):
        list(root_groups(body))
    with pytest.raises(RefusedError):
        list(nested_groups(body, "WA1"))


@pytest.mark.parametrize("depth", [300, 1000, 100_000])
def test_however_deep_groups_are_nested_they_are_read_or_refused(depth: int) -> None:
    start = f'{{"id":"{ID}","name":"A","type":"default","links":[],"groups":['
    body = (start * depth + "]}" * depth).encode()
    try:
        deepest = list(nested_groups(body, "WA1"))[-1].depth
    except RefusedError:
        assert depth > 300
    else:
        assert deepest == depth - 1


JSON = st.recursive(
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
            },
        )
    ),
)


@given(JSON)
def test_any_json_is_read_or_refused(content: object) -> None:
    body = json.dumps(content).encode()
    for reader in (root_groups, lambda body: nested_groups(body, "WA1")):
        with suppress(RefusedError):
            list(reader(body))


# --- the questions -----------------------------------------------------------------------------


def account(**roots: dict[str, Any]) -> Callable[[str], bytes]:
    """What answers for an account that has these data centres."""
    ids = {name: f"{number:032x}" for number, name in enumerate(roots)}
    bodies = {f"/v2/groups/ALIAS/{ids[name]}": root for name, root in roots.items()}
    datacenters = [datacenter(name, ids[name]) for name in roots]

    def answer(path: str) -> bytes:
        known: dict[str, object] = {"/v2/datacenters/ALIAS?groupLinks=true": datacenters, **bodies}
        return json.dumps(known[path]).encode()

    return answer


def servers(groups: Groups) -> list[str]:
    return [each.server for each in groups.members()]


def test_each_data_centre_is_asked_for_its_root_and_they_are_sorted() -> None:
    wa1, va1 = (group("A", servers=servers) for servers in (("W2", "W1"), ("V1",)))
    found = read_groups(account(wa1=wa1, va1=va1), "ALIAS")
    assert [(each.server, each.datacenter) for each in found.members()] == [
        ("V1", "VA1"),
        ("W1", "WA1"),
        ("W2", "WA1"),
    ]


def test_an_account_without_a_data_centre_has_no_groups() -> None:
    assert servers(read_groups(lambda _path: b"[]", "ALIAS")) == []


def test_data_centres_are_asked_at_once() -> None:
    answer = account(wa1=group("A", servers=("W1",)), va1=group("A", servers=("V1",)))
    both = threading.Barrier(2)

    def ask(path: str) -> bytes:
        if "/groups/" in path:
            both.wait(20)
        return answer(path)

    assert servers(read_groups(ask, "ALIAS")) == ["V1", "W1"]


def test_sixteen_are_asked_at_a_time() -> None:
    names = [f"D{number:02d}" for number in range(AT_A_TIME + 10)]
    answer = account(**{name: group("A", servers=(name,)) for name in names})
    at_a_time = threading.Barrier(AT_A_TIME)
    asking, most = set[int](), []

    def ask(path: str) -> bytes:
        asking.add(threading.get_ident())
        most.append(len(asking))
        if "/groups/" in path and len(most) <= AT_A_TIME + 1:
            at_a_time.wait(20)
        asking.remove(threading.get_ident())
        return answer(path)

    assert servers(read_groups(ask, "ALIAS")) == names
    assert max(most) == AT_A_TIME


@pytest.mark.parametrize("error", [RefusedError("No."), ZeroDivisionError("x")])
def test_the_first_error_ends_it_whatever_is_still_asked(error: Exception) -> None:
    answer = account(wa1=group("A"), va1=group("A"))
    released = threading.Event()

    def ask(path: str) -> bytes:
        if path.endswith("0"):
            raise error
        if path.endswith("1"):
            released.wait(20)
        return answer(path)

    with pytest.raises(type(error)):
        read_groups(ask, "ALIAS")
    released.set()
    wait_until(lambda: all(each.name != "inventory" for each in threading.enumerate()))
