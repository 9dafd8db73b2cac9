import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.options import Duration, requested_form


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5s", 1.5), ("200ms", 0.2), ("10m", 600), ("1h", 3600), ("0", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds
    assert Duration(signed=True).convert(f"-{text}", None, None) == -seconds


@pytest.mark.parametrize("text", ["", "-1", "1d", "s", "1 h", "inf", "nan", "1e9", "9" * 400])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Duration().convert(text, None, None)


@given(st.text())
def test_no_text_is_a_negative_or_endless_duration(text: str) -> None:
    try:
        seconds = Duration().convert(text, None, None)
    except click.BadParameter:
        return
    assert 0 <= seconds < float("inf")


def test_seconds_are_passed_on() -> None:
    assert Duration().convert(3.0, None, None) == 3.0


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
def test_the_form_is_known_of_a_line_that_can_not_be_read(line: str, form: str | None) -> None:
    assert requested_form(line.split()) == form
