import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.options import FORMS
from clc_reset.models import Observation, Operation, OperationStatus, ServerResult, ServerState
from clc_reset.ui.output import (
    LARGEST_TABLE,
    RUNS,
    RUNS_HERE,
    Delivery,
    Output,
    break_line,
    can_redraw,
    is_terminal,
    let_go_of,
    size_of,
    write_whole,
)
from tests.ui.screens import Gone, Terminal, pseudo_terminal

if TYPE_CHECKING:
    from typing_extensions import Buffer

QUEUED = ServerResult("WA1ALIASWB01", ServerState.QUEUED, Operation("wa1-12345", "/x"))
REFUSED = ServerResult("WA1ALIASWB02", ServerState.FAILED, None, "No\tsuch\n\x1b[31mserver.")
THEN = datetime(2026, 1, 15, 2, 14, 22, tzinfo=UTC)
SEEN = Observation(
    "WA1ALIASWB01",
    seen_at=THEN,
    changed_at=THEN,
    changed_by="nightly",
    status="active",
    power="started",
    in_maintenance=False,
    group="The\tWeb",
    datacenter="WA1",
)
UNSEEN = Observation("WA1ALIASXX99", seen_at=THEN, problem="The API knows no such server.")


class Screen:
    """An Output and what it wrote."""

    def __init__(self, form: str) -> None:
        self.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.stderr = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.drawn: list[tuple[Sequence[str], Sequence[Sequence[str]], str]] = []
        self.output = Output(self.stdout, self.stderr, form, self._draw)

    def _draw(
        self, titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO
    ) -> str:
        assert stream is self.stdout
        self.drawn.append((titles, rows, wide))
        return "a table\n"

    @property
    def out(self) -> str:
        return self.stdout.buffer.getvalue().decode()

    @property
    def err(self) -> str:
        return self.stderr.buffer.getvalue().decode()


def nothing(*_: object) -> str:
    return ""


# --- forms -------------------------------------------------------------------------------------


def test_tsv_is_a_line_a_server_without_a_header() -> None:
    screen = Screen("tsv")
    assert screen.output.results("ALIAS", [QUEUED, REFUSED]) is Delivery.PRINTED
    assert screen.out == (
        "WA1ALIASWB01\tqueued\twa1-12345\t\nWA1ALIASWB02\tfailed\t\tNo such [31mserver.\n"
    )


@pytest.mark.parametrize(
    ("form", "verbose", "words"),
    [
        ("tsv", False, "waiting; not changed."),
        ("tsv", True, "notStarted; not changed."),
        ("json", False, "notStarted; not changed."),
    ],
)
def test_a_status_is_in_plain_words_but_for_json_and_who_asks(
    form: str, verbose: bool, words: str
) -> None:
    screen = Screen(form)
    waiting = QUEUED._replace(status=OperationStatus("notStarted"), message="not changed.")
    screen.output.results("ALIAS", [waiting], verbose=verbose)
    assert words in screen.out


def test_an_operation_that_nobody_knows_the_server_of_has_a_row_without_one() -> None:
    screen = Screen("tsv")
    screen.output.results(None, [QUEUED._replace(server=None)], None, {"": SEEN})
    assert screen.out == "\tqueued\twa1-12345\t\n"


def test_json_is_one_object_of_account_and_servers_with_what_they_showed() -> None:
    screen = Screen("json")
    observations = {"WA1ALIASWB01": SEEN}
    screen.output.results("ALIAS", [QUEUED, REFUSED], {"dry_run": True}, observations)
    assert json.loads(screen.out) == {
        "account": "ALIAS",
        "servers": [
            {
                "server": "WA1ALIASWB01",
                "state": "queued",
                "operation": "wa1-12345",
                "message": None,
                "changed_at": "2026-01-15T02:14:22+00:00",
                "changed_by": "nightly",
                "seen_at": "2026-01-15T02:14:22+00:00",
            },
            {
                "server": "WA1ALIASWB02",
                "state": "failed",
                "operation": None,
                "message": "No such [31mserver.",
                "changed_at": None,
                "changed_by": None,
                "seen_at": None,
            },
        ],
        "dry_run": True,
    }


