import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from clc_reset import workers
from clc_reset.errors import Interrupted
from clc_reset.workers import AT_A_TIME, Done, Failure, Inbox, attempt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONG = 60.0
"""In seconds: what is waited for comes sooner, or the test fails."""


@pytest.fixture
def make() -> Iterator[Callable[[], Inbox]]:
    """Make inboxes that handle signals, until the test is over."""
    before = [signal.getsignal(signum) for signum in SIGNALS]

    def install() -> Inbox:
        for signum, handler in zip(SIGNALS, before, strict=True):
            signal.signal(signum, handler)
        inbox = Inbox()
        inbox.handle_signals()
        return inbox

    yield install
    for signum, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signum, handler)


@pytest.fixture
def inbox(make: Callable[[], Inbox]) -> Inbox:
    return make()


class Held:
    """A call that is under way until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(LONG)
        return "held"


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.released.set()


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def soon(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


def fail() -> str:
    raise KeyError("x")


# signals


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_leaves_a_mark_and_raises_nothing(inbox: Inbox, signum: int) -> None:
    assert inbox.signum is None
    inbox.check()
    with inbox.interruptible():
        pass
    send(signum)
    assert inbox.signum == signum
    with pytest.raises(Interrupted) as raised:
        inbox.check()
    assert raised.value.signum == signum


def test_a_second_signal_within_a_second_belongs_to_the_first(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(signal.SIGTERM)
    send(signal.SIGHUP)
    assert inbox.signum == signal.SIGTERM
    died: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *args: died.append(args))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.1)
    signal.raise_signal(signal.SIGINT)
    assert died == [(os.getpid(), signal.SIGINT)]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_a_signal_that_is_ignored_from_the_start_stays_so(make: Callable[[], Inbox]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    inbox = Inbox()
    inbox.handle_signals()
    send(signal.SIGHUP)
    assert inbox.signum is None
    make()
    signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_what_can_not_be_woken(inbox: Inbox, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def send_when_it_is_read() -> None:
        os.open(pipe, os.O_WRONLY)  # it waits for the reader, and stays open
        send(signal.SIGINT)

    soon(send_when_it_is_read)
    with pytest.raises(Interrupted), inbox.interruptible():
        pipe.read_text()
    with pytest.raises(Interrupted), inbox.interruptible():
        raise AssertionError  # nothing that blocks is begun any more


# calls


def test_each_result_has_its_key_and_a_key_may_come_again() -> None:
    inbox = Inbox()
    inbox.submit("good", lambda: 1)
    assert inbox.next(LONG) == Done("good", 1)
    inbox.submit("bad", fail)
    inbox.submit("good", lambda: 2)
    inbox.sleep(0.01)  # it keeps what arrives
    results = dict(done for done in (inbox.next(float("inf")), inbox.next(LONG)) if done)
    assert results["good"] == 2
    assert isinstance(results["bad"], Failure)
    assert isinstance(results["bad"].error, KeyError)


@pytest.mark.parametrize("seconds", [0.01, 0, -1])
def test_without_a_result_a_wait_ends_with_its_time(held: Held, seconds: float) -> None:
    inbox = Inbox()
    inbox.submit("key", held)
    assert inbox.next(seconds) is None
    inbox.sleep(seconds)


def test_a_wait_of_several_seconds_looks_for_a_signal_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel may hand it to another thread, which doesn't wake this one."""

    class Bell:
        def acquire(self, timeout: float) -> None:
            waits.append(timeout)
            now[0] += timeout

    now, waits = [0.0], list[float]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    inbox = Inbox(time.monotonic)
    inbox._bell = Bell()  # type: ignore[assignment] # noqa: SLF001 - it rings for nobody
    inbox.sleep(2.5)
    assert waits == [1.0, 1.0, 0.5]


def test_forgotten_results_are_dropped_whether_they_arrived_or_not(held: Held) -> None:
    inbox = Inbox()
    done = inbox.submit("done", lambda: 1)
    kept = inbox.submit("kept", lambda: 2)
    late = inbox.submit("late", held)
    assert held.begun.wait(LONG)
    inbox.forget(done, late)
    inbox.forget(done)
    held.released.set()
    assert inbox.next(LONG) == Done("kept", 2)
    inbox.submit("a", lambda: 3)
    inbox.submit("b", lambda: 4)
    inbox.sleep(0.01)
    inbox.forget()  # nothing
    assert inbox.next(LONG) is not None
    inbox.forget_all()
    inbox.forget(kept)
    assert inbox.next(0.01) is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "wait",
    [
        lambda inbox, _held: inbox.next(LONG),
        lambda inbox, _held: inbox.sleep(LONG),
        lambda inbox, held: inbox.call(held, LONG),
        lambda inbox, held: inbox.map(lambda _key: held(), "ab", LONG),
    ],
    ids=["next", "sleep", "call", "map"],
)
def test_a_signal_ends_every_wait_at_once(
    inbox: Inbox, held: Held, wait: Callable[[Inbox, Held], object], signum: int
) -> None:
    soon(lambda: send(signum))
    began = time.monotonic()
    with pytest.raises(Interrupted) as raised:
        wait(inbox, held)
    assert raised.value.signum == signum
    assert time.monotonic() - began < LONG / 2


