import os
import re
import signal

import pytest

from clc_reset.models import Operation, OperationStatus
from clc_reset.resets import events
from clc_reset.resets.events import Answered, Following, Sending, ServerChanged, StatusChanged, Tick
from clc_reset.ui import live as module
from clc_reset.ui.live import Live, live
from clc_reset.ui.streams import Streams
from tests.builders import EXECUTING, FAILED, SUCCEEDED
from tests.ui.screens import VA1, WA1, Terminal, keyboard, meanwhile

EIGHT = [f"WA1ALIASWB0{n}" for n in range(8)]
MANY = {Operation(f"wa1-{n}", ""): [f"S{n}", f"T{n}"] for n in range(1000)}


class Shown:
    """A live display on a terminal in memory."""

    def __init__(
        self, columns: int = 80, encoding: str = "utf-8", *, verbose: bool = False
    ) -> None:
        self.columns = columns
        self.terminal = Terminal()
        self.terminal.encoding = encoding
        self.live = Live(Streams(None, None, self.terminal), verbose=verbose)

    def after(self, *new: events.Event) -> list[str]:
        for event in new:
            self.live(event)
        return self.terminal.screen(self.columns)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def test_a_row_an_operation_in_the_order_asked() -> None:
    shown = Shown()
    first, second, third = servers = dict(list(MANY.items())[:3])
    assert shown.after(
        Following({**servers, VA1: []}),
        StatusChanged(first, SUCCEEDED, 12.4),
        StatusChanged(third, OperationStatus("o[x]dd\x1b[2J"), 13.0),
        StatusChanged(second, FAILED, 14.0),
        Tick(15.0),
    ) == [
        "2 servers: S0, T0  wa1-0    succeeded  12 s",
        "2 servers: S1, T1  wa1-1    failed     14 s",
        "2 servers: S2, T2  wa1-2    o[x]dd[2J  15 s",
        "                   va1-777  queued     15 s",
    ]
    colours = set(re.findall(r"\x1b\[([0-9]+)m([a-z]+)", shown.terminal.getvalue()))
    assert {("33", "queued"), ("32", "succeeded"), ("31", "failed")} < colours


def test_evidence_is_beside_the_names_or_below_where_they_need_the_room() -> None:
    shown = Shown()
    changed = ServerChanged(WA1, "B", 1, 2, 12.0)
    unknown = changed._replace(operation=Operation("another", None))
    assert shown.after(Following({WA1: ["A", "B"], VA1: ["C"]}), changed, unknown) == [
        "2 servers: A, B  wa1-12345  queued  12 s  1 of 2 servers changed",
        "C                va1-777    queued  12 s",
    ]
    assert shown.after(Following({WA1: EIGHT[:3], VA1: ["C"]}), changed._replace(of=3)) == [
        "3 servers: WA1ALIASWB00, WA1ALIASWB01, WA1ALIASWB02  wa1-12345  queued  12 s",
        "  1 of 3 servers changed",
        "C                                                    va1-777    queued  12 s",
    ]


