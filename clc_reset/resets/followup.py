"""Follow up on earlier resets, for `clc status`: what the journal knows and the API answers.

It says nothing about what was sent: only a reset does.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from clc_reset.errors import ClcError, Interrupted, JournalError
from clc_reset.identifiers import looks_like_operation_id, looks_like_run
from clc_reset.journal.rows import RowState, Run, ServerRow
from clc_reset.journal.runs import Journal
from clc_reset.models import PENDING, Operation, ServerResult, ServerState, usual_limit
from clc_reset.resets import events, evidence, guard
from clc_reset.resets.outcome import NOT_REACHED, Ending, Outcome, with_status
from clc_reset.resets.polling import Wait
from clc_reset.resets.request import Dependencies
from clc_reset.resets.run import cautious, follow
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

    @property
    def is_live(self) -> bool:
        """True if a run is going on, or may be."""
        return any(shown.run.may_go_on for shown in self.rows)


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
        if latest is None:
            return Selection()
        return Selection(_standing(journal, latest), runs=(latest,))
    found = [_find(journal, origin, name, account, is_run=is_run) for name in names]
    rows: dict[evidence.Key, Shown] = {}
    for selection in found:
        for shown in selection.rows:
            rows.setdefault(shown.row.key, shown)
    return Selection(
        tuple(rows.values()),
        tuple(dict.fromkeys(name for selection in found for name in selection.operations)),
        tuple(run for selection in found for run in selection.runs),
        tuple(message for selection in found for message in selection.missing),
    )


def _standing(journal: Journal, run: Run) -> tuple[Shown, ...]:
    """Return the rows that stand for the servers of a run now."""
    return tuple(Shown(holder, row, run.id) for holder, row in journal.resolve(run))


def _find(
    journal: Journal, origin: str, name: str, account: str | None, *, is_run: bool
) -> Selection:
    if is_run or looks_like_run(name):
        run = journal.run(name)
        if run is not None and run.base_url == origin:
            return Selection(_standing(journal, run), runs=(run,))
        message = f"The journal has no run {quote(name)}."
        if run is not None:
            message = f"Run {run.id} was at {run.base_url}, but CLC_BASE_URL is {origin}."
        return Selection(missing=((message, _LIST),))
    if looks_like_operation_id(name):
        run = journal.with_operation(origin, name, account)
        if run is None:
            return Selection(operations=(name,))
        rows = (r for r in run.rows if r.operation and r.operation.id.lower() == name.lower())
        return Selection(tuple(Shown(run, row, run.id) for row in rows))
    server = name.upper()
    run = journal.latest_of(origin, account, server)
    if run is not None:
        return Selection(tuple(s for s in _standing(journal, run) if s.row.server == server))
    where = f" in account {account}" if account else ""
    message = f"The journal has no reset of {quote(server)}{where} at {origin}."
    hint = f"To look at the server itself: clc servers {server}\n{_LIST}"
    return Selection(missing=((message, hint),))


# --- what the journal knows ---


def requested(run: Run) -> str:
    """Return what a run asked for, where and when."""
    servers = count(len(run.rows), "server")
    when = show_time(run.at.utc)
    return f"Reset of {servers} in account {run.account}, requested at {when} (run {run.id})."


def known_results(rows: Iterable[Shown]) -> tuple[ServerResult, ...]:
    """Return the results as the journal has them, with the latest known statuses."""
    rows = tuple(rows)
    shares = _shares(rows)
    results = []
    for run, row, _asked in rows:
        result = _as_answered(run, row)
        if result.state is ServerState.QUEUED and row.status is not None:
            result = with_status(result, row.status, shares[row.operation])
        if row.failed_check is not None and result.state is ServerState.SUCCEEDED:
            result = result._replace(
                state=ServerState.FAILED, message=row.failed_check, has_failed_check=True
            )
        results.append(result)
    return tuple(results)


def _with_runs(outcome: Outcome, rows: Iterable[Shown]) -> Outcome:
    """Return the outcome with the run of each server that another run took in its message."""
    taken = {shown.row.key for shown in rows if shown.run.id != shown.asked}

    def after(result: ServerResult) -> ServerResult:
        if (result.run, result.server) not in taken:
            return result
        note = f"in run {result.run}"
        message = f"{result.message} ({note})" if result.message else note
        return result._replace(message=message)

    return outcome._replace(results=tuple(map(after, outcome.results)))


def _shares(rows: Iterable[Shown]) -> Counter[Operation | None]:
    """Return how many servers share each operation, those that aren't shown included."""
    runs = {shown.run.id: shown.run for shown in rows}
    return Counter(row.operation for run in runs.values() for row in run.rows)


