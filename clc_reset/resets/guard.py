"""The guard: checks for earlier resets that aren't settled, and records each intent.

It knows this user's resets from this machine, no others, and says no more than that.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from clc_reset.clocks import Moment
from clc_reset.errors import AuthenticationError, DeclinedError, JournalError, UnsettledError
from clc_reset.journal.database import DoubtError
from clc_reset.journal.record import NewRun, Record
from clc_reset.journal.rows import RowState, ServerRow
from clc_reset.journal.runs import Rest
from clc_reset.models import Evidence, Operation, OperationStatus, PollFailure
from clc_reset.resets import evidence
from clc_reset.resets.request import Dependencies, ResetRequest
from clc_reset.text import NAMED_IN_COMMANDS, count, describe, enumerate_names, show_age
from clc_reset.workers import Failure

SECONDS_FOR_POLLS = 30.0
MOST_TRIES = 4
"""Tries to record an intent: other processes may reset the same servers meanwhile."""
NAMED = 20
"""Servers that are described one by one; the others are counted."""
RUNS_NAMED = 3

_log = logging.getLogger(__name__)

Status = OperationStatus | PollFailure | None


class NothingLeft(Exception):  # noqa: N818 - no error: the rest of a run is empty
    """Nothing is left to claim of a run; `in_doubt` tells that a server's outcome is unknown."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(rest.run.id)
        self.in_doubt = rest.is_in_doubt


class Unsettled(NamedTuple):
    """An earlier reset that isn't settled, the latest status of its operation, and the evidence."""

    earlier: ServerRow
    status: Status = None
    evidence: Evidence | None = None


def begin(request: ResetRequest, deps: Dependencies) -> Record:
    """Check, confirm, and record the run with the intent of its first wave.

    The last check and the record are one transaction. Where the journal can't be used there is a
    warning and an empty record, except for the rest of a run. Raises UnsettledError, DeclinedError,
    NothingLeft, AuthenticationError and Interrupted.
    """
    if not deps.journal.is_on and not request.again:
        _log.warning("Without a journal, clc can't check for earlier resets.")
    confirmed: set[tuple[str, str]] = set()
    if request.asks:
        earlier: tuple[ServerRow, ...] = ()
        with suppress(JournalError):  # what records the run meets it again, and tells
            if not request.again:
                earlier = deps.journal.unsettled(request.where.base_url, request.servers)
        _confirm(request, settle(earlier, deps), deps)
        confirmed.update(row.key for row in earlier)
    if not deps.journal.is_on:
        return Record(None, deps.clocks, request.servers)
    for _ in range(MOST_TRIES):
        now = deps.clocks.now()
        try:
            found = _record(request, deps, confirmed)
        except JournalError as error:
            return _without_record(request, deps, error, now)
        if isinstance(found, Record):
            return found
        if unsettled := settle(found, deps):
            _confirm(request, unsettled, deps)
        confirmed.update(row.key for row in found)  # or settled, recorded or not
    raise UnsettledError(
        "Other processes are resetting the same servers at this moment.", hint="See: clc history"
    )


def _record(
    request: ResetRequest, deps: Dependencies, confirmed: set[tuple[str, str]]
) -> Record | tuple[ServerRow, ...]:
    """Record the run, or return what is in its way, to try again. Raises JournalError."""
    new = NewRun(request.where, request.user, request.servers, request.options)
    rest = deps.journal.begin(new, request.rest, again=request.again, confirmed=confirmed)
    if not isinstance(rest, Rest):
        return rest
    if rest.going_on and not request.again:
        raise UnsettledError(
            f"Run {enumerate_names(rest.going_on, RUNS_NAMED)} is still going on, or may be.",
            hint=f"To follow it: clc status --wait --run {rest.going_on[0]}\n"
            "If it certainly isn't running any more, add --again.",
        )
    if not rest.running:
        raise NothingLeft(rest)
    unsettled = settle(rest.running, deps)
    if not all(_is_gone(item.status) for item in unsettled):
        raise UnsettledError(
            f"Operations of run {rest.run.id} aren't known to be over.",
            hint=f"To follow them first: clc status --wait --run {rest.run.id}",
        )
    confirmed.update(item.earlier.key for item in unsettled)  # nobody will ever know more
    return ()


