import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import UTC, datetime

import pytest

from clc_reset.errors import JournalError, UsageError
from clc_reset.journal.database import DoubtError
from clc_reset.journal.record import Record
from clc_reset.journal.rows import Run
from clc_reset.journal.runs import MOST_DROPPED, RUNS_KEPT, Journal
from clc_reset.models import Operation, ResetAnswer, RollingOptions, ServerResult, ServerState
from tests.builders import ONE, ORIGIN, TWO, USER, A, B, C, D, lost, many, queued, refused, sent
from tests.machine import AWAY, JUNK, ROLLING, SUB, Caplog, Machine, succeed
from tests.virtual import NOON

HOUR = 3600.0
DAY = 24 * HOUR


def ids(*runs: Run | Record | None) -> list[str | None]:
    return [None if run is None else run.id if isinstance(run, Run) else run.run for run in runs]


def test_what_is_unsettled_is_in_the_order_asked_with_what_is_known(machine: Machine) -> None:
    began = machine.clocks.now()
    first = machine.begin(A, B)
    first.answered(sent(queued(A), queued(B, TWO)))
    second = machine.begin(D, C, options=ROLLING)  # C is planned, whatever its age
    machine.clocks.go_on(HOUR)
    found = machine.other.unsettled(ORIGIN, [C, A, "WA1ALIASNO01", B])
    assert [(row.key, row.user, row.wave and row.wave.at, row.operation) for row in found] == [
        ((second.run, C), USER, None, None),
        ((first.run, A), USER, began, ONE),
        ((first.run, B), USER, began, TWO),
    ]
    new = machine.new(C, A, B)
    assert machine.other.begin(new, confirmed={found[0].key}) == found[1:]
    assert isinstance(machine.other.begin(new, confirmed={row.key for row in found}), Record)


def test_the_latest_possible_reset_at_the_same_place_counts(machine: Machine) -> None:
    first = machine.begin(A, B, C)
    succeed(machine.begin(B), B)
    machine.ended(sent(refused(A)))
    machine.ended(ResetAnswer.not_sent([A]))
    found = machine.other.unsettled(ORIGIN, [A, B, C])
    assert [row.key for row in found] == [(first.run, A), (first.run, C)]
    machine.other.mark_over(found[0])
    with machine.locked():
        machine.other.mark_over(found[1])  # it isn't missed
    assert machine.find(A, C, where=AWAY) == []
    assert machine.find(A, C, where=SUB) == machine.find(A, C) == [C]  # whatever the account


@pytest.mark.parametrize(
    ("servers", "wall", "boot", "boot_id", "is_unsettled"),
    [
        (1, 9 * DAY, HOUR, "this boot", True),  # the wall clock was set
        (1, HOUR, HOUR + 1, "this boot", False),
        (1, 12 * HOUR, 99 * HOUR, "that boot", True),
        (1, 12 * HOUR + 1, 2, "that boot", False),
        (1, -9 * DAY, 2, "that boot", True),  # an age that can't be
        (120, 0, 2 * HOUR, "this boot", True),  # a minute for each
        (120, 0, 2 * HOUR + 1, "this boot", False),
    ],
)
def test_the_age_of_a_reset_comes_from_the_best_clock(
    machine: Machine, servers: int, wall: float, boot: float, boot_id: str, *, is_unsettled: bool
) -> None:
    machine.begin(*many(servers))
    machine.clocks.wall += wall
    machine.clocks.boot += boot
    machine.clocks.boot_id = boot_id
    assert machine.find(*many(1)) == [*many(is_unsettled)]


AT_ONCE = """
import os, sys
from clc_reset.clocks import Clocks
from clc_reset.journal.record import NewRun, Record
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal
from clc_reset.models import RollingOptions
from clc_reset.workers import Inbox

def journal():
    return Journal.of_environment({"CLC_STATE_DIR": sys.argv[1]}, Inbox(), Clocks())

new = NewRun(Where("https://api.ctl.io", "ALIAS"), None, ("A",), RollingOptions())
rest = journal().rest_of(sys.argv[2]) if sys.argv[2] else None
gate, ready = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        os.close(ready)
        os.read(gate, 1)  # until all are there
        mine = journal()
        found = mine.begin(new, rest)
        os._exit(10 if isinstance(found, Record) else 20)
os.close(ready)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(20)]
print(codes.count(10), codes.count(20))
"""


