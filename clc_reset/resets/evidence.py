"""What the servers themselves show of a reset: when each was last changed, and by whom.

Recorded of 96 servers in 17 operations: `changeInfo.modifiedDate` moves in the server's turn, one
server after another in the order of the answer, between the POST and `succeeded`, by the caller.
But anybody's edit moves it, too. So it is evidence: it is told with its time and its clock, and
never changes a state or an exit code. Both times are the API's; clients' clocks were up to seven
minutes off (recorded).
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

from clc_reset.errors import Interrupted
from clc_reset.models import Observation, Operation
from clc_reset.text import describe
from clc_reset.threads import AT_A_TIME, Failure, Pool, Stop

SECONDS_FOR_ALL = 10.0
TOO_CLOSE = timedelta(seconds=2)
"""A change this near to the sending may have come before it: both clocks tell whole seconds."""
LOOK_EVERY = 5.0
LOOKS_AN_OPERATION = 4
LOOKS_IN_ALL = 16
"""Looks in five seconds, at one operation's servers and at all servers."""

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")

MakePool = Callable[[float, Stop], Pool[Any, Any]]
"""Makes a pool whose calls may take so many seconds."""


class Sent(NamedTuple):
    """A reset as far as it is known: the account, the user, and when it was sent.

    `at` is on the API's clock, None if nothing tells that; so is `user`.
    """

    account: str
    user: str | None
    at: datetime | None


class Change(NamedTuple):
    """How many of a shared operation's servers have changed, of how many."""

    operation: Operation
    changed: int
    of: int


def has_changed(shown: Observation, sent: Sent) -> bool:
    """Whether a server shows a change by the caller that is clearly later than the sending."""
    return (
        shown.changed_at is not None
        and sent.at is not None
        and shown.changed_at - sent.at > TOO_CLOSE
        and (sent.user is None or is_same_user(shown.changed_by, sent.user))
    )


def is_older(shown: Observation, sent: Sent) -> bool:
    """Whether a server shows that its latest change came before the sending, or close to it."""
    return (
        shown.changed_at is not None
        and sent.at is not None
        and shown.changed_at - sent.at <= TOO_CLOSE
    )


def is_same_user(one: str | None, other: str) -> bool:
    """Whether two user names are one, whatever their case."""
    return one is not None and one.lower() == other.lower()


def words(shown: Observation, sent: Sent) -> str:
    """What a server shows, as what it is: a change after the sending, or near it, or none."""
    if shown.problem is not None:
        return f"couldn't be looked at: {shown.problem}"
    if shown.changed_at is None:
        return "it shows no date of change"
    if sent.at is None:
        return f"last {_change(shown)}; when the reset was sent isn't known by that clock"
    after = shown.changed_at - sent.at
    if after < -TOO_CLOSE:
        return "not changed" + (f" as of {clock_time(shown.seen_at)}" if shown.seen_at else "")
    if after <= TOO_CLOSE:
        return f"{_change(shown)}, within 2 s of the sending: before or after it"
    said = f"{_change(shown)}, {after.total_seconds():.0f} s after it was sent"
    is_others = sent.user and shown.changed_by and not is_same_user(shown.changed_by, sent.user)
    return f"{said}, not by {sent.user}" if is_others else said


def _change(shown: Observation) -> str:
    when = clock_time(shown.changed_at, shown.seen_at) if shown.changed_at else ""
    return f"changed {when} by {shown.changed_by or 'nobody named'}"


def clock_time(instant: datetime, now: datetime | None = None) -> str:
    """A time in UTC, `02:14:22 UTC`; with its date where that isn't the day of `now`."""
    if now is not None and instant.date() != now.date():
        return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
    return f"{instant:%H:%M:%S} UTC"


