import pytest

from clc_reset.journal import completion
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import LISTINGS_KEPT
from clc_reset.models import Operation
from tests.journal.kit import (
    ELSEWHERE,
    ONE,
    TWO,
    URL,
    A,
    B,
    D,
    Machine,
    queued,
    refused,
    sent,
)

SUB, AWAY = Where(URL, "SUB"), Where(ELSEWHERE, "ALIAS")


class Tab:
    """A Tab press with the environment of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.environ = {"CLC_STATE_DIR": str(machine.folder)}

    def servers(self, beginning: str = "", most: int = 9, url: str = URL) -> list[str]:
        return completion.servers(self.environ, url, beginning, most)

    def operations(self, beginning: str = "", most: int = 9) -> list[str]:
        return completion.operations(self.environ, URL, beginning, most)

    def runs(self, beginning: str = "", most: int = 9) -> list[str]:
        return completion.runs(self.environ, URL, beginning, most)

    def groups(self, beginning: str = "", most: int = 9) -> list[str]:
        return completion.groups(self.environ, URL, beginning, most)

    def all(self) -> list[str]:
        return [*self.servers(), *self.operations(), *self.runs(), *self.groups()]


@pytest.fixture
def tab(machine: Machine) -> Tab:
    return Tab(machine)


def test_servers_are_those_of_the_latest_resets_and_then_those_listed(
    machine: Machine, tab: Tab
) -> None:
    machine.begin(A, B).answered(sent(queued(A), queued(B)))
    machine.begin(D, where=SUB)
    machine.begin(B)
    machine.begin("WA1ALIASWB09", where=AWAY)
    machine.journal.keep_listing(URL, "ALIAS", [], [A, "WA1ALIASZZ01", "VA1ALIASZZ02"])
    assert tab.servers() == [B, D, A, "VA1ALIASZZ02", "WA1ALIASZZ01"]
    assert tab.servers("wa1") == [B, A, "WA1ALIASZZ01"]
    assert tab.servers(most=2) == [B, D]
    assert tab.servers(url="https://none") == []
    assert tab.servers("\udcfc") == []


def test_operations_and_runs_are_offered_the_latest_first(machine: Machine, tab: Tab) -> None:
    first, second, third = machine.begin(A, B), machine.begin(D), machine.begin(A, "WA1ALIASNO01")
    first.answered(sent(queued(A), queued(B)))
    second.answered(sent(queued(D, TWO)))
    third.answered(sent(refused(A), refused("WA1ALIASNO01")))
    machine.begin(A, where=AWAY).answered(sent(queued(A, Operation("wa1-9", None))))
    assert tab.operations() == [TWO.id, ONE.id]
    assert tab.operations("WA1-") == [ONE.id]
    assert tab.operations(most=1) == [TWO.id]
    assert tab.runs("2026", 2) == [third.run, second.run]
    assert tab.runs("2027") == []
    assert tab.servers() == [D, A, B]  # not one that was only refused


def test_a_new_listing_replaces_that_of_its_account(machine: Machine, tab: Tab) -> None:
    keep = machine.journal.keep_listing
    keep(URL, "ALIAS", [("WA1", "Old")], [B])
    keep(URL, "ALIAS", [("WA1", "Web"), ("WA1", "Web")], [A, A])
    keep(URL, "SUB", [("VA1", "Web"), ("VA1", "B\u00e4tch \ud800")], [D])
    keep(ELSEWHERE, "ALIAS", [("WA1", "Db")], ["WA1ALIASDB01"])
    assert tab.servers() == [A, D]
    assert tab.groups() == ["Web", "B\u00e4tch \\ud800"]
    assert tab.groups("B\u00c4") == ["B\u00e4tch \\ud800"]
    assert tab.groups(most=1) == ["Web"]


def test_a_group_that_two_data_centres_have_is_offered_with_them(
    machine: Machine, tab: Tab
) -> None:
    groups = [("wa1", "Web"), ("VA1", "web"), ("VA1", "Db")]
    machine.journal.keep_listing(URL, "ALIAS", groups, [])
    assert sorted(tab.groups()) == ["Db", "VA1 web", "WA1 Web"]
    assert tab.groups("wa1 w") == ["WA1 Web"]


def test_the_latest_listings_are_kept(machine: Machine, tab: Tab) -> None:
    for number in range(LISTINGS_KEPT + 1):
        machine.journal.keep_listing(f"https://{number}", "ALIAS", [], [A])
    assert tab.servers(url="https://0") == []
    assert tab.servers(url="https://1") == [A]


def test_a_listing_that_can_not_be_kept_is_not_missed(machine: Machine, tab: Tab) -> None:
    machine.begin(A)
    with machine.locked():
        machine.journal.keep_listing(URL, "ALIAS", [], [B])
    assert machine.inbox.waits == 0
    assert tab.servers() == [A]


def test_without_a_journal_nothing_is_offered_or_made(machine: Machine, tab: Tab) -> None:
    assert tab.all() == []
    assert not machine.folder.exists()
    machine.begin(A)
    tab.environ["CLC_NO_JOURNAL"] = "1"
    assert tab.all() == []


def test_a_journal_that_can_not_be_read_offers_nothing(machine: Machine, tab: Tab) -> None:
    machine.begin(A)
    machine.journal.keep_listing(URL, "ALIAS", [("WA1", "Web")], [A])
    with machine.locked():
        assert tab.all() == []
    machine.file.write_bytes(b"no database" * 999)
    assert tab.all() == []
