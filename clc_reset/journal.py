"""The journal: what outlives the process. The one door to sqlite3.

Runs with their servers, waves and operations, and what was last listed for a Tab press, in one
SQLite database. What is about to be asked is committed before it leaves, in the transaction that
looks for earlier resets of the same servers; then what was answered, and each change heard of. No
token, no password.

First and last go by the order of recording, never by a clock. Each transaction has a connection of
its own, so that none goes on in a database that another process has set aside. Rollback journal,
not WAL: a home on NFS is shared between hosts.

Nothing that writes raises: a journal that can't be written is a warning.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import sqlite3
import stat
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from clc_reset.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from clc_reset.models import (
        Operation,
        OperationStatus,
        ResetAnswer,
        Sending,
        ServerResult,
        ServerState,
    )

FILE = "journal.sqlite3"
UNSETTLED_WITHIN = 3600.0
"""In seconds. To repeat what is older is nobody's mistake."""
RUNS_KEPT = 10_000
"""Beyond them those older than `YOUNGEST_DROPPED` are dropped."""
YOUNGEST_DROPPED = 30 * 86400.0
"""In seconds."""
MOST_DROPPED = 1000
"""Rows, about, that one new run drops of old ones: it must not wait for it."""
LISTINGS_KEPT = 50
LOCK_SECONDS = 5.0
"""Nobody has a reason to hold the database for longer."""

