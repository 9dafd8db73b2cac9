from datetime import UTC, datetime, timedelta

import pytest

from clc_reset.models import Credential, OperationStatus, usual_limit
from tests.builders import A
from tests.fakes import base64url, jwt

NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)


def test_only_succeeded_and_failed_are_final() -> None:
    words = {"notStarted": "waiting", "executing": "running", "Resumed": "running"}
    words |= {word: word for word in ("succeeded", "Failed", "odd", "")}
    known = [*map(OperationStatus, words)]
    assert {status.word: status.plain_word for status in known} == words
    assert [status.word for status in known if status.is_final] == ["succeeded", "Failed"]
    assert [status.word for status in known if status.has_succeeded] == ["succeeded"]
    assert [status.word for status in known if status.has_failed] == ["Failed"]


def test_a_token_tells_whose_it_is_and_how_long_it_lives() -> None:
    token = jwt(exp=1768443180, nbf=1767233580)
    found = Credential.from_token(token, "CLC_TOKEN")
    assert (found.user, found.account, found.roles) == ("someone", "ABCD", ("ServerAdmin",))
    assert (found.expires, found.issued) == (NOW, NOW - timedelta(days=14))
    assert token not in repr(found)
    payload = base64url(b'{"unique_name": "ab"}')
    assert Credential.from_token(f"e30.{payload}===.x", "x").user == "ab"
    several = jwt(role=["A", "B", 3, ""])
    assert Credential.from_token(several, "CLC_TOKEN").roles == ("A", "B")
    found = Credential.from_token(several, "x", user="other", account="ZZ", roles=("C",))
    assert (found.user, found.account, found.roles) == ("other", "ZZ", ("C",))


@pytest.mark.parametrize(
    "payload",
    [
        *(b"no json", b"[]", b"3", b"[" * 99999, b"\xff\xfe\xfd"),
        *(b'{"exp": true}', b'{"exp": 1e300}', b'{"exp": NaN}', b'{"exp": "soon"}'),
        *(b'{"unique_name": ""}', b'{"unique_name": ["x"], "role": {"a": [1]}, "nbf": []}'),
    ],
)
def test_a_token_that_can_not_be_decoded_has_an_unknown_expiry_and_no_more(payload: bytes) -> None:
    credential = Credential.from_token(f"e30.{base64url(payload)}.x", "CLC_TOKEN")
    assert (credential.expires, credential.user, credential.roles) == (None, None, ())


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "a\n", "ä", "a\x00"])
def test_what_can_not_stand_in_a_header_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        Credential.from_token(token, "CLC_TOKEN")


def test_the_usual_limit_is_a_minute_a_server_of_the_largest_data_centre() -> None:
    large = [f"WA1ALIASN{number:05}" for number in range(40)]
    assert usual_limit([]) == usual_limit([A]) == usual_limit(large[:30]) == 1800
    assert usual_limit([*large, "VA1ALIASWB01"]) == 2400
