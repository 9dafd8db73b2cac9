import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clc_reset.errors import AuthenticationError
from clc_reset.models import Observation, Operation, OperationStatus, PollFailure
from clc_reset.resets.events import (
    PollsFailing,
    PollsRecovered,
    ServerChanged,
    StatusChanged,
    Tick,
)
from clc_reset.resets.evidence import Sent, Watch
from clc_reset.resets.polling import (
    LONGEST_POLL,
    SLOWED_SECONDS,
    Polling,
    Wait,
    Waited,
)
from tests.resets.world import (
    ACCOUNT,
    BUSY,
    EXECUTING,
    GONE,
    MISS,
    NOON,
    ONE,
    SUCCEEDED,
    TWO,
    USER,
    Status,
    World,
    fail,
    is_poll,
    operation,
)

SENT = Sent(ACCOUNT, USER, NOON)
DENIED = AuthenticationError("refused")


def poll(
    world: World,
    *operations: Operation,
    limit: float = 1800,
    once: bool = False,
    turns: Mapping[Operation, Sequence[str]] | None = None,
    has_changed: Callable[[], bool] | None = None,
) -> Waited:
    """Wait in a world whose API takes 50 ms, unless a test has said otherwise."""
    if world.latency(None) == 0:
        world.latency = lambda _key: 0.05
    watch = Watch(turns or {}, lambda _server: SENT)
    wait = Wait(operations or tuple(turns or (ONE,)), limit, watch, once, has_changed)
    waited = Polling(wait, world.deps(), world.emit, Waited()).run()
    assert world.inbox.most_at_once <= 16
    return waited


def slow(seconds: float) -> Callable[[Hashable], float]:
    return lambda _key: seconds


# --- the schedule ---


def test_an_operation_is_polled_until_it_is_final_and_each_change_is_an_event(world: World) -> None:
    words = ["notStarted", "notStarted", "executing", "resumed", "Surprise", "Succeeded", "failed"]
    world.script(*map(OperationStatus, words))
    waited = poll(world, ONE)
    assert waited == Waited(statuses={ONE: OperationStatus("Succeeded")})
    changes = [event.status.word for event in world.of(StatusChanged)]
    assert changes == ["notStarted", "executing", "resumed", "Surprise", "Succeeded"]


def test_without_operations_there_is_nothing_to_wait_for(world: World) -> None:
    wait = Wait((), 10, Watch({}, lambda _server: SENT))
    assert Polling(wait, world.deps(), world.emit, Waited()).run() == Waited()
    assert world.seconds == 0


def test_the_first_poll_comes_at_once_and_the_second_after_half_a_second(world: World) -> None:
    world.script(EXECUTING, SUCCEEDED)
    poll(world, ONE, ONE)
    assert world.polls() == [0, pytest.approx(0.525)]  # half of the jitter


def test_a_slow_api_is_left_alone_for_half_of_a_pause_after_its_answer(world: World) -> None:
    world.latency = slow(6.0)
    poll_times = world.polls
    world.script(EXECUTING)
    poll(world, ONE, limit=120)
    pauses = [b - a - 6.0 for a, b in itertools.pairwise(poll_times()[:-1])]
    assert min(pauses) >= 0.25
    assert max(pauses[5:]) <= 5 * 0.55


@pytest.mark.parametrize("duration", [0.3, 4.0, 30.0, 200.0])
def test_an_end_is_noticed_within_an_eighth_of_the_duration(world: World, duration: float) -> None:
    world.lasting(o1=duration)
    poll(world, ONE)
    late = world.seconds - duration
    assert late <= max(0.6, min(duration / 8, 5)) * 1.1 + 0.05
    assert len(world.polls()) < duration / 5 + 25


def test_a_tick_comes_once_a_second_however_many_answers_there_are(world: World) -> None:
    world.script(EXECUTING)
    poll(world, *map(operation, range(100)), limit=60)
    ticks = [event.seconds for event in world.of(Tick)]
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    assert 1.0 - 1e-6 <= min(gaps) <= max(gaps) <= 1.1


def test_no_operation_is_starved_and_sixteen_are_asked_at_a_time(world: World) -> None:
    world.script(EXECUTING)
    poll(world, *map(operation, range(1500)), limit=30)
    polls = Counter(key for at, key in world.calls if at < 30)
    assert len(polls) == 1500
    assert max(polls.values()) - min(polls.values()) <= 1
    assert world.inbox.most_at_once == 16


def test_hung_polls_are_given_up_although_others_are_answered(world: World) -> None:
    hung = set(map(operation, range(10)))
    world.latency = lambda key: 1e6 if key in hung and world.seconds < 60 else 0.05
    world.script(EXECUTING)
    poll(world, *map(operation, range(400)), limit=300)
    for asked in hung:
        assert LONGEST_POLL <= world.polls(asked)[1] < LONGEST_POLL + 10


