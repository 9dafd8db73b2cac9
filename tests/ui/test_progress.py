from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.ui.live import Live
from clc_reset.ui.progress import Lines, Notes, Quiet, counted, some, word_of
from tests.ui.screens import Gone, Terminal

WA1 = Operation("wa1-12345", "/x")
VA1 = Operation("va1-777", "/y")
EXECUTING = OperationStatus("executing")
REFUSED = ServerResult("VA1ALIASJOB03", ServerState.FAILED, None, "It cannot be found..")


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(said: list[str], clock: Clock) -> Lines:
    return Lines(said.append, clock=clock)


def following(lines: Lines, said: list[str], servers: dict[Operation, list[str]]) -> None:
    lines.following(servers)
    said.clear()


def test_what_is_followed_is_queued(lines: Lines, said: list[str]) -> None:
    lines.following({WA1: ["A", "B"], VA1: []})
    assert said == ["2 servers wa1-12345 queued (0 s): A, B"]


def test_a_line_a_change_and_one_a_minute_without(lines: Lines, said: list[str]) -> None:
    following(lines, said, {WA1: ["WA1ALIASWB01"], VA1: []})
    lines.changed(WA1, EXECUTING, 12.4)
    lines.tick(72.3)
    lines.tick(72.5)
    lines.changed(VA1, OperationStatus("succeeded"), 80.0)
    lines.tick(139.0)
    lines.tick(140.0)
    assert said == [
        "WA1ALIASWB01 wa1-12345 executing (12 s)",
        "2 operations still running (72 s)",
        "va1-777 succeeded (80 s)",
        "1 operation still running (140 s)",
    ]


def test_the_minute_begins_anew_with_each_wave(lines: Lines, said: list[str]) -> None:
    following(lines, said, {WA1: ["A"]})
    lines.changed(WA1, EXECUTING, 900.0)
    following(lines, said, {VA1: ["B"]})
    lines.tick(59.0)
    lines.tick(60.0)
    assert said == ["1 operation still running (60 s)"]


def test_nothing_is_still_running_where_nothing_is(lines: Lines, said: list[str]) -> None:
    lines.tick(999.0)
    lines.following({})
    lines.tick(999.0)
    assert said == []


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (2, "2 servers wa1-12345 executing (12 s): S0, S1"),
        (3, "3 servers wa1-12345 executing (12 s): S0, S1, S2"),
        (30, "30 servers wa1-12345 executing (12 s): S0, S1, S2, …"),
        (3000, "3,000 servers wa1-12345 executing (12 s): S0, S1, S2, …"),
    ],
)
def test_a_number_stands_before_the_names_that_are_cut(
    lines: Lines, said: list[str], number: int, line: str
) -> None:
    following(lines, said, {WA1: [f"S{n}" for n in range(number)]})
    lines.changed(WA1, EXECUTING, 12.0)
    assert said == [line]


def test_names_are_counted_where_there_are_several() -> None:
    names = ["A", "B", "C", "D"]
    assert [counted(names[:n]) for n in (0, 1, 2, 4)] == [
        "0 servers",
        "A",
        "2 servers: A, B",
        "4 servers: A, B, C, …",
    ]
    assert some(["A\x1b[2J"]) == "A[2J"


@pytest.mark.parametrize(
    ("word", "plain"),
    [("notStarted", "waiting"), ("resumed", "running"), ("executing", "executing"), ("", "")],
)
def test_the_apis_words_are_shown_plainly_unless_somebody_wants_them(word: str, plain: str) -> None:
    assert word_of(OperationStatus(word), verbose=False) == plain
    assert word_of(OperationStatus(word), verbose=True) == word
    said: list[str] = []
    Lines(said.append, verbose=True).changed(WA1, OperationStatus(word), 1.0)
    assert said == [f"wa1-12345 {word} (1 s)"]


def test_a_server_that_has_changed_is_a_line(lines: Lines, said: list[str]) -> None:
    following(lines, said, {WA1: ["A", "B"]})
    lines.server_changed(WA1, "WA1ALIASWB01", 5, 8, 77.2)
    lines.tick(137.0)
    assert said == ["WA1ALIASWB01 changed: 5 of 8 servers of wa1-12345 (77 s)"]


def test_a_wave_is_told_with_its_servers(lines: Lines, said: list[str]) -> None:
    lines.wave(2, 8, list("ABCDE"))
    lines.wave(3, 8, ["A"])
    assert said == ["Wave 2 of 8: 5 servers: A, B, C, …", "Wave 3 of 8: A"]


def test_a_pause_is_told_once(lines: Lines, said: list[str]) -> None:
    for seconds in (30.0, 29.0):
        lines.pausing(seconds)
    lines.wave(2, 3, [])
    lines.pausing(30.0)
    pause = "Pausing for 30 s before the next wave"
    assert said == [pause, "Wave 2 of 3: 0 servers", pause]


