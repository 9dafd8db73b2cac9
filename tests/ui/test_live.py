import re
import signal

import pytest

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.resets import events
from clc_reset.resets.events import Answered, Following, Sending, ServerChanged, StatusChanged, Tick
from clc_reset.ui import live as module
from clc_reset.ui.live import Live
from clc_reset.ui.streams import Streams
from tests.ui.screens import Terminal, keyboard, screen_of

WA1 = Operation("wa1-12345", "/x")
VA1 = Operation("va1-777", "/y")
EXECUTING = OperationStatus("executing")
SUCCEEDED = OperationStatus("succeeded")
FAILED = OperationStatus("failed")
EIGHT = [f"WA1ALIASWB0{n}" for n in range(8)]
REFUSED = ServerResult("VA1ALIASJOB03", ServerState.FAILED, None, "It cannot be found.")
MANY = {Operation(f"wa1-{n}", ""): [f"S{n}", f"T{n}"] for n in range(1000)}


class Shown:
    """A live display on a terminal in memory."""

    def __init__(self, columns: int, *, encoding: str = "utf-8", verbose: bool = False) -> None:
        self.columns = columns
        self.terminal = Terminal()
        self.terminal.encoding = encoding
        self.streams = Streams(None, None, self.terminal)
        self.live = Live(self.streams, verbose=verbose)

    def after(self, *new: events.Event) -> list[str]:
        """Return the screen after some more events."""
        for event in new:
            self.live(event)
        return self.terminal.screen(self.columns)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


@pytest.fixture
def shown() -> Shown:
    return Shown(80)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setenv("COLUMNS", "40")
    return Shown(40)


def test_a_row_an_operation_in_the_order_asked(shown: Shown) -> None:
    first, second, third = servers = dict(list(MANY.items())[:3])
    assert shown.after(
        Following(servers),
        StatusChanged(first, SUCCEEDED, 12.4),
        StatusChanged(third, OperationStatus("o[x]dd\x1b[2J"), 13.0),
        StatusChanged(second, FAILED, 14.0),
        Tick(15.0),
    ) == [
        "2 servers: S0, T0  wa1-0  succeeded  12 s",
        "2 servers: S1, T1  wa1-1  failed     14 s",
        "2 servers: S2, T2  wa1-2  o[x]dd[2J  15 s",
    ]


def test_states_are_coloured_unless_that_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    new = (
        Following({WA1: ["A"], VA1: ["B"]}),
        StatusChanged(WA1, SUCCEEDED, 1.0),
        StatusChanged(VA1, FAILED, 1.0),
        Following(MANY),
    )
    shown = Shown(80)
    shown.after(*new)
    colours = re.findall(r"\x1b\[([0-9;]+)m([a-z]+)", shown.terminal.getvalue())
    assert set(colours) == {("33", "queued"), ("32", "succeeded"), ("31", "failed")}
    monkeypatch.setenv("NO_COLOR", "1")
    shown = Shown(80)
    shown.after(*new)
    assert not re.findall(r"\x1b\[[0-9;]*m", shown.terminal.getvalue())


def test_the_apis_words_are_plain_unless_verbose() -> None:
    new = (Following({WA1: []}), StatusChanged(WA1, OperationStatus("notStarted"), 0.0))
    assert Shown(80).after(*new) == ["wa1-12345  waiting  0 s"]
    assert Shown(80, verbose=True).after(*new) == ["wa1-12345  notStarted  0 s"]


def test_evidence_is_beside_the_names_or_below_where_they_need_the_room(shown: Shown) -> None:
    assert shown.after(
        Following({WA1: ["A", "B"], VA1: ["C"]}),
        ServerChanged(WA1, "B", 1, 2, 12.0),
        ServerChanged(Operation("another", None), "A", 1, 2, 12.0),
    ) == [
        "2 servers: A, B  wa1-12345  queued  12 s  1 of 2 servers changed",
        "C                va1-777    queued  12 s",
    ]
    assert shown.after(
        Following({WA1: EIGHT[:3], VA1: ["C"]}), ServerChanged(WA1, "B", 2, 3, 12.0)
    ) == [
        "3 servers: WA1ALIASWB00, WA1ALIASWB01, WA1ALIASWB02  wa1-12345  queued  12 s",
        "  2 of 3 servers changed",
        "C                                                    va1-777    queued  12 s",
    ]


