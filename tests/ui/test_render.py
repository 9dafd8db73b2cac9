import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clc_reset.models import (
    Evidence,
    Observation,
    Operation,
    OperationStatus,
    ServerResult,
    ServerState,
)
from clc_reset.ui import table
from clc_reset.ui.render import LARGEST_TABLE, Renderer, cells_of, problem
from clc_reset.ui.streams import Delivery, Streams
from tests.ui.screens import Terminal

FORMS = ("table", "tsv", "json")
QUEUED = ServerResult("WA1ALIASWB01", ServerState.QUEUED, Operation("wa1-12345", "/x"), run="R")
REFUSED = ServerResult("WA1ALIASWB02", ServerState.FAILED, None, "No\tsuch\n\x1b[31mserver.")
THEN = datetime(2026, 1, 15, 2, 14, 22, tzinfo=UTC)
ISO = "2026-01-15T02:14:22+00:00"
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
CHANGED = QUEUED._replace(
    evidence=Evidence(changed=True, observation=SEEN, sent_at=THEN, after=13.4)
)


def printed(form: str | None, work: Callable[[Renderer], object]) -> str:
    """Return what is printed on standard output, which is no terminal."""
    stdout = io.StringIO()
    assert work(Renderer(Streams(None, stdout, None), form)) is Delivery.PRINTED
    return stdout.getvalue()


def results(form: str | None, *servers: ServerResult, **options: Any) -> str:
    return printed(form, lambda renderer: renderer.results("ALIAS", servers, **options))


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


# --- results -----------------------------------------------------------------------------------


def test_off_a_terminal_results_are_tsv_a_line_a_server_without_a_header() -> None:
    unknown = ServerResult(None, ServerState.UNKNOWN, QUEUED.operation)
    assert results(
        None,
        CHANGED,
        REFUSED._replace(evidence=Evidence(changed=False, observation=SEEN)),
        unknown._replace(evidence=Evidence(changed=None, observation=SEEN)),
        QUEUED._replace(run=None),
        run="ITS",
    ) == (
        "WA1ALIASWB01\tqueued\twa1-12345\t\tyes\tR\n"
        "WA1ALIASWB02\tfailed\t\tNo such [31mserver.\tno\tITS\n"
        "\tunknown\twa1-12345\t\t\tITS\n"
        "WA1ALIASWB01\tqueued\twa1-12345\t\t\tITS\n"
    )


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


def test_json_is_one_object_of_account_and_servers_on_one_line() -> None:
    text = results("json", CHANGED, REFUSED, extra={"dry_run": True})
    assert text.count("\n") == 1
    queued = {
        "server": "WA1ALIASWB01",
        "state": "queued",
        "operation": "wa1-12345",
        "message": None,
        "changed": True,
        "changed_at": ISO,
        "changed_by": "nightly",
        "seen_at": ISO,
        "sent_at": ISO,
        "run": "R",
    }
    refused = {"server": "WA1ALIASWB02", "state": "failed", "message": "No such [31mserver."}
    servers = [queued, {**dict.fromkeys(queued), **refused}]
    assert json.loads(text) == {"account": "ALIAS", "servers": servers, "dry_run": True}


def test_on_a_terminal_json_is_indented_and_a_table_the_usual_form() -> None:
    terminal = Terminal()
    Renderer(Streams(None, terminal, None), "json").document({"a": ["Größe\x1b"]})
    assert terminal.getvalue() == '{\n  "a": [\n    "Gr\\u00f6\\u00dfe"\n  ]\n}\n'
    assert Renderer(Streams(None, terminal, None)).form == "table"


def test_a_table_has_a_column_for_changes_where_a_server_was_looked_at() -> None:
    assert lines(results("table", QUEUED) + results("table", CHANGED, QUEUED)) == [
        "Server        State   Operation  Message",
        "WA1ALIASWB01  queued  wa1-12345",
        "Server        State   Operation  Changed     Message",
        "WA1ALIASWB01  queued  wa1-12345  after 13 s",
        "WA1ALIASWB01  queued  wa1-12345",
    ]


