import heapq
import itertools
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import AuthenticationError, Interrupted
from clc_reset.models import NoNews, Observation, Operation, OperationStatus
from clc_reset.resets.evidence import LOOK_EVERY, LOOKS_AN_OPERATION, LOOKS_IN_ALL, Sent, Watch
from clc_reset.resets.polling import (
    GRACE,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    SLOWED_SECONDS,
    News,
    Polling,
    Waited,
)
from clc_reset.threads import AT_A_TIME

MISS = NoNews("the API answered 500")
BUSY = NoNews("the API answered 503", slow_down=True)
DENIED = AuthenticationError("refused")
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def operation(number: int) -> Operation:
    return Operation(f"wa1-{number}", f"/v2/operations/alias/status/wa1-{number}")


def word(text: str) -> OperationStatus:
    return OperationStatus(text)


class Simulation:
    """A world in which only time that is waited for passes.

    `tell` is what a poll of an operation begun at a time hears. An answer takes `latency` seconds,
    a look `look_latency`. `changes_at` tells when a server changes.
    """

    def __init__(
        self,
        tell: Callable[[Operation, float], News | BaseException],
        latency: Callable[[], float] = lambda: 0.05,
        *,
        look_latency: Callable[[], float] = lambda: 0.05,
        changes_at: Callable[[str], float] = lambda _server: float("inf"),
        missing: Sequence[str] = (),
    ) -> None:
        self.now = 0.0
        self.tell = tell
        self.latency = latency
        self.look_latency = look_latency
        self.changes_at = changes_at
        self.missing = missing
        self.in_flight: list[tuple[float, int, Operation | str, object]] = []
        self.begun: list[tuple[float, Operation]] = []
        self.looks: list[tuple[float, str]] = []
        self.looks_in_flight: Counter[float] = Counter()
        self.most_in_flight: Counter[float] = Counter()
        self.changes: list[tuple[Operation, str, float]] = []
        self.changed_servers: list[tuple[Operation, str, int, int]] = []
        self.said: list[tuple[str, Operation]] = []
        self.ticks: list[float] = []
        self._turns = itertools.count()

    # what asks the API

    def poll(self, operation: Operation) -> None:
        self.begun.append((self.now, operation))
        self._fly(operation, self.latency(), self.tell(operation, self.now))

    def look(self, server: str) -> None:
        self.looks.append((self.now, server))
        changed_at = NOON - timedelta(hours=1)
        if self.changes_at(server) <= self.now:
            changed_at = NOON + timedelta(seconds=self.changes_at(server))
        shown = Observation(server, None, changed_at, "me")
        if server in self.missing:
            shown = Observation(server, problem="the API knows no such server (404)")
        self._fly(server, self.look_latency(), shown)
        looks = sum(isinstance(each[2], str) for each in self.in_flight)
        self.looks_in_flight[self.now] = max(self.looks_in_flight[self.now], looks)

    def _fly(self, asked: Operation | str, latency: float, news: object) -> None:
        heapq.heappush(self.in_flight, (self.now + latency, next(self._turns), asked, news))
        self.most_in_flight[self.now] = max(self.most_in_flight[self.now], len(self.in_flight))

    def take(self, seconds: float) -> tuple[Operation, News] | Observation | None:
        assert seconds >= 0
        if not self.in_flight or self.in_flight[0][0] > self.now + seconds:
            self.now += seconds
            return None
        arrives, _, asked, news = heapq.heappop(self.in_flight)
        self.now = max(self.now, arrives)
        if isinstance(news, Interrupted):
            raise news
        if isinstance(asked, str):
            assert isinstance(news, Observation)
            return news
        assert isinstance(news, OperationStatus | NoNews | AuthenticationError)
        return asked, news

    # who is told

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        self.changes.append((operation, status.word, seconds))

    def silent(self, operation: Operation, reason: str) -> None:
        assert reason
        self.said.append(("silent", operation))

    def heard_again(self, operation: Operation) -> None:
        self.said.append(("heard again", operation))

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        assert seconds == self.now
        self.changed_servers.append((operation, server, changed, of))

    def tick(self, seconds: float) -> None:
        self.ticks.append(seconds)

    def run(
        self,
        operations: Sequence[Operation],
        limit: float = 1800,
        *,
        once: bool = False,
        turns: Mapping[Operation, Sequence[str]] | None = None,
    ) -> Waited:
        servers = [each for named in (turns or {}).values() for each in named]
        watch = Watch(turns, dict.fromkeys(servers, Sent("ALIAS", "me", NOON))) if turns else None
        return Polling(
            operations,
            self,
            self,
            limit=limit,
            once=once,
            watch=watch,
            clock=lambda: self.now,
            jitter=Random(1).random,
        ).run()


