import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.errors import OutputError
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.output import (
    FORMS,
    LARGEST_TABLE,
    MEMBERS,
    NoProgress,
    Output,
    PlainProgress,
    let_go_of,
)

QUEUED = ServerResult("WA1ALIASWB01", ServerState.QUEUED, Operation("wa1-12345", "/x"))
REFUSED = ServerResult("WA1ALIASWB02", ServerState.FAILED, None, "No\tsuch\n\x1b[31mserver.")


class Screen:
    """An Output and what it wrote."""

    def __init__(self, form: str) -> None:
        self.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.stderr = io.TextIOWrapper(io.BytesIO(), "utf-8")
        self.drawn: list[Sequence[Sequence[str]]] = []
        self.output = Output(self.stdout, self.stderr, form, self._draw)

    def _draw(
        self, titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO
    ) -> None:
        assert titles == ("Server", "State", "Operation", "Message")
        assert wide == "Message"
        assert stream is self.stdout
        self.drawn.append(rows)

    @property
    def out(self) -> str:
        return self.stdout.buffer.getvalue().decode()

    @property
    def err(self) -> str:
        return self.stderr.buffer.getvalue().decode()


def test_tsv_is_a_line_a_server_without_a_header() -> None:
    screen = Screen("tsv")
    screen.output.results("ALIAS", [QUEUED, REFUSED])
    assert screen.out == (
        "WA1ALIASWB01\tqueued\twa1-12345\t\nWA1ALIASWB02\tfailed\t\tNo such [31mserver.\n"
    )


def test_json_is_one_object_of_account_and_servers() -> None:
    screen = Screen("json")
    screen.output.results("ALIAS", [QUEUED, REFUSED], {"dry_run": True})
    assert json.loads(screen.out) == {
        "account": "ALIAS",
        "servers": [
            {
                "server": "WA1ALIASWB01",
                "state": "queued",
                "operation": "wa1-12345",
                "message": None,
            },
            {
                "server": "WA1ALIASWB02",
                "state": "failed",
                "operation": None,
                "message": "No such [31mserver.",
            },
        ],
        "dry_run": True,
    }


def test_the_members_of_groups_have_columns_of_their_own() -> None:
    row = ("WA1ALIASWB01", "The\tWeb", "WA1")
    screens = {form: Screen(form) for form in ("tsv", "json", "table")}
    for screen in screens.values():
        screen.output.servers("ALIAS", MEMBERS, [row] * (LARGEST_TABLE + 1))
    assert screens["tsv"].out.startswith("WA1ALIASWB01\tThe Web\tWA1\n")
    shown = json.loads(screens["json"].out)
    assert shown["account"] == "ALIAS"
    assert shown["servers"][0] == {
        "server": "WA1ALIASWB01",
        "group": "The Web",
        "datacenter": "WA1",
    }
    assert screens["table"].out.startswith("Server        Group    Data centre\n")


def test_a_table_is_drawn_up_to_a_screenful_and_plain_beyond() -> None:
    screen = Screen("table")
    screen.output.results("ALIAS", [QUEUED] * LARGEST_TABLE)
    assert (len(screen.drawn[0]), screen.out) == (LARGEST_TABLE, "")
    screen.output.results("ALIAS", [QUEUED, REFUSED] * LARGEST_TABLE)
    lines = screen.out.splitlines()
    assert lines[0] == "Server        State   Operation  Message"
    assert lines[1] == "WA1ALIASWB01  queued  wa1-12345"
    assert len(lines) == 2 * LARGEST_TABLE + 1


@given(st.text(), st.text(), st.sampled_from(FORMS))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    screen = Screen(form)
    result = ServerResult(server, ServerState.UNKNOWN, Operation(message, ""), message)
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
        screen.output.record(fields)
    assert screens["table"].out == "user     demo\nroles    A, B\nexpires\n"
    assert screens["tsv"].out == "user\tdemo\nroles\tA, B\nexpires\t\n"
    assert json.loads(screens["json"].out) == {**fields, "roles": ["A", "B"]}


def test_a_line_is_the_result_itself() -> None:
    screen = Screen("table")
    screen.output.line("complete -F _clc clc")
    assert screen.out == "complete -F _clc clc\n"


