"""A machine on which only what is waited for takes time, with a journal for each process."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from clc_reset.journal.database import FILE, Database
from clc_reset.journal.record import NewRun, Record
from clc_reset.journal.rows import Run, ServerRow, Wave, Where
from clc_reset.journal.runs import Journal, Rest
from clc_reset.models import OperationStatus, ResetAnswer, RollingOptions
from tests.builders import ACCOUNT, ONE, ORIGIN, SUCCEEDED, USER, A, not_sent, queued, sent
from tests.virtual import VirtualClocks, VirtualInbox

OTHER_ORIGIN = "https://api.example"
HERE, SUB, AWAY = Where(ORIGIN, ACCOUNT), Where(ORIGIN, "SUB"), Where(OTHER_ORIGIN, ACCOUNT)
PLAIN, ROLLING = RollingOptions(), RollingOptions(at_a_time=1, check="true")
JUNK = b"no database" * 999

Caplog = pytest.LogCaptureFixture
Patch = pytest.MonkeyPatch

_T = TypeVar("_T")


def succeed(record: Record, *servers: str, status: OperationStatus = SUCCEEDED) -> None:
    """Let servers be queued, if they are named, and their operation come to an end."""
    if servers:
        record.answered(sent(*map(queued, servers)))
    record.statuses.add(ONE, status)
    record.statuses.close()


def fail_with(code: int) -> Callable[[object], NoReturn]:
    """Return a function that fails as SQLite does."""

    def fail(_argument: object) -> NoReturn:
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode = code
        raise error

    return fail


class Machine:
    """The folder, clocks and inbox; `journal` is that of a process, `other` of another one.

    `on_open` gets the number of each opening of a database, before it. Each commit fails once
    `at_commit` is there, which gets `execute`. `steps` counts hundreds of steps of SQLite.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        self.at_commit: Callable[[Callable[[str], object]], object] | None = None
        self.on_open: Callable[[int], object] = lambda _number: None
        self.opened = self.steps = 0
        self.clocks = VirtualClocks()
        self.inbox = VirtualInbox(self.clocks)
        self.database = self.open()
        self.journal = Journal(self.database, self.clocks)
        self.other = Journal(self.open(), self.clocks)

    def open(self, folder: Path | str = "") -> Database:
        """The database of another process, in this folder or another one."""
        place = str(folder or self.folder)
        return Database(place, self.inbox, self.clocks.monotonic, self._connect)

    def _connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        machine = self
        self.opened += 1
        self.on_open(self.opened)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and machine.at_commit is not None:
                    machine.at_commit(super().execute)
                    fail_with(sqlite3.SQLITE_IOERR)(sql)
                return super().execute(sql, *values)

        def count() -> int:
            self.steps += 1
            return 0

        db = sqlite3.connect(*args, factory=Connection, **kwargs)
        db.set_progress_handler(count, 100)
        return db

    def die(self) -> None:
        """Let the locks go, as the system does when processes are killed."""
        for lock in self.folder.glob("run-*.lock"):
            lock.unlink()
            lock.touch()

    def new(self, *servers: str, where: Where = HERE, options: RollingOptions = PLAIN) -> NewRun:
        return NewRun(where, USER, servers, options)

    def begin(self, *servers: str, where: Where = HERE, options: RollingOptions = PLAIN) -> Record:
        """A run that goes ahead, whatever was before it; a rolling one with its first wave."""
        new = self.new(*servers, where=where, options=options)
        record = self.journal.begin(new, again=True)
        assert isinstance(record, Record)
        return record

    def ended(self, answer: ResetAnswer, *servers: str) -> Record:
        """A run on servers, or those of the answer, that was answered, and is over."""
        record = self.begin(*servers or [result.server or "" for result in answer.results])
        record.answered(answer)
        record.end([])
        return record

    def stopped(self, *servers: str) -> Record:
        """A rolling run that was stopped after its first server."""
        record = self.begin(*servers, options=ROLLING)
        succeed(record, servers[0])
        record.end(not_sent(*servers[1:]))
        return record

    def find(self, *servers: str, where: Where = HERE) -> list[str]:
        """The servers in the way of a reset, which goes ahead if there are none."""
        found = self.other.begin(self.new(*servers, where=where))
        assert not isinstance(found, Rest)
        return [] if isinstance(found, Record) else [row.server for row in found]

    def claim(self, record: Record, kind: type[_T], *, again: bool = False) -> _T:
        """Claim the rest of a run; `kind` is what comes of it."""
        rest = self.rest(record)
        found = self.other.begin(self.new(options=rest.options), rest, again=again)
        assert isinstance(found, kind)
        return found

    def rest(self, record: Record) -> Rest:
        return self.other.rest_of(record.run or "")

    def load(self, record: Record) -> Run:
        run = self.other.run(record.run or "")
        assert run
        return run

    def row(self, record: Record, server: str = A) -> ServerRow:
        return {row.server: row for row in self.load(record).rows}[server]

    def wave(self, record: Record, server: str = A) -> Wave:
        wave = self.row(record, server).wave
        assert wave
        return wave

    def states(self, record: Record) -> dict[str, str]:
        """The state of each server of a run."""
        return {row.server: row.state.value for row in self.load(record).rows}

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        db = sqlite3.connect(self.file)
        try:
            with db:
                return db.execute(statement, values).fetchall()
        finally:
            db.close()

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Another process that holds the database."""
        db = sqlite3.connect(self.file, isolation_level=None)
        try:
            db.execute("BEGIN EXCLUSIVE")
            yield db
        finally:
            db.close()
