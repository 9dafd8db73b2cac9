import os
import pwd
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clc_reset.errors import JournalError, RefusedError
from clc_reset.journal import FILE, LISTINGS_KEPT, RUNS_KEPT, Earlier, Entry, Journal, Run, folder
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASJOB03"
URL = "https://api.ctl.io"
ELSEWHERE = "https://api.example"
WA1 = Operation("wa1-12345", "/v2/operations/alias/status/wa1-12345", "ALIAS")
VA1 = Operation("va1-67890", "/v2/operations/alias/status/va1-67890", "ALIAS")
EXECUTING, SUCCEEDED = OperationStatus("executing"), OperationStatus("succeeded")
NIGHT = datetime(2026, 1, 15, 23, 59, 58, tzinfo=UTC)
NOBODY = 65534


class Clock:
    """This machine's clock, which is set by hand."""

    def __init__(self) -> None:
        self.now = NIGHT

    def __call__(self) -> float:
        return self.now.timestamp()

    def goes_on(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "clc-reset"


@pytest.fixture
def file(home: Path) -> Path:
    return home / FILE


@pytest.fixture
def journal(home: Path, notes: list[str], clock: Clock) -> Journal:
    return Journal(str(home), notes.append, clock)


def queued(server: str, operation: Operation | None = WA1) -> ServerResult:
    return ServerResult(server, ServerState.QUEUED, operation)


def refused(server: str) -> ServerResult:
    return ServerResult(server, ServerState.FAILED, None, "Not in a valid state.")


def sent(*results: ServerResult, turns: Sequence[str] = ()) -> ResetAnswer:
    return ResetAnswer(Sending.SENT, results, tuple(turns))


def begun(journal: Journal, *servers: str, base_url: str = URL, account: str = "ALIAS") -> Entry:
    """A reset that goes ahead, whatever was before it."""
    entry = journal.begin(base_url, account, "someone", servers, unsettled_within=None)
    assert isinstance(entry, Entry)
    return entry


def earlier(
    journal: Journal, *servers: str, base_url: str = URL, account: str = "ALIAS"
) -> list[str]:
    """The servers in the way of a reset; where there are none, it has begun."""
    found = journal.begin(base_url, account, "someone", servers)
    return [] if isinstance(found, Entry) else [each.server for each in found]


def latest(journal: Journal) -> Run:
    (run,) = journal.runs(1)
    return run


# What is recorded is told again


def test_what_is_asked_is_told_again(journal: Journal, notes: list[str]) -> None:
    entry = journal.begin(URL, "alias", "someone", ["wa1aliaswb01", B, A])
    assert isinstance(entry, Entry)
    run = latest(journal)
    assert (run.id, run.base_url, run.account, run.user) == (entry.run, URL, "ALIAS", "someone")
    assert (run.servers, run.results, run.turns, run.statuses) == ((A, B), {}, (), {})
    assert (run.at, run.id[:16]) == (NIGHT, "20260115-235958-")
    assert run.waves == ((1, NIGHT, None, None, None, (A, B)),)
    assert journal.is_on
    assert notes == []


def test_what_was_answered_and_heard_is_told_again(journal: Journal) -> None:
    left = NIGHT + timedelta(minutes=7, microseconds=1)
    nameless = Operation("wa1-1", None)
    with begun(journal, A, B, C) as entry:
        entry.answered(
            ResetAnswer(
                Sending.SENT,
                (queued(A), refused(B), queued(C, nameless)),
                (B, A),
                problem="no more",
                sent_at=left,
            )
        )
        entry.heard(WA1, OperationStatus("notStarted"))
        entry.heard(WA1, EXECUTING)
    run = latest(journal)
    assert run.results == {A: queued(A), B: refused(B), C: queued(C, nameless)}
    assert run.waves == ((1, NIGHT, Sending.SENT, left, "no more", (A, B, C)),)
    assert run.turns == (B, A)
    assert run.statuses == {WA1: EXECUTING}


def test_why_nothing_was_sent_is_told_again(journal: Journal) -> None:
    entry = begun(journal, A)
    entry.answered(ResetAnswer.not_sent([A], RefusedError("Not today.")))
    (wave,) = latest(journal).waves
    assert (wave.sending, wave.problem) == (Sending.NOT_SENT, "Not today.")
    assert latest(journal).results == {A: ServerResult(A, ServerState.NOT_SENT)}


def test_why_no_answer_came_is_told_again(journal: Journal) -> None:
    begun(journal, A).answered(ResetAnswer.maybe_sent([A], "it timed out"))
    (wave,) = latest(journal).waves
    assert (wave.sending, wave.problem) == (Sending.MAYBE_SENT, "it timed out")
    assert latest(journal).results[A].state is ServerState.UNKNOWN


def test_when_a_reset_left_whose_answer_is_lost_is_told_again(
    journal: Journal, clock: Clock
) -> None:
    entry = begun(journal, A)
    clock.goes_on(seconds=40)
    entry.answered(ResetAnswer.maybe_sent([A], "it timed out")._replace(seconds=10.0))
    (wave,) = latest(journal).waves
    assert wave.at == NIGHT + timedelta(seconds=30)


def test_what_nobody_asked_for_is_not_recorded(journal: Journal) -> None:
    nobody = ServerResult(None, ServerState.QUEUED, WA1)
    begun(journal, A).answered(sent(queued(B), nobody, queued(A)))
    assert latest(journal).results == {A: queued(A)}


def test_a_result_that_is_late_changes_no_other_wave(journal: Journal) -> None:
    entry = journal.begin(URL, "ALIAS", None, [A, B], [A])
    assert isinstance(entry, Entry)
    entry.answered(sent(refused(A)))
    assert entry.wave([B], unsettled_within=3600) == ()
    entry.answered(sent(queued(A), queued(B)))
    assert latest(journal).results == {A: refused(A), B: queued(B)}


def test_waves_are_told_apart(journal: Journal, clock: Clock) -> None:
    entry = journal.begin(URL, "ALIAS", None, [A, B, C], [A])
    assert isinstance(entry, Entry)
    entry.answered(sent(queued(A), turns=[A]))
    clock.goes_on(seconds=60)
    assert entry.wave([C.lower()], unsettled_within=3600) == ()
    entry.answered(sent(queued(C, VA1), turns=[C]))
    run = latest(journal)
    assert [(each.number, each.at, each.servers) for each in run.waves] == [
        (1, NIGHT, (A,)),
        (2, clock.now, (C,)),
    ]
    assert (run.servers, run.turns) == ((A, B, C), (A, C))
    assert list(run.results) == [A, C]


def test_text_that_is_no_utf8_breaks_nothing(journal: Journal, notes: list[str]) -> None:
    entry = begun(journal, A, base_url="https://b\udcfcrk")
    entry.answered(sent(ServerResult(A, ServerState.FAILED, None, "H\u00e4? \ud800")))
    assert latest(journal).results[A].message == "H\u00e4? \\ud800"
    assert journal.latest("https://b\udcfcrk", "ALIAS") == latest(journal)
    assert journal.recent_servers(URL, "\udcfc", 9) == []
    assert notes == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(), st.text(), st.text(), st.text(), st.none() | st.text())
