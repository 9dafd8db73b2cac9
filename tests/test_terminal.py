import io
import os
import re
import threading

import pytest

from clc_reset.models import Operation, OperationStatus
from clc_reset.terminal import LiveProgress, draw

TITLES = ("Server", "State", "Operation", "Message")
LONG = "The operation cannot be queued because the server cannot be found."
ROWS = [
    ("WA1ALIASWB01", "queued", "wa1-12345", ""),
    ("WA1ALIASWB02", "failed", "", LONG),
    ("WA1ALIASWB03", "unknown", "", "[/x] [red]data"),
]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def drawn(stream: io.StringIO, rows: list[tuple[str, str, str, str]] = ROWS) -> str:
    draw(TITLES, rows, "Message", stream)
    return stream.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLORTERM", raising=False)


def test_a_table_has_four_columns_and_coloured_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = drawn(Terminal())
    assert "\x1b[32mqueued" in shown
    assert "\x1b[31mfailed" in shown
    assert "\x1b[33munknown" in shown
    assert all(title in shown for title in TITLES)
    assert "[/x] [red]data" in shown


def test_a_long_message_wraps_inside_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = plain(drawn(Terminal())).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("│" in line for line in lines) > 4
    assert all(row[0] in "\n".join(lines) for row in ROWS)


@pytest.mark.parametrize("columns", [10, 30, 40, 50])
def test_on_a_narrow_screen_messages_go_below_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    shown = plain(drawn(Terminal()))
    between = ["  " if columns > width else "\n  " for width in (10, 30)]
    queued, _, words = shown.partition(f"WA1ALIASWB02{between[0]}failed\n")
    assert queued == f"WA1ALIASWB01{between[0]}queued{between[1]}wa1-12345\n"
    assert LONG.replace(" ", "") in "".join(words.split())
    assert "…" not in words


def test_the_wide_column_may_stand_anywhere_and_only_states_are_coloured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [("WA1ALIASWB01", "queued", "WA1"), ("WA1ALIASWB02", "a group " * 9, "WA1")]
    titles = ("Server", "Group", "Data centre")
    monkeypatch.setenv("COLUMNS", "60")
    wide, narrow = Terminal(), Terminal()
    draw(titles, rows, "Group", wide)
    assert "\x1b[32m" not in wide.getvalue()
    assert max(map(len, plain(wide.getvalue()).splitlines())) == 60
    monkeypatch.setenv("COLUMNS", "40")
    draw(titles, rows, "Group", narrow)
    assert plain(narrow.getvalue()).startswith("WA1ALIASWB01  WA1\n  queued")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b[3" not in drawn(Terminal())


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_are_obeyed_on_any_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, plain(drawn(Terminal())).splitlines())) <= 60
    monkeypatch.setenv("COLUMNS", "200")
    assert max(map(len, plain(drawn(Terminal())).splitlines())) > 100


def test_off_a_terminal_a_table_is_plain_and_as_wide_as_it_needs_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = drawn(io.StringIO())
    assert "\x1b" not in shown
    assert LONG in shown


def test_a_terminal_without_unicode_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    draw(TITLES, ROWS, "Message", stream)
    stream.flush()
    assert b"WA1ALIASWB01" in raw.getvalue()


def test_a_single_short_row_needs_no_wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "╭" in drawn(Terminal(), ROWS[:1])


def operations(number: int) -> dict[Operation, list[str]]:
    return {Operation(f"wa1-{n}", ""): [f"S{n}", f"T{n}"] for n in range(number)}


class Gone(Terminal):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        raise OSError(5, text)

    def flush(self) -> None:
        raise OSError(5)


def test_live_progress_has_a_row_an_operation_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    screen = Terminal()
    servers = operations(3)
    first, second, third = servers
    with LiveProgress(screen, servers) as live:
        live.changed(first, OperationStatus("executing"), 1.0)
        live.changed(first, OperationStatus("succeeded"), 1.0)
        live.changed(second, OperationStatus("failed"), 1.0)
        live.changed(third, OperationStatus("re[x]sumed\x1b[2J"), 1.0)
        live.tick(1.0)
        live.say("a note")
    shown = plain(screen.getvalue())
    assert "S0, T0  wa1-0  succeeded" in shown
    assert "S1, T1  wa1-1  failed" in shown
    assert "S2, T2  wa1-2  re[x]sumed[2J  0 s" in shown
    assert "a note\n" in shown
    assert screen.getvalue().rpartition("wa1-2")[2].count("\x1b[2K") >= 3


def test_live_progress_is_one_bar_where_rows_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    screen = Terminal()
    servers = operations(1000)
    with LiveProgress(screen, servers) as live:
        for operation in list(servers)[:250]:
            live.changed(operation, OperationStatus("succeeded"), 1.0)
    shown = plain(screen.getvalue())
    assert "250 of 1,000 operations done" in shown
    assert "750 queued, 250 succeeded" in shown
    assert "wa1-1 " not in shown


def test_live_progress_on_a_terminal_that_is_gone_is_no_error() -> None:
    with LiveProgress(Gone(), operations(1)) as live:
        live.say("lost")


def test_a_live_display_that_is_interrupted_while_it_begins_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    screen = Terminal()
    with pytest.raises(KeyboardInterrupt), LiveProgress(screen, operations(1)):
        raise AssertionError
    assert screen.getvalue().rpartition("\x1b[?25")[2].startswith("h")  # the cursor is back


def test_a_pipe_that_nobody_reads_is_an_error_of_its_own() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError), os.fdopen(writer, "w") as pipe:
        draw(TITLES, ROWS, "Message", pipe)


def test_on_a_narrow_screen_the_names_give_way_to_word_and_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    screen = Terminal()
    operation = Operation("wa1-12345", "")
    with LiveProgress(screen, {operation: ["WA1ALIASWB01", "WA1ALIASWB02"]}) as live:
        live.changed(operation, OperationStatus("executing"), 1.0)
    assert "WA1ALIASWB01…  wa1-12345  executing  0 s" in plain(screen.getvalue())
