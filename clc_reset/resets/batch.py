"""One reset: records the intent, sends once, follows, looks. Whatever happens, it returns.

What only shows (the display, the journal, a look at the servers) can't change what is told: an
error in it is one note.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple, Protocol

from clc_reset.errors import (
    CHECK_THE_NETWORK,
    AuthenticationError,
    ClcError,
    Interrupted,
    UnreachableError,
)
from clc_reset.identifiers import datacenter_of
from clc_reset.journal import Entry
from clc_reset.models import (
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
)
from clc_reset.resets import evidence, guard, polling
from clc_reset.resets.guard import Confirm
from clc_reset.resets.outcome import (
    Ending,
    Outcome,
    doubtful,
    followable,
    operations_of,
    settled,
    with_observations,
)
from clc_reset.resets.tools import JOURNAL, Listener, Tools, fenced
from clc_reset.text import describe, describe_defect
from clc_reset.threads import Failure

SHORTEST_DEFAULT_LIMIT = 1800.0
SECONDS_A_SERVER = 60.0
"""Servers of one data centre are reset one after another; 23 s each were recorded, at the most."""


class Order(NamedTuple):
    """What is asked for: servers in upper case, each once, and how far to follow them.

    `limit` is in seconds, None for what is usual; `looks` lets servers be looked at while their
    operation runs. `again` goes ahead where an earlier reset isn't settled.
    """

    base_url: str
    account: str
    user: str | None
    servers: tuple[str, ...]
    wait: bool = False
    limit: float | None = None
    looks: bool = True
    again: bool = False


def usual_limit(servers: Sequence[str]) -> float:
    """30 minutes, or a minute for each server of the largest data centre; in seconds."""
    largest = max(Counter(map(datacenter_of, servers)).values(), default=0)
    return max(SHORTEST_DEFAULT_LIMIT, SECONDS_A_SERVER * largest)


def reset(order: Order, tools: Tools, confirm: Confirm | None = None) -> Outcome:
    """Reset servers in one batch. `confirm` asks about unsettled ones; None: nobody can be asked.

    Whatever happens is in the outcome.
    """
    tools = tools.fenced()

    def record(within: float | None) -> guard.Found:
        return tools.journal.begin(
            order.base_url, order.account, order.user, order.servers, unsettled_within=within
        )

    return admitted(
        order,
        tools,
        guarded(order, tools, confirm),
        record,
        lambda entry: send(order, order.servers, entry, tools),
    )


def guarded(order: Order, tools: Tools, confirm: Confirm | None) -> guard.Guard:
    """The guard of an order; it says so where there is no journal to ask."""
    if not (order.again or tools.journal.is_on):
        tools.note("Warning: without a journal there is no check for earlier resets.")
    if confirm is None:
        return guard.Guard(order.account, tools, None, again=order.again)

    def ask(lines: Sequence[str]) -> bool:
        tools.listener.close()
        return confirm(lines)

    return guard.Guard(order.account, tools, ask, again=order.again)


def admitted(
    order: Order,
    tools: Tools,
    gate: guard.Guard,
    record: Callable[[float | None], guard.Found],
    carry_out: Callable[[Entry | None], Outcome],
) -> Outcome:
    """What `carry_out` comes to, once the guard has let `record` record the intent.

    It is handed the journal's entry, None if the journal failed.
    """
    began = tools.clock()
    try:
        recorded = gate.admit(record)
    except (Interrupted, Exception) as raised:  # the outcome tells of it
        return unsent(order, raised)
    entry = None if recorded is None else fenced(recorded, JOURNAL, tools.note)
    try:
        outcome = carry_out(entry)
    finally:
        tools.listener.close()
        if entry is not None:
            entry.close()
    return outcome._replace(seconds=tools.clock() - began)


def unsent(order: Order, raised: BaseException) -> Outcome:
    """Nothing was sent, and why."""
    answer = ResetAnswer.not_sent(order.servers)
    if isinstance(raised, Interrupted):
        answer = answer._replace(signum=raised.signum)
    elif isinstance(raised, ClcError):
        answer = answer._replace(error=raised)
    else:
        surprise = f"{describe_defect(raised)}."
        return _of_answer(order, answer)._replace(ending=Ending.SURPRISE, surprise=surprise)
    return _of_answer(order, answer)


def send(order: Order, servers: Sequence[str], entry: Entry | None, tools: Tools) -> Outcome:
    """Send one batch, whose intent is recorded, and follow it as far as the order says."""
    began = tools.clock()
    answer = _answer(order, servers, tools)
    if answer.seconds is not None:  # there were tries before
        began = tools.clock() - answer.seconds
    if entry is not None:
        entry.answered(answer)
    tools.listener.answered(answer.results)
    # where it couldn't be recorded, the operations have to be named to follow them
    run = None if entry is None or not tools.journal.is_on else entry.run
    outcome = _of_answer(order, answer)._replace(run=run)
    if not order.wait or answer.sending is Sending.NOT_SENT or outcome.signum is not None:
        return outcome

    def sent(_server: str) -> evidence.Sent:
        at = answer.sent_at
        if at is None and tools.api.offset is not None:
            ago = timedelta(seconds=tools.clock() - began)
            at = guard.when_sent(tools.now() - ago, tools.api.offset)
        return evidence.Sent(order.account, order.user, at)

    limit = usual_limit(servers) if order.limit is None else order.limit
    how = Following(answer.turns, sent, limit, looks=order.looks, record=entry)
    return follow(outcome, tools, how)


def _answer(order: Order, servers: Sequence[str], tools: Tools) -> ResetAnswer:
    def tick(seconds: float) -> None:
        tools.listener.sending(servers, seconds)

    try:
        return tools.api.reset_servers(order.account, servers, tick=tick)
    except Interrupted as interrupt:  # it never raises; if it does, it may have been sent
        return ResetAnswer.maybe_sent(servers, "it was interrupted", interrupt.signum)
    except Exception as error:  # the same
        return ResetAnswer.maybe_sent(servers, describe_defect(error))


def _of_answer(order: Order, answer: ResetAnswer) -> Outcome:
    ending = Ending.COMPLETE
    if answer.signum is not None:
        ending = Ending.INTERRUPTED
    elif answer.error is not None:
        ending = Ending.ERROR
    return Outcome(
        order.account,
        answer.results,
        answer.sending,
        ending,
        waited=order.wait,
        error=answer.error,
        signum=answer.signum,
        problem=answer.problem,
        unasked=answer.unasked,
    )


class Heard(Protocol):
    """Records what is heard of an operation."""

    def heard(self, operation: Operation, status: OperationStatus) -> None:
        """It has another status."""

    def flush(self) -> None:
        """Write what was heard."""


class Following(NamedTuple):
    """How to follow an outcome's operations.

    `turns` are the servers in the order of the answer. `sent` tells what is known of the sending
    of a server's reset. With `once` each operation is asked one time only; `looks` lets servers be
    looked at meanwhile.
    """

    turns: Sequence[str]
    sent: Callable[[str], evidence.Sent]
    limit: float
    once: bool = False
    looks: bool = True
    record: Heard | None = None


def follow(outcome: Outcome, tools: Tools, how: Following) -> Outcome:
    """Poll the operations of an outcome to their end, and look where that leaves a doubt.

    Returns the outcome as far as it is known, whatever happens.
    """
    results = tuple(map(followable, outcome.results))
    outcome = outcome._replace(results=results, limit=how.limit)
    waited = polling.Waited()
    requests = _Requests(tools, how)
    try:
        _wait(outcome, tools, how, requests, waited)
        outcome = _ended(outcome, waited, once=how.once)
    except Exception as error:  # what is known is told
        surprise = f"{describe_defect(error)}."
        outcome = outcome._replace(ending=Ending.SURPRISE, surprise=surprise)
    finally:
        requests.close()
    outcome = outcome._replace(results=settled(results, waited.statuses, waited.no_news))
    return _looked_at(outcome, tools, how, waited)


def _ended(outcome: Outcome, waited: polling.Waited, *, once: bool) -> Outcome:
    if waited.signum is not None:
        return outcome._replace(ending=Ending.INTERRUPTED, signum=waited.signum)
    if waited.error is not None:
        return outcome._replace(ending=Ending.ERROR, error=waited.error)
    silences = list(waited.no_news.values())
    if once and silences and not waited.statuses and all(each.unreachable for each in silences):
        error = UnreachableError(
            f"The API was not reached: {silences[0].reason}.",
            hint=CHECK_THE_NETWORK,
        )
        return outcome._replace(ending=Ending.ERROR, error=error)
    return outcome._replace(ending=Ending.TIME_LIMIT) if waited.timed_out else outcome


def _wait(
    outcome: Outcome, tools: Tools, how: Following, requests: "_Requests", waited: polling.Waited
) -> None:
    """Poll until the end; `waited` is what that has come to at any moment."""
    operation_of = {each.server: each.operation for each in outcome.results if each.server}
    servers: dict[Operation, list[str]] = {each: [] for each in operations_of(outcome.results)}
    for server in dict.fromkeys((*how.turns, *operation_of)):
        operation = operation_of.get(server)
        if operation in servers:
            servers[operation].append(server)
    if servers and not how.once:
        tools.listener.following(servers)
    polling.Polling(
        servers,
        requests,
        _Told(tools.listener, how.record, quiet=how.once),
        limit=how.limit,
        once=how.once,
        watch=_watch(servers, tools, how) if how.looks and not how.once else None,
        clock=tools.clock,
        jitter=tools.jitter,
        waited=waited,
    ).run()


def _watch(
    servers: Mapping[Operation, Sequence[str]], tools: Tools, how: Following
) -> evidence.Watch | None:
    shared = {each: named for each, named in servers.items() if len(named) > 1}
    try:
        sent = {each: how.sent(each) for named in shared.values() for each in named}
        return evidence.Watch(shared, sent)
    except Exception as error:  # a look changes nothing
        tools.note(f"The servers can't be looked at: {describe(error)}.")
        return None


def _looked_at(outcome: Outcome, tools: Tools, how: Following, waited: polling.Waited) -> Outcome:
    """The outcome with what its doubtful servers show."""
    if outcome.error is not None or tools.stop.signum is not None:
        return outcome
    servers = doubtful(outcome.results, waited.no_news, timed_out=waited.timed_out)
    if not servers:
        return outcome
    tools.listener.close()

    try:
        look = partial(_look, tools, how)
        seen = evidence.look(servers, look, tools.stop, tools.pool, tools.clock)
        results = with_observations(outcome.results, seen, how.sent)
    except Exception as error:  # a look changes nothing
        tools.note(f"The servers can't be looked at: {describe(error)}.")
        return outcome
    return outcome._replace(results=results, observations=seen)


def _look(tools: Tools, how: Following, server: str) -> Observation:
    return tools.api.server(how.sent(server).account, server)


class _Requests:
    """Asks the API several things at a time; a poll that fails in whatever way is no news."""

    def __init__(self, tools: Tools, how: Following) -> None:
        self._tools = tools
        self._how = how
        self._pool = tools.pool(polling.LONGEST_POLL, tools.stop)

    def poll(self, operation: Operation) -> None:
        self._pool.submit(operation, partial(self._tools.api.operation_status, operation))

    def look(self, server: str) -> None:
        self._pool.submit(server, partial(_look, self._tools, self._how, server))

    def take(self, seconds: float) -> tuple[Operation, polling.News] | Observation | None:
        told = self._pool.take(seconds)
        if told is None:
            return None
        asked, outcome = told
        if isinstance(asked, str):
            return evidence.seen(asked, outcome)
        if not isinstance(outcome, Failure):
            return asked, outcome
        if isinstance(outcome.error, AuthenticationError):
            return asked, outcome.error
        if isinstance(outcome.error, TimeoutError):
            return asked, NoNews(f"no answer within {polling.LONGEST_POLL:g} s")
        return asked, NoNews(describe(outcome.error))

    def close(self) -> None:
        self._pool.close()


class _Told:
    """Shows changes and records them."""

    def __init__(self, listener: Listener, record: Heard | None, *, quiet: bool) -> None:
        self._listener = listener
        self._record = record
        self._quiet = quiet

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        if self._record is not None:
            self._record.heard(operation, status)
        if not self._quiet:
            self._listener.changed(operation, status, seconds)

    def silent(self, operation: Operation, reason: str) -> None:
        self._listener.silent(operation, reason)

    def heard_again(self, operation: Operation) -> None:
        self._listener.heard_again(operation)

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        self._listener.server_changed(operation, server, changed, of, seconds)

    def tick(self, seconds: float) -> None:
        if self._record is not None:
            self._record.flush()
        if not self._quiet:
            self._listener.tick(seconds)
