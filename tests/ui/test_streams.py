import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clc_reset.ui import outlet
from clc_reset.ui import streams as module
from clc_reset.ui.screen import Line
from clc_reset.ui.streams import Delivery, Streams, break_line, can_redraw, size_of
from tests.ui.screens import Gone, Keyboard, Terminal, keyboard


@pytest.mark.parametrize(
    "parts",
    [
        "short",
        "",
        "one two three four|five six",
        "a word|https://api.ctl.io/v2/servers/x|ends",
        "it changed at|02:14:22 UTC today",
        "was|2026-01-15 02:14:22 UTC,|by x",
        "that was about:|777 s after",
        "ask again with|`clc status -a X`.",
        "To follow them:|clc status --wait wa1-1",
        "clc status --wait wa1-1 wa1-2",
        "Run:|A=1 clc status --wait wa1-1",
        "  indented as an example is: left",
        " " * 30,
    ],
)
def test_a_line_is_broken_between_words(parts: str) -> None:
    assert break_line(parts.replace("|", " "), 20) == parts.split("|")


def test_a_result_that_is_not_taken_goes_to_standard_error() -> None:
    stderr = io.StringIO()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        streams = Streams(None, full, stderr)
        for _ in range(2):
            assert streams.print_result("a result\n") is Delivery.ELSEWHERE
        assert streams.print_result("{}", falls_back=False) is Delivery.ELSEWHERE
        assert streams.print_result("") is Delivery.ELSEWHERE
    assert stderr.getvalue() == "a result\na result\n"
    stdout = io.StringIO()
    stdout.close()
    assert Streams(None, stdout, None).print_result("x") is Delivery.ELSEWHERE
    assert Streams(None, None, None).print_result("x") is Delivery.ELSEWHERE


def test_a_stopped_terminal_is_waited_for_and_notes_stand_above_the_result(board: Keyboard) -> None:
    streams = Streams(None, board.stderr, board.stderr)
    streams.screen.show([Line("a display", 9)])
    board.stop()
    streams.note("a note")
    assert not streams.has_result
    go_on = threading.Timer(0.05, board.go_on)
    go_on.start()
    assert streams.print_result("a result\n") is Delivery.PRINTED
    assert streams.has_result
    go_on.join()
    board.read_until(b"a result\r\n")
    assert board.shown == b"a display\r\n\x1b[1A\r\x1b[K\r\n\x1b[J\x1b[1Aa note\r\na result\r\n"


@pytest.mark.parametrize(("has_stderr", "is_piped"), [(True, False), (False, False), (True, True)])
def test_after_a_signal_a_stopped_terminal_or_a_full_pipe_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch, board: Keyboard, *, has_stderr: bool, is_piped: bool
) -> None:
    monkeypatch.setattr(module, "STOPPED_SECONDS", 0.02)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(outlet, "LOOK_SECONDS", 0.01)
    signalled = iter([False])
    stderr = board.stderr if has_stderr else None
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        stdout = pipe if is_piped else board.stderr
        streams = Streams(None, stdout, stderr, lambda: next(signalled, True))
        board.stop()
        streams.note("a note")
        assert streams.print_result("a result\n" * 20_000) is Delivery.ELSEWHERE
    os.close(reader)


def test_a_full_pipe_that_does_not_block_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "LOOK_SECONDS", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as file, ThreadPoolExecutor() as pool:
        with os.fdopen(writer, "w") as pipe:
            printing = pool.submit(Streams(None, pipe, None).print_result, "a result\n" * 20_000)
            time.sleep(0.05)  # the pipe has long been full
            printing.add_done_callback(lambda _: pipe.close())
            assert file.read() == b"a result\n" * 20_000
        assert printing.result() is Delivery.PRINTED


def test_a_full_disk_leaves_nothing_that_fails_at_the_end_even_without_dev_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "devnull", "/nowhere")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        full.write("left over")
        assert Streams(None, full, None).print_result("lost") is Delivery.ELSEWHERE
        full.write("lost")


@pytest.mark.parametrize(
    ("name", "can", "can_not"),
    [
        ("TERM", ["xterm"], ["dumb", "unknown", ""]),
        ("ACCESSIBLE", ["0", ""], ["1"]),
        ("TTY_INTERACTIVE", ["1", ""], ["0"]),
        ("CI", ["False", ""], ["true", "1"]),
    ],
)
def test_a_display_is_live_on_a_terminal_where_nothing_speaks_against_it(
    monkeypatch: pytest.MonkeyPatch, name: str, can: list[str], can_not: list[str]
) -> None:
    for value in (*can, *can_not):
        monkeypatch.setenv(name, value)
        assert can_redraw(Terminal()) is (value in can), value
    monkeypatch.delenv(name)
    assert can_redraw(Terminal()) is (name != "TERM")
    closed = io.StringIO()
    closed.close()
    assert not any(map(can_redraw, (None, io.StringIO(), closed)))


def test_columns_may_narrow_a_window_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(size_of(None)) == (80, 24)
    assert tuple(size_of(Gone(), (7, 8))) == (7, 8)
    with keyboard(57, 13) as board:
        for odd in ("", "0", "-3", "x", "²", "1" * 99, "99"):
            monkeypatch.setenv("COLUMNS", odd)
            assert tuple(size_of(board.stderr)) == (57, 13)
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("LINES", "5")
        assert tuple(size_of(board.stderr)) == (40, 5)
    assert tuple(size_of(None)) == (40, 5)
