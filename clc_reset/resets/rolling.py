"""A rolling reset: waves of batches, with a gate between them.

A wave begins only when every server of the one before is done and, where the operator has a check,
passes it. More failures than are allowed, any unknown outcome, an operation that isn't known to be
over, and any signal end it; what wasn't reached is not sent, and can be sent later.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from clc_reset.errors import AuthenticationError, ClcError, Interrupted
from clc_reset.journal import Entry
from clc_reset.models import PENDING, Observation, Sending, ServerResult, ServerState
from clc_reset.resets.batch import Order, admitted, guarded, send, unsent
from clc_reset.resets.guard import Confirm, Found, Guard
from clc_reset.resets.outcome import UNREACHED, Ending, Outcome
from clc_reset.resets.tools import Tools
from clc_reset.text import describe, show_seconds
from clc_reset.threads import Stop

CHECK_SECONDS = 300.0
"""How long the checks of a wave may take, unless that is said."""
SHORTEST_CHECK = 1.0
"""In seconds: a check that has no time at all would fail every server."""


class Check(Protocol):
    """The operator's own command, which tells whether a server is back."""

    def __call__(
        self,
        servers: Sequence[str],
        seconds: float,
        stop: Stop,
        trying: Callable[[str, int], None],
    ) -> set[str]:
        """Try each server until it passes, for so many seconds; return those that did.

        `trying` is told of each try and its number. Raises Interrupted, and OSError if it can't
        be run.
        """


class Plan(NamedTuple):
    """How to roll: `at_a_time` servers, `pause` seconds between waves, the check and its seconds.

    It goes on as long as no more than `max_failures` servers have failed.
    """

    at_a_time: int
    pause: float = 0.0
    check: Check | None = None
    check_seconds: float = CHECK_SECONDS
    max_failures: int = 0


def reset(order: Order, plan: Plan, tools: Tools, confirm: Confirm | None = None) -> Outcome:
    """Reset servers wave by wave, in the order given. Whatever happens is in the outcome."""
    tools = tools.fenced()
    order = order._replace(wait=True)
    gate = guarded(order, tools, confirm)
    waves = [
        order.servers[first : first + plan.at_a_time]
        for first in range(0, len(order.servers), plan.at_a_time)
    ]

    def record(within: float | None) -> Found:
        where = (order.base_url, order.account)
        if within is not None:
            # of all servers: what can be known before anything is sent isn't left to the last wave
            earlier = tools.journal.unsettled(*where, order.servers, unsettled_within=within)
            if earlier:
                return earlier
        return tools.journal.begin(
            *where, order.user, order.servers, waves[0], unsettled_within=within
        )

    def carry_out(entry: Entry | None) -> Outcome:
        return _roll(order, plan, waves, entry, gate, tools)

    return admitted(order, tools, gate, record, carry_out)


def _roll(
    order: Order,
    plan: Plan,
    waves: Sequence[tuple[str, ...]],
    entry: Entry | None,
    gate: Guard,
    tools: Tools,
) -> Outcome:
    done: list[Outcome] = []
    try:
        for number, servers in enumerate(waves, start=1):
            if done:
                _pause(plan.pause, tools)
                _record(servers, entry, gate)
            tools.listener.wave(number, len(waves), servers)
            outcome = send(order, servers, entry, tools)
            if done and outcome.sending is Sending.NOT_SENT and outcome.error is not None:
                outcome = outcome._replace(error=_later(outcome.error, number, len(waves)))
            done.append(outcome)
            if _is_over(outcome):
                break
            if plan.check is not None:
                _check(plan.check, plan.check_seconds, done, entry, tools)
            if _failures(done) > plan.max_failures:
                break
    except (Interrupted, Exception) as raised:  # the outcome tells of it
        return _whole(order, done, unsent(order, raised))
    return _whole(order, done, done[-1])


def _pause(seconds: float, tools: Tools) -> None:
    """Wait before the next wave. Raises Interrupted, even without a pause."""
    while seconds > 0:
        tools.listener.pausing(seconds)
        tools.stop.sleep(min(1.0, seconds))
        seconds -= 1.0
    tools.stop.check()


def _record(servers: Sequence[str], entry: Entry | None, gate: Guard) -> None:
    """Record the next wave's intent. Raises what the guard does."""
    if entry is not None:
        gate.admit(lambda within: entry.wave(servers, unsettled_within=within) or None)


def _later(error: ClcError, number: int, of: int) -> ClcError:
    """The error of a wave that wasn't sent, where others were before."""
    hint = error.hint if isinstance(error, AuthenticationError) else ""  # it says: nothing was
    return type(error)(f"Wave {number:,} of {of:,} wasn't sent: {error.message}", hint=hint)


def _is_over(outcome: Outcome) -> bool:
    """Whether nothing may be sent after this, whatever number of failures is allowed."""
    states = {each.state for each in outcome.results}
    doubts = PENDING | {ServerState.UNKNOWN, ServerState.NOT_SENT}
    return outcome.ending is not Ending.COMPLETE or bool(states & doubts)


def _failures(done: Sequence[Outcome]) -> int:
    return sum(len(each.servers(ServerState.FAILED)) for each in done)


def _check(
    check: Check, seconds: float, done: list[Outcome], entry: Entry | None, tools: Tools
) -> None:
    """Check each server of the latest wave whose operation succeeded. Raises Interrupted."""
    outcome = done[-1]
    left = outcome.servers(ServerState.SUCCEEDED)
    if not left:
        return
    cut_short = "The operation succeeded; the check was cut short."
    done[-1] = _judged(outcome, left, ServerState.SUCCEEDED, cut_short)
    failed = f"The operation succeeded; the check didn't, within {show_seconds(seconds)}."
    try:
        passed = check(left, max(seconds, SHORTEST_CHECK), tools.stop, tools.listener.checking)
    except Exception as error:  # what can't be checked hasn't passed
        failed = f"The operation succeeded; the check couldn't be run: {describe(error)}."
        passed = set()
    unchecked = [each for each in left if each not in passed]
    done[-1] = _judged(outcome, unchecked, ServerState.FAILED, failed)
    if entry is not None and unchecked:
        entry.unchecked(unchecked, failed)


def _judged(
    outcome: Outcome, servers: Collection[str], state: ServerState, message: str
) -> Outcome:
    """The outcome with what the check of some servers came to."""
    results = (
        each._replace(state=state, message=message) if each.server in servers else each
        for each in outcome.results
    )
    return outcome._replace(results=tuple(results))


def _whole(order: Order, done: Sequence[Outcome], last: Outcome) -> Outcome:
    """One outcome of all waves, in the order asked; `last` tells how it ended."""
    found = {result.server: result for each in done for result in each.results}
    observations: dict[str, Observation] = {}
    for each in done:
        observations |= each.observations
    results = tuple(
        found.get(server) or ServerResult(server, ServerState.NOT_SENT, None, UNREACHED)
        for server in order.servers
    )
    certain = {each.sending for each in done}
    surest = (Sending.MAYBE_SENT, Sending.SENT, Sending.NOT_SENT)
    is_short = any(each.state is ServerState.NOT_SENT for each in results)
    stopped = last.ending is Ending.COMPLETE and is_short
    return last._replace(
        results=results,
        sending=next((each for each in surest if each in certain), Sending.NOT_SENT),
        ending=Ending.STOPPED if stopped else last.ending,
        unasked=tuple(name for each in done for name in each.unasked),
        problem=next((each.problem for each in done if each.problem), None),
        run=next((each.run for each in done if each.run), None),
        observations=observations,
    )
