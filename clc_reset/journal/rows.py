"""The journal's rows as values, and the queries that the guard and the claims share."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from clc_reset.clocks import Moment
from clc_reset.models import Operation, OperationStatus, RollingOptions, Sending

RECENT_SECONDS = 3600.0
"""An earlier reset of this age matters; to repeat what is older is nobody's mistake."""
RECENT_BY_WALL_SECONDS = 12 * 3600.0
"""The same where only wall clocks tell the age, since they may have been set."""

_COLUMNS = """
    owner.id, server.name, server.state, server.plan, server.turn, server.operation, server.path,
    server.alias, server.status, server.message, server.failed_check, server.over, taker.id,
    wave.number, wave.wall, wave.boot, wave.boot_id, wave.usual, wave.sending, wave.sent_at,
    wave.problem
"""
_JOINED = """
    JOIN run AS owner ON owner.number = server.run
    LEFT JOIN wave ON wave.number = server.wave
    LEFT JOIN run AS taker ON taker.number = server.taken_by
"""
ROWS_OF_RUN = f"SELECT {_COLUMNS} FROM server {_JOINED} WHERE owner.id = ? ORDER BY server.place"
# `asked` is a JSON object of servers and waves: what other runs did after that wave matters
_OF_OTHERS = f"""
SELECT owner.user, owner.locked, owner.wall, owner.boot, owner.boot_id, {_COLUMNS}
FROM json_each(:asked) AS asked CROSS JOIN server ON server.name = asked.key
"""
_LATEST_POSSIBLE = f"""
{_OF_OTHERS} AND server.wave = (
    SELECT other.wave FROM possible_reset AS other
    WHERE other.name = asked.key AND other.base_url = :base_url AND other.account = :account
        AND other.wave > asked.value AND other.run_id IS NOT :this_run
    ORDER BY other.wave DESC LIMIT 1)
{_JOINED}
"""
# `+` keeps SQLite from an index by which it would have to read all runs
_UNSETTLED = f"""
{_LATEST_POSSIBLE} WHERE NOT server.over
UNION ALL
{_OF_OTHERS} AND server.wave IS NULL
{_JOINED}
WHERE server.state = 'planned' AND NOT owner.ended AND +owner.base_url = :base_url
    AND owner.account = :account AND owner.id IS NOT :this_run
"""


class RowState(StrEnum):
    """The state of a server in a run."""

    PLANNED = "planned"
    INTENDED = "intended"
    QUEUED = "queued"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    TAKEN = "taken"


class Wave(NamedTuple):
    """One request of a run; most runs have one.

    `number` is its place in the sequence of all runs. `at` is when it was recorded or, once that is
    known, when it left; `sent_at` is that on the API's clock. `usual` is how many seconds its
    resets take at the most. `sending` is None until the answer is recorded.
    """

    number: int
    at: Moment
    usual: float
    sending: Sending | None
    sent_at: datetime | None
    problem: str | None

    def is_recent(self, now: Moment) -> bool:
        """Return whether it is young enough to matter; an age that can't be is recent."""
        limit = RECENT_SECONDS if now.shares_boot_with(self.at) else RECENT_BY_WALL_SECONDS
        return now.seconds_since(self.at) <= max(limit, self.usual)


class ServerRow(NamedTuple):
    """One server of a run. `plan` is the number of the wave in whose transaction it was planned.

    `turn` is its place in the answer. `taken_by` is the run that took it. `over` tells that the
    reset is known to be over.
    """

    run: str
    server: str
    state: RowState
    plan: int
    turn: int | None
    operation: Operation | None
    status: OperationStatus | None
    message: str | None
    failed_check: str | None
    over: bool
    taken_by: str | None
    wave: Wave | None

    @property
    def is_in_doubt(self) -> bool:
        """Return whether nobody knows what became of the reset."""
        return self.state in {RowState.INTENDED, RowState.UNKNOWN} and not self.over


