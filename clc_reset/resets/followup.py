"""Follow up on earlier resets, for `clc status`: what the journal knows and the API answers.

It says nothing about what was sent: only a reset does.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from clc_reset.errors import ClcError, Interrupted, JournalError
from clc_reset.identifiers import looks_like_operation_id, looks_like_run
from clc_reset.journal.rows import RowState, Run, ServerRow
from clc_reset.journal.runs import Journal
from clc_reset.models import (
    PENDING,
    Evidence,
    Operation,
    ServerResult,
    ServerState,
    usual_limit,
)
from clc_reset.resets import events, evidence, guard
from clc_reset.resets.outcome import NOT_REACHED, Ending, Outcome, with_status
from clc_reset.resets.request import Dependencies
from clc_reset.resets.run import Following, cautious, follow
from clc_reset.text import continued, count, quote, sentence, show_time

ONE_ROUND_SECONDS = 90.0
"""The limit where each operation is asked once: an answer may take a minute (reported)."""

_LIST = "To list runs: clc history"


class Shown(NamedTuple):
    """A row to show: the run that it is in, and the one whose server it stands for."""

    run: Run
    row: ServerRow
    asked: str


class Selection(NamedTuple):
    """The rows to show, in the order named; and the operations that the journal doesn't know.

    `runs` are those that are shown whole. `missing` are messages about names that nobody knows,
    each with the next step.
    """

    rows: tuple[Shown, ...] = ()
    operations: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()


# --- select ---


def select(
    journal: Journal,
    origin: str,
    names: Sequence[str],
    account: str | None,
    *,
    is_run: bool = False,
) -> Selection:
    """Find what the journal knows of servers, operations and runs, by their names.

    With `is_run` each name is the beginning of a run's id. Without a name, the latest run. Raises
    JournalError if the journal can't be read.
    """
    if not names:
        latest = journal.latest(origin, account)
        return Selection() if latest is None else _whole(journal, latest)
    selection = Selection()
    for name in names:
        if is_run or looks_like_run(name):
            found = _named_run(journal, origin, name)
        elif looks_like_operation_id(name):
            run = journal.with_operation(origin, name, account)
            found = Selection(operations=(name,)) if run is None else _of_operation(run, name)
        else:
            found = _of_server(journal, origin, account, name.upper())
        selection = Selection(
            selection.rows + found.rows,
            selection.operations + found.operations,
            selection.runs + found.runs,
            selection.missing + found.missing,
        )
    rows: dict[tuple[str, str], Shown] = {}
    for shown in selection.rows:
        rows.setdefault((shown.run.id, shown.row.server), shown)
    operations = tuple(dict.fromkeys(selection.operations))
    return selection._replace(rows=tuple(rows.values()), operations=operations)


def _whole(journal: Journal, run: Run) -> Selection:
    rows = tuple(Shown(holder, row, run.id) for holder, row in journal.resolve(run))
    return Selection(rows, runs=(run,))


def _named_run(journal: Journal, origin: str, name: str) -> Selection:
    run = journal.run(name)
    if run is None:
        return Selection(missing=((f"The journal has no run {quote(name)}.", _LIST),))
    if run.base_url != origin:
        message = f"Run {run.id} was at {run.base_url}, but CLC_BASE_URL is {origin}."
        return Selection(missing=((message, _LIST),))
    return _whole(journal, run)


def _of_operation(run: Run, name: str) -> Selection:
    return Selection(
        tuple(
            Shown(run, row, run.id)
            for row in run.rows
            if row.operation is not None and row.operation.id.lower() == name.lower()
        )
    )


def _of_server(journal: Journal, origin: str, account: str | None, server: str) -> Selection:
    run = journal.latest_of(origin, account, server)
    if run is None:
        where = f" in account {account}" if account else ""
        message = f"The journal has no reset of {quote(server)}{where} at {origin}."
        hint = f"To look at the server itself: clc servers {server}\n{_LIST}"
        return Selection(missing=((message, hint),))
    return Selection(
        tuple(
            Shown(holder, row, run.id)
            for holder, row in journal.resolve(run)
            if row.server == server
        )
    )


# --- what the journal knows ---


def known(rows: Iterable[Shown]) -> tuple[ServerResult, ...]:
    """Return the results as the journal has them, with the latest known statuses."""
    shares: dict[str, Counter[Operation | None]] = {}
    return tuple(_result(shown, shares) for shown in rows)


def _result(shown: Shown, shares: dict[str, Counter[Operation | None]]) -> ServerResult:
    run, row = shown.run, shown.row
    result = _of_row(run, row)
    if result.state is ServerState.QUEUED and row.status is not None:
        if run.id not in shares:
            shares[run.id] = Counter(other.operation for other in run.rows)
        result = with_status(result, row.status, shares[run.id][row.operation])
    if row.failed_check is not None and result.state is ServerState.SUCCEEDED:
        result = result._replace(
            state=ServerState.FAILED, message=row.failed_check, has_failed_check=True
        )
    if run.id != shown.asked:
        note = f"in run {run.id}"
        result = result._replace(message=f"{result.message} ({note})" if result.message else note)
    return result


def _of_row(run: Run, row: ServerRow) -> ServerResult:
    """Return the result of a row as it was answered."""
    state, message = ServerState.UNKNOWN, row.message
    match row.state:
        case RowState.PLANNED if run.may_go_on:
            state, message = ServerState.PLANNED, "The run has still to send it."
        case RowState.PLANNED:
            state = ServerState.NOT_SENT
            message = NOT_REACHED
            if row.message:
                message = sentence(f"Not sent: {continued(row.message)}")
        case RowState.TAKEN:
            state = ServerState.NOT_SENT
            message = "Left to another run, which the journal has no longer."
        case RowState.REFUSED:
            state = ServerState.FAILED
        case RowState.INTENDED if row.wave is not None:
            message = f"Sent at {show_time(row.wave.at.utc)}, maybe: no answer is recorded."
        case RowState.QUEUED:
            state = ServerState.QUEUED
    return ServerResult(row.server, state, row.operation, message, run=run.id)


def unasked(selection: Selection, error: ClcError | None) -> Outcome:
    """Return what the journal knows where the API can't be asked, and why it can't."""
    results = (
        *(_as_last_known(result) for result in known(selection.rows)),
        *(
            ServerResult(None, ServerState.QUEUED, Operation(name, None), "Not asked.")
            for name in selection.operations
        ),
    )
    outcome = _outcome(selection, results)
    open_states = PENDING | {ServerState.UNKNOWN, ServerState.PLANNED}
    if error is not None and any(result.state in open_states for result in results):
        return outcome._replace(ending=Ending.ERROR, error=error)
    return outcome


def _as_last_known(result: ServerResult) -> ServerResult:
    if result.state is ServerState.RUNNING and result.message is None:
        return result._replace(message="as last known")
    return result


def _outcome(selection: Selection, results: tuple[ServerResult, ...]) -> Outcome:
    runs = {shown.asked for shown in selection.rows}
    accounts = {shown.run.account for shown in selection.rows}
    return Outcome(
        min(accounts) if len(accounts) == 1 else None,
        results,
        resets=False,
        waited=True,
        run=min(runs) if len(runs) == 1 and not selection.operations else None,
    )


# --- ask ---


class Question(NamedTuple):
    """A question about earlier resets: asked once, or until all is over.

    `limit` is in seconds, None for the usual limit.

    `operations` are those that the journal doesn't know, and `account` the one that they are in.
    """

    selection: Selection
    operations: tuple[Operation, ...] = ()
    account: str | None = None
    waits: bool = False
    limit: float | None = None
    looks: bool = True


def ask(question: Question, deps: Dependencies, emit: events.Emit) -> tuple[Outcome, list[str]]:
    """Return what became of earlier resets, and the operations that nobody knows."""
    emit = cautious(emit)
    began = deps.clocks.monotonic()
    selection = question.selection
    servers = [shown.row.server for shown in selection.rows]
    limit = usual_limit(servers) if question.limit is None else question.limit
    sent_at = guard.SentTimes(deps)
    while True:
        passed = deps.clocks.monotonic() - began
        outcome = _ask(selection, question, deps, emit, sent_at, max(0.0, limit - passed))
        if not (question.waits and outcome.ending is Ending.COMPLETE and _is_live(selection)):
            break
        try:
            selection = _reload(selection, deps.journal)
        except JournalError as error:
            outcome = outcome.ended_by(error)._replace(ending=Ending.ERROR)
            break
    if question.waits and outcome.ending is Ending.COMPLETE:
        outcome = _watch_lost(outcome, selection, deps, emit, sent_at, began + limit)
    gone = [
        result
        for result in outcome.results
        if result.server is None and result.state is ServerState.UNKNOWN
    ]
    results = tuple(result for result in outcome.results if result not in gone)
    lost = [result.operation.id for result in gone if result.operation is not None]
    undecided = _undecided(outcome, selection, deps)
    outcome = outcome._replace(
        results=results,
        limit=limit,
        can_change=bool(undecided),
        can_be_awaited=any(shown.row.is_in_doubt for shown in undecided),
    )
    return outcome, lost


def _is_live(selection: Selection) -> bool:
    return any(shown.run.may_go_on for shown in selection.rows)


def _reload(selection: Selection, journal: Journal) -> Selection:
    """Return the selection as the journal has it now."""
    fresh: dict[str, dict[str, tuple[Run, ServerRow]]] = {}
    for asked in {shown.asked for shown in selection.rows}:
        run = journal.run(asked)
        if run is not None:
            fresh[asked] = {row.server: (holder, row) for holder, row in journal.resolve(run)}
    rows = tuple(
        Shown(*fresh[shown.asked][shown.row.server], shown.asked)
        if shown.row.server in fresh.get(shown.asked, {})
        else shown
        for shown in selection.rows
    )
    return selection._replace(rows=rows)


def _ask(
    selection: Selection,
    question: Question,
    deps: Dependencies,
    emit: events.Emit,
    sent_at: guard.SentTimes,
    limit: float,
) -> Outcome:
    """Ask once, or wait until something of a live run has changed."""
    shown_of = {(shown.run.id, shown.row.server): shown for shown in selection.rows}
    runs = {shown.run.id: shown.run for shown in selection.rows}
    named = tuple(ServerResult(None, ServerState.QUEUED, op) for op in question.operations)
    outcome = _outcome(selection, (*known(selection.rows), *named))

    def sent(result: ServerResult) -> evidence.Sent:
        return _request_of(shown_of[result.run or "", result.server or ""], sent_at)

    statuses = deps.journal.statuses(
        lambda operation: {s.row.run for s in selection.rows if s.row.operation == operation}
    )
    watched = [*runs, *{shown.asked for shown in selection.rows}]
    has_changed = None
    if question.waits and _is_live(selection):
        before = _progress(deps.journal, watched)

        def has_changed() -> bool:
            return _progress(deps.journal, watched) not in {None, before}

    turns = sorted(selection.rows, key=lambda s: -1 if s.row.turn is None else s.row.turn)
    how = Following(
        sent,
        limit if question.waits else ONE_ROUND_SECONDS,
        statuses,
        [shown.row.server for shown in turns],
        _shares(runs.values(), question.operations),
        once=not question.waits,
        looks=question.looks,
        has_changed=has_changed,
    )
    try:
        return follow(outcome, deps, emit, how)
    finally:
        statuses.close()


def _progress(journal: Journal, runs: Sequence[str]) -> tuple[object, ...] | None:
    """Return a value that changes when a run gets on, None while the journal can't be read."""
    with suppress(JournalError):
        return journal.progress(runs)
    return None


