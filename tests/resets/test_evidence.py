"""The servers' own evidence, from the recorded timelines of API.md."""

from datetime import datetime, timedelta

import pytest

from clc_reset.models import Observation
from clc_reset.resets.events import ServerChanged
from clc_reset.resets.evidence import Sent, describe_evidence, judge
from tests.builders import ACCOUNT, TWO, USER, A, B, C, lost, many, queued, refused
from tests.resets.world import World, changed, fail, states
from tests.virtual import NOON

SENT = Sent(ACCOUNT, USER, NOON)
TIMELINE = (52, 66, 96, 111, 126, 156, 171, 186)
"""Recorded: seconds from the POST to each server's change, in the order of the answer."""


def at(seconds: float | None, by: str | None = USER, seen: datetime | None = NOON) -> Observation:
    changed_at = None if seconds is None else NOON + timedelta(seconds=seconds)
    return Observation(A, seen, changed_at, by)


NEAR = "by nightly, within 2 s of the request: before or after it"
NO_TIME = "changed 12:01:17 UTC by nightly; when the request left isn't known on that clock"
TWO_DAYS = NOON + timedelta(days=2)
LATER = "changed 2026-01-16 12:00:00 UTC by nightly, 86400 s after the request"


def later(by: str) -> str:
    return f"changed 12:01:17 UTC by {by}, 77 s after the request"


@pytest.mark.parametrize(
    ("shown", "sent", "is_changed", "another", "expected"),
    [
        (at(77), SENT, True, None, later("nightly")),
        (at(77, "NIGHTLY"), SENT, True, None, later("NIGHTLY")),
        (at(77, "else"), SENT, None, "else", later("else")),
        (at(77, None), SENT, None, "nobody named", later("nobody named")),
        (at(77, "x"), SENT._replace(user=None), True, None, later("x")),
        (at(3), SENT, True, None, "changed 12:00:03 UTC by nightly, 3 s after the request"),
        (at(2), SENT, None, None, f"changed 12:00:02 UTC {NEAR}"),
        (at(-2), SENT, None, None, f"changed 11:59:58 UTC {NEAR}"),
        (at(-3), SENT, False, None, "not changed as of 12:00:00 UTC"),
        (at(-3, seen=None), SENT, False, None, "not changed"),
        (at(77), SENT._replace(at=None), None, None, NO_TIME),
        (at(None), SENT, None, None, "shows no date of change"),
        (Observation(A, problem="no answer"), SENT, None, None, "couldn't be looked at: no answer"),
        (at(86400, seen=TWO_DAYS), SENT, True, None, LATER),
    ],
)
def test_a_change_is_judged_and_described(
    shown: Observation, sent: Sent, is_changed: bool | None, another: str | None, expected: str
) -> None:
    found = judge(shown, sent)
    assert (found.changed, found.by_another, found.sent_at) == (is_changed, another, sent.at)
    assert describe_evidence(found) == expected


@pytest.mark.parametrize(
    ("skew", "end", "code"), [(0.0, "lost", 6), (3600.0, "failed", 1), (-3600.0, "time limit", 7)]
)
def test_a_doubtful_batch_shows_its_changes(world: World, skew: float, end: str, code: int) -> None:
    world.clocks.wall += skew
    until = 67
    of = dict(zip(many(8), TIMELINE, strict=True))
    seen = {server: at for server, at in of.items() if at <= until}
    world.show = world.changing(seen)
    world.statuses = lambda _op: (
        "failed" if world.seconds >= until and end == "failed" else "executing"
    )
    if end == "lost":
        left = world.clocks.now()
        world.answer = lambda servers: lost(*servers)._replace(left=left)
        world.clocks.seconds = until
    limit = float(until) if end == "time limit" else None
    outcome = world.reset(*reversed(of), waits=True, looks=False, limit=limit)
    assert outcome.exit_code == code
    assert changed(outcome) == {server: server in seen for server in reversed(of)}
    assert {row.wave and row.wave.sent_at for row in world.run_of().rows} == {NOON}
    after = {r.server: r.evidence.after for r in outcome.results if r.evidence}
    assert {server: seconds for server, seconds in after.items() if (seconds or 0) > 0} == seen