def test_any_text_is_kept(
    home: Path, message: str, problem: str, operation: str, path: str, account: str | None
) -> None:
    journal = Journal(str(home), pytest.fail)
    result = ServerResult(A, ServerState.QUEUED, Operation(operation, path, account), message)
    begun(journal, A).answered(ResetAnswer(Sending.MAYBE_SENT, (result,), problem=problem))
    assert latest(journal).results == {A: result}
    assert latest(journal).waves[0].problem == (problem or None)


def test_ten_thousand_servers_are_one_run(journal: Journal) -> None:
    servers = [f"WA1ALIASN{number:05}" for number in range(10_000)]
    entry = journal.begin(URL, "ALIAS", None, servers)
    assert isinstance(entry, Entry)
    entry.answered(sent(*map(queued, servers), turns=servers[::-1]))
    run = latest(journal)
    assert list(run.servers) == servers
    assert list(run.turns) == servers[::-1]
    assert list(run.results.values()) == list(map(queued, servers))
    assert len(journal.unsettled(URL, "ALIAS", servers)) == 10_000


# What is heard


def test_a_status_that_is_final_stays(journal: Journal) -> None:
    with begun(journal, A) as entry:
        entry.answered(sent(queued(A)))
        entry.heard(WA1, SUCCEEDED)
    with journal.resume(entry.run) as late:
        late.heard(WA1, EXECUTING)
    assert latest(journal).statuses == {WA1: SUCCEEDED}


def test_what_is_heard_of_no_operation_of_the_run_is_not_recorded(journal: Journal) -> None:
    with begun(journal, A) as entry:
        entry.answered(sent(queued(A)))
        entry.heard(VA1, SUCCEEDED)
    assert latest(journal).statuses == {}


def test_what_is_heard_is_recorded_once_a_second(journal: Journal, clock: Clock) -> None:
    def hears(word: str, **later: float) -> str:
        clock.goes_on(**later)
        entry.heard(WA1, OperationStatus(word))
        entry.flush()
        return latest(journal).statuses[WA1].word

    entry = begun(journal, A)
    entry.answered(sent(queued(A)))
    assert hears("notStarted") == "notStarted"
    assert hears("executing", seconds=0.5) == "notStarted"
    assert hears("resumed", seconds=0.5) == "resumed"
    assert hears("executing", hours=-1) == "executing"  # a clock set back stops nothing
    assert hears("resumed", seconds=0.5) == "executing"
    entry.close()
    assert latest(journal).statuses == {WA1: OperationStatus("resumed")}


def test_a_run_that_is_taken_up_again_records_nothing_of_the_sending(journal: Journal) -> None:
    first = begun(journal, A, B)
    before = latest(journal)
    with journal.resume(first.run) as entry:
        assert entry.wave([B], unsettled_within=3600) == ()
        entry.answered(ResetAnswer.not_sent([A], RefusedError("The API is down.")))
    assert latest(journal) == before


# What is found again


def test_runs_are_told_the_newest_first(journal: Journal) -> None:
    ids = [begun(journal, *servers).run for servers in ([A], [B], [A, B], [C])]
    assert [each.id for each in journal.runs(3)] == ids[:0:-1]
    assert [each.id for each in journal.runs(9, ["wa1aliaswb01", C])] == [ids[3], ids[2], ids[0]]
    assert [each.id for each in journal.runs(2, [A, B])] == [ids[2], ids[1]]
    assert len(journal.runs(99999999999999999999)) == 4
    assert journal.runs(9, ["WA1ALIASNO01"]) == []


