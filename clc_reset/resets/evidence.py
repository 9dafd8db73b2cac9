"""The servers' own evidence of a reset: when each was last changed, and by whom.

Recorded of 96 servers in 17 operations: `changeInfo.modifiedDate` moves when the API works on the
server, one server after another in the order of the answer, between the POST and `succeeded`, by
the caller. But anybody's edit moves it, too. So it is evidence: it never changes a state or an exit
code. Both times are on the API's clock.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import NamedTuple

from clc_reset.models import Evidence, Observation, Operation
from clc_reset.resets.events import ServerChanged
from clc_reset.resets.request import Api
from clc_reset.text import describe
from clc_reset.workers import Failure, Inbox

SECONDS_FOR_ALL = 10.0
TOO_CLOSE = 2.0
"""Seconds: a change this near to the request may be older: both clocks tell whole seconds."""
LOOK_EVERY = 5.0
LOOKS_AN_OPERATION = 4
LOOKS_IN_ALL = 16
"""Looks in a round, at one operation's servers and at all servers."""


class Sent(NamedTuple):
    """A request: the account, the user, and when it left on the API's clock, if that is known."""

    account: str
    user: str | None
    at: datetime | None


def judge(observation: Observation, sent: Sent) -> Evidence:
    """Return what a server's latest change says about a request."""
    if observation.changed_at is None or sent.at is None:
        return Evidence(None, observation, sent.at)
    after = (observation.changed_at - sent.at).total_seconds()
    changed, another = None, None
    if after < -TOO_CLOSE:
        changed = False
    elif after > TOO_CLOSE:
        user = observation.changed_by
        if sent.user is None or (user is not None and user.lower() == sent.user.lower()):
            changed = True
        else:
            another = user or "nobody named"
    return Evidence(changed, observation, sent.at, after, another)


def describe_evidence(evidence: Evidence) -> str:
    """Return evidence in a clause: `changed 02:14:22 UTC by demo, 13 s after the request`."""
    shown = evidence.observation
    if shown.problem is not None:
        return f"couldn't be looked at: {shown.problem}"
    if shown.changed_at is None:
        return "shows no date of change"
    if evidence.changed is False:
        return "not changed" + (f" as of {clock_time(shown.seen_at)}" if shown.seen_at else "")
    change = f"changed {clock_time(shown.changed_at, shown.seen_at)}"
    change += f" by {shown.changed_by or 'nobody named'}"
    if evidence.after is None:
        return f"{change}; when the request left isn't known on that clock"
    if evidence.is_too_close:
        return f"{change}, within 2 s of the request: before or after it"
    return f"{change}, {evidence.after:.0f} s after the request"


def clock_time(instant: datetime, now: datetime | None = None) -> str:
    """Return a time in UTC, `02:14:22 UTC`; with its date where that isn't the day of `now`."""
    if now is not None and instant.date() != now.date():
        return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
    return f"{instant:%H:%M:%S} UTC"


Key = tuple[str | None, str | None]
"""The run and the server of a reset."""


def gather(
    keys: Iterable[Key], sent: Callable[[Key], Sent], api: Api, inbox: Inbox
) -> dict[Key, Evidence]:
    """Look at the servers of resets once, and judge what they show. Raises Interrupted."""
    places = {key: (sent(key).account, key[1] or "") for key in keys}
    seen = look(places.values(), api, inbox)
    # only now: a look may be the first answer that tells the API's time
    return {key: judge(seen[place], sent(key)) for key, place in places.items()}


def look(
    servers: Iterable[tuple[str, str]], api: Api, inbox: Inbox, seconds: float = SECONDS_FOR_ALL
) -> dict[tuple[str, str], Observation]:
    """Look at servers, each with its account, once, for ten seconds in all.

    One that wasn't seen by then says so. Raises Interrupted.
    """
    wanted = list(dict.fromkeys(servers))
    found = inbox.map(lambda place: api.server(*place), wanted, seconds)
    late = Failure(TimeoutError())
    return {place: observed(place[1], found.get(place, late)) for place in wanted}


def observed(server: str, result: object) -> Observation:
    """Return what a look found; one that failed says why."""
    if isinstance(result, Observation):
        return result
    if isinstance(result, Failure) and not isinstance(result.error, TimeoutError):
        return Observation(server, problem=describe(result.error))
    return Observation(server, problem="no answer in time")


class Watch:
    """Chooses the servers of shared operations to look at while those run.

    `turns` are the servers of each operation, with their runs, in the order of the answer, which is
    the order in which the API works on them. A round of looks begins every five seconds: at the
    next servers of each operation, four at the most, and sixteen in all. `sent` returns the request
    of a server; without its time on the API's clock no change can be told.
    """

    def __init__(
        self, turns: Mapping[Operation, Sequence[Key]], sent: Callable[[Key], Sent]
    ) -> None:
        self.sent = sent
        self._left = {op: list(keys) for op, keys in turns.items() if len(keys) > 1}
        self._of = {op: len(keys) for op, keys in self._left.items()}
        self._operation_of = {key: op for op, keys in self._left.items() for key in keys}
        self._round: list[Key] = []
        self._round_at = LOOK_EVERY

    def next(self, seconds: float, most: int, looking: Container[Hashable]) -> list[Key]:
        """Return the servers to look at now, `seconds` after the wait began, `most` in all.

        `looking` are those that are being looked at.
        """
        if not self._round and seconds >= self._round_at:
            self._round_at = seconds + LOOK_EVERY
            self._round = self._upcoming()
        chosen, self._round = self._round[:most], self._round[most:]
        return [k for k in chosen if self._operation_of[k] in self._left and k not in looking]

    def _upcoming(self) -> list[Key]:
        """Return the servers of a round: the first ones of all operations before the second."""
        known = [op for op, keys in self._left.items() if self.sent(keys[0]).at is not None]
        ranks = zip_longest(*(self._left[operation][:LOOKS_AN_OPERATION] for operation in known))
        keys = [key for rank in ranks for key in rank if key is not None][:LOOKS_IN_ALL]
        for key in keys:
            operation = self._operation_of[key]
            self._left[operation] = self._left.pop(operation)  # the others come first next time
        return keys

    def add(self, key: Key, observation: Observation, seconds: float) -> ServerChanged | None:
        """Take an observation; return a change, once for each server of a run."""
        operation = self._operation_of[key]
        left = self._left.get(operation, [])
        changed = judge(observation, self.sent(key)).changed
        if key not in left or changed is False:
            return None
        left.remove(key)
        if changed is None:  # it mustn't keep those behind it from being looked at
            left.append(key)
            return None
        of = self._of[operation]
        if not left:
            self.end(operation)
        return ServerChanged(operation, observation.server, of - len(left), of, seconds)

    def end(self, operation: Operation) -> None:
        """Look no more at an operation's servers: it is over, or all have changed."""
        self._left.pop(operation, None)
