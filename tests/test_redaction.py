import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clc_reset.redaction import Redactor
from tests.fakes import jwt, queued

TOKEN = jwt()
SECRETS = [
    *("s3cret/+&<\"'>ü", "p@ss word", "Größe", "a\\b/c", "\udc80oddly", TOKEN),
    *("correct horse battery staple", 'a "quoted" one & <another>', "Größenwahn, 16 Zeichen"),
]


def forms(secret: str) -> list[str]:
    data, escaped = secret.encode(errors="surrogatepass"), html.escape(secret)
    in_base64 = [
        encode(b"user:x"[:n] + data + end).decode()
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
        for n in range(6)
        for end in (b"", b"end")
    ]
    return [
        *(secret, secret.upper(), secret.lower(), escaped, escaped.replace("&#x27;", "&#39;")),
        *(json.dumps(secret), json.dumps({"password": secret}, ensure_ascii=False)),
        *(quote(data, safe=""), quote(data).lower(), quote_plus(data), *in_base64),
    ]


def wrapped(text: str, width: int, gap: str = "\r\n") -> str:
    return gap.join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_redacted_in_each_form(secret: str) -> None:
    redact = Redactor(["another one", secret]).redact
    for form in forms(secret):
        redacted = redact(f"<{form}>")
        assert "[secret]" in redacted
        assert not any(text in redacted for text in (form, secret))


@pytest.mark.parametrize("gap", ["\n", "\r\n ", "\t", "\x00", "\u200b", "\u202e", "\xa0"])
@pytest.mark.parametrize("width", [1, 15, 76])
def test_a_long_secret_is_redacted_whatever_space_is_in_it(gap: str, width: int) -> None:
    redact = Redactor([TOKEN]).redact
    assert redact(f"at {wrapped(TOKEN, width, gap)}.") == "at [secret]."
    encoded = base64.b64encode(b"x" + TOKEN.encode() + b"yz").decode()
    shown = redact(wrapped(encoded, width, gap))
    assert len("".join(filter(str.isalnum, shown))) < 16


@given(st.integers(0, len(TOKEN) - 16), st.integers(16, 60), st.text(), st.text())
def test_no_run_of_16_is_left(start: int, length: int, before: str, after: str) -> None:
    redacted = Redactor([TOKEN]).redact(before + TOKEN[start : start + length] + after)
    squeezed = "".join(redacted.split()).lower()
    assert not any(TOKEN[at : at + 16].lower() in squeezed for at in range(len(TOKEN) - 15))


VISIBLE = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])


@given(st.text(VISIBLE, min_size=4, max_size=15), st.text(), st.text())
def test_no_short_secret_is_left(secret: str, before: str, after: str) -> None:
    if len(secret.strip()) < 4 or secret.strip().lower() in "[secret]":
        return
    assert secret not in Redactor([secret]).redact(f"{before}{secret}{after}")


S3CRET = ["s3cret"]
UNCHANGED = "Please try again: the operation can't be queued, because the server isn't there."


@pytest.mark.parametrize(
    ("secrets", "text", "redacted"),
    [
        (S3CRET, "it is s3\x1bc\u200bret!", "it is [secret]!"),
        (["\x00s3\x00cret"], "s3cret", "[secret]"),
        ([" s3cret\n"], "it is s3cret!", "it is [secret]!"),
        # the longer one is redacted as a whole
        (["abcd", "abcdefgh"], "abcdefgh abcd abcd", "[secret] [secret] [secret]"),
        # letters that grow in lower case move nothing
        (["s3cret", TOKEN], f"İİİ s3cret İ {TOKEN} İ", "İİİ [secret] İ [secret] İ"),
        # of a longer one each part of 16 characters is redacted, and none of 15
        ([TOKEN], f"…{TOKEN[40:56]}…{TOKEN[40:55]}…", f"…[secret]…{TOKEN[40:55]}…"),
        ([TOKEN], f"{TOKEN[:60]}, {TOKEN[60:90]}", "[secret], [secret]"),
        ([], "text", "text"),
        (["", "abc", "\x00\x01\x02\x03"], "abc\x00", "abc\x00"),
        (["longer than it"], "text", "text"),
        *[(secret, UNCHANGED, UNCHANGED) for secret in (S3CRET, ['""""'], SECRETS[6:7])],
    ],
)
def test_a_secret_is_redacted_and_all_else_stays(
    secrets: list[str], text: str, redacted: str
) -> None:
    assert Redactor(secrets).redact(text) == redacted


def test_a_short_secret_may_be_a_user_name_that_stands_alone_and_a_part_of_an_id() -> None:
    redactor = Redactor(["demo"], ["Demo"])
    assert [redactor.redact("demo"), redactor.redact("not demo")] == ["demo", "not [secret]"]
    redact_id = Redactor(["demo", TOKEN]).redact_id
    names = ["WA1ALIASDEMO01", "WA1ALIASWB01"]
    assert [*map(redact_id, names)] == names
    assert redact_id("Demo") == redact_id(TOKEN) == "[secret]"
    assert redact_id(f"wa1-{TOKEN}") == "wa1-[secret]"


UNITS = ["x", "\n\x00", "ü\u202e", TOKEN, TOKEN[:16], "eyeyeyJJJ", "s3cre"]


@pytest.mark.parametrize("unit", UNITS)
def test_redaction_takes_time_in_proportion_to_a_texts_length(unit: str) -> None:
    began = time.process_time()
    Redactor([TOKEN, "eyeyeyJJJ", "s3cret"]).redact(unit * (2**18 // len(unit)))
    assert time.process_time() - began < 5.0  # a second on a slow machine; a square takes longer


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (
            b'{"s3cret":["s3cret",{"a":"not s3cret","id":"xs3cret","n":3},null,true]}',
            {"s3cret": ["[secret]", {"a": "not [secret]", "id": "xs3cret", "n": 3}, None, True]},
        ),
        (b'"s3cret"', "[secret]"),
        (b'["\\u0073\\u0033cret", "\\u00fc"]', ["[secret]", "ü"]),
        # the token of a login stays
        (
            b'{"bearerToken":"xs3cretx","message":"xs3cretx"}',
            {"bearerToken": "xs3cretx", "message": "x[secret]x"},
        ),
        (b'["a\\ud800b", "\xed\xa0\x80"]', ["a\ufffdb", "\ufffd\ufffd\ufffd"]),
        *[('["ü"]'.encode(encoding), ["ü"]) for encoding in ("utf-8-sig", "utf-16", "utf-32")],
        # anything else is nothing
        *[(body, None) for body in (b"", b"<html>", b"[" * 100_000, b"\xff\xfe", b"9" * 5000)],
    ],
)
def test_strings_of_json_are_redacted_keys_and_tokens_are_not(body: bytes, content: object) -> None:
    assert Redactor(S3CRET).decode(body) == content


@given(st.binary())
@example(b"[" * 900 + b'"\\ns3cret"' + b"]" * 900)  # nesting is no recursion
def test_any_bytes_can_be_decoded(body: bytes) -> None:
    assert "s3cret" not in str(Redactor(S3CRET).decode(body))


def test_entities_are_decoded_in_a_few_times_what_parsing_takes() -> None:
    for escaped in ("", "\n"):
        entity = {**queued("WA1ALIASWB01", "wa1-1"), "errorMessage": escaped}
        body = json.dumps([entity] * 20_000).encode()
        began = time.process_time()
        json.loads(body)
        parsed = time.process_time()
        Redactor([TOKEN, "s3cret"]).decode(body)
        assert time.process_time() - parsed < 60 * (parsed - began)  # five or ten times as long
