"""Text for people: what may be printed, and how numbers, times and names are written.

Usage errors and Tab load this module, so it imports little.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

LONGEST_ENUMERATION = 50
"""Names in a message; the others are counted, and the result lists them all."""
NAMED_IN_COMMANDS = 10
"""Servers or operations that a command to paste names; more of them are only counted."""
LONGEST_QUOTE = 40
"""Characters of the user's input that a message repeats."""
LONGEST_MESSAGE = 500
"""Characters of a message that came from elsewhere; a 500 may carry a stack trace of 4 kB."""
REDACTED = "[secret]"
"""The replacement of a secret."""
UNPRINTABLE = (
    "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
)
"""For a regular expression's brackets: C0 and C1 controls, separators of lines and paragraphs,
marks that reorder text, lone surrogates."""

# not compiled here: most runs need few of them, and re keeps what it has compiled
_LINE_BREAKS_AND_TABS = r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+"
# each run of a token's characters is looked at once, as a whole: a search from each `eyJ` in it
# would take time that grows with the square of its length
_JWT_CHARACTERS = r"[A-Za-z0-9_.-]+"


def printable(text: str) -> str:
    """Return the text as one line that can't move a cursor, set a colour or reorder itself.

    Anything that looks like a token (a JWT) is replaced by `[secret]`, whoever quotes it.
    """
    if is_plain(text):
        return text
    text = re.sub(f"[{UNPRINTABLE}]+", "", in_one_line(text))
    return re.sub(_JWT_CHARACTERS, _without_token, text)


def in_one_line(text: str) -> str:
    """Return the text with a space for each run of line breaks and tabs."""
    return text if text.isprintable() else re.sub(_LINE_BREAKS_AND_TABS, " ", text)


def is_plain(text: str) -> bool:
    """Return whether a text is printable as it is; quick, and False for some that are."""
    return text.isascii() and text.isprintable() and "eyJ" not in text


def _without_token(found: re.Match[str]) -> str:
    before, begins, rest = found[0].partition("eyJ")
    return f"{before}{REDACTED}" if begins and "." in rest else found[0]


def shorten(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return the text, or its beginning and an ellipsis, with so many characters at the most."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has no text."""
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__


def describe(error: BaseException) -> str:
    """Format an exception as `Type: message`."""
    return f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")


def describe_bug(error: BaseException) -> str:
    """Format an exception that nobody expected, as a bug of this program."""
    return f"{describe(error)} (this is a bug in clc)"


def show_time(instant: datetime) -> str:
    """Format a time in UTC, to the minute."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def show_span(span: timedelta) -> str:
    """Format a length of time in its two largest units: `9 d 3 h`, `12 min`."""
    minutes = max(0, int(span.total_seconds())) // 60
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def show_age(seconds: float) -> str:
    """Format an age in its largest unit: `40 s`, `2 min`, `3 h`, `12 d`."""
    seconds = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def show_seconds(seconds: float) -> str:
    """Format seconds in the largest unit that leaves no remainder: `90 s`, `30 min`, `2 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{round(seconds, 3):g} s"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 server`, `2 servers`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sentence(text: str) -> str:
    """Return the text with one full stop at its end."""
    if text.endswith("..") and not text.endswith("..."):  # the API's "An error has occurred.."
        return text[:-1]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def continued(text: str) -> str:
    """Return a sentence as it goes on after a colon: its first word in lower case if it is one."""
    return re.sub(r"^[A-Z][a-z']*(?![\w-])", lambda word: word[0].lower(), text)


def enumerate_names(names: Sequence[str], most: int = LONGEST_ENUMERATION) -> str:
    """Return the names, the first `most` of them and the number of the others."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def quote(text: str) -> str:
    """Return the user's input in quotation marks, short enough for a message."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…")