def scripted(*news: News | BaseException) -> Callable[[Operation, float], News | BaseException]:
    """Each operation hears these, one after the other; the last one for ever."""
    scripts: dict[Operation, Iterator[News | BaseException]] = {}

    def tell(asked: Operation, _now: float) -> News | BaseException:
        if asked not in scripts:
            scripts[asked] = itertools.chain(news, itertools.repeat(news[-1]))
        return next(scripts[asked])

    return tell


def lasting(durations: Mapping[Operation, float]) -> Callable[[Operation, float], News]:
    """Each operation executes for so many seconds, then has succeeded."""
    return lambda asked, now: word("succeeded" if now >= durations[asked] else "executing")


ONE = operation(1)


def test_an_operation_is_polled_until_it_is_final_and_each_change_is_told_once() -> None:
    words = ["notStarted", "notStarted", "executing", "resumed", "executing", "succeeded"]
    world = Simulation(scripted(*map(word, words)))
    waited = world.run([ONE])
    assert [change[1] for change in world.changes] == [
        "notStarted",
        "executing",
        "resumed",
        "executing",
        "succeeded",
    ]
    assert waited == Waited(statuses={ONE: word("succeeded")})
    assert len(world.begun) == len(words)


@pytest.mark.parametrize("final", ["succeeded", "failed", "Succeeded"])
def test_only_two_words_are_final(final: str) -> None:
    words = ["queued", "running", "unknown", "paused", "resumed", final]
    world = Simulation(scripted(*map(word, words)))
    assert world.run([ONE]).statuses == {ONE: word(final)}


def test_operations_that_servers_share_are_polled_once_a_turn() -> None:
    world = Simulation(scripted(word("succeeded")))
    world.run([ONE, operation(2), ONE, ONE])
    assert [each for _, each in world.begun] == [ONE, operation(2)]


def test_without_operations_there_is_nothing_to_wait_for() -> None:
    assert Simulation(scripted(word("x"))).run([]) == Waited()


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2])
def test_the_first_poll_comes_at_once_and_the_second_after_half_a_second(latency: float) -> None:
    world = Simulation(scripted(word("executing")), latency=lambda: latency)
    world.run([ONE], limit=1)
    first, second = (when for when, _ in world.begun[:2])
    assert first == 0.0
    assert second == pytest.approx(0.5, rel=0.1)


def test_a_slow_api_is_left_alone_for_half_of_a_pause_after_it_has_answered() -> None:
    world = Simulation(scripted(word("executing")), latency=lambda: 20.0)
    world.run([ONE], limit=300)
    times = [when for when, _ in world.begun]
    after_the_answer = [after - before - 20.0 for before, after in itertools.pairwise(times)]
    assert after_the_answer[0] == pytest.approx(2.5 / 2, rel=0.11)
    assert after_the_answer[-1] == pytest.approx(LONGEST_PAUSE / 2, rel=0.11)


@given(st.floats(min_value=1, max_value=1500))
def test_an_end_is_noticed_within_an_eighth_of_the_duration_and_five_seconds(
    duration: float,
) -> None:
    world = Simulation(lasting({ONE: duration}))
    world.run([ONE])
    late = world.changes[-1][2] - duration
    assert late <= max(0.5, min(LONGEST_PAUSE, duration / 8)) * 1.1 + 2 * 0.05


