"""The truth about a reset, as one value: what came of each server, and the verdict on all.

Nothing else decides what a reset came to. An exit code is a verdict's number, a table or JSON is
how the value looks; neither adds to it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Self

from clc_reset.errors import (
    INTERNAL,
    INTERRUPTED,
    OUTCOME_UNKNOWN,
    STOPPED,
    TIME_LIMIT,
    AuthenticationError,
    ClcError,
    DeclinedError,
    UnsettledError,
    UsageError,
)
from clc_reset.identifiers import is_operation_id
from clc_reset.models import (
    PENDING,
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets import evidence
from clc_reset.text import count, enumerate_names, sentence, show_seconds, show_time

SPELLED_OUT = 10
"""Operations that a command to follow them names, where the journal doesn't know them."""

UNREACHED = "Not sent: its turn never came."
LOOK_FIRST = "Look at them before you repeat it: running it again would reset them again."


class Ending(Enum):
    """How it ended."""

    COMPLETE = "complete"
    """All that was to be done was done, or there was nothing to do."""
    TIME_LIMIT = "time limit"
    INTERRUPTED = "interrupted"
    """A signal cut it short; `signum` is its number."""
    ERROR = "error"
    """`error` says why nothing was sent, or why nobody waits any more."""
    SURPRISE = "surprise"
    """A defect cut it short; `surprise` is its text."""
    STOPPED = "stopped"
    """The next wave wasn't sent, because of how the one before it ended."""


class Verdict(Enum):
    """What all of it comes to; `cli.exit_codes` has the numbers."""

    DONE = "done"
    FAILED = "failed"
    DECLINED = "declined"
    USAGE = "usage"
    UNSETTLED = "unsettled"
    AUTHENTICATION = "authentication"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    RUNNING = "running"
    INTERRUPTED = "interrupted"


_OF_ERRORS: tuple[tuple[type[ClcError], Verdict], ...] = (
    (UsageError, Verdict.USAGE),
    (DeclinedError, Verdict.DECLINED),
    (UnsettledError, Verdict.UNSETTLED),
    (AuthenticationError, Verdict.AUTHENTICATION),
)


def verdict_of(error: Exception) -> Verdict:
    """The verdict on a command that ends in an error before anything was sent."""
    return next(
        (verdict for kind, verdict in _OF_ERRORS if isinstance(error, kind)), Verdict.NOT_SENT
    )


class Outcome(NamedTuple):
    """What is known of a reset, or of operations that were asked for by their ids.

    `results` are in the order asked, one a server. `waited` tells that their operations were to be
    waited for, so that queued isn't good enough. `seconds` is how long it took, `limit` the time
    limit. `run` is the journal's name for it, None if the journal doesn't know it; `is_latest`
    tells that `clc status` finds it without that name. `problem` says why no answer came.
    `unasked` are servers that the API answered for although nobody asked. `observations` are what
    the servers showed, by their ids.
    """

    account: str | None
    results: tuple[ServerResult, ...]
    sending: Sending
    ending: Ending = Ending.COMPLETE
    waited: bool = False
    error: ClcError | None = None
    signum: int | None = None
    surprise: str | None = None
    problem: str | None = None
    unasked: tuple[str, ...] = ()
    run: str | None = None
    is_latest: bool = True
    limit: float | None = None
    seconds: float | None = None
    observations: Mapping[str, Observation] = MappingProxyType({})

    @classmethod
    def interrupted(cls, signum: int) -> Self:
        """A signal came before anything was asked for."""
        return cls(None, (), Sending.NOT_SENT, Ending.INTERRUPTED, signum=signum)

    @property
    def verdict(self) -> Verdict:
        """The first that applies: what cut it short, then unknown, failed, running."""
        if self.ending is Ending.INTERRUPTED:
            return Verdict.INTERRUPTED
        if self.sending is Sending.NOT_SENT:
            return self._without_sending()
        states = {each.state for each in self.results}
        applying = (
            (isinstance(self.error, AuthenticationError), Verdict.AUTHENTICATION),
            (ServerState.UNKNOWN in states, Verdict.UNKNOWN),
            (states & {ServerState.FAILED, ServerState.NOT_SENT}, Verdict.FAILED),
            (self.waited and states & PENDING, Verdict.RUNNING),
        )
        return next((verdict for applies, verdict in applying if applies), Verdict.DONE)

    def _without_sending(self) -> Verdict:
        if self.error is not None:
            return verdict_of(self.error)
        # without either, `clc status` tells of an earlier reset
        return Verdict.NOT_SENT if self.ending is Ending.SURPRISE else Verdict.FAILED

    @property
    def has_result(self) -> bool:
        """Whether there is something to say of each server: not where it ended before a request."""
        return self.sending is not Sending.NOT_SENT or self.ending is Ending.COMPLETE

    @property
    def pending(self) -> tuple[Operation, ...]:
        """The distinct operations that aren't known to be over."""
        return tuple(operations_of(self.results))

    def servers(self, *states: ServerState) -> list[str]:
        """The servers in one of the states."""
        return [each.server for each in self.results if each.server and each.state in states]


