"""One reset: admit and record, send, record, wait, check, go on or stop. It always returns."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from clc_reset.clocks import Moment
from clc_reset.errors import CHECK_THE_NETWORK, Interrupted, UnreachableError
from clc_reset.journal.record import Record, Statuses
from clc_reset.models import (
    Evidence,
    Operation,
    ResetAnswer,
    ServerResult,
    ServerState,
    usual_limit,
)
from clc_reset.resets import events, evidence, guard, polling
from clc_reset.resets import outcome as outcomes
from clc_reset.resets.outcome import Ending, Outcome
from clc_reset.resets.request import Dependencies, ResetRequest
from clc_reset.text import describe, sentence

SHORTEST_CHECK = 1.0
"""In seconds: a check without any time would fail every server."""

_log = logging.getLogger(__name__)


def run(request: ResetRequest, deps: Dependencies, emit: events.Emit) -> Outcome:
    """Reset servers as requested. Whatever happens is in the outcome."""
    emit = cautious(emit)
    began = deps.clocks.monotonic()
    outcome = Outcome.not_sent(request.where.account, request.servers, waited=request.waits)
    record = Record(None, deps.clocks, request.servers)
    try:
        record = guard.begin(request, deps)
        outcome = _begun(outcome, record, request)
        waves = request.waves(record.servers)
        outcome = outcome._replace(waves=len(waves))
        for number, wave in enumerate(waves, 1):
            if number > 1:
                outcome = outcome._replace(wave=number)
                pause(request.options.pause, deps, emit)
                admitted = guard.admit(request, record, wave, deps)
                outcome = outcome.leaving_out(admitted.left_out)
                wave = admitted.servers  # noqa: PLW2901 - the wave is what is left of it
            if not wave:
                continue
            if len(waves) > 1:
                emit(_wave_started(outcome, wave, len(record.servers)))
            outcome = outcome.sending(wave)  # unknown from here
            answer = send(request, wave, record, deps, emit)
            outcome = outcome.with_answer(answer)  # kept before anything else can fail
            record.answered(answer)
            emit(events.Answered(answer.results))
            if request.waits and outcome.ending is Ending.COMPLETE:
                following = _following(request, answer, record, deps)
                followed = follow(outcome.of(wave), deps, emit, following)
                outcome = followed._replace(results=outcome.replacing(followed.results).results)
            if deps.checks is not None:
                outcome = checked(outcome, wave, request, deps, emit)
                record.checks_failed(_failed_checks(outcome.of(wave)))
            if outcome.ends_the_run(wave, request.options.max_failures):
                break
        outcome = _stopped(outcome)
    except guard.NothingLeft as nothing:
        outcome = outcome._replace(results=(), in_doubt=nothing.in_doubt)
    except (Exception, Interrupted) as error:
        outcome = outcome.ended_by(error)
    return _ended_record(outcome, record)._replace(seconds=deps.clocks.monotonic() - began)


def cautious(emit: events.Emit) -> events.Emit:
    """Return a function that calls a display and logs its first failure instead of raising it."""
    failures: list[Exception] = []

    def call(event: events.Event) -> None:
        try:
            emit(event)
        except Exception as error:
            if not failures:
                _log.warning("The progress display failed (%s).", describe(error))
            failures.append(error)

    return call


def pause(seconds: float, deps: Dependencies, emit: events.Emit) -> None:
    """Wait before the next wave. Raises Interrupted, even without a pause."""
    deadline = deps.clocks.monotonic() + seconds
    while (left := deadline - deps.clocks.monotonic()) > 0:
        emit(events.Pausing(left))
        deps.inbox.sleep(min(1.0, left))
    deps.inbox.check()


def send(
    request: ResetRequest,
    servers: Sequence[str],
    record: Record,
    deps: Dependencies,
    emit: events.Emit,
) -> ResetAnswer:
    """Send one request, whose intent is recorded. Never raises."""

    def tick(seconds: float) -> None:
        emit(events.Sending(servers, seconds))

    try:
        return deps.api.reset(request.where.account, servers, record.recorded, tick)
    except Interrupted as interrupt:  # it never raises; if it does, it may have been sent
        return ResetAnswer.maybe_sent(servers, "it was interrupted", interrupt.signum)
    except Exception as error:
        return ResetAnswer.maybe_sent(servers, describe(error))


def _begun(outcome: Outcome, record: Record, request: ResetRequest) -> Outcome:
    """Return the outcome of a run that is recorded; a claim may have found other servers."""
    outcome = outcome._replace(run=record.run)
    if request.rest is not None:
        asked, found = set(request.servers), set(record.servers)
        more = [server for server in record.servers if server not in asked]
        new = Outcome.not_sent(request.where.account, more, waited=request.waits)
        gone = dict.fromkeys(asked - found, request.rest.run.id) | dict(record.left_out)
        outcome = outcome._replace(results=outcome.results + new.results).leaving_out(gone)
    return outcome


def _ended_record(outcome: Outcome, record: Record) -> Outcome:
    """Return the outcome after its end was recorded, which never raises and loses no result."""
    try:
        return outcome._replace(has_record=record.end(outcome.results))
    except (Exception, Interrupted) as error:
        return outcome.ended_by(error)._replace(has_record=False)


def _wave_started(outcome: Outcome, wave: Sequence[str], total: int) -> events.WaveStarted:
    done = len(outcome.servers(ServerState.SUCCEEDED, ServerState.FAILED))
    return events.WaveStarted(outcome.wave, outcome.waves, wave, done, total)


def _stopped(outcome: Outcome) -> Outcome:
    """Return an outcome of which servers were left as one that was stopped."""
    is_short = ServerState.NOT_SENT in {result.state for result in outcome.results}
    if outcome.ending is Ending.COMPLETE and is_short:
        return outcome._replace(ending=Ending.STOPPED)
    return outcome


# --- wait ---


class Following(NamedTuple):
    """Options for following the operations of an outcome.

    `sent` returns the request that a result comes from. `turns` are servers in the order in which
    the API works on them. With `once` each operation is asked one time only; `looks` lets servers
    be looked at meanwhile. `shares` is how many servers share an operation. `has_changed` ends the
    wait early.
    """

    sent: Callable[[ServerResult], evidence.Sent]
    limit: float
    statuses: Statuses
    turns: Sequence[str] = ()
    shares: Mapping[Operation, int] | None = None
    once: bool = False
    looks: bool = True
    has_changed: Callable[[], bool] | None = None


def follow(outcome: Outcome, deps: Dependencies, emit: events.Emit, how: Following) -> Outcome:
    """Poll the operations of an outcome to their end, and look where that leaves a doubt.

    Returns the outcome with what was learned, whatever happens.
    """
    results = tuple(map(outcomes.followable, outcome.results))
    outcome = outcome._replace(results=results, limit=how.limit)
    shares = outcomes.shares_of(results) if how.shares is None else how.shares
    waited = polling.Waited()
    try:
        wait = _wait_for(outcome, how)
        if wait.operations and not how.once:
            emit(events.Following(_servers_of(outcome)))
        loud = _quiet if how.once else emit

        def emit_and_flush(event: events.Event) -> None:
            if isinstance(event, events.Tick):
                how.statuses.flush()
            loud(event)

        polling.Polling(wait, deps, emit_and_flush, waited).run()
        outcome = _ended(outcome, waited, once=how.once)
    except Exception as error:
        outcome = outcome.ended_by(error)
    outcome = outcome.with_statuses(waited.statuses, waited.failures, waited.given_up, shares)
    return look_at_doubtful(outcome, deps, how.sent, shares)


def look_at_doubtful(
    outcome: Outcome,
    deps: Dependencies,
    sent: Callable[[ServerResult], evidence.Sent],
    shares: Mapping[Operation, int],
) -> Outcome:
    """Return the outcome with the evidence of its doubtful servers, unless it was cut short."""
    timed_out = outcome.ending is Ending.TIME_LIMIT
    doubtful = set(outcomes.doubtful(outcome.results, shares, timed_out=timed_out))
    if outcome.error is not None or deps.inbox.signum is not None or not doubtful:
        return outcome
    try:
        places = {(sent(r).account, r.server) for r in doubtful if r.server}
        seen = evidence.look(sorted(places), deps.api, deps.inbox)

        def judge(result: ServerResult) -> Evidence | None:
            if result not in doubtful or result.server is None:
                return None
            request = sent(result)
            return evidence.judge(seen[request.account, result.server], request)

        return outcome.with_evidence(judge)
    except Interrupted as interrupt:
        return outcome.ended_by(interrupt)
    except Exception as error:
        _log.warning("The servers can't be looked at: %s.", describe(error))
        return outcome


def _quiet(_event: events.Event) -> None:
    """Ignore an event."""


def _ended(outcome: Outcome, waited: polling.Waited, *, once: bool) -> Outcome:
    failures = list(waited.failures.values())
    if once and failures and not waited.statuses and all(f.unreachable for f in failures):
        error = UnreachableError(
            f"The API can't be reached: {failures[0].reason}.", hint=CHECK_THE_NETWORK
        )
        return outcome._replace(ending=Ending.ERROR, error=error)
    if waited.signum is not None:
        return outcome._replace(ending=Ending.INTERRUPTED, signum=waited.signum)
    if waited.error is not None:
        return outcome._replace(ending=Ending.ERROR, error=waited.error)
    return outcome._replace(ending=Ending.TIME_LIMIT) if waited.timed_out else outcome


def _servers_of(outcome: Outcome) -> dict[Operation, list[str]]:
    """Return the operations that aren't over, each with its servers in the order asked."""
    servers: dict[Operation, list[str]] = {op: [] for op in outcome.pending}
    for result in outcome.results:
        if result.operation in servers and result.server:
            servers[result.operation].append(result.server)
    return servers


