import io
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.resets import events
from clc_reset.resets.events import (
    Answered,
    Checking,
    Emit,
    Following,
    Pausing,
    StatusChanged,
    Tick,
)
from clc_reset.ui.live import live
from clc_reset.ui.progress import Lines, Notes, counted
from clc_reset.ui.streams import Streams
from tests.builders import EXECUTING, SUCCEEDED
from tests.ui.screens import VA1, WA1, Gone, Terminal

REFUSED = ServerResult("VA1ALIASJOB03", ServerState.FAILED, None, "It cannot be found..")


def lines_of(*new: events.Event, verbose: bool = False) -> list[str]:
    """Return the lines for some events."""
    noted: list[str] = []
    lines = Lines(noted.append, verbose=verbose)
    for event in new:
        lines(event)
    return noted


@pytest.mark.parametrize(("verbose", "word"), [(False, "running"), (True, "executing")])
def test_a_line_a_change_and_one_a_minute_without(word: str, *, verbose: bool) -> None:
    assert lines_of(
        Following({WA1: ["A", "B"], VA1: []}),
        StatusChanged(WA1, EXECUTING, 12.4),
        StatusChanged(WA1, EXECUTING, 13.0),
        StatusChanged(WA1, OperationStatus("o\x1bdd"), 12.5),
        Tick(72.3),
        Tick(72.5),
        StatusChanged(VA1, SUCCEEDED, 80.0),
        Tick(139.0),
        Tick(140.0),
        StatusChanged(WA1, SUCCEEDED, 150.0),
        Tick(210.0),
        verbose=verbose,
    ) == [
        "2 servers wa1-12345 queued (0 s): A, B",
        f"2 servers wa1-12345 {word} (12 s): A, B",
        "2 servers wa1-12345 odd (12 s): A, B",
        "2 operations still running (72 s)",
        "va1-777 succeeded (80 s)",
        "1 operation still running (140 s)",
        "2 servers wa1-12345 succeeded (150 s): A, B",
        "Still waiting (210 s)",
    ]


def test_the_minute_begins_anew_with_each_wait() -> None:
    assert lines_of(
        events.Sending(["A"], 59.0),
        events.Sending(["A"], 60.0),
        events.Sending(["A"], 119.0),
        Answered([]),
        Tick(59.0),
        Following({VA1: []}),
        Following({WA1: ["A"]}),
        StatusChanged(WA1, EXECUTING, 900.0),
        events.WaveStarted(2, 2, ["B"], 1, 2),
        Following({VA1: ["B"]}),
        Tick(60.0),
    ) == [
        "Still waiting for the API's answer (60 s)",
        "A wa1-12345 queued (0 s)",
        "A wa1-12345 running (900 s)",
        "Wave 2 of 2 (1 of 2 servers done): B",
        "B va1-777 queued (0 s)",
        "1 operation still running (60 s)",
    ]


def test_names_are_counted_where_there_are_several_and_cut_where_there_are_many() -> None:
    assert (counted([]), counted(["A\x1b[2J"])) == ("0 servers", "A[2J")
    assert counted(["S0", "S1"]) == "2 servers: S0, S1"
    assert counted([f"S{n}" for n in range(4000)]) == "4,000 servers: S0, S1, S2, …"


def test_a_changed_server_is_a_line_and_a_pause_is_one_once_a_wave() -> None:
    assert lines_of(
        events.ServerChanged(WA1, "WA1ALIASWB01", 5, 8, 77.2),
        Tick(137.0),
        events.ServerChanged(None, "WA1ALIASWB01", 2, 5, 138.0),
        Pausing(30.0),
        Pausing(29.0),
        events.WaveStarted(2, 8, list("ABCDE"), 5, 40),
        Pausing(30.0),
    ) == [
        "WA1ALIASWB01 changed (5 of 8 servers of wa1-12345, 77 s)",
        "WA1ALIASWB01 changed (2 of 5 servers, 138 s)",
        "Pausing for 30 s before the next wave",
        "Wave 2 of 8 (5 of 40 servers done): 5 servers: A, B, C, …",
        "Pausing for 30 s before the next wave",
    ]


def test_a_check_is_a_line_at_first_and_then_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    lines = Lines(noted.append)
    for attempt, now in ((1, 0.0), (2, 5.0), (13, 60.0), (14, 65.0), (25, 120.0)):
        with monkeypatch.context() as clock:
            clock.setattr(time, "monotonic", lambda now=now: now)
            lines(Checking("A", attempt))
    lines(Checking("B", 1))
    assert noted == [
        "Checking A",
        "Still checking A (attempt 13)",
        "Still checking A (attempt 25)",
        "Checking B",
    ]


# --- what is noted beside any display ----------------------------------------------------------


def notes_of(*new: events.Event, tells_refusals: bool = True) -> list[str]:
    noted: list[str] = []
    notes = Notes(noted.append, tells_refusals=tells_refusals)
    for event in new:
        notes(event)
    return noted


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        ([], []),
        ([REFUSED], ["Refused: VA1ALIASJOB03: It cannot be found."]),
        ([REFUSED._replace(message=None)], ["Refused: VA1ALIASJOB03"]),
        ([REFUSED._replace(server=name) for name in "ABCDE"], ["Refused: 5 servers: A, B, C, …"]),
    ],
)
def test_refusals_are_noted_with_their_reason_or_number(
    results: list[ServerResult], lines: list[str]
) -> None:
    others = [
        ServerResult("A", ServerState.FAILED, WA1),
        ServerResult("B", ServerState.UNKNOWN),
        ServerResult("C", ServerState.QUEUED, WA1),
    ]
    assert notes_of(Answered([*others, *results])) == lines
    assert notes_of(Answered(results), tells_refusals=False) == []


def test_failing_polls_are_named_up_to_five_and_then_once_more() -> None:
    operations = [Operation(f"wa1-{n}", None) for n in range(8)]
    noted = notes_of(
        *[events.PollsFailing(operation, "no answer", 3) for operation in operations],
        events.PollsFailing(operations[0], "no answer", 3),
        events.PollsRecovered(operations[7]),
        events.PollsRecovered(operations[0]),
        Following({}),
        events.PollsFailing(operations[7], "no answer", 4),
    )
    failed = "status requests for {} failed (no answer); retrying until the time limit."
    assert noted == [
        *[f"3 {failed.format(operation.id)}" for operation in operations[:5]],
        "Status requests for other operations failed, too.",
        "Status requests for wa1-0 succeed again.",
        f"4 {failed.format('wa1-7')}",
    ]


# --- any display -------------------------------------------------------------------------------

DISPLAYS: list[Callable[[], AbstractContextManager[Emit]]] = [
    lambda: nullcontext(Lines(lambda _: None)),
    lambda: nullcontext(Notes(lambda _: None)),
    lambda: live(Streams(None, None, Terminal())),
    lambda: live(Streams(None, None, io.StringIO())),
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
def test_no_event_raises(
    build: Callable[[], AbstractContextManager[Emit]],
    new: list[events.Event],
    columns: str,
    height: str,
) -> None:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("COLUMNS", columns)
        environ.setenv("LINES", height)
        with build() as display:
            for event in new:
                display(event)