def operations_of(results: Iterable[ServerResult]) -> list[Operation]:
    """The distinct operations that aren't known to be over and can be asked for."""
    found = (each.operation for each in results if each.state in PENDING)
    return list(dict.fromkeys(each for each in found if each is not None and each.path is not None))


def settled(
    results: Iterable[ServerResult],
    statuses: Mapping[Operation, OperationStatus],
    no_news: Mapping[Operation, NoNews] = MappingProxyType({}),
) -> tuple[ServerResult, ...]:
    """The results after what was heard of their operations."""
    known = list(results)
    shares = Counter(each.operation for each in known)
    return tuple(_after(each, statuses, no_news, shares[each.operation]) for each in known)


def followable(result: ServerResult) -> ServerResult:
    """The result as a wait for it begins: what can't be followed is unknown."""
    if result.state is not ServerState.QUEUED:
        return result
    if result.operation is None:
        return result._replace(state=ServerState.UNKNOWN)
    if result.operation.path is None:
        message = "Queued, but its status link leads away from the API: it is not followed."
        return result._replace(state=ServerState.UNKNOWN, message=message)
    return result


def _after(
    result: ServerResult,
    statuses: Mapping[Operation, OperationStatus],
    no_news: Mapping[Operation, NoNews],
    sharing: int,
) -> ServerResult:
    if result.state is not ServerState.QUEUED or result.operation is None:
        return result
    status = statuses.get(result.operation)
    if status is None:
        silence = no_news.get(result.operation)
        if silence is None:
            return result
        state = ServerState.QUEUED if result.server else ServerState.UNKNOWN
        return result._replace(state=state, message=sentence(f"No status yet: {silence.reason}"))
    if status.has_succeeded:
        return result._replace(state=ServerState.SUCCEEDED, message=None)
    if status.has_failed:
        message = "The operation failed; the API doesn't say why."
        if sharing > 1:
            message = (
                f"The operation failed. {sharing:,} servers share it, and the API doesn't say "
                "which of them failed."
            )
        return result._replace(state=ServerState.FAILED, message=message)
    return result._replace(state=ServerState.RUNNING, status=status)


def doubtful(
    results: Sequence[ServerResult], no_news: Mapping[Operation, NoNews], *, timed_out: bool
) -> list[str]:
    """The servers of which a look can tell more than their state does."""
    sharing = Counter(each.operation for each in results)

    def is_doubtful(result: ServerResult) -> bool:
        if result.state is ServerState.FAILED:
            return result.operation is not None and sharing[result.operation] > 1
        silence = no_news.get(result.operation) if result.operation else None
        is_unheard = timed_out or (silence is not None and silence.not_found)
        return result.state is ServerState.UNKNOWN or (result.state in PENDING and is_unheard)

    return [each.server for each in results if each.server and is_doubtful(each)]


def with_observations(
    results: Sequence[ServerResult],
    observations: Mapping[str, Observation],
    sent: Callable[[str], evidence.Sent],
) -> tuple[ServerResult, ...]:
    """The results with what their servers showed at the end of their messages."""
    return tuple(_seen(each, observations, sent) for each in results)


def _seen(
    result: ServerResult,
    observations: Mapping[str, Observation],
    sent: Callable[[str], evidence.Sent],
) -> ServerResult:
    shown = observations.get(result.server) if result.server else None
    if shown is None:
        return result
    said = evidence.words(shown, sent(shown.server))
    before = (result.message or "").removesuffix(".")
    return result._replace(message=sentence(f"{before}; {said}" if before else said))


class Remark(NamedTuple):
    """What has to be said beside a result. `kind` is its word in JSON, `hint` the next step."""

    kind: str
    message: str
    hint: str | None = None


def remarks(outcome: Outcome, usual_account: str | None) -> Iterator[Remark]:
    """What has to be said beside the results, the first also in JSON.

    `usual_account` is the alias that a command without `-a` acts in.
    """
    unknown = [each for each in outcome.results if each.state is ServerState.UNKNOWN]
    kind = OUTCOME_UNKNOWN
    if outcome.ending is Ending.INTERRUPTED and outcome.problem and unknown:
        kind = INTERRUPTED  # it cut short the wait for the answer: one remark for both
    elif outcome.ending not in {Ending.COMPLETE, Ending.STOPPED}:
        yield _cut_short(outcome, usual_account)
    if any(each.server for each in unknown):
        yield _unknown(outcome, kind)
    nameless = [each.operation.id for each in unknown if each.operation and not each.server]
    if nameless:
        yield _without_status(nameless)
    left = outcome.servers(ServerState.NOT_SENT)
    if left and outcome.has_result:
        yield _stopped(outcome, left)