def test_the_latest_run_is_that_of_an_account_at_an_api(journal: Journal) -> None:
    first, second = begun(journal, A, B), begun(journal, B)
    begun(journal, A, account="SUB")
    begun(journal, A, base_url=ELSEWHERE)

    def latest_of(server: str) -> str | None:
        run = journal.latest_of(URL, "alias", server)
        return run and run.id

    assert (run := journal.latest(URL, "alias"))
    assert run.id == second.run
    assert latest_of("wa1aliaswb01") == first.run
    assert latest_of(B) == second.run
    assert latest_of(C) is None
    assert journal.latest(URL, "NONE") is None


def test_the_order_is_that_of_recording_whatever_the_clock_says(
    journal: Journal, clock: Clock
) -> None:
    """Over midnight, into 2099, and back by an hour."""
    ids = [begun(journal, A).run]
    for moment in (timedelta(seconds=4), timedelta(days=27_000), timedelta(hours=-1)):
        clock.now = NIGHT + moment
        ids.append(begun(journal, A).run)
    assert [each[:8] for each in ids] == ["20260115", "20260116", "20991218", "20260115"]
    run = journal.latest(URL, "ALIAS")
    assert run
    assert run.id == ids[-1]
    assert [each.id for each in journal.runs(9)] == ids[::-1]
    assert journal.recent_runs(URL, "", 9) == ids[::-1]


@pytest.mark.parametrize(("seconds", "year"), [(-1e18, 1970), (1e18, 9999)])
def test_a_clock_that_is_out_of_its_mind_stops_nothing(
    home: Path, notes: list[str], seconds: float, year: int
) -> None:
    journal = Journal(str(home), notes.append, lambda: seconds)
    begun(journal, A)
    assert latest(journal).at.year == year
    assert notes == []


def test_a_run_is_found_by_a_unique_beginning(journal: Journal, clock: Clock) -> None:
    first = begun(journal, A)
    clock.goes_on(days=1)
    second = begun(journal, A)
    assert journal.run(first.run).id == journal.run("20260115").id == first.run
    assert journal.run("20260116-235958-").id == second.run


def test_a_beginning_of_several_runs_names_some(journal: Journal) -> None:
    ids = sorted(begun(journal, A).run for _ in range(4))
    with pytest.raises(JournalError) as raised:
        journal.run("2026")
    assert raised.value.message == (
        f"Several runs begin with '2026', like {ids[3]}, {ids[2]}, {ids[1]}."
    )


@pytest.mark.parametrize("beginning", ["2025", "", "x" * 99, "\udcfc"])
def test_a_run_that_is_not_there_is_an_error(journal: Journal, beginning: str) -> None:
    begun(journal, A)
    with pytest.raises(JournalError, match=r"^The journal has no run '") as raised:
        journal.run(beginning)
    assert raised.value.hint == "See: clc history"
    assert len(raised.value.message) < 80


def test_a_run_is_found_by_its_operation(journal: Journal) -> None:
    first = begun(journal, A)
    first.answered(sent(queued(A)))
    odd = begun(journal, B, account="SUB")
    odd.answered(sent(queued(B, Operation("wa1-odd", "/elsewhere"))))
    begun(journal, A, base_url=ELSEWHERE).answered(sent(queued(A)))

    def found(operation: str, account: str) -> str | None:
        run = journal.with_operation(URL, operation, account)
        return run and run.id

    assert found("WA1-12345", "alias") == first.run
    assert found("wa1-12345", "SUB") is None
    assert found("wa1-odd", "sub") == odd.run
    assert found("wa1-none", "ALIAS") is None


# Not twice by mistake


@pytest.mark.parametrize(
    ("answer", "heard", "is_unsettled"),
    [
        (None, None, True),  # killed between the record and the answer
        (ResetAnswer.maybe_sent([A], "it timed out"), None, True),
        (ResetAnswer.not_sent([A], RefusedError("Not today.")), None, False),
        (sent(refused(A)), None, False),
        (sent(ServerResult(A, ServerState.UNKNOWN)), None, True),
        (sent(queued(A)), None, True),
        (sent(queued(A, None)), None, True),
        (sent(queued(A, Operation(WA1.id, None))), None, True),
        (sent(queued(A)), "executing", True),
        (sent(queued(A)), "more", True),
        (sent(queued(A)), "Succeeded", False),
        (sent(queued(A)), "failed", False),
        (sent(), None, True),  # an answer that tells nothing of the server
    ],
)
def test_a_reset_is_unsettled_until_it_is_known_to_be_over(
    journal: Journal, answer: ResetAnswer | None, heard: str | None, *, is_unsettled: bool
) -> None:
    with begun(journal, A) as entry:
        if answer:
            entry.answered(answer)
        if heard:
            entry.heard(WA1, OperationStatus(heard))
    before = journal.runs(9)
    assert earlier(journal, B, A) == ([A] if is_unsettled else [])
    if is_unsettled:
        assert journal.runs(9) == before