def test_a_check_is_told_at_first_and_then_each_minute(
    lines: Lines, said: list[str], clock: Clock
) -> None:
    for tries, clock.now in ((1, 0.0), (2, 5.0), (13, 60.0), (14, 65.0), (25, 120.0)):
        lines.checking("A", tries)
    lines.checking("B", 1)
    lines.wave(2, 3, ["A"])
    lines.checking("A", 1)
    assert said == [
        "Checking A",
        "Still checking A (try 13)",
        "Still checking A (try 25)",
        "Checking B",
        "Wave 2 of 3: A",
        "Checking A",
    ]


def test_a_refusal_is_told_with_its_reason(lines: Lines, said: list[str]) -> None:
    queued = ServerResult("WA1ALIASWB01", ServerState.QUEUED, WA1)
    lines.answered([queued, REFUSED._replace(message="It cannot be found")])
    lines.answered([REFUSED._replace(message=None)])
    assert said == [
        "Refused: VA1ALIASJOB03: It cannot be found.",
        "Refused: VA1ALIASJOB03",
    ]


def test_several_refusals_are_counted(lines: Lines, said: list[str]) -> None:
    lines.answered([REFUSED._replace(server=each) for each in "ABCDE"])
    assert said == ["Refused: 5 servers: A, B, C, …"]


def test_what_was_not_refused_is_not_told_as_that(lines: Lines, said: list[str]) -> None:
    failed = ServerResult("A", ServerState.FAILED, WA1)
    lines.answered([failed, ServerResult("B", ServerState.UNKNOWN)])
    lines.answered([])
    Lines(said.append, tells_refusals=False).answered([REFUSED])
    assert said == []


def test_silent_operations_are_named_up_to_five_and_then_once_more(said: list[str]) -> None:
    notes = Notes(said.append)
    operations = [Operation(f"wa1-{n}", None) for n in range(8)]
    for each in operations:
        notes.silent(each, "no answer")
    assert said[0] == (
        "No status of wa1-0 three times in a row: no answer. Still trying, until the time limit."
    )
    assert len(said) == 6
    assert said[5] == "No status of other operations, either."
    said.clear()
    notes.heard_again(operations[7])
    notes.heard_again(operations[0])
    notes.silent(operations[1], "no answer")
    notes.following({})
    notes.silent(operations[7], "no answer")
    assert said[0] == "wa1-0 has a status again."
    assert ["wa1-1 " in said[1], "wa1-7 " in said[2]] == [True, True]


def every_listener() -> list[Callable[[list[str]], Quiet]]:
    return [
        lambda _said: Quiet(),
        lambda said: Notes(said.append),
        lambda said: Lines(said.append),
        lambda said: Live(Terminal(), said.append),
        lambda said: Live(Gone(), said.append),
    ]


NAMES = st.lists(st.text(max_size=20), max_size=12)
OPERATIONS = st.sampled_from([WA1, VA1, Operation("", None), Operation("ü\x1b[2J界" * 9, None)])
STATUSES = st.text(max_size=12).map(OperationStatus) | st.sampled_from(
    [OperationStatus("succeeded"), OperationStatus("FAILED"), EXECUTING]
)
SECONDS = st.floats()
NUMBERS = st.integers()
RESULTS = st.builds(
    ServerResult,
    st.none() | st.text(),
    st.sampled_from(ServerState),
    st.none() | OPERATIONS,
    st.none() | st.text(),
)
CALLS = st.one_of(
    st.tuples(st.just("sending"), NAMES, SECONDS),
    st.tuples(st.just("answered"), st.lists(RESULTS, max_size=5)),
    st.tuples(st.just("following"), st.dictionaries(OPERATIONS, NAMES)),
    st.tuples(st.just("changed"), OPERATIONS, STATUSES, SECONDS),
    st.tuples(st.just("silent"), OPERATIONS, st.text()),
    st.tuples(st.just("heard_again"), OPERATIONS),
    st.tuples(st.just("server_changed"), OPERATIONS, st.text(), NUMBERS, NUMBERS, SECONDS),
    st.tuples(st.just("tick"), SECONDS),
    st.tuples(st.just("wave"), NUMBERS, NUMBERS, NAMES),
    st.tuples(st.just("pausing"), SECONDS),
    st.tuples(st.just("checking"), st.text(), NUMBERS),
    st.tuples(st.just("close")),
)


@given(
    st.sampled_from(every_listener()),
    st.lists(CALLS, max_size=20),
    st.sampled_from(["1", "4", "40", "80"]),
    st.sampled_from(["1", "5", "24"]),
)
def test_nothing_that_is_told_raises(
    build: Callable[[list[str]], Quiet],
    calls: list[tuple[object, ...]],
    columns: str,
    height: str,
) -> None:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("TERM", "xterm")
        environ.setenv("COLUMNS", columns)
        environ.setenv("LINES", height)
        listener = build([])
        for name, *arguments in calls:
            getattr(listener, str(name))(*arguments)
        listener.close()
        listener.close()
