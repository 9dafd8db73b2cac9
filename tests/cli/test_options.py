import click
import pytest

from clc_reset.cli.options import duration, requested_form, signed_duration

YEAR = 365 * 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90), ("90s", 90), ("1.5s", 1.5), ("200ms", 0.2), ("10m", 600), ("5min", 300)],
        *[("1h", 3600), ("1h30m", 5400), ("1d1h1min1s", 90061), ("365d", YEAR), ("0", 0)],
    ],
)
def test_a_duration_is_numbers_and_units(text: str, seconds: float) -> None:
    assert duration(f" {text} ") == signed_duration(text) == seconds
    assert signed_duration(f" -{text}") == -seconds


@pytest.mark.parametrize("text", ["", "-1", "s", "1 h", "1h30", "1w", "inf", "nan", "1e9", "--1"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter) as no:
        duration(text)
    assert no.value.message == f"{text!r} is not a duration such as 90, 90s, 10m or 1h30m."
    with pytest.raises(click.BadParameter, match=f"'-{text}' is not a duration"):
        signed_duration(f"-{text}")


@pytest.mark.parametrize("text", ["366d", "365d1ms", "9" * 400])
def test_a_duration_is_at_most_a_year(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is longer than 365 days"):
        duration(text)


@pytest.mark.parametrize(
    ("line", "form"),
    [
        *[(line, None) for line in ("", "reset A", "reset A -o", "reset A -o yaml")],
        *[(line, None) for line in ("reset A -- -o json", "reset json -o-")],
        *[(f"reset A {line}", "json") for line in ("-o json --nope", "-ojson", "-qo json")],
        *[(f"reset A {line}", "json") for line in ("--output json", "-o tsv -o json")],
        *[("reset A -qotsv", "tsv"), ("reset A --output=table", "table")],
    ],
)
def test_the_form_of_a_line_that_can_not_be_parsed(line: str, form: str | None) -> None:
    assert requested_form(line.split()) == form
