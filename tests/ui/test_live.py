import re

import pytest

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.ui.live import REDRAW_SECONDS, Live
from clc_reset.ui.output import Output
from tests.ui.screens import Gone, Terminal, pseudo_terminal, seen

WA1 = Operation("wa1-12345", "/x")
VA1 = Operation("va1-777", "/y")
EXECUTING = OperationStatus("executing")
SUCCEEDED = OperationStatus("succeeded")
EIGHT = [f"WA1ALIASWB0{n}" for n in range(8)]
REFUSED = ServerResult("VA1ALIASJOB03", ServerState.FAILED, None, "It cannot be found.")


class Clock:
    """A clock on which each look takes as long as a display waits."""

    now = 0.0

    def __call__(self) -> float:
        self.now += REDRAW_SECONDS
        return self.now


class Shown:
    """A live display on a terminal in memory."""

    def __init__(self, columns: int, *, encoding: str = "utf-8") -> None:
        self.columns = columns
        self.terminal = Terminal()
        self.terminal.encoding = encoding
        self.output = Output(None, self.terminal, "table", lambda *_: "")
        self.live = Live(self.terminal, self.output.note, clock=Clock())

    def seen(self) -> list[str]:
        return self.terminal.seen(self.columns)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("COLORTERM", raising=False)


@pytest.fixture
def shown() -> Shown:
    return Shown(80)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setenv("COLUMNS", "40")
    return Shown(40)


def operations(number: int) -> dict[Operation, list[str]]:
    return {Operation(f"wa1-{n}", ""): [f"S{n}", f"T{n}"] for n in range(number)}


def test_a_row_an_operation(shown: Shown) -> None:
    first, second, third = servers = operations(3)
    shown.live.following(servers)
    shown.live.changed(first, SUCCEEDED, 12.4)
    shown.live.changed(second, OperationStatus("failed"), 13.0)
    shown.live.changed(third, OperationStatus("re[x]sumed\x1b[2J"), 14.0)
    shown.live.tick(15.0)
    assert shown.seen() == [
        "2 servers: S0, T0  wa1-0  succeeded      12 s",
        "2 servers: S1, T1  wa1-1  failed         13 s",
        "2 servers: S2, T2  wa1-2  re[x]sumed[2J  15 s",
    ]


def test_states_are_coloured(shown: Shown) -> None:
    shown.live.following({WA1: ["A"], VA1: ["B"]})
    shown.live.changed(WA1, SUCCEEDED, 1.0)
    shown.live.changed(VA1, OperationStatus("failed"), 1.0)
    colours = re.findall(r"\x1b\[([0-9;]+)m([a-z]+)", shown.terminal.getvalue())
    assert set(colours) == {("33", "queued"), ("32", "succeeded"), ("31", "failed")}


def test_the_apis_words_are_shown_to_who_wants_them(shown: Shown) -> None:
    verbose = Live(terminal := Terminal(), shown.output.note, verbose=True)
    for live in (shown.live, verbose):
        live.following({WA1: ["A"]})
        live.changed(WA1, OperationStatus("notStarted"), 0.0)
        live.tick(0.0)
    assert shown.seen() == ["A  wa1-12345  waiting  0 s"]
    assert terminal.seen(80) == ["A  wa1-12345  notStarted  0 s"]


def test_an_operation_whose_servers_nobody_knows_is_shown_by_its_id(shown: Shown) -> None:
    shown.live.following({WA1: []})
    assert shown.seen() == ["wa1-12345  queued  0 s"]


@pytest.mark.parametrize(
    ("servers", "row"),
    [
        (["WA1ALIASWB01"], "WA1ALIASW…  wa1-12345  executing  12 s"),
        (EIGHT[:2], "2 servers  wa1-12345  executing  12 s"),
        ([f"S{n}" for n in range(4000)], "4,000  wa1-12345  executing  12 s"),
    ],
)
def test_on_a_narrow_screen_the_names_give_way_to_all_else(
    narrow: Shown, servers: list[str], row: str
) -> None:
    narrow.live.following({WA1: servers})
    narrow.live.changed(WA1, EXECUTING, 12.0)
    assert narrow.seen() == [row]
    assert len(row) <= 38


