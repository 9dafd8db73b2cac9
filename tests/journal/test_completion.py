from functools import partial

import pytest

from clc_reset.journal import completion
from clc_reset.journal.runs import LISTINGS_KEPT
from clc_reset.models import Operation
from tests.builders import FAR, ONE, ORIGIN, A, B, C, operation, queued, refused, sent
from tests.machine import AWAY, JUNK, OTHER_ORIGIN, SUB, Machine

TWO = operation("va1-2")


class Tab:
    """A Tab press with the environment of a machine: ORIGIN, beginning and number of names."""

    def __init__(self, machine: Machine) -> None:
        self.environ = {"CLC_STATE_DIR": str(machine.folder)}
        self.servers = partial(completion.servers, self.environ)
        self.operations = partial(completion.operations, self.environ)
        self.runs = partial(completion.runs, self.environ)
        self.groups = partial(completion.groups, self.environ)

    def all(self) -> list[str]:
        queries = (self.servers, self.operations, self.runs, self.groups)
        return [name for query in queries for name in query(ORIGIN, "", 9)]


@pytest.fixture
def tab(machine: Machine) -> Tab:
    return Tab(machine)


def test_servers_are_those_of_the_latest_resets_and_then_those_listed(
    machine: Machine, tab: Tab
) -> None:
    machine.begin(A, B)
    machine.begin(FAR, where=SUB)
    machine.ended(sent(refused("WA1ALIASNO01")))  # the API may not know it
    machine.begin(B)
    machine.begin(C, where=AWAY)
    machine.journal.keep_listing(ORIGIN, "ALIAS", [], [A, "WA1ALIASZZ01", "VA1ALIASZZ02"])
    assert tab.servers(ORIGIN, "", 9) == [B, FAR, A, "VA1ALIASZZ02", "WA1ALIASZZ01"]
    assert tab.servers(ORIGIN, "wa1", 9) == [B, A, "WA1ALIASZZ01"]
    assert tab.servers(ORIGIN, "", 2) == [B, FAR]
    assert tab.servers("https://none", "", 9) == tab.servers(ORIGIN, "\udcfc", 9) == []


def test_operations_and_runs_are_offered_the_latest_first(machine: Machine, tab: Tab) -> None:
    machine.ended(sent(queued(A), queued(B)))
    second = machine.ended(sent(queued(FAR, TWO)))
    third = machine.ended(sent(refused(A)))
    machine.begin(A, where=AWAY).answered(sent(queued(A, Operation("wa1-9", None))))
    assert tab.operations(ORIGIN, "", 9) == [TWO.id, ONE.id]
    assert tab.operations(ORIGIN, "WA1-", 9) == [ONE.id]
    assert tab.operations(ORIGIN, "", 1) == [TWO.id]
    assert tab.runs(ORIGIN, "2026", 2) == [third.run, second.run]
    assert tab.runs(ORIGIN, "2027", 9) == []


def test_a_new_listing_replaces_that_of_its_account(machine: Machine, tab: Tab) -> None:
    keep = machine.journal.keep_listing
    keep(ORIGIN, "ALIAS", [("WA1", "Old")], [B])
    keep(ORIGIN, "ALIAS", [("WA1", "Web"), ("WA1", "Web")], [A, A])
    keep(ORIGIN, "SUB", [("VA1", "Web"), ("VA1", "B\u00e4tch \ud800")], [FAR])
    keep(OTHER_ORIGIN, "ALIAS", [("WA1", "Db")], ["WA1ALIASDB01"])
    assert tab.servers(ORIGIN, "", 9) == [A, FAR]
    assert tab.groups(ORIGIN, "", 9) == ["Web", "B\u00e4tch \\ud800"]
    assert tab.groups(ORIGIN, "B\u00c4", 9) == ["B\u00e4tch \\ud800"]
    assert tab.groups(ORIGIN, "", 1) == ["Web"]
    keep(ORIGIN, "ALIAS", [("wa1", "Web"), ("VA1", "web"), ("VA1", "Db")], [])
    assert tab.groups(ORIGIN, "wa1 w", 9) == ["WA1 Web"]  # two data centres have one
    assert {"Db", "VA1 web", "Web"} < set(tab.groups(ORIGIN, "", 9))


def test_the_latest_listings_are_kept(machine: Machine, tab: Tab) -> None:
    for number in range(LISTINGS_KEPT + 1):
        machine.journal.keep_listing(f"https://{number}", "ALIAS", [], [A])
    with machine.locked():
        machine.journal.keep_listing("https://1", "ALIAS", [], [B])  # it isn't missed
        machine.inbox.interrupt(15)
        machine.journal.keep_listing("https://1", "ALIAS", [], [B])
    assert machine.inbox.pauses == []
    assert tab.servers("https://0", "", 9) == []
    assert tab.servers("https://1", "", 9) == [A]


def test_without_a_journal_that_can_be_read_nothing_is_offered_or_made(
    machine: Machine, tab: Tab
) -> None:
    assert tab.all() == []
    assert not machine.folder.exists()
    machine.ended(sent(queued(A)))
    machine.journal.keep_listing(ORIGIN, "ALIAS", [("WA1", "Web")], [A])
    assert len(tab.all()) == 4
    with machine.locked():
        assert tab.all() == []
    tab.environ["CLC_NO_JOURNAL"] = "1"
    assert tab.all() == []
    del tab.environ["CLC_NO_JOURNAL"]
    machine.file.write_bytes(JUNK)
    assert tab.all() == []
