import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from clc_reset.errors import Interrupted, JournalError, RefusedError
from clc_reset.journal.database import DoubtError
from clc_reset.journal.record import Record
from clc_reset.journal.runs import Rest
from clc_reset.models import Operation, OperationStatus, ResetAnswer, RollingOptions
from tests.builders import ONE, TWO, A, B, C, D, lost, many, not_sent, queued, refused, sent
from tests.machine import JUNK, ROLLING, Caplog, Machine, succeed

SUCCEEDED = OperationStatus("succeeded")
SENT_AT = datetime(2026, 1, 15, 23, 52, tzinfo=UTC)


def test_a_run_is_planned_and_its_first_wave_intended(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    run = machine.load(record)
    assert (run.id, run.at, run.rows[0].user) == (record.run, machine.clocks.now(), "nightly")
    assert (run.servers, run.options, run.may_go_on) == ((A, B, C), ROLLING, True)
    assert machine.states(record) == {A: "intended", B: "planned", C: "planned"}
    assert record.recorded == machine.clocks.now()
    wave = machine.wave(record)
    assert (wave.at, wave.usual, wave.sent_at) == (run.at, 1800.0, None)
    assert machine.row(record, B).wave is None


def test_an_answer_is_recorded_server_by_server(machine: Machine, caplog: Caplog) -> None:
    caplog.set_level(logging.DEBUG)
    record = machine.begin(A, B, C, D)
    odd = Operation("wa1-9", None)
    nobodys = [queued(None, TWO), queued("WA1ALIASNO01")]
    answer = sent(queued(A), refused(B), queued(C, odd), *nobodys, turns=(C, A))
    assert record.answered(answer)
    *rows, forgotten = machine.load(record).rows
    assert [(row.state.value, row.operation, row.message, row.turn) for row in rows] == [
        ("queued", ONE, None, 1),
        ("refused", None, "Not in a valid state.", None),
        ("queued", odd, None, 0),
    ]
    assert (forgotten.state, forgotten.is_in_doubt) == ("intended", True)
    assert record.end([queued(A)])
    assert caplog.messages == []


def test_when_a_request_left_is_stored_once(machine: Machine) -> None:
    def keep(record: Record, at: datetime) -> None:
        record.keep_sent_at(at)
        record.end([])

    stores: list[Callable[[Record, datetime], object]] = [
        lambda record, at: record.answered(lost(A)._replace(sent_at=at)),
        keep,
        lambda record, at: machine.other.store_sent_at(machine.wave(record).number, at),
    ]
    for first in stores:
        record = machine.begin(A)
        first(record, SENT_AT)
        for store in stores:
            store(record, SENT_AT + timedelta(days=1))
        assert machine.wave(record).sent_at == SENT_AT
    left = machine.clocks.now()._replace(boot=1040.0)
    record.answered(lost(A)._replace(left=left))
    assert machine.wave(record).at == left


def test_each_wave_is_checked_and_recorded_for_itself(machine: Machine) -> None:
    before = machine.begin(C)
    record = machine.begin(A, B, C, options=ROLLING)
    record.answered(sent(queued(A)))
    machine.clocks.go_on(60)
    assert [row.key for row in record.admit([C], check=True)] == [(before.run, C)]
    machine.at_commit = lambda execute: execute("COMMIT")  # it fails, and yet the wave is there
    assert record.admit([C], check=False) == ()
    machine.at_commit = None
    assert record.recorded == machine.clocks.now()
    record.answered(sent(queued(A), queued(B), queued(C, TWO)))  # only its own
    assert machine.states(record) == {A: "queued", B: "planned", C: "queued"}
    assert machine.wave(record, C).at == machine.clocks.now()
    assert machine.wave(record, C).number > machine.wave(record).number


def test_a_wave_leaves_out_what_another_run_may_have_reset(machine: Machine) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    machine.ended(sent(refused(B)))  # it certainly wasn't reset
    machine.ended(ResetAnswer.not_sent([B]))
    between = machine.begin(C)
    assert record.admit([B, C], check=True) == ()
    assert machine.states(record) == {A: "intended", B: "intended", C: "taken"}
    assert (record.left_out, machine.row(record, C).taken_by) == ({C: between.run}, between.run)
    machine.sql("DELETE FROM run WHERE id = ?", between.run)
    assert record.admit([C], check=True) == ()
    assert record.left_out == {C: between.run}


def test_an_unwritten_answer_goes_with_the_next_write(machine: Machine, caplog: Caplog) -> None:
    record = machine.begin(A, B, options=ROLLING)
    record.checks_failed({})
    with machine.locked():
        assert not record.answered(sent(queued(A)))
        record.checks_failed({A: "It failed."})
    assert machine.states(record)[A] == "intended"
    record.admit([B], check=True)
    assert machine.states(record) == {A: "queued", B: "intended"}
    assert machine.row(record).failed_check == "It failed."
    assert machine.row(record, B).failed_check is None
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
    record = machine.begin(A, B, options=ROLLING)
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


def test_a_signal_ends_the_wait_for_a_wave_but_not_for_what_was_learned(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    statuses = machine.other.statuses([record.run or ""])
    statuses.add(ONE, SUCCEEDED)
    machine.inbox.interrupt(15)
    with machine.locked(), pytest.raises(Interrupted):
        record.admit([B], check=True)
    assert machine.inbox.pauses == []
    machine.inbox.on_wait = lambda number: number % 2 == 0 and db.execute("ROLLBACK")
    for write in (
        lambda: record.answered(sent(queued(A))),
        statuses.close,
        lambda: machine.other.store_sent_at(record.wave_number, SENT_AT),
    ):
        with machine.locked() as db:
            write()
    row = machine.row(record)
    assert (row.state, row.status, row.wave and row.wave.sent_at) == ("queued", SUCCEEDED, SENT_AT)


def test_a_run_of_a_replaced_journal_touches_no_other(machine: Machine, caplog: Caplog) -> None:
    """The numbers of runs and waves begin anew in the new journal."""
    record = machine.begin(A, B, options=ROLLING)
    machine.file.write_bytes(JUNK)
    strange = machine.other.begin(machine.new(C, A), again=True)
    assert isinstance(strange, Record)
    assert not record.answered(sent(refused(A)))
    with pytest.raises(JournalError, match="isn't in it any more"):
        record.admit([B], check=True)
    record.statuses.add(ONE, SUCCEEDED)
    assert not record.end(not_sent(A, B))
    assert machine.states(strange) == {C: "intended", A: "intended"}
    assert machine.load(strange).may_go_on
    assert f"run {record.run} isn't in it any more" in caplog.text


def test_an_end_plans_again_what_was_not_sent_and_deletes_idle_options(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    lock = machine.folder / f"run-{record.run}.lock"
    record.answered(ResetAnswer.not_sent([A], RefusedError("Not today.")))
    assert machine.row(record).message == "Not today."
    assert lock.exists()
    assert machine.find(A) == [A]  # its run is alive
    assert record.end(not_sent(A, "WA1ALIASNO01"))
    assert machine.states(record) == {A: "planned", B: "planned"}
    assert (machine.load(record).may_go_on, machine.load(record).options) == (False, ROLLING)
    assert not lock.exists()
    assert machine.find(A) == []
    done = machine.begin(A, B, C)
    done.answered(sent(queued(A), *lost(B).results, queued(C)))
    with machine.locked():
        assert not done.end([])
    assert not machine.load(done).may_go_on  # its lock is free
    done.end(not_sent(A, B))  # what may have been sent is never planned again
    assert machine.states(done) == {A: "queued", B: "unknown", C: "queued"}
    assert machine.load(done).options is None


def test_statuses_are_written_once_a_second(machine: Machine) -> None:
    def hear(word: str, seconds: float) -> str | None:
        machine.clocks.go_on(seconds)
        record.statuses.add(ONE, OperationStatus(word))
        record.statuses.flush()
        status = machine.row(record).status
        return status and status.word

    record = machine.begin(A, B)
    record.answered(sent(queued(A), queued(B, TWO)))
    assert hear("executing", 0.9) is None
    assert hear("resumed", 0.1) == "resumed"
    with machine.locked():
        machine.clocks.go_on(1)
        record.statuses.flush()  # nothing new
    assert hear("executing", 0.9) == "resumed"
    assert hear("executing", 0.1) == "executing"
    assert machine.inbox.pauses == []
    assert machine.row(record, B).status is None


def test_unwritten_statuses_are_a_warning_at_the_end(machine: Machine, caplog: Caplog) -> None:
    record = machine.ended(sent(queued(A)))
    with machine.locked():
        machine.clocks.go_on(1)
        record.statuses.add(ONE, SUCCEEDED)
        record.statuses.flush()
        assert caplog.messages == []
        record.statuses.close()
    (warning,) = caplog.messages
    assert warning == (
        f"The journal {machine.file} can't be written: database is locked. The latest statuses "
        "aren't in it. Another process has it locked; if that hangs, end it."
    )
    record.statuses.close()  # they are kept
    late = machine.other.statuses([record.run or ""])
    late.add(ONE, OperationStatus("executing"))
    late.close()
    assert machine.row(record).status == SUCCEEDED  # what is final stays
    assert machine.find(A) == []


def resolved(machine: Machine, record: Record) -> list[tuple[str, str, str]]:
    chain = machine.journal.resolve(machine.load(record))
    return [(row.server, holder.id, row.state) for holder, row in chain]


def test_a_rest_is_what_a_run_certainly_did_not_send_and_a_claim_takes_it(machine: Machine) -> None:
    record = machine.begin(A, B, C, D, options=ROLLING)
    succeed(record, A)
    record.admit([B], check=True)
    record.answered(lost(B))
    record.admit([C], check=True)
    record.answered(ResetAnswer.not_sent([C]))
    record.end(not_sent(C, D))
    rest = machine.rest(record)
    assert (rest.servers, rest.left_out, rest.going_on, rest.running) == ((C, D), {}, (), ())
    assert (rest.options, rest.is_in_doubt) == (ROLLING, True)
    with machine.locked(), pytest.raises(JournalError):
        machine.claim(record, Record)
    assert machine.rest(record) == rest  # nothing is claimed
    claim = machine.claim(record, Record)
    assert (claim.servers, claim.recorded) == ((C, D), machine.clocks.now())
    assert machine.states(claim) == {C: "intended", D: "planned"}
    assert machine.load(record).options is None
    rest = machine.claim(record, Rest)  # they belong to nobody else
    assert (rest.servers, rest.going_on) == ((D,), (claim.run,))
    assert machine.find(C, D) == [C, D]
    assert claim.admit([D], check=True) == ()
    assert machine.states(claim) == {C: "intended", D: "intended"}


def test_a_run_without_an_end_is_over_only_if_its_lock_says_so(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    machine.database.remove_lock(record.run or "")  # nothing tells
    assert machine.rest(record).going_on == (record.run,)
    assert machine.find(B) == [B]
    (machine.folder / f"run-{record.run}.lock").touch()  # as a killed process leaves it
    assert machine.rest(record).going_on == ()
    assert machine.rest(record).is_in_doubt
    assert machine.find(B) == []


def test_the_rest_follows_the_chain_of_ended_runs(machine: Machine) -> None:
    first = machine.stopped(A, B, C, D)
    second = machine.claim(first, Record)
    succeed(second, B)
    second.end(not_sent(C, D))
    third = machine.claim(first, Record)
    assert third.servers == (C, D)
    succeed(third, C)
    assert machine.rest(first).going_on == (third.run,)
    third.end(not_sent(D))
    for record in (first, second, third):
        found = machine.rest(record)
        assert (found.servers, found.options) == ((D,), ROLLING)
    assert resolved(machine, first) == [
        (A, first.run, "queued"),
        (B, second.run, "queued"),
        (C, third.run, "queued"),
        (D, third.run, "planned"),
    ]
    machine.sql("DELETE FROM run WHERE id = ?", third.run)  # nobody claims what it took
    assert resolved(machine, first)[2:] == [(C, second.run, "taken"), (D, second.run, "taken")]
    found = machine.claim(first, Rest)
    assert (found.servers, found.options, found.is_in_doubt) == ((), RollingOptions(), False)


def test_a_claim_leaves_out_what_was_reset_since_the_first_plan(machine: Machine) -> None:
    first = machine.begin(A, B, C, options=ROLLING)
    succeed(first, A)
    between = machine.begin(B)
    succeed(between, B)
    first.end(not_sent(B, C))
    second = machine.claim(first, Record)
    assert (second.servers, second.left_out) == ((C,), {B: between.run})
    assert machine.load(first).options == ROLLING  # B is still planned
    second.answered(ResetAnswer.not_sent([C]))
    second.end(not_sent(C))
    assert not machine.rest(first).is_in_doubt
    machine.begin(C).answered(lost(C))
    found = machine.rest(first)
    assert (found.servers, [*found.left_out], found.is_in_doubt) == ((), [B, C], True)


def test_running_operations_are_followed_first_while_they_are_recent(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    record.answered(sent(queued(A)))
    record.end(not_sent(B))
    assert [row.server for row in machine.claim(record, Rest, again=True).running] == [A]
    machine.clocks.go_on(3601)
    assert machine.claim(record, Record).servers == (B,)


def test_many_servers_are_claimed_without_comparing_each_with_all(machine: Machine) -> None:
    servers = many(3_000)
    record = machine.begin(*servers, options=ROLLING)
    record.answered(sent(*map(queued, servers), turns=servers[::-1]))
    assert machine.row(record, servers[0]).turn == 2_999
    succeed(record)
    record.end(not_sent(*servers))
    claim = machine.claim(record, Record)
    assert claim.servers == servers[1:]
    claim.end(not_sent(*servers[1:]))
    assert machine.rest(record).servers == claim.servers
    assert machine.steps < 30_000