def test_it_is_told_what_is_known_of_the_earlier_reset(journal: Journal, clock: Clock) -> None:
    left = NIGHT - timedelta(seconds=3)
    with begun(journal, A, B) as first:
        first.answered(
            ResetAnswer(Sending.SENT, (queued(A), queued(B, Operation("x", None))), sent_at=left)
        )
        first.heard(WA1, EXECUTING)
    second = begun(journal, C)
    clock.goes_on(minutes=2)
    expected = (
        (second.run, NIGHT, C, None, None, None, None, None, "someone"),
        (first.run, NIGHT, A, Sending.SENT, left, ServerState.QUEUED, WA1, EXECUTING, "someone"),
        (
            first.run,
            NIGHT,
            B,
            Sending.SENT,
            left,
            ServerState.QUEUED,
            Operation("x", None),
            None,
            "someone",
        ),
    )
    assert journal.begin(URL, "ALIAS", None, [C, A, B, "WA1ALIASNO01"]) == expected
    assert journal.unsettled(URL, "alias", [C.lower(), A, B]) == expected


def test_only_the_latest_reset_of_a_server_counts(journal: Journal) -> None:
    begun(journal, A, B)
    with begun(journal, A) as entry:
        entry.answered(sent(queued(A)))
        entry.heard(WA1, SUCCEEDED)
    assert earlier(journal, A, B) == [B]


@pytest.mark.parametrize(
    "answer", [sent(refused(A)), ResetAnswer.not_sent([A], RefusedError("Not today."))]
)
def test_what_reset_nothing_settles_nothing(journal: Journal, answer: ResetAnswer) -> None:
    first = begun(journal, A)
    begun(journal, A).answered(answer)
    assert [each.run for each in journal.unsettled(URL, "ALIAS", [A])] == [first.run]


def test_an_earlier_reset_is_one_at_the_same_api_and_account_in_any_case(journal: Journal) -> None:
    begun(journal, A)
    assert earlier(journal, A, account="SUB") == []
    assert earlier(journal, A, base_url=ELSEWHERE) == []
    assert earlier(journal, "wa1aliaswb01", account="alias") == [A]
    assert earlier(journal, A, account="sub") == [A]


@pytest.mark.parametrize(
    ("span", "is_unsettled"),
    [
        (timedelta(minutes=59, seconds=59), True),
        (timedelta(hours=1), False),
        (timedelta(hours=-1), True),  # the clock was set back
        (timedelta(days=-9), True),
    ],
)
def test_a_reset_of_the_last_hour_is_asked_about(
    journal: Journal, clock: Clock, span: timedelta, *, is_unsettled: bool
) -> None:
    begun(journal, A)
    clock.now += span
    assert earlier(journal, A) == ([A] if is_unsettled else [])


def test_what_is_asked_for_again_is_not_checked(journal: Journal) -> None:
    begun(journal, A)
    begun(journal, A)
    assert len(journal.runs(9)) == 2


def test_what_is_settled_is_in_nobodys_way(journal: Journal) -> None:
    begun(journal, A, B).answered(sent(queued(A), queued(B)))
    found = journal.begin(URL, "ALIAS", None, [A, B])
    assert not isinstance(found, Entry)
    journal.settle(found[0])
    assert earlier(journal, A, B) == [B]


def test_what_was_heard_since_settles(journal: Journal) -> None:
    begun(journal, A).answered(sent(queued(A)))
    (found,) = journal.unsettled(URL, "ALIAS", [A])
    with journal.resume(found.run) as entry:
        assert found.operation
        entry.heard(found.operation, SUCCEEDED)
    assert earlier(journal, A) == []


def test_the_servers_of_a_later_wave_are_in_nobodys_way_before_it(journal: Journal) -> None:
    rolling = journal.begin(URL, "ALIAS", None, [A, B], [A])
    assert isinstance(rolling, Entry)
    assert earlier(journal, B) == []
    assert earlier(journal, A) == [A]


def test_a_wave_is_checked_like_a_run(journal: Journal) -> None:
    rolling = journal.begin(URL, "ALIAS", None, [A, B, C], [A])
    assert isinstance(rolling, Entry)
    between = begun(journal, B)
    (found,) = rolling.wave([B], unsettled_within=3600)
    assert (found.run, found.server) == (between.run, B)
    assert len(journal.run(rolling.run).waves) == 1
    assert rolling.wave([B], unsettled_within=None) == ()
    assert rolling.wave([C, A], unsettled_within=3600) == ()  # its own wave is in no way
    # the wave was recorded after the other run, though its run was before
    assert [each.run for each in journal.unsettled(URL, "ALIAS", [B])] == [rolling.run]


def test_of_twenty_at_the_same_moment_one_goes_ahead(home: Path) -> None:
    for number in range(3):
        assert at_once(home, 20, f"WA1ALIASWB0{number}") == ["1 begun, 19 told of it"]


