"""The real journal on a real SQLite file, with faults at its statements."""

import os
import sqlite3
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from clc_reset.journal.database import Database
from clc_reset.workers import Inbox
from tests.simulation.world import Process, World

_SAFETY = {
    "PRAGMA journal_mode = TRUNCATE": "PRAGMA journal_mode = MEMORY",
    "PRAGMA synchronous = FULL": "PRAGMA synchronous = OFF",
}
_CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE")


class Episode(NamedTuple):
    """A time in which the journal has a fault: locked, full, readonly or ioerr."""

    begins: float
    ends: float
    kind: str


class Trouble:
    """The faults of one night's journal.

    `commit_fails` is the share of commits that fail, half of them although they were applied.
    `corrupt_at` is the statement, counted over all, that finds the file corrupt.
    """

    def __init__(self, world: World) -> None:
        self.episodes: list[Episode] = []
        self.commit_fails = 0.0
        self.corrupt_at = -1
        self.is_forgetful = False  # it was renamed
        self.has_locks = True
        self.commits = 0
        self._world = world
        self._statements = 0

    def strike(self, word: str, *, in_transaction: bool) -> None:
        """Raise what this statement runs into, if anything."""
        self._statements += 1
        if self._statements == self.corrupt_at:
            self.is_forgetful = True
            self._world.note("journal", "is corrupt")
            raise error(sqlite3.SQLITE_CORRUPT, "database disk image is malformed")
        for begins, ends, kind in self.episodes:
            if not begins <= self._world.time < ends:
                continue
            match kind:
                case "locked" if not in_transaction:
                    raise error(sqlite3.SQLITE_BUSY, "database is locked")
                case "readonly" if word in _CHANGES:
                    raise error(sqlite3.SQLITE_READONLY, "attempt to write a readonly database")
                case "full" if word in _CHANGES or word == "COMMIT":
                    raise error(sqlite3.SQLITE_FULL, "database or disk is full")
                case "ioerr" if self._world.random.random() < 0.3:
                    raise error(sqlite3.SQLITE_IOERR, "disk I/O error")


def error(code: int, message: str) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it."""
    made = sqlite3.OperationalError(message)
    made.sqlite_errorcode = code
    return made


class FaultyConnection(sqlite3.Connection):
    """A connection at whose statements other processes may run, and faults may strike."""

    process: Process
    trouble: Trouble
    others: list["FaultyConnection"]

    def close(self) -> None:
        if self in self.others:
            self.others.remove(self)
        super().close()

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        process, trouble = self.process, self.trouble
        if sql in _SAFETY:  # no power fails in here, and a closed connection rolls back
            return super().execute(_SAFETY[sql], *args)
        word = sql[:6].strip()
        if sql.startswith("UPDATE run SET ended"):
            process.over_at = process.over_at or process.world.time
        chance = process.world.random.random()
        if word in {"BEGIN", "COMMIT"} or chance < 0.15:
            process.step(chance * 0.001)
        trouble.strike(word, in_transaction=self.in_transaction)
        if word != "COMMIT":
            return super().execute(sql, *args)
        is_change = self.total_changes > 0
        if is_change and process.world.random.random() < trouble.commit_fails:
            is_applied = process.world.random.random() < 0.5
            process.world.note(process.name, f"commit fails, {'' if is_applied else 'not '}applied")
            self._end("COMMIT" if is_applied else "ROLLBACK", is_change=is_applied)
            raise error(sqlite3.SQLITE_IOERR, "disk I/O error")
        cursor = self._end(sql, is_change=is_change)
        process.step()
        return cursor

    def _end(self, sql: str, *, is_change: bool) -> sqlite3.Cursor:
        """End a transaction, and count it if it changed the journal."""
        cursor = super().execute(sql)
        if is_change:
            self.trouble.commits += 1
            self.process.commit = self.trouble.commits
            self.process.committed_at = self.process.world.time
        return cursor

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self.trouble.strike(sql.lstrip()[:6], in_transaction=self.in_transaction)
        return super().executemany(sql, *args)


@cache
def empty_database() -> bytes:
    """Return the file of a journal without runs: to make one takes as long as half a night."""
    with TemporaryDirectory() as folder:
        database = Database(folder, None)
        database.write(lambda _db: None, 0.0)
        return Path(database.path).read_bytes()


class VirtualDatabase(Database):
    """The database of one process. `runs` are those whose locks it has taken."""

    def __init__(self, folder: str, process: Process, inbox: Inbox, trouble: Trouble) -> None:
        self.runs: list[str] = []
        self._process = process
        self._trouble = trouble
        self._open_ones: list[FaultyConnection] = []
        super().__init__(folder, inbox, process.host.monotonic, self._faulty)

    def _faulty(self, path: str, **options: Any) -> sqlite3.Connection:
        self._process.step()
        connection = sqlite3.connect(path, factory=FaultyConnection, **options)
        connection.process, connection.trouble = self._process, self._trouble
        connection.others = self._open_ones
        self._open_ones.append(connection)
        return connection

    def hold_lock(self, run: str) -> None:
        self._process.step()
        self.runs.append(run)
        if self._trouble.has_locks:
            super().hold_lock(run)

    def release_lock(self, run: str, *, remove: bool) -> None:
        if not self._process.is_dead:
            super().release_lock(run, remove=remove)

    def may_go_on(self, run: str) -> bool:
        return super().may_go_on(run) if self._trouble.has_locks else True

    def let_go(self) -> None:
        """Close what the system closes when a process ends."""
        for connection in self._open_ones[:]:
            if not self._process.is_dead:
                self._process.world.violate(f"{self._process.name} leaves the journal open")
            connection.close()
        for file in self._locks.values():
            os.close(file)
        self._locks.clear()
