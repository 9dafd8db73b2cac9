"""What has become of an earlier reset: what the journal knows, and what its operations say now."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, cast

from clc_reset.errors import ClcError, UnreachableError
from clc_reset.journal import Entry, Run, Wave
from clc_reset.models import (
    PENDING,
    Operation,
    OperationStatus,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets import evidence, guard
from clc_reset.resets.batch import Following, follow, usual_limit
from clc_reset.resets.outcome import UNREACHED, Ending, Outcome, followable, settled
from clc_reset.resets.tools import JOURNAL, Tools, fenced
from clc_reset.text import sentence, show_time

ONE_ROUND_SECONDS = 90.0
"""The limit where each operation is asked once: an answer may take a minute (reported)."""


class Part(NamedTuple):
    """The servers of a run that are asked about."""

    run: Run
    servers: tuple[str, ...]

    @classmethod
    def whole(cls, run: Run) -> Self:
        """All of a run."""
        return cls(run, run.servers)

    @classmethod
    def of_operation(cls, run: Run, operation_id: str) -> Self:
        """Those whose reset is a part of an operation."""
        return cls(
            run,
            tuple(
                each
                for each in run.servers
                if each in run.results
                and (operation := run.results[each].operation) is not None
                and operation.id.lower() == operation_id
            ),
        )

    @property
    def is_whole(self) -> bool:
        """Whether no server of the run is left out."""
        return self.servers == self.run.servers

    @property
    def waves(self) -> Mapping[str, Wave]:
        """The wave of each of the servers; those that were never about to be sent have none."""
        mine = set(self.servers)
        return {name: wave for wave in self.run.waves for name in wave.servers if name in mine}


def known(run: Run) -> Outcome:
    """What the journal knows of a run, with what was last heard of its operations."""
    return _known([Part.whole(run)], run.statuses)


def _known(parts: Sequence[Part], statuses: Mapping[Operation, OperationStatus]) -> Outcome:
    results: dict[str, ServerResult] = {}
    waves: list[Wave] = []
    for part in parts:
        wave_of = part.waves
        waves += wave_of.values()
        for server in part.servers:
            wave = wave_of.get(server)
            results[server] = _answered(part.run, server, wave) or _unanswered(server, wave)
    certain = {each.sending for each in waves}
    doubts = {None, Sending.MAYBE_SENT}
    sending = Sending.SENT if Sending.SENT in certain else Sending.NOT_SENT
    problems = [each.problem for each in waves if each.sending is Sending.MAYBE_SENT]
    return Outcome(
        parts[0].run.account if parts else None,
        settled(results.values(), statuses),
        Sending.MAYBE_SENT if certain & doubts else sending,
        waited=True,
        problem=problems[0] if problems and None not in certain else None,
        run=parts[0].run.id if len(parts) == 1 else None,
    )


def _answered(run: Run, server: str, wave: Wave | None) -> ServerResult | None:
    """What came back for a server, unless nothing of it was sent."""
    if wave is None or wave.sending is Sending.NOT_SENT:
        return None
    return run.results.get(server)


def _unanswered(server: str, wave: Wave | None) -> ServerResult:
    if wave is None:
        return ServerResult(server, ServerState.NOT_SENT, None, UNREACHED)
    if wave.sending is Sending.NOT_SENT:
        why = sentence(wave.problem) if wave.problem else "Interrupted before it was sent."
        return ServerResult(server, ServerState.NOT_SENT, None, why)
    message = f"Maybe sent at {show_time(wave.at)}, no answer was ever recorded."
    return ServerResult(server, ServerState.UNKNOWN, None, message)


def ask(
    parts: Sequence[Part],
    operations: Sequence[Operation],
    account: str | None,
    tools: Tools,
    *,
    wait: bool,
    limit: float | None,
    looks: bool = True,
) -> Outcome:
    """What has become of earlier resets, and of operations whose servers nobody knows.

    What isn't known to be over is asked anew, once, or until it is over.
    """
    tools = tools.fenced()
    statuses = {op: status for part in parts for op, status in part.run.statuses.items()}
    outcome = _known(parts, {each: status for each, status in statuses.items() if status.is_final})
    if operations:
        named = tuple(ServerResult(None, ServerState.QUEUED, each) for each in operations)
        outcome = outcome._replace(
            account=account, results=(*outcome.results, *named), sending=Sending.SENT
        )
    servers = {server: part for part in parts for server in part.servers}
    wave_of = {server: wave for part in parts for server, wave in part.waves.items()}

    def sent(server: str) -> evidence.Sent:
        run, wave = servers[server].run, wave_of[server]
        at = wave.sent_at or guard.when_sent(wave.at, tools.api.offset)
        return evidence.Sent(run.account, run.user, at)

    record = fenced(_Record(parts, tools), JOURNAL, tools.note)
    usual = usual_limit(list(servers)) if limit is None else limit
    how = Following(
        turns=[each for part in parts for each in part.run.turns if each in servers],
        sent=sent,
        limit=usual if wait else ONE_ROUND_SECONDS,
        once=not wait,
        looks=looks,
        record=record,
    )
    try:
        asked = follow(outcome, tools, how)
    finally:
        tools.listener.close()
        record.close()
    if not wait and asked.ending is Ending.TIME_LIMIT:  # asked once, time can't run out
        asked = asked._replace(ending=Ending.COMPLETE)
    results = (_as_last_heard(each, statuses, asked) for each in asked.results)
    return asked._replace(results=tuple(results), is_latest=_is_latest(parts, tools))


def _is_latest(parts: Sequence[Part], tools: Tools) -> bool:
    """Whether `clc status` without a name shows the same."""
    if len(parts) != 1:
        return False
    run = parts[0].run
    latest = tools.journal.latest(run.base_url, run.account)
    return latest is not None and latest.id == run.id


def unasked(parts: Sequence[Part], operations: Sequence[str], error: ClcError | None) -> Outcome:
    """What the journal knows if the API can't be asked, and why it can't.

    `operations` are the ids of those that the journal doesn't know. Where everything is known
    there is nothing to ask, and the error says nothing.
    """
    statuses = {op: status for part in parts for op, status in part.run.statuses.items()}
    outcome = _known(parts, {each: status for each, status in statuses.items() if status.is_final})
    results = (_as_last_heard(followable(each), statuses, outcome) for each in outcome.results)
    unheard = (
        ServerResult(None, ServerState.UNKNOWN, Operation(each, None), "Not asked.")
        for each in operations
    )
    outcome = outcome._replace(
        results=(*results, *unheard), sending=Sending.SENT if operations else outcome.sending
    )
    states = {each.state for each in outcome.results}
    if error is not None and states & (PENDING | {ServerState.UNKNOWN}):
        return outcome._replace(ending=Ending.ERROR, error=error)
    return outcome


def _as_last_heard(
    result: ServerResult, statuses: Mapping[Operation, OperationStatus], asked: Outcome
) -> ServerResult:
    """Show what wasn't heard of now as it was last heard of."""
    if result.server is None:
        limited = asked.ending is Ending.TIME_LIMIT or isinstance(asked.error, UnreachableError)
        if limited and result.state is ServerState.UNKNOWN:
            return result._replace(state=ServerState.QUEUED)  # to be asked again
        return result
    status = statuses.get(result.operation) if result.operation else None
    if result.state is not ServerState.QUEUED or status is None:
        return result
    now = f" {result.message}" if result.message else ""
    heard = f"as last heard.{now}"
    return result._replace(state=ServerState.RUNNING, message=heard, status=status)


class _Record:
    """Records what is heard of operations, each in its own run."""

    def __init__(self, parts: Sequence[Part], tools: Tools) -> None:
        self._entries: dict[str, Entry] = {}
        self._entry_of: dict[Operation, Entry] = {}
        for run in {part.run.id: part.run for part in parts}.values():
            # None behind a fence, where it failed
            entry = cast("Entry | None", tools.journal.resume(run.id))
            if entry is not None:
                self._entries[run.id] = entry
                asked = (each.operation for each in run.results.values())
                self._entry_of |= {each: entry for each in asked if each is not None}

    def heard(self, operation: Operation, status: OperationStatus) -> None:
        entry = self._entry_of.get(operation)
        if entry is not None:
            entry.heard(operation, status)

    def flush(self) -> None:
        for each in self._entries.values():
            each.flush()

    def close(self) -> None:
        for each in self._entries.values():
            each.close()