def test_a_screen_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = Shown(40, encoding="ascii")
    shown.live.following({WA1: ["WA1ALIASWB01"]})
    shown.live.changed(WA1, EXECUTING, 12.0)
    assert shown.seen() == ["WA1ALIA...  wa1-12345  executing  12 s"]
    shown.live.wave(1, 2, EIGHT)
    shown.live.sending(EIGHT, 2.0)
    assert shown.terminal.getvalue().isascii()


def test_on_a_narrow_screen_what_its_servers_show_is_below(narrow: Shown) -> None:
    narrow.live.following({WA1: EIGHT})
    narrow.live.server_changed(WA1, EIGHT[4], 5, 8, 12.0)
    narrow.live.changed(WA1, EXECUTING, 12.0)
    assert narrow.seen() == [
        "8 servers  wa1-12345  executing  12 s",
        "  5 of 8 servers changed",
    ]


def test_what_its_servers_show_stands_for_their_names(shown: Shown) -> None:
    shown.live.following({WA1: EIGHT, VA1: ["B"]})
    shown.live.server_changed(WA1, EIGHT[4], 5, 8, 12.0)
    shown.live.server_changed(Operation("another", None), "A", 1, 2, 12.0)
    assert shown.seen() == [
        "5 of 8 servers changed  wa1-12345  queued  12 s",
        "B                       va1-777    queued  12 s",
    ]


def test_one_bar_where_rows_do_not_fit(shown: Shown) -> None:
    first, *_ = servers = operations(1000)
    shown.live.following(servers)
    for operation in list(servers)[:250]:
        shown.live.changed(operation, SUCCEEDED, 12.0)
    shown.live.tick(13.0)
    assert shown.seen() == [
        "[##########..............................]",
        "250 of 1,000 operations done, 13 s",
        "750 queued, 250 succeeded",
    ]
    shown.live.server_changed(first, "S0", 1, 2, 14.0)
    assert shown.seen()[3] == "1 of 2 servers changed"


def test_rows_of_two_lines_that_do_not_fit_are_a_bar(
    monkeypatch: pytest.MonkeyPatch, narrow: Shown
) -> None:
    monkeypatch.setenv("LINES", "5")
    narrow.live.following({WA1: EIGHT, VA1: EIGHT})
    for each in (WA1, VA1):
        narrow.live.changed(each, EXECUTING, 12.0)
        narrow.live.server_changed(each, EIGHT[0], 1, 8, 12.0)
    assert narrow.seen()[1:] == [
        "0 of 2 operations done, 12 s",
        "2 executing",
        "2 of 16 servers changed",
    ]


def test_a_request_that_is_out_for_a_second_is_shown_until_its_answer(shown: Shown) -> None:
    shown.live.sending(EIGHT, 0.9)
    assert shown.terminal.getvalue() == ""
    shown.live.sending(EIGHT, 3.1)
    assert shown.seen() == ["Sending the reset of 8 servers … (3 s)"]
    shown.live.sending(EIGHT[:1], 4.1)
    assert shown.seen() == ["Sending the reset of WA1ALIASWB00 … (4 s)"]
    shown.live.answered([])
    assert shown.seen() == []


def test_notes_stand_above_the_display(shown: Shown) -> None:
    shown.live.following({WA1: ["A"]})
    shown.output.speak_through(shown.live.say)
    shown.live.answered([REFUSED])
    shown.live.silent(WA1, "no answer")
    shown.live.tick(3.0)
    assert shown.seen() == [
        "Refused: VA1ALIASJOB03: It cannot be found.",
        "No status of wa1-12345 three times in a row: no answer. Still trying, until the",
        "time limit.",
        "A  wa1-12345  queued  3 s",
    ]


def test_waves_pauses_and_checks_are_shown(shown: Shown) -> None:
    live = shown.live
    live.wave(2, 8, EIGHT[:2])
    live.following({WA1: EIGHT[:2]})
    wave = "Wave 2 of 8: 2 servers: WA1ALIASWB00, WA1ALIASWB01"
    row = "2 servers: WA1ALIASWB00, WA1ALIASWB01  wa1-12345  queued  0 s"
    assert shown.seen() == [wave, row]
    live.checking("A", 1)
    assert shown.seen() == [wave, "Checking A"]
    live.checking("A", 2)
    assert shown.seen() == [wave, "Checking A (try 2)"]
    live.pausing(25.2)
    assert shown.seen() == [wave, "The next wave begins in 25 s"]
    live.wave(3, 8, ["A"])
    assert shown.seen() == ["Wave 3 of 8: A"]