def _wait_for(outcome: Outcome, how: Following) -> polling.Wait:
    servers_of = _servers_of(outcome)
    result_of = {r.server: r for r in outcome.results if r.server and r.operation in servers_of}
    place = {server: number for number, server in enumerate(how.turns)}
    turns = {
        operation: sorted(servers, key=lambda server: place.get(server, len(place)))
        for operation, servers in servers_of.items()
    }
    looks = how.looks and not how.once
    watch = evidence.Watch(turns if looks else {}, lambda server: how.sent(result_of[server]))
    return polling.Wait(
        outcome.pending, how.limit, watch, how.once, how.has_changed, how.statuses.add
    )


def _following(
    request: ResetRequest, answer: ResetAnswer, record: Record, deps: Dependencies
) -> Following:
    """Return how to follow the operations of one request."""
    at: list[datetime] = [] if answer.sent_at is None else [answer.sent_at]
    left: Moment | None = answer.left or record.recorded

    def sent(_result: ServerResult) -> evidence.Sent:
        if not at and left is not None and deps.api.api_time is not None:
            at.append(deps.api.api_time.of(left))
            record.sent_at(at[0])
        return evidence.Sent(request.where.account, request.user, at[0] if at else None)

    servers = [result.server for result in answer.results if result.server]
    limit = request.options.limit
    return Following(
        sent,
        usual_limit(servers) if limit is None else limit,
        record.statuses,
        answer.turns,
        looks=request.looks,
    )


