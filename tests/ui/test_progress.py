import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc_reset.models import Operation, OperationStatus
from clc_reset.resets import events
from clc_reset.resets.events import Following, ServerChanged, StatusChanged, Tick
from clc_reset.ui.live import live
from clc_reset.ui.progress import Lines
from clc_reset.ui.streams import Streams
from tests.builders import EXECUTING, SUCCEEDED, operation, queued, refused, unknown
from tests.ui.screens import VA1, WA1, Gone, Terminal


def lines_of(*new: events.Event) -> list[str]:
    """Return the lines for some events."""
    noted: list[str] = []
    lines = Lines(noted.append)
    for event in new:
        lines(event)
    return noted


def check(*told: tuple[events.Event, str], verbose: bool = False) -> None:
    """Check the line for each event, empty where there is none."""
    noted: list[str] = []
    lines = Lines(noted.append, verbose=verbose)
    for event, line in told:
        noted.clear()
        lines(event)
        assert "\n".join(noted) == line, event


@pytest.mark.parametrize(("verbose", "word"), [(False, "running"), (True, "executing")])
def test_a_line_a_change_and_one_a_minute_without(word: str, *, verbose: bool) -> None:
    check(
        (Following({WA1: ["A", "B"], VA1: []}), "2 servers wa1-12345 queued (0 s): A, B"),
        (StatusChanged(WA1, EXECUTING, 12.4), f"2 servers wa1-12345 {word} (12 s): A, B"),
        (StatusChanged(WA1, EXECUTING, 13.0), ""),
        (
            StatusChanged(WA1, OperationStatus("o\x1bdd"), 12.5),
            "2 servers wa1-12345 odd (12 s): A, B",
        ),
        (Tick(72.3), ""),
        (Tick(72.5), "2 operations still running (72 s)"),
        (StatusChanged(VA1, SUCCEEDED, 80.0), "va1-777 succeeded (80 s)"),
        (Tick(139.0), ""),
        (ServerChanged(WA1, "A", 1, 2, 139.0), "A changed (1 of 2 servers of wa1-12345, 139 s)"),
        (Tick(198.0), ""),
        (Tick(199.0), "1 operation still running (199 s)"),
        (StatusChanged(WA1, SUCCEEDED, 200.0), "2 servers wa1-12345 succeeded (200 s): A, B"),
        (Tick(260.0), "Still waiting (260 s)"),
        (ServerChanged(None, "A", 2, 5, 261.0), "A changed (2 of 5 servers, 261 s)"),
        verbose=verbose,
    )


def test_the_minute_begins_anew_with_each_wait_and_a_pause_is_a_line_once_a_wave() -> None:
    wave = "Wave 2 of 8 (5 of 40 servers done): 5 servers: A[2J, B, C, …"
    check(
        (events.Sending(["A"], 59.0), ""),
        (events.Sending(["A"], 60.0), "Still waiting for the API's answer (60 s)"),
        (events.Sending(["A"], 119.0), ""),
        (events.Answered([]), ""),
        (Tick(59.0), ""),
        (Following({VA1: []}), ""),
        (Following({WA1: ["A"]}), "A wa1-12345 queued (0 s)"),
        (StatusChanged(WA1, EXECUTING, 900.0), "A wa1-12345 running (900 s)"),
        (events.Pausing(30.0), "Pausing for 30 s before the next wave"),
        (events.Pausing(29.0), ""),
        (events.WaveStarted(2, 8, ["A\x1b[2J", *"BCDE"], 5, 40), wave),
        (Following({VA1: ["B"]}), "B va1-777 queued (0 s)"),
        (Tick(60.0), "1 operation still running (60 s)"),
        (events.Pausing(30.0), "Pausing for 30 s before the next wave"),
    )


def test_a_check_is_a_line_at_first_and_then_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 5.0, 60.0, 65.0, 120.0, 121.0))
    checks = [events.Checking("A", attempt) for attempt in (1, 2, 13, 14, 25)]
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        lines = lines_of(*checks, events.Checking("B", 1))
    still = ["Still checking A (attempt 13)", "Still checking A (attempt 25)"]
    assert lines == ["Checking A", *still, "Checking B"]


@pytest.mark.parametrize(
    ("refusals", "lines"),
    [
        ({}, []),
        ({"A": "It cannot be found.."}, ["Refused: A: It cannot be found."]),
        ({"A": ""}, ["Refused: A"]),
        (dict.fromkeys("ABCDE", "No."), ["Refused: 5 servers: A, B, C, …"]),
    ],
)
def test_refusals_are_noted_with_their_reason_or_number_when_the_run_goes_on(
    refusals: dict[str, str], lines: list[str]
) -> None:
    failed = refused("A")._replace(operation=WA1)
    results = [refused(server, message) for server, message in refusals.items()]
    answered = events.Answered([failed, unknown("B"), queued("C"), *results])
    assert lines_of(answered) == []
    for event in (Following({}), events.Pausing(2.0), events.WaveStarted(2, 2, ["D"], 1, 2)):
        assert lines_of(answered, event, Following({})) == [*lines, *lines_of(event)]


def test_failing_polls_are_named_up_to_five_and_then_once_more() -> None:
    failing = [events.PollsFailing(operation(n), "no answer", 3) for n in range(9)]
    recovered = [events.PollsRecovered(operation(n)) for n in (7, 0)]
    failed = "3 status requests for wa1-{} failed (no answer); retrying until the time limit."
    others = "Status requests for other operations failed, too."
    again = "Status requests for wa1-0 succeed again."
    shown = lines_of(*failing[:8], *recovered, failing[8], Following({}), failing[8])
    named = [failed.format(n) for n in (0, 1, 2, 3, 4, 8)]
    assert shown == [*named[:5], others, again, others, named[5]]


DISPLAYS: list[Callable[[], AbstractContextManager[events.Emit]]] = [
    lambda: nullcontext(Lines(lambda _: None)),
    lambda: live(Streams(None, None, Terminal())),
    lambda: live(Streams(None, None, Gone())),
    lambda: live(Streams(None, None, None)),
]
OPERATIONS = [WA1, VA1, Operation("", None), Operation("ü\x1b[2J界" * 9, None)]
st.register_type_strategy(Operation, st.sampled_from(OPERATIONS))


@given(
    st.sampled_from(DISPLAYS),
    st.lists(st.one_of(*map(st.from_type, get_args(events.Event))), max_size=20),
    st.sampled_from(["1", "4", "40", "80"]),
    st.sampled_from(["1", "5", "24"]),
)
@settings(max_examples=50)
def test_no_event_raises(
    build: Callable[[], AbstractContextManager[events.Emit]],
    new: list[events.Event],
    columns: str,
    height: str,
) -> None:
    with pytest.MonkeyPatch.context() as environ, build() as display:
        environ.setenv("COLUMNS", columns)
        environ.setenv("LINES", height)
        for event in new:
            display(event)
