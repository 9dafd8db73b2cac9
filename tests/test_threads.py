import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

import pytest

from clc_reset import threads
from clc_reset.errors import Interrupted
from clc_reset.threads import AT_A_TIME, Failure, Pool, Stop, attempt, call, gather

_T = TypeVar("_T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONG = 60.0
"""In seconds: what is waited for comes sooner, or the test fails."""


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop that signals leave their mark on, until the test is over."""
    before = [signal.getsignal(each) for each in SIGNALS]
    stop = Stop()
    stop.install()
    yield stop
    for signum, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signum, handler)


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the system give so many threads, and no more."""
    start = threading.Thread.start
    left = 0

    def start_or_fail(thread: threading.Thread) -> None:
        nonlocal left
        if left == 0:
            message = "can't start new thread"
            raise RuntimeError(message)
        left -= 1
        start(thread)

    def allow(number: int) -> None:
        nonlocal left
        left = number
        monkeypatch.setattr(threading.Thread, "start", start_or_fail)

    return allow


class Clock:
    """One that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Held:
    """A call that is under way until it is released, and tells its thread."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.released.wait(LONG)
        return "held"


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def send_during(held: Held, signum: int) -> None:
    assert held.begun.wait(LONG)
    send(signum)


def from_a_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


# the mark


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_leaves_a_mark_and_raises_nothing(stop: Stop, signum: int) -> None:
    assert stop.signum is None
    stop.check()
    send(signum)
    assert stop.signum == signum
    with pytest.raises(Interrupted) as raised:
        stop.check()
    assert raised.value.signum == signum


def test_a_second_signal_ends_the_process(stop: Stop) -> None:
    send(signal.SIGTERM)
    assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 3


def test_the_first_signal_is_the_one_that_counts() -> None:
    stop = Stop()
    stop.set(signal.SIGTERM)
    stop.set(signal.SIGINT)
    assert stop.signum == signal.SIGTERM


def test_a_signal_that_is_ignored_from_the_start_stays_so(stop: Stop) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    other = Stop()
    other.install()
    send(signal.SIGHUP)
    assert other.signum is None
    send(signal.SIGINT)
    assert other.signum == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


# waits


def test_an_item_is_taken_when_it_comes() -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    from_a_thread(lambda: queue.put("item"))
    assert Stop().take(queue, LONG) == "item"


def test_without_an_item_the_wait_ends_with_its_time() -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    for seconds in (0.01, 0, -1):
        with pytest.raises(Empty):
            Stop().take(queue, seconds)


def test_a_wait_may_be_longer_than_any_lock_can_be_waited_for() -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    from_a_thread(lambda: queue.put("item"))
    assert Stop().take(queue, float("inf")) == "item"


@pytest.mark.parametrize("sender", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_at_once(stop: Stop, sender: int) -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    from_a_thread(lambda: send(sender))
    with pytest.raises(Interrupted) as raised:
        stop.take(queue, LONG)
    assert raised.value.signum == sender


def test_what_came_before_the_mark_is_taken_before_it(stop: Stop) -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    queue.put("first")
    queue.put("second")
    send(signal.SIGTERM)
    assert stop.take(queue, LONG) == "first"
    assert stop.take(queue, LONG) == "second"
    with pytest.raises(Interrupted):
        stop.take(queue, LONG)


def test_a_wake_up_that_is_left_over_is_not_an_item() -> None:
    stop = Stop()
    queue: SimpleQueue[str] = SimpleQueue()

    class Telltale(SimpleQueue[str]):
        """Gives an item, and lets the signal come before that has been handed on."""

        def get(self, block: bool = True, timeout: float | None = None) -> str:  # noqa: FBT002
            item = super().get(block, timeout)
            stop.set(signal.SIGTERM)
            return item

    queue = Telltale()
    queue.put("item")
    assert stop.take(queue, LONG) == "item"
    assert queue.qsize() == 1
    queue.put("later")
    assert stop.take(queue, LONG) == "later"
    with pytest.raises(Interrupted):
        stop.take(queue, LONG)


def test_an_item_that_comes_when_the_time_is_up_is_taken_before_the_mark() -> None:
    stop = Stop()

    class Late(SimpleQueue[str]):
        """Tells that nothing came, while an item and then a signal come."""

        def get_nowait(self) -> str:
            if stop.signum is None:
                self.put("item")
                stop.set(signal.SIGTERM)
                raise Empty
            return super().get_nowait()

    assert stop.take(Late(), 0) == "item"


def test_several_waits_of_several_threads_are_all_woken() -> None:
    stop = Stop()
    interrupted: SimpleQueue[int] = SimpleQueue()
    waiting = [threading.Event() for _ in range(3)]

    class Known(SimpleQueue[str]):
        def __init__(self, event: threading.Event) -> None:
            self.event = event

        def get(self, block: bool = True, timeout: float | None = None) -> str:  # noqa: FBT002
            self.event.set()
            return super().get(block, timeout)

    def wait(event: threading.Event) -> None:
        try:
            stop.take(Known(event), LONG)
        except Interrupted as interruption:
            interrupted.put(interruption.signum)

    for event in waiting:
        from_a_thread(lambda event=event: wait(event))  # type: ignore[misc]
        assert event.wait(LONG)
    stop.set(signal.SIGTERM)
    assert [interrupted.get(timeout=LONG) for _ in waiting] == [signal.SIGTERM] * 3


def test_a_sleep_ends_with_its_time_or_a_signal(stop: Stop) -> None:
    stop.sleep(0.001)
    from_a_thread(lambda: send(signal.SIGINT))
    with pytest.raises(Interrupted):
        stop.sleep(LONG)


class AtLine:
    """Sends a signal at the so manyth line of `threads` that is run, and keeps when each was."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines: list[float] = []

    def __call__(self, frame: FrameType, event: str, _arg: object) -> "AtLine | None":
        if frame.f_code.co_filename != threads.__file__:
            return None
        if event == "line":
            self.lines.append(time.monotonic())
            if len(self.lines) == self.number:
                send(signal.SIGTERM)
        return self

    def run(self, work: Callable[[], object]) -> object:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return work()
        finally:
            sys.settrace(before)


@pytest.fixture
def installed() -> Iterator[Callable[[], Stop]]:
    """Make one stop after the other, each the one that signals leave their mark on."""
    before = [signal.getsignal(each) for each in SIGNALS]

    def install() -> Stop:
        for signum, handler in zip(SIGNALS, before, strict=True):
            signal.signal(signum, handler)
        stop = Stop()
        stop.install()
        return stop

    yield install
    for signum, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signum, handler)


def test_a_signal_at_any_line_of_a_wait_ends_it(installed: Callable[[], Stop]) -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    seconds = 0.05
    plain, stop = AtLine(0), installed()
    began = time.monotonic()
    with pytest.raises(Empty):
        plain.run(lambda: stop.take(queue, seconds))
    before_the_wait = sum(each < began + seconds for each in plain.lines)
    assert before_the_wait > 5
    for number in range(1, before_the_wait + 1):
        stop = installed()
        with pytest.raises(Interrupted):
            AtLine(number).run(lambda stop=stop: stop.take(queue, LONG))  # type: ignore[misc]
    for number in range(before_the_wait + 1, len(plain.lines) + 1):
        stop = installed()
        with pytest.raises((Empty, Interrupted)):
            AtLine(number).run(lambda stop=stop: stop.take(queue, 0.001))  # type: ignore[misc]
        with pytest.raises(Interrupted):
            stop.take(queue, LONG)


def test_a_signal_at_any_line_loses_no_item(installed: Callable[[], Stop]) -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    number, lines = 0, 1
    while number <= lines:
        queue.put("item")
        stop = installed()
        at_line = AtLine(number)
        assert at_line.run(lambda stop=stop: stop.take(queue, LONG)) == "item"  # type: ignore[misc]
        number, lines = number + 1, len(at_line.lines)
    assert number > 5


def test_a_signal_at_any_line_of_a_call_leaves_its_outcome(installed: Callable[[], Stop]) -> None:
    number, lines = 0, 1
    while number <= lines:
        stop = installed()
        told = Held()
        told.released.set()
        at_line = AtLine(number)
        try:
            outcome = at_line.run(lambda stop=stop, told=told: call(told, LONG, stop))  # type: ignore[misc]
        except Interrupted:
            assert stop.signum == signal.SIGTERM
        else:
            assert outcome == "held"
        number, lines = number + 1, len(at_line.lines)


# what can't be woken


def test_a_signal_ends_what_can_not_be_woken(stop: Stop, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read() -> str:
        from_a_thread(lambda: send(signal.SIGINT))
        return pipe.read_text()

    with pytest.raises(Interrupted), stop.blocking():
        read()


def test_with_the_mark_nothing_that_blocks_is_begun(stop: Stop) -> None:
    send(signal.SIGTERM)
    with pytest.raises(Interrupted), stop.blocking():
        raise AssertionError


def test_after_what_can_not_be_woken_a_signal_raises_nothing(stop: Stop) -> None:
    with stop.blocking():
        pass
    send(signal.SIGTERM)
    assert stop.signum == signal.SIGTERM


# one call


def test_an_attempt_is_what_a_call_returns_or_raises() -> None:
    error = SystemExit("bye")

    def fail() -> None:
        raise error

    assert attempt(lambda: 3) == 3
    assert attempt(fail) == Failure(error)
    assert call(lambda: attempt(fail), LONG, Stop()) == Failure(error)


def test_a_call_returns_or_raises_what_its_thread_does() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert call(threading.current_thread, LONG, Stop()) is not threading.current_thread()
    with pytest.raises(KeyError):
        call(fail, LONG, Stop())


def test_a_call_is_given_its_time_and_no_more() -> None:
    held = Held()
    with pytest.raises(TimeoutError):
        call(held, 0.02, Stop())
    held.released.set()


def test_a_tick_is_told_how_long_the_call_has_been_out() -> None:
    held = Held()
    ticks: list[float] = []

    def tick(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 3:
            held.released.set()

    assert call(held, LONG, Stop(), tick=tick, tick_seconds=0.001) == "held"
    assert ticks == sorted(ticks)
    assert ticks[0] >= 0.001


def test_a_call_with_ticks_has_its_limit_too() -> None:
    held = Held()
    with pytest.raises(TimeoutError):
        call(held, 0.02, Stop(), tick=lambda _: None, tick_seconds=0.005)
    held.released.set()


def test_what_has_come_is_returned_however_late_it_is_looked_for() -> None:
    held = Held()
    began = time.monotonic()
    limit = 0.02

    def tick(_seconds: float) -> None:
        """Take as long as a process that is suspended."""
        held.released.set()
        assert held.begun.wait(LONG)
        assert held.thread
        held.thread.join(LONG)
        while time.monotonic() < began + 2 * limit:
            pass

    assert call(held, limit, Stop(), tick=tick, tick_seconds=limit / 100) == "held"


def test_a_signal_ends_the_wait_for_a_call(stop: Stop) -> None:
    held = Held()
    from_a_thread(lambda: send_during(held, signal.SIGTERM))
    with pytest.raises(Interrupted):
        call(held, LONG, stop)
    held.released.set()


def test_without_a_thread_nothing_is_called(few_threads: Callable[[int], None]) -> None:
    few_threads(0)
    held = Held()
    with pytest.raises(RuntimeError):
        call(held, LONG, Stop())
    assert not held.begun.is_set()


# many calls


def test_each_outcome_has_its_key() -> None:
    pool: Pool[str, str] = Pool(LONG, Stop())
    error = KeyError("x")

    def fail() -> str:
        raise error

    pool.submit("good", lambda: "yes")
    pool.submit("bad", fail)
    outcomes = dict(filter(None, [pool.take(LONG), pool.take(LONG)]))
    assert outcomes == {"good": "yes", "bad": Failure(error)}
    assert pool.take(0) is None
    pool.close()


def test_a_key_may_come_again_once_it_is_told() -> None:
    pool: Pool[str, int] = Pool(LONG, Stop())
    for number in range(50):
        pool.submit("key", lambda number=number: number)  # type: ignore[misc]
        assert pool.take(LONG) == ("key", number)
    pool.close()


def test_calls_are_under_way_together() -> None:
    pool: Pool[int, int] = Pool(LONG, Stop())
    all_here = threading.Barrier(AT_A_TIME)
    for number in range(AT_A_TIME):
        pool.submit(number, lambda: all_here.wait(LONG))
    places = {each[1] for each in (pool.take(LONG) for _ in range(AT_A_TIME)) if each}
    assert places == set(range(AT_A_TIME))
    pool.close()


def test_a_thread_that_is_free_is_used_again() -> None:
    pool: Pool[int, threading.Thread] = Pool(LONG, Stop())
    used = set()
    for number in range(20):
        pool.submit(number, threading.current_thread)
        told = pool.take(LONG)
        assert told
        used.add(told[1])
    assert len(used) == 1
    pool.close()


def test_a_call_that_takes_too_long_is_a_failure_and_its_thread_comes_back() -> None:
    clock = Clock()
    pool: Pool[str, object] = Pool(10, Stop(), clock)
    held = Held()
    pool.submit("late", held)
    assert held.begun.wait(LONG)
    clock.now = 9.99
    assert pool.take(0) is None
    clock.now = 10
    told = pool.take(LONG)
    assert told
    assert told[0] == "late"
    assert isinstance(told[1], Failure)
    assert isinstance(told[1].error, TimeoutError)
    held.released.set()
    assert pool.take(LONG) is None  # nobody asks for it any more
    pool.submit("again", threading.current_thread)
    assert pool.take(LONG) == ("again", held.thread)
    pool.close()


def test_the_wait_for_an_outcome_ends_when_a_call_is_overdue() -> None:
    pool: Pool[str, object] = Pool(0.02, Stop())
    held = Held()
    pool.submit("late", held)
    assert held.begun.wait(LONG)
    told = pool.take(LONG)
    assert told
    assert isinstance(told[1], Failure)
    held.released.set()
    pool.close()


def test_an_outcome_that_has_come_is_no_failure_however_late_it_is_looked_for(
    few_threads: Callable[[int], None],
) -> None:
    few_threads(1)
    clock = Clock()
    pool: Pool[str, str] = Pool(10, Stop(), clock)
    first, second = Held(), Held()
    pool.submit("first", first)
    pool.submit("second", second)
    first.released.set()
    assert second.begun.wait(LONG)
    clock.now = 1000
    assert pool.take(LONG) == ("first", "held")
    second.released.set()
    pool.close()


def test_what_waits_for_a_thread_is_not_overdue(few_threads: Callable[[int], None]) -> None:
    few_threads(1)
    clock = Clock()
    pool: Pool[str, str] = Pool(10, Stop(), clock)
    held = Held()
    pool.submit("first", held)
    pool.submit("second", lambda: "second")
    assert held.begun.wait(LONG)
    clock.now = 9
    held.released.set()
    assert pool.take(LONG) == ("first", "held")
    clock.now = 18
    assert pool.take(LONG) == ("second", "second")
    pool.close()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_where_there_are_few_threads_or_none_all_calls_are_made(
    few_threads: Callable[[int], None], number: int
) -> None:
    few_threads(number)
    pool: Pool[int, int] = Pool(LONG, Stop())
    for key in range(10):
        pool.submit(key, lambda key=key: key * key)  # type: ignore[misc]
    told = dict(filter(None, (pool.take(LONG) for _ in range(10))))
    assert told == {key: key * key for key in range(10)}
    pool.close()


def test_without_threads_no_call_is_made_once_there_is_a_mark(
    few_threads: Callable[[int], None],
) -> None:
    few_threads(0)
    stop = Stop()
    pool: Pool[str, None] = Pool(LONG, stop)
    held = Held()
    pool.submit("key", held.begun.set)
    stop.set(signal.SIGTERM)
    with pytest.raises(Interrupted):
        pool.take(LONG)
    assert not held.begun.is_set()


def test_where_the_only_thread_is_back_unheard_there_is_nothing_to_do_but_wait(
    few_threads: Callable[[int], None],
) -> None:
    few_threads(1)
    clock = Clock()
    pool: Pool[str, str] = Pool(10, Stop(), clock)
    held = [Held(), Held()]
    pool.submit("first", held[0])
    assert held[0].begun.wait(LONG)
    clock.now = 10
    assert pool.take(LONG)
    pool.submit("second", held[1])
    held[0].released.set()
    assert held[1].begun.wait(LONG)
    held[1].released.set()
    assert [pool.take(LONG), pool.take(LONG)] == [None, ("second", "held")]


def test_an_outcome_comes_before_a_signal(stop: Stop) -> None:
    pool: Pool[str, str] = Pool(LONG, stop)
    held = Held()
    pool.submit("key", lambda: "yes")
    assert pool.take(LONG)
    pool.submit("key", held)
    from_a_thread(lambda: send_during(held, signal.SIGTERM))
    with pytest.raises(Interrupted):
        pool.take(LONG)
    held.released.set()
    pool.close()


def test_closing_begins_no_more_calls_and_ends_every_thread(
    few_threads: Callable[[int], None],
) -> None:
    few_threads(2)
    clock = Clock()
    pool: Pool[str, str] = Pool(10, Stop(), clock)
    late, held, never = Held(), Held(), Held()
    pool.submit("late", late)
    assert late.begun.wait(LONG)
    clock.now = 10
    assert pool.take(LONG)
    pool.submit("held", held)
    assert held.begun.wait(LONG)
    pool.submit("never", never)
    pool.close()
    late.released.set()
    held.released.set()
    for each in (late, held):
        assert each.thread
        each.thread.join(LONG)
        assert not each.thread.is_alive()
    assert not never.begun.is_set()


# all of them


def test_what_is_gathered_is_in_order() -> None:
    numbers = range(3 * AT_A_TIME)
    calls = [partial(int, number) for number in numbers]
    assert gather(calls, LONG, Stop()) == list(numbers)
    assert gather([], LONG, Stop()) == []


def test_sixteen_are_under_way_at_the_most() -> None:
    under_way: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        under_way.pop()

    gather([work] * 200, LONG, Stop())
    assert 0 < most <= AT_A_TIME


def test_a_gathering_goes_on_where_nothing_has_come_yet() -> None:
    class Impatient(Stop):
        asked = 0

        def take(self, queue: SimpleQueue[_T], seconds: float) -> _T:
            self.asked += 1
            if self.asked == 1:
                raise Empty
            return super().take(queue, seconds)

    assert gather([lambda: "yes"], LONG, Impatient()) == ["yes"]


def test_the_first_error_ends_a_gathering() -> None:
    held = Held()

    def fail() -> str:
        raise KeyError("x")

    calls: list[Callable[[], str]] = [held, fail]
    with pytest.raises(KeyError):
        gather(calls, LONG, Stop())
    held.released.set()


def test_a_gathering_ends_where_a_call_takes_too_long() -> None:
    held = Held()
    with pytest.raises(TimeoutError):
        gather([held], 0.01, Stop())
    held.released.set()


def test_a_signal_ends_a_gathering(stop: Stop) -> None:
    held = Held()
    from_a_thread(lambda: send_during(held, signal.SIGTERM))
    with pytest.raises(Interrupted):
        gather([held], LONG, stop)
    held.released.set()


def test_a_signal_that_another_thread_is_given_ends_a_wait(stop: Stop) -> None:
    held = Held()

    def send() -> None:
        held.begun.wait(LONG)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    from_a_thread(send)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        gather([held], LONG, stop)
    assert time.monotonic() - began < LONG / 2
    held.released.set()
