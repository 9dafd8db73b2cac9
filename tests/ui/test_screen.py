import os
import signal
import termios
import tty
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import pytest

from clc_reset.ui.screen import Line, Screen
from tests.ui.screens import IN_THE_BACKGROUND, Gone, Keyboard, Terminal, meanwhile, run_on_terminal

FRAME = [Line("one", 3), Line("two", 3)]


def test_notes_stand_above_a_display_that_is_redrawn() -> None:
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show(FRAME)
    screen.note("a note\nof two lines")
    screen.show(FRAME[1:])
    assert terminal.screen(80) == ["a note", "of two lines", "two"]
    written = terminal.getvalue()
    screen.show(FRAME[1:])
    assert terminal.getvalue() == written, "what is shown already isn't drawn again"
    screen.show(())
    assert screen.flush(0)
    assert terminal.screen(80) == ["a note", "of two lines"]


@pytest.mark.parametrize(
    ("widths", "columns", "rows"), [([70], 30, 3), ([0, 5, 80], 80, 3), ([61, 60, 59], 30, 7)]
)
def test_a_window_that_became_narrower_is_cleared_whole(
    board: Keyboard, widths: list[int], columns: int, rows: int
) -> None:
    screen = Screen(board.stderr)
    screen.show([Line("x" * width, width) for width in widths])
    termios.tcsetwinsize(board.master, (24, columns))
    screen.show([Line("y", 1)])
    board.read_until(b"y\r\n")
    assert f"\x1b[{rows}A\r\x1b[K".encode() in board.shown


def test_a_stopped_terminal_keeps_notes_and_skips_frames(board: Keyboard) -> None:
    screen = Screen(board.stderr)
    screen.note("before")
    board.stop()
    screen.note("kept")
    for number in range(50):
        screen.show([Line(f"frame {number}", 8)])
    assert not screen.flush(0.01)
    board.go_on()
    assert screen.flush(5)
    board.read_until(b"frame 49\r\n")
    assert board.screen() == ["before", "kept", "frame 49"]
    screen.show(())
    board.stop()
    screen.show(FRAME)
    screen.show(())
    assert screen.flush(0), "nothing was drawn"
    board.go_on()


def test_what_nobody_reads_blocks_nothing_and_what_a_stop_has_cut_is_written_again(
    board: Keyboard,
) -> None:
    tty.setraw(board.master)
    screen = Screen(board.stderr)
    texts = ["x" * 200_000, *map(str, range(40))]
    for text in texts:
        screen.note(text)
    assert not screen.flush(0)
    assert screen.leave()
    screen.resume()
    with meanwhile(lambda: board.read_until(f"\n{texts[-1]}\n".encode())):
        assert screen.flush(20)
    shown, whole = board.shown.decode(), "".join(f"{text}\n" for text in texts)
    assert shown.endswith(whole)
    assert texts[0].startswith(shown.removesuffix(whole))


def test_a_display_leaves_the_screen_before_a_stop_and_returns_after_it() -> None:
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show(FRAME)
    assert screen.leave()
    assert terminal.screen(80) == []
    terminal.write("a shell\n")
    screen.resume()
    assert terminal.screen(80) == ["a shell", "one", "two"]
    screen.resume()  # after SIGSTOP, which nobody can foresee
    assert terminal.screen(80) == ["a shell", "one", "two", "one", "two"]


def test_a_write_in_the_middle_of_a_write_waits_and_so_does_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(Terminal):
        """A terminal on which something happens in the middle of a write, and at its end."""

        def write(self, text: str) -> int:
            if text == "one\n":
                screen.note("another")
                screen.resume()
                left.append(screen.leave())
            elif not text and not left[1:]:  # nothing is left to write
                left.append(False)
                screen.note("late")
            return super().write(text)

    left: list[bool] = []
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *signal: signals.append(signal))
    terminal = Interrupted()
    screen = Screen(terminal)
    screen.note("one")
    assert left == [False, False]
    assert terminal.getvalue() == "one\nanother\nlate\n"
    assert signals == [(os.getpid(), signal.SIGTSTP)]


def test_notes_of_many_threads_are_all_written() -> None:
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show(FRAME)
    texts = [f"note {number}" for number in range(800)]
    with ThreadPoolExecutor(8) as pool:
        pool.map(screen.note, texts)
    *notes, one, two = terminal.screen(80)
    assert (one, two) == ("one", "two")
    assert sorted(notes) == sorted(texts)


@pytest.mark.parametrize("stream", [None, Gone()])
def test_a_closed_standard_error_loses_all_and_raises_nothing(stream: TextIO | None) -> None:
    screen = Screen(stream)
    for _ in range(2):
        screen.note("lost")
        screen.show(FRAME)
        screen.show(())
        assert screen.flush(0)
        assert screen.leave()
        screen.resume()


def test_the_background_gets_notes_and_no_display() -> None:
    code, shown = run_on_terminal(f"""
import sys
from clc_reset.ui.screen import *
screen = Screen(sys.stderr)
screen.show([Line("before", 6)])
{IN_THE_BACKGROUND}
screen.note("a note")
screen.show([Line("never", 5)])
screen.show(())
assert screen.flush(0)
attributes = termios.tcgetattr(0)
attributes[3] |= termios.TOSTOP
termios.tcsetattr(0, termios.TCSANOW, attributes)
screen.note("kept")
print("a result", flush=True)
assert screen.flush(0)
""")
    assert (code, shown) == (0, "before\r\na note\r\na result\r\nkept\r\n")
