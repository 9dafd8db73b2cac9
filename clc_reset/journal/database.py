"""The journal's database: where it is, transactions, ownership and the locks of live runs.

The one door to sqlite3. Each transaction has a connection of its own, so that none goes on in a
database that another process has renamed. Rollback journal, not WAL, with full synchronization: a
home on NFS is shared between hosts. SQLite never waits by itself; the inbox does, so that a signal
ends each wait.

A Tab press loads this module, so it does without logging and pathlib.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import sqlite3
import stat
import time
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from clc_reset.errors import Interrupted, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from clc_reset.workers import Inbox

FILE = "journal.sqlite3"
VERSION = 5
CORRUPT_WARNED_SECONDS = 24 * 3600.0
"""A corrupt journal that was renamed is warned about for this long."""
READ_SECONDS = 5.0
LAST_CHARACTER = "\U0010ffff"
"""Follows all others: names that begin so are BETWEEN a beginning and that with this behind it."""

_RETRY_SECONDS = 0.05
_LAST_SECONDS = 0.5
"""The time for a transaction after a signal, and for a file that can't be opened to reappear."""
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
"""Another process writes it, or renames it."""
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "Another process has it locked; if that hangs, end it.",
    sqlite3.SQLITE_FULL: "Free some disk space.",
    sqlite3.SQLITE_READONLY: "Make it writable for this user.",
    sqlite3.SQLITE_PERM: "Make it writable for this user.",
}
_OTHERWISE = "Repair it, or set CLC_STATE_DIR to another folder."

_T = TypeVar("_T")


class UnusableError(OSError):
    """The database is left alone; the text says why, `remedy` what to do."""

    def __init__(self, reason: str, remedy: str = _OTHERWISE) -> None:
        super().__init__(reason)
        self.remedy = remedy


class DoubtError(JournalError):
    """It can't be told whether a transaction is in the database."""


