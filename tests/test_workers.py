import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import pytest

from clc_reset import workers
from clc_reset.errors import Interrupted
from clc_reset.workers import AT_A_TIME, Done, Failure, Inbox, attempt
from tests.machine import Patch
from tests.virtual import VirtualClocks, VirtualInbox

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONG = 60.0
"""In seconds: what is waited for comes sooner, or the test fails."""


@pytest.fixture(autouse=True)
def _signals_are_handled_as_before() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def held() -> Iterator[Event]:
    """Its `wait` is a call that is under way until it is set."""
    held = Event()
    yield held
    held.set()


def handling() -> Inbox:
    inbox = Inbox()
    inbox.handle_signals()
    return inbox


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def fail() -> str:
    raise KeyError("x")


# signals


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_leaves_a_mark_unless_it_is_ignored_from_the_start(signum: int) -> None:
    inbox = handling()
    inbox.check()
    with inbox.interruptible():
        pass
    send(signum)
    with pytest.raises(Interrupted) as raised:
        inbox.check()
    assert raised.value.signum == inbox.signum == signum
    signal.signal(signum, signal.SIG_IGN)
    inbox = handling()
    send(signum)
    assert inbox.signum is None


def test_a_second_signal_within_a_second_belongs_to_the_first(monkeypatch: Patch) -> None:
    inbox = handling()
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


def test_a_signal_ends_what_can_not_be_woken(tmp_path: Path) -> None:
    inbox, pipe = handling(), tmp_path / "pipe"
    os.mkfifo(pipe)

    def send_when_it_is_read() -> None:
        os.open(pipe, os.O_WRONLY)  # it waits for the reader, and stays open
        send(signal.SIGINT)

    threading.Thread(target=send_when_it_is_read, daemon=True).start()
    with pytest.raises(Interrupted) as raised, inbox.interruptible():
        pipe.read_text()
    assert raised.value.signum == signal.SIGINT
    with pytest.raises(Interrupted), inbox.interruptible():
        raise AssertionError  # nothing that blocks is begun any more


def test_a_signal_ends_every_wait_within_a_second_whichever_thread_it_wakes(held: Event) -> None:
    def send_to_this_thread() -> None:  # the main thread isn't woken by it
        time.sleep(0.05)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    waits: list[Callable[[Inbox], object]] = [
        lambda inbox: inbox.next(LONG),
        lambda inbox: inbox.call(held.wait, LONG),
    ]
    for work in (partial(send, signal.SIGTERM), send_to_this_thread):
        for wait in waits:
            inbox, began = handling(), time.monotonic()
            threading.Thread(target=work, daemon=True).start()
            with pytest.raises(Interrupted):
                wait(inbox)
            assert time.monotonic() - began < LONG / 2


def test_a_result_ends_a_wait_at_once(monkeypatch: Patch) -> None:
    monkeypatch.setattr(workers, "_LONGEST_SLEEP", LONG)
    inbox, began = Inbox(), time.monotonic()
    inbox.submit("key", lambda: time.sleep(0.05))
    assert inbox.next(LONG) == Done("key", None)
    assert time.monotonic() - began < LONG / 2


def test_what_arrived_before_a_signal_is_returned_before_it(monkeypatch: Patch) -> None:
    inbox = Inbox()
    monkeypatch.setattr(inbox, "_start", lambda run: run())
    inbox.submit("first", lambda: 1)
    inbox.submit("second", lambda: 2)
    inbox.interrupt(signal.SIGTERM)
    inbox.interrupt(signal.SIGHUP)  # the first one counts
    assert [inbox.next(LONG), inbox.next(LONG)] == [Done("first", 1), Done("second", 2)]
    with pytest.raises(Interrupted) as raised:
        inbox.next(LONG)
    assert raised.value.signum == signal.SIGTERM
    inbox.pause(0)  # waits even so


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


def test_forgotten_results_are_dropped_whether_they_arrived_or_not(held: Event) -> None:
    inbox = Inbox()
    inbox.submit("arrived", lambda: 1)
    inbox.submit("late", held.wait)
    inbox.sleep(0.01)
    inbox.forget_all()
    held.set()
    assert inbox.next(0.01) is None
    inbox.submit("new", lambda: 2)
    assert inbox.next(LONG) == Done("new", 2)


