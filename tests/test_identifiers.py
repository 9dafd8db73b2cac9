import pytest

from clc_reset import identifiers
from clc_reset.errors import UsageError
from clc_reset.identifiers import DEFAULT_BASE_URL

NO_URL = "it isn't a URL of the form https://HOST"
OTHERS = ("", " ", "A\n", "A/B", "../x", "A;B", "A%2e", "Ä", "٣", "\ud800")


@pytest.mark.parametrize(
    ("name", "ids", "others"),
    [
        ("is_server_id", "WA1ALIASWB01 wa1aliaswb01 a-b_c", ["WA1 "]),
        (
            "looks_like_server_id",
            "WA1ALIASWB01 ca3t3nWB01 UC1AB1201 WA1ABCDABCDEF99",
            ["WA1", "WA101", "1A1ALIASWB01", "WA1ALIASWB", "WA1ABCDABCDEFGH99", "WA1-ALIAS01"],
        ),
        ("is_operation_id", "wa1-12345", ["-x", "."]),
        ("looks_like_operation_id", "wa1-12345 VA1-1", ["WA1ALIASWB01", "wa1-", "1a1-5"]),
        (
            "looks_like_run",
            "20260115- 20260115-02 20260115-021305-3f9a12bc",
            ["2026", "WA1ALIASWB01", "wa1-12345", "20260115", "20260115-x"],
        ),
        ("is_account_alias", "ALIAS ab12", ["A-B"]),
        (
            "is_loopback",
            "localhost LOCALHOST 127.0.0.1 127.1.2.3 [::1] ::1",
            ["127.0.0.1.x.com", "localhost.x.com", "10.0.0.1", "::2", "127.1", "127.0.0.256"],
        ),
    ],
)
def test_the_grammar_of_ids_and_hosts(name: str, ids: str, others: list[str]) -> None:
    can_be = getattr(identifiers, name)
    assert [text for text in ids.split() if not can_be(text)] == []
    assert [text for text in (*others, *OTHERS) if can_be(text)] == []


def test_a_base_url_has_one_spelling() -> None:
    spellings = {
        "https://api.ctl.io": DEFAULT_BASE_URL,
        "HTTPS://API.CTL.IO:443/v2/": DEFAULT_BASE_URL,
        " https://api.ctl.io:8443/ ": "https://api.ctl.io:8443",
        "http://127.0.0.1:8080": "http://127.0.0.1:8080",
        "http://localhost:80/": "http://localhost",
        "https://localhost:80": "https://localhost:80",
        "http://[::1]:8080": "http://[::1]:8080",
        "https://[2001:db8::1]": "https://[2001:db8::1]",
        "https://api.ctl.io:65535": "https://api.ctl.io:65535",
    }
    assert {base_url: identifiers.api_origin(base_url) for base_url in spellings} == spellings


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        ("http://api.ctl.io", "it isn't https"),
        ("http://127.0.0.1.example.com", "it isn't https"),
        *[
            (url, NO_URL)
            for url in ("", "api.ctl.io", "ftp://x", "http://x?@127.0.0.1", "https://[")
        ],
        *[(f"https://api.ctl.io{end}", NO_URL) for end in ("/x", "?x", "#x", ":٣", "\nx")],
        ("https://user:secret@api.ctl.io", NO_URL),
        ("https://api.ctl.io:0", "there is no port 0"),
        ("https://api.ctl.io:65536", "there is no port 65536"),
    ],
)
def test_a_base_url_that_is_no_https_origin_is_refused(base_url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"CLC_BASE_URL can't be used: {reason}"):
        identifiers.api_origin(base_url)