def _is_gone(status: Status) -> bool:
    """Return whether an operation can't be asked for any more."""
    return isinstance(status, PollFailure) and status.not_found


def _without_record(
    request: ResetRequest, deps: Dependencies, error: JournalError, tried_at: Moment
) -> Record:
    """Return an empty record with a warning, where a reset may go on without one."""
    problem = None
    if request.rest is not None:
        problem = f"Run {request.rest.run.id} can't be claimed."
    elif isinstance(error, DoubtError) and len(request.waves(request.servers)) > 1:
        problem = "It can't be told whether this run is recorded."
    if problem:
        raise UnsettledError(f"{problem} {error.message}", hint=error.hint) from error
    _log.warning(
        "%s This reset isn't recorded: clc status can't show it, and clc can't check for earlier "
        "resets. %s",
        error.message,
        error.hint,
    )
    record = Record(None, deps.clocks, request.servers)
    if isinstance(error, DoubtError):  # another command may find it, as old as that
        record.recorded = tried_at
    return record


def admit(
    request: ResetRequest, record: Record, servers: Sequence[str], deps: Dependencies
) -> None:
    """Record the intent of a later wave. Nobody and nothing is asked any more.

    Raises UnsettledError, JournalError and Interrupted.
    """
    check = request.rest is not None or not request.again
    if found := record.admit(servers, check=check):
        raise _refusal(list(map(Unsettled, found)), deps.clocks.now(), may_add_again=False)


def _confirm(request: ResetRequest, unsettled: Sequence[Unsettled], deps: Dependencies) -> None:
    """Ask one question about all servers.

    Raises UnsettledError where nobody can be asked about them, DeclinedError and Interrupted.
    """
    now = deps.clocks.now()
    if unsettled and deps.confirm is None:
        raise _refusal(unsettled, now, may_add_again=request.rest is None)
    number = len({item.earlier.server for item in unsettled})
    if deps.confirm is None or not deps.confirm(number, describe_all(unsettled, now)):
        raise DeclinedError("Declined.")


def _refusal(unsettled: Sequence[Unsettled], now: Moment, *, may_add_again: bool) -> UnsettledError:
    """Return the error; where the command can't be typed again with --again, it names one."""
    servers = list(dict.fromkeys(item.earlier.server for item in unsettled))
    runs = list(dict.fromkeys(item.earlier.run for item in unsettled))[:RUNS_NAMED]
    hints = [f"To follow it: clc status --wait --run {run}" for run in runs]
    if may_add_again:
        hints.append("To reset anyway, add --again.")
    elif len(servers) <= NAMED_IN_COMMANDS:
        hints.append(f"To reset it anyway: clc reset {' '.join(servers)} --again")
    title = f"An earlier reset of {count(len(servers), 'server')} is unsettled:"
    return UnsettledError("\n".join([title, *describe_all(unsettled, now)]), hint="\n".join(hints))


# --- settle ---


def settle(found: Sequence[ServerRow], deps: Dependencies) -> list[Unsettled]:
    """Ask once what became of earlier resets; return those that aren't settled even so.

    One is settled when its operation is over, or can't be asked any more while the server shows a
    change by the same user after the request. Raises AuthenticationError if the token is refused,
    and Interrupted.
    """
    statuses = _statuses(found, deps)
    doubtful = (
        row.key
        for row in found
        if row.state is not RowState.PLANNED
        and not isinstance(statuses.get(_operation(row)), OperationStatus)
    )
    sent = requests(found, deps)
    seen = evidence.gather(doubtful, sent, deps.api, deps.inbox)
    recorder = deps.journal.statuses({row.run for row in found})
    unsettled = []
    for row in found:
        operation, shown = _operation(row), seen.get(row.key)
        status = statuses.get(operation)
        has_changed = shown is not None and shown.changed
        if operation and isinstance(status, OperationStatus) and status.is_final:
            recorder.add(operation, status)
        elif has_changed and _is_gone(status):
            deps.journal.mark_over(row)
        else:
            unsettled.append(Unsettled(row, status, shown))
    recorder.close()
    return unsettled


