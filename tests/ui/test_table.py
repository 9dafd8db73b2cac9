import io
import re
from collections.abc import Sequence

import pytest

from clc_reset.ui.table import draw
from tests.ui.screens import Terminal

TITLES = ("Server", "State", "Operation", "Message")
LONG = "The operation cannot be queued because the server cannot be found."
ROWS = [
    ("WA1ALIASWB01", "queued", "wa1-12345", ""),
    ("WA1ALIASWB02", "failed", "", LONG),
    ("WA1ALIASWB03", "unknown", "", "[/x] [red]data"),
]
SEEN = ("Server", "Group", "Status", "Power", "Maint.", "Changed (UTC)", "By")
SEEN_ROWS = [
    ("WA1ALIASWB01", "WA1 Production Web", "active", "started", "no", "2026-01-15 02:14", "demo"),
    ("WA1ALIASWB02", "WA1 Database", "active", "stopped", "yes", "2026-01-15 02:14", "nightly"),
]


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def drawn(
    rows: Sequence[Sequence[str]] = ROWS, titles: Sequence[str] = TITLES, folding: int = 3
) -> str:
    return draw(titles, rows, folding, Terminal())


def lines(text: str) -> list[str]:
    """Return the lines of a table without colours."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]


@pytest.mark.parametrize(
    ("name", "value", "colours"),
    [
        ("TERM", "xterm", ["32", "31", "33"]),
        ("TERM", "xterm-256color", ["38;5;28", "38;5;160", "38;5;130"]),  # on white and on black
        ("TERM", "dumb", []),
        ("NO_COLOR", "1", []),
    ],
)
def test_states_are_coloured_as_the_terminal_can_and_text_is_data(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, colours: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    shown = drawn()
    assert re.findall(r"\x1b\[(3[0-9;]*)m(?:queued|failed|unknown)", shown) == colours
    assert shown.count("\x1b[3") == len(colours)
    assert all(text in shown for text in ("[/x] [red]data", *TITLES))
    assert "\x1b[3" not in drawn([("queued", "queued")], ("Server", "Group"), 1)


def test_a_long_message_is_broken_between_words_inside_its_cell() -> None:
    message = f"{LONG} changed 02:14:22 UTC by nightly, 77 s after it was sent."
    shown = lines(drawn([*ROWS, ("WA1ALIASWB04", "unknown", "", message)]))
    assert 70 <= max(map(len, shown)) <= 80
    cells = [line[shown[0].index("Message") :].strip() for line in shown]
    assert message in " ".join(cells)
    servers = [line.split()[0] for line in shown if line[0] == "W"]
    assert servers == [f"WA1ALIASWB0{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("columns", [10, 30, 40, 50])
def test_on_a_narrow_screen_messages_go_below_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = "\n".join(lines(drawn()))
    between = ["  " if columns > width else "\n  " for width in (10, 30)]
    queued, _, words = shown.partition(f"WA1ALIASWB02{between[0]}failed\n")
    assert queued == f"WA1ALIASWB01{between[0]}queued{between[1]}wa1-12345\n"
    assert LONG.replace(" ", "") in "".join(words.split())
    assert "…" not in words


def test_only_the_wide_column_is_broken() -> None:
    assert lines(drawn(SEEN_ROWS, SEEN, 1)) == [
        "Server        Group           Status  Power    Maint.  Changed (UTC)     By",
        "WA1ALIASWB01  WA1 Production  active  started  no      2026-01-15 02:14  demo",
        "              Web",
        "WA1ALIASWB02  WA1 Database    active  stopped  yes     2026-01-15 02:14  nightly",
    ]
    assert lines(drawn([("A", "queued", "", "x" * 60)])) == ["A  queued", f"  {'x' * 60}"]
    assert lines(drawn([])) == ["Server  State  Operation  Message"]


def test_what_says_nothing_without_its_title_has_it_where_there_are_no_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert lines(drawn(SEEN_ROWS[:1], SEEN, 1)) == [
        "WA1ALIASWB01  active  started  Maint. no",
        "  2026-01-15 02:14  demo",
        "  WA1 Production Web",
    ]
    rows = [("WA1ALIASWB01", "succeeded", "wa1-12345", "")]  # there is no room for "Message"
    assert lines(drawn(rows)) == ["WA1ALIASWB01  succeeded  wa1-12345"]
    rows = [("WA1ALIASWB01", "unknown", "not yet", LONG), ("WA1ALIASWB02", "queued", "", "")]
    assert lines(drawn(rows, ("Server", "State", "Changed", "Message")))[:2] == [
        "WA1ALIASWB01  unknown  Changed: not yet",
        "  The operation cannot be queued because",
    ]


def test_off_a_terminal_a_table_is_plain_and_as_wide_as_it_needs_to_be_in_its_encoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("COLUMNS")
    ascii_stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    shown = draw(TITLES, [*ROWS, ("WA1ALIASWB01", "failed", "", "Größe")], 3, ascii_stream)
    assert "\x1b" not in shown
    assert LONG in shown
    assert "Gr\\xf6\\xdfe" in shown
    assert len({len(line) for line in shown.splitlines()}) == 1