class Database:
    """The database in a folder, made when it is first written, if `home` is the user's.

    `inbox` waits while another process writes. Without one there are only reads, which never wait
    and write nothing at all, not even to roll back for a killed process. `connect` opens SQLite.
    """

    def __init__(
        self,
        folder: str,
        inbox: Inbox | None,
        monotonic: Callable[[], float] = time.monotonic,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        home: str = "",
    ) -> None:
        self.folder = folder
        self.path = os.path.join(folder, FILE)
        self._inbox = inbox
        self._monotonic = monotonic
        self._connect = connect
        self._home = home
        self._inode: int | None = None
        self._locks: dict[str, int] = {}

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        inbox: Inbox | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self | None:
        """Return the database that the environment names, None where CLC_NO_JOURNAL is set.

        Its folder is CLC_STATE_DIR, or lies in XDG_STATE_HOME or HOME.
        """
        if environ.get("CLC_NO_JOURNAL", "0") not in {"", "0"}:
            return None
        if own := environ.get("CLC_STATE_DIR", ""):
            return cls(own, inbox, monotonic)
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            with suppress(KeyError):
                home = pwd.getpwuid(os.getuid()).pw_dir
        state = environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(state):
            state = os.path.join(home, ".local", "state")
        return cls(os.path.join(state, "clc-reset"), inbox, monotonic, home=home)

    # --- transactions --------------------------------------------------------------------------

    def write(
        self,
        work: Callable[[sqlite3.Connection], _T],
        seconds: float,
        is_there: Callable[[sqlite3.Connection], bool] | None = None,
        *,
        despite_signal: bool = False,
    ) -> _T:
        """Return what `work` returns, called in a transaction, which may wait for so many seconds.

        `work` may be called several times. A commit that fails is read back with `is_there`.
        Raises JournalError where nothing was written, DoubtError where that can't be told, and
        Interrupted if a signal came before the transaction could begin; `despite_signal` there is
        a little time left.
        """
        attempt = partial(self._transact, work, is_there)
        with self._explained("written"):
            try:
                return self._retried(attempt, seconds, despite_signal=despite_signal)
            except sqlite3.DatabaseError as error:
                if _code(error) not in _CORRUPT:
                    raise
            self._rename_corrupt()
            return self._retried(attempt, seconds, despite_signal=despite_signal)

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """Open one state of the database, an empty one where there is none.

        Raises JournalError, and Interrupted if a signal comes while it waits.
        """
        came_before = self._inbox is not None and self._inbox.signum is not None
        with self._explained("read"):
            db = self._retried(self._open_to_read, READ_SECONDS, despite_signal=came_before)
            with closing(db):
                db.row_factory = sqlite3.Row
                yield db

    def _retried(self, attempt: Callable[[], _T], seconds: float, *, despite_signal: bool) -> _T:
        """Try until the database isn't busy any more, or the time is up."""
        deadline = self._monotonic() + seconds
        while True:
            try:
                return attempt()
            except sqlite3.DatabaseError as error:
                code = _code(error)
                if self._inbox is None or code not in _BUSY or self._monotonic() >= deadline:
                    raise
            wait = self._inbox.pause if despite_signal else self._inbox.sleep
            wait(_RETRY_SECONDS)
            if self._inbox.signum is not None or code == sqlite3.SQLITE_CANTOPEN:
                deadline = min(deadline, self._monotonic() + _LAST_SECONDS)

    def _transact(
        self,
        work: Callable[[sqlite3.Connection], _T],
        is_there: Callable[[sqlite3.Connection], bool] | None,
    ) -> _T:
        if not self._exists():
            self._make()
        # the default unlinks a file, which may be back after a power cut and undo the commit
        db, version = self._open(
            "rw",
            "PRAGMA page_size = 16384",  # of a new database; with 4096 a large run takes longer
            "PRAGMA cache_size = -16384",  # in KiB: a large run is written at its end only
            "PRAGMA journal_mode = TRUNCATE",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
            "BEGIN IMMEDIATE",
        )
        with closing(db):
            db.row_factory = sqlite3.Row
            if not version:
                _create_tables(db)
                db.execute(f"PRAGMA user_version = {VERSION}")
            result = work(db)
            try:
                db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if _code(error) in _BUSY and db.in_transaction:
                    raise  # to close it rolls back
                failure = self._error("written", error)
            else:
                return result
        # it may have failed before or after the moment that counts
        try:
            if is_there is not None:
                with self.read() as db:
                    if is_there(db):
                        return result
        except (JournalError, Interrupted) as unreadable:
            raise DoubtError(failure.message, hint=failure.hint) from unreadable
        raise failure

    def _open_to_read(self) -> sqlite3.Connection:
        if self._exists():
            db, version = self._open("ro" if self._inbox is None else "rw", "BEGIN")
            if version:
                return db
            db.close()
        db = sqlite3.connect(":memory:", isolation_level=None)
        _create_tables(db)
        return db

    def _open(self, mode: str, *statements: str) -> tuple[sqlite3.Connection, int]:
        """Open the database and return it with its version, after these statements.

        The version is 0 where there are no tables yet. Raises UnusableError if another version of
        clc wrote it.
        """
        path = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        db = self._connect(f"file://{path}?mode={mode}", timeout=0, isolation_level=None, uri=True)
        try:
            self._version(db)  # before a statement changes anything
            for statement in statements:
                db.execute(statement)
            return db, self._version(db)
        except BaseException:  # its lock would keep all others from writing
            db.close()
            raise

    def _version(self, db: sqlite3.Connection) -> int:
        """Return the version of the tables, 0 where there are none. Raises UnusableError."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in {0, VERSION}:
            raise UnusableError("it was written by another version of clc", f"Rename {self.path}.")
        return int(version)

    # --- the files -----------------------------------------------------------------------------

    def _exists(self) -> bool:
        """Return whether there is a database. Raises UnusableError if it must be left alone."""
        self._inode = None
        if not os.path.isabs(self.folder):
            raise UnusableError(
                "its folder is not absolute", "Set CLC_STATE_DIR to an absolute path."
            )
        with suppress(FileNotFoundError):
            _check_owner(self.folder, os.stat(self.folder))
            for path in (f"{self.path}-wal", f"{self.path}-journal", self.path):
                with suppress(FileNotFoundError):
                    found = os.lstat(path)
                    # a link leads elsewhere, and to open a pipe is to wait for its other end
                    if not stat.S_ISREG(found.st_mode):
                        raise UnusableError(f"{path} is not a file", f"Remove {path}.")
                    _check_owner(path, found)
                    self._inode = found.st_ino if path == self.path else None
        return self._inode is not None

    def _make(self) -> None:
        """Make an empty database, for this user only, and only in a home of this user."""
        if not os.path.isdir(self.folder) and self._home:
            _check_home(self.folder, self._home)
        os.makedirs(self.folder, exist_ok=True)
        if os.stat(self.folder).st_mode & stat.S_ISVTX:  # root could close /tmp to all others
            remedy = "Set CLC_STATE_DIR to a folder of yours."
            raise UnusableError(f"{self.folder} is for all users", remedy)
        os.chmod(self.folder, 0o700)
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # the file itself must be there after a power cut
            finally:
                os.close(folder)
        self._exists()

    def _rename_corrupt(self) -> None:
        """Rename a corrupt database, unless another process did so first. Raises JournalError."""
        corrupt = self._inode
        aside = f"{self.path}.corrupt-{int(time.time())}"
        # NFS locks files only, and only those that may be written
        with (
            self._explained("renamed, though it is corrupt"),
            open(f"{self.path}.lock", "wb") as file,
        ):
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._exists() and self._inode == corrupt:
                with suppress(FileNotFoundError):  # it must not be applied to the new one
                    os.rename(f"{self.path}-journal", f"{aside}-journal")
                os.rename(self.path, aside)
                os.utime(aside)

    def recently_corrupt(self) -> list[str]:
        """Return the corrupt databases that were renamed in the last day."""
        beginning = f"{FILE}.corrupt-"
        with suppress(OSError), os.scandir(self.folder) as entries:
            return sorted(
                entry.path
                for entry in entries
                if entry.name.startswith(beginning)
                and not entry.name.endswith("-journal")
                and abs(time.time() - entry.stat().st_mtime) < CORRUPT_WARNED_SECONDS
            )
        return []

    @contextmanager
    def _explained(self, verb: str) -> Generator[None]:
        """Raise what goes wrong as a JournalError."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._error(verb, error) from error

    def _error(self, verb: str, error: Exception) -> JournalError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        remedy = error.remedy if isinstance(error, UnusableError) else _OTHERWISE
        remedy = _REMEDIES.get(_code(error), remedy)
        return JournalError(f"The journal {self.path} can't be {verb}: {reason}.", hint=remedy)

    # --- the locks of live runs ----------------------------------------------------------------

    def hold_lock(self, run: str) -> None:
        """Lock a run, in a transaction, for the life of this process, where locks work."""
        if run in self._locks:
            return
        try:
            self._locks[run] = os.open(self._lock_path(run), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._locks[run], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release_lock(run, remove=True)

    def release_lock(self, run: str, *, remove: bool) -> None:
        """Let go of a run's lock; `remove` its file where nobody has to look at it any more."""
        if run in self._locks:
            if remove:
                self.remove_lock(run)
            with suppress(OSError):
                os.close(self._locks.pop(run))

    def may_go_on(self, run: str) -> bool:
        """Return whether a run without an end may be going on: its lock isn't known to be free."""
        try:
            with open(self._lock_path(run), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # a live process has it, or locks don't work
            return True
        return False

    def remove_lock(self, run: str) -> None:
        """Remove the lock file of a run that nobody has to look at any more."""
        with suppress(OSError):
            os.unlink(self._lock_path(run))

    def _lock_path(self, run: str) -> str:
        return os.path.join(self.folder, f"run-{run}.lock")


def _create_tables(db: sqlite3.Connection) -> None:
    with open(os.path.join(os.path.dirname(__file__), "schema.sql"), encoding="utf-8") as file:
        for statement in file.read().split(";\n"):
            db.execute(statement)


def _code(error: Exception) -> int:
    """Return SQLite's kind of an error: its lowest byte, the others tell more of it."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _check_owner(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise UnusableError(f"{path} belongs to another user")


def _check_home(folder: str, home: str) -> None:
    """Raise UnusableError if the folder would be made in somebody else's home."""
    existing = folder
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    for path, owners in ((existing, {os.geteuid(), 0}), (home, {os.geteuid()})):
        with suppress(FileNotFoundError):
            if os.stat(path).st_uid not in owners:
                raise UnusableError(
                    f"{path} belongs to another user",
                    "Set HOME to your own, or CLC_STATE_DIR to a folder of yours.",
                )