def test_while_waiting_each_change_is_an_event_and_success_leaves_no_doubt(world: World) -> None:
    of = dict(zip(many(8), TIMELINE, strict=True))
    world.show = world.changing(of)
    world.answer = lambda servers: world.sent(*map(queued, servers), turns=list(of))
    world.lasting(o1=187)
    outcome = world.reset(*reversed(of), waits=True)
    assert (outcome.exit_code, changed(outcome)) == (0, {})
    changes = world.of(ServerChanged)
    expected = [(server, n, 8) for n, server in enumerate(of, 1)]
    assert [(e.server, e.changed, e.of) for e in changes] == expected
    assert all(0 <= e.seconds - of[e.server] <= 6 for e in changes)


def test_nothing_is_looked_at_without_a_doubt_a_wait_or_time(world: World) -> None:
    world.lasting(o1=60)
    world.reset(A, B, waits=True, looks=False)
    world.answer = world.lose_answer
    world.reset(A, again=True)
    world.answer = lambda _servers: world.sent(queued(A), queued(B, TWO), refused(C))
    world.script("failed")
    world.reset(A, B, C, waits=True, again=True)
    world.script("executing")
    world.inbox.signal(world.seconds + 1, 2)
    world.reset(A, B, C, waits=True, looks=False, again=True)
    assert world.looks() == []


def test_a_look_that_fails_is_in_the_message_of_its_server(world: World) -> None:
    world.answer = world.lose_answer
    shown = {A: at(77), B: Observation(B, problem="it is gone (404)")}
    world.show = lambda server: fail() if server == C else shown[server]
    outcome = world.reset(A, B, C, waits=True)
    lost = "Sent; outcome unknown: it timed out"
    assert [result.message for result in outcome.results] == [
        f"{lost}.",
        f"{lost}; it couldn't be looked at: it is gone (404).",
        f"{lost}; it couldn't be looked at: ZeroDivisionError: x.",
    ]
    assert changed(outcome) == {A: True, B: None, C: None}


def test_all_looks_have_ten_seconds_sixteen_at_a_time(world: World) -> None:
    world.answer = world.lose_answer
    world.inbox.latency = lambda _key: 0.5
    outcome = world.reset(*many(1000), waits=True)
    assert world.seconds == 10
    assert world.inbox.most_at_once == 16
    late = [r for r in outcome.results if (r.message or "").endswith(" at: no answer in time.")]
    assert len(late) == 1000 - 20 * 16


@pytest.mark.parametrize("end", ["a signal", "a bug"])
def test_a_look_that_is_cut_short_leaves_the_result(world: World, end: str) -> None:
    world.answer = world.lose_answer
    world.inbox.latency = lambda _key: 2.0
    if end == "a signal":
        world.inbox.signal(1.0, 2)
    else:
        world.show = lambda _server: Observation(A, changed_at=NOON.replace(tzinfo=None))
    outcome = world.reset(A, B, waits=True)
    assert outcome.exit_code == (130 if end == "a signal" else 6)
    assert states(outcome) == {A: "unknown", B: "unknown"}
    assert (outcome.crash or "").startswith("TypeError") is (end == "a bug")


def test_without_a_date_header_no_time_is_claimed_until_a_look_shows_one(world: World) -> None:
    def first(server: str) -> Observation:
        world.knows_time = True
        return show(server)

    world.knows_time = False
    world.answer = world.lose_answer
    show = world.changing({A: 5.0})
    assert changed(world.reset(A, waits=True)) == {A: None}
    world.clocks.seconds, world.show = 60, first
    assert changed(world.status()[0]) == {A: True}


def test_an_answer_that_names_its_time_needs_no_other_clock(world: World) -> None:
    world.knows_time = False
    world.show = world.changing({A: 30.0}, "somebody")
    world.statuses = lambda _op: "failed" if world.seconds > 40 else "executing"
    assert changed(world.reset(A, B, waits=True)) == {A: None, B: False}


def test_later_waves_leave_the_evidence_of_earlier_ones_as_it_is(world: World) -> None:
    """The servers of each wave are held against that wave's own request, and once."""
    world.show = world.changing({A: 20.0})
    world.statuses = lambda _op: (
        "executing" if world.seconds < 30 else "failed" if len(world.posts) == 1 else "succeeded"
    )
    outcome = world.reset(A, B, *many(2), at_a_time=2, max_failures=2, pause=100.0, looks=False)
    assert changed(outcome) == {A: True, B: False}
    assert len(world.looks()) == 2
