from datetime import UTC, datetime, timedelta

import pytest

from clc_reset.wording import (
    count,
    describe,
    enumerate_names,
    quote,
    show_seconds,
    show_span,
    show_time,
)


def test_a_time_is_in_utc_to_the_minute() -> None:
    assert show_time(datetime(2026, 1, 15, 2, 13, 44, tzinfo=UTC)) == "2026-01-15 02:13 UTC"


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(days=9, hours=3, minutes=59), "9 d 3 h"),
        (timedelta(hours=3, minutes=59, seconds=59), "3 h 59 min"),
        (timedelta(seconds=59), "0 min"),
        (timedelta(seconds=-59), "0 min"),
    ],
)
def test_a_span_has_its_two_largest_units(span: timedelta, words: str) -> None:
    assert show_span(span) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1800, "30 min"), (90, "90 s"), (7200, "2 h"), (0.2, "0.2 s"), (0, "0 s"), (1e-5, "0 s")],
)
def test_a_limit_is_in_its_largest_whole_unit(seconds: float, words: str) -> None:
    assert show_seconds(seconds) == words


def test_a_count_agrees_with_its_noun() -> None:
    assert [count(n, "server") for n in (0, 1, 1000)] == ["0 servers", "1 server", "1,000 servers"]


def test_an_enumeration_names_fifty_and_counts_the_rest() -> None:
    names = [f"S{n}" for n in range(1053)]
    assert enumerate_names(names[:2]) == "S0, S1"
    assert enumerate_names(names[:50]).endswith("S49")
    assert enumerate_names(names).endswith(", S49 and 1,003 more")


def test_a_quoted_word_is_short() -> None:
    assert quote("a b") == "'a b'"
    assert quote("x" * 99) == "'" + "x" * 40 + "…'"


def test_a_surprise_is_described_by_its_kind_and_its_text() -> None:
    assert describe(ValueError(" odd ")) == "ValueError: odd"
    assert describe(ZeroDivisionError()) == "ZeroDivisionError"
