import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clc_reset.models import Evidence, Observation, Operation, OperationStatus
from clc_reset.ui import table
from clc_reset.ui.render import LARGEST_TABLE, Renderer, cells_of, problem
from clc_reset.ui.streams import Delivery, Streams
from tests.builders import ONE, A, B, queued, refused, unknown
from tests.ui.screens import Terminal

FORMS = ("table", "tsv", "json")
THEN = datetime(2026, 1, 15, 2, 14, 22, tzinfo=UTC)
ISO = "2026-01-15T02:14:22+00:00"
SEEN = Observation(
    A,
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
SERVERS = (SEEN, UNSEEN, Observation("X", in_maintenance=True, group="7ac21288" * 4))
UNSURE = Evidence(changed=None, observation=SEEN)
QUEUED = queued(A)._replace(run="R")
RESULTS = (
    QUEUED._replace(evidence=UNSURE._replace(changed=True, sent_at=THEN, after=13.4)),
    refused(B, "No\tsuch\n\x1b[31mserver.")._replace(evidence=UNSURE._replace(changed=False)),
    unknown("")._replace(server=None, operation=ONE, evidence=UNSURE),
    queued(A),
)


def printed(form: str | None, work: Callable[[Renderer], object]) -> str:
    """Return what is printed on standard output, which is no terminal."""
    stdout = io.StringIO()
    assert work(Renderer(Streams(None, stdout, None), form)) is Delivery.PRINTED
    return re.sub(" +\n", "\n", stdout.getvalue()) if form == "table" else stdout.getvalue()


def results(form: str | None, *servers: Any, **options: Any) -> str:
    return printed(form, lambda renderer: renderer.results("ALIAS", servers, **options))


def servers(form: str, *observations: Observation) -> str:
    return printed(form, lambda renderer: renderer.servers("ALIAS", observations))


# --- results -----------------------------------------------------------------------------------


def test_off_a_terminal_results_are_tsv_a_line_a_server_without_a_header() -> None:
    text = results(None, *RESULTS, run="ITS")
    assert text == results("tsv", *RESULTS, run="ITS")
    assert text == (
        f"{A}\tqueued\twa1-1\t\tyes\tR\n"
        f"{B}\tfailed\t\tNo such [31mserver.\tno\tITS\n"
        "\tunknown\twa1-1\t\t\tITS\n"
        f"{A}\tqueued\twa1-1\t\t\tITS\n"
    )


def test_a_table_has_a_column_for_changes_where_a_server_was_looked_at() -> None:
    assert results("table", *RESULTS) == (
        "Server        State    Operation  Changed     Message\n"
        f"{A}  queued   wa1-1      after 13 s\n"
        f"{B}  failed              not yet     No such [31mserver.\n"
        "              unknown  wa1-1\n"
        f"{A}  queued   wa1-1\n"
    )
    plain = f"Server        State   Operation  Message\n{A}  queued  wa1-1\n"
    assert results("table", QUEUED) == plain


def test_json_is_one_object_of_account_and_servers_on_one_line() -> None:
    text = results("json", *RESULTS[:2], extra={"dry_run": True})
    assert text.count("\n") == 1
    first = {
        "server": A,
        "state": "queued",
        "operation": "wa1-1",
        "message": None,
        "changed": True,
        "changed_at": ISO,
        "changed_by": "nightly",
        "seen_at": ISO,
        "sent_at": ISO,
        "run": "R",
    }
    second = {
        **first,
        "server": B,
        "state": "failed",
        "operation": None,
        "message": "No such [31mserver.",
        "changed": False,
        "sent_at": None,
        "run": None,
    }
    assert json.loads(text) == {"account": "ALIAS", "servers": [first, second], "dry_run": True}


def test_on_a_terminal_json_is_indented_and_a_table_the_usual_form() -> None:
    terminal = Terminal()
    Renderer(Streams(None, terminal, None), "json").document({"a": ["Größe\x1b"]})
    assert terminal.getvalue() == '{\n  "a": [\n    "Gr\\u00f6\\u00dfe"\n  ]\n}\n'
    assert Renderer(Streams(None, terminal, None)).form == "table"


@pytest.mark.parametrize(
    ("form", "verbose", "message"),
    [
        ("table", False, "waiting; slow."),
        ("tsv", False, "waiting; slow."),
        ("tsv", True, "notStarted; slow."),
        ("json", False, "notStarted; slow."),
    ],
)
def test_a_status_is_in_plain_words_but_for_json_and_verbose(
    form: str, message: str, *, verbose: bool
) -> None:
    waiting = QUEUED._replace(status=OperationStatus("notStarted"), message="slow.")
    assert message in results(form, waiting, verbose=verbose)


@pytest.mark.parametrize(
    ("changed", "after", "by", "text"),
    [
        (True, None, None, "yes"),
        (False, -90.0, None, "not yet"),
        (None, 13.4, "nightly", "after 13 s, by nightly"),
        (None, None, "nightly", "by nightly"),
        (None, 1.0, None, "within 2 s"),
    ],
)
def test_a_change_is_told_with_its_time(
    changed: bool | None, after: float | None, by: str | None, text: str
) -> None:
    evidence = Evidence(changed, SEEN, THEN, after, by)
    shown = results("table", QUEUED._replace(evidence=evidence, message="end"))
    assert shown.split("wa1-1  ")[1].split("  end")[0].strip() == text


# --- servers and the rest ----------------------------------------------------------------------


def test_the_state_of_a_server_is_in_tsv_to_the_second() -> None:
    assert servers("tsv", *SERVERS) == (
        f"{A}\tThe Web\tWA1\tactive\tstarted\tno\t2026-01-15T02:14:22+00:00\tnightly\t\n"
        "WA1ALIASXX99\t\t\t\t\t\t\t\tThe API knows no such server.\n"
        f"X\t{'7ac21288' * 4}\t\t\t\tyes\t\t\t\n"
    )


def test_the_state_of_a_server_is_in_json_with_null_for_what_is_not_known() -> None:
    seen, unseen, _ = json.loads(servers("json", *SERVERS))["servers"]
    known = {"server": "WA1ALIASXX99", "seen_at": ISO, "message": UNSEEN.problem}
    assert unseen == {**dict.fromkeys(seen), **known}
    assert list(seen.values()) == [
        *(A, "The Web", "WA1", "active", "started", False),
        *(ISO, "nightly", ISO, None),
    ]


def test_a_table_of_servers_has_times_to_the_minute_and_messages_where_there_are_any() -> None:
    titles = "Server        Group        Status  Power    Maint.  Changed (UTC)     By"
    row = f"{A}  WA1 The Web  active  started  no      2026-01-15 02:14  nightly"
    assert servers("table", SEEN) == f"{titles}\n{row}\n"
    _, _, unseen, unnamed, _ = servers("table", *SERVERS).split("\n")
    assert unseen.endswith("  The API knows no such server.")
    assert unnamed.split() == ["X", "7ac21288..", "yes"]


@pytest.mark.parametrize("is_drawn", [True, False])
def test_a_table_that_is_long_or_can_not_be_drawn_is_in_plain_columns_that_align(
    monkeypatch: pytest.MonkeyPatch, *, is_drawn: bool
) -> None:
    if not is_drawn:
        monkeypatch.setattr(table, "draw", None)
    number = LARGEST_TABLE if is_drawn else 1
    two = [QUEUED._replace(server=name, message="last") for name in (A, "界界")]
    rows = f"{A}  queued  wa1-1      last\n界界          queued  wa1-1      last\n"
    titles = "Server        State   Operation  Message\n"
    assert results("table", *two * number) == titles + rows * number


@pytest.mark.parametrize("text", ["plain", "界界", "e\u0301", "ﾊﾝ", "Größe", "한글"])
def test_the_width_of_a_text_is_what_rich_measures(text: str) -> None:
    assert cells_of(text) == cell_len(text)


@given(st.text(), st.text(), st.sampled_from(FORMS))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    result = unknown(server, message)._replace(operation=Operation(message, None), run=server)
    out = results(form, *[result] * (LARGEST_TABLE + 1))
    assert not set(out) & set("\x1b\r")
    if form == "tsv":
        assert [line.count("\t") for line in out.split("\n")[:-1]] == [5] * 201
    if form == "json":
        json.loads(out)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("table", "user     demo\nroles    A, B\nexpires\n"),
        ("tsv", "user\tdemo\nroles\tA, B\nexpires\t\n"),
        ("json", '{"user": "demo", "roles": ["A", "B"], "expires": null}\n'),
    ],
)
def test_a_record_is_a_line_a_field(form: str, text: str) -> None:
    fields = {"user": "demo", "roles": ("A", "B"), "expires": None}
    assert printed(form, lambda renderer: renderer.record(fields)) == text


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "hint", "text"),
    [
        ("refused", "Look.", "Error: No.\nLook.\n"),
        ("refused", "", "Error: No.\n"),
        ("interrupted", "Go on.", "No.\nGo on.\n"),
        ("time_limit", "Go on.", "No.\nGo on.\n"),
        ("declined", "", "No.\n"),
    ],
)
def test_an_error_and_its_hint_go_to_standard_error_and_in_json_to_both_unless_there_is_a_result(
    kind: str, hint: str, text: str
) -> None:
    for form in FORMS:
        stdout, stderr = io.StringIO(), io.StringIO()
        renderer = Renderer(Streams(None, stdout, stderr), form)
        renderer.error(kind, "No.", hint, 5)
        renderer.error(kind, "No.", hint, 5)
        assert stderr.getvalue() == text * 2
        error = json.dumps({"error": problem(kind, "No.", 5)}) + "\n"
        assert stdout.getvalue() == (error if form == "json" else "")


@pytest.mark.parametrize("form", FORMS)
def test_without_standard_output_results_and_errors_are_on_standard_error(form: str) -> None:
    stderr = io.StringIO()
    renderer = Renderer(Streams(None, None, stderr), form)
    assert renderer.results("ALIAS", [QUEUED]) is Delivery.ELSEWHERE
    renderer.error("refused", "No.", "", 5)
    assert stderr.getvalue() == results(form, QUEUED) + "Error: No.\n"