_VERSION = 2
_SCHEMA = """
CREATE TABLE run (
    number    INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of recording
    id        TEXT NOT NULL UNIQUE,
    at        TEXT NOT NULL, -- times are ISO 8601 in UTC, all of one length, so that they compare
    base_url  TEXT NOT NULL,
    account   TEXT NOT NULL,
    user      TEXT
);
CREATE INDEX run_by_api ON run (base_url);
CREATE INDEX run_by_account ON run (base_url, account);

CREATE TABLE wave (
    number    INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of recording, over all runs
    run       INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    at        TEXT NOT NULL,
    sending   TEXT, -- NULL until it is known what came of it
    sent_at   TEXT,
    problem   TEXT
);
CREATE INDEX wave_by_run ON wave (run);

CREATE TABLE operation (
    run       INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    number    INTEGER NOT NULL, -- in the order of the answers
    id        TEXT NOT NULL COLLATE NOCASE,
    path      TEXT,
    account   TEXT,
    status    TEXT, -- the last one heard
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE INDEX operation_by_id ON operation (id);

CREATE TABLE server (
    run       INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    place     INTEGER NOT NULL, -- in the order asked
    name      TEXT NOT NULL,
    wave      INTEGER, -- NULL until it is about to be sent
    state     TEXT, -- as answered, like the next three, or failed if a check didn't pass
    operation INTEGER,
    message   TEXT,
    turn      INTEGER,
    settled   INTEGER NOT NULL DEFAULT 0, -- known to be over, though its operation never told
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE INDEX server_by_name ON server (name, wave);

CREATE TABLE listing (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    base_url  TEXT NOT NULL,
    account   TEXT NOT NULL,
    UNIQUE (base_url, account)
);
CREATE TABLE listed (
    listing    INTEGER NOT NULL REFERENCES listing ON DELETE CASCADE,
    datacenter TEXT, -- of a group, NULL for a server
    name       TEXT NOT NULL
);
CREATE INDEX listed_by_name ON listed (listing, datacenter, name)
"""
_NEW_RUN = "INSERT INTO run (id, at, base_url, account, user) VALUES (?, ?, ?, ?, ?)"
_NEW_SERVER = "INSERT INTO server (run, place, name, wave) VALUES (?, ?, ?, ?)"
_NEW_WAVE = "INSERT INTO wave (run, at) VALUES (?, ?)"
_LAST_OPERATION = "SELECT coalesce(max(number), 0) FROM operation WHERE run = ?"
_NEW_OPERATION = "INSERT INTO operation (run, number, id, path, account) VALUES (?, ?, ?, ?, ?)"
_ANSWER = """
UPDATE wave SET at = coalesce(?, at), sending = ?, sent_at = ?, problem = ? WHERE number = ?
"""
_ANSWER_OF_SERVER = """
UPDATE server SET state = ?, operation = ?, message = ?, turn = ?
WHERE run = ? AND place = ? AND wave = ?
"""
# what is final stays, whoever is late
_STATUS = """
UPDATE operation SET status = ?
WHERE id = ? AND path IS ? AND account IS ? AND run = (SELECT number FROM run WHERE run.id = ?)
    AND coalesce(lower(status), '') NOT IN ('succeeded', 'failed')
"""
_CHECK = """
UPDATE server SET state = 'failed', message = ?
WHERE place = ? AND run = (SELECT number FROM run WHERE id = ?)
"""
_SETTLE = """
UPDATE server SET settled = 1 WHERE name = ? AND run = (SELECT number FROM run WHERE id = ?)
"""
# of each server what was recorded last and may have reset it, if that is unsettled
_UNSETTLED = """
SELECT run.id, wave.at, server.name, wave.sending, wave.sent_at, server.state,
    operation.id, operation.path, operation.account, operation.status, run.user
FROM asked CROSS JOIN server ON server.name = asked.name AND server.wave = (
        SELECT wave.number FROM server AS other
        CROSS JOIN wave ON wave.number = other.wave CROSS JOIN run ON run.number = other.run
        WHERE name = asked.name AND base_url = :base_url AND account = :account
        AND other.run IS NOT :this_run AND sending IS NOT 'not sent'
        AND coalesce(state, 'unknown') <> 'not sent'
        AND (other.operation IS NOT NULL OR coalesce(state, 'unknown') <> 'failed')
        ORDER BY other.wave DESC LIMIT 1)
JOIN wave ON wave.number = server.wave
JOIN run ON run.number = server.run
LEFT JOIN operation ON operation.run = server.run AND operation.number = server.operation
WHERE wave.at > :since AND NOT server.settled
    AND coalesce(lower(operation.status), '') NOT IN ('succeeded', 'failed')
ORDER BY asked.place
"""
# a clock was set back from a time in the future, so that it tells of no age
_OLD_RUNS = """
SELECT number FROM (SELECT number, at FROM run ORDER BY number LIMIT 100)
WHERE number <= ? AND at NOT BETWEEN ? AND ?
"""
_RUN = "SELECT id, at, base_url, account, user FROM run WHERE number = ?"
_LATEST_WAVE = """
SELECT run.number, wave.number, base_url, account FROM run JOIN wave ON wave.run = run.number
WHERE run.id = ? ORDER BY wave.number DESC LIMIT 1
"""
_WAVES_OF = "SELECT number, at, sending, sent_at, problem FROM wave WHERE run = ? ORDER BY number"
_SERVERS_OF = """
SELECT server.name, server.wave, server.state, server.message, server.turn,
    operation.status, operation.id, operation.path, operation.account
FROM server LEFT JOIN operation ON operation.run = server.run
    AND operation.number = server.operation
WHERE server.run = ? ORDER BY server.place
"""
_RUNS_BY_ID = "SELECT number, id FROM run WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 3"
_LATEST = "SELECT max(number) FROM run WHERE base_url = ? AND account = ?"
_LATEST_ANYWHERE = "SELECT max(number) FROM run WHERE base_url = ?"
# an account that isn't known is NULL, and any will do
_LATEST_OF = """
SELECT max(run.number) FROM server CROSS JOIN run ON run.number = server.run
WHERE base_url = ? AND account = coalesce(?, account) AND name = ?
"""
_LATEST_WITH_OPERATION = """
SELECT max(run.number) FROM operation JOIN run ON run.number = operation.run
WHERE run.base_url = ? AND coalesce(upper(operation.account), run.account)
        = coalesce(?, upper(operation.account), run.account)
    AND operation.id = ?
"""
_SENT_SINCE = """
SELECT 1 FROM server CROSS JOIN wave ON wave.number = server.wave
    CROSS JOIN run ON run.number = server.run
WHERE server.name = ? AND run.base_url = ? AND run.account = ?
    AND run.number > (SELECT number FROM run WHERE id = ?)
    AND wave.sending IS NOT 'not sent'
    AND (server.operation IS NOT NULL OR server.state IS NOT 'failed') LIMIT 1
"""
_RUNS = "SELECT number FROM run ORDER BY number DESC LIMIT ?"
_RUNS_OF = "SELECT DISTINCT run FROM server WHERE name = ? ORDER BY run DESC LIMIT ?"
_RECENT_SERVERS = """
SELECT name FROM (
    SELECT name, state, operation FROM run CROSS JOIN server ON server.run = run.number
    WHERE run.base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
WHERE substr(name, 1, length(:beginning)) = :beginning
    AND (operation IS NOT NULL OR state IS NOT 'failed')
"""
_RECENT_OPERATIONS = """
SELECT id FROM (
    SELECT operation.id FROM run CROSS JOIN operation ON operation.run = run.number
    WHERE base_url = :base_url ORDER BY run.number DESC, operation.number LIMIT 2000)
WHERE substr(id, 1, length(:beginning)) = :beginning COLLATE NOCASE
"""
_RECENT_RUNS = """
SELECT id FROM (SELECT id FROM run WHERE base_url = :base_url ORDER BY number DESC LIMIT 2000)
WHERE substr(id, 1, length(:beginning)) = :beginning
"""
_LISTED_SERVERS = """
SELECT name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = :base_url AND datacenter IS NULL AND name BETWEEN :beginning AND :end LIMIT :most
"""
_LISTED_GROUPS = """
SELECT listing, datacenter, name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = ? AND datacenter IS NOT NULL
"""