def requests(
    rows: Iterable[ServerRow], deps: Dependencies
) -> Callable[[evidence.Key], evidence.Sent]:
    """Return a function that returns the request of a row, by its key.

    When it left, on the API's clock, is stored when that is first known.
    """
    found: dict[evidence.Key, ServerRow] = {row.key: row for row in rows}
    times: dict[int, datetime] = {}

    def sent(key: evidence.Key) -> evidence.Sent:
        row = found[key]
        wave, now = row.wave, deps.api.api_time
        at = wave and (wave.sent_at or times.get(wave.number))
        if wave is not None and at is None and now is not None:
            at = times[wave.number] = now.of(wave.at)
            deps.journal.store_sent_at(wave.number, at)
        return evidence.Sent(row.account, row.user, at)

    return sent


def _operation(row: ServerRow) -> Operation | None:
    """Return the operation that can be asked for, if the reset was queued with one."""
    can_be_asked = row.state is RowState.QUEUED and row.operation and row.operation.path
    return row.operation if can_be_asked else None


def _statuses(
    found: Sequence[ServerRow], deps: Dependencies
) -> dict[Operation | None, OperationStatus | PollFailure]:
    """Ask once for the operation of each reset. Raises AuthenticationError and Interrupted."""
    operations = list(filter(None, map(_operation, found)))
    results = deps.inbox.map(deps.api.operation_status, operations, SECONDS_FOR_POLLS)
    late = PollFailure(f"no answer within {SECONDS_FOR_POLLS:g} s")
    statuses: dict[Operation | None, OperationStatus | PollFailure] = {}
    for operation in operations:
        status = results.get(operation, late)
        if isinstance(status, Failure):
            if isinstance(status.error, AuthenticationError):
                raise status.error
            status = PollFailure(describe(status.error))
        statuses[operation] = status
    return statuses


# --- describe ---


def describe_all(unsettled: Sequence[Unsettled], now: Moment) -> list[str]:
    """Return a line for each: `WA1ALIASWB01: reset 2 min ago (run …), outcome unknown; …`."""
    lines = [_describe(item, now) for item in unsettled[:NAMED]]
    more = len(unsettled) - NAMED
    return [*lines, f"and {count(more, 'more server')}"] if more > 0 else lines


def _describe(unsettled: Unsettled, now: Moment) -> str:
    row = unsettled.earlier
    if row.wave is None:
        return f"{row.server}: planned by run {row.run}, which is still going on, or may be"
    age = show_age(now.seconds_since(row.wave.at))
    line = f"{row.server}: reset {age} ago (run {row.run}), {_state(unsettled)}"
    if unsettled.evidence is not None:
        line += f"; {evidence.describe_evidence(unsettled.evidence)}"
    return line


def _state(unsettled: Unsettled) -> str:
    row = unsettled.earlier
    if row.state is not RowState.QUEUED:
        is_answered = row.state is RowState.UNKNOWN
        return "outcome unknown" if is_answered else "no answer recorded so far"
    if row.operation is None:
        return "queued, operation unknown"
    name = f"operation {row.operation.id}"
    match unsettled.status or row.status:
        case OperationStatus() as status:
            return f"{name} {status.plain_word}"
        case PollFailure() as failure:
            return f"{name} can't be asked: {failure.reason}"
        case _:
            return name
