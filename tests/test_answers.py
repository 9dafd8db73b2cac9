import json

from hypothesis import given
from hypothesis import strategies as st

from clc_reset.answers import decode, entities, operation_status, reason, reconcile, text
from clc_reset.models import Operation, OperationStatus, ResetAnswer, ServerState
from tests.fakes import queued

A = "WA1ALIASWB01"
WA1 = Operation("wa1-12345", "/v2/operations/alias/status/wa1-12345")
QUEUED = queued(A, WA1.id, WA1.href)


def states(answer: ResetAnswer) -> list[str]:
    return [result.state for result in answer.results]


def test_the_same_answer_twice_is_one_answer() -> None:
    assert states(reconcile([A], [QUEUED, QUEUED])) == ["queued"]


def test_two_different_answers_for_one_server_are_unknown_and_name_the_operations() -> None:
    other = json.loads(json.dumps(QUEUED).replace("12345", "777"))
    (result,) = reconcile([A], [QUEUED, other]).results
    assert (result.state, result.operation) == (ServerState.UNKNOWN, WA1)
    assert "wa1-12345, wa1-777" in (result.message or "")


def test_two_refusals_of_one_server_are_a_refusal_with_both_reasons() -> None:
    refused = {"server": A, "isQueued": False, "errorMessage": "One."}
    (result,) = reconcile([A], [refused, {**refused, "errorMessage": "Two."}]).results
    assert (result.state, result.message) == (ServerState.FAILED, "One. Two.")


def test_queued_and_refused_at_once_is_unknown() -> None:
    refused = {"server": A, "isQueued": False}
    (result,) = reconcile([A], [refused, {"server": A, "isQueued": True}]).results
    assert (result.state, result.operation) == (ServerState.UNKNOWN, None)


def test_an_object_that_names_a_server_is_no_entity_for_that() -> None:
    assert entities(b'{"message":"Server not found","server":"prod-node-3"}') is None


@given(
    st.lists(st.sampled_from(["S1", "S2", "S3", "S4"]), unique=True, min_size=1),
    st.lists(
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "server": st.sampled_from(["s1", "S2", "s3", "s9", "", 3]),
                    "isQueued": st.sampled_from([True, False, None]),
                    "links": st.sampled_from([None, [], QUEUED["links"]]),
                },
            ),
        )
    ),
)
def test_no_server_is_ever_lost_or_made_up(asked: list[str], entities: list[object]) -> None:
    answer = reconcile(asked, entities)
    assert [result.server for result in answer.results] == asked
    assert not set(answer.unasked) & set(asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["message", "error", "modelState", "server", "links", "isQueued"]))
def test_any_json_is_read_as_far_as_it_goes(value: object, key: str) -> None:
    for content in (value, {key: value}, [{key: value}], [{"server": A, key: value}]):
        body = json.dumps(content).encode()
        assert isinstance(reason(body), str)
        found = entities(body)
        assert found is None or len(reconcile([A], found).results) == 1


@given(st.binary())
def test_any_bytes_are_read_as_far_as_they_go(body: bytes) -> None:
    assert isinstance(reason(body), str)
    assert reconcile([A], entities(body) or []).results[0].server == A


def test_json_that_is_too_deep_is_no_json() -> None:
    assert decode(b"[" * 100_000) is None


def test_only_text_is_text() -> None:
    assert [text(" a "), text(None), text(3)] == ["a", "", ""]


def test_the_status_link_is_picked_by_its_rel() -> None:
    links = [3, {"rel": "self", "href": "/x"}, {"rel": "status"}, *QUEUED["links"]]
    (result,) = reconcile([A], [{**QUEUED, "links": links}]).results
    assert result.operation == WA1


def test_a_status_is_one_word_in_an_object() -> None:
    assert operation_status(b'{"status":"executing"}') == OperationStatus("executing")
    assert operation_status(b'["executing"]') is None
    assert operation_status(b'{"status":"\\u0007"}') is None
