import base64
import html
import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote as url_quote
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.text import (
    Redactor,
    count,
    describe,
    enumerate_names,
    first_line,
    printable,
    quote,
    sentence,
    show_age,
    show_seconds,
    show_span,
    show_time,
)
from tests.fakes import jwt

# --- what may be printed -----------------------------------------------------------------------


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("\u202e\u2066\u200f\x9b")
    shown.encode()
    assert printable(shown) == shown


def test_printable_keeps_words_apart_and_letters_whole() -> None:
    assert printable("Größe\nist\tschön\x1b[31m") == "Größe ist schön[31m"


@pytest.mark.parametrize("before", ["", "x", "Bearer ", "token="])
def test_what_looks_like_a_token_is_not_shown(before: str) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln"
    assert printable(f"names {before}{token}, which") == f"names {before}[secret], which"


def test_what_only_begins_like_a_token_is_shown() -> None:
    assert printable("keyJ eyJ. and eyJabc, abc.eyJ") == "keyJ [secret] and eyJabc, abc.eyJ"


def seconds_for(work: object, text: str) -> float:
    assert callable(work)
    took = []
    for _ in range(3):
        began = time.process_time()
        work(text)
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize(
    "unit", ["eyJ", "eyJ.", "eyJ ", ".eyJ-_", "x", "\x1b", "\n\x00", "ü\u202e", "eyJhbGci.eyJ "]
)
def test_it_takes_time_in_proportion_to_a_texts_length(unit: str) -> None:
    redact = Redactor(["eyJhbGciOiJIUzI1NiJ9.secret", "eyeyeyJJJ"]).redact
    for work in (printable, redact):
        some = seconds_for(work, unit * (2**15 // len(unit)))
        more = seconds_for(work, unit * (2**18 // len(unit)))
        # eight times the text; a square would take 64 times as long, and many seconds
        assert more < 1.0 or more < 24 * some


# --- the redactor ------------------------------------------------------------------------------

SECRETS = ["s3cret/+&<\"'>ü", "p@ss word", jwt(), "Größe", "a\\b/c", "\udc80odd"]


def forms(secret: str) -> list[str]:
    data = secret.encode(errors="surrogatepass")
    return [
        secret,
        secret.upper(),
        secret.lower(),
        json.dumps(secret),
        json.dumps({"password": secret}, ensure_ascii=False),
        html.escape(secret),
        html.escape(secret).replace("&#x27;", "&#39;"),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        *(base64.b64encode(b"user:x"[:n] + data + b"end").decode() for n in range(6)),
        *(base64.urlsafe_b64encode(b"user:x"[:n] + data + b"end").decode() for n in range(6)),
    ]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_taken_out_in_each_form(secret: str) -> None:
    redact = Redactor(["another one", secret]).redact
    for form in forms(secret):
        assert redact(f"<{form}>") != f"<{form}>"
        assert secret not in redact(f"<{form}>")
        assert "[secret]" in redact(form)


@pytest.mark.parametrize("secret", [each for each in SECRETS if each.isascii() or each == "Größe"])
def test_a_secret_is_taken_out_of_urls(secret: str) -> None:
    redact = Redactor([secret]).redact
    for form in (url_quote(secret, safe=""), url_quote(secret), quote_plus(secret)):
        assert redact(f"?password={form}&x") == "?password=[secret]&x"
        assert redact(f"?password={form.lower()}&x") == "?password=[secret]&x"


def test_a_secret_is_taken_out_without_the_blanks_at_its_ends() -> None:
    assert Redactor([" s3cret\n"]).redact("it is s3cret!") == "it is [secret]!"


def test_of_two_secrets_the_longer_one_is_taken_out_as_a_whole() -> None:
    redact = Redactor(["abcd", "abcdefgh"]).redact
    assert redact("abcdefgh abcd") == "[secret] [secret]"


def test_all_else_stays_as_it_is() -> None:
    assert Redactor().redact("text") == "text"
    assert Redactor(["", "abc"]).redact("abc") == "abc"
    assert Redactor(["longer than it"]).redact("text") == "text"
    assert Redactor(["s3cret"]).redact("the server cannot be found") == "the server cannot be found"


@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_is_left(secret: str, before: str, after: str) -> None:
    if secret.strip() in "[secret]":
        return
    assert secret not in Redactor([secret]).redact(f"{before}{secret}{after}")


# --- words -------------------------------------------------------------------------------------


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
    ("span", "words"),
    [
        (timedelta(days=12, hours=23), "12 d"),
        (timedelta(hours=3, minutes=59), "3 h"),
        (timedelta(minutes=2, seconds=59), "2 min"),
        (timedelta(seconds=40.9), "40 s"),
        (timedelta(seconds=-40), "0 s"),
    ],
)
def test_an_age_has_its_largest_unit(span: timedelta, words: str) -> None:
    assert show_age(span) == words


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


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("No", "No."),
        ("No.", "No."),
        ("No!", "No!"),
        ("It has occurred..", "It has occurred."),
        ("And so on...", "And so on..."),
    ],
)
def test_a_sentence_has_one_full_stop(text: str, ended: str) -> None:
    assert sentence(text) == ended


def test_a_surprise_is_described_by_its_kind_and_its_text() -> None:
    assert describe(ValueError(" odd ")) == "ValueError: odd"
    assert describe(ZeroDivisionError()) == "ZeroDivisionError"


def test_an_errors_first_line_is_its_text_or_its_name() -> None:
    assert first_line(ValueError("odd\x1b[2J\nand more")) == "odd[2J"
    assert first_line(ZeroDivisionError("  ")) == "ZeroDivisionError"