def at_once(home: Path, processes: int, server: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", AT_ONCE, home, str(processes), server],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    return result.stdout.splitlines()


AT_ONCE = """
import os, sys
from clc_reset.journal import Earlier, Entry, Journal

home, processes, server = sys.argv[1], int(sys.argv[2]), sys.argv[3]
gate, ready = os.pipe()
for _ in range(processes):
    if os.fork() == 0:
        os.close(ready)
        os.read(gate, 1)  # until all are there
        found = Journal(home, sys.exit).begin("https://api", "ALIAS", None, [server])
        os._exit(10 if isinstance(found, Entry) else 20 if found[0].server == server else 30)
os.close(ready)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(processes)]
print(f"{codes.count(10)} begun, {codes.count(20)} told of it")
"""


# Retention


@pytest.mark.parametrize(
    ("runs", "age", "kept"),
    [
        (RUNS_KEPT, timedelta(days=31), False),
        (RUNS_KEPT, timedelta(days=29), True),
        (RUNS_KEPT, timedelta(days=-1), False),  # its clock was wrong
        (RUNS_KEPT - 1, timedelta(days=31), True),
    ],
)
def test_old_runs_are_dropped_beyond_ten_thousand(
    journal: Journal, file: Path, clock: Clock, runs: int, age: timedelta, *, kept: bool
) -> None:
    with begun(journal, A) as entry:
        entry.answered(sent(queued(A)))
    clock.now += age
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'run'", (runs - 1,))
        db.commit()
    begun(journal, B)
    assert [each.servers for each in journal.runs(9)] == [(B,), (A,)][: 1 + kept]
    with closing(sqlite3.connect(file)) as db:
        for table in ("run", "wave", "server", "operation"):
            (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert rows == (table != "operation") + kept


def test_one_reset_does_not_wait_for_all_that_is_old(
    journal: Journal, file: Path, clock: Clock
) -> None:
    for _ in range(3):
        begun(journal, *(f"WA1ALIASN{number:05}" for number in range(1_001)))
    clock.goes_on(days=31)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE sqlite_sequence SET seq = 20000 WHERE name = 'run'")
        db.commit()
    begun(journal, A)
    assert len(journal.runs(9)) == 3
    begun(journal, A)
    assert len(journal.runs(9)) == 3


# For a Tab press


def test_servers_are_offered_the_latest_first(journal: Journal) -> None:
    begun(journal, A, B).answered(sent(queued(A), queued(B)))
    begun(journal, C, account="SUB")
    begun(journal, B)
    begun(journal, "WA1ALIASWB09", base_url=ELSEWHERE)
    assert journal.recent_servers(URL, "", 9) == [B, C, A]
    assert journal.recent_servers(URL, "wa1", 9) == [B, A]
    assert journal.recent_servers(URL, "", 2) == [B, C]
    assert journal.recent_servers("https://none", "", 9) == []


def test_servers_that_were_only_refused_are_not_offered(journal: Journal) -> None:
    begun(journal, A).answered(sent(queued(A)))
    begun(journal, A, B).answered(sent(refused(A), refused(B)))
    assert journal.recent_servers(URL, "", 9) == [A]


def test_operations_are_offered_the_latest_first(journal: Journal) -> None:
    begun(journal, A).answered(sent(queued(A)))
    begun(journal, C).answered(sent(queued(C, VA1)))
    begun(journal, A, base_url=ELSEWHERE).answered(sent(queued(A, Operation("wa1-9", None))))
    assert journal.recent_operations(URL, "", 9) == [VA1.id, WA1.id]
    assert journal.recent_operations(URL, "WA1-", 9) == [WA1.id]
    assert journal.recent_operations(URL, "", 1) == [VA1.id]


def test_runs_are_offered_the_latest_first(journal: Journal) -> None:
    ids = [begun(journal, A).run for _ in range(3)]
    begun(journal, A, base_url=ELSEWHERE)
    assert journal.recent_runs(URL, "2026", 2) == ids[:0:-1]
    assert journal.recent_runs(URL, "2027", 2) == []


def test_what_was_listed_is_offered_until_it_is_listed_again(journal: Journal) -> None:
    journal.keep_listing(URL, "ALIAS", [("WA1", "Old")], [B])
    journal.keep_listing(URL, "alias", [("WA1", "Web"), ("WA1", "Web")], [A.lower(), A])
    journal.keep_listing(URL, "SUB", [("VA1", "Web"), ("VA1", "B\u00e4tch")], [C, A])
    journal.keep_listing(ELSEWHERE, "ALIAS", [("WA1", "Db")], ["WA1ALIASDB01"])
    assert journal.listed_servers(URL, "", 9) == [A, C]
    assert journal.listed_servers(URL, "va1", 9) == [C]
    assert journal.listed_servers(URL, "", 1) == [A]
    assert journal.listed_groups(URL, "", 9) == ["Web", "B\u00e4tch"]
    assert journal.listed_groups(URL, "B\u00c4", 9) == ["B\u00e4tch"]
    assert journal.listed_groups(URL, "", 1) == ["Web"]


def test_a_group_that_two_data_centres_have_is_offered_with_them(journal: Journal) -> None:
    journal.keep_listing(URL, "ALIAS", [("wa1", "Web"), ("VA1", "web"), ("VA1", "Db")], [])
    assert sorted(journal.listed_groups(URL, "", 9)) == ["Db", "VA1 web", "WA1 Web"]
    assert journal.listed_groups(URL, "wa1 w", 9) == ["WA1 Web"]


def test_the_latest_listings_are_kept(journal: Journal) -> None:
    for number in range(LISTINGS_KEPT + 1):
        journal.keep_listing(f"https://{number}", "ALIAS", [], [A])
    assert journal.listed_servers("https://0", "", 9) == []
    assert journal.listed_servers("https://1", "", 9) == [A]


def test_a_tab_press_makes_nothing(journal: Journal, home: Path) -> None:
    offered = offers(journal)
    assert offered == []
    assert not home.exists()


def test_a_tab_press_is_offered_nothing_where_the_journal_is_locked(
    journal: Journal, file: Path
) -> None:
    begun(journal, A)
    with locked(file):
        assert journal.recent_servers(URL, "", 9) == []


def offers(journal: Journal) -> list[str]:
    return [
        *journal.recent_servers(URL, "", 9),
        *journal.recent_operations(URL, "", 9),
        *journal.recent_runs(URL, "", 9),
        *journal.listed_servers(URL, "", 9),
        *journal.listed_groups(URL, "", 9),
    ]


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Another process that holds the database."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield db


# What can't be used


def lost(problem: str) -> list[str]:
    """The one warning where what is asked can't be recorded."""
    so = "won't remember this reset by itself, and there is no check for earlier resets."
    return [f"Warning: the journal can't be written: {problem}. `clc status` {so}"]


def rest_lost(problem: str) -> list[str]:
    """The one warning where the intent is on disk, but not what came of it."""
    so = "won't remember by itself what came of this reset."
    return [f"Warning: the journal can't be written: {problem}. `clc status` {so}"]


def uses(journal: Journal) -> None:
    """All that writes, none of which may raise."""
    for _ in range(2):
        entry = journal.begin(URL, "ALIAS", "someone", [A, B], [A])
        assert isinstance(entry, Entry)
        assert entry.wave([B], unsettled_within=3600) == ()
        entry.answered(sent(queued(B)))
        entry.heard(WA1, EXECUTING)
        entry.flush()
        entry.close()
    journal.settle(Earlier("20260115-235958-0", NIGHT, A, None, None, None, None, None, None))
    journal.keep_listing(URL, "ALIAS", [("WA1", "Web")], [A])
    assert not journal.is_on


def test_a_journal_that_is_turned_off_records_nothing(notes: list[str]) -> None:
    journal = Journal(None, notes.append)
    uses(journal)
    assert not journal.runs(9)
    assert offers(journal) == []
    assert notes == []


def test_without_a_journal_there_are_no_runs(journal: Journal, home: Path) -> None:
    assert journal.runs(9, [A]) == []
    assert journal.latest(URL, "ALIAS") is None
    assert journal.unsettled(URL, "ALIAS", [A]) == ()
    assert not home.exists()


def test_an_empty_file_is_a_journal_without_runs(journal: Journal, home: Path, file: Path) -> None:
    """A process was killed between making it and the first transaction."""
    home.mkdir()
    file.touch()
    assert not journal.runs(9)
    assert offers(journal) == []
    begun(journal, A)
    assert len(journal.runs(9)) == 1


def test_only_the_user_may_read_it(journal: Journal, home: Path, file: Path) -> None:
    home.mkdir(mode=0o777)
    begun(journal, A)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in home.iterdir()} == {0o600}
    assert file.exists()


@pytest.mark.parametrize("name", ["100%25", "a?b#c", "\u00fc \udcff"])
def test_a_folder_may_have_any_name(tmp_path: Path, notes: list[str], name: str) -> None:
    journal = Journal(str(tmp_path / name / "x"), notes.append)
    begun(journal, A)
    assert (tmp_path / name / "x" / FILE).exists()
    assert len(journal.runs(9)) == len(journal.recent_runs(URL, "", 9)) == 1
    assert notes == []


def test_without_a_home_nothing_is_written_to_the_working_directory(
    tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal(".local/state/clc-reset", notes.append)
    uses(journal)
    assert notes == lost("there is no home directory")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JournalError, match=r"can't be read: there is no home directory\.$"):
        journal.runs(9)


def test_a_folder_that_can_not_be_made_is_told_once(tmp_path: Path, notes: list[str]) -> None:
    (tmp_path / "file").touch()
    journal = Journal(str(tmp_path / "file" / "clc-reset"), notes.append)
    uses(journal)
    assert notes == lost("Not a directory")
    assert offers(journal) == []


def test_a_folder_of_another_user_is_not_used(home: Path, notes: list[str]) -> None:
    where = home
    if os.geteuid() == 0:
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
    else:
        where = Path("/")
    journal = Journal(str(where), notes.append)
    uses(journal)
    assert notes == lost(f"{where} belongs to another user")
    assert not (where / FILE).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it away")
def test_a_file_of_another_user_is_not_used(home: Path, file: Path, notes: list[str]) -> None:
    home.mkdir()
    file.touch()
    os.chown(file, NOBODY, NOBODY)
    uses(Journal(str(home), notes.append))
    assert notes == lost(f"{file} belongs to another user")


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.parent.parent / "elsewhere"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["link", "pipe", "folder"],
)
def test_what_is_no_file_is_left_alone(
    home: Path, notes: list[str], make: Callable[[Path], None], suffix: str
) -> None:
    home.mkdir()
    odd = home / f"{FILE}{suffix}"
    make(odd)
    journal = Journal(str(home), notes.append)
    assert offers(journal) == []
    with pytest.raises(JournalError, match="is not a file"):
        journal.runs(9)
    uses(journal)
    assert notes == lost(f"{odd} is not a file")
    assert list(home.iterdir()) == [odd]
    assert not (home.parent / "elsewhere").exists()


