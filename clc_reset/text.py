"""Words for numbers, times and names; what may be printed; the one redactor."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

LONGEST_ENUMERATION = 50
"""Servers that a message names; the others are counted, and the result lists them all."""
LONGEST_QUOTE = 40
"""Characters of a word of the user's that a message repeats."""
SHORTEST_SECRET = 4
"""In characters: what is shorter is a part of every other word, and no secret."""

_SECRET = "[secret]"  # noqa: S105 - it stands for one
# not compiled here: most runs need few of them, and re keeps what it has compiled
_UNPRINTABLE = (
    # C0 and C1 controls, line and paragraph separators, marks that reorder text, lone surrogates
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)
# what `html.escape` does, without its 2,000 names of characters
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_BLANKS = r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+"
# a word of a token's characters is looked at once, as a whole: a search from each `eyJ` in it would
# take time that grows with the square of its length
_WORD = r"[A-Za-z0-9_.-]+"


def printable(text: str) -> str:
    """One line of text that can't move a cursor, set a colour or reorder what is read.

    What looks like a token (a JWT) is not shown either, whoever quotes it.
    """
    if not (text.isascii() and text.isprintable()):
        text = re.sub(_UNPRINTABLE, "", re.sub(_BLANKS, " ", text))
    return re.sub(_WORD, _without_token, text) if "eyJ" in text else text


def _without_token(word: re.Match[str]) -> str:
    before, begins, rest = word[0].partition("eyJ")
    return f"{before}{_SECRET}" if begins and "." in rest else word[0]


class Redactor:
    """Takes secrets out of text of the API's, which may be an echo of what was sent.

    A secret is found as it is, without blanks at its ends, in either case, as JSON in a string,
    escaped for a URL or HTML, and in base64, at any of the three places where it may begin there.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for each in secrets for form in _forms(each)}
        self._longest_first = sorted(forms, key=len, reverse=True)
        self._shortest = len(self._longest_first[-1]) if forms else 0

    @cached_property  # it takes 5 ms for a token, and hardly any text is as long as that
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._longest_first)), re.IGNORECASE)

    def redact(self, text: str) -> str:
        """The text with `[secret]` in the place of each secret."""
        if not self._shortest or len(text) < self._shortest:
            return text
        return self._pattern.sub(_SECRET, text)


def _forms(secret: str) -> Iterable[str]:
    import base64  # for who has a secret: a usage error has none
    import json
    from urllib.parse import quote as url_quote
    from urllib.parse import quote_plus

    for each in {secret, secret.strip()}:
        if len(each) < SHORTEST_SECRET:
            continue
        yield from (each, each.upper(), each.lower())
        yield json.dumps(each)[1:-1]
        yield json.dumps(each, ensure_ascii=False)[1:-1]
        yield each.translate(_HTML)
        yield each.translate(_HTML | {ord("'"): "&#39;"})
        data = each.encode(errors="surrogatepass")
        yield url_quote(data, safe="")
        yield url_quote(data)
        yield quote_plus(data)
        yield base64.b64encode(data).decode().rstrip("=")
        yield base64.urlsafe_b64encode(data).decode().rstrip("=")
        for before in range(3):
            # only characters whose six bits are all the secret's: others depend on what is beside
            shifted = base64.b64encode(b"\0" * before + data).decode()
            inner = shifted[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def first_line(error: BaseException) -> str:
    """An error's text, or its name where it has none."""
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__


def describe(error: BaseException) -> str:
    """A surprise: its kind, and its text where it has one."""
    return f"{type(error).__name__}: {str(error).strip()}".removesuffix(": ")


def describe_defect(error: BaseException) -> str:
    """A surprise, as what it is."""
    return f"{describe(error)} (a defect of clc)"


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


def show_age(span: timedelta) -> str:
    """How long ago something was, in its largest unit: `40 s`, `2 min`, `3 h`, `12 d`."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def show_seconds(seconds: float) -> str:
    """A number of seconds in the largest unit that leaves none over."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{round(seconds, 3):g} s"


def count(number: int, noun: str) -> str:
    """`1 server`, `2 servers`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    if text.endswith("..") and not text.endswith("..."):  # the API's "An error has occurred.."
        return text[:-1]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def enumerate_names(names: Sequence[str], most: int = LONGEST_ENUMERATION) -> str:
    """The names, and how many more where they are too many to read."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def quote(text: str) -> str:
    """A word of the user's, short enough for a message."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…")
