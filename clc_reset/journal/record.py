"""The record of a run while it lasts: its waves, their answers, and its end.

What can't be written at once is kept and goes with the next transaction, or with the end. Only the
intent of a wave must be on disk before its request leaves.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from clc_reset.clocks import Clocks, Moment
from clc_reset.errors import JournalError
from clc_reset.journal.database import Database, UnusableError
from clc_reset.journal.rows import (
    ServerRow,
    Where,
    iso,
    list_operations,
    reset_since,
    unsettled,
    utf8,
)
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    RollingOptions,
    Sending,
    ServerResult,
    ServerState,
    usual_limit,
)

INTENT_SECONDS = 5.0
"""The time for the transaction before a request."""
ANSWER_SECONDS = 1.0
END_SECONDS = 2.0
FLUSH_EVERY = 1.0

_INSERT_RUN = """
INSERT INTO run (id, base_url, account, user, wall, boot, boot_id, options)
VALUES (:id, :base_url, :account, :user, :wall, :boot, :boot_id, :options)
"""
# the first `size` are those of the first wave
_INSERT_SERVERS = """
INSERT INTO server (run, place, name, plan, state, wave)
SELECT :run, key, value, :wave,
    iif(key < :size, 'intended', 'planned'), iif(key < :size, :wave, NULL)
FROM json_each(:servers)
"""
_ANSWERED_WAVE = """
UPDATE wave SET wall = ?, boot = ?, boot_id = ?, sending = ?, unknown = ?, operations = ?,
    sent_at = coalesce(sent_at, ?)
WHERE number = ?
"""
STORE_SENT_AT = "UPDATE wave SET sent_at = coalesce(sent_at, ?) WHERE number = ?"
_ANSWERED_SERVER = """
UPDATE server SET state = ?, operation = ?, path = ?, alias = ?, message = ?, turn = ?
WHERE run = ? AND place = ? AND wave = ?
"""
_PLANNED_AGAIN = """
UPDATE server SET state = 'planned', wave = NULL, message = ? WHERE run = ? AND wave = ?
"""
_PENDING = """
SELECT run, place, operation, path, alias FROM server
WHERE run = (SELECT number FROM run WHERE id = ?) AND operation IS NOT NULL AND NOT over
"""
_TAKEN = """
UPDATE server SET state = 'taken', taken_by = ?
WHERE name = ? AND +run = (SELECT number FROM run WHERE id = ?)
"""
_STATES = {
    ServerState.QUEUED: "queued",
    ServerState.FAILED: "refused",
    ServerState.UNKNOWN: "unknown",
}

_log = logging.getLogger(__name__)


class NewRun(NamedTuple):
    """A run to begin: the servers in upper case, each once, and its options."""

    where: Where
    user: str | None
    servers: tuple[str, ...]
    options: RollingOptions


class Statuses:
    """Collects the statuses of operations, and writes them at most once a second.

    `runs` are the ids of the runs that they belong to. `new` aren't written yet.
    """

    def __init__(self, database: Database | None, clocks: Clocks, runs: Iterable[str]) -> None:
        self._database = database
        self._clocks = clocks
        self._runs = tuple(runs)
        self.new: dict[Operation, OperationStatus] = {}
        self._written_at = clocks.monotonic()

    def add(self, operation: Operation, status: OperationStatus) -> None:
        """Collect a status."""
        self.new[operation] = status

    def flush(self) -> None:
        """Write the new statuses, unless that was done within a second; never waits."""
        now = self._clocks.monotonic()
        if now - self._written_at >= FLUSH_EVERY:
            self._written_at = now
            with suppress(JournalError):
                self._persist(0.0)

    def close(self) -> None:
        """Write what isn't written yet, or warn."""
        try:
            self._persist(END_SECONDS)
        except JournalError as error:
            _log.warning("%s The latest statuses aren't in it. %s", error.message, error.hint)

    def _persist(self, seconds: float) -> None:
        if self.new and self._database is not None:
            self._database.write(self.write, seconds, despite_signal=True)
            self.new.clear()

    def write(self, db: sqlite3.Connection) -> None:
        """Write the new statuses in a transaction; one that is final stays, whoever is late."""
        values = []
        for run in self._runs if self.new else ():
            for row in db.execute(_PENDING, (run,)):
                status = self.new.get(Operation(row["operation"], row["path"], row["alias"]))
                if status is not None:
                    values.append((utf8(status.word), status.is_final, row["run"], row["place"]))
        db.executemany("UPDATE server SET status = ?, over = ? WHERE run = ? AND place = ?", values)