def test_odd_things_beside_it_are_not_looked_at(journal: Journal, home: Path) -> None:
    home.mkdir()
    os.mkfifo(home / "pipe")
    (home / "2026-01-15.jsonl").mkdir()
    begun(journal, A)
    assert len(journal.runs(9)) == 1


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder of a user to whom permissions apply."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


def test_a_folder_that_is_read_only_is_told_once(notes: list[str]) -> None:
    with without_privileges() as place:
        place.chmod(0o500)
        journal = Journal(str(place / "clc-reset"), notes.append)
        uses(journal)
        assert notes == lost("Permission denied")
        assert journal.runs(9) == []


def test_a_file_that_is_read_only_is_read(notes: list[str]) -> None:
    with without_privileges() as place:
        begun(Journal(str(place), notes.append), C)
        (place / FILE).chmod(0o400)
        place.chmod(0o500)
        journal = Journal(str(place), notes.append)
        assert len(journal.runs(9)) == 1
        assert journal.recent_servers(URL, "", 9) == [C]
        assert earlier(journal, C) == [C]
        uses(journal)
        place.chmod(0o700)
    assert notes == lost("attempt to write a readonly database")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 4096, 40_000])
def test_a_full_disk_is_told_once(journal: Journal, notes: list[str], size: int) -> None:
    with full_disk(size):
        uses(journal)
        assert journal.runs(9) == []
    assert len(notes) == 1
    assert notes[0] in [*lost("disk I/O error"), *lost("database or disk is full")]


