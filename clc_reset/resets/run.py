"""One reset: admit and record, send, record, wait, check, go on or stop. It always returns."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from clc_reset.errors import CHECK_THE_NETWORK, Interrupted, UnreachableError
from clc_reset.journal.record import Record
from clc_reset.models import Operation, ResetAnswer, ServerResult, ServerState, usual_limit
from clc_reset.resets import events, evidence, guard, polling
from clc_reset.resets.outcome import Ending, Outcome, followable
from clc_reset.resets.polling import Wait
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
                guard.admit(request, record, wave, deps)
                left_out = record.left_out
                outcome = outcome.leaving_out(left_out)
                wave = tuple(s for s in wave if s not in left_out)  # noqa: PLW2901 - what is left
            if not wave:
                continue
            if len(waves) > 1:
                done = len(outcome.servers(ServerState.SUCCEEDED, ServerState.FAILED))
                total = len(record.servers)
                emit(events.WaveStarted(number, len(waves), wave, done, total))
            outcome = outcome.sending(wave)  # unknown from here
            answer = send(request, wave, record, deps, emit)
            outcome = outcome.with_answer(answer)  # kept before anything else can fail
            record.answered(answer)
            emit(events.Answered(answer.results))
            if request.waits and outcome.ending is Ending.COMPLETE:
                followed = follow(
                    outcome.of(wave), _wait(request, answer, record, deps), deps, emit
                )
                outcome = followed._replace(results=outcome.replacing(followed.results).results)
            if deps.checks is not None:
                outcome = checked(outcome, wave, request, deps, emit)
                failed = (r for r in outcome.of(wave).results if r.has_failed_check)
                record.checks_failed({r.server or "": r.message or "" for r in failed})
            if outcome.ends_the_run(wave, request.options.max_failures):
                break
    except guard.NothingLeft as nothing:
        outcome = outcome._replace(results=(), in_doubt=nothing.in_doubt)
    except (Exception, Interrupted) as error:
        outcome = outcome.ended_by(error)
    return _ended(outcome, record)._replace(seconds=deps.clocks.monotonic() - began)


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


def _ended(outcome: Outcome, record: Record) -> Outcome:
    """Return the outcome after its end was recorded, which never raises and loses no result."""
    if outcome.ending is Ending.COMPLETE and outcome.servers(ServerState.NOT_SENT):
        outcome = outcome._replace(ending=Ending.STOPPED)
    try:
        return outcome._replace(has_record=record.end(outcome.results))
    except (Exception, Interrupted) as error:
        return outcome.ended_by(error)._replace(has_record=False)


# --- wait ---


def _wait(request: ResetRequest, answer: ResetAnswer, record: Record, deps: Dependencies) -> Wait:
    """Return how to wait for the operations of one request."""
    at: list[datetime] = [] if answer.sent_at is None else [answer.sent_at]
    left = answer.left or record.recorded

    def sent(_result: ServerResult) -> evidence.Sent:
        if not at and left is not None and deps.api.api_time is not None:
            at.append(deps.api.api_time.of(left))
            record.sent_at(at[0])
        return evidence.Sent(request.where.account, request.user, at[0] if at else None)

    limit = request.options.limit
    if limit is None:
        limit = usual_limit(result.server for result in answer.results if result.server)
    shares = Counter(result.operation for result in answer.results if result.operation)
    return Wait(limit, sent, record.statuses, shares, answer.turns, looks=request.looks)


def follow(outcome: Outcome, wait: Wait, deps: Dependencies, emit: events.Emit) -> Outcome:
    """Poll the operations of an outcome to their end, and look where that leaves a doubt.

    Returns the outcome with what was learned, whatever happens.
    """
    results = tuple(map(followable, outcome.results))
    outcome = outcome._replace(results=results, limit=wait.limit)
    servers: dict[Operation, list[str]] = {operation: [] for operation in outcome.pending}
    result_of: dict[str, ServerResult] = {}
    for result in results:
        if result.operation in servers and result.server:
            servers[result.operation].append(result.server)
            result_of[result.server] = result
    turn = {server: number for number, server in enumerate(wait.turns)}
    turns = {op: sorted(some, key=lambda s: turn.get(s, len(turn))) for op, some in servers.items()}
    watch = evidence.Watch(turns if wait.looks else {}, lambda server: wait.sent(result_of[server]))
    if wait.once:  # there is no progress to show
        emit = _ignore
    polls = polling.Polling(servers, wait, watch, deps, emit)
    try:
        if servers:
            emit(events.Following(servers))
        polls.run()
        outcome = _waited(outcome, polls, once=wait.once)
    except (Exception, Interrupted) as error:
        outcome = outcome.ended_by(error)
    outcome = outcome.with_statuses(polls.statuses, polls.failures, polls.given_up, wait.shares)
    return _look_at_doubtful(outcome, wait, deps)


def _ignore(_event: events.Event) -> None:
    """Show nothing."""


def _waited(outcome: Outcome, polls: polling.Polling, *, once: bool) -> Outcome:
    """Return the outcome as a wait that no signal cut short ended it."""
    failures = list(polls.failures.values())
    if once and failures and not polls.statuses and all(f.unreachable for f in failures):
        error = UnreachableError(
            f"The API can't be reached: {failures[0].reason}.", hint=CHECK_THE_NETWORK
        )
        return outcome._replace(ending=Ending.ERROR, error=error)
    if polls.error is not None:
        return outcome._replace(ending=Ending.ERROR, error=polls.error)
    return outcome._replace(ending=Ending.TIME_LIMIT) if polls.timed_out else outcome


def _look_at_doubtful(outcome: Outcome, wait: Wait, deps: Dependencies) -> Outcome:
    """Return the outcome with the evidence of its doubtful servers, unless it was cut short."""
    if outcome.error is not None or deps.inbox.signum is not None:
        return outcome
    try:
        sent = [(result, wait.sent(result)) for result in outcome.doubtful(wait.shares)]
        places = {(request.account, result.server or "") for result, request in sent}
        seen = evidence.look(sorted(places), deps.api, deps.inbox)
        return outcome.with_evidence(
            {
                (result.run, result.server): evidence.judge(
                    seen[request.account, result.server or ""], request
                )
                for result, request in sent
            }
        )
    except Interrupted as interrupt:
        return outcome.ended_by(interrupt)
    except Exception as error:
        _log.warning("The servers can't be looked at: %s.", describe(error))
        return outcome


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
    problems = deps.checks(servers, seconds, attempt)
    signum = deps.inbox.signum
    after = "the check failed" if signum is None else "the check was cut short"
    state = ServerState.FAILED if signum is None else ServerState.SUCCEEDED
    messages = {
        server: sentence(f"The operation succeeded; {after}: {problem}")
        for server, problem in problems.items()
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
