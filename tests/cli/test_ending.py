import pytest

from clc_reset.cli.ending import verdict
from clc_reset.models import ServerState as S


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([S.SUCCEEDED, S.SUCCEEDED], 0),
        ([S.SUCCEEDED, S.RUNNING], 7),
        ([S.QUEUED], 7),
        ([S.RUNNING, S.FAILED], 1),
        ([S.FAILED, S.RUNNING, S.UNKNOWN], 6),
    ],
)
def test_after_a_wait_running_is_7(states: list[S], code: int) -> None:
    assert verdict(states, waited=True) == code


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([S.QUEUED, S.QUEUED], 0),
        ([S.QUEUED, S.FAILED], 1),
        ([S.FAILED, S.UNKNOWN, S.QUEUED], 6),
        ([S.UNKNOWN], 6),
    ],
)
def test_the_verdict_is_the_worst_that_applies(states: list[S], code: int) -> None:
    assert verdict(states) == code