_TRIES = 12
_TAB_LOCK_SECONDS = 0.2
_FLUSH_SECONDS = 1.0
_LATEST_SECONDS = 253402300799.0  # the last of the year 9999
_LARGEST_INTEGER = 2**63 - 1
_LAST_CHARACTER = "\U0010ffff"
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_IN_TURN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}  # written, or set aside, by another

_INTENT_LOST = (
    "`clc status` won't remember this reset by itself, and there is no check for earlier resets."
)
_REST_LOST = "`clc status` won't remember by itself what came of this reset."
_NAME_THEM = "Name the operations, as in: clc status wa1-12345"
_SEE_HISTORY = "See: clc history"

_T = TypeVar("_T")


class Wave(NamedTuple):
    """Servers of a run that were sent in one request; most runs have one wave.

    `number` counts from 1. `at` is when it was recorded that it is about to be sent, by this
    machine's clock, or where no answer came, when it left; `sent_at` when it left by the API's
    clock, where that is known. `sending` is None if it was never recorded what came of it: it
    may have been sent. `problem` says why no answer came, or why nothing was sent.
    """

    number: int
    at: datetime
    sending: Sending | None
    sent_at: datetime | None
    problem: str | None
    servers: tuple[str, ...]


class Run(NamedTuple):
    """One reset as the journal has it.

    `servers` are all that were asked for, in that order; those in no wave were never about to be
    sent. `results` are as answered, and missing where no answer was recorded; `statuses` are the
    last ones heard. `turns` are the servers in the order of the answers.
    """

    id: str
    at: datetime
    base_url: str
    account: str
    user: str | None
    servers: tuple[str, ...]
    waves: tuple[Wave, ...]
    results: Mapping[str, ServerResult]
    turns: tuple[str, ...]
    statuses: Mapping[Operation, OperationStatus]


class Earlier(NamedTuple):
    """An earlier reset of one server that isn't settled.

    `at`, `sending` and `sent_at` are its wave's. `state` is None if no answer was recorded;
    `status` is the last one heard of its operation.
    """

    run: str
    at: datetime
    server: str
    sending: Sending | None
    sent_at: datetime | None
    state: ServerState | None
    operation: Operation | None
    status: OperationStatus | None
    user: str | None


def folder(environ: Mapping[str, str]) -> str:
    """The folder that XDG has for state: in XDG_STATE_HOME, or in `~/.local/state`.

    Without a home directory it isn't absolute, and no journal can be written there.
    """
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            with suppress(KeyError):
                home = pwd.getpwuid(os.getuid()).pw_dir
        state = os.path.join(home, ".local", "state")
    return os.path.join(state, "clc-reset")


class _UnusableError(Exception):
    """Why the database is left alone."""