def test_polls_do_not_grow_with_the_time_but_for_one_in_five_seconds() -> None:
    world = Simulation(lasting({ONE: 600.0}))
    world.run([ONE])
    assert len(world.begun) < 600 / LONGEST_PAUSE + 25


def test_the_time_limit_ends_it_and_what_is_known_is_returned() -> None:
    world = Simulation(scripted(word("executing")))
    waited = world.run([ONE], limit=10)
    assert waited == Waited(statuses={ONE: word("executing")}, timed_out=True)
    assert world.now == pytest.approx(10, abs=GRACE)


def test_what_is_in_flight_at_the_time_limit_has_half_a_second() -> None:
    world = Simulation(scripted(word("succeeded")), latency=lambda: 1.3)
    assert world.run([ONE], limit=1) == Waited(statuses={ONE: word("succeeded")})
    world = Simulation(scripted(word("succeeded")), latency=lambda: 60)
    assert world.run([ONE], limit=1) == Waited(timed_out=True)
    assert world.now == 1 + GRACE


def test_a_limit_of_nothing_is_one_round_that_has_half_a_second() -> None:
    world = Simulation(scripted(word("executing")))
    waited = world.run([ONE], limit=0)
    assert waited == Waited(statuses={ONE: word("executing")}, timed_out=True)


def test_once_asks_once_whatever_it_hears() -> None:
    world = Simulation(lambda asked, _: MISS if asked == ONE else word("executing"))
    waited = world.run([ONE, operation(2)], once=True)
    assert waited == Waited(statuses={operation(2): word("executing")}, no_news={ONE: MISS})
    assert len(world.begun) == 2


def test_a_poll_that_fails_is_no_news_and_is_told_after_the_third_in_a_row() -> None:
    ok = word("executing")
    world = Simulation(scripted(ok, MISS, MISS, ok, MISS, MISS, MISS, MISS, ok, word("succeeded")))
    waited = world.run([ONE])
    assert waited == Waited(statuses={ONE: word("succeeded")})
    assert world.said == [("silent", ONE), ("heard again", ONE)]
    assert [change[1] for change in world.changes] == ["executing", "succeeded"]


def test_a_failure_without_an_end_lasts_until_the_time_limit() -> None:
    waited = Simulation(scripted(MISS)).run([ONE], limit=100)
    assert waited == Waited(no_news={ONE: MISS}, timed_out=True)


def test_a_retry_after_is_obeyed_up_to_a_minute() -> None:
    asked_to_wait = NoNews("the API answered 429", slow_down=True, retry_after=30.0)
    world = Simulation(scripted(asked_to_wait, word("succeeded")), latency=lambda: 0.0)
    world.run([ONE])
    assert world.begun[1][0] == pytest.approx(30)
    asked_to_wait = NoNews("the API answered 429", slow_down=True, retry_after=9999.0)
    world = Simulation(scripted(asked_to_wait, word("succeeded")), latency=lambda: 0.0)
    world.run([ONE])
    assert world.begun[1][0] == pytest.approx(LONGEST_RETRY_AFTER)


@pytest.mark.parametrize("in_grace", [False, True])
def test_a_denial_ends_it_and_what_is_known_is_returned(in_grace: bool) -> None:
    latency = 0.6 if in_grace else 0.05
    world = Simulation(
        lambda asked, _: DENIED if asked == ONE else word("succeeded"), latency=lambda: latency
    )
    waited = world.run([operation(2), ONE], limit=0.5)
    assert waited.error is DENIED
    assert waited.statuses == {operation(2): word("succeeded")}
    assert not waited.timed_out


def test_a_signal_ends_it_and_what_is_known_is_returned() -> None:
    world = Simulation(scripted(word("executing"), Interrupted(signal.SIGTERM)))
    waited = world.run([ONE])
    assert waited == Waited(statuses={ONE: word("executing")}, signum=signal.SIGTERM)


def test_at_most_sixteen_are_asked_at_a_time() -> None:
    operations = [operation(n) for n in range(1000)]
    world = Simulation(lasting(dict.fromkeys(operations, 5.0)))
    world.run(operations)
    assert max(world.most_in_flight.values()) == AT_A_TIME