def test_what_a_server_showed_is_in_tsv_to_the_second() -> None:
    screen = Screen("tsv")
    screen.output.servers("ALIAS", [SEEN, UNSEEN, Observation("X", in_maintenance=True)])
    assert screen.out == (
        "WA1ALIASWB01\tThe Web\tWA1\tactive\tstarted\tno\t2026-01-15T02:14:22+00:00\tnightly\t\n"
        "WA1ALIASXX99\t\t\t\t\t\t\t\tThe API knows no such server.\n"
        "X\t\t\t\t\tyes\t\t\t\n"
    )


def test_a_group_known_only_by_its_id_is_cut_short_in_a_table() -> None:
    seen = SEEN._replace(group="7ac2128807d841ae1abe3bc64b35bbdc")
    screen = Screen("table")
    screen.output.servers("ALIAS", [seen])
    assert screen.drawn[0][1][0][1] == "WA1 7ac21288.."
    screen = Screen("tsv")
    screen.output.servers("ALIAS", [seen])
    assert "7ac2128807d841ae1abe3bc64b35bbdc" in screen.out


def test_what_a_server_showed_is_in_json_with_null_for_what_is_not_known() -> None:
    screen = Screen("json")
    screen.output.servers("ALIAS", [SEEN, UNSEEN], {"more": 1})
    shown = json.loads(screen.out)
    assert (shown["account"], shown["more"]) == ("ALIAS", 1)
    assert shown["servers"] == [
        {
            "server": "WA1ALIASWB01",
            "group": "The Web",
            "datacenter": "WA1",
            "status": "active",
            "power": "started",
            "maintenance": False,
            "changed_at": "2026-01-15T02:14:22+00:00",
            "changed_by": "nightly",
            "seen_at": "2026-01-15T02:14:22+00:00",
            "message": None,
        },
        {
            "server": "WA1ALIASXX99",
            **dict.fromkeys(("group", "datacenter", "status", "power", "maintenance")),
            **dict.fromkeys(("changed_at", "changed_by")),
            "seen_at": "2026-01-15T02:14:22+00:00",
            "message": "The API knows no such server.",
        },
    ]


def test_a_table_of_servers_has_times_to_the_minute_and_messages_where_there_are_any() -> None:
    screen = Screen("table")
    screen.output.servers("ALIAS", [SEEN])
    screen.output.servers("ALIAS", [SEEN, UNSEEN])
    titles = ("Server", "Group", "Status", "Power", "Maint.", "Changed (UTC)", "By")
    row = ("WA1ALIASWB01", "WA1 The Web", "active", "started", "no", "2026-01-15 02:14", "nightly")
    unseen = ("WA1ALIASXX99", "", "", "", "", "", "", "The API knows no such server.")
    assert screen.drawn == [
        (titles, [row], "Group"),
        ((*titles, "Message"), [(*row, ""), unseen], "Message"),
    ]


def test_a_table_is_drawn_up_to_a_screenful_and_plain_beyond() -> None:
    screen = Screen("table")
    screen.output.results("ALIAS", [QUEUED] * LARGEST_TABLE)
    assert (len(screen.drawn[0][1]), screen.out) == (LARGEST_TABLE, "a table\n")
    assert screen.drawn[0][::2] == (("Server", "State", "Operation", "Message"), "Message")
    screen.output.results("ALIAS", [QUEUED, REFUSED] * LARGEST_TABLE)
    lines = screen.out.splitlines()[1:]
    assert lines[0] == "Server        State   Operation  Message"
    assert lines[1] == "WA1ALIASWB01  queued  wa1-12345"
    assert len(lines) == 2 * LARGEST_TABLE + 1


def test_a_table_that_can_not_be_drawn_is_printed_in_plain_columns() -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    stdout = io.StringIO()
    output = Output(stdout, None, "table", fail)
    assert output.results("ALIAS", [QUEUED]) is Delivery.PRINTED
    assert stdout.getvalue().endswith("WA1ALIASWB01  queued  wa1-12345\n")


