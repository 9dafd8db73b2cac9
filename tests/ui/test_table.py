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
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)


@pytest.fixture
def _is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")


def drawn(rows: list[tuple[str, str, str, str]] = ROWS) -> str:
    return draw(TITLES, rows, "Message", Terminal())


def test_a_table_has_four_columns_and_coloured_states() -> None:
    shown = drawn()
    assert "\x1b[32mqueued" in shown
    assert "\x1b[31mfailed" in shown
    assert "\x1b[33munknown" in shown
    assert all(title in shown for title in TITLES)
    assert "[/x] [red]data" in shown


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


@pytest.mark.usefixtures("_is_plain")
def test_a_long_message_is_broken_between_words_inside_its_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    message = f"{LONG} changed 02:14:22 UTC by nightly, 77 s after it was sent."
    lines = drawn([*ROWS, ("WA1ALIASWB04", "unknown", "", message)]).splitlines()
    assert max(map(len, lines)) <= 80
    cells = [line.strip("│").split("│")[-1].strip() for line in lines if line.startswith("│")]
    assert message in " ".join(cells)
    assert all(row[0] in "\n".join(lines) for row in ROWS)


@pytest.mark.usefixtures("_is_plain")
def test_a_time_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for before in range(40):
        message = f"{'x' * before} at 2026-01-15 02:14:22 UTC, 77 s after it was sent."
        shown = drawn([("WA1ALIASWB01", "queued", "wa1-12345", message)])
        assert "2026-01-15 02:14:22 UTC" in shown
        assert "77 s" in shown


@pytest.mark.usefixtures("_is_plain")
@pytest.mark.parametrize("columns", [10, 30, 40, 50])
def test_on_a_narrow_screen_messages_go_below_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = drawn()
    between = ["  " if columns > width else "\n  " for width in (10, 30)]
    queued, _, words = shown.partition(f"WA1ALIASWB02{between[0]}failed\n")
    assert queued == f"WA1ALIASWB01{between[0]}queued{between[1]}wa1-12345\n"
    assert LONG.replace(" ", "") in "".join(words.split())
    assert "…" not in words


@pytest.mark.usefixtures("_is_plain")
def test_a_word_that_fits_no_cell_goes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    word = "x" * 60
    assert f"WA1ALIASWB01  queued\n  {word}\n" in drawn([("WA1ALIASWB01", "queued", "", word)])


@pytest.mark.usefixtures("_is_plain")
def test_a_table_of_many_columns_gives_up_its_frame_before_its_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = draw(SEEN, SEEN_ROWS, "Group", Terminal()).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.rstrip() for line in lines] == [
        "Server        Group           Status  Power    Maint.  Changed (UTC)     By",
        "WA1ALIASWB01  WA1 Production  active  started  no      2026-01-15 02:14  demo",
        "              Web",
        "WA1ALIASWB02  WA1 Database    active  stopped  yes     2026-01-15 02:14  nightly",
    ]
    monkeypatch.setenv("COLUMNS", "120")
    assert "╭" in draw(SEEN, SEEN_ROWS, "Group", Terminal())


@pytest.mark.usefixtures("_is_plain")
def test_what_says_nothing_without_its_title_has_it_where_there_are_no_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert draw(SEEN, SEEN_ROWS[:1], "Group", Terminal()) == (
        "WA1ALIASWB01  active  started  Maint. no\n  2026-01-15 02:14  demo\n  WA1 Production Web\n"
    )


def test_only_states_are_coloured() -> None:
    titles = ("Server", "Group")
    assert "\x1b[32m" not in draw(titles, [("queued", "queued")], "Group", Terminal())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b[3" not in drawn()


@pytest.mark.usefixtures("_is_plain")
@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_columns_are_obeyed_on_any_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, plain(drawn()).splitlines())) <= 60
    monkeypatch.setenv("COLUMNS", "200")
    assert max(map(len, plain(drawn()).splitlines())) > 100


def test_off_a_terminal_a_table_is_plain_and_as_wide_as_it_needs_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = draw(TITLES, ROWS, "Message", io.StringIO())
    assert "\x1b" not in shown
    assert LONG in shown


def test_a_screen_without_unicode_gets_ascii_in_straight_columns() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    shown = draw(TITLES, [("WA1ALIASWB01", "failed", "", "Größe")], "Message", stream)
    assert shown.isascii()
    assert "Gr\\xf6\\xdfe" in shown
    assert len({len(line) for line in shown.splitlines()}) == 1


@pytest.mark.usefixtures("_is_plain")
def test_a_single_short_row_needs_no_wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "╭" in drawn(ROWS[:1])


def test_a_table_may_have_no_rows() -> None:
    assert "Server" in drawn([])
