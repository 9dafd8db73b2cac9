"""The journal's rows as values, and the queries that the guard and the claims share."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from clc_reset.clocks import Moment
from clc_reset.models import Operation, OperationStatus, RollingOptions

RECENT_SECONDS = 3600.0
"""An earlier reset of this age matters; to repeat what is older is nobody's mistake."""
RECENT_BY_WALL_SECONDS = 12 * 3600.0
"""The same where only wall clocks tell the age, since they may have been set."""

# `asked` is a JSON object of servers and waves: what other runs did after that wave matters
_LATEST_RESETS = """
SELECT server_row.* FROM json_each(:asked) AS asked CROSS JOIN server_row
WHERE server_row.name = asked.key AND (:with_over OR NOT server_row.over)
    AND server_row.wave = (
        SELECT wave FROM possible_reset
        WHERE name = asked.key AND wave > asked.value AND base_url = :base_url
        ORDER BY wave DESC LIMIT 1)
"""
_PLANNED = """
SELECT server_row.* FROM json_each(:asked) AS asked CROSS JOIN server_row
WHERE name = asked.key AND wave IS NULL AND state = 'planned' AND NOT ended
    AND run_id IS NOT :this_run AND base_url = :base_url
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
    resets take at the most.
    """

    number: int
    at: Moment
    usual: float
    sent_at: datetime | None

    def is_recent(self, now: Moment) -> bool:
        """Return whether it is young enough to matter; an age that can't be is recent."""
        limit = RECENT_SECONDS if now.shares_boot_with(self.at) else RECENT_BY_WALL_SECONDS
        return now.seconds_since(self.at) <= max(limit, self.usual)


class ServerRow(NamedTuple):
    """One server of a run. `plan` is the number of the wave in whose transaction it was planned.

    `account` and `user` are those of the run. `turn` is its place in the answer. `taken_by` is the
    run that took it. `over` tells that the reset is known to be over.
    """

    run: str
    account: str
    user: str | None
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
    def key(self) -> tuple[str, str]:
        """Run and server: enough to tell whether somebody has confirmed just this."""
        return self.run, self.server

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
    may_go_on: bool
    options: RollingOptions | None
    rows: tuple[ServerRow, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers, in the order asked."""
        return tuple(row.server for row in self.rows)


class Where(NamedTuple):
    """The API and the account, in upper case."""

    base_url: str
    account: str


def unsettled(
    db: sqlite3.Connection,
    base_url: str,
    servers: Iterable[str],
    now: Moment,
    may_go_on: Callable[[str], bool],
    *,
    this_run: str | None = None,
    but: AbstractSet[tuple[str, str]] = frozenset(),
) -> tuple[ServerRow, ...]:
    """Return the latest resets of these servers by other runs that are recent and unsettled.

    The account doesn't matter: a server can be reset from several. A server that a live run has
    planned counts as unsettled, unless it is `this_run`. `may_go_on` tells of a run, by its id,
    whether its process may be alive. Those in `but` are left out.
    """
    places = {server: place for place, server in enumerate(servers)}
    asked = json.dumps(dict.fromkeys(places, 0))
    values = {"base_url": base_url, "asked": asked, "this_run": this_run, "with_over": False}
    latest = read_rows(db.execute(_LATEST_RESETS, values))
    found = [row for row in latest if row.wave and row.wave.is_recent(now)]
    found += [row for row in read_rows(db.execute(_PLANNED, values)) if may_go_on(row.run)]
    found.sort(key=lambda row: places[row.server])
    return tuple(row for row in found if row.key not in but)


def reset_since(
    db: sqlite3.Connection, base_url: str, planned: Mapping[str, int]
) -> dict[str, ServerRow]:
    """Return the servers that another run may have reset since they were planned, with its rows.

    `planned` are servers, each with the wave in whose transaction it was planned.
    """
    values = {"base_url": base_url, "asked": json.dumps(planned), "with_over": True}
    return {row.server: row for row in read_rows(db.execute(_LATEST_RESETS, values))}


def read_rows(found: Iterable[sqlite3.Row]) -> Iterator[ServerRow]:
    """Yield rows of the view `server_row` as values; those of a wave share it."""
    waves: dict[int | None, Wave | None] = {None: None}
    for row in found:
        number, sent_at = row["wave"], row["sent_at"]
        if number not in waves:
            at = Moment(row["wall"], row["boot"], row["boot_id"])
            sent = None if sent_at is None else datetime.fromisoformat(sent_at)
            waves[number] = Wave(number, at, row["usual"], sent)
        operation, status = row["operation"], row["status"]
        if operation is not None:
            operation = Operation(operation, row["path"], row["alias"])
        yield ServerRow(
            run=row["run_id"],
            account=row["account"],
            user=row["user"],
            server=row["name"],
            state=RowState(row["state"]),
            plan=row["plan"],
            turn=row["turn"],
            operation=operation,
            status=None if status is None else OperationStatus(status),
            message=row["message"],
            failed_check=row["failed_check"],
            over=bool(row["over"]),
            taken_by=row["taken_by"],
            wave=waves[number],
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


def list_operations(ids: Iterable[str]) -> str:
    """Return operations as a wave lists them; a list of one can be found in that of several."""
    return "\n".join(["", *dict.fromkeys(ids), ""]).upper()


def iso(instant: datetime | None) -> str | None:
    """Return a time as the journal has it."""
    return None if instant is None else instant.astimezone(UTC).isoformat(timespec="microseconds")