def _request_of(shown: Shown, sent_at: guard.SentTimes) -> evidence.Sent:
    at = sent_at.of(shown.row.wave)
    return evidence.Sent(shown.run.account, shown.run.user, at)


def _shares(runs: Iterable[Run], operations: Iterable[Operation]) -> Counter[Operation]:
    shares = Counter(row.operation for run in runs for row in run.rows if row.operation)
    shares.update(operations)
    return shares


def _undecided(outcome: Outcome, selection: Selection, deps: Dependencies) -> list[Shown]:
    """Return the servers with an unknown outcome that may still show a change.

    One that changed within 2 s of the request never counts as changed, however long it is awaited.
    """
    result_of = {(result.run, result.server): result for result in outcome.results}
    undecided = []
    for shown in selection.rows:
        result = result_of[shown.run.id, shown.row.server]
        is_open = result.evidence is None or not _is_decided(result.evidence)
        if result.state is ServerState.UNKNOWN and is_open and _may_change(shown, deps):
            undecided.append(shown)
    return undecided


def _is_decided(found: Evidence) -> bool:
    is_too_close = found.changed is None and found.after is not None and found.by_another is None
    return bool(found.changed) or is_too_close


def _watch_lost(
    outcome: Outcome,
    selection: Selection,
    deps: Dependencies,
    emit: events.Emit,
    sent_at: guard.SentTimes,
    deadline: float,
) -> Outcome:
    """Look at servers whose answer was lost until each has changed, or its limit has passed.

    The next sixteen every five seconds, in the order asked; the usual limit counts from the
    request. `deadline` is on the monotonic clock.
    """
    left = deque(s for s in _undecided(outcome, selection, deps) if s.row.is_in_doubt)
    lost = {(s.run.id, s.row.server) for s in selection.rows if s.row.is_in_doubt}
    number = sum(
        result.evidence is not None and result.evidence.changed is True
        for result in outcome.results
        if (result.run, result.server) in lost
    )
    total = number + len(left)
    judged: dict[tuple[str | None, str | None], Evidence] = {}
    began = deps.clocks.monotonic()
    try:
        while True:
            left = deque(shown for shown in left if _may_change(shown, deps))
            remaining = deadline - deps.clocks.monotonic()
            if not left or remaining <= 0:
                return outcome
            deps.inbox.sleep(min(evidence.LOOK_EVERY, remaining))
            looks = min(evidence.LOOKS_IN_ALL, len(left))
            upcoming = [left.popleft() for _ in range(looks)]
            places = [(shown.run.account, shown.row.server) for shown in upcoming]
            seen = evidence.look(places, deps.api, deps.inbox)
            for place, shown in zip(places, upcoming, strict=True):
                found = evidence.judge(seen[place], _request_of(shown, sent_at))
                if found.observation.problem is None:  # else the look before it stands
                    judged[shown.run.id, shown.row.server] = found
                if found.changed:
                    number += 1
                    seconds = deps.clocks.monotonic() - began
                    emit(events.ServerChanged(None, place[1], number, total, seconds))
                elif not _is_decided(found):
                    left.append(shown)
            outcome = outcome.with_evidence(lambda r: judged.get((r.run, r.server)))
    except Interrupted as interrupt:
        return outcome.ended_by(interrupt)


def _may_change(shown: Shown, deps: Dependencies) -> bool:
    """Return whether the usual limit of a reset, counted from the request, has not passed."""
    wave = shown.row.wave
    return wave is not None and deps.clocks.now().seconds_since(wave.at) < wave.usual


def requested(run: Run) -> str:
    """Return what a run asked for, where and when."""
    servers = count(len(run.rows), "server")
    when = show_time(run.at.utc)
    return f"Reset of {servers} in account {run.account}, requested at {when} (run {run.id})."
