import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset import text as module
from clc_reset.text import printable


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("\x1b\u202e\u2066\u200f\x9b")
    shown.encode()
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe\nist\tschön\x1b[31m", "Größe ist schön[31m"),
        ("names eyJhbGciOiJIUzI1NiJ9.eyJl.c2ln, x", "names [secret], x"),
        ("xeyJhbGciOiJIUzI1NiJ9.eyJl.c2ln, x", "x[secret], x"),
        ("keyJ eyJ. and eyJabc, abc.eyJ", "keyJ [secret] and eyJabc, abc.eyJ"),
    ],
)
def test_printable_keeps_letters_whole_and_shows_no_token(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("unit", ["eyJ", "eyJ.", ".eyJ-_", "\x1b", "ü\u202e", "eyJhbGci.eyJ "])
def test_printing_takes_time_in_proportion_to_a_texts_length(unit: str) -> None:
    began = time.process_time()
    printable(unit * (2**18 // len(unit)))
    assert time.process_time() - began < 1.0  # a square would take many seconds


NAMES = tuple(f"S{n}" for n in range(1053))
hours, minutes, seconds = (timedelta(**{unit: 1}) for unit in ("hours", "minutes", "seconds"))


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("count", {0: "0 servers", 1: "1 server", 1000: "1,000 servers"}),
        ("show_time", {datetime(2026, 1, 15, 2, 13, 44, tzinfo=UTC): "2026-01-15 02:13 UTC"}),
        ("show_span", {219 * hours + 59 * minutes: "9 d 3 h", 4 * hours - seconds: "3 h 59 min"}),
        ("show_span", {59 * seconds: "0 min", -59 * seconds: "0 min"}),
        ("show_age", {311 * 3600: "12 d", 4 * 3600 - 1: "3 h", 179: "2 min"}),
        ("show_age", {40.9: "40 s", -40: "0 s"}),
        ("show_seconds", {1800: "30 min", 90: "90 s", 7200: "2 h", 0.2: "0.2 s", 1e-5: "0 s"}),
        ("enumerate_names", {NAMES[:2]: "S0, S1", NAMES[:50]: ", ".join(NAMES[:50])}),
        ("enumerate_names", {NAMES: f"{', '.join(NAMES[:50])} and 1,003 more"}),
        ("quote", {"a b": "'a b'", "x" * 99: f"'{'x' * 40}…'"}),
        ("sentence", {"No": "No.", "No.": "No.", "No!": "No!", "And so on...": "And so on..."}),
        ("sentence", {"It has occurred..": "It has occurred."}),
        ("continued", {"The API refused.": "the API refused.", "Can't do it.": "can't do it."}),
        ("continued", {"Down": "down", "WA1ALIASWB01: reset": "WA1ALIASWB01: reset", "it": "it"}),
        ("continued", {name: name for name in ("CLC_TOKEN is in quotes.", "OSError: full")}),
        ("shorten", {"x" * 500: "x" * 500, "x" * 501: "x" * 499 + "…"}),
        ("describe", {ValueError(" odd "): "ValueError: odd", OSError(): "OSError"}),
        ("describe_bug", {ValueError("odd"): "ValueError: odd (this is a bug in clc)"}),
        ("first_line", {ValueError("odd\x1b[2J\nand more"): "odd[2J", OSError("  "): "OSError"}),
    ],
)
def test_numbers_times_names_and_errors_are_written_for_people(
    name: str, cases: dict[Any, str]
) -> None:
    show, more = getattr(module, name), ("server",) if name == "count" else ()
    assert {value: show(value, *more) for value in cases} == cases