@pytest.mark.parametrize("journal", ["missing", "corrupt", "with a run to claim"])
def test_of_twenty_at_the_same_moment_one_goes_ahead(machine: Machine, journal: str) -> None:
    run = machine.stopped(A, B).run if journal == "with a run to claim" else ""
    if journal == "corrupt":
        machine.folder.mkdir()
        machine.file.write_bytes(JUNK)
    command = [sys.executable, "-c", AT_ONCE, str(machine.folder), run or ""]
    result = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert result.stdout == "1 19\n"


@pytest.mark.parametrize("end", ["applied", "unreadable", "not applied"])
def test_a_run_is_locked_if_it_is_recorded_or_may_be(machine: Machine, end: str) -> None:
    """If it is there, it must not look like that of a killed process."""

    def at_commit(execute: Callable[[str], object]) -> None:
        execute("ROLLBACK" if end == "not applied" else "COMMIT")
        if end == "unreadable":
            machine.file.rename(machine.folder / "aside")
            os.mkfifo(machine.file)

    machine.at_commit = at_commit
    expected = {"unreadable": DoubtError, "not applied": JournalError}.get(end)
    with pytest.raises(expected) if expected else nullcontext():
        machine.begin(A)
    locks = [*machine.folder.glob("run-*.lock")]
    assert len(locks) == (expected is not JournalError)
    for lock in locks:
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_corrupt_journal_is_warned_about_for_a_day(machine: Machine, caplog: Caplog) -> None:
    machine.folder.mkdir()
    machine.file.write_bytes(JUNK)
    machine.begin(A)
    (aside,) = machine.folder.glob("*.corrupt-*")
    (warning,) = caplog.messages
    machine.begin(B)
    assert warning.startswith(f"The journal was corrupt and was renamed to {aside}. Earlier ")
    machine.other.runs(9)
    assert len(caplog.messages) == 2
    os.utime(aside, (0, 0))
    Journal(machine.database, machine.clocks).runs(9)
    assert len(caplog.messages) == 2


def test_a_journal_that_is_turned_off_can_not_be_read(machine: Machine) -> None:
    environ = {"XDG_STATE_HOME": str(machine.folder.parent), "CLC_NO_JOURNAL": "1"}
    off = Journal.of_environment(environ, machine.inbox, machine.clocks)
    with pytest.raises(JournalError, match="turned off") as raised:
        off.latest(ORIGIN, None)
    assert raised.value.hint == "Unset CLC_NO_JOURNAL to keep one."
    off.keep_listing(ORIGIN, "ALIAS", [], [A])
    off.store_sent_at(1, datetime(2026, 1, 1, tzinfo=UTC))
    environ["CLC_NO_JOURNAL"] = "0"
    on = Journal.of_environment(environ, machine.inbox, machine.clocks)
    assert (off.is_on, on.is_on, on.runs(9)) == (False, True, [])
    assert not machine.folder.exists()
    machine.begin(A)
    with machine.locked(), pytest.raises(JournalError):
        on.begin(machine.new(B))
    assert len(machine.inbox.pauses) == pytest.approx(100, abs=2)  # 5 s


@pytest.mark.parametrize("options", ["[]", '{"unknown": 1}', "no JSON", None])
def test_options_that_can_not_be_read_are_none(machine: Machine, options: str | None) -> None:
    record = machine.begin(A, B, options=ROLLING)
    machine.sql("UPDATE run SET options = ?", options)
    assert machine.load(record).options is None
    assert machine.rest(record).options == RollingOptions()
    machine.sql("UPDATE wave SET sent_at = 'yesterday'")
    with pytest.raises(JournalError, match="can't be read: Invalid isoformat"):
        machine.load(record)


@pytest.mark.parametrize("text", ["", "\0'\n;", "\u00fc \U0010ffff", "x" * 99_999])
def test_any_text_is_kept(machine: Machine, text: str) -> None:
    operation = Operation(text, text, text or None)
    result = ServerResult(A, ServerState.QUEUED, operation, text)
    record = machine.begin(A)
    record.answered(lost(A, problem=f"{text} \ud800")._replace(results=(result,)))
    record.checks_failed({A: f"{text} \ud800"})
    row = machine.row(record)
    assert (row.operation, row.message) == (operation, text)
    assert row.failed_check == f"{text} \\ud800"