@pytest.mark.parametrize(
    ("changed", "known", "text"),
    [
        (True, {"after": 13.4}, "after 13 s"),
        (True, {}, "yes"),
        (False, {"after": -90.0}, "not yet"),
        (None, {"after": 13.4, "by_another": "nightly"}, "after 13 s, by nightly"),
        (None, {"by_another": "nightly"}, "by nightly"),
        (None, {"after": 1.0}, "within 2 s"),
        (None, {}, ""),
    ],
)
def test_a_change_is_told_with_its_time(
    changed: bool | None, known: dict[str, Any], text: str
) -> None:
    evidence = Evidence(changed=changed, observation=SEEN, sent_at=THEN, **known)
    shown = results("table", QUEUED._replace(evidence=evidence, message="end"))
    assert lines(shown)[1].split("wa1-12345  ")[1].removesuffix("end").strip() == text


# --- servers and the rest ----------------------------------------------------------------------


def servers(form: str, *observations: Observation) -> str:
    return printed(form, lambda renderer: renderer.servers("ALIAS", observations))


def test_the_state_of_a_server_is_in_tsv_to_the_second() -> None:
    assert servers("tsv", SEEN, UNSEEN, Observation("X", in_maintenance=True)) == (
        "WA1ALIASWB01\tThe Web\tWA1\tactive\tstarted\tno\t2026-01-15T02:14:22+00:00\tnightly\t\n"
        "WA1ALIASXX99\t\t\t\t\t\t\t\tThe API knows no such server.\n"
        "X\t\t\t\t\tyes\t\t\t\n"
    )


def test_the_state_of_a_server_is_in_json_with_null_for_what_is_not_known() -> None:
    seen = {
        "server": "WA1ALIASWB01",
        "group": "The Web",
        "datacenter": "WA1",
        "status": "active",
        "power": "started",
        "maintenance": False,
        "changed_at": ISO,
        "changed_by": "nightly",
        "seen_at": ISO,
        "message": None,
    }
    known = {"server": "WA1ALIASXX99", "seen_at": ISO, "message": UNSEEN.problem}
    shown = {"account": "ALIAS", "servers": [seen, {**dict.fromkeys(seen), **known}]}
    assert json.loads(servers("json", SEEN, UNSEEN)) == shown


def test_a_table_of_servers_has_times_to_the_minute_and_messages_where_there_are_any() -> None:
    unnamed = SEEN._replace(group="7ac2128807d841ae1abe3bc64b35bbdc")
    shown = lines(servers("table", SEEN) + servers("table", unnamed) + servers("table", UNSEEN))
    assert shown[:2] == [
        "Server        Group        Status  Power    Maint.  Changed (UTC)     By",
        "WA1ALIASWB01  WA1 The Web  active  started  no      2026-01-15 02:14  nightly",
    ]
    assert "WA1 7ac21288..  " in shown[3]
    assert shown[4].endswith("By  Message")
    assert shown[5].endswith("  The API knows no such server.")


@pytest.mark.parametrize("is_drawn", [True, False])
def test_a_table_that_is_long_or_can_not_be_drawn_is_in_plain_columns_that_align(
    monkeypatch: pytest.MonkeyPatch, *, is_drawn: bool
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    if not is_drawn:
        monkeypatch.setattr(table, "draw", fail)
    number = LARGEST_TABLE if is_drawn else 1
    two = [QUEUED._replace(server=name, message="last") for name in ("WA1ALIASWB01", "界界")]
    assert results("table", *two * number).splitlines() == [
        "Server        State   Operation  Message",
        *["WA1ALIASWB01  queued  wa1-12345  last", "界界          queued  wa1-12345  last"]
        * number,
    ]


@pytest.mark.parametrize("text", ["plain", "界界", "e\u0301", "ﾊﾝ", "Größe", "한글"])
def test_the_width_of_a_text_is_what_rich_measures(text: str) -> None:
    assert cells_of(text) == cell_len(text)


@given(st.text(), st.text(), st.sampled_from(FORMS))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    operation = Operation(message, None)
    result = ServerResult(server, ServerState.UNKNOWN, operation, message, run=server)
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
def test_without_standard_output_results_are_plain_columns_on_standard_error(form: str) -> None:
    stderr = io.StringIO()
    renderer = Renderer(Streams(None, None, stderr), form)
    assert renderer.results("ALIAS", [QUEUED]) is Delivery.ELSEWHERE
    assert renderer.record({"user": "demo"}) is Delivery.ELSEWHERE
    assert renderer.line("more") is Delivery.ELSEWHERE
    assert stderr.getvalue() == (
        "Server        State   Operation  Message\n"
        "WA1ALIASWB01  queued  wa1-12345\n"
        "user  demo\nmore\n"
    )