def test_half_as_many_are_asked_for_a_while_after_the_api_asks_to_slow_down() -> None:
    operations = [operation(n) for n in range(1000)]
    busy = {operations[100]}

    def tell(asked: Operation, _now: float) -> News:
        if asked in busy:
            busy.clear()
            return BUSY
        return word("executing")

    world = Simulation(tell)
    world.run(operations, limit=60)
    slowed = world.begun[100][0] + 0.1
    by_time = {
        span: max(n for when, n in world.most_in_flight.items() if span[0] <= when < span[1])
        for span in ((0, slowed - 0.1), (slowed + 0.1, slowed + 9), (slowed + 12, 60))
    }
    assert list(by_time.values()) == [16, 8, 16]


def test_no_operation_is_starved_when_there_are_more_than_can_be_asked() -> None:
    operations = [operation(n) for n in range(2000)]
    world = Simulation(lambda *_: word("executing"))
    world.run(operations, limit=60)
    polls = Counter(each for _, each in world.begun)
    assert max(polls.values()) - min(polls.values()) <= 1
    assert len(polls) == 2000


def test_each_end_among_many_is_noticed_within_one_turn_of_it() -> None:
    operations = [operation(n) for n in range(2000)]
    durations = {each: 10 + n / 100 for n, each in enumerate(operations)}
    world = Simulation(lasting(durations))
    world.run(operations)
    turn = len(operations) * 0.05 / AT_A_TIME + LONGEST_PAUSE * 1.1
    assert all(
        seconds - durations[which] <= turn + 0.2
        for which, said, seconds in world.changes
        if said == "succeeded"
    )


def test_the_listener_hears_the_time_at_least_once_a_second() -> None:
    world = Simulation(scripted(word("executing")))
    world.run([ONE], limit=100)
    assert max(b - a for a, b in itertools.pairwise(world.ticks)) <= 1.0 + 1e-6


ANY_NEWS = st.one_of(
    st.sampled_from(["notStarted", "executing", "resumed", "succeeded", "failed", "?"]).map(word),
    st.builds(
        NoNews,
        st.just("x"),
        slow_down=st.booleans(),
        retry_after=st.none() | st.floats(min_value=0, max_value=1e6),
    ),
)


@given(
    st.lists(st.lists(ANY_NEWS, min_size=1, max_size=12), min_size=1, max_size=40),
    st.floats(min_value=0, max_value=4000),
    st.integers(min_value=0),
)
def test_whatever_happens_it_ends_in_time_and_tells_the_truth(
    scripts: list[list[News]], limit: float, seed: int
) -> None:
    random = Random(seed)
    operations = [operation(n) for n in range(len(scripts))]
    left = {each: list(script) for each, script in zip(operations, scripts, strict=True)}
    told: dict[Operation, list[News]] = {each: [] for each in operations}

    def tell(asked: Operation, _now: float) -> News:
        script = left[asked]
        news = script.pop(0) if len(script) > 1 else script[0]
        assert not any(isinstance(n, OperationStatus) and n.is_final for n in told[asked])
        told[asked].append(news)
        return news

    world = Simulation(tell, latency=lambda: random.choice([0.0, 0.05, 1.0, 70.0]))
    waited = world.run(operations, limit)

    assert world.now <= limit + GRACE + 1e-6
    assert all(when <= limit for when, _ in world.begun)
    all_final = all(
        each in waited.statuses and waited.statuses[each].is_final for each in operations
    )
    assert waited.timed_out is not all_final
    for each in operations:
        heard = [said for which, said, _ in world.changes if which == each]
        assert all(a != b for a, b in itertools.pairwise(heard))
        assert (waited.statuses[each].word if each in waited.statuses else None) == (
            heard[-1] if heard else None
        )


# looks


def batch(number: int, servers: int) -> tuple[Operation, list[str]]:
    return operation(number), [f"WA{number}S{each:04}" for each in range(servers)]


