"""What an operator sees: the command on a real terminal, tmux, whose screen is read back."""

import re
import shlex

import pytest

from tests.fakes import CLC, http, jwt, loopback, queued, refused
from tests.real.screen import Screen, Screens

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASLONGER01"
LONG_ID = "va1-123456789012"
REFUSAL = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
ANSWER = http(200, [queued(C, LONG_ID), refused(B, REFUSAL), queued(A, "wa1-1")])
SANDBOX = f"{CLC} sandbox --duration 2s"


def reset(screen: Screen, after: str = "") -> tuple[int, str]:
    """Reset three servers, of which one is refused, with a long message."""
    with loopback(ANSWER) as server:
        line = shlex.join([CLC, "reset", A, B, C])
        screen.run(f"{line} {after}", CLC_TOKEN=jwt(), CLC_BASE_URL=server.url)
        return screen.end()


def test_at_80_columns_names_are_whole_and_the_message_wraps_in_its_column(
    screen: Screens,
) -> None:
    code, shown = reset(screen(80))
    assert code == 1
    titles, *rows = shown.splitlines()
    assert titles.split() == ["Server", "State", "Operation", "Message"]
    column = titles.index("Message")
    cells = [row[:column].split() for row in rows]
    assert [cell[0] for cell in cells if len(cell) > 1][:3] == [A, B, C]
    assert ["queued", LONG_ID] in [cell[1:] for cell in cells]
    assert REFUSAL in " ".join(row[column:].strip() for row in rows)
    assert "To follow them: clc status --wait" in shown


def test_at_40_columns_nothing_is_cut(screen: Screens) -> None:
    code, shown = reset(screen(40))
    assert code == 1
    lines = shown.splitlines()
    assert lines[0] == f"{A}  queued  wa1-1"
    assert f"{C}  queued\n  {LONG_ID}\n" in shown
    assert REFUSAL in " ".join(line.strip() for line in lines)


def test_colours_are_shades_that_can_be_read_on_light_and_dark(screen: Screens) -> None:
    terminal = screen(80)
    reset(terminal)
    colours = set(re.findall(r"\x1b\[([0-9;]*)m", terminal.tell("capture-pane", "-p", "-e")))
    assert colours - {"0", "1", "39", "49"} == {"38;5;160", "38;5;28"}  # bold, and the usual two


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"CI": "true"}])
def test_lines_where_something_speaks_against_a_live_display(
    screen: Screens, variables: dict[str, str]
) -> None:
    terminal = screen(80)
    terminal.run(f"{SANDBOX} clc reset {A} --wait", **variables)
    code, shown = terminal.end()
    assert code == 0
    assert f"{A} wa1-12345 queued (0 s)" in shown
    assert f"{A} wa1-12345 succeeded" in shown


@pytest.mark.parametrize(("before", "after"), [(80, 80), (40, 40), (80, 50), (50, 80), (80, 120)])
def test_while_waiting_it_is_live_and_leaves_the_result_only(
    screen: Screens, before: int, after: int
) -> None:
    terminal = screen(before)
    terminal.run(f"{SANDBOX} clc reset {A} {B} --wait")
    live = terminal.wait_for("wa1-12345  running")
    assert f"2 servers: {A}, {B}" in live or before < 80
    terminal.tell("resize-window", "-x", f"{after}")
    code, shown = terminal.end()
    assert code == 0
    assert "running" not in shown
    assert [shown.count(server) for server in (A, B)] == [1, 1]
    assert len(re.findall("succeeded +w", shown)) == 2
    assert re.search(r"^2 succeeded in \d+ s$", shown, re.MULTILINE)


def test_ctrl_c_leaves_the_result_the_way_to_resume_and_a_cursor(screen: Screens) -> None:
    terminal = screen(80)
    terminal.run(f"trap : INT; {SANDBOX} clc reset {A} --wait")
    terminal.wait_for("waiting")
    terminal.tell("send-keys", "C-c")
    code, shown = terminal.end()
    assert code == 130
    assert "1 operation is still running." in shown
    assert "To follow it: clc status --wait" in shown
    assert terminal.tell("display-message", "-p", "#{cursor_flag}") == "1\n"


def test_a_reader_that_closes_its_pipe_gets_no_error(screen: Screens) -> None:
    code, shown = reset(screen(80), "| head -1")
    assert code == 0
    assert f"{A}\tqueued\twa1-1".expandtabs() in shown
    assert "rror" not in shown


def test_a_full_disk_gets_the_result_on_standard_error(screen: Screens) -> None:
    code, shown = reset(screen(80), "> /dev/full")
    assert code == 1  # what became of the reset
    assert "Standard output can't be written; the result is above." in shown
    assert all(text in shown for text in (A, B, C, LONG_ID))


def test_a_closed_standard_input_changes_nothing(screen: Screens) -> None:
    code, shown = reset(screen(80), "<&-")
    assert code == 1
    assert LONG_ID in shown
