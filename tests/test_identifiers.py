import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.identifiers import (
    DEFAULT_BASE_URL,
    api_origin,
    datacenter_of,
    is_account_alias,
    is_loopback,
    is_operation_id,
    is_server_id,
    looks_like_operation_id,
    looks_like_run,
)


@pytest.mark.parametrize("text", ["WA1ALIASWB01", "wa1aliaswb01", "a-b_c"])
def test_a_server_id_is_letters_digits_hyphens_and_underscores(text: str) -> None:
    assert is_server_id(text)


@pytest.mark.parametrize("text", ["", " ", "WA1 ", "WA1\n", "A;B", "ÄÖ", "A/B", "٣", "\ud800"])
def test_anything_else_is_no_server_id(text: str) -> None:
    assert not is_server_id(text)


def test_an_account_alias_can_not_lead_out_of_a_path() -> None:
    assert is_account_alias("ALIAS")
    assert is_account_alias("ab12")
    for text in ("", "../../x", "A/B", "A%2e", "A\n", "Ä"):
        assert not is_account_alias(text)


def test_an_operation_id_can_be_neither_an_option_nor_a_path() -> None:
    assert is_operation_id("wa1-12345")
    for text in ("", "-x", "../x", ".", "a/b", "a?b", "wa1-1\n"):
        assert not is_operation_id(text)


def test_a_recorded_status_id_begins_with_its_data_centre() -> None:
    assert looks_like_operation_id("wa1-12345")
    assert looks_like_operation_id("VA1-1")
    for text in ("WA1ALIASWB01", "wa1", "wa1-", "1a1-5", "wa1-12345\n"):
        assert not looks_like_operation_id(text)


def test_a_run_begins_with_its_date() -> None:
    for text in ("20260115-", "20260115-02", "20260115-021305-3f9a12bc"):
        assert looks_like_run(text)
    for text in ("2026", "WA1ALIASWB01", "wa1-12345", "20260115", "20260115-x"):
        assert not looks_like_run(text)


def test_a_server_id_begins_with_its_data_centre() -> None:
    assert datacenter_of("wa1aliaswb01") == "WA1"
    assert datacenter_of("x") == "X"


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://api.ctl.io", DEFAULT_BASE_URL),
        ("HTTPS://API.CTL.IO:443/v2/", DEFAULT_BASE_URL),
        (" https://api.ctl.io:8443/ ", "https://api.ctl.io:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:80/", "http://localhost"),
        ("https://localhost:80", "https://localhost:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ("https://api.ctl.io:65535", "https://api.ctl.io:65535"),
    ],
)
def test_a_base_url_has_one_spelling(base_url: str, origin: str) -> None:
    assert api_origin(base_url) == origin
    assert api_origin(origin) == origin


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("", "form"),
        ("api.ctl.io", "form"),
        ("ftp://api.ctl.io", "form"),
        ("http://api.ctl.io", "loopback"),
        ("http://127.0.0.1.example.com", "loopback"),
        ("http://evil?@127.0.0.1", "form"),
        ("https://user:secret@api.ctl.io", "form"),
        ("https://api.ctl.io/x", "form"),
        ("https://api.ctl.io?x", "form"),
        ("https://api.ctl.io#x", "form"),
        ("https://api.ctl.io:0", "there is no port 0"),
        ("https://api.ctl.io:65536", "there is no port 65536"),
        ("https://api.ctl.io:٣", "form"),
        ("https://api.ctl.io\nx", "form"),
    ],
)
def test_a_base_url_that_is_no_https_origin_is_refused(base_url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        api_origin(base_url)


@given(st.text())
def test_whatever_an_origin_is_made_of_it_is_its_own_spelling(base_url: str) -> None:
    try:
        origin = api_origin(f"https://{base_url}")
    except ValueError:
        return
    assert api_origin(origin) == origin


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_loopback_host_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "::1", "127.1"]
)
def test_any_other_host_is_not(host: str) -> None:
    assert not is_loopback(host)
