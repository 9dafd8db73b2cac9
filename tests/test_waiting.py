import heapq
import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import AuthenticationError, ClcError, Interrupted
from clc_reset.models import NoNews, Operation, OperationStatus
from clc_reset.waiting import (
    AT_A_TIME,
    GRACE,
    LONGEST_PAUSE,
    LONGEST_POLL,
    LONGEST_RETRY_AFTER,
    News,
    Threads,
    Waited,
    wait,
)

MISS = NoNews("the API answered 500")
BUSY = NoNews("the API answered 503", slow_down=True)
DENIED = AuthenticationError("refused")


def operation(number: int) -> Operation:
    return Operation(f"wa1-{number}", f"/v2/operations/alias/status/wa1-{number}")


def word(text: str) -> OperationStatus:
    return OperationStatus(text)


class Simulation:
    """A world in which only time that is waited for passes.

    `tell` is what a poll of an operation begun at a time hears. An answer takes `latency` seconds.
    """

    def __init__(
        self,
        tell: Callable[[Operation, float], News | BaseException],
        latency: Callable[[], float] = lambda: 0.05,
    ) -> None:
        self.now = 0.0
        self.tell = tell
        self.latency = latency
        self.in_flight: list[tuple[float, int, Operation, News | BaseException]] = []
        self.begun: list[tuple[float, Operation]] = []
        self.most_in_flight: Counter[float] = Counter()
        self.changes: list[tuple[Operation, str, float]] = []
        self.said: list[tuple[str, Operation]] = []
        self.ticks: list[float] = []
        self._turns = itertools.count()

    # what asks the API

    def submit(self, asked: Operation) -> None:
        self.begun.append((self.now, asked))
        news = self.tell(asked, self.now)
        heapq.heappush(self.in_flight, (self.now + self.latency(), next(self._turns), asked, news))
        self.most_in_flight[self.now] = max(self.most_in_flight[self.now], len(self.in_flight))

    def take(self, seconds: float) -> tuple[Operation, News] | None:
        assert seconds >= 0
        if not self.in_flight or self.in_flight[0][0] > self.now + seconds:
            self.now += seconds
            return None
        arrives, _, asked, news = heapq.heappop(self.in_flight)
        self.now = max(self.now, arrives)
        if not isinstance(news, OperationStatus | NoNews | ClcError):
            raise news
        return asked, news

    # who is told

    def changed(self, which: Operation, status: OperationStatus, seconds: float) -> None:
        self.changes.append((which, status.word, seconds))

    def silent(self, which: Operation, reason: str) -> None:
        assert reason
        self.said.append(("silent", which))

    def heard_again(self, which: Operation) -> None:
        self.said.append(("heard again", which))

    def tick(self, seconds: float) -> None:
        self.ticks.append(seconds)

    def run(
        self, operations: Sequence[Operation], limit: float = 1800, *, once: bool = False
    ) -> Waited:
        return wait(
            operations,
            self,
            self,
            limit=limit,
            once=once,
            clock=lambda: self.now,
            random=Random(1).random,
        )


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


@pytest.mark.parametrize(
    ("interrupt", "signum"),
    [(Interrupted(signal.SIGTERM), signal.SIGTERM), (KeyboardInterrupt(), signal.SIGINT)],
)
def test_a_signal_ends_it_and_what_is_known_is_returned(
    interrupt: BaseException, signum: int
) -> None:
    world = Simulation(scripted(word("executing"), interrupt))
    waited = world.run([ONE])
    assert waited == Waited(statuses={ONE: word("executing")}, signum=signum)


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


@pytest.fixture
def _threads_of_others() -> None:
    for each in threading.enumerate():
        if each.name == "poll":
            each.join(10)


@pytest.mark.usefixtures("_threads_of_others")
def test_threads_ask_several_at_a_time_and_never_more_than_are_submitted() -> None:
    gate = threading.Barrier(3)

    def poll(asked: Operation) -> OperationStatus:
        gate.wait(10)
        return word(asked.id)

    threads = Threads(poll)
    for _ in range(2):
        for number in range(3):
            threads.submit(operation(number))
        heard = [threads.take(10) for _ in range(3)]
        assert {each[1] for each in heard if each} == {word(f"wa1-{n}") for n in range(3)}
    assert threads.take(0) is None
    polling = [each for each in threading.enumerate() if each.name == "poll"]
    assert len(polling) == 3
    assert all(each.daemon for each in polling)
    threads.close()
    for each in polling:
        each.join(10)
        assert not each.is_alive()


def test_an_error_of_ours_ends_the_wait_and_any_other_is_no_news() -> None:
    def poll(asked: Operation) -> OperationStatus:
        raise DENIED if asked == ONE else ZeroDivisionError("x")

    threads = Threads(poll)
    threads.submit(ONE)
    assert threads.take(10) == (ONE, DENIED)
    threads.submit(operation(2))
    assert threads.take(10) == (operation(2), NoNews("ZeroDivisionError: x"))
    threads.close()


def test_a_poll_without_an_end_takes_nobody_elses_turn() -> None:
    now = [0.0]
    stuck = threading.Event()

    def poll(asked: Operation) -> OperationStatus:
        if asked == ONE:
            stuck.wait(10)
        return word("executing")

    threads = Threads(poll, clock=lambda: now[0])
    threads.submit(ONE)
    assert threads.take(0) is None
    now[0] = LONGEST_POLL
    assert threads.take(0) == (ONE, NoNews("no answer within 90 s"))
    threads.submit(operation(2))
    assert threads.take(10) == (operation(2), word("executing"))
    stuck.set()
    assert threads.take(10) is None  # too late, and not heard
    threads.close()
