import io
import re

import pytest
from rich.color import Color

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


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def drawn(rows: list[tuple[str, str, str, str]] = ROWS) -> str:
    return draw(TITLES, rows, 3, Terminal())


def test_a_table_has_coloured_states() -> None:
    shown = drawn()
    for text in ("\x1b[32mqueued", "\x1b[31mfailed", "\x1b[33munknown", "[/x] [red]data", *TITLES):
        assert text in shown
    assert "\x1b[32m" not in draw(("Server", "Group"), [("queued", "queued")], 1, Terminal())


def test_where_there_are_more_colours_they_can_be_read_on_white_and_on_black(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    numbers = re.findall(r"\x1b\[38;5;([0-9]+)m", drawn())
    assert len(numbers) == 3
    for number in numbers:
        channels = Color.parse(f"color({number})").get_truecolor().normalized
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
        assert 1.05 / (luminance + 0.05) > 4.5  # WCAG's contrast for text, on white
        assert (luminance + 0.05) / 0.05 > 3.8


def test_a_long_message_is_broken_between_words_inside_its_cell() -> None:
    message = f"{LONG} changed 02:14:22 UTC by nightly, 77 s after it was sent."
    lines = plain(drawn([*ROWS, ("WA1ALIASWB04", "unknown", "", message)])).splitlines()
    assert max(map(len, lines)) <= 80
    cells = [line[lines[0].index("Message") :].strip() for line in lines]
    assert message in " ".join(cells)
    assert [line.split()[0] for line in lines if line[0] == "W"] == [
        f"WA1ALIASWB0{n}" for n in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("columns", [10, 30, 40, 50])
def test_on_a_narrow_screen_messages_go_below_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = plain(drawn())
    between = ["  " if columns > width else "\n  " for width in (10, 30)]
    queued, _, words = shown.partition(f"WA1ALIASWB02{between[0]}failed\n")
    assert queued == f"WA1ALIASWB01{between[0]}queued{between[1]}wa1-12345\n"
    assert LONG.replace(" ", "") in "".join(words.split())
    assert "…" not in words


def test_a_word_that_fits_no_cell_goes_below() -> None:
    word = "x" * 60
    shown = plain(drawn([("WA1ALIASWB01", "queued", "", word)]))
    assert shown == f"WA1ALIASWB01  queued\n  {word}\n"


def test_only_the_wide_column_is_broken() -> None:
    lines = plain(draw(SEEN, SEEN_ROWS, 1, Terminal())).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.rstrip() for line in lines] == [
        "Server        Group           Status  Power    Maint.  Changed (UTC)     By",
        "WA1ALIASWB01  WA1 Production  active  started  no      2026-01-15 02:14  demo",
        "              Web",
        "WA1ALIASWB02  WA1 Database    active  stopped  yes     2026-01-15 02:14  nightly",
    ]


def test_what_says_nothing_without_its_title_has_it_where_there_are_no_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert draw(SEEN, SEEN_ROWS[:1], 1, Terminal()) == (
        "WA1ALIASWB01  active  started  Maint. no\n  2026-01-15 02:14  demo\n  WA1 Production Web\n"
    )
    titles = ("Server", "State", "Changed", "Message")
    rows = [("WA1ALIASWB01", "unknown", "not yet", LONG), ("WA1ALIASWB02", "queued", "", "")]
    assert plain(draw(titles, rows, 3, Terminal())).splitlines()[:2] == [
        "WA1ALIASWB01  unknown  Changed: not yet",
        "  The operation cannot be queued because",
    ]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b[3" not in drawn()


@pytest.mark.parametrize(("columns", "width"), [(60, 60), (200, 100)])
@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_are_obeyed_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, term: str, columns: int, width: int
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, plain(drawn()).splitlines())) == width


def test_off_a_terminal_a_table_is_plain_and_as_wide_as_it_needs_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("COLUMNS")
    shown = draw(TITLES, ROWS, 3, io.StringIO())
    assert "\x1b" not in shown
    assert LONG in shown


def test_a_screen_without_unicode_gets_ascii_in_straight_columns() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    shown = draw(TITLES, [("WA1ALIASWB01", "failed", "", "Größe")], 3, stream)
    assert shown.isascii()
    assert "Gr\\xf6\\xdfe" in shown
    assert len({len(line) for line in shown.splitlines()}) == 1


@pytest.mark.parametrize("rows", [ROWS[:1], []])
def test_a_short_table_needs_no_wide_screen(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, str, str]]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert plain(drawn(rows)).startswith("Server  ")
