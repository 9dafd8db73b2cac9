import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import UnreachableError
from clc_reset.models import (
    PENDING,
    Credential,
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from tests.fakes import base64url, jwt

NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)
A, B = "WA1ALIASWB01", "WA1ALIASWB02"


@pytest.mark.parametrize(
    ("word", "is_final", "has_succeeded", "has_failed"),
    [
        ("succeeded", True, True, False),
        ("Failed", True, False, True),
        ("resumed", False, False, False),
        ("unknown", False, False, False),
        ("", False, False, False),
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


def test_what_may_still_be_running_is_pending() -> None:
    over = {
        ServerState.SUCCEEDED,
        ServerState.FAILED,
        ServerState.UNKNOWN,
        ServerState.NOT_SENT,
    }
    assert set(ServerState) == PENDING | over
    assert not PENDING & over


def test_an_operation_is_one_value_however_often_it_is_told() -> None:
    path = "/v2/operations/alias/status/wa1-12345"
    assert len({Operation("wa1-12345", path, "ALIAS"), Operation("wa1-12345", path, "ALIAS")}) == 1


def test_where_nothing_was_sent_no_server_was_reset() -> None:
    error = UnreachableError("No route.")
    answer = ResetAnswer.not_sent([A, B], error)
    assert answer.sending is Sending.NOT_SENT
    assert answer.results == tuple(ServerResult(each, ServerState.NOT_SENT) for each in (A, B))
    assert (answer.error, answer.signum, answer.problem) == (error, None, None)
    assert ResetAnswer.not_sent([A], signum=15).signum == 15


def test_where_no_answer_came_each_outcome_is_unknown_and_says_why() -> None:
    answer = ResetAnswer.maybe_sent([A, B], "the connection was lost", 2, NOW)
    assert answer.sending is Sending.MAYBE_SENT
    message = "Sent; outcome unknown: the connection was lost."
    assert answer.results == tuple(
        ServerResult(each, ServerState.UNKNOWN, None, message) for each in (A, B)
    )
    assert (answer.problem, answer.signum, answer.sent_at) == ("the connection was lost", 2, NOW)
    assert answer.error is None


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


def test_what_the_login_said_takes_precedence_over_what_the_token_says() -> None:
    credential = Credential.from_token(jwt(), "x", user="other", account="ZZ", roles=("A",))
    assert (credential.user, credential.account, credential.roles) == ("other", "ZZ", ("A",))


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[]",
        b"3",
        b'{"exp": true}',
        b'{"exp": 1e300}',
        b'{"exp": NaN}',
        b'{"exp": "soon"}',
        b'{"unique_name": ""}',
        b"[" * 99999,
        b"\xff\xfe\xfd",
    ],
)
def test_a_token_that_can_not_be_decoded_has_an_unknown_expiry_and_no_more(payload: bytes) -> None:
    credential = Credential.from_token(f"e30.{base64url(payload)}.x", "CLC_TOKEN")
    assert (credential.expires, credential.user, credential.roles) == (None, None, ())
    assert not credential.has_expired(NOW)
    assert not credential.expires_soon(NOW)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_word_of_visible_ascii_is_a_token(token: str) -> None:
    assert Credential.from_token(token, "CLC_TOKEN").token == token


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_whatever_a_claim_is_a_token_is_one(claim: object) -> None:
    names = ("exp", "nbf", "role", "unique_name", "urn:tier3:account-alias")
    payload = json.dumps(dict.fromkeys(names, claim)).encode()
    credential = Credential.from_token(f"e30.{base64url(payload)}.x", "CLC_TOKEN")
    assert credential.user is None or isinstance(credential.user, str)
    assert all(isinstance(each, str) for each in credential.roles)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "a\n", "ä", "a\x00"])
def test_what_can_not_stand_in_a_header_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        Credential.from_token(token, "CLC_TOKEN")


def test_roles_may_be_a_list() -> None:
    credential = Credential.from_token(jwt(role=["A", "B", 3, ""]), "CLC_TOKEN")
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
    assert Credential.from_token(f"e30.{payload.rstrip('=')}.x", "x").user == "ab"