def test_a_signal_that_another_thread_is_given_ends_a_wait(inbox: Inbox) -> None:
    soon(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        inbox.sleep(LONG)


def test_what_arrived_before_a_signal_is_returned_before_it() -> None:
    class Inline(Inbox):
        def _start(self, run: Callable[[], None]) -> None:
            run()

    inbox = Inline()
    inbox.submit("first", lambda: 1)
    inbox.submit("second", lambda: 2)
    inbox.interrupt(signal.SIGTERM)
    assert [inbox.next(LONG), inbox.next(LONG)] == [Done("first", 1), Done("second", 2)]
    with pytest.raises(Interrupted):
        inbox.next(LONG)
    inbox.pause(0)  # waits even so


# one call


def test_a_call_returns_or_raises_what_its_thread_does() -> None:
    inbox = Inbox()
    assert inbox.call(threading.current_thread, LONG) is not threading.current_thread()
    with pytest.raises(KeyError):
        inbox.call(fail, LONG)
    assert inbox.next(0) is None


def test_a_call_is_given_its_time_and_no_more(held: Held) -> None:
    inbox = Inbox()
    with pytest.raises(TimeoutError):
        inbox.call(held, 0.02)
    held.released.set()
    assert inbox.next(0.01) is None


def test_a_tick_tells_each_second_how_long_a_call_takes(held: Held) -> None:
    class Quick(Inbox):
        def _get(self, seconds: float) -> tuple[int, object] | None:
            if not held.released.is_set():
                now[0] += seconds
                return super()._get(0)
            return super()._get(LONG)

    def tick(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 3:
            held.released.set()

    now, ticks = [0.0], list[float]()
    assert Quick(lambda: now[0]).call(held, 600.0, tick) == "held"
    assert ticks == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("is_late", [False, True])
def test_a_result_that_came_while_the_process_was_suspended_is_returned(
    held: Held, *, is_late: bool
) -> None:
    """A call with a limit of 5 s is suspended for an hour in its first second."""

    class Suspended(Inbox):
        def _get(self, seconds: float) -> tuple[int, object] | None:
            if not now[0]:
                now[0] = 3600.0
            else:
                if not is_late:
                    held.released.set()
                    return super()._get(LONG)
                now[0] += seconds
            return super()._get(0)

    now = [0.0]
    inbox = Suspended(lambda: now[0])
    if is_late:
        with pytest.raises(TimeoutError):
            inbox.call(held, 5.0)
        assert now[0] == 3610.0
    else:
        assert inbox.call(held, 5.0) == "held"


def test_without_a_thread_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    inbox = Inbox()
    with pytest.raises(RuntimeError):
        inbox.call(fail, LONG)
    results = inbox.map(lambda key: key, "ab", LONG)
    assert [type(result) for result in results.values()] == [Failure, Failure]


# many calls


def test_all_are_called_sixteen_at_a_time() -> None:
    under_way: list[int] = []
    most: list[int] = []
    all_here = threading.Barrier(AT_A_TIME)

    def square(number: int) -> int:
        under_way.append(number)
        most.append(len(under_way))
        if number < AT_A_TIME:
            all_here.wait(LONG)
        under_way.remove(number)
        return number * number

    numbers = [*range(5 * AT_A_TIME), 3]
    assert Inbox().map(square, numbers, LONG) == {number: number * number for number in numbers}
    assert max(most) == AT_A_TIME


def test_what_fails_is_a_failure_and_what_is_late_is_missing(held: Held) -> None:
    def work(key: str) -> str:
        return sys.exit("bye") if key == "bad" else held() if key == "late" else key

    inbox = Inbox()
    results = inbox.map(work, ["good", "bad", "late"], 0.05)
    assert set(results) == {"good", "bad"}
    assert results["good"] == "good"
    assert isinstance(results["bad"], Failure)
    held.released.set()
    assert inbox.next(0.01) is None
    assert inbox.map(work, [], LONG) == {}


# a signal at any line


class AtLine:
    """Sends a signal at the so manyth line of `workers` that the main thread runs."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lines: list[float] = []

    def __call__(self, frame: FrameType, event: str, _arg: object) -> "AtLine | None":
        if frame.f_code.co_filename != workers.__file__:
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


def at_every_line(make: Callable[[], Inbox], use: Callable[[Inbox, AtLine], object]) -> None:
    number, lines = 0, 1
    while number <= lines:
        at_line = AtLine(number)
        use(make(), at_line)
        number, lines = number + 1, len(at_line.lines)
    assert number > 5


def test_a_signal_at_any_line_before_a_wait_ends_it(make: Callable[[], Inbox]) -> None:
    seconds = 0.2
    plain = AtLine(0)
    inbox, began = make(), time.monotonic()
    plain.run(lambda: inbox.sleep(seconds))
    lines = sum(at < began + seconds for at in plain.lines)
    assert lines > 5
    for number in range(1, lines + 1):
        inbox = make()
        with pytest.raises(Interrupted):
            AtLine(number).run(lambda inbox=inbox: inbox.sleep(LONG))  # type: ignore[misc]


def test_a_signal_at_any_line_loses_no_result(make: Callable[[], Inbox]) -> None:
    def use(inbox: Inbox, at_line: AtLine) -> None:
        inbox.submit("key", lambda: 1)
        inbox.sleep(0.001)
        assert at_line.run(lambda: inbox.next(LONG)) == Done("key", 1)

    at_every_line(make, use)


def test_a_signal_at_any_line_of_a_call_leaves_its_outcome(make: Callable[[], Inbox]) -> None:
    def use(inbox: Inbox, at_line: AtLine) -> None:
        result = attempt(lambda: at_line.run(lambda: inbox.call(lambda: "done", LONG)))
        assert result == "done" or isinstance(result, Failure)
        if isinstance(result, Failure):
            assert isinstance(result.error, Interrupted)
            assert inbox.signum == signal.SIGTERM

    at_every_line(make, use)