def _as_answered(run: Run, row: ServerRow) -> ServerResult:
    """Return the result of a row as it was answered."""
    state, message = ServerState.UNKNOWN, row.message
    match row.state:
        case RowState.PLANNED if run.may_go_on:
            state, message = ServerState.PLANNED, "The run has still to send it."
        case RowState.PLANNED:
            state, message = ServerState.NOT_SENT, NOT_REACHED
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
        result._replace(message="as last known")
        if result.state is ServerState.RUNNING and result.message is None
        else result
        for result in known_results(selection.rows)
    )
    named = (
        ServerResult(None, ServerState.QUEUED, Operation(name, None), "Not asked.")
        for name in selection.operations
    )
    outcome = _with_runs(_outcome(selection, (*results, *named)), selection.rows)
    open_states = PENDING | {ServerState.UNKNOWN, ServerState.PLANNED}
    if error is not None and any(result.state in open_states for result in outcome.results):
        return outcome._replace(ending=Ending.ERROR, error=error)
    return outcome


def _outcome(selection: Selection, results: tuple[ServerResult, ...]) -> Outcome:
    runs = {shown.asked for shown in selection.rows}
    accounts = {shown.row.account for shown in selection.rows}
    return Outcome(
        min(accounts) if len(accounts) == 1 else None,
        results,
        resets=False,
        waited=True,
        run=min(runs) if len(runs) == 1 and not selection.operations else None,
    )


# --- ask ---


