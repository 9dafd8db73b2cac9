"""Earlier resets of the same servers that aren't settled: not twice by mistake.

It knows this machine's resets of this user, no others, and says no more than that.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import NamedTuple

from clc_reset.errors import AuthenticationError, ClcError, DeclinedError, UnsettledError
from clc_reset.journal import Earlier, Entry
from clc_reset.models import NoNews, Operation, OperationStatus, ServerState
from clc_reset.resets import evidence
from clc_reset.resets.tools import Tools
from clc_reset.text import count, show_age
from clc_reset.text import describe as describe_error
from clc_reset.threads import Failure

SECONDS = 3600.0
"""How old an earlier reset may be to matter."""
SECONDS_FOR_POLLS = 30.0
MOST_ASKED = 4
"""Times that the journal is asked: what it calls unsettled may be settled by then."""
NAMED = 20
"""Servers told one by one; the others are counted."""

Confirm = Callable[[Sequence[str]], bool]
"""Shows lines and asks whether to go on."""
Found = Entry | tuple[Earlier, ...] | None
"""A recorded intent, None if it couldn't be recorded; or what isn't settled."""


class Unsettled(NamedTuple):
    """An earlier reset, and what is known of it now, in words."""

    earlier: Earlier
    words: str


class Guard:
    """Lets a reset pass whose servers have no earlier one that isn't settled, or confirmed.

    `confirm` asks about them; None: nobody can be asked. With `again` all pass.
    """

    def __init__(self, account: str, tools: Tools, confirm: Confirm | None, *, again: bool) -> None:
        self._account = account
        self._tools = tools
        self._confirm = confirm
        self._again = again
        self._confirmed: set[tuple[str, str]] = set()
        self._nothing = "Nothing"

    def admit(self, record: Callable[[float | None], Found]) -> Entry | None:
        """What `record` returns: it records an intent, unless there are unsettled resets.

        It is told how old an earlier reset may be to matter, None if none matters.

        Raises UnsettledError, DeclinedError, AuthenticationError and Interrupted.
        """
        for _ in range(MOST_ASKED):
            found = record(None if self._again else SECONDS)
            if isinstance(found, tuple):
                new = [each for each in found if (each.run, each.server) not in self._confirmed]
                found = record(None) if not new else found
            if not isinstance(found, tuple):
                self._nothing = "Nothing more"
                return found
            self._ask_about(new)
        raise UnsettledError(
            "The same servers are reset again and again at this moment.",
            hint=f"{self._nothing} was sent. See: clc history",
        )

    def _ask_about(self, found: Sequence[Earlier]) -> None:
        """Return if all are settled by now, or confirmed."""
        try:
            unsettled = settle(found, self._account, self._tools)
        except ClcError:
            raise
        except Exception as error:  # what can't be asked isn't settled
            self._tools.note(
                f"The API can't be asked what became of them: {describe_error(error)}."
            )
            unsettled = unasked(found)
        if not unsettled:
            return
        lines = describe(unsettled, self._tools.now())
        if self._confirm is None:
            these = count(len(unsettled), "server")
            raise UnsettledError(
                "\n".join([f"An earlier reset of {these} isn't settled:", *lines]),
                hint=f"{self._nothing} was sent.\n{_how_to_follow(unsettled)}\n"
                "To reset anyway, add --again.",
            )
        self._tools.stop.check()
        if not self._confirm(lines):
            raise DeclinedError(f"{self._nothing} was sent.")
        self._confirmed.update((each.earlier.run, each.earlier.server) for each in unsettled)


def settle(found: Sequence[Earlier], account: str, tools: Tools) -> list[Unsettled]:
    """Ask once what has become of earlier resets, and return those that aren't settled even so.

    Raises AuthenticationError if the token is refused, and Interrupted.
    """
    news = _news(found, tools)
    looked = [each for each in found if not isinstance(news.get(_operation(each)), OperationStatus)]
    seen = evidence.look(
        [each.server for each in looked],
        lambda server: tools.api.server(account, server),
        tools.stop,
        tools.pool,
        tools.clock,
    )
    tools.stop.check()
    ended: dict[str, dict[Operation, OperationStatus]] = {}
    unsettled = []
    for each in found:
        operation, shown = _operation(each), seen.get(each.server)
        told = news.get(operation)
        at = each.sent_at or when_sent(each.at, tools.api.offset)
        sent = evidence.Sent(account, each.user, at)
        if operation is not None and isinstance(told, OperationStatus) and told.is_final:
            ended.setdefault(each.run, {})[operation] = told
        elif shown is not None and _is_gone(told) and evidence.has_changed(shown, sent):
            tools.journal.settle(each)
        else:
            words = [_state(each, told)]
            if shown is not None:
                words.append(evidence.words(shown, sent))
            unsettled.append(Unsettled(each, "; ".join(words)))
    for run, statuses in ended.items():
        with closing(tools.journal.resume(run)) as entry:
            for operation, status in statuses.items():
                entry.heard(operation, status)
    return unsettled


def _is_gone(told: OperationStatus | NoNews | None) -> bool:
    """Whether an operation can't be asked for any more."""
    return isinstance(told, NoNews) and told.not_found


