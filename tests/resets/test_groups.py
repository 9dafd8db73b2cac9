import pytest

from clc_reset.errors import UsageError
from clc_reset.models import Observation, ServerGroup
from clc_reset.resets.groups import Groups


def group(n: int, name: str, depth: int, *servers: str, datacenter: str = "WA1") -> ServerGroup:
    shown = (Observation(server, group=name, datacenter=datacenter) for server in servers)
    return ServerGroup(f"{n:032x}", name, datacenter, depth, tuple(shown))


GROUPS = Groups(
    "ALIAS",
    [
        group(10, "WA1 Hardware", 0),
        group(11, "Shop", 1, "S1"),
        group(12, "Web", 2, "W1", "W2"),
        group(13, "Inner", 3, "I1"),
        group(14, "Straße", 2, "W2", "D1"),
        group(15, "Empty", 1),
        group(16, "Last", 1, "L1"),
        group(20, "VA1 Hardware", 0, datacenter="VA1"),
        group(21, "web", 1, "V1", datacenter="VA1"),
        group(22, "Hollow", 1, datacenter="VA1"),
        group(23, "Inside", 2, "H1", datacenter="VA1"),
    ],
)


def servers(*names: str) -> str:
    return " ".join(member.server for member in GROUPS.members_to_reset(names))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        *(([name], "S1 W1 W2 I1 D1") for name in ("Shop", " SHOP ", f"{11:032x}", f"{11:032X}")),
        (["wa1 hardware"], "S1 W1 W2 I1 D1 L1"),  # all of its data centre and nothing else
        (["VA1 Hardware"], "V1 H1"),
        (["Hollow"], "H1"),  # with servers only further inside
        (["STRASSE"], "W2 D1"),
        (["WA1 Web"], "W1 W2 I1"),  # a name that two data centres have
        (["va1 web"], "V1"),
        (["Last", "Straße", "Inner", "last", f"{12:032x}"], "L1 W2 D1 I1 W1"),
    ],
)
def test_groups_have_what_is_inside_them_each_server_once(names: list[str], expected: str) -> None:
    assert servers(*names) == expected


def test_a_server_is_listed_with_the_first_group_that_it_is_in() -> None:
    assert GROUPS.members(["Shop"])[2] == Observation("W2", group="Web", datacenter="WA1")
    assert len(GROUPS.members()) == 8
    assert GROUPS.members(["Empty"]) == []


def test_a_name_that_begins_as_a_data_centre_is_meant_first_and_names_come_once() -> None:
    found = (group(1, "Web", 0, "S1"), group(2, "WA1 Web", 0, "S2"), group(3, "Web", 0))
    groups = Groups("ALIAS", found)
    assert [member.server for member in groups.members(["wa1 web"])] == ["S2"]
    assert groups.names == [("WA1", "Web"), ("WA1", "WA1 Web")]


@pytest.mark.parametrize("name", ["empty", "Web", "S1"])
def test_each_name_must_be_that_of_one_group_with_a_server(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'"):
        servers("Last", name)


def test_a_name_fits_all_groups_with_it_as_their_name_or_id_of_which_ten_are_named() -> None:
    groups = Groups("ALIAS", [group(1, "A", 0, "S1"), group(2, f"{1:032x}", 0, "S2")])
    with pytest.raises(UsageError, match="has 2 groups"):
        groups.members([f"{1:032x}"])
    groups = Groups("ALIAS", [group(number, "Web", 0) for number in range(1000)])
    with pytest.raises(UsageError, match=r"has 1,000 groups 'web': .* and 990 more\."):
        groups.members(["web"])
