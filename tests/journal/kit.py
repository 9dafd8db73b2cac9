"""A machine on which only time that is waited for passes, with a journal for each process."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from clc_reset.clocks import Clocks, Moment
from clc_reset.journal.database import FILE, Database
from clc_reset.journal.record import Record
from clc_reset.journal.rows import Run, ServerRow, Wave, Where
from clc_reset.journal.runs import Journal, NewRun, Rest
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    RollingOptions,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.workers import Inbox

A, B, C, D = "WA1ALIASWB01", "WA1ALIASWB02", "WA1ALIASWB03", "VA1ALIASJOB04"
URL, ELSEWHERE = "https://api.ctl.io", "https://api.example"
HERE, SUB, AWAY = Where(URL, "ALIAS"), Where(URL, "SUB"), Where(ELSEWHERE, "ALIAS")
ONE = Operation("wa1-12345", "/v2/operations/alias/status/wa1-12345", "ALIAS")
TWO = Operation("va1-67890", "/v2/operations/alias/status/va1-67890", "ALIAS")
SUCCEEDED = OperationStatus("succeeded")
NIGHT = 1_768_521_598.0
"""23:59:58 on 15 January 2026, in UTC."""
ROLLING = RollingOptions(at_a_time=1, check="true")
MANY = tuple(f"WA1ALIASN{number:05}" for number in range(10_000))
JUNK = b"no database" * 999
NOBODY = 65534

_T = TypeVar("_T")


def queued(server: str, operation: Operation | None = ONE) -> ServerResult:
    return ServerResult(server, ServerState.QUEUED, operation)


def refused(server: str) -> ServerResult:
    return ServerResult(server, ServerState.FAILED, None, "Not in a valid state.")


def sent(*results: ServerResult) -> ResetAnswer:
    return ResetAnswer(Sending.SENT, results)


def lost(*servers: str) -> ResetAnswer:
    return ResetAnswer.maybe_sent(servers, "it timed out")


def not_sent(*servers: str) -> tuple[ServerResult, ...]:
    return ResetAnswer.not_sent(servers).results


def succeed(record: Record, *servers: str, status: OperationStatus = SUCCEEDED) -> None:
    """Let servers be queued, if they are named, and their operation come to an end."""
    if servers:
        record.answered(sent(*map(queued, servers)))
    record.statuses.add(ONE, status)
    record.statuses.close()


def error(code: int) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it."""
    made = sqlite3.OperationalError("it failed")
    made.sqlite_errorcode = code
    return made


class HandClocks(Clocks):
    """Clocks that are set by hand."""

    def __init__(self) -> None:
        self.wall, self.boot, self.boot_id = NIGHT, 1000.0, "this boot"

    def monotonic(self) -> float:
        return self.boot

    def now(self) -> Moment:
        return Moment(self.wall, self.boot, self.boot_id)

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


class HandInbox(Inbox):
    """An inbox whose waits take no time; `on_wait` is called in each, with its number."""

    def __init__(self, clocks: HandClocks) -> None:
        super().__init__(clocks.monotonic)
        self.clocks = clocks
        self.waits = 0
        self.on_wait: Callable[[int], object] = lambda _number: None

    def pause(self, seconds: float) -> None:
        self.waits += 1
        self.clocks.go_on(seconds)
        self.on_wait(self.waits)

    def _get(self, seconds: float) -> tuple[int, object] | None:
        if seconds > 0:
            self.pause(seconds)
        return super()._get(0)


class Machine:
    """The folder, clocks and inbox; `journal` is that of a process, `other` of another one.

    Each commit fails once `at_commit` is there, which is called with the connection's `execute`.
    `at_open` is called once, before a database is opened. `steps` counts hundreds of steps of
    SQLite.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        self.at_commit: Callable[[Callable[[str], object]], object] | None = None
        self.at_open: Callable[[], object] | None = None
        self.steps = 0
        self.clocks = HandClocks()
        self.inbox = HandInbox(self.clocks)
        self.database = self.open()
        self.journal = Journal(self.database, self.clocks)
        self.other = Journal(self.open(), self.clocks)

    def open(self, folder: Path | str = "") -> Database:
        """The database of another process, in this folder or another one."""
        place = str(folder or self.folder)
        return Database(place, self.inbox, self.clocks.monotonic, self._connect)

    def _connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        machine = self
        at_open, self.at_open = self.at_open, None
        if at_open is not None:
            at_open()

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if sql != "COMMIT" or machine.at_commit is None:
                    return super().execute(sql, *values)
                machine.at_commit(super().execute)
                raise error(sqlite3.SQLITE_IOERR)

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

    def new(
        self, *servers: str, where: Where = HERE, options: RollingOptions | None = None
    ) -> NewRun:
        return NewRun(where, "someone", servers, options or RollingOptions())

    def begin(
        self,
        *servers: str,
        where: Where = HERE,
        options: RollingOptions | None = None,
        journal: Journal | None = None,
    ) -> Record:
        """A run that goes ahead, whatever was before it; a rolling one with its first wave."""
        new = self.new(*servers, where=where, options=options)
        wave = servers[: new.options.at_a_time]
        record = (journal or self.journal).begin(new, wave, check=False)
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
        found = self.other.begin(self.new(*servers, where=where), servers)
        return [] if isinstance(found, Record) else [earlier.row.server for earlier in found]

    def claim(self, record: Record, kind: type[_T], *, again: bool = False) -> _T:
        """Claim the rest of a run; `kind` is what comes of it."""
        rest = self.rest(record)
        found = self.other.claim(self.new(options=rest.options), rest, again=again)
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