class Run(NamedTuple):
    """One run: all servers that were asked for, in that order.

    `may_go_on` tells that its process is alive, or may be. `options` is None once nothing of it is
    planned any more.
    """

    id: str
    at: Moment
    base_url: str
    account: str
    user: str | None
    may_go_on: bool
    options: RollingOptions | None
    rows: tuple[ServerRow, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers, in the order asked."""
        return tuple(row.server for row in self.rows)


class EarlierReset(NamedTuple):
    """An earlier reset of a server that isn't known to be over, or one that a live run has planned.

    `at` is when it was sent or, if it is planned, when its run began.
    """

    row: ServerRow
    user: str | None
    at: Moment

    @property
    def key(self) -> tuple[str, str]:
        """Run and server: enough to tell whether somebody has confirmed just this."""
        return self.row.run, self.row.server


class Where(NamedTuple):
    """The API and the account, in upper case."""

    base_url: str
    account: str


def unsettled(
    db: sqlite3.Connection,
    where: Where,
    servers: Iterable[str],
    now: Moment,
    may_go_on: Callable[[str, int], bool],
    *,
    this_run: str | None = None,
    but: AbstractSet[tuple[str, str]] = frozenset(),
) -> tuple[EarlierReset, ...]:
    """Return the latest resets of these servers by other runs that are recent and unsettled.

    A server that a live run has planned counts as unsettled. `may_go_on` tells of a run, by its id
    and whether it was locked, whether its process may be alive. Those in `but` are left out.
    """
    places = {server: place for place, server in enumerate(servers)}
    asked = json.dumps(dict.fromkeys(places, 0))
    found: list[EarlierReset] = []
    values = {**where._asdict(), "asked": asked, "this_run": this_run}
    for user, locked, wall, boot, boot_id, *columns in db.execute(_UNSETTLED, values):
        row = read_row(columns)
        if row.wave is None and may_go_on(row.run, locked):
            found.append(EarlierReset(row, user, Moment(wall, boot, boot_id)))
        elif row.wave is not None and row.wave.is_recent(now):
            found.append(EarlierReset(row, user, row.wave.at))
    found.sort(key=lambda earlier: places[earlier.row.server])
    return tuple(earlier for earlier in found if earlier.key not in but)


def reset_since(
    db: sqlite3.Connection, where: Where, planned: Mapping[str, int], this_run: str | None = None
) -> dict[str, ServerRow]:
    """Return the servers that another run may have reset since they were planned, with its rows.

    `planned` are servers, each with the wave in whose transaction it was planned.
    """
    values = {**where._asdict(), "asked": json.dumps(planned), "this_run": this_run}
    found = [read_row(columns[5:]) for columns in db.execute(_LATEST_POSSIBLE, values)]
    return {row.server: row for row in found}


def read_row(columns: Sequence[Any]) -> ServerRow:
    """Return a row of ROWS_OF_RUN as a value."""
    run, server, state, plan, turn, operation, path, alias, status, *columns = columns
    message, failed_check, over, taken_by, number, *columns = columns
    wave = None
    if number is not None:
        wall, boot, boot_id, usual, sending, sent_at, problem = columns
        sending = None if sending is None else Sending(sending)
        sent_at = None if sent_at is None else datetime.fromisoformat(sent_at)
        wave = Wave(number, Moment(wall, boot, boot_id), usual, sending, sent_at, problem)
    return ServerRow(
        run,
        server,
        RowState(state),
        plan,
        turn,
        None if operation is None else Operation(operation, path, alias),
        None if status is None else OperationStatus(status),
        message,
        failed_check,
        bool(over),
        taken_by,
        wave,
    )


def read_options(text: str | None) -> RollingOptions | None:
    """Return the stored options of a run; None where there are none, or none that can be read."""
    with suppress(ValueError, TypeError):
        return RollingOptions(**json.loads(text or ""))
    return None


def utf8(text: str | None) -> str | None:
    """Return text that SQLite takes: lone surrogates, which UTF-8 can't hold, are escaped."""
    if text is None or text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()


def iso(instant: datetime | None) -> str | None:
    """Return a time as the journal has it."""
    return None if instant is None else instant.astimezone(UTC).isoformat(timespec="microseconds")


def insert(db: sqlite3.Connection, table: str, values: Mapping[str, object]) -> int:
    """Insert a row, and return its number."""
    names, places = ", ".join(values), ", ".join("?" * len(values))
    cursor = db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))
    return cursor.lastrowid or 0