def _cut_short(outcome: Outcome, usual_account: str | None) -> Remark:
    follow = how_to_follow(outcome, usual_account)
    continues = in_the_cloud(outcome.pending)
    if outcome.sending is Sending.NOT_SENT:
        follow, continues = None, "No server was reset."
    match outcome.ending:
        case Ending.INTERRUPTED:
            return Remark(INTERRUPTED, f"Interrupted. {continues}", follow)
        case Ending.TIME_LIMIT:
            passed = f"The time limit of {show_seconds(outcome.limit or 0)} has passed."
            return Remark(TIME_LIMIT, f"{passed} {continues}", follow)
        case Ending.ERROR if outcome.error is not None:
            return _error(outcome.error, outcome, continues, follow)
        case _:
            return Remark(INTERNAL, f"{outcome.surprise} {continues}", follow)


def _error(error: ClcError, outcome: Outcome, continues: str, follow: str | None) -> Remark:
    if outcome.sending is Sending.NOT_SENT:
        return Remark(error.kind, error.message, error.hint or None)
    hint = "\n".join(filter(None, (error.hint, follow)))
    return Remark(error.kind, f"{error.message} {continues}".strip(), hint or None)


def _unknown(outcome: Outcome, kind: str) -> Remark:
    names = outcome.servers(ServerState.UNKNOWN)
    why = ""
    if outcome.problem:
        why = sentence(f"A reset was sent, but {outcome.problem}") + " "
    return Remark(
        kind,
        f"{why}The outcome is unknown for {count(len(names), 'server')}: {enumerate_names(names)}.",
        f"They may have been reset, or not. It was not sent again. {LOOK_FIRST}",
    )


def _without_status(ids: Sequence[str]) -> Remark:
    """What has to be said of operations that were asked for by their ids."""
    return Remark(
        OUTCOME_UNKNOWN,
        f"No status of {count(len(ids), 'operation')}: {enumerate_names(ids)}.",
        "The message beside each says why. Is -a the account of the reset?",
    )


def _stopped(outcome: Outcome, left: Sequence[str]) -> Remark:
    return Remark(
        STOPPED,
        f"Not sent: {count(len(left), 'server')}: {enumerate_names(left)}.",
        f"To reset those: clc reset --rest-of {outcome.run}" if outcome.run else None,
    )


def in_the_cloud(pending: Sequence[Operation]) -> str:
    """What becomes of operations that nobody waits for any more."""
    if not pending:
        return "No operation is still running."
    are = "operation is" if len(pending) == 1 else "operations are"
    return f"The resets continue in the cloud. {len(pending):,} {are} still running."


def how_to_follow(outcome: Outcome, usual_account: str | None) -> str | None:
    """How to take the wait up again, in a command that can be pasted; None if none is needed.

    The journal knows the servers, so that is the command. Without it the operations are named.
    """
    pending = outcome.pending
    if not pending:
        return None
    begins = "To follow them: clc status --wait"
    if outcome.run is not None:
        if not outcome.is_latest:
            begins += f" --run {outcome.run}"
        elsewhere = outcome.account is not None and outcome.account != usual_account
        return f"{begins} -a {outcome.account}" if elsewhere else begins
    ids: dict[str | None, list[str]] = {}
    for each in pending:
        named = each.account if is_operation_id(each.id) else None
        ids.setdefault(named, []).append(each.id)
    lost = ids.pop(None, [])
    said = [
        " ".join([begins, *([] if where == usual_account else ["-a", f"{where}"]), *ids[where]])
        for where in ids
    ]
    if lost:
        said.append(f"These can't be followed by their ids: {enumerate_names(lost)}")
    return "\n".join(said)


def summary(outcome: Outcome) -> str | None:
    """One line that says what became of several servers: `299 succeeded, 2 failed in 6 s: …`."""
    if not outcome.has_result or not len(outcome.results) > 1:
        return None
    states = Counter(each.state for each in outcome.results)
    known = ", ".join(f"{states[each]:,} {each}" for each in ServerState if states[each])
    took = outcome.seconds
    if took is not None and took >= 1:
        known += f" in {took:,.0f} s"
    failed = outcome.servers(ServerState.FAILED)
    return f"{known}: {enumerate_names(failed)}" if failed else known


def requested(at: datetime, servers: int, account: str, run: str) -> str:
    """What was asked, where and when."""
    what = f"Reset of {count(servers, 'server')} in account {account}"
    return f"{what}, requested at {show_time(at)} (run {run})."