def test_notes_and_errors_go_to_standard_error_without_control_characters() -> None:
    screen = Screen("tsv")
    screen.output.note("one\x1b[2J\ntwo")
    screen.output.error("refused", "No.", "Look.", 5)
    assert screen.out == ""
    assert screen.err == "one[2J\ntwo\nError: No.\nLook.\n"


def test_an_error_without_a_hint_is_one_line() -> None:
    screen = Screen("table")
    screen.output.error("refused", "No.", "", 5)
    assert screen.err == "Error: No.\n"


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


@pytest.mark.parametrize("form", FORMS)
def test_closed_standard_streams_are_no_error(form: str) -> None:
    output = Output(None, None, form, lambda *_: None)
    output.results("ALIAS", [QUEUED])
    output.record({"user": "demo"})
    output.error("refused", "No.", "", 5)


def test_a_standard_error_that_can_not_be_written_loses_notes_and_no_more() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        stdout = io.StringIO()
        output = Output(stdout, full, "tsv", lambda *_: None)
        output.note("lost")
        output.results("ALIAS", [QUEUED])
        output.note("lost, too")
        assert stdout.getvalue()


def test_a_result_that_standard_output_does_not_take_goes_to_standard_error() -> None:
    stderr = io.StringIO()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        output = Output(full, stderr, "json", lambda *_: None)
        with pytest.raises(OutputError, match="No space left"):
            output.results("ALIAS", [QUEUED])
        output.error("output", "No space.", "", 6)
    assert "WA1ALIASWB01  queued  wa1-12345" in stderr.getvalue()


def test_an_error_that_standard_output_does_not_take_is_still_told() -> None:
    stderr = io.StringIO()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        Output(full, stderr, "json", lambda *_: None).error("refused", "No.", "", 5)
    assert stderr.getvalue() == "Error: No.\n"


def test_a_stream_with_something_that_it_can_not_write_is_no_error_yet() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        full.write("left over")
        Output(full, None, "tsv", lambda *_: None)
        let_go_of(full)


def test_a_pipe_that_nobody_reads_is_an_error_of_its_own() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, pytest.raises(BrokenPipeError):
        Output(pipe, None, "tsv", lambda *_: None).results("ALIAS", [QUEUED])


def test_what_the_locale_can_not_write_is_escaped() -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, "ascii")
    Output(stdout, None, "tsv", lambda *_: None).line("Größe")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe\n"


WA1 = Operation("wa1-12345", "/x")
VA1 = Operation("va1-777", "/y")


def test_plain_progress_is_a_line_a_change_and_one_a_minute_without() -> None:
    said: list[str] = []
    progress = PlainProgress(said.append, {WA1: ["WA1ALIASWB01"], VA1: []})
    progress.changed(WA1, OperationStatus("executing"), 12.4)
    progress.tick(72.3)
    progress.tick(72.5)
    progress.changed(VA1, OperationStatus("succeeded"), 80.0)
    progress.tick(139.0)
    progress.tick(140.0)
    assert said == [
        "WA1ALIASWB01 wa1-12345 executing (12 s)",
        "2 operations still running (72 s)",
        "va1-777 succeeded (80 s)",
        "1 operation still running (140 s)",
    ]


def test_a_line_of_progress_names_three_servers_and_counts_the_rest() -> None:
    said: list[str] = []
    progress = PlainProgress(said.append, {WA1: ["A", "B", "C", "D", "E"]})
    progress.changed(WA1, OperationStatus("executing"), 0.2)
    assert said == ["A, B, C and 2 more wa1-12345 executing (0 s)"]


def test_no_progress_is_silent() -> None:
    progress = NoProgress()
    progress.changed(WA1, OperationStatus("executing"), 0.2)
    progress.tick(100.0)


def test_a_live_display_says_notes_above_itself() -> None:
    screen = Screen("tsv")
    said: list[str] = []
    with screen.output.above(said.append):
        screen.output.note("one\x1b[2J")
    screen.output.note("two")
    assert (said, screen.err) == (["one[2J"], "two\n")


@pytest.mark.parametrize("kind", ["interrupted", "time_limit", "declined"])
def test_what_is_no_error_is_not_called_one(kind: str) -> None:
    screen = Screen("tsv")
    screen.output.error(kind, "Enough.", "Go on.", 7)
    assert screen.err == "Enough.\nGo on.\n"