def test_a_table_of_runs_has_its_own_order_and_the_api_only_where_it_is_another() -> None:
    row = ("run", "time", "account", "2 queued", "https://x", "3 d", "A, B")
    assert RUNS.drawn([row]) == [("run", "3 d", "account", "2 queued", "A, B", "https://x")]
    assert RUNS_HERE.drawn([row]) == [("run", "3 d", "account", "2 queued", "A, B")]
    screen = Screen("tsv")
    screen.output.table(RUNS, [row], dict)
    assert screen.out == "run\ttime\taccount\t2 queued\thttps://x\t3 d\tA, B\n"


@given(st.text(), st.text(), st.sampled_from(FORMS))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    screen = Screen(form)
    result = ServerResult(server, ServerState.UNKNOWN, Operation(message, None), message)
    screen.output.results(server, [result] * (LARGEST_TABLE + 1))
    assert "\x1b" not in screen.out
    assert "\r" not in screen.out
    if form == "tsv":
        assert [line.count("\t") for line in screen.out.split("\n")[:-1]] == [3] * 201
    if form == "json":
        json.loads(screen.out)


def test_a_record_is_a_line_a_field() -> None:
    fields = {"user": "demo", "roles": ("A", "B"), "expires": None}
    screens = {form: Screen(form) for form in FORMS}
    for screen in screens.values():
        assert screen.output.record(fields) is Delivery.PRINTED
    assert screens["table"].out == "user     demo\nroles    A, B\nexpires\n"
    assert screens["tsv"].out == "user\tdemo\nroles\tA, B\nexpires\t\n"
    assert json.loads(screens["json"].out) == {**fields, "roles": ["A", "B"]}


def test_a_line_is_the_result_itself() -> None:
    screen = Screen("table")
    assert screen.output.line("complete -F _clc clc") is Delivery.PRINTED
    assert screen.out == "complete -F _clc clc\n"


# --- notes and errors --------------------------------------------------------------------------


def test_notes_and_errors_go_to_standard_error_without_control_characters() -> None:
    screen = Screen("tsv")
    screen.output.note("one\x1b[2J\ntwo")
    screen.output.error("refused", "No.", "Look.", 5)
    assert screen.out == ""
    assert screen.err == "one[2J\ntwo\nError: No.\nLook.\n"


def test_off_a_terminal_a_note_is_as_long_as_it_is() -> None:
    screen = Screen("tsv")
    screen.output.note("word " * 100)
    assert screen.err == "word " * 100 + "\n"


def test_on_a_terminal_a_note_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    Output(None, terminal, "tsv", nothing).note("The resets continue in the cloud. " * 2)
    assert terminal.getvalue() == (
        "The resets continue in the cloud. The\nresets continue in the cloud.\n"
    )


def test_an_error_without_a_hint_is_one_line() -> None:
    screen = Screen("table")
    screen.output.error("refused", "No.", "", 5)
    assert screen.err == "Error: No.\n"


@pytest.mark.parametrize("kind", ["interrupted", "time_limit", "declined"])
def test_what_is_no_error_is_not_called_one(kind: str) -> None:
    screen = Screen("tsv")
    screen.output.error(kind, "Enough.", "Go on.", 7)
    assert screen.err == "Enough.\nGo on.\n"


def test_an_error_before_any_result_is_an_object_in_json() -> None:
    screen = Screen("json")
    screen.output.error("authentication", "No.", "Run: clc login", 4)
    assert json.loads(screen.out) == {
        "error": {"kind": "authentication", "message": "No.", "exit_code": 4}
    }
    assert screen.err == "Error: No.\nRun: clc login\n"


def test_an_error_after_a_result_leaves_standard_output_alone() -> None:
    screen = Screen("json")
    screen.output.results("ALIAS", [QUEUED])
    screen.output.error("outcome_unknown", "Hm.", "", 6)
    assert list(json.loads(screen.out)) == ["account", "servers"]


def test_a_live_display_says_notes_above_itself() -> None:
    screen = Screen("tsv")
    said: list[str] = []
    screen.output.speak_through(said.append)
    screen.output.note("one\x1b[2J")
    assert (said, screen.err) == (["one[2J"], "")


def test_a_document_is_printed_in_json_whatever_the_form() -> None:
    screen = Screen("tsv")
    assert screen.output.document({"a": ["\x1b"]}) is Delivery.PRINTED
    assert json.loads(screen.out) == {"a": [""]}