@pytest.mark.parametrize(
    ("servers", "row"),
    [
        (["WA1ALIASWB01"], "WA1ALIASWB01  wa1-12345  running  12 s"),
        (["WA1ALIASWEB12345"], "WA1ALIASWEB12…  wa1-12345  running  12 s"),
        (EIGHT[:2], "2 servers  wa1-12345  running  12 s"),
        ([f"S{n}" for n in range(400_000)], "400,000  wa1-12345  running  12 s"),
    ],
)
def test_on_a_narrow_screen_the_names_give_way_to_all_else(
    narrow: Shown, servers: list[str], row: str
) -> None:
    assert narrow.after(Following({WA1: servers}), StatusChanged(WA1, EXECUTING, 12.0)) == [row]
    below = "  1 of 2 servers changed"
    assert narrow.after(ServerChanged(WA1, "A", 1, 2, 12.0)) == [row, below]


def test_a_screen_without_unicode_gets_ascii(narrow: Shown) -> None:
    shown = Shown(40, encoding="ascii")
    assert shown.after(
        Following({WA1: ["WA1ALIASWEB12345"]}), StatusChanged(WA1, EXECUTING, 12)
    ) == ["WA1ALIASWEB...  wa1-12345  running  12 s"]
    shown.after(
        events.WaveStarted(1, 2, EIGHT, 0, 9), Following(MANY), Following({Operation("ü", ""): []})
    )
    assert shown.terminal.getvalue().isascii()


def test_one_bar_where_rows_do_not_fit(monkeypatch: pytest.MonkeyPatch, shown: Shown) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 3600)
    first, *_ = MANY
    done = [StatusChanged(operation, SUCCEEDED, 12.0) for operation in list(MANY)[:250]]
    bar, *lines = shown.after(Following(MANY), *done, Tick(13.0))
    assert bar.startswith("━━━━━━━━━━")
    assert lines == ["250 of 1,000 operations done, 13 s", "750 queued, 250 succeeded"]
    changed = ServerChanged(first, "S0", 1, 2, 14.0)
    assert shown.after(changed, Tick(14.0))[3] == "1 of 2 servers changed"
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setenv("COLUMNS", "40")
    changes = [ServerChanged(operation, EIGHT[0], 1, 8, 12.0) for operation in (WA1, VA1)]
    following = Following({WA1: EIGHT, VA1: EIGHT})
    assert Shown(40).after(following, *changes, Tick(12.0))[1:] == [
        "0 of 2 operations done, 12 s",
        "2 queued",
        "2 of 16 servers changed",
    ]


def test_a_request_that_is_out_for_a_second_is_shown_until_its_answer(shown: Shown) -> None:
    assert shown.after(Sending(EIGHT, 0.9)) == []
    assert shown.after(Sending(EIGHT, 3.1)) == ["Sending the reset of 8 servers (3 s)"]
    assert shown.after(Sending(EIGHT[:1], 4.1)) == ["Sending the reset of WA1ALIASWB00 (4 s)"]
    assert shown.after(Answered([])) == []


def test_servers_whose_answer_was_lost_are_counted(shown: Shown) -> None:
    shown.after(Following({}), ServerChanged(None, "A", 1, 5, 12.0))
    assert shown.after(ServerChanged(None, "B", 2, 5, 13.0), Tick(14.0)) == [
        "2 of 5 servers changed (14 s)"
    ]


def test_notes_stand_above_the_display(shown: Shown) -> None:
    assert shown.after(
        Answered([REFUSED]),
        Following({WA1: ["A"]}),
        events.PollsFailing(WA1, "no answer", 3),
        Tick(3.0),
    ) == [
        "Refused: VA1ALIASJOB03: It cannot be found.",
        "3 status requests for wa1-12345 failed (no answer); retrying until the time",
        "limit.",
        "A  wa1-12345  queued  3 s",
    ]


