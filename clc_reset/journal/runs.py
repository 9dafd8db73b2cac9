"""The journal of runs: begin one, claim the rest of one, and find earlier ones.

It records what each server went through, and infers nothing from absence (CONTRACT: the journal's
protocol). First and last go by the order of recording, never by a clock. No token, no password.
"""

import json
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from clc_reset.clocks import Clocks, Moment
from clc_reset.errors import JournalError, UsageError
from clc_reset.journal import rows
from clc_reset.journal.database import LAST_CHARACTER, Database, DoubtError
from clc_reset.journal.record import (
    ANSWER_SECONDS,
    INTENT_SECONDS,
    STORE_SENT_AT,
    NewRun,
    Record,
    Statuses,
)
from clc_reset.journal.rows import RowState, Run, ServerRow
from clc_reset.models import RollingOptions
from clc_reset.text import quote
from clc_reset.workers import Inbox

RUNS_KEPT = 10_000
"""Beyond them those older than 30 days are dropped."""
MOST_DROPPED = 1000
"""Rows, about, that one new run drops of old ones: it must not wait for it."""
LISTINGS_KEPT = 50

_DAY = 86400.0
_TO_LIST_RUNS = "To list runs: clc history"

_BY_ID = "SELECT * FROM run WHERE id = :id"

_log = logging.getLogger(__name__)