def test_a_live_display_that_fails_loses_no_note() -> None:
    def fail(_text: str) -> None:
        raise ZeroDivisionError

    screen = Screen("tsv")
    screen.output.speak_through(fail)
    screen.output.note("one")
    screen.output.note("two")
    assert screen.err == "one\ntwo\n"


# --- streams that are broken -------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_closed_standard_streams_are_no_error(form: str) -> None:
    output = Output(None, None, form, nothing)
    assert output.results("ALIAS", [QUEUED]) is Delivery.ELSEWHERE
    assert output.record({"user": "demo"}) is Delivery.ELSEWHERE
    output.error("refused", "No.", "", 5)


@pytest.mark.parametrize("form", FORMS)
def test_a_result_that_standard_output_does_not_take_goes_to_standard_error(form: str) -> None:
    stderr = io.StringIO()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        output = Output(full, stderr, form, lambda *_: "a table\n")
        assert output.results("ALIAS", [QUEUED]) is Delivery.ELSEWHERE
        output.error("output", "No space.", "", 6)
        assert output.line("more") is Delivery.ELSEWHERE
    assert stderr.getvalue() == (
        "Server        State   Operation  Message\n"
        "WA1ALIASWB01  queued  wa1-12345\n"
        "Error: No space.\n"
        "more\n"
    )


def test_a_result_on_a_stream_that_was_closed_meanwhile_goes_to_standard_error() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    stdout.close()
    assert Output(stdout, stderr, "tsv", nothing).line("x") is Delivery.ELSEWHERE
    assert stderr.getvalue() == "x\n"


def test_an_error_that_standard_output_does_not_take_is_still_told() -> None:
    stderr = io.StringIO()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        Output(full, stderr, "json", nothing).error("refused", "No.", "", 5)
    assert stderr.getvalue() == "Error: No.\n"


def test_a_standard_error_that_can_not_be_written_loses_notes_and_no_more() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        stdout = io.StringIO()
        output = Output(stdout, full, "tsv", nothing)
        output.note("lost")
        assert output.results("ALIAS", [QUEUED]) is Delivery.PRINTED
        output.note("lost, too")
        assert stdout.getvalue()


def test_a_pipe_that_nobody_reads_is_told_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stderr = io.StringIO()
    with os.fdopen(writer, "w") as pipe:
        output = Output(pipe, stderr, "tsv", nothing)
        assert output.results("ALIAS", [QUEUED]) is Delivery.CLOSED_PIPE
    assert stderr.getvalue() == ""


def test_a_pipe_that_does_not_block_is_written_whole() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    read: list[bytes] = []

    def read_all() -> None:
        with os.fdopen(reader, "rb") as file:
            read.append(file.read())

    thread = threading.Thread(target=read_all)
    with os.fdopen(writer, "w") as pipe:
        output = Output(pipe, None, "tsv", nothing)
        starter = threading.Timer(0.05, thread.start)  # when the pipe has long been full
        starter.start()
        assert output.results("ALIAS", [QUEUED] * 20_000) is Delivery.PRINTED
    starter.join()
    thread.join()
    assert read[0].count(b"WA1ALIASWB01\tqueued\twa1-12345\t\n") == 20_000


class Reluctant(io.FileIO):
    """A file that takes nothing at first, and then a little at a time."""

    has_waited = False

    def write(self, data: "Buffer") -> int | None:  # type: ignore[override]
        if not self.has_waited:
            self.has_waited = True
            return None
        return super().write(memoryview(data)[:5])


def test_short_writes_go_on_where_they_ended() -> None:
    reader, writer = os.pipe()
    raw = Reluctant(writer, "w")
    with os.fdopen(reader) as pipe:
        with io.TextIOWrapper(io.BufferedWriter(raw)) as stream:
            write_whole(stream, "one two three four")
        assert (raw.has_waited, pipe.read()) == (True, "one two three four")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("null", ["os.devnull", "'/nowhere'"])
