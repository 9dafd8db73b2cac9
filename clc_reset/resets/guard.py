"""The guard: checks for earlier resets that aren't settled, and records each intent.

It knows this user's resets from this machine, no others, and says no more than that.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from clc_reset.clocks import Moment
from clc_reset.errors import AuthenticationError, DeclinedError, JournalError, UnsettledError
from clc_reset.journal.database import DoubtError
from clc_reset.journal.record import NewRun, Record
from clc_reset.journal.rows import RowState, ServerRow, Wave
from clc_reset.journal.runs import Rest
from clc_reset.models import Evidence, Operation, OperationStatus, PollFailure
from clc_reset.resets import evidence
from clc_reset.resets.request import Dependencies, Question, ResetRequest
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
    if not deps.journal.is_on:
        if not request.again:
            _log.warning("Without a journal, clc can't check for earlier resets.")
        if request.asks:
            _confirm(request, [], deps)
        return Record(None, deps.clocks, request.servers)
    confirmed: set[tuple[str, str]] = set()
    is_confirmed = not request.asks
    for _ in range(MOST_TRIES):
        found: Record | tuple[ServerRow, ...]
        now = deps.clocks.now()
        try:
            if is_confirmed:
                found = _record(request, deps, confirmed)
            else:  # only look, before the question
                where, servers = request.where, request.servers
                found = () if request.again else deps.journal.unsettled(where, servers)
        except JournalError as error:
            return _without_record(request, deps, error, now, asks=not is_confirmed)
        if isinstance(found, Record):
            return found
        unsettled = settle(found, request.where.account, deps)
        if unsettled and deps.confirm is None:
            raise _refusal(unsettled, deps.clocks.now(), may_add_again=request.rest is None)
        if unsettled or not is_confirmed:
            _confirm(request, unsettled, deps)
            is_confirmed = True
        confirmed.update(earlier.key for earlier in found)  # or settled, recorded or not
    raise UnsettledError(
        "Other processes are resetting the same servers at this moment.", hint="See: clc history"
    )


def _record(
    request: ResetRequest, deps: Dependencies, confirmed: set[tuple[str, str]]
) -> Record | tuple[ServerRow, ...]:
    """Record the run, or return what is unsettled. Raises JournalError."""
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
    if settle(rest.running, request.where.account, deps):
        raise UnsettledError(
            f"Operations of run {rest.run.id} are still running.",
            hint=f"To follow them first: clc status --wait --run {rest.run.id}",
        )
    return ()  # they are over by now


def _without_record(
    request: ResetRequest, deps: Dependencies, error: JournalError, tried_at: Moment, *, asks: bool
) -> Record:
    """Return an empty record with a warning, where a reset may go on without one."""
    if asks:
        _confirm(request, [], deps)
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
    """Ask one question about all servers. Raises DeclinedError and Interrupted."""
    deps.inbox.check()
    lines = tuple(describe_all(unsettled, deps.clocks.now()))
    question = Question(request.servers, len(_servers(unsettled)), lines)
    if deps.confirm is None or not deps.confirm(question):
        raise DeclinedError("Declined.")


def _refusal(unsettled: Sequence[Unsettled], now: Moment, *, may_add_again: bool) -> UnsettledError:
    """Return the error; where the command can't be typed again with --again, it names one."""
    servers = _servers(unsettled)
    runs = list(dict.fromkeys(item.earlier.run for item in unsettled))[:RUNS_NAMED]
    hints = [f"To follow it: clc status --wait --run {run}" for run in runs]
    if may_add_again:
        hints.append("To reset anyway, add --again.")
    elif len(servers) <= NAMED_IN_COMMANDS:
        hints.append(f"To reset it anyway: clc reset {' '.join(servers)} --again")
    title = f"An earlier reset of {count(len(servers), 'server')} is unsettled:"
    return UnsettledError("\n".join([title, *describe_all(unsettled, now)]), hint="\n".join(hints))