class Rest(NamedTuple):
    """The rest of a run: what it, and ended runs that took from it, planned and didn't send.

    `left` are the rows to claim, in the order of the run; `left_out` the planned servers that
    another run may have reset since, with that run's id. `going_on` names the runs in the chain
    that are alive, or may be. `running` are rows whose operations aren't known to be over.
    `is_in_doubt` tells that nobody knows what became of some server.
    """

    run: Run
    left: tuple[ServerRow, ...]
    left_out: Mapping[str, str]
    going_on: tuple[str, ...]
    running: tuple[ServerRow, ...]
    is_in_doubt: bool
    options: RollingOptions

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers that are left."""
        return tuple(row.server for row in self.left)


class Journal:
    """The journal in a database; None turns it off. What reads raises JournalError.

    `new_id` makes the random part of a run's id.
    """

    def __init__(
        self,
        database: Database | None,
        clocks: Clocks,
        new_id: Callable[[], str] = lambda: os.urandom(4).hex(),
    ) -> None:
        self.is_on = database is not None
        self._database = database
        self._clocks = clocks
        self._new_id = new_id
        self._warned_about: set[str] = set()

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], inbox: Inbox, clocks: Clocks) -> "Journal":
        """Return the journal that the environment names, off with CLC_NO_JOURNAL."""
        return cls(Database.of(environ, inbox, clocks.monotonic), clocks)

    @property
    def _usable(self) -> Database:
        """The database. Raises JournalError if the journal is turned off."""
        if self._database is None:
            raise JournalError(
                "The journal is turned off.", hint="Unset CLC_NO_JOURNAL to keep one."
            )
        self._warn_of_corrupt(self._database)
        return self._database

    def _warn_of_corrupt(self, database: Database) -> None:
        for path in database.recently_corrupt():
            if path not in self._warned_about:
                self._warned_about.add(path)
                _log.warning(
                    "The journal was corrupt and was renamed to %s. Earlier resets aren't in the "
                    "new one, so clc can't check for them.",
                    path,
                )

    # --- begin and claim -----------------------------------------------------------------------

    def begin(
        self,
        new: NewRun,
        rest: Rest | None = None,
        *,
        again: bool = False,
        confirmed: AbstractSet[tuple[str, str]] = frozenset(),
    ) -> Record | Rest | tuple[ServerRow, ...]:
        """Record a run and the intent of its first wave, or return what is unsettled.

        All in one transaction, so that of two processes one finds the other. It looks for earlier
        resets of all servers but those that are `confirmed`, and for none with `again`.

        With the `rest` of a run it claims that: `again` claims that of a run that may be going on,
        and never switches the check off. Returns a Rest where it can't be claimed any more: nothing
        is left, an operation that isn't `confirmed` is running, or a run may be going on.

        Raises JournalError, DoubtError where the record may be there, and Interrupted.
        """
        now, database = self._clocks.now(), self._usable
        run = f"{now.utc:%Y%m%d-%H%M%S}-{self._new_id()}"
        record = Record(database, self._clocks, (), run=run, base_url=new.where.base_url)

        def work(db: sqlite3.Connection) -> Rest | tuple[ServerRow, ...]:
            servers = new.servers
            left: tuple[ServerRow, ...] = ()
            if rest is not None:
                found = self._rest(db, rest.run.id)
                running = tuple(row for row in found.running if row.key not in confirmed)
                if not found.left or running or (found.going_on and not again):
                    is_in_doubt = found.is_in_doubt or len(running) < len(found.running)
                    return found._replace(running=running, is_in_doubt=is_in_doubt)
                left, record.left_out = found.left, found.left_out
                servers = tuple(row.server for row in left)
            if rest is not None or not again:
                args = (db, new.where.base_url, servers, now, self._may_go_on)
                but = confirmed | {row.key for row in left}
                if unsettled := rows.unsettled(*args, but=but):
                    return unsettled
            database.hold_lock(run)
            record.insert(db, new, servers, now)
            record.take(db, left)
            if rest is None:
                self._drop_old_runs(db, record.number, now)
            return ()

        may_be_there = False
        try:
            found = database.write(work, INTENT_SECONDS, record.is_there)
            may_be_there = not found
        except DoubtError:
            may_be_there = True
            raise
        finally:
            if not may_be_there:  # a try before the last one may have locked it
                database.release_lock(run, remove=True)
            self._warn_of_corrupt(database)
        if found:
            return found
        record.recorded, record.confirmed = now, confirmed
        return record

    def rest_of(self, run: str) -> Rest:
        """Return the rest of a run. Raises JournalError, and UsageError if there is no such run."""
        with self._usable.read() as db:
            return self._rest(db, run)

    def _drop_old_runs(self, db: sqlite3.Connection, latest: int, now: Moment) -> None:
        before = db.total_changes
        oldest = """
            SELECT number, id, wall, boot, boot_id FROM run
            WHERE number <= ? ORDER BY number LIMIT 100
        """
        for number, run, *at in db.execute(oldest, (latest - RUNS_KEPT,)).fetchall():
            if now.seconds_since(Moment(*at)) > 30 * _DAY:
                db.execute("DELETE FROM run WHERE number = ?", (number,))
                self._usable.remove_lock(run)
            if db.total_changes - before > MOST_DROPPED:
                break

    def _rest(self, db: sqlite3.Connection, beginning: str) -> Rest:
        run = self._find_run(db, beginning)
        if run is None:
            raise UsageError(f"The journal has no run {quote(beginning)}.", hint=_TO_LIST_RUNS)
        now = self._clocks.now()
        chain = self._chain(db, run)
        holders = {run.id: run} | {holder.id: holder for holder, _ in chain}
        standing = [row for _, row in chain]
        planned = [row for row in standing if row.state is RowState.PLANNED]
        since = rows.reset_since(db, run.base_url, {row.server: row.plan for row in planned})
        left = tuple(row for row in planned if row.server not in since)
        recent = [row for row in standing if row.wave is not None and row.wave.is_recent(now)]
        queued = [row for row in recent if row.state is RowState.QUEUED and not row.over]
        running = tuple(row for row in queued if row.operation and row.operation.path)
        options = run.options or (holders[left[0].run].options if left else None)
        return Rest(
            run,
            left,
            {server: row.run for server, row in since.items()},
            tuple(holder.id for holder in holders.values() if holder.may_go_on),
            running,
            len(running) < len(queued)
            or any(row.is_in_doubt for row in (*standing, *since.values())),
            options or RollingOptions(),
        )

    def _chain(self, db: sqlite3.Connection, run: Run) -> list[tuple[Run, ServerRow]]:
        """Return the row that stands for each server of a run, with the run that it is in.

        Where the run that took a server was dropped, its own row stands.
        """
        takers: dict[str, dict[str, tuple[Run, ServerRow]]] = {}
        chain = []
        for own in run.rows:
            holder, row = run, own
            while row.taken_by is not None:
                if row.taken_by not in takers:
                    takers[row.taken_by] = {
                        other.server: (taker, other)
                        for taker in self._load(db, _BY_ID, id=row.taken_by)
                        for other in taker.rows
                    }
                if row.server not in takers[row.taken_by]:
                    break
                holder, row = takers[row.taken_by][row.server]
            chain.append((holder, row))
        return chain

    def _may_go_on(self, run: str) -> bool:
        return self._database is not None and self._database.may_go_on(run)

    # --- write what was learned later ----------------------------------------------------------

    def statuses(self, runs: Iterable[str]) -> Statuses:
        """Return what records the statuses of operations in these runs."""
        return Statuses(self._database, self._clocks, runs)

    def mark_over(self, row: ServerRow) -> None:
        """Record that an earlier reset is over, though its operation never said so."""
        self._note(
            "UPDATE server SET over = 1 WHERE name = ? AND run = "
            "(SELECT number FROM run WHERE id = ?)",
            (row.server, row.run),
        )

    def store_sent_at(self, wave: int, instant: datetime) -> None:
        """Store when a request left, on the API's clock, unless that is stored already."""
        self._note(STORE_SENT_AT, (rows.iso(instant), wave))

    def _note(self, statement: str, values: Sequence[object]) -> None:
        """Write a detail, or do without it where the journal can't be written."""
        if self._database is not None:
            with suppress(JournalError):
                self._database.write(
                    lambda db: db.execute(statement, values), ANSWER_SECONDS, despite_signal=True
                )

    # --- find runs -----------------------------------------------------------------------------

    def unsettled(
        self,
        base_url: str,
        servers: Sequence[str],
        but: AbstractSet[tuple[str, str]] = frozenset(),
    ) -> tuple[ServerRow, ...]:
        """Return what `begin` would find, where nothing is to be recorded."""
        args = (base_url, servers, self._clocks.now(), self._may_go_on)
        with self._usable.read() as db:
            return rows.unsettled(db, *args, but=but)

    def run(self, beginning: str) -> Run | None:
        """Return the run whose id begins so, None without one. Raises UsageError for several."""
        with self._usable.read() as db:
            return self._find_run(db, beginning)

    def _find_run(self, db: sqlite3.Connection, beginning: str) -> Run | None:
        query = "SELECT * FROM run WHERE id BETWEEN :begun AND :end ORDER BY id DESC LIMIT 3"
        begun = rows.utf8(beginning) or LAST_CHARACTER  # nothing is the beginning of no run
        found = list(self._load(db, query, begun=begun, end=begun + LAST_CHARACTER))
        if len(found) > 1:
            several = ", ".join(run.id for run in found)
            raise UsageError(f"Several runs begin with {beginning}: {several}.", hint=_TO_LIST_RUNS)
        return found[0] if found else None

    def latest(self, base_url: str, account: str | None) -> Run | None:
        """Return the latest run in an account, None for any account."""
        query = """
            SELECT * FROM run WHERE base_url = :base_url AND account = coalesce(:account, account)
            ORDER BY number DESC LIMIT 1
        """
        return self._find(query, base_url=base_url, account=account)

    def latest_of(self, base_url: str, account: str | None, server: str) -> Run | None:
        """Return the run that tells most of a server now.

        The latest one that may have reset it, if that isn't known to be over; else the latest one
        that has it.
        """
        query = """
            SELECT * FROM run WHERE number = coalesce((
                SELECT iif(over, NULL, run) FROM possible_reset WHERE name = :server
                    AND base_url = :base_url AND account = coalesce(:account, account)
                ORDER BY wave DESC LIMIT 1
            ), (
                SELECT max(run) FROM server_row WHERE name = :server
                    AND base_url = :base_url AND account = coalesce(:account, account)
            ))
        """
        return self._find(query, base_url=base_url, account=account, server=server)

    def with_operation(self, base_url: str, operation: str, account: str | None) -> Run | None:
        """Return the latest run that has an operation; the account is its own or the link's."""
        query = """
            SELECT * FROM run WHERE number = (
                SELECT max(server_row.run)
                FROM wave CROSS JOIN server_row ON server_row.run = wave.run
                WHERE instr(operations, :listed) AND operation = :operation
                    AND base_url = :base_url
                    AND (:account IS NULL OR :account IN (account, upper(alias))))
        """
        values = {"account": account, "operation": operation}
        listed = rows.list_operations([operation])
        return self._find(query, base_url=base_url, listed=listed, **values)

    def earlier_in_doubt(self, run: Run) -> Run | None:
        """Return the latest run before this one that left a server's outcome unknown.

        Only where no later run has reset that server, and for a day.
        """
        query = """
            SELECT id, wave.wall, wave.boot, wave.boot_id
            FROM wave CROSS JOIN run ON run.number = wave.run
            WHERE base_url = ? AND account = ? AND wave.run < (SELECT number FROM run WHERE id = ?)
                AND (sending IS NULL OR unknown > 0)
            ORDER BY wave.run DESC LIMIT 50
        """
        now = self._clocks.now()
        with self._usable.read() as db:
            found = db.execute(query, (run.base_url, run.account, run.id)).fetchall()
            recent = [name for name, *at in found if now.seconds_since(Moment(*at)) <= _DAY]
            runs = """
                SELECT * FROM run WHERE id IN (SELECT value FROM json_each(:ids))
                ORDER BY number DESC
            """
            for earlier in self._load(db, runs, ids=json.dumps(recent)):
                in_doubt = (row for row in earlier.rows if row.is_in_doubt)
                waves = {row.server: row.wave.number for row in in_doubt if row.wave}
                if len(rows.reset_since(db, run.base_url, waves)) < len(waves):
                    return earlier
        return None

    def resolve(self, run: Run) -> list[tuple[Run, ServerRow]]:
        """Return the row that stands for each server of a run now, with the run that it is in.

        It is the server's own, or that of the run which took it.
        """
        with self._usable.read() as db:
            return self._chain(db, run)

    def progress(self, runs: Iterable[str]) -> tuple[object, ...]:
        """Return a value that changes when one of these runs sends a wave, is answered, or ends."""
        query = """
            SELECT run.id, run.ended, count(wave.number), count(wave.sending)
            FROM run LEFT JOIN wave ON wave.run = run.number WHERE run.id = ? GROUP BY run.number
        """
        with self._usable.read() as db:
            found = [db.execute(query, (run,)).fetchone() for run in runs]
        return tuple(
            row and (*row, not row["ended"] and self._may_go_on(row["id"])) for row in found
        )

    def runs(self, most: int, servers: Sequence[str] = ()) -> list[Run]:
        """Return the latest runs, the newest first; where servers are named, those with any."""
        query = "SELECT * FROM run ORDER BY number DESC LIMIT :most"
        if servers:
            query = """
                SELECT * FROM run WHERE number IN (
                    SELECT run FROM server WHERE name IN (SELECT value FROM json_each(:servers)))
                ORDER BY number DESC LIMIT :most
            """
        values = {"most": min(most, sys.maxsize), "servers": json.dumps(servers)}
        with self._usable.read() as db:
            return list(self._load(db, query, **values))

    def _find(self, query: str, **values: object) -> Run | None:
        with self._usable.read() as db:
            return next(self._load(db, query, **values), None)

    def _load(self, db: sqlite3.Connection, query: str, **values: object) -> Iterator[Run]:
        for row in db.execute(query, values):
            servers = "SELECT * FROM server_row WHERE run = ? ORDER BY place"
            yield Run(
                id=row["id"],
                at=Moment(row["wall"], row["boot"], row["boot_id"]),
                base_url=row["base_url"],
                account=row["account"],
                may_go_on=not row["ended"] and self._may_go_on(row["id"]),
                options=rows.read_options(row["options"]),
                rows=tuple(rows.read_rows(db.execute(servers, (row["number"],)))),
            )

    # --- what Tab offers -----------------------------------------------------------------------

    def keep_listing(
        self,
        base_url: str,
        account: str,
        groups: Sequence[tuple[str, str]],
        servers: Sequence[str],
    ) -> None:
        """Replace the listing of an account; a group is its data centre and its name.

        Only a Tab press reads it, so what can't be kept isn't missed.
        """
        kept = [*groups, *((None, server) for server in servers)]

        def work(db: sqlite3.Connection) -> None:
            replace = "REPLACE INTO listing (base_url, account) VALUES (?, ?)"
            listing = db.execute(replace, (base_url, account)).lastrowid or 0
            db.executemany(
                "INSERT INTO listed VALUES (?, ?, ?)",
                [(listing, rows.utf8(group), rows.utf8(name)) for group, name in kept],
            )
            db.execute("DELETE FROM listing WHERE number <= ?", (listing - LISTINGS_KEPT,))

        if self._database is not None:
            with suppress(JournalError):
                self._database.write(work, 0.0)