class FollowUp:
    """A question about earlier resets: asked once or, with `waits`, until all is over.

    `operations` are those that the journal doesn't know. `limit` is in seconds, None for the usual
    limit. `looks` lets servers be looked at meanwhile.
    """

    def __init__(
        self,
        selection: Selection,
        operations: Sequence[Operation],
        deps: Dependencies,
        emit: events.Emit,
        *,
        waits: bool,
        limit: float | None,
        looks: bool,
    ) -> None:
        servers = [shown.row.server for shown in selection.rows]
        self._deps = deps
        self._take(selection)
        self._operations = operations
        self._emit = cautious(emit)
        self._waits = waits
        self._limit = usual_limit(servers) if limit is None else limit
        self._looks = looks
        self._deadline = deps.clocks.monotonic() + self._limit

    def _take(self, selection: Selection) -> None:
        rows = selection.rows
        self._selection = selection
        self._shown_of: dict[evidence.Key, Shown] = {shown.row.key: shown for shown in rows}
        self._sent = guard.requests((shown.row for shown in rows), self._deps)

    def ask(self) -> tuple[Outcome, list[str]]:
        """Return what became of earlier resets, whatever happens, and operations nobody knows."""
        outcome = self._ask()
        try:
            while self._waits and outcome.ending is Ending.COMPLETE and self._selection.is_live:
                self._reload()
                outcome = self._ask()
        except (Exception, Interrupted) as error:
            outcome = outcome.ended_by(error)
        if self._waits and outcome.ending is Ending.COMPLETE:
            outcome = self._watch_lost(outcome)
        undecided = self._undecided(outcome)
        lost = [r.operation.id for r in outcome.results if r.operation and _is_nobodys(r)]
        outcome = outcome._replace(
            results=tuple(result for result in outcome.results if not _is_nobodys(result)),
            limit=self._limit,
            can_change=bool(undecided),
            can_be_awaited=any(shown.row.is_in_doubt for shown in undecided),
        )
        return _with_runs(outcome, self._selection.rows), lost

    def _reload(self) -> None:
        """Take the rows as the journal has them now. Raises JournalError."""
        rows = self._selection.rows
        fresh: dict[tuple[str, str], Shown] = {}
        for asked in {shown.asked for shown in rows}:
            if run := self._deps.journal.run(asked):
                standing = _standing(self._deps.journal, run)
                fresh |= {(asked, shown.row.server): shown for shown in standing}
        rows = tuple(fresh.get((shown.asked, shown.row.server), shown) for shown in rows)
        self._take(self._selection._replace(rows=rows))

    def _ask(self) -> Outcome:
        """Ask once, or wait until something of a live run has changed."""
        rows, journal = self._selection.rows, self._deps.journal
        named = (ServerResult(None, ServerState.QUEUED, op) for op in self._operations)
        has_changed = None
        if self._waits and self._selection.is_live:
            watched = {shown.run.id for shown in rows} | {shown.asked for shown in rows}
            before = _progress(journal, watched)

            def has_changed() -> bool:
                return _progress(journal, watched) not in {None, before}

        left = max(0.0, self._deadline - self._deps.clocks.monotonic())
        wait = Wait(
            left if self._waits else ONE_ROUND_SECONDS,
            journal.statuses({shown.row.run for shown in rows}),
            self._sent,
            _shares(rows),
            {shown.row.key: shown.row.turn for shown in rows if shown.row.turn is not None},
            once=not self._waits,
            looks=self._looks and self._waits,
            has_changed=has_changed,
        )
        try:
            outcome = _outcome(self._selection, (*known_results(rows), *named))
            return follow(outcome, wait, self._deps, self._emit)
        finally:
            wait.statuses.close()

    def _may_change(self, shown: Shown) -> bool:
        """Return whether the usual limit of a reset, counted from the request, has not passed."""
        wave, now = shown.row.wave, self._deps.clocks.now()
        return wave is not None and now.seconds_since(wave.at) < wave.usual

    def _undecided(self, outcome: Outcome) -> list[Shown]:
        """Return the servers with an unknown outcome that may still show a change.

        One that changed within 2 s of the request never counts as changed, however long it is
        awaited.
        """
        return [
            shown
            for result in outcome.results
            if result.state is ServerState.UNKNOWN
            and not (result.evidence and (result.evidence.changed or result.evidence.is_too_close))
            and (shown := self._shown_of.get((result.run, result.server)))
            and self._may_change(shown)
        ]

    def _watch_lost(self, outcome: Outcome) -> Outcome:
        """Look at servers whose answer was lost until each has changed, or its limit has passed.

        The next sixteen every five seconds, in the order asked; the usual limit counts from the
        request.
        """
        monotonic, inbox = self._deps.clocks.monotonic, self._deps.inbox
        left = [shown for shown in self._undecided(outcome) if shown.row.is_in_doubt]
        number = sum(
            result.evidence is not None and result.evidence.changed is True
            for result in outcome.results
            if result.state is ServerState.UNKNOWN
        )
        total = number + len(left)
        began = monotonic()
        try:
            while (left := list(filter(self._may_change, left))) and monotonic() < self._deadline:
                inbox.sleep(min(evidence.LOOK_EVERY, self._deadline - monotonic()))
                upcoming, left = left[: evidence.LOOKS_IN_ALL], left[evidence.LOOKS_IN_ALL :]
                keys = [shown.row.key for shown in upcoming]
                seen = evidence.gather(keys, self._sent, self._deps.api, inbox)
                for shown in upcoming:
                    found = seen[shown.row.key]
                    if found.changed:
                        number += 1
                        server, seconds = shown.row.server, monotonic() - began
                        self._emit(events.ServerChanged(None, server, number, total, seconds))
                    elif not found.is_too_close:
                        left.append(shown)
                # of one that can't be looked at now, the look before stands
                seen = {key: e for key, e in seen.items() if e.observation.problem is None}
                outcome = outcome.with_evidence(seen)
        except (Exception, Interrupted) as error:
            return outcome.ended_by(error)
        return outcome


def _progress(journal: Journal, runs: Iterable[str]) -> tuple[object, ...] | None:
    """Return a value that changes when a run gets on, None while the journal can't be read."""
    with suppress(JournalError):
        return journal.progress(runs)
    return None


def _is_nobodys(result: ServerResult) -> bool:
    """Return whether neither the journal nor the API knows the operation."""
    return result.server is None and result.state is ServerState.UNKNOWN
