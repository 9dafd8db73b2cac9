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
from clc_reset.ui.render import LARGEST_TABLE, Renderer, cells_of
from clc_reset.ui.streams import Delivery, Streams
from tests.builders import ONE, A, B, queued, refused, unknown
from tests.ui.screens import Terminal

UNSURE = Evidence(changed=None, observation=Observation(A))
QUEUED = queued(A)._replace(run="R")
RESULTS = (
    QUEUED._replace(evidence=UNSURE._replace(changed=True, after=13.4)),
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


def test_json_has_times_in_utc_and_is_indented_on_a_terminal() -> None:
    then = datetime(2026, 1, 15, 2, 14, 22, tzinfo=UTC)
    seen = Observation(A, then, then, "nightly")
    looked = UNSURE._replace(changed=True, observation=seen, sent_at=then)
    (shown,) = json.loads(results("json", QUEUED._replace(evidence=looked)))["servers"]
    times = {shown[name] for name in ("changed_at", "seen_at", "sent_at")}
    assert (shown["changed"], times) == (True, {"2026-01-15T02:14:22+00:00"})
    terminal = Terminal()
    Renderer(Streams(None, terminal, None), "json").document({"a": ["Größe\x1b"]})
    assert terminal.getvalue() == '{\n  "a": [\n    "Gr\\u00f6\\u00dfe"\n  ]\n}\n'
    assert Renderer(Streams(None, terminal, None)).form == "table"


def test_a_status_is_in_plain_words_but_with_verbose() -> None:
    waiting = QUEUED._replace(status=OperationStatus("notStarted"), message="slow.")
    assert "\twaiting; slow.\t" in results("tsv", waiting)
    assert "\tnotStarted; slow.\t" in results("tsv", waiting, verbose=True)


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
    evidence = UNSURE._replace(changed=changed, after=after, by_another=by)
    shown = results("table", QUEUED._replace(evidence=evidence, message="end"))
    assert shown.split("wa1-1  ")[1].split("  end")[0].strip() == text


def test_of_a_group_without_a_name_a_table_shows_the_beginning_of_its_id() -> None:
    seen = Observation("X", in_maintenance=True, group="7ac21288" * 4)
    for form, group in (("table", "7ac21288.."), ("tsv", "7ac21288" * 4)):
        shown = printed(form, lambda renderer: renderer.servers("ALIAS", [seen]))
        assert shown.splitlines()[-1].split() == ["X", group, "yes"]


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


@given(st.text(), st.text(), st.sampled_from(["table", "tsv", "json"]))
def test_text_of_the_api_is_data_in_every_form(server: str, message: str, form: str) -> None:
    result = unknown(server, message)._replace(operation=Operation(message, None), run=server)
    number = LARGEST_TABLE + 1 if form == "table" else 2
    out = results(form, *[result] * number)
    assert not set(out) & set("\x1b\r")
    if form == "tsv":
        assert [line.count("\t") for line in out.split("\n")[:-1]] == [5] * 2
    if form == "json":
        json.loads(out)


def test_several_values_of_a_record_are_on_its_line() -> None:
    fields = {"roles": ("A", "B"), "expires": None}
    shown = printed("table", lambda renderer: renderer.record(fields))
    assert shown == "roles    A, B\nexpires\n"