def test_a_call_returns_or_raises_what_its_thread_does_in_its_time(held: Event) -> None:
    inbox = Inbox()
    assert inbox.call(threading.current_thread, LONG).daemon  # it can't keep this process alive
    with pytest.raises(KeyError):
        inbox.call(fail, LONG)
    assert isinstance(inbox.call(lambda: attempt(fail), LONG), Failure)  # it is what it returns
    for seconds in (0.1, 0, -1):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            inbox.call(held.wait, seconds)
        assert inbox.next(seconds) is None
        inbox.sleep(seconds)
        assert time.monotonic() - began >= 3 * seconds
    held.set()
    assert inbox.next(0.01) is None


def test_a_tick_tells_each_second_how_long_a_call_takes() -> None:
    inbox, ticks = VirtualInbox(VirtualClocks()), list[float]()
    inbox.latency = lambda _key: LONG
    inbox.clocks.seconds = 100.0
    with pytest.raises(TimeoutError):
        inbox.call(fail, 2.5, ticks.append)
    assert (ticks, inbox.clocks.seconds) == ([1.0, 2.0], 102.5)


@pytest.mark.parametrize(
    ("limit", "latency", "result", "ends"),
    [
        (5.0, 4.0, "done", 3600.0),
        (5.0, 3609.0, "done", 3609.0),
        (5.0, 3611.0, TimeoutError, 3610.0),
        (5000.0, 4000.0, "done", 4000.0),
    ],
)
def test_a_suspended_call_has_longer(
    limit: float, latency: float, result: Any, ends: float
) -> None:
    """It is suspended for an hour in its first second."""
    inbox = VirtualInbox(VirtualClocks())
    inbox.latency = lambda _key: latency
    inbox.suspend(0.5, until=3600.0)
    found = attempt(lambda: inbox.call(lambda: "done", limit))
    assert (type(found.error) if isinstance(found, Failure) else found) == result
    assert inbox.clocks.seconds == ends


def test_all_are_called_sixteen_at_a_time() -> None:
    inbox = VirtualInbox(VirtualClocks())
    inbox.latency = lambda _key: 1.0
    numbers = [*range(5 * AT_A_TIME), 3]
    results = inbox.map(lambda n: n * n, numbers, LONG)
    assert [*results.items()] == [(n, n * n) for n in numbers[:-1]]
    assert (inbox.most_at_once, inbox.clocks.seconds) == (AT_A_TIME, 5.0)


def test_what_fails_is_a_failure_and_what_is_late_is_missing(held: Event) -> None:
    def work(key: str) -> str | bool:
        return sys.exit("bye") if key == "bad" else held.wait() if key == "late" else key

    inbox = Inbox()
    results = inbox.map(work, ["good", "bad", "late"], 0.05)
    assert results.pop("good") == "good"
    assert isinstance(results.pop("bad"), Failure)
    held.set()
    assert inbox.next(0.01) is None
    assert results == inbox.map(work, [], LONG) == {}


# a signal at any line


def at_line(number: int, work: Callable[[], object]) -> tuple[object, int]:
    """Return what a call returns or the Interrupted that it raises, and its lines of `workers`.

    A signal comes at the line of that number.
    """
    lines, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != workers.__file__:
            return None
        lines += event == "line"
        if event == "line" and lines == number:
            send(signal.SIGTERM)
        return trace

    sys.settrace(trace)
    try:
        found = work()
    except Interrupted as error:
        found = error
    finally:
        sys.settrace(before)
    return found, lines


def test_a_signal_at_any_line_before_a_wait_ends_it(monkeypatch: Patch) -> None:
    monkeypatch.setattr(workers, "_LONGEST_SLEEP", 0.05)
    _, lines = at_line(0, partial(handling().sleep, 0.1))
    assert lines > 5
    for number in range(1, lines + 1):
        found, _ = at_line(number, partial(handling().sleep, LONG))
        assert isinstance(found, Interrupted)


@pytest.mark.parametrize("is_call", [False, True])
def test_a_signal_at_any_line_loses_no_result(*, is_call: bool) -> None:
    number, lines = 0, 1
    while number <= lines:
        inbox = handling()
        inbox.submit("key", lambda: 1)
        inbox.sleep(0.001)
        use = partial(inbox.call, lambda: "done", LONG) if is_call else partial(inbox.next, LONG)
        found, lines = at_line(number, use)
        if not is_call:
            assert found == Done("key", 1)
        elif found != "done":
            assert isinstance(found, Interrupted)
        number += 1
    assert number > 5