# --- check ---


def checked(
    outcome: Outcome,
    wave: Sequence[str],
    request: ResetRequest,
    deps: Dependencies,
    emit: events.Emit,
) -> Outcome:
    """Run the operator's check for each server of a wave whose operation succeeded."""
    succeeded = set(outcome.servers(ServerState.SUCCEEDED))
    servers = [server for server in wave if server in succeeded]
    if deps.checks is None or not servers or outcome.ending is not Ending.COMPLETE:
        return outcome

    def attempt(server: str, number: int) -> None:
        emit(events.Checking(server, number))

    seconds = max(request.options.check_seconds, SHORTEST_CHECK)
    results = deps.checks.run(servers, seconds, attempt)
    signum = deps.inbox.signum
    after = "the check failed" if signum is None else "the check was cut short"
    state = ServerState.FAILED if signum is None else ServerState.SUCCEEDED
    messages = {
        server: sentence(f"The operation succeeded; {after}: {results[server].problem}")
        for server in servers
        if not results[server].passed
    }
    outcome = outcome.replacing(
        result._replace(
            state=state,
            message=messages[result.server or ""],
            has_failed_check=signum is None,
        )
        for result in outcome.of(messages).results
    )
    return outcome if signum is None else outcome.ended_by(Interrupted(signum))


def _failed_checks(outcome: Outcome) -> dict[str, str]:
    """Return the servers whose checks failed, with the messages."""
    return {r.server or "": r.message or "" for r in outcome.results if r.has_failed_check}
