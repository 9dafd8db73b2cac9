"""The schedule of polls and of looks at servers, in a world whose API takes 50 ms."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from clc_reset.errors import AuthenticationError, Interrupted
from clc_reset.journal.record import Statuses
from clc_reset.models import Observation, Operation, PollFailure
from clc_reset.resets.events import PollsFailing, PollsRecovered, ServerChanged, StatusChanged, Tick
from clc_reset.resets.evidence import Sent, Watch
from clc_reset.resets.polling import LONGEST_POLL, SLOWED_SECONDS, Polling, Wait
from tests.builders import ACCOUNT, ONE, TWO, USER, operation
from tests.machine import Patch
from tests.resets.world import FAILURES, Answer, World, fail, is_poll
from tests.virtual import NOON

SENT = Sent(ACCOUNT, USER, NOON)
DENIED = AuthenticationError("refused")


def poll(
    world: World,
    *operations: Operation,
    limit: float = 1800,
    once: bool = False,
    turns: Mapping[Operation, Sequence[str]] | None = None,
    hung: int = 0,
) -> Polling:
    if world.inbox.latency(None) == 0:
        world.inbox.latency = lambda _key: 0.05
    statuses = Statuses(None, world.clocks, ())
    wait = Wait(limit, statuses, lambda _key: SENT, {}, {}, once)
    keys = {op: [(None, server) for server in turn] for op, turn in (turns or {}).items()}
    watch = Watch(keys, lambda _key: SENT)
    polls = Polling(operations or turns or (ONE,), wait, watch, world.deps(), world.events.append)
    with suppress(Interrupted):
        polls.run()
    assert world.inbox.most_at_once <= 16 + hung
    return polls


def words(polls: Polling) -> dict[Operation, str]:
    return {operation: status.word for operation, status in polls.statuses.items()}


def test_an_operation_is_polled_until_it_is_final_and_each_change_is_an_event(world: World) -> None:
    said = ["notStarted", "notStarted", "executing", "resumed", "Surprise", "Succeeded", "failed"]
    world.script(*said)
    polls = poll(world)
    assert words(polls) == {ONE: "Succeeded"}
    assert (polls.failures, polls.given_up, polls.timed_out) == ({}, set(), False)
    assert [event.status.word for event in world.of(StatusChanged)] == said[1:-1]


@pytest.mark.parametrize("first", ["executing", "500"])
def test_polls_come_at_once_and_after_half_a_second(world: World, first: str) -> None:
    world.clocks.seconds = 100
    world.script(first, "succeeded")
    poll(world, ONE, ONE)
    assert world.polls() == [100, pytest.approx(100.525)]  # half of the jitter
    assert all(event.seconds < 1 for event in world.of(StatusChanged))


def test_a_slow_api_is_left_alone_for_half_of_a_pause_after_its_answer(world: World) -> None:
    world.inbox.latency = lambda _key: 6.0
    world.script("executing")
    poll(world, limit=120)
    pauses = [b - a - 6.0 for a, b in itertools.pairwise(world.polls()[:-1])]
    assert min(pauses) >= 0.25
    assert pauses[5:] == pytest.approx([5 * 0.525] * len(pauses[5:]))


@pytest.mark.parametrize("duration", [0.3, 4.0, 30.0, 200.0])
def test_an_end_is_noticed_within_an_eighth_of_the_duration(world: World, duration: float) -> None:
    world.lasting(o1=duration)
    poll(world)
    assert world.seconds - duration <= max(0.6, min(duration / 8, 5)) * 1.1 + 0.05
    assert len(world.polls()) < duration / 5 + 25


def test_a_tick_comes_once_a_second_however_many_answers_there_are(world: World) -> None:
    world.script("executing")
    poll(world, *map(operation, range(100)), limit=60)
    gaps = [b - a for a, b in itertools.pairwise(event.seconds for event in world.of(Tick))]
    assert 1.0 - 1e-6 <= min(gaps) <= max(gaps) <= 1.1


def test_no_operation_is_starved_and_sixteen_are_asked_at_a_time(world: World) -> None:
    world.script("executing")
    poll(world, *map(operation, range(500)), limit=10)
    polls = Counter(key for at, key in world.inbox.calls if at < 10)
    assert len(polls) == 500
    assert max(polls.values()) - min(polls.values()) <= 1
    assert world.inbox.most_at_once == 16


def test_hung_polls_are_given_up_although_others_are_answered(world: World) -> None:
    hung = set(map(operation, range(10)))
    world.inbox.latency = lambda key: 100.0 if key in hung and world.seconds < 60 else 0.05
    world.script("executing")
    poll(world, *map(operation, range(100)), limit=200, hung=10)
    for asked in hung:
        assert LONGEST_POLL <= world.polls(asked)[1] < LONGEST_POLL + 10


def test_a_late_answer_is_not_that_of_the_poll_after_it(world: World) -> None:
    world.script("notStarted", "executing", "succeeded")
    late = 189.485  # seconds after it was asked, just after the end of a suspension
    world.inbox.latency = lambda _key: late if len(world.polls()) == 2 else 0.05
    world.inbox.suspend(0.6, 190.0)
    polls = poll(world, limit=20)
    assert (words(polls), polls.timed_out) == ({ONE: "succeeded"}, False)


def test_without_a_thread_a_poll_fails_and_is_tried_again(world: World, monkeypatch: Patch) -> None:
    def refuse(_run: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(world.inbox, "_start", refuse)
    assert words(poll(world)) == {ONE: "succeeded"}
    assert len(world.polls()) > 1


def test_half_as_many_are_asked_for_a_while_after_the_api_asks_to_slow_down(world: World) -> None:
    world.statuses = lambda _operation: "503" if 5 < world.seconds < 5.1 else "executing"
    poll(world, *map(operation, range(1000)), limit=40)
    a_second = Counter(int(at) for at, _ in world.inbox.calls)
    assert a_second[3] == pytest.approx(320, abs=16)
    assert a_second[8] == pytest.approx(160, abs=8)
    assert a_second[int(5 + SLOWED_SECONDS) + 2] == pytest.approx(320, abs=16)


@pytest.mark.parametrize(("asked", "pause"), [(30.0, 30.0), (9999.0, 60.0)])
def test_a_retry_after_is_obeyed_up_to_a_minute(world: World, asked: float, pause: float) -> None:
    world.script(FAILURES["503"]._replace(retry_after=asked), "succeeded")
    poll(world)
    assert world.polls()[1] == pytest.approx(pause + 0.05)


def test_failed_polls_are_repeated_and_reported_after_the_third_in_a_row(world: World) -> None:
    answers: list[Answer] = ["executing", "500", "500", "executing", "500", "500", "500"]
    world.script(*answers, "executing", *["500"] * 4, "executing", "succeeded")
    polls = poll(world)
    assert (words(polls), polls.failures) == ({ONE: "succeeded"}, {})
    assert world.of(PollsFailing) == [PollsFailing(ONE, "the API answered 500", 3)] * 2
    assert world.of(PollsRecovered) == [PollsRecovered(ONE)] * 2
    world.script(ZeroDivisionError("x"))
    polls = poll(world, limit=5)
    assert polls.failures == {ONE: PollFailure("ZeroDivisionError: x")}
    assert polls.timed_out


def test_a_refused_token_or_a_signal_ends_the_wait_with_what_is_known(world: World) -> None:
    answers: dict[Operation, Answer] = {ONE: "succeeded", TWO: DENIED}
    world.statuses = answers.__getitem__
    polls = poll(world, ONE, TWO)
    assert (words(polls), polls.error) == ({ONE: "succeeded"}, DENIED)
    answers[TWO] = "executing"
    world.inbox.signal(7.3)
    polls = poll(world, ONE, TWO)
    assert (words(polls), world.seconds) == ({ONE: "succeeded", TWO: "executing"}, 7.3)


def test_404_for_thirty_seconds_gives_an_operation_up_but_not_now_and_then(world: World) -> None:
    world.script("executing", "404")
    polls = poll(world)
    assert (polls.given_up, words(polls), polls.timed_out) == ({ONE}, {}, False)
    assert 30 <= world.seconds <= 37
    world.statuses = lambda _operation: "404" if int(world.seconds) % 20 < 12 else "500"
    assert poll(world, limit=200).given_up == set()


def test_each_unfinished_operation_is_asked_once_more_at_the_limit(world: World) -> None:
    world.lasting(o1=29.7, o2=1000, o3=1)
    polls = poll(world, *map(operation, (1, 2, 3)), limit=30)
    assert words(polls) == {ONE: "succeeded", TWO: "executing", operation(3): "succeeded"}
    assert polls.timed_out
    assert [key for at, key in world.inbox.calls if at >= 30] == [ONE, TWO]


def test_a_poll_under_way_at_the_limit_is_asked_again_when_it_is_back(world: World) -> None:
    world.inbox.latency = lambda _key: 3.0
    world.lasting(o1=12.1)
    polls = poll(world, limit=10)
    assert (words(polls), polls.timed_out) == ({ONE: "succeeded"}, False)


def test_the_last_try_has_ten_seconds_for_all_and_no_limit_is_one_round(world: World) -> None:
    world.script("executing")
    polls = poll(world, limit=0)
    assert (words(polls), polls.timed_out) == ({ONE: "executing"}, True)
    assert len(world.polls()) == 1
    began = world.seconds
    world.inbox.latency = lambda key: 60 if world.seconds > began + 5 and key == ONE else 0.05
    assert poll(world, ONE, TWO, limit=9.5).timed_out
    assert world.seconds == began + 9.5 + 10


def test_after_a_suspension_past_the_limit_each_operation_is_asked_once_more(world: World) -> None:
    world.lasting(o1=100, o2=99999)
    world.inbox.suspend(10.2, until=4000)
    polls = poll(world, ONE, TWO, limit=30)
    assert (words(polls), polls.timed_out) == ({ONE: "succeeded", TWO: "executing"}, True)
    assert world.seconds < 4001


def test_once_asks_once_whatever_the_answers_are(world: World) -> None:
    world.statuses = {ONE: "500", TWO: "executing", operation(3): "404"}.__getitem__
    world.inbox.latency = lambda key: 95.0 if key == ONE else 0.05  # longer than a poll may take
    polls = poll(world, ONE, TWO, operation(3), limit=90, once=True)
    assert (words(polls), polls.given_up) == ({TWO: "executing"}, {operation(3)})
    assert ONE in polls.failures
    assert len(world.polls()) == 3


def batch(number: int, servers: int) -> dict[Operation, list[str]]:
    """So many servers for each of so many operations."""
    return {operation(n): [f"{n:02}-{s:04}" for s in range(servers)] for n in range(number)}


def spread(world: World, seconds: float) -> None:
    """Let each server of a batch change so many seconds after the one before it."""
    servers = [f"{n:02}-{s:04}" for n in range(50) for s in range(100)]
    world.show = world.changing({s: (int(s[3:]) + 1) * seconds for s in servers})


def most_within_five_seconds(world: World) -> int:
    times = [at for at, _ in world.looks()]
    return max(sum(a <= b < a + 5 - 1e-6 for b in times) for a in times)


def test_only_the_next_four_are_looked_at_every_five_seconds(world: World) -> None:
    turns = batch(1, 100)
    world.lasting(o0=120.0)
    poll(world, turns=turns)
    looks = Counter(server for _, server in world.looks())
    assert looks.keys() == set(turns[operation(0)][:4])
    assert max(looks.values()) - min(looks.values()) <= 1
    assert most_within_five_seconds(world) == 4


@pytest.mark.parametrize(("latency", "most"), [(0.05, 16), (9.0, 7)])  # at the end
def test_sixteen_looks_in_five_seconds_starve_none(world: World, latency: float, most: int) -> None:
    world.lasting(**{f"o{n}": 300.0 for n in range(15)})
    world.inbox.latency = lambda key: 0.05 if is_poll(key) else latency
    poll(world, turns=batch(15, 50))
    assert most_within_five_seconds(world) == most
    looks = Counter(server[:2] for _, server in world.looks())
    assert len(looks) == 15
    assert max(looks.values()) <= 2 * min(looks.values())


@pytest.mark.parametrize("latency", [0.01, 9.0])
def test_no_poll_is_delayed_by_looks(world: World, tmp_path: Path, latency: float) -> None:
    other = World(tmp_path / "other")
    for one in (world, other):
        one.inbox.latency = lambda key: 0.05 if is_poll(key) else latency
        one.lasting(**{f"o{n}": 60.0 + n for n in range(8)})
    spread(world, 2.0)
    poll(world, turns=batch(8, 50))
    poll(other, *batch(8, 50))
    assert world.looks()
    assert [call for call in world.inbox.calls if is_poll(call[1])] == other.inbox.calls


def test_there_is_no_look_after_an_end_and_none_where_all_have_changed(world: World) -> None:
    turns = batch(2, 3) | {operation(9): ["09-0000"]}  # a single server isn't looked at
    world.lasting(o0=20.0, o1=200.0, o9=200.0)
    world.show = world.changing(dict.fromkeys(turns[operation(1)], 60.0))
    poll(world, turns=turns)
    latest = {server[:2]: at for at, server in world.looks()}
    assert latest["00"] <= 20.1 + 2.5
    assert 60 <= latest["01"] <= 66
    assert len(latest) == 2


def test_there_is_no_look_while_the_api_asks_to_slow_down(world: World) -> None:
    world.statuses = lambda _operation: (
        "503" if 20 <= world.seconds < 40 else "succeeded" if world.seconds > 90 else "executing"
    )
    poll(world, turns=batch(1, 50))
    times = [at for at, _ in world.looks()]
    assert [at for at in times if at < 20]
    assert not [at for at in times if 25 < at < 40 + SLOWED_SECONDS - 5]
    assert [at for at in times if at > 40 + SLOWED_SECONDS]


def test_a_look_that_fails_or_hangs_is_tried_again_and_keeps_back_no_other(world: World) -> None:
    def look(server: str) -> Observation:
        if server in servers[:6]:
            return Observation(server, problem="404")
        return fail() if server == raising and world.seconds < 85 else show(server)

    servers = batch(1, 12)[operation(0)]
    raising, hanging = servers[6:8]
    world.lasting(o0=200.0)
    spread(world, 10.0)
    show, world.show = world.show, look
    world.inbox.latency = lambda key: 1e6 if key == (None, hanging) and world.seconds < 85 else 0.05
    poll(world, turns={operation(0): servers})
    assert sorted(event.server for event in world.of(ServerChanged)) == servers[6:]


def test_a_watch_leaves_out_what_is_over_seen_being_looked_at_or_without_a_time() -> None:
    a, b, c, d, e = (("r1", "A"), ("r1", "B"), ("r1", "C"), ("r2", "A"), ("r2", "E"))
    watch = Watch({ONE: [a, b, c], TWO: [d, e]}, lambda _key: SENT)
    assert watch.next(5.0, 2, ()) == [a, d]
    watch.end(TWO)
    assert watch.next(5.0, 9, {b}) == [c]
    seen = Observation("A", None, NOON.replace(minute=1), USER)
    assert watch.add(d, seen, 9.0) is None
    assert watch.add(a, seen, 9.0) == ServerChanged(ONE, "A", 1, 3, 9.0)
    assert watch.add(a, seen, 9.0) is None
    assert watch.next(10.0, 9, ()) == [b, c]
    watch.end(ONE)
    assert watch.add(b, seen._replace(server="B"), 9.0) is None
    timeless = Watch({ONE: [a, b]}, lambda _key: SENT._replace(at=None))
    assert timeless.next(1000.0, 16, ()) == []