def test_half_as_many_are_asked_for_a_while_after_the_api_asks_to_slow_down(world: World) -> None:
    world.statuses = lambda _operation: BUSY if 5 < world.seconds < 5.1 else EXECUTING
    poll(world, *map(operation, range(1000)), limit=40)
    a_second = Counter(int(at) for at, _ in world.calls)
    assert a_second[3] == pytest.approx(320, abs=16)
    assert a_second[8] == pytest.approx(160, abs=8)
    assert a_second[int(5 + SLOWED_SECONDS) + 2] == pytest.approx(320, abs=16)


@pytest.mark.parametrize(("asked", "pause"), [(30.0, 30.0), (9999.0, 60.0)])
def test_a_retry_after_is_obeyed_up_to_a_minute(world: World, asked: float, pause: float) -> None:
    world.script(BUSY._replace(retry_after=asked), SUCCEEDED)
    poll(world, ONE)
    assert world.polls()[1] == pytest.approx(pause + 0.05)


# --- failures ---


def test_failed_polls_are_repeated_and_reported_after_the_third_in_a_row(world: World) -> None:
    world.script(EXECUTING, MISS, MISS, EXECUTING, MISS, MISS, MISS, MISS, EXECUTING, SUCCEEDED)
    assert poll(world, ONE) == Waited(statuses={ONE: SUCCEEDED})
    assert world.of(PollsFailing) == [PollsFailing(ONE, MISS.reason, 3)]
    assert world.of(PollsRecovered) == [PollsRecovered(ONE)]


def test_a_poll_that_raises_has_failed(world: World) -> None:
    world.script(ZeroDivisionError("x"))
    waited = poll(world, ONE, limit=5)
    assert waited.failures == {ONE: PollFailure("ZeroDivisionError: x")}
    assert waited.timed_out


def test_a_denial_ends_the_wait_with_what_is_known(world: World) -> None:
    def answer(asked: Operation) -> OperationStatus:
        if asked == TWO:
            raise DENIED
        return SUCCEEDED

    world.statuses = answer
    waited = poll(world, ONE, TWO)
    assert waited == Waited(statuses={ONE: SUCCEEDED}, error=DENIED)


def test_a_signal_ends_the_wait_with_what_is_known(world: World) -> None:
    world.script(EXECUTING)
    world.inbox.signal(7.3)
    assert poll(world, ONE) == Waited(statuses={ONE: EXECUTING}, signum=15)
    assert world.seconds == 7.3


def test_an_answer_that_arrived_with_a_signal_is_kept(world: World) -> None:
    world.inbox.signal(0.0)
    world.latency = slow(0.0)
    wait = Wait((ONE,), 10, Watch({}, lambda _server: SENT))
    waited = Polling(wait, world.deps(), world.emit, Waited()).run()
    assert waited.statuses in ({}, {ONE: SUCCEEDED})
    assert waited.signum in (None, 15)


def test_404_for_thirty_seconds_gives_an_operation_up(world: World) -> None:
    world.script(EXECUTING, GONE)
    waited = poll(world, ONE)
    assert waited.given_up == {ONE}
    assert waited.statuses == {}
    assert not waited.timed_out
    assert 30 <= world.seconds <= 37


def test_404_now_and_then_gives_nothing_up(world: World) -> None:
    world.statuses = lambda _operation: GONE if int(world.seconds) % 20 < 12 else MISS
    assert poll(world, ONE, limit=200).given_up == set()


# --- the limit ---


def test_each_unfinished_operation_is_asked_once_more_at_the_limit(world: World) -> None:
    world.lasting(o1=29.7, o2=1000, o3=1)
    waited = poll(world, *map(operation, (1, 2, 3)), limit=30)
    assert waited.statuses == {ONE: SUCCEEDED, TWO: EXECUTING, operation(3): SUCCEEDED}
    assert waited.timed_out
    assert [key for at, key in world.calls if at >= 30] == [ONE, TWO]


def test_a_poll_under_way_at_the_limit_is_asked_again_when_it_is_back(world: World) -> None:
    world.latency = slow(3.0)
    world.statuses = lambda _operation: SUCCEEDED if world.seconds > 12 else EXECUTING
    assert poll(world, ONE, limit=10) == Waited(statuses={ONE: SUCCEEDED})


def test_the_last_try_has_ten_seconds_for_all(world: World) -> None:
    world.latency = lambda key: 60 if world.seconds > 5 and key == ONE else 0.05
    world.script(EXECUTING)
    assert poll(world, ONE, TWO, limit=10).timed_out
    assert world.seconds == 10 + 10


