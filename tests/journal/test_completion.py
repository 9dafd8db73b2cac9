from clc_reset.journal.completion import names
from clc_reset.journal.runs import LISTINGS_KEPT
from clc_reset.models import Operation
from tests.builders import FAR, ONE, ORIGIN, A, B, C, operation, queued, refused, sent
from tests.machine import AWAY, JUNK, OTHER_ORIGIN, SUB, Machine

TWO = operation("va1-2")
ALL = ("servers", "operations", "runs", "groups")


def offered(machine: Machine, kind: str, beginning: str = "", origin: str = ORIGIN) -> list[str]:
    return [*names(kind, {"CLC_STATE_DIR": str(machine.folder)}, origin, beginning)]


def test_servers_are_those_of_the_latest_resets_and_then_those_listed(machine: Machine) -> None:
    machine.begin(A, B)
    machine.begin(FAR, where=SUB)
    machine.ended(sent(refused("WA1ALIASNO01")))  # the API may not know it
    machine.begin(B)
    machine.begin(C, where=AWAY)
    machine.journal.keep_listing(ORIGIN, "ALIAS", [], [A, "WA1ALIASZZ01", "VA1ALIASZZ02"])
    assert offered(machine, "servers") == [B, FAR, A, "VA1ALIASZZ02", "WA1ALIASZZ01"]
    assert offered(machine, "servers", "wa1") == [B, A, "WA1ALIASZZ01"]
    assert offered(machine, "servers", origin="https://none") == []
    assert offered(machine, "servers", "\udcfc") == []


def test_operations_and_runs_are_offered_the_latest_first(machine: Machine) -> None:
    runs = [
        machine.ended(answer).run
        for answer in (sent(queued(A), queued(B)), sent(queued(FAR, TWO)), sent(refused(A)))
    ]
    machine.begin(A, where=AWAY).answered(sent(queued(A, Operation("wa1-9", None))))
    assert offered(machine, "operations") == [TWO.id, ONE.id]
    assert offered(machine, "operations", "WA1-") == [ONE.id]
    assert offered(machine, "runs", "2026") == runs[::-1]
    assert offered(machine, "runs", "2027") == []


def test_a_new_listing_replaces_an_old_one_and_the_latest_are_kept(machine: Machine) -> None:
    keep = machine.journal.keep_listing
    keep(ORIGIN, "ALIAS", [("WA1", "Old")], [B])
    keep(ORIGIN, "ALIAS", [("WA1", "Web"), ("WA1", "Web")], [A, A])
    keep(ORIGIN, "SUB", [("VA1", "Web"), ("VA1", "B\u00e4tch \ud800")], [FAR])
    keep(OTHER_ORIGIN, "ALIAS", [("WA1", "Db")], ["WA1ALIASDB01"])
    assert offered(machine, "servers") == [A, FAR]
    assert offered(machine, "groups") == ["Web", "B\u00e4tch \\ud800"]
    assert offered(machine, "groups", "B\u00c4") == ["B\u00e4tch \\ud800"]
    keep(ORIGIN, "ALIAS", [("wa1", "Web"), ("VA1", "web"), ("VA1", "Db")], [])
    assert offered(machine, "groups", "wa1 w") == ["WA1 Web"]  # two data centres have one
    assert {"Db", "VA1 web", "Web"} < {*offered(machine, "groups")}
    for number in range(LISTINGS_KEPT + 1):
        keep(f"https://{number}", "ALIAS", [], [A])
    with machine.locked():
        keep("https://1", "ALIAS", [], [B])  # it isn't missed
        machine.inbox.interrupt(15)
        keep("https://1", "ALIAS", [], [B])
    assert machine.inbox.pauses == []
    assert offered(machine, "servers", origin="https://0") == []
    assert offered(machine, "servers", origin="https://1") == [A]


def test_without_a_journal_that_can_be_read_nothing_is_offered_or_made(machine: Machine) -> None:
    assert not any(offered(machine, kind) for kind in ALL)
    assert not machine.folder.exists()
    machine.ended(sent(queued(A)))
    machine.journal.keep_listing(ORIGIN, "ALIAS", [("WA1", "Web")], [A])
    assert all(offered(machine, kind) for kind in ALL)
    assert not names("runs", {"CLC_NO_JOURNAL": "1"}, ORIGIN, "")
    with machine.locked():
        assert not any(offered(machine, kind) for kind in ALL)
    machine.file.write_bytes(JUNK)
    assert not any(offered(machine, kind) for kind in ALL)