def test_a_disk_that_gets_full_loses_only_the_rest(journal: Journal, notes: list[str]) -> None:
    entry = begun(journal, A)
    with full_disk(4096):
        entry.answered(sent(queued(A)))
        entry.heard(WA1, SUCCEEDED)
        entry.close()
    assert notes == rest_lost("disk I/O error")
    assert latest(journal).waves[0].sending is None
    assert not journal.is_on


def test_a_note_that_can_not_be_told_is_no_error(tmp_path: Path) -> None:
    def fails(_note: str) -> None:
        raise BrokenPipeError

    (tmp_path / "file").touch()
    uses(Journal(str(tmp_path / "file"), fails))


def test_whatever_goes_wrong_is_a_warning(journal: Journal, notes: list[str]) -> None:
    class NoMemory(tuple[str, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            raise MemoryError

    begun(journal, A).answered(ResetAnswer(Sending.SENT, (queued(A),), NoMemory()))
    assert notes == rest_lost("MemoryError()")
    assert latest(journal).results == {}


def test_a_listing_that_can_not_be_kept_is_not_missed(
    home: Path, file: Path, notes: list[str]
) -> None:
    home.mkdir()
    file.mkdir()
    journal = Journal(str(home), notes.append)
    journal.keep_listing(URL, "ALIAS", [], [A])
    assert notes == []
    uses(journal)
    assert notes == lost(f"{file} is not a file")


@pytest.mark.parametrize("version", [1, 99])
def test_a_journal_of_another_version_is_left_alone(
    journal: Journal, file: Path, notes: list[str], version: int
) -> None:
    begun(journal, A)
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    before = file.read_bytes()
    uses(journal)
    assert notes == lost(f"{file} was written by another version of clc")
    with pytest.raises(JournalError) as raised:
        journal.latest(URL, "ALIAS")
    assert raised.value.message == (
        f"The journal can't be read: {file} was written by another version of clc."
    )
    assert raised.value.hint == "Name the operations, as in: clc status wa1-12345"
    assert file.read_bytes() == before


def test_a_locked_journal_is_waited_for_and_then_done_without(
    home: Path, file: Path, notes: list[str]
) -> None:
    journal = Journal(str(home), notes.append, lock_seconds=0.05)
    begun(journal, A)
    with locked(file):
        with pytest.raises(JournalError, match="database is locked"):
            journal.runs(9)
        uses(journal)
    assert notes == lost("database is locked")
    assert len(journal.runs(9)) == 1


@pytest.mark.parametrize("is_released", [True, False])
def test_a_journal_that_others_write_is_not_called_locked(
    home: Path, file: Path, notes: list[str], *, is_released: bool
) -> None:
    """Each of many writers holds it for a moment, and chance decides whose turn it is."""
    journal = Journal(str(home), notes.append, lock_seconds=0.05)
    begun(journal, A)
    is_over = Event()

    def write(db: sqlite3.Connection) -> None:
        for number in range(2**30):
            os.utime(file, ns=(number, number))
            if is_over.wait(0.01) or (is_released and number == 10):
                break
        db.execute("ROLLBACK")

    with locked(file) as db:
        others = Thread(target=write, args=(db,))
        others.start()
        begun(journal, B)
        is_over.set()
        others.join()
    assert notes == ([] if is_released else lost("too many others write at the same time"))


def test_rows_that_are_not_ours_are_an_error_to_read(journal: Journal, file: Path) -> None:
    begun(journal, A)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE run SET at = 'yesterday'")
        db.commit()
    with pytest.raises(JournalError, match="The journal can't be read: Invalid isoformat"):
        journal.runs(9)


# A corrupt one


def test_a_corrupt_journal_is_set_aside_and_named(
    journal: Journal, home: Path, file: Path, notes: list[str]
) -> None:
    begun(journal, B)
    file.write_bytes(b"no database" * 999)
    assert (home / f"{FILE}-journal").exists()
    begun(journal, A)
    aside, undo = sorted(home.glob(f"{FILE}.corrupt-*"))
    assert aside.name.startswith(f"{FILE}.corrupt-20260115-235958-")
    assert aside.read_bytes() == b"no database" * 999
    assert undo.name == f"{aside.name}-journal"
    (note,) = notes
    assert note == (
        f"Warning: the journal was corrupt. It is {aside} now, and a new one is begun: earlier "
        "resets are not in it, and there is no check for them."
    )
    assert latest(journal).servers == (A,)
    assert journal.is_on


def test_a_corrupt_journal_can_not_be_read(journal: Journal, home: Path, file: Path) -> None:
    home.mkdir()
    file.write_bytes(b"no database" * 999)
    with pytest.raises(JournalError, match="can't be read: file is not a database"):
        journal.runs(9)
    assert offers(journal) == []
    assert list(home.iterdir()) == [file]


def test_a_journal_that_is_found_corrupt_while_it_is_written_is_set_aside(
    journal: Journal, file: Path, notes: list[str]
) -> None:
    entry = begun(journal, A)
    file.write_bytes(b"no database" * 999)
    entry.answered(sent(queued(A)))
    assert "was corrupt" in notes[0]
    assert notes[1:] == rest_lost(f"run {entry.run} is not in it any more")
    assert journal.runs(9) == []


def test_a_journal_that_another_process_has_set_aside_is_not_set_aside_again(
    home: Path, file: Path, notes: list[str], clock: Clock
) -> None:
    home.mkdir()
    file.write_bytes(b"no database" * 999)
    asked: list[str] = []

    def other_is_faster() -> float:
        asked.append("the time")
        if len(asked) == 2:  # to name what it sets aside
            begun(Journal(str(home), lambda _note: None, clock), B)
        return clock()

    begun(Journal(str(home), notes.append, other_is_faster), A)
    assert notes == []
    assert len(list(home.glob("*.corrupt-*"))) == 1
    assert [each.servers for each in Journal(str(home), pytest.fail).runs(9)] == [(A,), (B,)]


def test_a_journal_that_is_gone_when_it_is_to_be_set_aside_is_made_anew(
    home: Path, file: Path, notes: list[str], clock: Clock
) -> None:
    home.mkdir()
    file.write_bytes(b"no database" * 999)
    asked: list[str] = []

    def goes() -> float:
        asked.append("the time")
        if len(asked) == 2:
            file.unlink()
        return clock()

    begun(Journal(str(home), notes.append, goes), A)
    assert notes == []
    assert len(Journal(str(home), pytest.fail).runs(9)) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_whatever_is_in_the_file_a_reset_goes_on(home: Path, data: st.DataObject) -> None:
    """Cut short, overwritten in the middle, or both."""
    file = home / FILE
    file.unlink(missing_ok=True)
    journal = Journal(str(home), lambda _note: None)
    with begun(journal, A) as entry:
        entry.answered(sent(queued(A)))
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=99)) * data.draw(st.integers(0, 99))
    file.write_bytes(whole[:at] + junk + whole[at + len(junk) : data.draw(st.integers(at))])
    offers(journal)
    try:
        runs = journal.runs(9)
    except JournalError:
        runs = []
    assert [each.id for each in runs] in ([], [entry.run])
    with begun(journal, B) as second:
        second.answered(sent(queued(B)))
        second.heard(WA1, EXECUTING)
    if journal.is_on:
        assert journal.run(second.run).results == {B: queued(B)}
    for each in home.iterdir():
        each.unlink()


