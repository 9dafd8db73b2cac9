import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.models import (
    Credential,
    OperationStatus,
    api_origin,
    is_account_alias,
    is_operation_id,
    is_server_id,
    printable,
)
from tests.fakes import base64url, jwt

NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)


@given(st.text())
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_printable_keeps_words_apart_and_letters_whole() -> None:
    assert printable("Größe\nist\tschön\x1b[31m") == "Größe ist schön[31m"


def test_what_looks_like_a_token_is_not_shown() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln"
    assert printable(f"names {token}, which") == "names [secret], which"


@pytest.mark.parametrize("text", ["WA1ALIASWB01", "wa1aliaswb01", "a-b_c"])
def test_a_server_id_is_letters_digits_hyphens_and_underscores(text: str) -> None:
    assert is_server_id(text)


@pytest.mark.parametrize("text", ["", " ", "WA1 ", "A;B", "ÄÖ", "A/B", "٣"])
def test_anything_else_is_no_server_id(text: str) -> None:
    assert not is_server_id(text)


def test_an_account_alias_can_not_lead_out_of_a_path() -> None:
    assert is_account_alias("ALIAS")
    assert not is_account_alias("../../x")


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://api.ctl.io", "https://api.ctl.io"),
        ("HTTPS://API.CTL.IO:443/v2/", "https://api.ctl.io"),
        (" https://api.ctl.io:8443/ ", "https://api.ctl.io:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_has_one_spelling(base_url: str, origin: str) -> None:
    assert api_origin(base_url) == origin


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.ctl.io",
        "ftp://api.ctl.io",
        "http://api.ctl.io",
        "http://127.0.0.1.example.com",
        "https://user:secret@api.ctl.io",
        "https://api.ctl.io/x",
        "https://api.ctl.io?x",
        "https://api.ctl.io:0",
        "https://api.ctl.io:65536",
        "https://api.ctl.io\nx",
    ],
)
def test_a_base_url_that_is_no_https_origin_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"it isn't|there is no port"):
        api_origin(base_url)


def test_a_token_tells_whose_it_is_and_how_long_it_lives() -> None:
    token = jwt(exp=1768443180, nbf=1767233580)
    credential = Credential.from_token(token, "CLC_TOKEN")
    assert credential.user == "someone"
    assert credential.account == "ABCD"
    assert credential.roles == ("ServerAdmin",)
    assert credential.expires == NOW
    assert credential.issued == NOW - timedelta(days=14)


def test_a_token_is_never_part_of_a_repr() -> None:
    token = jwt()
    assert token not in repr(Credential.from_token(token, "CLC_TOKEN"))


def test_what_the_login_said_goes_before_what_the_token_says() -> None:
    credential = Credential.from_token(jwt(), "x", user="other", account="ZZ", roles=("A",))
    assert (credential.user, credential.account, credential.roles) == ("other", "ZZ", ("A",))


@pytest.mark.parametrize(
    "payload",
    [b"no json", b"[]", b"3", b'{"exp": true}', b'{"exp": 1e300}', b'{"exp": "soon"}', b"[" * 9999],
)
def test_a_token_that_can_not_be_decoded_has_an_unknown_expiry_and_no_more(payload: bytes) -> None:
    credential = Credential.from_token(f"e30.{base64url(payload)}.x", "CLC_TOKEN")
    assert credential.expires is None
    assert not credential.has_expired(NOW)
    assert not credential.expires_soon(NOW)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_word_of_visible_ascii_is_a_token(token: str) -> None:
    assert Credential.from_token(token, "CLC_TOKEN").token == token


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ä", "a\x00"])
def test_what_can_not_stand_in_a_header_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        Credential.from_token(token, "CLC_TOKEN")


def test_roles_may_be_a_list() -> None:
    credential = Credential.from_token(jwt(role=["A", "B", 3]), "CLC_TOKEN")
    assert credential.roles == ("A", "B")


def test_an_expiry_passes_and_comes_near() -> None:
    credential = Credential("t", "x", expires=NOW)
    assert credential.has_expired(NOW)
    assert not credential.has_expired(NOW - timedelta(seconds=1))
    assert credential.expires_soon(NOW - timedelta(hours=47))
    assert not credential.expires_soon(NOW - timedelta(hours=49))


def test_the_payload_is_read_with_and_without_padding() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"unique_name": "ab"}).encode()).decode()
    assert Credential.from_token(f"e30.{payload}.x", "x").user == "ab"


@pytest.mark.parametrize(
    ("word", "is_final", "has_succeeded", "has_failed"),
    [
        ("succeeded", True, True, False),
        ("Failed", True, False, True),
        ("resumed", False, False, False),
        ("unknown", False, False, False),
    ],
)
def test_only_succeeded_and_failed_are_final(
    word: str, is_final: bool, has_succeeded: bool, has_failed: bool
) -> None:
    status = OperationStatus(word)
    assert (status.is_final, status.has_succeeded, status.has_failed) == (
        is_final,
        has_succeeded,
        has_failed,
    )


def test_an_operation_id_can_be_neither_an_option_nor_a_path() -> None:
    assert is_operation_id("wa1-12345")
    assert not is_operation_id("-x")
    assert not is_operation_id("../x")
