import io
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli import arguments
from clc_reset.cli.arguments import check_groups, check_run, names, server_ids
from clc_reset.errors import Interrupted, UsageError
from clc_reset.threads import Stop
from tests.cli.conftest import Typed


def unread() -> str:
    raise AssertionError


# --- servers -----------------------------------------------------------------------------------


def test_ids_are_upper_case_in_the_order_given_each_once() -> None:
    assert server_ids(["b", "A", "B", "a", "c"], unread) == (["B", "A", "C"], 2)


def test_a_hyphen_stands_for_the_ids_in_standard_input() -> None:
    text = "\n wb01  wb02 # the web\n# none\nwb03#x\r\n"
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


@pytest.mark.parametrize("given", [[], ["-"]])
def test_no_server_at_all_is_an_error(given: list[str]) -> None:
    with pytest.raises(UsageError, match="No server is named") as raised:
        server_ids(given, lambda: "# nothing\n", command="clc servers")
    assert "as in: clc servers WA1ALIASWB01" in raised.value.hint


def test_with_a_group_no_server_has_to_be_named() -> None:
    assert server_ids([], unread, ["Web"]) == ([], 0)
    with pytest.raises(UsageError, match="is a shell variable unset"):
        server_ids([""], unread, ["Web"])


def test_malformed_ids_are_named_a_few_of_them() -> None:
    with pytest.raises(UsageError) as raised:
        server_ids([f"a{n};" for n in range(1000)] + ["x" * 9999 + "!"], unread)
    assert "'a0;'" in raised.value.message
    assert "and 996 more" in raised.value.message
    assert len(raised.value.message) < 200


def test_one_malformed_id_is_named_in_short() -> None:
    with pytest.raises(UsageError, match=r"can't be server ids: 'xxx.*…'\."):
        server_ids(["x" * 9999 + "!"], unread)


@pytest.mark.parametrize(
    ("malformed", "words"),
    [
        ("A,B", "not by commas"),
        ("./servers.txt", "clc reset - < FILE"),
        ("wb01.example.com", "not the host name"),
        ("wa1-12345", "clc status wa1-12345"),
        ("20260115-021305-3f9a12bc", "clc status 20260115-021305-3f9a12bc"),
        ("A;B", "letters, digits, - and _"),
    ],
)
def test_what_is_wrong_with_an_id_is_said_with_what_to_do(malformed: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        server_ids([malformed], unread)
    assert words in raised.value.hint
    assert raised.value.hint.startswith("Nothing was sent.")
    assert raised.value.hint.endswith("An id looks like WA1ALIASWB01.")


@given(st.lists(st.text()))
def test_whatever_is_accepted_is_upper_case_unique_and_well_formed(given: list[str]) -> None:
    try:
        ids, _ = server_ids(given, lambda: "")
    except UsageError:
        return
    assert len(set(ids)) == len(ids) > 0
    assert all(each == each.upper() and each.isascii() for each in ids)


@pytest.mark.parametrize("odd", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_a_comment_ends_at_the_end_of_its_line_only(odd: str) -> None:
    assert server_ids(["-"], lambda: f"A # not {odd} B\rC\n") == (["A", "C"], 0)


def test_of_a_line_with_a_tab_what_stands_before_it_is_read() -> None:
    text = "A\tWeb\tWA1\n B C\tx\n\tsucceeded\twa1-1\t\nD # \tx\n"
    assert server_ids(["-"], lambda: text) == (["A", "B", "C", "D"], 0)


# --- other names -------------------------------------------------------------------------------


def test_names_keep_their_case_and_come_each_once() -> None:
    assert names(["wa1-1", "-", "VA1-2"], lambda: "wa1-1 va1-3 # x") == ["wa1-1", "va1-3", "VA1-2"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["-"], "Standard input names nothing"),
        (["wa1-1", ""], "operation or run is empty: is a shell variable unset?"),
        (["../../x"], "can't be server, operation or run ids: '../../x'"),
        (["-x"], "can't be server, operation or run ids"),
    ],
)
def test_names_are_checked(given: list[str], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        names(given, lambda: "")
    assert words in raised.value.message


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_name_of_a_group_or_a_run_is_taken_for_an_unset_variable(name: str) -> None:
    check_groups(["Web"])
    check_run("2026")
    with pytest.raises(UsageError, match="is a shell variable unset"):
        check_groups(["Web", name])
    with pytest.raises(UsageError, match="is a shell variable unset"):
        check_run(name)


# --- standard input ----------------------------------------------------------------------------


class Bytes(io.TextIOWrapper):
    """A standard input of these bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


class BytesTyped(Bytes):
    """The same, typed on a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_says_that_it_reads_and_how_to_end(
    types: Callable[[str], Typed], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = types("")
    monkeypatch.setattr(sys, "stdin", BytesTyped(b"A\n"))
    assert arguments.standard_input(Stop()) == "A\n"
    assert screen.getvalue() == (
        "Reading names from this terminal; end with Ctrl-D on a new line.\n"
    )
    monkeypatch.setattr(sys, "stdin", BytesTyped(b"demo\n"))
    assert arguments.password(Stop()) == "demo"
    assert screen.getvalue().endswith(
        "Reading the password from this terminal; end with Ctrl-D on a new line.\n"
    )
    monkeypatch.setattr(sys, "stdin", BytesTyped(b"A\n"))
    monkeypatch.setattr(sys, "stderr", None)
    assert arguments.standard_input(Stop()) == "A\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\xff\xfe\x00", "it isn't UTF-8 text"), (b"A " * 600, "it is larger than 1 KiB")],
)
def test_standard_input_that_is_no_list_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, data: bytes, words: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(data))
    with pytest.raises(UsageError, match=words):
        arguments.standard_input(Stop(), limit=1024)


def test_a_mark_at_the_beginning_of_standard_input_is_no_character_of_an_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes("\ufeffA".encode()))
    assert arguments.standard_input(Stop()) == "A"


def test_standard_input_that_is_closed_or_broken_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="Standard input is closed"):
        arguments.standard_input(Stop())
    broken = Bytes(b"")
    broken.close()
    monkeypatch.setattr(sys, "stdin", broken)
    with pytest.raises(UsageError, match="Standard input can't be read"):
        arguments.standard_input(Stop())


def test_nothing_is_read_once_there_is_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(b"A"))
    stop = Stop()
    stop.set(15)
    with pytest.raises(Interrupted):
        arguments.standard_input(stop)


@pytest.mark.parametrize(("data", "password"), [(b"demo\r\n", "demo"), (b" demo ", " demo ")])
def test_a_password_is_read_less_its_line_end(
    monkeypatch: pytest.MonkeyPatch, data: bytes, password: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(data))
    assert arguments.password(Stop()) == password


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n"])
def test_no_password_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(data))
    with pytest.raises(UsageError, match="holds no password"):
        arguments.password(Stop())