def _news(
    found: Sequence[Earlier], tools: Tools
) -> dict[Operation | None, OperationStatus | NoNews]:
    """What each pending operation says now."""
    pending = [each for each in map(_operation, found) if each is not None]
    heard = evidence.ask_each(
        pending,
        tools.api.operation_status,
        tools.stop,
        tools.pool,
        SECONDS_FOR_POLLS,
        tools.clock,
    )
    tools.stop.check()
    news: dict[Operation | None, OperationStatus | NoNews] = {}
    for each in pending:
        told = heard.get(each)
        if told is None or isinstance(told, Failure):
            if told is not None and isinstance(told.error, AuthenticationError):
                raise told.error
            told = NoNews(
                f"no answer within {SECONDS_FOR_POLLS:g} s"
                if told is None or isinstance(told.error, TimeoutError)
                else describe_error(told.error)
            )
        news[each] = told
    return news


def _operation(earlier: Earlier) -> Operation | None:
    """The operation that can be asked for, where the reset was queued with one."""
    operation = earlier.operation
    if earlier.state is not ServerState.QUEUED or operation is None or operation.path is None:
        return None
    return operation


def when_sent(at: datetime, offset: timedelta | None) -> datetime | None:
    """An instant of this machine's clock on the API's; None if that clock isn't known."""
    return None if offset is None else at + offset


def _state(earlier: Earlier, told: OperationStatus | NoNews | None) -> str:
    if earlier.state is None:
        return "no answer recorded so far"
    if earlier.state is not ServerState.QUEUED:
        return "outcome unknown"
    if earlier.operation is None:
        return "queued, operation unknown"
    named = f"operation {earlier.operation.id}"
    match told:
        case OperationStatus():
            return f"{named} {told.plain_word}"
        case NoNews():
            return f"{named} can't be asked for: {told.reason}"
        case _:
            return named


def describe(unsettled: Sequence[Unsettled], now: datetime) -> list[str]:
    """A line a server: `WA1ALIASWB01: reset 2 min ago (run …), outcome unknown; …`."""
    lines = [
        f"{earlier.server}: reset {show_age(now - earlier.at)} ago (run {earlier.run}), {words}"
        for earlier, words in unsettled[:NAMED]
    ]
    more = len(unsettled) - NAMED
    return [*lines, f"and {count(more, 'more server')}"] if more > 0 else lines


def unasked(found: Sequence[Earlier]) -> list[Unsettled]:
    """What the journal alone knows of them."""
    return [Unsettled(each, _state(each, each.status)) for each in found]


def _how_to_follow(unsettled: Sequence[Unsettled]) -> str:
    runs = list(dict.fromkeys(each.earlier.run for each in unsettled))
    return "\n".join(f"To follow it: clc status --wait --run {run}" for run in runs[:3])
