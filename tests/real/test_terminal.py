"""What an operator sees: the command on a real terminal, tmux, whose screen is read back."""

import re
import shlex

import pytest

from tests.fakes import CLC, http, jwt, loopback, queued
from tests.real.screen import Screen, Screens

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASLONGER01"
LONG_ID = "va1-123456789012"
REFUSAL = (
    "The operation cannot be queued because the server cannot be found "
    "or it is not in a valid state."
)
ANSWER = http(
    200,
    [
        queued(C, LONG_ID),
        {"server": B.lower(), "isQueued": False, "errorMessage": REFUSAL},
        queued(A, "wa1-1"),
    ],
)
SANDBOX = f"{CLC} sandbox --duration 2s"


def reset(screen: Screen, *options: str, after: str = "", **variables: str) -> tuple[int, str]:
    """Reset three servers, of which one is refused, with a long message."""
    with loopback(ANSWER) as server:
        line = shlex.join([CLC, "reset", A, B, C, *options])
        screen.run(f"{line} {after}", CLC_TOKEN=jwt(), CLC_BASE_URL=server.url, **variables)
        return screen.end()


def test_at_80_columns_names_are_whole_and_the_message_wraps_in_its_cell(screen: Screens) -> None:
    code, shown = reset(screen(80))
    assert code == 1
    rows = [line.strip("│").split("│") for line in shown.splitlines() if line.startswith("│")]
    servers, _, operations, messages = (
        [cell.strip() for cell in column if cell.strip()] for column in zip(*rows, strict=True)
    )
    assert servers == ["Server", A, B, C]
    assert operations == ["Operation", "wa1-1", LONG_ID]
    assert " ".join(messages) == f"Message {REFUSAL}"
    assert "To follow them: clc status --wait" in shown


def test_at_40_columns_nothing_is_cut(screen: Screens) -> None:
    code, shown = reset(screen(40))
    assert code == 1
    lines = shown.splitlines()
    assert lines[0] == f"{A}  queued  wa1-1"
    assert f"{C}  queued\n  {LONG_ID}\n" in shown
    assert REFUSAL in " ".join(line.strip() for line in lines)


PLAIN = {"0", "1", "39", "49"}
"""Nothing, bold, and the terminal's own two colours."""


def colours(screen: Screen) -> set[str]:
    return set(re.findall(r"\x1b\[([0-9;]*)m", screen.tell("capture-pane", "-p", "-e")))


def test_colours_are_shades_that_can_be_read_on_light_and_dark(screen: Screens) -> None:
    terminal = screen(80)
    reset(terminal)
    assert colours(terminal) - PLAIN == {"38;5;160", "38;5;28"}


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(screen: Screens, variables: dict[str, str]) -> None:
    terminal = screen(80)
    _, shown = reset(terminal, **variables)
    assert not colours(terminal) - PLAIN
    assert LONG_ID in shown


def test_a_dumb_terminal_gets_a_line_a_change(screen: Screens) -> None:
    terminal = screen(80)
    terminal.run(f"{SANDBOX} clc reset {A} --wait", TERM="dumb")
    code, shown = terminal.end()
    assert code == 0
    assert f"{A} wa1-12345 queued (0 s)" in shown
    assert f"{A} wa1-12345 succeeded" in shown


@pytest.mark.parametrize("columns", [80, 40])
def test_while_waiting_it_is_live_and_leaves_the_result_only(screen: Screens, columns: int) -> None:
    terminal = screen(columns)
    terminal.run(f"{SANDBOX} clc reset {A} {B} --wait")
    live = terminal.wait_for("executing")
    assert "wa1-12345  executing" in live
    code, shown = terminal.end()
    assert code == 0
    assert "executing" not in shown
    assert [shown.count(each) for each in (A, B)] == [1, 1]
    assert len(re.findall("succeeded +[│w]", shown)) == 2
    assert re.search(r"^2 succeeded in \d+ s$", shown, re.MULTILINE)


@pytest.mark.parametrize(("before", "after"), [(80, 50), (50, 80), (80, 120)])
def test_resized_while_waiting_the_result_is_whole(
    screen: Screens, before: int, after: int
) -> None:
    terminal = screen(before)
    terminal.run(f"{SANDBOX} clc reset {A} {B} --wait")
    terminal.wait_for("executing")
    terminal.tell("resize-window", "-x", f"{after}")
    code, shown = terminal.end()
    assert code == 0
    assert "executing" not in shown
    assert [shown.count(each) for each in (A, B)] == [1, 1]
    assert len(re.findall("succeeded +[│w]", shown)) == 2
    assert re.search(r"^2 succeeded in \d+ s$", shown, re.MULTILINE)


def test_ctrl_c_leaves_the_result_the_way_to_resume_and_a_cursor(screen: Screens) -> None:
    terminal = screen(80)
    terminal.run(f"trap : INT; {SANDBOX} clc reset {A} --wait")
    terminal.wait_for("waiting")
    terminal.tell("send-keys", "C-c")
    code, shown = terminal.end()
    assert code == 130
    assert "1 operation is still running." in shown
    assert "To follow them: clc status --wait" in shown
    assert terminal.tell("display-message", "-p", "#{cursor_flag}") == "1\n"


def test_a_reader_that_closes_its_pipe_gets_no_error(screen: Screens) -> None:
    code, shown = reset(screen(80), after="| head -1")
    assert code == 0
    assert f"{A}\tqueued\twa1-1".expandtabs() in shown
    assert "rror" not in shown


def test_a_full_disk_gets_the_result_on_standard_error(screen: Screens) -> None:
    code, shown = reset(screen(80), after="> /dev/full")
    assert code == 1  # what became of the reset
    assert "Standard output can't be written; the result is above." in shown
    assert all(each in shown for each in (A, B, C, LONG_ID))


def test_a_closed_standard_input_changes_nothing(screen: Screens) -> None:
    code, shown = reset(screen(80), after="<&-")
    assert code == 1
    assert LONG_ID in shown