def shared(operations: int, servers: int) -> dict[Operation, list[str]]:
    return dict(batch(number, servers) for number in range(operations))


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most of the times that any span of so many seconds has."""
    return max((sum(a <= b < a + seconds for b in times) for a in times), default=0)


def one_after_another(seconds: float) -> Callable[[str], float]:
    """Each server of a batch changes so many seconds after the one before it."""
    return lambda server: (int(server[-4:]) + 1) * seconds


def test_the_servers_of_a_shared_operation_are_looked_at_in_their_turns_and_told_once() -> None:
    turns = shared(1, 8)
    (one, servers) = next(iter(turns.items()))
    world = Simulation(lasting({one: 190.0}), changes_at=one_after_another(23.0))
    waited = world.run([one], turns=turns)
    assert waited.statuses == {one: word("succeeded")}
    assert world.changed_servers == [
        (one, server, number, 8) for number, server in enumerate(servers, start=1)
    ]
    assert world.looks[0][0] == pytest.approx(LOOK_EVERY, abs=1)


def test_all_servers_may_have_changed_before_the_operation_is_over() -> None:
    turns = shared(1, 2)
    (one,) = turns
    world = Simulation(lasting({one: 100.0}), changes_at=one_after_another(10.0))
    world.run([one], turns=turns)
    assert len(world.changed_servers) == 2
    assert max(when for when, _ in world.looks) < 30  # then there is nothing left to look for


def test_an_operations_servers_are_looked_at_four_at_a_time_every_five_seconds() -> None:
    turns = shared(1, 100)
    (one,) = turns
    world = Simulation(lasting({one: 120.0}))
    world.run([one], turns=turns)
    assert most_within([when for when, _ in world.looks], LOOK_EVERY - 1e-6) == LOOKS_AN_OPERATION
    assert len(world.looks) >= LOOKS_AN_OPERATION * (120 / (LOOK_EVERY + 1) - 1)


@pytest.mark.parametrize("look_latency", [0.01, 0.5, 9.0])
def test_sixteen_are_looked_at_every_five_seconds_and_eight_at_once_at_the_most(
    look_latency: float,
) -> None:
    turns = shared(8, 100)
    world = Simulation(lasting(dict.fromkeys(turns, 120.0)), look_latency=lambda: look_latency)
    world.run(list(turns), turns=turns)
    times = [when for when, _ in world.looks]
    assert most_within(times, LOOK_EVERY - 1e-6) <= LOOKS_IN_ALL
    assert max(world.looks_in_flight.values()) <= AT_A_TIME // 2
    assert max(world.most_in_flight.values()) <= AT_A_TIME
    if look_latency < 1:
        assert most_within(times, LOOK_EVERY - 1e-6) > LOOKS_IN_ALL / 2


@pytest.mark.parametrize("operations", [5, 15, 40])
def test_no_operation_s_servers_are_starved_by_anothers(operations: int) -> None:
    turns = shared(operations, 100)
    world = Simulation(lasting(dict.fromkeys(turns, 300.0)))
    world.run(list(turns), turns=turns)
    looks = Counter(server[:-5] for _, server in world.looks)
    assert len(looks) == operations
    assert max(looks.values()) <= 2 * min(looks.values()) + LOOKS_AN_OPERATION


@pytest.mark.parametrize("look_latency", [0.01, 0.7, 9.0])
@pytest.mark.parametrize("operations", [1, 8, 15])
def test_no_poll_is_delayed_by_looks(operations: int, look_latency: float) -> None:
    turns = shared(operations, 50)
    durations = {each: 60.0 + n for n, each in enumerate(turns)}
    without = Simulation(lasting(durations))
    without.run(list(turns))
    world = Simulation(
        lasting(durations), look_latency=lambda: look_latency, changes_at=one_after_another(2.0)
    )
    world.run(list(turns), turns=turns)
    assert world.looks
    assert world.begun == without.begun
    assert world.changes == without.changes


def test_where_operations_are_many_an_end_is_noticed_as_soon_but_for_one_place() -> None:
    turns = shared(200, 5)
    world = Simulation(lasting(dict.fromkeys(turns, 60.0)), look_latency=lambda: 9.0)
    world.run(list(turns), turns=turns)
    turn = len(turns) * 0.05 / (AT_A_TIME - 1) + LONGEST_PAUSE * 1.1
    assert max(looks for when, looks in world.looks_in_flight.items() if when < 60) == 1
    assert all(at - 60 <= turn + 0.2 for _, said, at in world.changes if said == "succeeded")


def test_there_is_no_look_after_the_end_of_an_operation() -> None:
    turns = shared(2, 50)
    one, two = turns
    world = Simulation(lasting({one: 20.0, two: 100.0}))
    world.run(list(turns), turns=turns)
    ended = {which: at for which, said, at in world.changes if said == "succeeded"}
    for which, servers in turns.items():
        assert max(when for when, server in world.looks if server in servers) <= ended[which]


def test_there_is_no_look_where_each_operation_is_asked_once_or_has_one_server() -> None:
    world = Simulation(scripted(word("executing")), latency=lambda: 20.0)
    world.run([ONE], once=True)
    assert not world.looks
    world = Simulation(lasting({ONE: 30.0}))
    world.run([ONE], turns={ONE: ["WA1S0001"]})
    assert not world.looks


def test_there_is_no_look_while_the_api_asks_to_slow_down() -> None:
    turns = shared(1, 50)
    (one,) = turns
    slowed: list[float] = []

    def tell(_asked: Operation, now: float) -> News:
        if 20 <= now < 40:
            slowed.append(now)
            return BUSY
        return word("succeeded" if now > 90 else "executing")

    world = Simulation(tell)
    world.run([one], turns=turns)
    until = max(slowed) + SLOWED_SECONDS
    assert not [when for when, _ in world.looks if min(slowed) + 0.1 < when < until]
    assert [when for when, _ in world.looks if when < 20]
    assert [when for when, _ in world.looks if when >= until]


def test_a_server_that_tells_nothing_keeps_no_other_from_being_looked_at() -> None:
    turns = shared(1, 12)
    (one, servers) = next(iter(turns.items()))
    world = Simulation(
        lasting({one: 200.0}), changes_at=one_after_another(10.0), missing=servers[:6]
    )
    world.run([one], turns=turns)
    assert [server for _, server, _, _ in world.changed_servers] == servers[6:]


@pytest.mark.parametrize("look_latency", [0.01, 9.0])
def test_only_the_next_four_are_looked_at(look_latency: float) -> None:
    turns = shared(1, 100)
    (one, servers) = next(iter(turns.items()))
    world = Simulation(lasting({one: 60.0}), look_latency=lambda: look_latency)
    world.run([one], turns=turns)
    assert {server for _, server in world.looks} == set(servers[:LOOKS_AN_OPERATION])


def test_a_server_is_not_looked_at_twice_at_a_time() -> None:
    turns = shared(1, 3)
    (one,) = turns
    world = Simulation(lasting({one: 60.0}), look_latency=lambda: 9.0)
    world.run([one], turns=turns)
    times: dict[str, list[float]] = {}
    for when, server in world.looks:
        times.setdefault(server, []).append(when)
    assert all(b - a >= 9 for each in times.values() for a, b in itertools.pairwise(each))


def test_what_a_stranger_among_the_servers_shows_is_not_told() -> None:
    watch = Watch({ONE: ["A", "B"]}, dict.fromkeys("AB", Sent("ALIAS", "me", NOON)))
    changed = NOON + timedelta(seconds=60)
    assert watch.hear(Observation("X", None, changed, "me")) is None
    assert watch.hear(Observation("A", None, changed, "me")) == (ONE, 1, 2)
    assert watch.hear(Observation("A", None, changed, "me")) is None
    watch.end(ONE)
    assert watch.hear(Observation("B", None, changed, "me")) is None


def test_without_the_time_of_the_sending_nothing_is_looked_at() -> None:
    watch = Watch({ONE: ["A", "B"]}, dict.fromkeys("AB", Sent("ALIAS", "me", None)))
    assert watch.next(1000.0, 16) == []
