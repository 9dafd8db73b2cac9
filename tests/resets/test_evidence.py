"""The servers' own evidence, from the recorded timelines of API.md."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from clc_reset.exit_codes import ExitCode
from clc_reset.models import Observation
from clc_reset.resets.events import ServerChanged
from clc_reset.resets.evidence import Sent, describe_evidence, judge
from tests.resets.world import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    NOON,
    SUCCEEDED,
    TWO,
    USER,
    A,
    B,
    World,
    changed,
    ids,
    lost,
    queued,
    refused,
    states,
    warnings,
)

SENT = Sent(ACCOUNT, USER, NOON)
TIMELINES = [
    (52, 66, 96, 111, 126, 156, 171, 186),  # a reset of 8
    (23, 39, 54),  # a reset of 3
    (73, 134, 193),  # a reboot of 3
]
"""Recorded: seconds from the POST to each server's change, in the order of the answer."""


def observed(
    seconds: float | None, by: str | None = USER, seen: datetime | None = NOON
) -> Observation:
    at = None if seconds is None else NOON + timedelta(seconds=seconds)
    return Observation(A, seen, at, by)


AFTER = "changed 12:01:17 UTC by nightly, 77 s after the request"
NEAR = "within 2 s of the request: before or after it"


@pytest.mark.parametrize(
    ("shown", "sent", "is_changed", "another", "expected"),
    [
        (observed(77), SENT, True, None, AFTER),
        (observed(77, "NIGHTLY"), SENT, True, None, AFTER.replace("nightly", "NIGHTLY")),
        (observed(77, "else"), SENT, None, "else", AFTER.replace("nightly", "else")),
        (observed(77, None), SENT, None, "nobody named", AFTER.replace("nightly", "nobody named")),
        (observed(77, "x"), SENT._replace(user=None), True, None, AFTER.replace("nightly", "x")),
        (observed(3), SENT, True, None, "changed 12:00:03 UTC by nightly, 3 s after the request"),
        (observed(2), SENT, None, None, f"changed 12:00:02 UTC by nightly, {NEAR}"),
        (observed(-2), SENT, None, None, f"changed 11:59:58 UTC by nightly, {NEAR}"),
        (observed(-3), SENT, False, None, "not changed as of 12:00:00 UTC"),
        (observed(-3, seen=None), SENT, False, None, "not changed"),
        (
            observed(77),
            SENT._replace(at=None),
            None,
            None,
            "changed 12:01:17 UTC by nightly; when the request left isn't known on that clock",
        ),
        (observed(None), SENT, None, None, "shows no date of change"),
        (Observation(A, problem="no answer"), SENT, None, None, "couldn't be looked at: no answer"),
        (
            observed(86400, seen=NOON + timedelta(days=2)),
            SENT,
            True,
            None,
            "changed 2026-01-16 12:00:00 UTC by nightly, 86400 s after the request",
        ),
    ],
)
def test_a_change_is_judged_and_described(
    shown: Observation, sent: Sent, is_changed: bool | None, another: str | None, expected: str
) -> None:
    found = judge(shown, sent)
    assert (found.changed, found.by_another) == (is_changed, another)
    assert describe_evidence(found) == expected


# --- a reset that waits ---


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0])
@pytest.mark.parametrize("timeline", TIMELINES)
@pytest.mark.parametrize("end", ["lost", "failed", "time limit"])
def test_a_doubtful_batch_shows_which_servers_have_changed(
    world: World, timeline: Sequence[int], skew: float, end: str
) -> None:
    world.skew = skew
    at = dict(zip(ids(len(timeline)), timeline, strict=True))
    until = sorted(timeline)[1] + 1
    world.show = world.changing({s: t for s, t in at.items() if t <= until})
    world.statuses = lambda _op: FAILED if world.seconds >= until and end == "failed" else EXECUTING
    if end == "lost":
        left = world.clocks.now()
        world.answer = lambda servers: lost(servers)._replace(left=left)
        world.seconds = until
    limit = float(until) if end == "time limit" else None
    outcome = world.reset(*reversed(at), waits=True, looks=False, limit=limit)
    assert outcome.exit_code == {"lost": 6, "failed": 1, "time limit": 7}[end]
    assert [result.server for result in outcome.results] == list(reversed(at))
    for result in outcome.results:
        assert result.server
        assert result.evidence
        assert result.evidence.changed is (at[result.server] <= until)
        if result.evidence.changed:
            assert result.evidence.after == at[result.server]


