import pytest

from clc_reset.errors import JournalError, RefusedError
from clc_reset.journal.database import Database
from clc_reset.journal.record import Admitted, Record
from clc_reset.journal.runs import Rest
from clc_reset.models import ResetAnswer, RollingOptions
from tests.journal.kit import (
    ONE,
    ROLLING,
    SUCCEEDED,
    A,
    B,
    C,
    D,
    Machine,
    lost,
    not_sent,
    queued,
    refused,
    sent,
    succeed,
)


def resolved(machine: Machine, record: Record) -> list[tuple[str, str, str]]:
    chain = machine.journal.resolve(machine.load(record))
    return [(row.server, holder.id, row.state) for holder, row in chain]


def test_the_rest_of_a_run_is_what_it_certainly_did_not_send(machine: Machine) -> None:
    record = machine.begin(A, B, C, D, options=ROLLING)
    succeed(record, A)
    record.admit([B], check=True)
    record.answered(lost(B))
    record.admit([C], check=True)
    record.answered(ResetAnswer.not_sent([C], RefusedError("Not today.")))
    record.end(not_sent(C, D))
    found = machine.rest(record)
    assert (found.servers, found.left_out, found.going_on, found.running) == ((C, D), {}, (), ())
    assert (found.options, found.is_in_doubt) == (ROLLING, True)
    assert machine.rest(record) == found  # to look is to claim nothing


def test_a_claim_takes_the_rest_and_intends_its_first_wave(machine: Machine) -> None:
    record = machine.stopped(A, B, C)
    claim = machine.claimed(record)
    assert (claim.servers, claim.recorded) == ((B, C), machine.clocks.now())
    assert machine.states(claim) == {B: "intended", C: "planned"}
    assert resolved(machine, record) == [
        (A, record.run, "queued"),
        (B, claim.run, "intended"),
        (C, claim.run, "planned"),
    ]
    assert machine.load(record).options is None
    found = machine.claim(record, journal=machine.journal)  # they belong to nobody else
    assert isinstance(found, Rest)
    assert (found.servers, found.going_on) == ((C,), (claim.run,))
    assert machine.find(B, C) == [B, C]
    assert claim.admit([C], check=True) == Admitted((C,), {})


def test_a_live_run_is_claimed_only_again_and_then_leaves_out_what_was_taken(
    machine: Machine,
) -> None:
    record = machine.begin(A, B, C, options=ROLLING)
    succeed(record, A)
    found = machine.not_claimed(record)
    assert (found.servers, found.going_on) == ((B, C), (record.run,))
    claim = machine.claimed(record, again=True)
    assert record.admit([B], check=True) == Admitted((), {B: claim.run or ""})
    assert record.end(not_sent(B, C))
    assert machine.states(record)[B] == "taken"
    assert machine.states(claim) == {B: "intended", C: "planned"}


@pytest.mark.parametrize("state", ["killed", "lock missing", "no locks"])
def test_a_run_without_an_end_is_over_only_if_its_lock_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "no locks":
        monkeypatch.setattr(Database, "hold_lock", lambda _self, _run: None)
    record = machine.begin(A, B, options=ROLLING)
    succeed(record, A)
    if state == "lock missing":
        machine.database.remove_lock(record.run or "")
    machine.database.die()
    assert machine.find(B) == ([] if state == "killed" else [B])
    found = machine.rest(record)
    assert found.going_on == (() if state == "killed" else (record.run,))


def test_the_rest_of_a_killed_run_leaves_its_doubt_alone(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    machine.database.die()
    found = machine.rest(record)
    assert (found.servers, found.is_in_doubt) == ((B,), True)
    assert machine.claimed(record).servers == (B,)


def test_the_rest_follows_the_chain_of_ended_runs(machine: Machine) -> None:
    first = machine.stopped(A, B, C, D)
    second = machine.claimed(first)
    succeed(second, B)
    second.end(not_sent(C, D))
    third = machine.claimed(first)
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


def test_a_claim_leaves_out_what_was_reset_since_the_first_plan(machine: Machine) -> None:
    first = machine.begin(A, B, C, options=ROLLING)
    succeed(first, A)
    between = machine.begin(B, journal=machine.other)
    succeed(between, B)
    between.end([])
    first.end(not_sent(B, C))
    second = machine.claimed(first)
    assert (second.servers, second.left_out) == ((C,), {B: between.run})
    assert machine.load(first).options == ROLLING  # B is still planned
    second.answered(ResetAnswer.not_sent([C]))
    second.end(not_sent(C))
    machine.begin(C, journal=machine.other).answered(lost(C))
    found = machine.rest(first)
    assert (found.servers, [*found.left_out], found.is_in_doubt) == ((), [B, C], True)


def test_a_server_whose_taker_was_dropped_is_claimed_by_nobody(machine: Machine) -> None:
    record = machine.stopped(A, B)
    claim = machine.claimed(record)
    machine.sql("DELETE FROM run WHERE id = ?", claim.run)
    assert resolved(machine, record)[1] == (B, record.run, "taken")
    assert machine.not_claimed(record).servers == ()


def test_running_operations_are_followed_first(machine: Machine) -> None:
    record = machine.begin(A, B, options=ROLLING)
    record.answered(sent(queued(A)))
    record.end(not_sent(B))
    found = machine.not_claimed(record, again=True)
    assert [row.server for row in found.running] == [A]
    machine.clocks.go_on(3601)
    assert machine.claimed(record).servers == (B,)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("is_planned", [True, False])
def test_a_claim_is_guarded_even_again(machine: Machine, *, again: bool, is_planned: bool) -> None:
    other = machine.begin(D, C, options=ROLLING) if is_planned else machine.begin(C)
    if not is_planned:
        other.answered(lost(C))
    record = machine.stopped(A, B, C)
    found = machine.claim(record, again=again)
    assert isinstance(found, tuple)
    assert not isinstance(found, Rest)
    assert [earlier.key for earlier in found] == [(other.run, C)]
    rest = machine.rest(record)
    assert rest.servers == (B, C)
    confirmed = {earlier.key for earlier in found}
    new = machine.new(options=ROLLING)
    assert isinstance(machine.other.claim(new, rest, again=again, confirmed=confirmed), Record)


def test_nothing_left_says_whether_a_server_is_in_doubt(machine: Machine) -> None:
    done, doubtful = machine.begin(A, B), machine.begin(C)
    done.answered(sent(queued(A), refused(B)))
    done.statuses.add(ONE, SUCCEEDED)
    doubtful.answered(lost(C))
    for record in (done, doubtful):
        record.end([])
        found = machine.not_claimed(record)
        assert (found.servers, found.options) == ((), RollingOptions())
        assert found.is_in_doubt is (record is doubtful)


def test_a_claim_that_can_not_be_recorded_claims_nothing(machine: Machine) -> None:
    record = machine.stopped(A, B)
    found = machine.rest(record)
    with machine.locked(), pytest.raises(JournalError):
        machine.other.claim(machine.new(options=ROLLING), found, again=False)
    assert machine.rest(record) == found


def test_ten_thousand_servers_are_claimed_without_comparing_each_with_all(machine: Machine) -> None:
    servers = [f"WA1ALIASN{number:05}" for number in range(10_000)]
    record = machine.stopped(*servers)
    claim = machine.claimed(record)
    assert claim.servers == tuple(servers[1:])
    claim.end(not_sent(*servers[1:]))
    assert machine.rest(record).servers == claim.servers
    assert machine.steps < 100_000
