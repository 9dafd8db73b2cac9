import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.options import Duration, requested_form


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5s", 1.5),
        ("200ms", 0.2),
        ("10m", 600),
        ("5min", 300),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1d1h1min1s", 90061),
        ("365d", 365 * 86400),
        ("0", 0),
    ],
)
def test_a_duration_is_numbers_and_units(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds
    assert Duration(signed=True).convert(f"-{text}", None, None) == -seconds


@pytest.mark.parametrize("text", ["", "-1", "s", "1 h", "1h30", "1w", "inf", "nan", "1e9", "--1"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration such as"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("text", ["366d", "365d1ms", "9" * 400])
def test_a_duration_is_at_most_a_year(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is longer than 365 days"):
        Duration().convert(text, None, None)


@given(st.text())
def test_no_text_is_a_negative_or_endless_duration(text: str) -> None:
    try:
        seconds = Duration().convert(text, None, None)
    except click.BadParameter:
        return
    assert 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("", None),
        ("reset A", None),
        ("reset A -o json --nope", "json"),
        ("reset A -ojson", "json"),
        ("reset A -qo json", "json"),
        ("reset A -qotsv", "tsv"),
        ("reset A --output json", "json"),
        ("reset A --output=table", "table"),
        ("reset A -o tsv -o json", "json"),
        ("reset A -o", None),
        ("reset A -o yaml", None),
        ("reset A -- -o json", None),
        ("reset json -o-", None),
    ],
)
def test_the_form_of_a_line_that_can_not_be_parsed(line: str, form: str | None) -> None:
    assert requested_form(line.split()) == form
