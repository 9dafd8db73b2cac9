import logging
from datetime import UTC, datetime

import pytest

from clc_reset.errors import Interrupted, JournalError, RefusedError
from clc_reset.journal.database import DoubtError
from clc_reset.journal.record import Admitted, Record
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from tests.journal.kit import (
    EXECUTING,
    NIGHT,
    ONE,
    ROLLING,
    SUCCEEDED,
    TWO,
    A,
    B,
    C,
    Machine,
    lost,
    not_sent,
    queued,
    refused,
    sent,
    succeed,
)

SENT_AT = datetime(2026, 1, 15, 23, 52, tzinfo=UTC)
REFUSED = ResetAnswer.not_sent([A], RefusedError("Not today."))


# waves


def test_a_run_is_planned_and_its_first_wave_intended(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    run = machine.load(record)
    assert (run.id, run.at, run.user) == (record.run, machine.clocks.now(), "someone")
    assert (run.servers, run.options, run.may_go_on) == ((A, B, C), ROLLING, True)
    assert machine.states(record) == {A: "intended", B: "planned", C: "planned"}
    assert record.recorded == machine.clocks.now()
    wave = machine.row(record).wave
    assert wave
    assert (wave.at, wave.usual, wave.sending, wave.sent_at) == (run.at, 1800.0, None, None)
    assert machine.row(record, B).wave is None


def test_an_answer_is_recorded_server_by_server(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    record = machine.begin(A, B, C, "WA1ALIASWB09")
    odd = Operation("wa1-1", None)
    nobodys = [ServerResult(None, ServerState.QUEUED, TWO), queued("WA1ALIASNO01")]
    assert record.answered(sent(queued(A), refused(B), queued(C, odd), *nobodys, turns=[C, A]))
    *rows, forgotten = machine.load(record).rows
    assert [(row.state.value, row.operation, row.message, row.turn) for row in rows] == [
        ("queued", ONE, None, 1),
        ("refused", None, "Not in a valid state.", None),
        ("queued", odd, None, 0),
    ]
    assert {row.wave and row.wave.sending for row in rows} == {Sending.SENT}
    assert (forgotten.state, forgotten.is_in_doubt) == ("intended", True)
    assert record.end([queued(A)])
    assert caplog.messages == []


def test_a_lost_answer_leaves_all_unknown_and_says_why(machine: Machine) -> None:
    record = machine.begin(A)
    left = machine.clocks.now()._replace(boot=1040.0)
    record.answered(lost(A)._replace(left=left, sent_at=SENT_AT))
    found = machine.row(record)
    assert found.is_in_doubt
    assert found.wave
    assert (found.wave.problem, found.wave.sending) == ("it timed out", Sending.MAYBE_SENT)
    assert (found.wave.at, found.wave.sent_at) == (left, SENT_AT)


def test_a_wave_that_was_not_sent_is_planned_again(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    record.answered(REFUSED)
    assert machine.states(record) == {A: "planned", B: "planned"}
    assert machine.row(record).message == "Not today."
    assert machine.find(A) == [A]  # its run is alive
    record.end(not_sent(A, B))
    assert machine.find(A) == []


def test_each_wave_is_recorded_for_itself(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    record.answered(sent(queued(A), turns=[A]))
    machine.clocks.go_on(60)
    assert record.admit([C], check=True) == Admitted((C,), {})
    assert record.recorded == machine.clocks.now()
    record.answered(sent(queued(A), queued(B), queued(C, TWO)))  # only its own
    assert machine.states(record) == {A: "queued", B: "planned", C: "queued"}
    first, last = machine.row(record).wave, machine.row(record, C).wave
    assert first
    assert last
    assert last.at.wall == NIGHT + 60
    assert last.number > first.number


def test_a_wave_leaves_out_what_another_run_may_have_reset(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    between = machine.begin(B, journal=machine.other)
    assert record.admit([B, C], check=True) == Admitted((C,), {B: between.run or ""})
    assert machine.row(record, B).taken_by == between.run
    assert record.admit([B], check=True) == Admitted((), {B: between.run or ""})
    machine.sql("DELETE FROM run WHERE id = ?", between.run)
    assert record.admit([B], check=True) == Admitted((), {B: ""})


@pytest.mark.parametrize("answer", [sent(refused(B)), REFUSED])
def test_a_wave_keeps_what_another_run_certainly_did_not_reset(
    machine: Machine, answer: ResetAnswer
) -> None:
    record = machine.begin(A, B, options=ROLLING)
    between = machine.begin(B, journal=machine.other)
    between.answered(answer)
    between.end(not_sent(B))
    assert record.admit([B], check=True) == Admitted((B,), {})


def test_a_wave_is_checked_like_a_run(machine: Machine) -> None:
    before = machine.begin(B, journal=machine.other)
    machine.clocks.go_on(10)
    record = machine.begin(A, B, options=ROLLING)
    assert record.admit([A], check=True) == Admitted((A,), {})  # its own wave is in nobody's way
    record.answered(sent(queued(A)))
    found = record.admit([B], check=True)
    assert not isinstance(found, Admitted)
    assert [earlier.key for earlier in found] == [(before.run, B)]
    assert machine.states(record)[B] == "planned"
    assert record.admit([B], check=False) == Admitted((B,), {})


def test_a_record_of_nothing_admits_all_and_writes_nothing(machine: Machine) -> None:
    record = Record(None, machine.clocks, [A, B])
    assert record.servers == (A, B)
    assert record.admit([A], check=True) == Admitted((A,), {})
    record.sent_at(SENT_AT)
    record.checks_failed({A: "It failed."})
    record.statuses.add(ONE, SUCCEEDED)
    record.statuses.close()
    assert not record.answered(sent(queued(A)))
    assert not record.end(not_sent(B))
    assert not machine.folder.exists()


# what goes with the next transaction


def test_an_answer_that_can_not_be_written_goes_with_the_next_transaction(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    record = machine.begin(A, B, options=ROLLING)
    with machine.locked():
        assert not record.answered(sent(queued(A)))
        record.checks_failed({A: "It failed."})
    assert machine.states(record)[A] == "intended"
    record.admit([B], check=True)
    assert machine.states(record) == {A: "queued", B: "intended"}
    assert machine.row(record).failed_check == "It failed."
    with machine.locked():
        assert not record.answered(ResetAnswer.not_sent([B]))
    assert record.end(not_sent(B))
    assert machine.states(record) == {A: "queued", B: "planned"}
    (warning,) = caplog.messages
    assert warning == (
        f"The journal {machine.file} can't be written: database is locked. What came of this "
        "reset isn't recorded. Another process has it locked; if that hangs, end it."
    )


def test_an_answer_is_not_lost_when_a_later_check_can_not_be_committed(machine: Machine) -> None:
    """What proves the transaction is its wave; one without a wave proves nothing."""
    record = machine.begin(A, B, options=ROLLING, journal=machine.other)
    with machine.locked():
        record.answered(sent(queued(A)))
    machine.begin(B)
    machine.at_commit = lambda execute: execute("ROLLBACK")
    with pytest.raises(JournalError) as raised:
        record.admit([B], check=True)
    assert not isinstance(raised.value, DoubtError)
    machine.at_commit = None
    assert record.end(not_sent(B))
    assert machine.states(record)[A] == "queued"


def test_a_signal_ends_the_wait_for_a_wave_but_not_for_an_answer(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    machine.inbox.interrupt(15)
    machine.inbox.on_wait = lambda n: n == 4 and db.execute("ROLLBACK")
    with machine.locked() as db:
        with pytest.raises(Interrupted):
            record.admit([B], check=True)
        assert machine.inbox.waits == 0
        assert record.answered(sent(queued(A)))
    assert machine.states(record) == {A: "queued", B: "planned"}


def test_a_run_whose_journal_was_replaced_touches_no_other_run(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """The numbers of runs and waves begin anew in the new journal."""
    record = machine.begin(A, B, options=ROLLING)
    machine.file.write_bytes(b"no database" * 999)
    strange = machine.begin(C, A, journal=machine.other)
    assert not record.answered(sent(refused(A)))
    with pytest.raises(JournalError, match="isn't in it any more"):
        record.admit([B], check=True)
    record.statuses.add(ONE, SUCCEEDED)
    assert not record.end(not_sent(A, B))
    assert machine.states(strange) == {C: "intended", A: "intended"}
    assert machine.load(strange).may_go_on
    assert f"run {record.run} isn't in it any more" in caplog.text


# the end


def test_an_end_plans_again_what_was_not_sent_and_deletes_idle_options(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    lock = machine.folder / f"run-{record.run}.lock"
    assert record.has_lock
    assert lock.exists()
    assert record.end([*not_sent(A), ServerResult("WA1ALIASNO01", ServerState.NOT_SENT)])
    assert machine.states(record) == {A: "planned", B: "planned", C: "planned"}
    run = machine.load(record)
    assert (run.may_go_on, run.options) == (False, ROLLING)
    assert not record.has_lock
    assert not lock.exists()
    done = machine.begin(A, B)
    done.answered(sent(queued(A), ServerResult(B, ServerState.UNKNOWN)))
    done.end(not_sent(A, B))  # what may have been sent is never planned again
    assert machine.states(done) == {A: "queued", B: "unknown"}
    assert machine.load(done).options is None


def test_an_end_that_can_not_be_written_lets_go_of_the_lock(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    with machine.locked():
        assert not record.end(not_sent(B))
    assert not machine.load(record).may_go_on
    assert machine.find(B) == []


# statuses, checks and times


def test_statuses_are_written_once_a_second(machine: Machine) -> None:
    def hear(word: str, seconds: float) -> str | None:
        machine.clocks.go_on(seconds)
        record.statuses.add(ONE, OperationStatus(word))
        record.statuses.flush()
        status = machine.row(record).status
        return status and status.word

    record = machine.begin(A, B)
    record.answered(sent(queued(A), queued(B, TWO)))
    assert hear("notStarted", 0) is None
    assert hear("executing", 0.9) is None
    assert hear("resumed", 0.1) == "resumed"
    with machine.locked():
        machine.clocks.go_on(1)
        record.statuses.flush()  # nothing new
    assert hear("executing", 1) == "executing"
    assert machine.inbox.waits == 0
    assert machine.row(record, B).status is None


def test_a_final_status_stays_and_settles(machine: Machine) -> None:
    record = machine.begin(A)
    succeed(record, A)
    late = machine.other.statuses(lambda _operation: [record.run or ""])
    late.add(ONE, EXECUTING)
    late.add(TWO, EXECUTING)
    late.close()
    assert machine.row(record).status == SUCCEEDED
    assert machine.find(A) == []


def test_statuses_that_can_not_be_written_are_a_warning_at_the_end(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    record = machine.begin(A)
    record.answered(sent(queued(A)))
    with machine.locked():
        record.statuses.add(ONE, SUCCEEDED)
        record.statuses.flush()
        machine.clocks.go_on(1)
        record.statuses.flush()
        assert caplog.messages == []
        record.statuses.close()
    assert "The latest statuses aren't in it." in caplog.text
    record.statuses.close()  # they are kept
    assert machine.row(record).status == SUCCEEDED


def test_checks_that_failed_are_recorded(machine: Machine) -> None:
    record = machine.begin(A, B)
    record.answered(sent(queued(A), queued(B)))
    record.checks_failed({})
    record.checks_failed({B: "The check failed: \ud800."})
    assert machine.row(record).failed_check is None
    assert machine.row(record, B).failed_check == "The check failed: \\ud800."


def test_when_a_request_left_on_the_apis_clock_is_stored_once(machine: Machine) -> None:
    record = machine.begin(A)
    record.answered(lost(A))
    record.sent_at(SENT_AT)
    record.end([])
    wave = machine.row(record).wave
    assert wave
    assert wave.sent_at == SENT_AT
    machine.other.store_sent_at(wave.number, datetime(2030, 1, 1, tzinfo=UTC))
    assert machine.row(record).wave == wave


def test_ten_thousand_servers_are_one_wave(machine: Machine) -> None:
    servers = [f"WA1ALIASN{number:05}" for number in range(10_000)]
    record = machine.begin(*servers)
    record.answered(sent(*map(queued, servers), turns=servers[::-1]))
    rows = machine.load(record).rows
    assert [row.server for row in rows] == servers
    assert [row.turn for row in rows] == list(range(9_999, -1, -1))
    assert machine.find(*servers) == servers