def ask_each(
    asked: Sequence[_K],
    ask: Callable[[_K], _T],
    stop: Stop,
    pool: MakePool,
    seconds: float,
    clock: Callable[[], float],
) -> dict[_K, _T | Failure]:
    """What each call returns or raises, sixteen at a time, for `seconds` in all.

    What hasn't come by then, or when a signal comes, is left out.
    """
    deadline = clock() + seconds
    left = list(dict.fromkeys(asked))[::-1]
    heard: dict[_K, _T | Failure] = {}
    begun = 0
    with closing(pool(seconds, stop)) as calls, suppress(Interrupted):
        while (left or begun > len(heard)) and (remaining := deadline - clock()) > 0:
            if left and begun - len(heard) < AT_A_TIME:
                key = left.pop()
                calls.submit(key, partial(ask, key))
                begun += 1
                continue
            told = calls.take(remaining)
            if told is not None:
                heard[told[0]] = told[1]
    return heard


def look(
    servers: Sequence[str],
    at: Callable[[str], Observation],
    stop: Stop,
    pool: MakePool,
    clock: Callable[[], float],
) -> dict[str, Observation]:
    """Look at each server once, for ten seconds in all; what wasn't seen by then says so."""
    found = ask_each(servers, at, stop, pool, SECONDS_FOR_ALL, clock)
    late = Failure(TimeoutError())
    return {each: seen(each, found.get(each, late)) for each in servers}


def seen(server: str, told: Observation | Failure) -> Observation:
    """What a look told; one that failed tells why."""
    if not isinstance(told, Failure):
        return told
    if isinstance(told.error, TimeoutError):
        return Observation(server, problem="no answer came in time")
    return Observation(server, problem=describe(told.error))


class Watch:
    """Which servers of shared operations to look at while those run: the next in their turns.

    `turns` are the servers of each operation in the order of the answer. Every five seconds four of
    an operation are looked at, at the most, and sixteen in all; the operation that has waited
    longest comes first. Where nothing tells when a server's reset was sent no change can be told,
    and its operation isn't looked at.
    """

    def __init__(self, turns: Mapping[Operation, Sequence[str]], sent: Mapping[str, Sent]) -> None:
        self._sent = sent
        self._left = {
            operation: list(servers)
            for operation, servers in turns.items()
            if len(servers) > 1 and all(sent[each].at is not None for each in servers)
        }
        self._of = {operation: len(servers) for operation, servers in self._left.items()}
        self._operation_of = {each: one for one, servers in self._left.items() for each in servers}
        self._due = dict.fromkeys(self._left, LOOK_EVERY)
        self._seen: dict[Operation, set[str]] = {each: set() for each in self._left}
        self._looking: set[str] = set()
        self._begun: deque[float] = deque()

    def next(self, seconds: float, most: int) -> list[str]:
        """The servers to look at now, `seconds` after the wait began, `most` in all."""
        while self._begun and self._begun[0] <= seconds - LOOK_EVERY:
            self._begun.popleft()
        most = min(most, LOOKS_IN_ALL - len(self._begun))
        chosen: list[str] = []
        for operation, due in sorted(self._due.items(), key=lambda each: each[1]):
            places = most - len(chosen)
            if due > seconds or places <= 0:
                break
            begun = self._seen[operation]
            upcoming = [
                each
                for each in self._left[operation][:LOOKS_AN_OPERATION]
                if each not in self._looking and each not in begun
            ][: LOOKS_AN_OPERATION - len(begun)]
            chosen += upcoming[:places]
            begun.update(upcoming[:places])
            if len(upcoming) <= places:  # else it is the first one to have places again
                begun.clear()
                self._due[operation] = seconds + LOOK_EVERY
        self._looking.update(chosen)
        self._begun += [seconds] * len(chosen)
        return chosen

    def hear(self, shown: Observation) -> Change | None:
        """Take what a server showed; a change is told once."""
        self._looking.discard(shown.server)
        operation = self._operation_of.get(shown.server)
        left = self._left.get(operation, []) if operation is not None else []
        if operation is None or shown.server not in left:
            return None
        sent = self._sent[shown.server]
        if not has_changed(shown, sent):
            if not is_older(shown, sent):  # it mustn't keep those behind it from being looked at
                left.remove(shown.server)
                left.append(shown.server)
            return None
        left.remove(shown.server)
        if not left:
            self.end(operation)
        return Change(operation, self._of[operation] - len(left), self._of[operation])

    def end(self, operation: Operation) -> None:
        """Look no more at an operation's servers: it is final, or all have changed."""
        self._left.pop(operation, None)
        self._due.pop(operation, None)
