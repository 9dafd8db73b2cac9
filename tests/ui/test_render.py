import io
import json
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
from clc_reset.ui.render import LARGEST_TABLE, RUNS, RUNS_HERE, Renderer, cells_of, problem
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


class Screen:
    """A Renderer and its streams."""

    def __init__(self, form: str | None) -> None:
        self.stdout = io.StringIO()
        self.stderr = io.StringIO()
        self.renderer = Renderer(Streams(None, self.stdout, self.stderr), form)

    @property
    def out(self) -> str:
        return self.stdout.getvalue()

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.out.splitlines()]


def test_the_usual_form_is_a_table_on_a_terminal_and_tsv_elsewhere() -> None:
    assert Renderer(Streams(None, Terminal(), None)).form == "table"
    assert Screen(None).renderer.form == "tsv"


# --- results -----------------------------------------------------------------------------------


def test_tsv_is_a_line_a_server_without_a_header() -> None:
    screen = Screen("tsv")
    unknown = ServerResult(None, ServerState.UNKNOWN, QUEUED.operation)
    results = [
        CHANGED,
        REFUSED._replace(evidence=Evidence(changed=False, observation=SEEN)),
        unknown._replace(evidence=Evidence(changed=None, observation=SEEN)),
    ]
    assert screen.renderer.results("ALIAS", results) is Delivery.PRINTED
    assert screen.out == (
        "WA1ALIASWB01\tqueued\twa1-12345\t\tyes\tR\n"
        "WA1ALIASWB02\tfailed\t\tNo such [31mserver.\tno\t\n"
        "\tunknown\twa1-12345\t\t\t\n"
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
    screen = Screen(form)
    waiting = QUEUED._replace(status=OperationStatus("notStarted"), message="slow.")
    screen.renderer.results("ALIAS", [waiting], verbose=verbose)
    assert message in screen.out


def test_json_is_one_object_of_account_and_servers_on_one_line() -> None:
    screen = Screen("json")
    screen.renderer.results("ALIAS", [CHANGED, REFUSED], {"dry_run": True})
    assert screen.out.count("\n") == 1
    assert json.loads(screen.out) == {
        "account": "ALIAS",
        "servers": [
            {
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
            },
            {
                "server": "WA1ALIASWB02",
                "state": "failed",
                "operation": None,
                "message": "No such [31mserver.",
                **dict.fromkeys(("changed", "changed_at", "changed_by", "seen_at", "sent_at")),
                "run": None,
            },
        ],
        "dry_run": True,
    }


def test_json_is_indented_on_a_terminal() -> None:
    terminal = Terminal()
    Renderer(Streams(None, terminal, None), "json").document({"a": ["Größe\x1b"]})
    assert terminal.getvalue() == '{\n  "a": [\n    "Gr\\u00f6\\u00dfe"\n  ]\n}\n'


def test_a_table_has_a_column_for_changes_where_a_server_was_looked_at() -> None:
    screen = Screen("table")
    screen.renderer.results("ALIAS", [QUEUED])
    screen.renderer.results("ALIAS", [CHANGED, QUEUED])
    assert screen.lines() == [
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
    screen = Screen("table")
    evidence = Evidence(changed=changed, observation=SEEN, sent_at=THEN, **known)
    screen.renderer.results("ALIAS", [QUEUED._replace(evidence=evidence, message="end")])
    assert screen.lines()[1].split("wa1-12345  ")[1].removesuffix("end").strip() == text


# --- servers, runs and the rest ----------------------------------------------------------------


def test_the_state_of_a_server_is_in_tsv_to_the_second() -> None:
    screen = Screen("tsv")
    screen.renderer.servers("ALIAS", [SEEN, UNSEEN, Observation("X", in_maintenance=True)])
    assert screen.out == (
        "WA1ALIASWB01\tThe Web\tWA1\tactive\tstarted\tno\t2026-01-15T02:14:22+00:00\tnightly\t\n"
        "WA1ALIASXX99\t\t\t\t\t\t\t\tThe API knows no such server.\n"
        "X\t\t\t\t\tyes\t\t\t\n"
    )


def test_the_state_of_a_server_is_in_json_with_null_for_what_is_not_known() -> None:
    screen = Screen("json")
    screen.renderer.servers("ALIAS", [SEEN, UNSEEN], {"more": 1})
    shown = json.loads(screen.out)
    assert (shown["account"], shown["more"]) == ("ALIAS", 1)
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
    assert shown["servers"] == [seen, {**dict.fromkeys(seen), **known}]


def test_a_table_of_servers_has_times_to_the_minute_and_messages_where_there_are_any() -> None:
    screen = Screen("table")
    screen.renderer.servers("ALIAS", [SEEN])
    screen.renderer.servers("ALIAS", [SEEN._replace(group="7ac2128807d841ae1abe3bc64b35bbdc")])
    screen.renderer.servers("ALIAS", [UNSEEN])
    lines = screen.lines()
    assert lines[0] == ("Server        Group        Status  Power    Maint.  Changed (UTC)     By")
    assert lines[1] == (
        "WA1ALIASWB01  WA1 The Web  active  started  no      2026-01-15 02:14  nightly"
    )
    assert "WA1 7ac21288..  " in lines[3]
    assert lines[4].endswith("By  Message")
    assert lines[5].endswith("  The API knows no such server.")


def test_a_table_of_runs_has_its_own_order_and_the_api_only_where_it_is_another() -> None:
    row = ("run", "time", "account", "2 queued", "https://x", "3 d", "A, B")
    screen = Screen("table")
    for columns in (RUNS, RUNS_HERE):
        screen.renderer.table(columns, [row], dict)
    assert [" ".join(line.split()) for line in screen.lines()] == [
        "Run Age Account Servers First servers API",
        "run 3 d account 2 queued A, B https://x",
        "Run Age Account Servers First servers",
        "run 3 d account 2 queued A, B",
    ]
    screen = Screen("tsv")
    screen.renderer.table(RUNS, [row], dict)
    assert screen.out == "run\ttime\taccount\t2 queued\thttps://x\t3 d\tA, B\n"


def test_a_long_table_is_in_plain_columns_that_align() -> None:
    screen = Screen("table")
    results = [QUEUED._replace(server=name, message="last") for name in ("WA1ALIASWB01", "界界")]
    screen.renderer.results("ALIAS", results * LARGEST_TABLE)
    assert screen.lines() == [
        "Server        State   Operation  Message",
        *["WA1ALIASWB01  queued  wa1-12345  last", "界界          queued  wa1-12345  last"]
        * LARGEST_TABLE,
    ]


@pytest.mark.parametrize("text", ["plain", "界界", "e\u0301", "ﾊﾝ", "Größe", "한글"])
def test_the_width_of_a_text_is_what_rich_measures(text: str) -> None:
    assert cells_of(text) == cell_len(text)


def test_a_table_that_can_not_be_drawn_is_in_plain_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(table, "draw", fail)
    screen = Screen("table")
    assert screen.renderer.results("ALIAS", [QUEUED]) is Delivery.PRINTED
    assert screen.out.endswith("WA1ALIASWB01  queued  wa1-12345\n")


@given(st.text(), st.text(), st.sampled_from(FORMS))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    screen = Screen(form)
    result = ServerResult(
        server, ServerState.UNKNOWN, Operation(message, None), message, run=server
    )
    screen.renderer.results(server, [result] * (LARGEST_TABLE + 1))
    assert "\x1b" not in screen.out
    assert "\r" not in screen.out
    if form == "tsv":
        assert [line.count("\t") for line in screen.out.split("\n")[:-1]] == [5] * 201
    if form == "json":
        json.loads(screen.out)


def test_a_record_is_a_line_a_field() -> None:
    fields = {"user": "demo", "roles": ("A", "B"), "expires": None}
    screens = {form: Screen(form) for form in FORMS}
    for screen in screens.values():
        assert screen.renderer.record(fields) is Delivery.PRINTED
    assert screens["table"].out == "user     demo\nroles    A, B\nexpires\n"
    assert screens["tsv"].out == "user\tdemo\nroles\tA, B\nexpires\t\n"
    assert json.loads(screens["json"].out) == {**fields, "roles": ["A", "B"]}


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
def test_an_error_and_its_hint_go_to_standard_error(kind: str, hint: str, text: str) -> None:
    screen = Screen("tsv")
    screen.renderer.error(kind, "No.", hint, 5)
    assert (screen.out, screen.stderr.getvalue()) == ("", text)


def test_in_json_an_error_is_an_object_unless_there_is_a_result() -> None:
    screen = Screen("json")
    screen.renderer.error("authentication", "No.", "Run: clc login", 4)
    assert json.loads(screen.out) == {"error": problem("authentication", "No.", 4)}
    screen.renderer.error("outcome_unknown", "Hm.", "", 6)
    assert screen.out.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
def test_without_standard_output_results_are_plain_columns_on_standard_error(form: str) -> None:
    stderr = io.StringIO()
    renderer = Renderer(Streams(None, None, stderr), form)
    assert renderer.results("ALIAS", [QUEUED]) is Delivery.ELSEWHERE
    assert renderer.record({"user": "demo"}) is Delivery.ELSEWHERE
    assert renderer.line("more") is Delivery.ELSEWHERE
    renderer.error("refused", "No.", "", 5)
    assert stderr.getvalue() == (
        "Server        State   Operation  Message\n"
        "WA1ALIASWB01  queued  wa1-12345\n"
        "user  demo\nmore\nError: No.\n"
    )