# Where it is


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/clc-reset"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
    ],
)
def test_it_is_where_xdg_has_state(environ: dict[str, str], expected: str) -> None:
    assert folder(environ) == expected


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "me"}])
def test_without_home_it_is_where_the_system_has_the_user(environ: dict[str, str]) -> None:
    assert folder(environ) == f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/clc-reset"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody nobody knows")
def test_without_any_home_it_is_nowhere() -> None:
    told, tells = os.pipe()
    if os.fork() == 0:
        os.setuid(54321)
        os.write(tells, folder({}).encode())
        os._exit(0)
    os.close(tells)
    os.wait()
    with os.fdopen(told) as answer:
        assert answer.read() == ".local/state/clc-reset"


def test_without_an_account_any_will_do(journal: Journal) -> None:
    entry = begun(journal, A)
    entry.answered(sent(queued(A)))
    for found in (
        journal.latest(URL, None),
        journal.latest_of(URL, None, A),
        journal.with_operation(URL, WA1.id, None),
    ):
        assert found is not None
        assert found.id == entry.run


def test_what_a_later_run_sent_a_reset_to_is_known(journal: Journal) -> None:
    first = begun(journal, A, B)
    first.answered(sent(queued(A)))
    run = latest(journal)
    assert journal.sent_since(run, [A, B]) == set()
    begun(journal, B, base_url=ELSEWHERE)
    begun(journal, B).answered(sent(refused(B)))
    assert journal.sent_since(run, [A, B]) == set()
    begun(journal, B)
    assert journal.sent_since(run, [A, B]) == {B}
