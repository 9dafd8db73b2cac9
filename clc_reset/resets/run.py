"""One reset: admit and record, send, record, wait, check, go on or stop. It always returns."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from math import inf

from clc_reset.errors import CHECK_THE_NETWORK, ClcError, Interrupted, UnreachableError
from clc_reset.journal.record import Record
from clc_reset.models import Operation, ResetAnswer, ServerState, usual_limit
from clc_reset.resets import events, evidence, guard, polling
from clc_reset.resets.outcome import Ending, Outcome, followable
from clc_reset.resets.polling import Wait
from clc_reset.resets.request import Checks, Dependencies, ResetRequest
from clc_reset.text import describe, sentence, shorten
from clc_reset.workers import Inbox

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
                wave = tuple(s for s in wave if s not in record.left_out)  # noqa: PLW2901 - the rest
            if not wave:
                continue
            if len(waves) > 1:
                done = len(outcome.servers(ServerState.SUCCEEDED, ServerState.FAILED))
                total = len(record.servers)
                emit(events.WaveStarted(number, len(waves), wave, done, total))
            outcome = outcome.sending(wave)  # unknown from here
            tick = partial(_tick, wave, emit)
            answer = deps.api.reset(request.where.account, wave, record.recorded, tick)
            outcome = outcome.with_answer(answer)  # kept before anything else can fail
            record.answered(answer)
            emit(events.Answered(answer.results))
            if request.waits and outcome.ending is Ending.COMPLETE:
                followed = follow(
                    outcome.of(wave), _wait(request, answer, record, deps), deps, emit
                )
                outcome = followed._replace(results=outcome.replacing(followed.results).results)
            if deps.checks is not None and outcome.ending is Ending.COMPLETE:
                outcome = checked(outcome, wave, request, deps.checks, deps.inbox, emit)
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


def _tick(servers: Sequence[str], emit: events.Emit, seconds: float) -> None:
    emit(events.Sending(servers, seconds))


def _begun(outcome: Outcome, record: Record, request: ResetRequest) -> Outcome:
    """Return the outcome of a run that is recorded; a claim may have found other servers."""
    outcome = outcome._replace(run=record.run)
    if request.rest is not None:
        servers = dict.fromkeys((*request.servers, *record.servers))
        gone = dict.fromkeys(servers.keys() - record.places.keys(), request.rest.run.id)
        new = Outcome.not_sent(request.where.account, servers, waited=request.waits)
        outcome = outcome._replace(results=new.results).leaving_out(gone | {**record.left_out})
    return outcome


def _ended(outcome: Outcome, record: Record) -> Outcome:
    """Return the outcome after its end was recorded, which never raises and loses no result."""
    outcome = outcome.leaving_out(record.left_out)
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

    def sent(_key: evidence.Key) -> evidence.Sent:
        if not at and left is not None and deps.api.api_time is not None:
            at.append(deps.api.api_time.of(left))
            record.keep_sent_at(at[0])
        return evidence.Sent(request.where.account, request.user, at[0] if at else None)

    limit = request.options.limit
    if limit is None:
        limit = usual_limit(result.server for result in answer.results if result.server)
    shares = Counter(result.operation for result in answer.results)
    turns: dict[evidence.Key, int] = {(None, s): turn for turn, s in enumerate(answer.turns)}
    return Wait(limit, record.statuses, sent, shares, turns, looks=request.looks)


def follow(outcome: Outcome, wait: Wait, deps: Dependencies, emit: events.Emit) -> Outcome:
    """Poll the operations of an outcome to their end, and look where that leaves a doubt.

    Returns the outcome with what was learned, whatever happens.
    """
    results = tuple(map(followable, outcome.results))
    outcome = outcome._replace(results=results, limit=wait.limit)
    keys: dict[Operation, list[evidence.Key]] = {operation: [] for operation in outcome.pending}
    for result in results:
        if result.operation in keys and result.server:
            keys[result.operation].append((result.run, result.server))
    servers = {op: [server or "" for _, server in some] for op, some in keys.items()}
    turns = {
        op: sorted(some, key=lambda key: wait.turns.get(key, inf)) for op, some in keys.items()
    }
    watch = evidence.Watch(turns if wait.looks else {}, wait.sent)
    polls = polling.Polling(servers, wait, watch, deps, emit)
    try:
        if servers:
            emit(events.Following(servers))
        polls.run()
        outcome = _waited(outcome, polls, once=wait.once)
    except (Exception, Interrupted) as error:
        outcome = outcome.ended_by(error)
    outcome = outcome.with_statuses(polls.statuses, polls.failures, polls.given_up, wait.shares)
    if outcome.error is not None or deps.inbox.signum is not None:
        return outcome
    try:
        doubtful = [(result.run, result.server) for result in outcome.doubtful(wait.shares)]
        return outcome.with_evidence(evidence.gather(doubtful, wait.sent, deps.api, deps.inbox))
    except (Exception, Interrupted) as error:
        return outcome.ended_by(error)


def _waited(outcome: Outcome, polls: polling.Polling, *, once: bool) -> Outcome:
    """Return the outcome as a wait that no signal cut short ended it."""
    error: ClcError | None = polls.error
    failures = list(polls.failures.values())
    if once and failures and not polls.statuses and all(f.unreachable for f in failures):
        message = f"The API can't be reached: {failures[0].reason}."
        error = UnreachableError(message, hint=CHECK_THE_NETWORK)
    if error is not None:
        return outcome._replace(ending=Ending.ERROR, error=error)
    return outcome._replace(ending=Ending.TIME_LIMIT) if polls.timed_out else outcome


# --- check ---


def checked(
    outcome: Outcome,
    wave: Sequence[str],
    request: ResetRequest,
    checks: Checks,
    inbox: Inbox,
    emit: events.Emit,
) -> Outcome:
    """Run the operator's check for each server of a wave whose operation succeeded."""
    succeeded = set(outcome.servers(ServerState.SUCCEEDED))
    servers = [server for server in wave if server in succeeded]
    if not servers:
        return outcome

    def attempt(server: str, number: int) -> None:
        emit(events.Checking(server, number))

    # a check without any time would fail every server
    problems = checks(servers, max(request.options.check_seconds, 1.0), attempt)
    failed = inbox.signum is None
    after = "the check failed" if failed else "the check was cut short"
    outcome = outcome.replacing(
        result._replace(
            state=ServerState.FAILED if failed else ServerState.SUCCEEDED,
            message=shorten(
                sentence(f"The operation succeeded; {after}: {problems[result.server or '']}")
            ),
            has_failed_check=failed,
        )
        for result in outcome.of(problems).results
    )
    return outcome if inbox.signum is None else outcome.ended_by(Interrupted(inbox.signum))