def test_a_limit_of_nothing_is_one_round(world: World) -> None:
    world.script(EXECUTING)
    assert poll(world, ONE, limit=0) == Waited(statuses={ONE: EXECUTING}, timed_out=True)
    assert len(world.polls()) == 1


def test_after_a_suspension_past_the_limit_each_operation_is_asked_once_more(world: World) -> None:
    world.lasting(o1=100, o2=99999)
    world.inbox.suspend(10.2, until=4000)
    waited = poll(world, ONE, TWO, limit=30)
    assert waited.statuses == {ONE: SUCCEEDED, TWO: EXECUTING}
    assert waited.timed_out
    assert world.seconds < 4001


def test_once_asks_once_whatever_the_answers_are(world: World) -> None:
    answers: dict[Operation, Status] = {ONE: MISS, TWO: EXECUTING, operation(3): GONE}
    world.statuses = answers.__getitem__
    world.latency = lambda key: 95.0 if key == ONE else 0.05  # longer than a poll may take
    waited = poll(world, *answers, limit=90, once=True)
    assert waited.statuses == {TWO: EXECUTING}
    assert waited.given_up == {operation(3)}
    assert ONE in waited.failures
    assert len(world.polls()) == 3


# --- runs that go on ---


def test_a_change_elsewhere_ends_the_wait(world: World) -> None:
    world.script(EXECUTING)
    waited = poll(world, ONE, has_changed=lambda: world.seconds > 20)
    assert 20 <= world.seconds <= 22
    assert waited == Waited(statuses={ONE: EXECUTING})


def test_without_operations_it_waits_for_a_change_until_the_limit(world: World) -> None:
    assert poll(world, ONE, limit=50, has_changed=lambda: False).timed_out
    assert world.seconds == 50


# --- looks ---


def batch(number: int, servers: int) -> dict[Operation, list[str]]:
    """So many servers for each of so many operations."""
    return {operation(n): [f"{n:02}-{s:04}" for s in range(servers)] for n in range(number)}


def spread(world: World, seconds: float) -> None:
    """Let each server of a batch change so many seconds after the one before it."""
    servers = [f"{n:02}-{s:04}" for n in range(50) for s in range(100)]
    world.show = world.changing({s: (int(s[3:]) + 1) * seconds for s in servers})


def most_within(times: Sequence[float], seconds: float) -> int:
    return max((sum(a <= b < a + seconds for b in times) for a in times), default=0)


def look_times(world: World) -> list[float]:
    return [at for at, _ in world.looks()]


def test_servers_of_a_shared_operation_are_looked_at_in_turn_and_reported_once(
    world: World,
) -> None:
    turns = batch(1, 8)
    world.lasting(o0=190.0)
    spread(world, 23.0)
    assert poll(world, turns=turns).statuses == {operation(0): SUCCEEDED}
    changes = world.of(ServerChanged)
    expected = [(server, n, 8) for n, server in enumerate(turns[operation(0)], 1)]
    assert [(e.server, e.changed, e.of) for e in changes] == expected
    assert all(0 <= e.seconds - 23 * e.changed <= 5 + 1 for e in changes)
    assert look_times(world)[0] == pytest.approx(5, abs=1)


def test_only_the_next_four_are_looked_at_every_five_seconds(world: World) -> None:
    turns = batch(1, 100)
    world.lasting(o0=120.0)
    poll(world, turns=turns)
    assert {server for _, server in world.looks()} == set(turns[operation(0)][:4])
    assert most_within(look_times(world), 5 - 1e-6) == 4


@pytest.mark.parametrize("latency", [0.05, 9.0])
def test_sixteen_are_looked_at_every_five_seconds_and_none_is_starved(
    world: World, latency: float
) -> None:
    turns = batch(15, 50)
    world.statuses = lambda _operation: SUCCEEDED if world.seconds > 300 else EXECUTING
    world.latency = lambda key: latency if isinstance(key, str) else 0.05
    poll(world, turns=turns)
    assert most_within(look_times(world), 5 - 1e-6) <= 16
    looks = Counter(server[:2] for _, server in world.looks())
    assert len(looks) == (15 if latency < 1 else 10)
    assert max(looks.values()) <= 2 * min(looks.values()) + 4


@pytest.mark.parametrize("latency", [0.01, 9.0])
def test_no_poll_is_delayed_by_looks(
    world: World, tmp_path_factory: pytest.TempPathFactory, latency: float
) -> None:
    turns = batch(8, 50)
    other = World(tmp_path_factory.mktemp("other"))
    for each in (world, other):
        each.latency = lambda key: latency if isinstance(key, str) else 0.05
        each.lasting(**{f"o{n}": 60.0 + n for n in range(8)})
    spread(world, 2.0)
    poll(world, turns=turns)
    poll(other, *turns)
    assert world.looks()
    assert not other.looks()
    assert [call for call in world.calls if is_poll(call[1])] == other.calls