def test_while_waiting_each_change_is_an_event_and_success_leaves_no_doubt(world: World) -> None:
    at = dict(zip(ids(8), TIMELINES[0], strict=True))
    world.show = world.changing(at)
    world.answer = lambda servers: world.sent(*map(queued, servers), turns=list(at))
    world.lasting(o1=187)
    outcome = world.reset(*reversed(at), waits=True)
    assert outcome.exit_code == ExitCode.OK
    changes = world.of(ServerChanged)
    assert [(e.server, e.changed, e.of) for e in changes] == [
        (s, n, 8) for n, s in enumerate(at, 1)
    ]
    assert changed(outcome) == {}


def test_without_looks_nothing_is_looked_at_while_waiting(world: World) -> None:
    world.lasting(o1=60)
    world.reset(A, B, waits=True, looks=False)
    assert world.looks() == []


def test_only_servers_of_a_shared_operation_are_looked_at_when_it_failed(world: World) -> None:
    answers = {A: queued(A), B: queued(B, TWO), "WA1ALIASWB03": refused("WA1ALIASWB03")}
    world.answer = lambda servers: world.sent(*(answers[server] for server in servers))
    world.statuses = lambda _op: FAILED
    outcome = world.reset(*answers, waits=True)
    assert set(states(outcome).values()) == {"failed"}
    assert world.looks() == []


def test_a_reset_that_does_not_wait_looks_at_nothing(world: World) -> None:
    world.answer = lost
    world.reset(A, B)
    assert world.looks() == []


@pytest.mark.parametrize("problem", ["the API knows no such server (404)", "ZeroDivisionError: x"])
def test_a_look_that_fails_is_in_the_message_of_its_server(world: World, problem: str) -> None:
    def show(server: str) -> Observation:
        if server == B and problem.startswith("Zero"):
            raise ZeroDivisionError("x")
        return Observation(server, problem=problem) if server == B else observed(77)

    world.answer = lost
    world.show = show
    outcome = world.reset(A, B, waits=True)
    assert outcome.results[0].message == "Sent; outcome unknown: no answer within 180 s."
    assert outcome.results[1].message == (
        f"Sent; outcome unknown: no answer within 180 s; it couldn't be looked at: {problem}."
    )


def test_all_looks_have_ten_seconds_sixteen_at_a_time(world: World) -> None:
    world.answer = lost
    world.latency = lambda _key: 0.5
    outcome = world.reset(*ids(1000), waits=True)
    assert world.seconds == 10
    assert world.inbox.most_at_once == 16
    late = [r for r in outcome.results if r.evidence and r.evidence.observation.problem]
    assert len(late) == 1000 - 20 * 16
    assert "no answer in time" in (late[0].message or "")


def test_a_signal_ends_the_look_and_keeps_the_result(world: World) -> None:
    world.answer = lost
    world.latency = lambda _key: 2.0
    world.inbox.signal(1.0, 2)
    outcome = world.reset(A, B, waits=True)
    assert outcome.exit_code == 130
    assert set(states(outcome).values()) == {"unknown"}


def test_after_a_signal_nothing_is_looked_at(world: World) -> None:
    world.statuses = lambda _op: EXECUTING
    world.inbox.signal(1.0, 2)
    outcome = world.reset(A, B, waits=True)
    assert outcome.exit_code == 130
    assert world.looks() == []


def test_without_any_date_header_no_time_is_claimed(world: World) -> None:
    world.knows_time = False
    world.answer = lost
    world.show = lambda server: Observation(server, None, NOON + timedelta(hours=1), USER)
    assert changed(world.reset(A, waits=True)) == {A: None}


def test_an_answer_that_names_its_time_needs_no_other_clock(world: World) -> None:
    world.knows_time = False
    world.show = world.changing({A: 30.0})
    world.statuses = lambda _op: FAILED if world.seconds > 40 else EXECUTING
    assert changed(world.reset(A, B, waits=True)) == {A: True, B: False}


def test_where_looking_itself_fails_there_is_a_warning_and_the_result_stands(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answer = lost
    world.show = lambda _server: Observation(A, changed_at=NOON.replace(tzinfo=None))
    outcome = world.reset(A, B, waits=True)
    assert set(states(outcome).values()) == {"unknown"}
    assert outcome.exit_code == ExitCode.UNKNOWN
    assert warnings(caplog)[0].startswith("The servers can't be looked at: TypeError")


def test_later_waves_leave_the_evidence_of_earlier_ones_as_it_is(world: World) -> None:
    """The servers of each wave are held against that wave's own request, and once."""
    world.show = world.changing({A: 20.0})
    world.statuses = lambda _op: (
        EXECUTING if world.seconds < 30 else FAILED if len(world.posts) == 1 else SUCCEEDED
    )
    outcome = world.reset(A, B, *ids(2), at_a_time=2, max_failures=2, pause=100.0, looks=False)
    assert changed(outcome) == {A: True, B: False}
    assert len(world.looks()) == 2