@pytest.mark.parametrize(
    ("servers", "encoding", "names"),
    [
        (["WA1ALIASWB01"], "utf-8", "WA1ALIASWB01"),
        (["WA1ALIASWEB12345"], "utf-8", "WA1ALIASWEB12…"),
        (["WA1ALIASWEB12345"], "ascii", "WA1ALIASWEB..."),
        (EIGHT[:2], "utf-8", "2 servers"),
        ([f"S{n}" for n in range(400_000)], "utf-8", "400,000"),
    ],
)
def test_on_a_narrow_screen_the_names_give_way_to_all_else(
    monkeypatch: pytest.MonkeyPatch, servers: list[str], encoding: str, names: str
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    narrow = Shown(40, encoding)
    narrow.after(Following({WA1: servers}), StatusChanged(WA1, EXECUTING, 12.0))
    assert narrow.after(ServerChanged(WA1, "A", 1, 2, 12.0)) == [
        f"{names}  wa1-12345  running  12 s",
        "  1 of 2 servers changed",
    ]


def test_one_bar_where_rows_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setattr(module, "REDRAW_SECONDS", 3600)
    first, *_ = MANY
    done = [StatusChanged(operation, SUCCEEDED, 12.0) for operation in list(MANY)[:250]]
    begun = "0 of 1,000 operations done, 0 s"
    assert shown.after(Following(MANY), *done)[1] == begun  # drawn ten times a second
    bar, *lines = shown.after(ServerChanged(first, "S0", 1, 2, 13.0), Tick(13.0))
    assert (bar[:10], len(bar)) == ("━" * 10, 40)
    assert lines == [
        "250 of 1,000 operations done, 13 s",
        "750 queued, 250 succeeded",
        "1 of 2 servers changed",
    ]


def test_one_bar_where_evidence_below_the_rows_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("LINES", "5"), ("COLUMNS", "40"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    plain = Shown(40)
    changes = [ServerChanged(operation, EIGHT[0], 1, 8, 12.0) for operation in (WA1, VA1)]
    assert plain.after(Following({WA1: EIGHT, VA1: EIGHT}), *changes) == [
        "0 of 2 operations done, 12 s",
        "2 queued",
        "2 of 16 servers changed",
    ]
    for lines in (1, 2, 3):
        monkeypatch.setenv("LINES", f"{lines}")
        assert len(Shown(40).after(Following({WA1: EIGHT}), changes[0])) == lines - 1
    assert not re.findall(r"\x1b\[[0-9;]*m", plain.terminal.getvalue())


@pytest.mark.parametrize(("verbose", "word"), [(False, "waiting"), (True, "notStarted")])
def test_a_run_is_shown_in_its_phases(word: str, *, verbose: bool) -> None:
    shown = Shown(verbose=verbose)
    wave = "Wave 2 of 8 (5 of 40 servers done): A"
    not_started = StatusChanged(WA1, OperationStatus("notStarted"), 0.0)
    for event, screen in (
        (events.WaveStarted(2, 8, ["A"], 5, 40), [wave]),
        (Sending(EIGHT, 0.9), [wave]),
        (Sending(EIGHT, 3.1), [wave, "Sending the reset of 8 servers (3 s)"]),
        (Sending(EIGHT[:1], 4.1), [wave, "Sending the reset of WA1ALIASWB00 (4 s)"]),
        (Answered([]), [wave]),
        (Following({WA1: ["A"]}), [wave, "A  wa1-12345  queued  0 s"]),
        (not_started, [wave, f"A  wa1-12345  {word}  0 s"]),
        (events.Checking("A", 1), [wave, "Checking A"]),
        (events.Checking("A", 2), [wave, "Checking A (attempt 2)"]),
        (events.Pausing(25.2), [wave, "The next wave begins in 25 s"]),
        (Following({}), [wave]),
        (ServerChanged(None, "B", 1, 5, 13), [wave, "1 of 5 servers changed (13 s)"]),
        (Tick(14.0), [wave, "1 of 5 servers changed (14 s)"]),
        (events.WaveStarted(3, 8, ["B"], 6, 40), ["Wave 3 of 8 (6 of 40 servers done): B"]),
    ):
        assert shown.after(event) == screen


def test_it_is_drawn_again_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with live(Streams(None, None, terminal)) as display:
        display(Following({WA1: ["A"]}))
        signal.raise_signal(signal.SIGCONT)
        assert len(terminal.screen(80)) == 2
        monkeypatch.setattr(signal, "raise_signal", lambda _: terminal.write("a shell\n"))
        os.kill(os.getpid(), signal.SIGTSTP)
        assert terminal.screen(80)[1:] == ["a shell", *terminal.screen(80)[:1]]


@pytest.mark.parametrize(
    ("columns", "number", "wanted"), [(80, 0, ""), (80, 8, "500"), (80, 200, ""), (40, 1, "500")]
)
def test_on_a_real_terminal_nothing_is_left_but_the_result_not_even_the_trace_of_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, columns: int, number: int, wanted: str
) -> None:
    monkeypatch.setenv("COLUMNS", wanted)
    monkeypatch.delenv("LINES")
    with keyboard(columns) as board, meanwhile(lambda: board.read_until(b"a result\r\n")):
        streams = Streams(None, board.stderr, board.stderr)
        with live(streams) as display:
            servers = dict(list(MANY.items())[:number])
            for event in (Sending(EIGHT, 0.5), Answered([]), Following(servers)):
                display(event)
            for seconds, operation in enumerate(servers):
                display(ServerChanged(operation, "S0", 1, 2, seconds))
                display(StatusChanged(operation, EXECUTING, seconds))
                display(Tick(seconds))
            assert streams.screen.flush(20)
            board.stderr.write("^C")
            board.stderr.flush()
        streams.print_result("a result\n")
    assert board.screen(columns) == ["a result"]
    assert (b"running" in board.shown) is (number > 0)
    assert b"\x1b[?" not in board.shown, "the cursor is never hidden"
