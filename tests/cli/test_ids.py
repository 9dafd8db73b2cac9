import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.ids import check_groups, operation_ids, server_ids
from clc_reset.errors import UsageError


def unread() -> str:
    raise AssertionError


def test_ids_are_upper_case_in_the_order_given_each_once() -> None:
    assert server_ids(["b", "A", "B", "a", "c"], unread) == (["B", "A", "C"], 2)


def test_a_hyphen_stands_for_the_ids_in_standard_input() -> None:
    text = "\n wb01\twb02 # the web\n# none\nwb03#x\r\n"
    assert server_ids(["A", "-", "B", "-"], lambda: text) == (
        ["A", "WB01", "WB02", "WB03", "B"],
        0,
    )


def test_standard_input_is_read_only_for_a_hyphen() -> None:
    assert server_ids(["A"], unread) == (["A"], 0)


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_id_is_taken_for_an_unset_variable(empty: str) -> None:
    with pytest.raises(UsageError, match="is a shell variable unset"):
        server_ids(["A", empty], unread)


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_no_server_at_all_is_an_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="No server is named"):
        server_ids(arguments, lambda: "# nothing\n")


def test_with_a_group_no_server_has_to_be_named() -> None:
    assert server_ids([], unread, ["Web"]) == ([], 0)
    with pytest.raises(UsageError, match="is a shell variable unset"):
        server_ids([""], unread, ["Web"])


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_name_of_a_group_is_taken_for_an_unset_variable(name: str) -> None:
    check_groups(["Web"])
    with pytest.raises(UsageError, match="is a shell variable unset"):
        check_groups(["Web", name])


def test_malformed_ids_are_named_a_few_of_them() -> None:
    with pytest.raises(UsageError) as raised:
        server_ids([f"a{n};" for n in range(1000)] + ["x" * 9999 + "!"], unread)
    assert "'a0;'" in raised.value.message
    assert "and 996 more" in raised.value.message
    assert len(raised.value.message) < 200


def test_one_malformed_id_is_named_in_short() -> None:
    with pytest.raises(UsageError, match=r"can't be server ids: 'xxx.*…'\."):
        server_ids(["x" * 9999 + "!"], unread)


@given(st.lists(st.text()))
def test_whatever_is_accepted_is_upper_case_unique_and_well_formed(arguments: list[str]) -> None:
    try:
        ids, _ = server_ids(arguments, lambda: "")
    except UsageError:
        return
    assert len(set(ids)) == len(ids) > 0
    assert all(each == each.upper() and each.isascii() for each in ids)


def test_operation_ids_keep_their_case_and_come_each_once() -> None:
    assert operation_ids(["wa1-1", "-", "VA1-2"], lambda: "wa1-1 va1-3 # x") == [
        "wa1-1",
        "va1-3",
        "VA1-2",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No operation is named"),
        (["wa1-1", ""], "An operation id is empty"),
        (["../../x"], "can't be operation ids: '../../x'"),
        (["-x"], "can't be operation ids"),
    ],
)
def test_operation_ids_are_checked(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        operation_ids(arguments, unread)
    assert words in raised.value.message


@pytest.mark.parametrize("odd", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_a_comment_ends_at_the_end_of_its_line_only(odd: str) -> None:
    assert server_ids(["-"], lambda: f"A # not {odd} B\rC\n") == (["A", "C"], 0)