class _Database:
    """The database in a folder. It is on until it proves that it can't be written."""

    def __init__(
        self,
        folder: str | None,
        note: Callable[[str], None],
        clock: Callable[[], float],
        lock_seconds: float,
    ) -> None:
        self.clock = clock
        self.is_on = folder is not None
        self._folder = folder or ""
        self._path = os.path.join(self._folder, FILE)
        self._note = note
        self._lock_seconds = lock_seconds
        self._inode: int | None = None

    def now(self, less: float = 0.0) -> str:
        """The time by this machine's clock, `less` seconds ago."""
        seconds = min(max(self.clock() - less, 0.0), _LATEST_SECONDS)
        return _iso(datetime.fromtimestamp(seconds, UTC))

    def write(self, work: Callable[[sqlite3.Connection], _T], lost: str | None = None) -> _T | None:
        """What `work` returns, called in a transaction; None if it can't be written.

        `lost` is what the warning says of the loss; without it there is no warning.
        """
        if not self.is_on:
            return None
        try:
            for _ in range(_TRIES):
                before = self._changed_at()
                try:
                    return self._transact(work)
                except sqlite3.DatabaseError as error:
                    # the lowest byte is the kind of error, the others tell more of it
                    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                    if code in _CORRUPT:
                        self._set_aside()
                    elif code not in _IN_TURN or self._changed_at() == before:
                        raise
            raise _UnusableError("too many others write at the same time")
        except Exception as error:  # noqa: BLE001 - whatever it is, the reset goes on
            if lost is not None:
                self.is_on = False
                self._tell(f"the journal can't be written: {_reason(error)}. {lost}")
            return None

    @contextmanager
    def read(self, *, quickly: bool = False) -> Generator[sqlite3.Connection]:
        """One state of the database, an empty one where there is none. Raises JournalError.

        With `quickly` nothing at all is written, not even to clear up after a killed process.
        """
        try:
            with closing(self._to_read(quickly=quickly)) as db:
                db.execute("BEGIN")
                yield db
        except (sqlite3.Error, OSError, ValueError, _UnusableError) as error:
            words = f"The journal can't be read: {_reason(error)}."
            raise JournalError(words, hint=_NAME_THEM) from error

    def _to_read(self, *, quickly: bool) -> sqlite3.Connection:
        if self._folder and self._exists():
            mode, seconds = ("ro", _TAB_LOCK_SECONDS) if quickly else ("rw", self._lock_seconds)
            db, version = self._connect(mode, seconds)
            if version:
                return db
            db.close()
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.executescript(_SCHEMA)
        return db

    def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if not self._exists():
            self._make()
        db, _ = self._connect("rw", self._lock_seconds)
        with closing(db):
            # the default unlinks a file, which may be back after a power cut and undo the commit
            db.execute("PRAGMA journal_mode = TRUNCATE")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            if not _version(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
            told = work(db)
            db.commit()
            return told

    def _exists(self) -> bool:
        """Whether there is a database. Raises _UnusableError if it must be left alone."""
        self._inode = None
        if not os.path.isabs(self._folder):
            raise _UnusableError("there is no home directory")
        with suppress(FileNotFoundError):
            _check_owner(self._folder, os.stat(self._folder))
            for path in (f"{self._path}-wal", f"{self._path}-journal", self._path):
                with suppress(FileNotFoundError):
                    found = os.lstat(path)
                    # a link leads elsewhere, and to open a pipe is to wait for its other end
                    if not stat.S_ISREG(found.st_mode):
                        raise _UnusableError(f"{path} is not a file")
                    _check_owner(path, found)
                    self._inode = found.st_ino if path == self._path else None
        return self._inode is not None

    def _changed_at(self) -> int:
        """When it was last written, 0 where there is none: others take turns while that moves."""
        with suppress(FileNotFoundError):
            return os.stat(self._path).st_mtime_ns
        return 0

    def _make(self) -> None:
        """Make an empty database, for the user's eyes only."""
        os.makedirs(self._folder, exist_ok=True)
        os.chmod(self._folder, 0o700)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with self._opened_folder() as folder:
                os.fsync(folder)  # the file itself must be there after a power cut
        self._exists()

    def _connect(self, mode: str, lock_seconds: float) -> tuple[sqlite3.Connection, int]:
        """A connection, and the version of the schema."""
        path = self._path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        uri = f"file:{path}?mode={mode}"
        db = sqlite3.connect(uri, timeout=lock_seconds, isolation_level=None, uri=True)
        try:
            version = _version(db)
            if version not in {0, _VERSION}:
                raise _UnusableError(f"{self._path} was written by another version of clc")
        except BaseException:
            db.close()
            raise
        return db, version

    def _set_aside(self) -> None:
        """Give the corrupt database another name, unless another process was faster."""
        aside, corrupt = f"{self._path}.corrupt-{_stamp(self.now())}", self._inode
        with self._opened_folder() as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not self._exists() or self._inode != corrupt:
                return
            with suppress(FileNotFoundError):  # what it would undo is not in the new one
                os.rename(f"{self._path}-journal", f"{aside}-journal")
            os.rename(self._path, aside)
        self._tell(
            f"the journal was corrupt. It is {aside} now, and a new one is begun: earlier resets "
            "are not in it, and there is no check for them."
        )

    @contextmanager
    def _opened_folder(self) -> Generator[int]:
        file = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield file
        finally:
            os.close(file)

    def _tell(self, problem: str) -> None:
        with suppress(Exception):
            self._note(f"Warning: {problem}")


class Journal:
    """The journal in a folder, which it makes when it first writes; None turns it off.

    `note` is told, once, why it can't be written; from then on, what writes does nothing. What
    reads raises JournalError; but a Tab press is offered nothing, then.
    """

    def __init__(
        self,
        folder: str | None,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._database = _Database(folder, note, clock, lock_seconds)

    @property
    def is_on(self) -> bool:
        """Whether it is written to: neither turned off nor known to be unusable."""
        return self._database.is_on

    def begin(
        self,
        base_url: str,
        account: str,
        user: str | None,
        servers: Sequence[str],
        first: Sequence[str] | None = None,
        *,
        unsettled_within: float | None = UNSETTLED_WITHIN,
    ) -> Entry | tuple[Earlier, ...]:
        """Record what is about to be asked, unless earlier resets of the servers are unsettled.

        A run and its first wave, the servers in `first` (by default all), are on disk when their
        entry is returned. Where the latest resets of those were recorded less than
        `unsettled_within` seconds ago and are unsettled, they are returned, and nothing is
        recorded. It is one transaction, so that of two processes one is told of the other. With
        None there is no check.
        """
        database, names = self._database, _upper(servers)
        now, where = database.now(), _row(base_url, account.upper())
        entry = Entry(database, _stamp(now), {name: place for place, name in enumerate(names)})
        wave = names if first is None else _upper(first)

        def work(db: sqlite3.Connection) -> tuple[Earlier, ...]:
            since = None if unsettled_within is None else database.now(unsettled_within)
            if earlier := _unsettled(db, where, wave, since):
                return earlier
            run = _insert(db, _NEW_RUN, entry.run, now, *where, user)
            number = _insert(db, _NEW_WAVE, run, now)
            in_wave = dict.fromkeys(wave, number)
            places = entry.places.items()
            rows = (_row(run, place, name, in_wave.get(name)) for name, place in places)
            db.executemany(_NEW_SERVER, rows)
            _drop_old_runs(db, run, database.now(YOUNGEST_DROPPED), now)
            return ()

        return database.write(work, _INTENT_LOST) or entry

    def unsettled(
        self,
        base_url: str,
        account: str,
        servers: Sequence[str],
        *,
        unsettled_within: float = UNSETTLED_WITHIN,
    ) -> tuple[Earlier, ...]:
        """What `begin` would return, where nothing is to be recorded. Raises JournalError."""
        where, since = _row(base_url, account.upper()), self._database.now(unsettled_within)
        with self._database.read() as db:
            return _unsettled(db, where, _upper(servers), since)

    def resume(self, run: str) -> Entry:
        """Record what is heard of a run later; nothing of its sending can be recorded any more."""
        return Entry(self._database, run, {})

    def settle(self, earlier: Earlier) -> None:
        """Record that an earlier reset is over, though its operation never told."""
        self._database.write(lambda db: db.execute(_SETTLE, (earlier.server, earlier.run)))

    def run(self, beginning: str) -> Run:
        """The run whose id begins so. Raises JournalError if none does, or several do."""
        with self._database.read() as db:
            found = db.execute(_RUNS_BY_ID, _row(beginning, beginning + _LAST_CHARACTER)).fetchall()
            if beginning and len(found) == 1:
                return _load(db, found[0][0])
        from clc_reset.text import quote

        words = f"The journal has no run {quote(beginning)}."
        if beginning and found:
            several = ", ".join(each for _, each in found)
            words = f"Several runs begin with {quote(beginning)}, like {several}."
        raise JournalError(words, hint=_SEE_HISTORY)

    def latest(self, base_url: str, account: str | None) -> Run | None:
        """The latest run in an account, None for any account."""
        if account is None:
            return self._latest(_LATEST_ANYWHERE, base_url)
        return self._latest(_LATEST, base_url, account.upper())

    def latest_of(self, base_url: str, account: str | None, server: str) -> Run | None:
        """The latest run in an account, None for any, that has the server."""
        return self._latest(_LATEST_OF, base_url, account and account.upper(), server.upper())

    def with_operation(self, base_url: str, operation_id: str, account: str | None) -> Run | None:
        """The latest run that has the operation; the account is the one in its link."""
        upper = account and account.upper()
        return self._latest(_LATEST_WITH_OPERATION, base_url, upper, operation_id)

    def runs(self, most: int, servers: Sequence[str] = ()) -> list[Run]:
        """The latest runs, the newest first; where servers are named, those that have any."""
        most = min(most, _LARGEST_INTEGER)
        queries = [(_RUNS_OF, _row(each, most)) for each in _upper(servers)] or [(_RUNS, (most,))]
        with self._database.read() as db:
            numbers = {number for query in queries for (number,) in db.execute(*query)}
            return [_load(db, number) for number in sorted(numbers, reverse=True)[:most]]

    def sent_since(self, run: Run, servers: Sequence[str]) -> set[str]:
        """Those of the servers of a run that a later one has sent a reset to."""
        with self._database.read() as db:
            return {
                each
                for each in servers
                if db.execute(_SENT_SINCE, _row(each, run.base_url, run.account, run.id)).fetchone()
            }

    def keep_listing(
        self,
        base_url: str,
        account: str,
        groups: Sequence[tuple[str, str]],
        servers: Sequence[str],
    ) -> None:
        """Replace what was listed of an account; a group is its data centre and its name.

        Only a Tab press reads it, so what can't be kept is not missed.
        """
        where = _row(base_url, account.upper())
        kept = [*groups, *((None, each) for each in _upper(servers))]

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM listing WHERE base_url = ? AND account = ?", where)
            new = _insert(db, "INSERT INTO listing (base_url, account) VALUES (?, ?)", *where)
            rows = (_row(new, datacenter, name) for datacenter, name in kept)
            db.executemany("INSERT INTO listed VALUES (?, ?, ?)", rows)
            db.execute("DELETE FROM listing WHERE number <= ?", (new - LISTINGS_KEPT,))

        self._database.write(work)

    def recent_servers(self, base_url: str, beginning: str, most: int) -> list[str]:
        """Servers of the latest resets, for a Tab press.

        Those that were only refused are left out: the API may not know them.
        """
        return self._offer(_RECENT_SERVERS, base_url, beginning.upper(), most)

    def recent_operations(self, base_url: str, beginning: str, most: int) -> list[str]:
        """Operations of the latest resets, for a Tab press."""
        return self._offer(_RECENT_OPERATIONS, base_url, beginning, most)

    def recent_runs(self, base_url: str, beginning: str, most: int) -> list[str]:
        """The latest runs, for a Tab press."""
        return self._offer(_RECENT_RUNS, base_url, beginning, most)

    def listed_servers(self, base_url: str, beginning: str, most: int) -> list[str]:
        """Servers that were last listed, for a Tab press."""
        return self._offer(_LISTED_SERVERS, base_url, beginning.upper(), most)

    def listed_groups(self, base_url: str, beginning: str, most: int) -> list[str]:
        """Groups that were last listed, for a Tab press.

        Where data centres of an account have the same name they are `WA1 Web`, `VA1 Web`.
        """
        same: dict[tuple[int, str], dict[str, str]] = {}
        with suppress(JournalError), self._database.read(quickly=True) as db:
            for listing, datacenter, name in db.execute(_LISTED_GROUPS, _row(base_url)):
                same.setdefault((listing, name.casefold()), {})[datacenter.upper()] = name
        names = [
            f"{datacenter} {name}" if len(each) > 1 else name
            for each in same.values()
            for datacenter, name in each.items()
        ]
        begun = beginning.casefold()
        return _distinct((each for each in names if each.casefold().startswith(begun)), most)

    def _latest(self, query: str, *values: str | None) -> Run | None:
        with self._database.read() as db:
            (number,) = db.execute(query, _row(*values)).fetchone()
            return None if number is None else _load(db, number)

    def _offer(self, query: str, base_url: str, beginning: str, most: int) -> list[str]:
        names = ("base_url", "beginning", "end", "most")
        values = _row(base_url, beginning, beginning + _LAST_CHARACTER, most)
        with suppress(JournalError), self._database.read(quickly=True) as db:
            found = db.execute(query, dict(zip(names, values, strict=True)))
            return _distinct((name for (name,) in found), most)
        return []


class Entry:
    """What is recorded of one run, while it lasts. `run` is its id.

    `places` has its servers, in the order asked. The entry of a run that was taken up again has
    none, and records nothing of the sending.
    """

    def __init__(self, database: _Database, run: str, places: Mapping[str, int]) -> None:
        self.run = run
        self.places = places
        self._database = database
        self._heard: dict[Operation, OperationStatus] = {}
        self._flushed_at: float | None = None

    def wave(
        self, servers: Sequence[str], *, unsettled_within: float | None
    ) -> tuple[Earlier, ...]:
        """Record that the next wave is about to be sent, unless earlier resets are unsettled.

        As Journal.begin; this run's own waves are not in its way.
        """
        names, database = _upper(servers), self._database

        def work(db: sqlite3.Connection) -> tuple[Earlier, ...]:
            run, _, *where = self._latest_wave(db)
            since = None if unsettled_within is None else database.now(unsettled_within)
            if earlier := _unsettled(db, where, names, since, run):
                return earlier
            wave = _insert(db, _NEW_WAVE, run, database.now())
            rows = [(wave, run, self.places[each]) for each in names]
            db.executemany("UPDATE server SET wave = ? WHERE run = ? AND place = ?", rows)
            return ()

        return (database.write(work, _INTENT_LOST) if self.places else None) or ()

    def answered(self, answer: ResetAnswer) -> None:
        """Record what came of the latest wave. It is on disk when this returns."""

        def work(db: sqlite3.Connection) -> None:
            run, wave, *_ = self._latest_wave(db)
            sent_at = answer.sent_at and _iso(answer.sent_at)
            problem = answer.problem or (answer.error and answer.error.message)
            left = None if answer.seconds is None else self._database.now(answer.seconds)
            db.execute(_ANSWER, _row(left, answer.sending.value, sent_at, problem, wave))
            (last,) = db.execute(_LAST_OPERATION, (run,)).fetchone()
            number_of: dict[Operation | None, int | None] = {None: None}
            for each in answer.results:
                number_of.setdefault(each.operation, last + len(number_of))
            rows = ((run, number, *map(_utf8, each)) for each, number in number_of.items() if each)
            db.executemany(_NEW_OPERATION, rows)
            turns = {name: turn for turn, name in enumerate(answer.turns)}
            answers = (
                (
                    each.state.value,
                    number_of[each.operation],
                    _utf8(each.message),
                    turns.get(name),
                    run,
                    self.places.get(name),
                    wave,
                )
                for each in answer.results
                if (name := each.server)
            )
            db.executemany(_ANSWER_OF_SERVER, answers)

        if self.places:
            self._database.write(work, _REST_LOST)

    def heard(self, operation: Operation, status: OperationStatus) -> None:
        """Collect a status of an operation."""
        self._heard[operation] = status

    def unchecked(self, servers: Iterable[str], message: str) -> None:
        """Record that the check of servers, whose operations are over, didn't pass."""
        rows = [_row(message, self.places[each], self.run) for each in servers]
        self._database.write(lambda db: db.executemany(_CHECK, rows), _REST_LOST)

    def flush(self) -> None:
        """Record what was heard, at most once a second."""
        now = self._database.clock()
        if self._flushed_at is None or not 0 <= now - self._flushed_at < _FLUSH_SECONDS:
            self._flushed_at = now
            self.close()

    def close(self) -> None:
        """Record what was heard and isn't recorded yet."""
        heard, self._heard = self._heard, {}
        rows = [_row(status.word, *each, self.run) for each, status in heard.items()]
        if rows:
            self._database.write(lambda db: db.executemany(_STATUS, rows), _REST_LOST)

    def _latest_wave(self, db: sqlite3.Connection) -> tuple[Any, ...]:
        """The numbers of the run and its latest wave, and where it is."""
        found: tuple[Any, ...] | None = db.execute(_LATEST_WAVE, (self.run,)).fetchone()
        if found is None:
            raise _UnusableError(f"run {self.run} is not in it any more")
        return found

    def __enter__(self) -> Self:
        """Record until the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Record what is left."""
        self.close()


def _unsettled(
    db: sqlite3.Connection,
    where: Sequence[str],
    names: Sequence[str],
    since: str | None,
    this_run: int | None = None,
) -> tuple[Earlier, ...]:
    """The latest resets of the servers, but for those of this run, that are unsettled."""
    if since is None:
        return ()
    db.execute("CREATE TEMP TABLE asked (place INTEGER PRIMARY KEY, name TEXT)")
    db.executemany("INSERT INTO asked (name) VALUES (?)", (_row(each) for each in names))
    base_url, account = where
    values = {"base_url": base_url, "account": account, "since": since, "this_run": this_run}
    found = db.execute(_UNSETTLED, values).fetchall()
    if not found:  # as a rule, and then there is no need for the models
        return ()
    from clc_reset.models import Operation, OperationStatus, Sending, ServerState

    return tuple(
        Earlier(
            run,
            datetime.fromisoformat(at),
            server,
            None if sending is None else Sending(sending),
            _instant(sent_at),
            None if state is None else ServerState(state),
            None if operation[0] is None else Operation(*operation),
            None if status is None else OperationStatus(status),
            user,
        )
        for run, at, server, sending, sent_at, state, *operation, status, user in found
    )


def _drop_old_runs(db: sqlite3.Connection, newest: int, youngest: str, now: str) -> None:
    """Drop runs beyond those that are kept, or some of them where they are many."""
    before = db.total_changes
    for row in db.execute(_OLD_RUNS, (newest - RUNS_KEPT, youngest, now)).fetchall():
        db.execute("DELETE FROM run WHERE number = ?", row)
        if db.total_changes - before > MOST_DROPPED:
            break


def _load(db: sqlite3.Connection, number: int) -> Run:
    """The run of that number in the order of recording."""
    from clc_reset.models import Operation, OperationStatus, Sending, ServerResult, ServerState

    run, at, base_url, account, user = db.execute(_RUN, (number,)).fetchone()
    servers: dict[str, int | None] = {}  # and the wave of each
    results, turns, statuses = {}, [], {}
    for name, wave, state, message, turn, status, *fields in db.execute(_SERVERS_OF, (number,)):
        servers[name] = wave
        operation = None if fields[0] is None else Operation(*fields)
        if state is not None:
            results[name] = ServerResult(name, ServerState(state), operation, message)
        if turn is not None:
            turns.append((wave, turn, name))
        if operation and status is not None:
            statuses[operation] = OperationStatus(status)
    by_wave: dict[int | None, list[str]] = {}
    for name, wave in servers.items():
        by_wave.setdefault(wave, []).append(name)
    waves = tuple(
        Wave(
            place,
            datetime.fromisoformat(recorded),
            None if sending is None else Sending(sending),
            _instant(sent_at),
            problem,
            tuple(by_wave.get(wave, ())),
        )
        for place, (wave, recorded, sending, sent_at, problem) in enumerate(
            db.execute(_WAVES_OF, (number,)), start=1
        )
    )
    order = tuple(name for _, _, name in sorted(turns))
    when = datetime.fromisoformat(at)
    return Run(run, when, base_url, account, user, tuple(servers), waves, results, order, statuses)


def _insert(db: sqlite3.Connection, statement: str, *values: object) -> int:
    """Insert a row, and return its number."""
    return db.execute(statement, _row(*values)).lastrowid or 0


def _row(*values: object) -> tuple[Any, ...]:
    """Values that SQLite takes: lone surrogates, which UTF-8 can't hold, are escaped."""
    return tuple(_utf8(each) if isinstance(each, str) else each for each in values)


def _utf8(text: str | None) -> str | None:
    if text is None or text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()


def _upper(names: Iterable[str]) -> list[str]:
    return _distinct(each.upper() for each in names)


def _distinct(values: Iterable[_T], most: int | None = None) -> list[_T]:
    """Each value once, where it comes first; no more is taken than `most` need."""
    seen: dict[_T, None] = {}
    for each in values:
        if len(seen) == most:
            break
        seen[each] = None
    return list(seen)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _stamp(now: str) -> str:
    """A unique id for what is recorded now: `20260115-021305-3f9a12bc`."""
    date, _, clock = now.partition("T")
    return f"{date.replace('-', '')}-{clock[:8].replace(':', '')}-{os.urandom(4).hex()}"


def _version(db: sqlite3.Connection) -> int:
    """The version of the schema; 0 where there is none yet."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _check_owner(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _UnusableError(f"{path} belongs to another user")


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or repr(error)