def _servers(unsettled: Sequence[Unsettled]) -> list[str]:
    return list(dict.fromkeys(item.earlier.server for item in unsettled))


# --- settle ---


def settle(found: Sequence[ServerRow], account: str, deps: Dependencies) -> list[Unsettled]:
    """Ask once what became of earlier resets; return those that aren't settled even so.

    One is settled when its operation is over, or can't be asked any more while the server shows a
    change by the same user after the request. Raises AuthenticationError if the token is refused,
    and Interrupted.
    """
    planned = [earlier for earlier in found if earlier.state is RowState.PLANNED]
    sent = [earlier for earlier in found if earlier.state is not RowState.PLANNED]
    statuses = _statuses(sent, deps)
    looked = [
        (account, earlier.server)
        for earlier in sent
        if not isinstance(statuses.get(_operation(earlier)), OperationStatus)
    ]
    seen = evidence.look(looked, deps.api, deps.inbox)
    sent_at = SentTimes(deps)
    recorder = deps.journal.statuses({earlier.run for earlier in sent})
    unsettled = []
    for earlier in sent:
        operation = _operation(earlier)
        status = statuses.get(operation)
        judged = None
        if shown := seen.get((account, earlier.server)):
            at = sent_at.of(earlier.wave)
            judged = evidence.judge(shown, evidence.Sent(account, earlier.user, at))
        has_changed = judged is not None and judged.changed
        if operation and isinstance(status, OperationStatus) and status.is_final:
            recorder.add(operation, status)
        elif has_changed and isinstance(status, PollFailure) and status.not_found:
            deps.journal.settle(earlier)
        else:
            unsettled.append(Unsettled(earlier, status, judged))
    recorder.close()
    return [*unsettled, *map(Unsettled, planned)]


class SentTimes:
    """When requests left on the API's clock; stored when that is first known."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._known: dict[int, datetime] = {}

    def of(self, wave: Wave | None) -> datetime | None:
        """Return the time of a wave's request, None while nothing tells it."""
        if wave is None or wave.sent_at is not None:
            return wave and wave.sent_at
        now = self._deps.api.api_time
        if wave.number not in self._known and now is not None:
            self._known[wave.number] = now.of(wave.at)
            self._deps.journal.store_sent_at(wave.number, self._known[wave.number])
        return self._known.get(wave.number)


def _operation(earlier: ServerRow) -> Operation | None:
    """Return the operation that can be asked for, if the reset was queued with one."""
    operation = earlier.operation
    if earlier.state is not RowState.QUEUED or operation is None or operation.path is None:
        return None
    return operation


def _statuses(
    found: Sequence[ServerRow], deps: Dependencies
) -> dict[Operation | None, OperationStatus | PollFailure]:
    operations = [op for op in map(_operation, found) if op is not None]
    results = deps.inbox.map(deps.api.operation_status, operations, SECONDS_FOR_POLLS)
    statuses: dict[Operation | None, OperationStatus | PollFailure] = {}
    for operation in operations:
        match results.get(operation):
            case None:
                statuses[operation] = PollFailure(f"no answer within {SECONDS_FOR_POLLS:g} s")
            case Failure(AuthenticationError() as error):
                raise error
            case Failure(error):
                statuses[operation] = PollFailure(describe(error))
            case status:
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
        return f"{row.server}: planned by run {row.run}, which is still going on"
    age = show_age(timedelta(seconds=now.seconds_since(row.wave.at)))
    line = f"{row.server}: reset {age} ago (run {row.run}), {_state(unsettled)}"
    if unsettled.evidence is not None:
        line += f"; {evidence.describe_evidence(unsettled.evidence)}"
    return line


def _state(unsettled: Unsettled) -> str:
    row = unsettled.earlier
    if row.state is RowState.INTENDED:
        return "no answer recorded so far"
    if row.state is RowState.UNKNOWN:
        return "outcome unknown"
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