def test_changes_are_drawn_ten_times_a_second_and_ticks_always(shown: Shown) -> None:
    terminal = Terminal()
    live = Live(terminal, shown.output.note, clock=lambda: 0.0)
    servers = operations(3)
    live.following(servers)
    for operation in servers:
        live.changed(operation, EXECUTING, 1.0)
    assert "executing" not in terminal.getvalue()
    live.tick(1.0)
    assert "executing" in terminal.getvalue()


def test_with_nothing_to_follow_nothing_is_drawn(shown: Shown) -> None:
    shown.live.answered([REFUSED])
    shown.live.following({})
    shown.live.tick(1.0)
    shown.live.changed(WA1, SUCCEEDED, 1.0)
    shown.live.close()
    assert shown.seen() == ["Refused: VA1ALIASJOB03: It cannot be found."]
    assert "\x1b[?25l" not in shown.terminal.getvalue()  # the cursor was never hidden


def test_after_its_end_it_begins_again_with_what_begins(shown: Shown) -> None:
    live = shown.live
    live.wave(1, 2, ["A"])
    live.following({WA1: ["A"]})
    live.close()
    live.changed(WA1, SUCCEEDED, 1.0)
    live.server_changed(WA1, "A", 1, 1, 1.0)
    live.tick(1.0)
    assert shown.seen() == []
    shown.terminal.write("a result\n")
    live.wave(2, 2, ["B"])
    live.following({VA1: ["B"]})
    assert shown.seen() == ["a result", "Wave 2 of 2: B", "B  va1-777  queued  0 s"]
    live.close()
    assert shown.seen() == ["a result"]
    assert shown.terminal.getvalue().rpartition("\x1b[?25")[2].startswith("h")


@pytest.mark.parametrize("name", ["shown", "narrow"])
def test_ctrl_c_leaves_no_trace(name: str, request: pytest.FixtureRequest) -> None:
    shown: Shown = request.getfixturevalue(name)
    shown.terminal.write("$ clc\n")
    shown.live.following({WA1: ["A" * 99], VA1: ["B"]})
    shown.live.tick(1.0)
    shown.terminal.write("^C")
    assert len(shown.seen()) == 3
    shown.live.close()
    shown.live.close()
    shown.terminal.write("a result\n")
    assert shown.seen() == ["$ clc", "a result"]


def test_ctrl_c_before_anything_is_shown_leaves_no_trace(shown: Shown) -> None:
    shown.live.sending(EIGHT, 0.5)
    shown.terminal.write("^C")
    shown.live.close()
    shown.terminal.write("a result\n")
    assert shown.seen() == ["a result"]


def test_a_terminal_that_is_gone_is_no_error() -> None:
    live = Live(Gone(), lambda _: None)
    live.following(operations(1))
    live.say("lost")
    live.close()


# --- on a pseudo-terminal ----------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("number", [0, 1, 8, 200])
def test_on_a_real_terminal_nothing_is_left_but_the_result(
    monkeypatch: pytest.MonkeyPatch, columns: int, number: int
) -> None:
    monkeypatch.delenv("COLUMNS")
    monkeypatch.delenv("LINES")
    with pseudo_terminal(columns) as pseudo:
        output = Output(None, pseudo.stream, "table", lambda *_: "")
        live = Live(pseudo.stream, output.note, clock=Clock())
        servers = operations(number)
        output.speak_through(live.say)
        live.sending(EIGHT, 2.0)
        live.answered([])
        live.following(servers)
        for seconds, operation in enumerate(servers):
            live.server_changed(operation, "S0", 1, 2, seconds)
            live.changed(operation, EXECUTING, seconds)
            live.tick(seconds)
            live.heard_again(operation)
        pseudo.stream.write("^C")
        pseudo.stream.flush()
        live.close()
        output.note("a result")
    assert seen(pseudo.written.decode().replace("\r\n", "\n"), columns) == ["a result"]
    assert (b"executing" in pseudo.written) is (number > 0)