def test_what_is_printed_leaves_nothing_to_pythons_end(
    monkeypatch: pytest.MonkeyPatch, unbuffered: str, null: str
) -> None:
    """Neither a full disk nor a missing /dev/null changes the exit code."""
    program = f"""
import contextlib, os, sys
os.devnull = {null}
from clc_reset.ui.output import Output
with contextlib.suppress(OSError):  # where nothing is buffered
    sys.stdout.write("left over")
output = Output(sys.stdout, sys.stderr, "tsv", None)
output.note("lost")
output.line("lost")
sys.stderr.write("lost")
sys.exit(7)
"""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=full, check=False
        )
    assert ended.returncode == 7


def test_letting_go_of_a_stream_without_a_file_is_no_error() -> None:
    let_go_of(io.StringIO())


def test_what_the_locale_can_not_write_is_escaped() -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, "ascii")
    Output(stdout, None, "tsv", nothing).line("Größe \udc80")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe \\udc80\n"


def test_what_a_file_can_not_hold_is_escaped(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        write_whole(file, "Größe")
    assert (tmp_path / "out").read_text("ascii") == "Gr\\xf6\\xdfe"


# --- terminals ---------------------------------------------------------------------------------


def test_a_terminal_is_one_that_is_open_and_says_so() -> None:
    closed = io.StringIO()
    closed.close()
    assert [is_terminal(each) for each in (None, io.StringIO(), closed, Terminal())] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(("term", "can"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_dumb_terminal_can_not_be_redrawn(
    monkeypatch: pytest.MonkeyPatch, term: str, can: object
) -> None:
    monkeypatch.delenv("ACCESSIBLE", raising=False)
    monkeypatch.setenv("TERM", term)
    assert can_redraw(Terminal()) is can
    monkeypatch.delenv("TERM")
    assert not can_redraw(Terminal())


def test_who_needs_an_accessible_screen_gets_none_that_is_redrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for value, can in (("1", False), ("", True), ("0", True)):
        monkeypatch.setenv("ACCESSIBLE", value)
        assert can_redraw(Terminal()) is can


def test_rich_is_not_loaded_where_it_is_not_needed() -> None:
    program = (
        "import sys, clc_reset.ui.output, clc_reset.ui.progress, clc_reset.ui.prompts; "
        "sys.exit('rich' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == 0


def test_a_terminal_tells_its_size_unless_the_environment_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LINES", raising=False)
    with pseudo_terminal(57, 13) as terminal:
        assert tuple(size_of(terminal.stream)) == (57, 13)
        for odd in ("0", "-3", "x", "²", "1" * 99):
            monkeypatch.setenv("COLUMNS", odd)
            assert size_of(terminal.stream).columns == 57
        monkeypatch.setenv("COLUMNS", "99")
        assert tuple(size_of(terminal.stream)) == (99, 13)
    monkeypatch.delenv("COLUMNS")
    assert tuple(size_of(None)) == (80, 24)
    assert tuple(size_of(Gone(), (7, 8))) == (7, 8)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("one two three four five six", ["one two three four", "five six"]),
        (
            "a word https://api.ctl.io/v2/servers/x ends",
            ["a word", "https://api.ctl.io/v2/servers/x", "ends"],
        ),
        ("it changed at 02:14:22 UTC today", ["it changed at", "02:14:22 UTC today"]),
        ("was 2026-01-15 02:14:22 UTC, by x", ["was", "2026-01-15 02:14:22 UTC,", "by x"]),
        ("that was about: 777 s after", ["that was about:", "777 s after"]),
        ("ask again with `clc status -a X`.", ["ask again with", "`clc status -a X`."]),
        ("To follow them: clc status --wait wa1-1", ["To follow them:", "clc status --wait wa1-1"]),
        ("clc status --wait wa1-1 wa1-2", ["clc status --wait wa1-1 wa1-2"]),
        ("Run: A=1 clc status --wait wa1-1", ["Run:", "A=1 clc status --wait wa1-1"]),
        ("  indented as an example is: left", ["  indented as an example is: left"]),
        (" " * 30, [" " * 30]),
    ],
)
def test_a_line_is_broken_between_words(line: str, parts: list[str]) -> None:
    assert break_line(line, 20) == parts


@given(st.text(), st.integers(1, 30))
def test_a_broken_line_loses_nothing_but_blanks(line: str, width: int) -> None:
    parts = break_line(line, width)
    assert "".join("".join(parts).split()) == "".join(line.split())