def test_waves_pauses_and_checks_are_shown(shown: Shown) -> None:
    wave = "Wave 2 of 8 (5 of 40 servers done): A"
    started = events.WaveStarted(2, 8, ["A"], 5, 40)
    assert shown.after(started, Following({WA1: ["A"]})) == [wave, "A  wa1-12345  queued  0 s"]
    assert shown.after(events.Checking("A", 1)) == [wave, "Checking A"]
    assert shown.after(events.Checking("A", 2)) == [wave, "Checking A (attempt 2)"]
    assert shown.after(events.Pausing(25.2)) == [wave, "The next wave begins in 25 s"]
    wave = "Wave 3 of 8 (6 of 40 servers done): B"
    assert shown.after(events.WaveStarted(3, 8, ["B"], 6, 40)) == [wave]


def test_changes_are_drawn_ten_times_a_second_and_ticks_always(
    monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 3600)
    queued = ["A  wa1-12345  queued  0 s"]
    assert shown.after(Following({WA1: ["A"]}), StatusChanged(WA1, EXECUTING, 1.0)) == queued
    assert shown.after(Tick(1.0)) == ["A  wa1-12345  running  1 s"]


def test_with_nothing_to_follow_nothing_is_drawn(shown: Shown) -> None:
    events = (Answered([REFUSED]), Following({}), Tick(1.0), StatusChanged(WA1, SUCCEEDED, 1.0))
    assert shown.after(*events) == ["Refused: VA1ALIASJOB03: It cannot be found."]
    shown.live.close()
    assert "\x1b[?" not in shown.terminal.getvalue(), "the cursor is never hidden"


@pytest.mark.parametrize("event", [Following({WA1: ["A" * 99], VA1: ["B"]}), Sending(EIGHT, 0.5)])
def test_ctrl_c_leaves_no_trace(event: events.Event, shown: Shown) -> None:
    shown.terminal.write("$ clc\n")
    shown.after(event)
    shown.terminal.write("^C")
    shown.live.close()
    shown.live.close()
    shown.terminal.write("a result\n")
    assert shown.after() == ["$ clc", "a result"]


def test_a_stop_is_handled_until_the_end(shown: Shown) -> None:
    signums = (signal.SIGTSTP, signal.SIGCONT)
    before = [signal.getsignal(signum) for signum in signums]
    shown.after(Following({WA1: ["A"]}))
    assert [signal.getsignal(signum) for signum in signums] != before
    signal.raise_signal(signal.SIGCONT)
    assert len(shown.after()) == 2
    shown.live.close()
    assert [signal.getsignal(signum) for signum in signums] == before


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("number", [0, 1, 8, 200])
@pytest.mark.parametrize("wanted", ["", "500"])
def test_on_a_real_terminal_nothing_is_left_but_the_result(
    monkeypatch: pytest.MonkeyPatch, columns: int, number: int, wanted: str
) -> None:
    monkeypatch.setenv("COLUMNS", wanted)
    monkeypatch.delenv("LINES")
    with keyboard(columns) as board, board.reading_until(b"a result\r\n"):
        streams = Streams(None, board.stderr, board.stderr)
        live = Live(streams)
        servers = dict(list(MANY.items())[:number])
        for event in (Sending(EIGHT, 2.0), Answered([]), Following(servers)):
            live(event)
        for seconds, operation in enumerate(servers):
            live(ServerChanged(operation, "S0", 1, 2, seconds))
            live(StatusChanged(operation, EXECUTING, seconds))
            live(Tick(seconds))
        assert streams.flush(20)
        board.stderr.write("^C")
        board.stderr.flush()
        live.close()
        streams.print_result("a result\n")
    assert screen_of(board.shown.decode().replace("\r\n", "\n"), columns) == ["a result"]
    assert (b"running" in board.shown) is (number > 0)