@pytest.mark.parametrize(
    ("runs", "days", "is_kept"),
    [
        (RUNS_KEPT, 31, False),
        (RUNS_KEPT, 29, True),
        (RUNS_KEPT, -1, True),  # an age that can't be
        (RUNS_KEPT - 1, 31, True),
    ],
)
def test_old_runs_are_dropped(machine: Machine, runs: int, days: int, is_kept: bool) -> None:
    old = machine.begin(A)
    machine.clocks.go_on(days * DAY)
    machine.sql("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'run'", runs - 1)
    machine.begin(B)
    assert [run.servers for run in machine.journal.runs(9)] == [(B,), (A,)][: 1 + is_kept]
    assert (machine.folder / f"run-{old.run}.lock").exists() is is_kept
    assert (
        len(machine.sql("SELECT number FROM wave UNION ALL SELECT run FROM server"))
        == 2 + 2 * is_kept
    )


def test_one_reset_does_not_wait_for_all_that_is_old(machine: Machine) -> None:
    for _ in range(3):
        machine.begin(*many(MOST_DROPPED + 1))
    machine.clocks.go_on(31 * DAY)
    machine.sql("UPDATE sqlite_sequence SET seq = 20000 WHERE name = 'run'")
    for _ in range(2):
        machine.begin(A)
        assert len(machine.journal.runs(9)) == 3


def test_runs_are_listed_the_newest_first_whatever_the_clock_says(machine: Machine) -> None:
    midnight = NOON.timestamp() + 12 * HOUR
    records = []
    for wall, servers in ((midnight - 1, [A]), (midnight, [B]), (4e9, [A, B]), (midnight - 1, [C])):
        machine.clocks.wall = wall
        records.append(machine.begin(*servers))
    first, second, third, last = ids(*records)
    days = [str(run)[:9] for run in ids(*records)]
    assert days == ["20260115-", "20260116-", "20961002-", "20260115-"]
    assert ids(*machine.journal.runs(3)) == [last, third, second]
    assert ids(*machine.journal.runs(9, [A, C])) == [last, third, first]
    assert ids(*machine.journal.runs(2, [A, B])) == [third, second]
    assert len(machine.journal.runs(10**20)) == 4
    assert machine.journal.runs(9, ["WA1ALIASNO01"]) == []


def test_the_latest_run_is_that_of_an_account_at_an_api(machine: Machine) -> None:
    first, second = machine.begin(A, B), machine.begin(B)
    third, _ = machine.begin(A, where=SUB), machine.begin(A, where=AWAY)
    latest, latest_of = machine.journal.latest, machine.journal.latest_of
    assert ids(latest(ORIGIN, "ALIAS"), latest(ORIGIN, None)) == ids(second, third)
    assert latest(ORIGIN, "NONE") is latest("https://none", None) is None
    assert ids(latest_of(ORIGIN, "ALIAS", A), latest_of(ORIGIN, "ALIAS", B)) == ids(first, second)
    assert ids(latest_of(ORIGIN, None, A)) == ids(third)
    assert latest_of(ORIGIN, "ALIAS", C) is None
    machine.ended(sent(refused(A)))  # it hides no doubt
    assert ids(latest_of(ORIGIN, "ALIAS", A)) == ids(first)
    succeed(machine.begin(A), A)
    last = machine.ended(ResetAnswer.not_sent([A]))
    assert ids(latest_of(ORIGIN, "ALIAS", A)) == ids(last)


def test_a_run_is_found_by_its_operation(machine: Machine) -> None:
    def found(operation: str, account: str | None) -> list[str | None]:
        return ids(machine.journal.with_operation(ORIGIN, operation, account))

    first = machine.ended(sent(queued(A)))
    odd = machine.begin(B, where=SUB)
    odd.answered(sent(queued(B, Operation("wa1-odd", "/elsewhere"))))
    machine.begin(A, where=AWAY).answered(sent(queued(A)))
    assert found("WA1-1", "ALIAS") == found("wa1-1", None) == ids(first)
    assert found("wa1-1", "SUB") == [None]
    assert found("wa1-odd", "SUB") == ids(odd)
    second = machine.ended(sent(queued(A), queued(B, Operation("wa1-2", "/two", "sub"))))
    assert found("wa1-1", "ALIAS") == found("wa1-2", "SUB") == ids(second)
    assert found("wa1-2", "ALIAS") == ids(second)  # it was reset there


