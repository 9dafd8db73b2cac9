"""How times, names and numbers are put into words."""

from collections.abc import Sequence
from datetime import datetime, timedelta

LONGEST_ENUMERATION = 50
"""Servers that a message names; the others are counted, and the result lists them all."""


def show_time(instant: datetime) -> str:
    """An instant in UTC, to the minute."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def show_span(span: timedelta) -> str:
    """A length of time in its two largest units."""
    minutes = max(0, int(span.total_seconds())) // 60
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def show_seconds(seconds: float) -> str:
    """A number of seconds in the largest unit that leaves none over."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{round(seconds, 3):g} s"


def count(number: int, noun: str) -> str:
    """`1 server`, `2 servers`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def enumerate_names(names: Sequence[str], most: int = LONGEST_ENUMERATION) -> str:
    """The names, and how many more where they are too many to read."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def quote(text: str) -> str:
    """A word of the user's, short enough for a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")  # noqa: PLR2004 - half a line


def describe(error: BaseException) -> str:
    """A surprise: its kind, and its text where it has one."""
    return f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")
