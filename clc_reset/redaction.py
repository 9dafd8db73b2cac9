"""Redaction: keep this run's secrets out of text that came from elsewhere.

An API, a proxy or a library may echo what was sent to it: as it was, escaped, encoded, wrapped at
76 columns, or only a part of it. It is redacted once, where it is read.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

from clc_reset.text import REDACTED, UNPRINTABLE

SHORTEST_SECRET = 4
"""Characters; anything shorter is part of many other words, and no secret."""
RUN = 16
"""Characters that a text may not share, in a row, with a secret of that length or more."""

_SAMPLE = RUN // 2
# every run of RUN characters contains one of these
_SAMPLES = rf"(.{{{_SAMPLE}}}).{{,{RUN - 2 * _SAMPLE + 1}}}"
# of JSON without escapes: what stands between two quotes, and is long enough for a run
_LONG_STRINGS = rf'"([^"]{{{RUN},}})(?=")'
# not printed, or of no width: they would hide a secret here and not on a screen
_INVISIBLE = rf"{UNPRINTABLE}\u00ad\u200b-\u200d\u2060\ufeff"
_INVISIBLE_OR_SPACE = rf"\s{_INVISIBLE}"
# as html.escape does it, without the 2,000 names of characters that the module loads
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})

_Span = tuple[int, int]


class Redactor:
    """Replaces secrets by `[secret]`, in upper or lower case.

    Of a secret of 16 characters or more every run of 16 is found, whatever white space is in it; a
    shorter one only as a whole. Both are also found escaped as in JSON, HTML and URLs, and in
    base64 at any of the three places where they may begin there. `public` are words that are no
    secret where a text is nothing else: a user's name may be the password, too.
    """

    def __init__(self, secrets: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        secrets = tuple(secrets)
        self._long = [secret for secret in secrets if len(_without_space(secret)) >= RUN]
        self._short = [secret for secret in secrets if secret not in self._long]
        self._public = frozenset(map(_fold, public))

    # building all forms of a token takes 2 ms: not before there is a text to look at

    @cached_property
    def _words(self) -> list[str]:
        """The forms of short secrets."""
        forms = {
            _fold(re.sub(f"[{_INVISIBLE}]", "", form))
            for secret in self._short
            for form in _forms(secret)
        }
        return [form for form in forms if len(form) >= SHORTEST_SECRET]

    @cached_property
    def _runs(self) -> frozenset[str]:
        return self._parts(RUN)

    @cached_property
    def _samples(self) -> frozenset[str]:
        return self._parts(_SAMPLE)

    def _parts(self, length: int) -> frozenset[str]:
        """Return all parts of this length that the forms of long secrets have."""
        forms = [_fold(_without_space(form)) for secret in self._long for form in _forms(secret)]
        return frozenset(
            form[at : at + length] for form in forms for at in range(len(form) - length + 1)
        )

    # --- text ----------------------------------------------------------------------------------

    def redact(self, text: str) -> str:
        """Return the text with `[secret]` in the place of each secret."""
        if not self._finds(text) or _fold(text) in self._public:
            return text
        return _replaced(text, [*self._places_of_words(text), *self._places_of_runs(text)])

    def redact_id(self, text: str) -> str:
        """Return an id without long secrets, and without a short one that is the whole of it.

        A word of four letters may be part of a server's name.
        """
        if not self._finds(text):
            return text
        rest = _replaced(text, self._places_of_words(text)).replace(REDACTED, "")
        has_name = any(map(str.isalnum, rest))
        return _replaced(text, self._places_of_runs(text)) if has_name else REDACTED

    def _finds(self, text: str) -> bool:
        """Return whether a text may hold a secret; False if it certainly holds none."""
        return len(text) >= SHORTEST_SECRET and (self._finds_word(text) or self._finds_run(text))

    def _finds_word(self, text: str) -> bool:
        visible = _fold(re.sub(f"[{_INVISIBLE}]+", "", text)) if self._words else ""
        return any(word in visible for word in self._words)

    def _finds_run(self, text: str) -> bool:
        squeezed = _fold(_without_space(text)) if self._samples else ""
        return not self._samples.isdisjoint(re.findall(_SAMPLES, squeezed, re.DOTALL))

    def _places_of_words(self, text: str) -> Iterator[_Span]:
        visible, places = _squeezed(text, _INVISIBLE)
        for word in self._words:
            for found in re.finditer(re.escape(word), visible):
                yield places[found.start()], places[found.end() - 1] + 1

    def _places_of_runs(self, text: str) -> Iterator[_Span]:
        squeezed, places = _squeezed(text, _INVISIBLE_OR_SPACE)
        for start in range(len(squeezed) - RUN + 1):
            if squeezed[start : start + RUN] in self._runs:
                yield places[start], places[start + RUN - 1] + 1

    # --- JSON ----------------------------------------------------------------------------------

    def decode(self, body: bytes) -> object:
        """Return the JSON in a body, its strings redacted; None if there is none.

        Keys stay as they are, and so does a login's token. Lone surrogates become U+FFFD: no file
        and no database takes them.
        """
        try:
            text = body.decode(json.detect_encoding(body), "replace")
            content = json.loads(text)
        except (ValueError, RecursionError, MemoryError):
            return None
        # without an escape in it the body has each string as it is: one look is enough
        if "\\" not in text and not (
            self._finds_word(text) or self._finds_run("".join(re.findall(_LONG_STRINGS, text)))
        ):
            return content
        holder = [content]
        left: list[Any] = [holder]
        while left:  # not by recursion: it may be nested as deep as Python can go
            container = left.pop()
            pairs = container.items() if isinstance(container, dict) else enumerate(container)
            for key, value in pairs:
                if isinstance(value, str):
                    container[key] = self._value(key, value)
                elif isinstance(value, dict | list):
                    left.append(value)
        return holder[0]

    def _value(self, key: object, value: str) -> str:
        if not value.isascii():
            value = re.sub("[\ud800-\udfff]", "\ufffd", value)
        if key == "bearerToken":
            return value
        return self.redact_id(value) if key in {"id", "server"} else self.redact(value)


def _fold(text: str) -> str:
    """Return the text in lower case, each character in its place."""
    return text.replace("\u0130", "i").lower()  # the only letter that would become two


def _without_space(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.replace(" ", "")
    return re.sub(f"[{_INVISIBLE_OR_SPACE}]+", "", text)


def _squeezed(text: str, ignored: str) -> tuple[str, list[int]]:
    """Return the folded text without what is ignored, and each character's place in the text."""
    places = [found.start() for found in re.finditer(f"[^{ignored}]", text)]
    return _fold(re.sub(f"[{ignored}]+", "", text)), places


def _replaced(text: str, spans: Iterable[_Span]) -> str:
    """Return the text with `[secret]` in the place of all spans that overlap each other."""
    parts: list[str] = []
    shown = covered = 0
    for start, end in sorted(spans):
        if start >= covered:
            parts += (text[shown:start], REDACTED)
        covered = shown = max(covered, end)
    return "".join((*parts, text[shown:]))


def _forms(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret may come back, whatever stands beside it."""
    plain = secret.strip()
    if len(plain) < SHORTEST_SECRET:
        return
    yield plain
    yield plain.upper()  # "ß" is two letters then
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    yield plain.translate(_HTML)
    yield plain.translate(_HTML | {ord("'"): "&#39;"})
    data = plain.encode(errors="surrogatepass")
    yield quote(data, safe="")
    yield quote(data)
    yield quote_plus(data)
    yield base64.b64encode(data).decode().rstrip("=")
    yield base64.urlsafe_b64encode(data).decode().rstrip("=")
    for before in range(3):
        # only characters whose six bits are all the secret's: others depend on what is beside
        shifted = base64.b64encode(b"\0" * before + data).decode()
        text = shifted[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
        yield from (text, text.replace("+", "-").replace("/", "_"))