class Record:
    """The record of one run. `run` is its id, None where nothing is recorded.

    `places` are the servers that it plans, in order, and `recorded` is the moment of the latest
    intent. `left_out` are the servers that its claim and its waves left out, each with the run that
    took it or may have reset it since it was planned. `confirmed` are earlier resets that
    somebody said yes to. `number` and `wave_number` are those of its rows.
    """

    def __init__(
        self,
        database: Database | None,
        clocks: Clocks,
        servers: Sequence[str],
        *,
        run: str | None = None,
        base_url: str = "",
    ) -> None:
        self.run = run
        self.places = {server: place for place, server in enumerate(servers)}
        self.recorded: Moment | None = None
        self.left_out: Mapping[str, str] = {}
        self.confirmed: AbstractSet[tuple[str, str]] = frozenset()
        self.number = 0
        self.wave_number = 0
        self.statuses = Statuses(database, clocks, [run or ""])
        self._database = database
        self._clocks = clocks
        self._base_url = base_url
        self._kept: list[Callable[[sqlite3.Connection], object]] = []
        self._has_warned = False

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that it plans, in order."""
        return tuple(self.places)

    # --- begin ---------------------------------------------------------------------------------

    def insert(
        self, db: sqlite3.Connection, new: NewRun, servers: Iterable[str], now: Moment
    ) -> None:
        """Insert the run, its first wave and its servers, in a transaction, as `take`."""
        self.places = {server: place for place, server in enumerate(servers)}
        values = {
            "id": self.run,
            **new.where._asdict(),
            "user": utf8(new.user),
            **now._asdict(),
            "options": json.dumps(new.options._asdict()),
        }
        self.number = db.execute(_INSERT_RUN, values).lastrowid or 0
        wave = self.servers[: new.options.at_a_time]
        self._insert_wave(db, wave, now)
        db.execute(
            _INSERT_SERVERS,
            {
                "run": self.number,
                "wave": self.wave_number,
                "size": len(wave),
                "servers": json.dumps(self.servers),
            },
        )

    def take(self, db: sqlite3.Connection, left: Sequence[ServerRow]) -> None:
        """Claim what other runs planned and didn't send; its plan is inherited."""
        db.executemany(
            "UPDATE server SET plan = ? WHERE run = ? AND place = ?",
            [(row.plan, self.number, self.places[row.server]) for row in left],
        )
        db.executemany(_TAKEN, [(self.run, row.server, row.run) for row in left])
        _forget_options(db, {row.run for row in left})

    # --- waves ---------------------------------------------------------------------------------

    def admit(self, servers: Sequence[str], *, check: bool) -> tuple[ServerRow, ...]:
        """Record that a later wave is about to be sent, or return what is unsettled.

        Servers that another run took, or may have reset since they were planned, are left out.
        Raises JournalError and Interrupted.
        """
        database = self._database
        if database is None:
            return ()
        now = self._clocks.now()

        def work(db: sqlite3.Connection) -> tuple[ServerRow, ...]:
            self.wave_number = 0  # nothing else proves that this transaction is there
            self._write_kept(db)
            self.left_out = {**self.left_out, **self._leave_out(db, servers)}
            admitted = [server for server in servers if server not in self.left_out]
            args = (db, self._base_url, admitted, now, database.may_go_on)
            if check and (found := unsettled(*args, this_run=self.run, but=self.confirmed)):
                return found
            if admitted:
                self._insert_wave(db, admitted, now)
                db.executemany(
                    "UPDATE server SET state = 'intended', wave = ?, message = NULL "
                    "WHERE run = ? AND place = ?",
                    [(self.wave_number, self.number, self.places[server]) for server in admitted],
                )
            return ()

        found = database.write(work, INTENT_SECONDS, self._has_wave)
        self._forget_kept()
        self.recorded = now
        return found

    def _insert_wave(self, db: sqlite3.Connection, servers: Sequence[str], now: Moment) -> None:
        insert = "INSERT INTO wave (run, wall, boot, boot_id, usual) VALUES (?, ?, ?, ?, ?)"
        values = (self.number, *now._asdict().values(), usual_limit(servers))
        self.wave_number = db.execute(insert, values).lastrowid or 0

    def _leave_out(self, db: sqlite3.Connection, servers: Sequence[str]) -> dict[str, str]:
        """Mark the servers that another run may have reset; return all that were taken, by whom."""
        query = "SELECT plan, taken_by FROM server WHERE run = ? AND place = ?"
        takers: dict[str, str] = {}
        planned: dict[str, int] = {}
        for server in servers:
            plan, taker = db.execute(query, (self.number, self.places[server])).fetchone()
            if taker is None:
                planned[server] = plan
            else:
                takers[server] = taker
        since = reset_since(db, self._base_url, planned)
        db.executemany(_TAKEN, [(row.run, server, self.run) for server, row in since.items()])
        return takers | {server: row.run for server, row in since.items()}

    def _has_wave(self, db: sqlite3.Connection) -> bool:
        query = "SELECT 1 FROM wave JOIN run ON run.number = run WHERE wave.number = ? AND id = ?"
        return db.execute(query, (self.wave_number, self.run)).fetchone() is not None

    # --- answers -------------------------------------------------------------------------------

    def answered(self, answer: ResetAnswer) -> bool:
        """Record the answer to the latest wave; return whether it is on disk. Never raises."""
        wave = self.wave_number
        return self._write(lambda db: self._write_answer(db, wave, answer), ANSWER_SECONDS)

    def checks_failed(self, messages: Mapping[str, str]) -> None:
        """Record that the checks of servers, whose operations are over, failed. Never raises."""
        query = "UPDATE server SET failed_check = ? WHERE run = ? AND place = ?"
        values = [
            (utf8(message), self.number, self.places[server])
            for server, message in messages.items()
        ]
        if values:
            self._write(lambda db: db.executemany(query, values), ANSWER_SECONDS)

    def keep_sent_at(self, instant: datetime) -> None:
        """Keep when the latest request left, on the API's clock; it goes with the end."""
        values = (iso(instant), self.wave_number)
        self._kept.append(lambda db: db.execute(STORE_SENT_AT, values))

    def end(self, results: Sequence[ServerResult]) -> bool:
        """Record that the run is over, however it ended, and let go of its lock. Never raises.

        A server that certainly wasn't sent is planned again, so that `--rest-of` can send it.
        Returns whether all of it is on disk.
        """
        not_sent = [
            (self.number, self.places[result.server])
            for result in results
            if result.state is ServerState.NOT_SENT and result.server in self.places
        ]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE server SET state = 'planned', wave = NULL "
                "WHERE run = ? AND place = ? AND state = 'intended'",
                not_sent,
            )
            db.execute("UPDATE run SET ended = 1 WHERE number = ?", (self.number,))
            _forget_options(db, [self.run or ""])

        has_ended = self._write(work, END_SECONDS)
        if self._database is not None and self.run is not None:
            self._database.release_lock(self.run, remove=has_ended)
        return has_ended

    def _write(self, work: Callable[[sqlite3.Connection], object], seconds: float) -> bool:
        """Keep work until it is on disk; return whether it is. Never raises."""
        self._kept.append(work)
        if self._database is None:
            return False
        try:
            self._database.write(self._write_kept, seconds, despite_signal=True)
        except JournalError as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "%s What came of this reset isn't recorded. %s", error.message, error.hint
                )
            return False
        self._forget_kept()
        return True

    def is_there(self, db: sqlite3.Connection) -> bool:
        """Return whether the database has this run: a corrupt one was replaced by an empty one."""
        query = "SELECT 1 FROM run WHERE id = ? AND number = ?"
        return db.execute(query, (self.run, self.number)).fetchone() is not None

    def _write_kept(self, db: sqlite3.Connection) -> None:
        if not self.is_there(db):
            raise UnusableError(f"run {self.run} isn't in it any more")
        for write in self._kept:
            write(db)
        self.statuses.write(db)

    def _forget_kept(self) -> None:
        self._kept.clear()
        self.statuses.new.clear()

    def _write_answer(self, db: sqlite3.Connection, wave: int, answer: ResetAnswer) -> None:
        left = answer.left or self.recorded or self._clocks.now()
        unknown = [result.state for result in answer.results].count(ServerState.UNKNOWN)
        sending = answer.sending.value
        listed = list_operations(r.operation.id for r in answer.results if r.operation)
        sent_at = iso(answer.sent_at)
        values = (*left._asdict().values(), sending, unknown, listed, sent_at, wave)
        db.execute(_ANSWERED_WAVE, values)
        if answer.sending is Sending.NOT_SENT:
            problem = utf8(answer.error.message if answer.error else answer.problem)
            db.execute(_PLANNED_AGAIN, (problem, self.number, wave))
            return
        turns = {server: turn for turn, server in enumerate(answer.turns)}
        db.executemany(
            _ANSWERED_SERVER,
            (
                (
                    _STATES[result.state],
                    (operation := result.operation) and operation.id,
                    operation and operation.path,
                    operation and operation.account,
                    result.message and utf8(result.message),
                    turns.get(result.server or ""),
                    self.number,
                    self.places.get(result.server or ""),
                    wave,
                )
                for result in answer.results
            ),
        )


def _forget_options(db: sqlite3.Connection, runs: Iterable[str]) -> None:
    """Delete the options of runs that plan nothing any more; the check may be confidential."""
    db.executemany(
        "UPDATE run SET options = NULL WHERE id = ? AND NOT EXISTS "
        "(SELECT 1 FROM server WHERE run = run.number AND state = 'planned')",
        [(run,) for run in runs],
    )