def test_a_run_is_found_by_a_unique_beginning(machine: Machine) -> None:
    first = machine.begin(A)
    machine.clocks.go_on(DAY)
    second = machine.begin(A)
    for beginning, record in (("20260115", first), (first.run, first), ("20260116-", second)):
        assert ids(machine.journal.run(beginning or "")) == ids(record)
    with pytest.raises(UsageError) as raised:
        machine.journal.run("2026")
    assert raised.value.message == f"Several runs begin with 2026: {second.run}, {first.run}."
    assert raised.value.hint == "To list runs: clc history"
    for beginning in ("2025", "", "x" * 99, "\udcfc"):
        assert machine.journal.run(beginning) is None
        with pytest.raises(UsageError, match="The journal has no run ") as raised:
            machine.journal.rest_of(beginning)
        assert raised.value.hint == "To list runs: clc history"


def test_an_earlier_run_in_doubt_is_named_until_its_server_is_reset(machine: Machine) -> None:
    def named() -> list[str | None]:
        latest = machine.journal.latest(ORIGIN, "ALIAS")
        assert latest
        return ids(machine.journal.earlier_in_doubt(latest))

    oldest = machine.ended(lost(D))
    first = machine.ended(lost(A, B))
    machine.sql("UPDATE run SET boot = boot - ?", 2 * DAY)  # their waves are young
    machine.begin(C, where=SUB)
    assert named() == ids(oldest)
    machine.ended(sent(queued(C)))
    assert named() == ids(first)
    machine.ended(sent(queued(B)))
    machine.ended(sent(refused(A)))
    assert named() == ids(first)
    record = machine.begin(A)
    assert named() == ids(oldest)  # the latest resets of A and B are others
    machine.begin(C)
    assert named() == ids(record)  # without an answer
    record.answered(lost(A))
    assert named() == ids(record)
    machine.clocks.go_on(DAY + 1)
    assert named() == [None]
    machine.clocks.go_on(-DAY)
    machine.sql("UPDATE server SET over = 1")
    assert named() == [None]


LARGE = """
CREATE TEMP TABLE runs AS
WITH RECURSIVE runs (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM runs WHERE n < 5000)
SELECT n FROM runs;
INSERT INTO run (id, base_url, account, wall, boot, boot_id, ended)
SELECT printf('20260115-%06d', n), 'https://api.ctl.io', 'ALIAS', 1768521598, 9, 'b', 1
FROM runs;
INSERT INTO wave (run, wall, boot, boot_id, usual, sending, operations)
SELECT n, 1768521598, 9, 'b', 1800, 'sent', printf('%sWA1-%d%s', char(10), n, char(10)) FROM runs;
INSERT INTO server (run, place, name, state, plan, wave, operation, over)
SELECT n, value, printf('WA1ALIASN%05d', n * 10 + value), 'queued', n, n, 'wa1-' || n, 1
FROM runs, json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]');
"""


def test_a_large_journal_is_not_read_as_a_whole(machine: Machine) -> None:
    """5,000 runs of ten servers each, all of them over."""
    machine.begin(*many(1)).end([])
    with closing(sqlite3.connect(machine.file)) as db:
        db.executescript(LARGE)
    journal, server, run = machine.other, "WA1ALIASN20005", "20260115-002000"
    uses: list[tuple[Callable[[], object], int]] = [
        (lambda: journal.unsettled(ORIGIN, [server, A]), 50),
        (lambda: journal.latest(ORIGIN, "ALIAS"), 50),
        (lambda: journal.latest(ORIGIN, None), 50),
        (lambda: journal.latest_of(ORIGIN, "ALIAS", server), 50),
        (lambda: journal.run(run), 50),
        (lambda: journal.rest_of(run), 50),
        (lambda: journal.runs(5), 50),
        (lambda: journal.runs(5, [server]), 50),
        (lambda: journal.progress([run]), 50),
        (lambda: journal.earlier_in_doubt(latest), 50),
        (lambda: journal.with_operation(ORIGIN, "wa1-2000", "ALIAS"), 250),  # of its waves
    ]
    latest = machine.load(machine.begin(A))
    for number, (use, most) in enumerate(uses):
        machine.steps = 0
        use()
        assert 0 < machine.steps < most, number
    assert ids(journal.with_operation(ORIGIN, "wa1-2000", "ALIAS")) == [run]