def test_there_is_no_look_after_an_end_and_none_where_all_have_changed(world: World) -> None:
    turns = batch(2, 3)
    world.lasting(o0=20.0, o1=200.0)
    world.show = world.changing(dict.fromkeys(turns[operation(1)], 60.0))
    poll(world, turns=turns)
    assert max(at for at, server in world.looks() if server[:2] == "00") <= 20.1 + 2.5
    assert max(at for at, server in world.looks() if server[:2] == "01") <= 66


def test_a_single_server_of_an_operation_is_not_looked_at(world: World) -> None:
    world.lasting(o0=30.0)
    poll(world, turns=batch(1, 1))
    assert world.looks() == []


def test_there_is_no_look_while_the_api_asks_to_slow_down(world: World) -> None:
    world.statuses = lambda _operation: (
        BUSY if 20 <= world.seconds < 40 else SUCCEEDED if world.seconds > 90 else EXECUTING
    )
    poll(world, turns=batch(1, 50))
    times = look_times(world)
    assert [at for at in times if at < 20]
    assert not [at for at in times if 25 < at < 40 + SLOWED_SECONDS - 5]
    assert [at for at in times if at > 40 + SLOWED_SECONDS]


def test_a_server_without_a_date_keeps_no_other_from_being_looked_at(world: World) -> None:
    turns = batch(1, 12)
    world.lasting(o0=200.0)
    spread(world, 10.0)
    show = world.show
    missing = turns[operation(0)][:6]
    world.show = lambda s: Observation(s, problem="404") if s in missing else show(s)
    poll(world, turns=turns)
    assert [event.server for event in world.of(ServerChanged)] == turns[operation(0)][6:]


def test_a_look_that_fails_or_hangs_is_tried_again(world: World) -> None:
    turns = batch(1, 2)
    world.lasting(o0=150.0)
    show = world.changing({"00-0000": 30.0, "00-0001": 30.0})
    world.show = lambda server: fail() if world.seconds < 20 else show(server)
    world.latency = lambda key: 1e6 if key == "00-0001" and world.seconds < 40 else 0.05
    poll(world, turns=turns)
    assert [event.server for event in world.of(ServerChanged)] == ["00-0000", "00-0001"]


def test_a_watch_ignores_strangers_and_what_was_reported() -> None:
    watch = Watch({ONE: ["A", "B"]}, lambda _server: SENT)
    late = NOON.replace(minute=1)
    assert watch.add(Observation("X", None, late, USER)) is None
    assert watch.add(Observation("A", None, late, USER)) == (ONE, 1, 2)
    assert watch.add(Observation("A", None, late, USER)) is None
    watch.end(ONE)
    assert watch.add(Observation("B", None, late, USER)) is None


def test_without_the_time_of_the_request_nothing_is_looked_at() -> None:
    watch = Watch({ONE: ["A", "B"]}, lambda _server: SENT._replace(at=None))
    assert watch.next(1000.0, 16) == []


# --- whatever the API answers ---

ANSWERS = st.one_of(
    st.sampled_from(["notStarted", "executing", "succeeded", "failed", "?"]).map(OperationStatus),
    st.builds(
        PollFailure,
        st.just("x"),
        slow_down=st.booleans(),
        not_found=st.booleans(),
        retry_after=st.none() | st.floats(min_value=0, max_value=1e6),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.lists(ANSWERS, min_size=1, max_size=12), min_size=1, max_size=40),
    st.floats(min_value=0, max_value=4000),
    st.integers(min_value=0),
)
def test_a_wait_ends_in_time_and_reports_the_last_answers(
    tmp_path_factory: pytest.TempPathFactory,
    scripts: list[list[Status]],
    limit: float,
    seed: int,
) -> None:
    world = World(tmp_path_factory.getbasetemp())
    random = Random(seed)
    world.latency = lambda _key: random.choice([0.01, 0.05, 1.0, 70.0])
    left = {operation(n): list(script) for n, script in enumerate(scripts)}

    def answer(asked: Operation) -> OperationStatus | PollFailure:
        script = left[asked]
        return script.pop(0) if len(script) > 1 else script[0]

    world.statuses = answer
    waited = poll(world, *left, limit=limit)
    assert world.seconds <= limit + 10 + 1e-6
    over = {op for op, status in waited.statuses.items() if status.is_final} | waited.given_up
    assert waited.timed_out is (over != set(left))
    for asked in left:
        words = [e.status.word for e in world.of(StatusChanged) if e.operation == asked]
        assert all(a != b for a, b in itertools.pairwise(words))
        if asked not in waited.given_up:
            known = waited.statuses.get(asked)
            assert (known and known.word) == (words[-1] if words else None)
