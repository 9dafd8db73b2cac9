"""The outcome of a reset, or of a question about earlier ones, as one value.

Nothing else decides what a reset came to: the exit code is read off it, and tables and JSON show
it; neither adds to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Self

from clc_reset.errors import AuthenticationError, ClcError, Interrupted
from clc_reset.exit_codes import ExitCode, of_signal
from clc_reset.models import (
    PENDING,
    Evidence,
    Operation,
    OperationStatus,
    PollFailure,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.text import continued, describe_bug, sentence, shorten

NOT_REACHED = "Not sent: the run stopped before this server."

_NOTHING_SENT = {ServerState.NOT_SENT, ServerState.PLANNED}


class Ending(Enum):
    """The way a command ended."""

    COMPLETE = "complete"
    """All that was to be done was done, or there was nothing to do."""
    TIME_LIMIT = "time limit"
    INTERRUPTED = "interrupted"
    """A signal ended it; `signum` is its number."""
    ERROR = "error"
    """`error` says why nothing was sent, or why nothing was waited for any more."""
    CRASHED = "crashed"
    """A bug in clc ended it; `crash` is its text."""
    STOPPED = "stopped"
    """A later wave wasn't sent; `error` says why, where it isn't how the one before it ended."""


class Outcome(NamedTuple):
    """The results in the order asked, and how it ended.

    `waited` tells that the ends of operations were asked for, so that queued isn't good enough.
    `resets` tells that it is about a reset and not about a question. `run` is the journal's id of
    it, None where it isn't recorded. `problem` says why no answer came. `answered` are operations
    whose last poll got a status. `seconds` is how long it took, `limit` the time limit. `wave` and
    `waves` count the waves. `has_record` tells that its end is in the journal. `in_doubt` tells of
    a rest without servers that some server's outcome is unknown. `can_change` tells of a question
    that a server whose outcome is unknown may still show a change, `can_be_awaited` that
    `clc status --wait` waits for one.
    """

    account: str | None
    results: tuple[ServerResult, ...]
    ending: Ending = Ending.COMPLETE
    resets: bool = True
    waited: bool = False
    error: ClcError | None = None
    signum: int | None = None
    crash: str | None = None
    problem: str | None = None
    answered: frozenset[Operation] = frozenset()
    run: str | None = None
    limit: float | None = None
    seconds: float | None = None
    wave: int = 1
    waves: int = 1
    has_record: bool = True
    in_doubt: bool = False
    can_change: bool = False
    can_be_awaited: bool = False

    @classmethod
    def not_sent(cls, account: str, servers: Iterable[str], *, waited: bool) -> Self:
        """Return the outcome of a reset of which nothing has been sent yet."""
        state = ServerState.NOT_SENT
        results = (ServerResult(server, state, None, NOT_REACHED) for server in servers)
        return cls(account, tuple(results), waited=waited)

    @property
    def was_sent(self) -> bool:
        """True if a request for any of the servers has, or may have, left."""
        return any(result.state not in _NOTHING_SENT for result in self.results)

    @property
    def has_result(self) -> bool:
        """True if there is something to print of each server, and not just an error."""
        return not self.resets or self.was_sent or self.ending in {Ending.COMPLETE, Ending.STOPPED}

    @property
    def pending(self) -> tuple[Operation, ...]:
        """The distinct operations that aren't known to be over and can be asked for."""
        found = (result.operation for result in self.results if result.state in PENDING)
        return tuple(dict.fromkeys(op for op in found if op is not None and op.path is not None))

    @property
    def exit_code(self) -> int:
        """The exit code of a command with this outcome."""
        if self.signum is not None:
            return of_signal(self.signum)
        if self.resets and not self.was_sent:
            return self._without_sending()
        states = {result.state for result in self.results}
        waiting = PENDING | {ServerState.PLANNED} if self.waited else {ServerState.PLANNED}
        failed = {ServerState.FAILED, ServerState.NOT_SENT}
        is_denied = self.ending is Ending.ERROR and isinstance(self.error, AuthenticationError)
        applying = (
            (ServerState.UNKNOWN in states, ExitCode.UNKNOWN),
            (is_denied, ExitCode.AUTHENTICATION),
            (bool(states & failed) or self.ending is Ending.CRASHED, ExitCode.FAILED),
            (bool(states & waiting), ExitCode.RUNNING),
        )
        return next((code for applies, code in applying if applies), ExitCode.OK)

    def _without_sending(self) -> ExitCode:
        if self.error is not None:
            return self.error.exit_code
        if self.ending is Ending.CRASHED:
            return ExitCode.NOT_SENT
        if self.results:
            return ExitCode.FAILED
        return ExitCode.UNKNOWN if self.in_doubt else ExitCode.OK

    def servers(self, *states: ServerState) -> list[str]:
        """Return the servers in one of the states, each once: it may be there of several runs."""
        return servers_of(self.having(*states))

    def having(self, *states: ServerState) -> list[ServerResult]:
        """Return the results with one of the states."""
        return [result for result in self.results if result.state in states]

    # --- what happens to it --------------------------------------------------------------------

    def replacing(self, results: Iterable[ServerResult]) -> Self:
        """Return it with these results in the place of those of the same servers."""
        new = {result.server: result for result in results}
        return self._replace(results=tuple(new.get(r.server, r) for r in self.results))

    def sending(self, servers: Sequence[str]) -> Self:
        """Return it from the moment before a request: the outcome of its servers is unknown."""
        state, message = ServerState.UNKNOWN, "Sent; no answer came."
        return self.replacing(ServerResult(server, state, None, message) for server in servers)

    def of(self, servers: Iterable[str]) -> Self:
        """Return it with the results of these servers only."""
        wanted = set(servers)
        return self._replace(results=tuple(r for r in self.results if r.server in wanted))

    def with_answer(self, answer: ResetAnswer) -> Self:
        """Return it with the answer to the request."""
        outcome = self.replacing(answer.results)._replace(problem=self.problem or answer.problem)
        if answer.sending is Sending.NOT_SENT:
            reason = answer.error.message if answer.error else "interrupted before it was sent"
            outcome = outcome.replacing(
                result._replace(message=sentence(f"Not sent: {continued(reason)}"))
                for result in answer.results
            )
        if answer.signum is not None:
            return outcome._replace(ending=Ending.INTERRUPTED, signum=answer.signum)
        return outcome if answer.error is None else outcome.ended_by(answer.error)

    def leaving_out(self, left_out: Mapping[str, str]) -> Self:
        """Return it without servers that other runs may have reset since they were planned."""
        return self.replacing(
            ServerResult(
                server,
                ServerState.NOT_SENT,
                message=f"Left out: run {run} may have reset it.",
                run=run,
            )
            for server, run in left_out.items()
        )

    def ended_by(self, error: BaseException) -> Self:
        """Return it as an error, a signal or a bug ended it."""
        if isinstance(error, Interrupted):
            return self._replace(ending=Ending.INTERRUPTED, signum=error.signum)
        if not isinstance(error, ClcError):
            return self._replace(ending=Ending.CRASHED, crash=f"{describe_bug(error)}.")
        ending = Ending.STOPPED if self.resets and self.was_sent else Ending.ERROR
        return self._replace(ending=ending, error=error)

    def ends_the_run(self, servers: Iterable[str], max_failures: int) -> bool:
        """Return whether nothing may be sent after the wave of these servers."""
        if self.ending is not Ending.COMPLETE:
            return True
        doubts = PENDING | {ServerState.UNKNOWN, ServerState.NOT_SENT}
        if any(result.state in doubts for result in self.of(servers).results):
            return True
        return len(self.servers(ServerState.FAILED)) > max_failures

    def with_statuses(
        self,
        statuses: Mapping[Operation, OperationStatus],
        failures: Mapping[Operation, PollFailure],
        given_up: Iterable[Operation],
        shares: Mapping[Operation | None, int],
    ) -> Self:
        """Return it after what a wait learned of the operations.

        `failures` are those whose last poll failed, `given_up` those that the API doesn't know.
        `shares` is the number of servers that share an operation.
        """
        gone = set(given_up)

        def after(result: ServerResult) -> ServerResult:
            operation = result.operation
            if result.state not in PENDING or operation is None:
                return result
            if operation in statuses:
                return with_status(result, statuses[operation], shares.get(operation, 1))
            if operation in gone:
                message = "The API doesn't know this operation any more."
                return result._replace(state=ServerState.UNKNOWN, status=None, message=message)
            if operation in failures:
                return result._replace(message=sentence(f"No status: {failures[operation].reason}"))
            return result

        answered = frozenset(statuses.keys() - failures.keys())
        return self._replace(results=tuple(map(after, self.results)), answered=answered)

    def doubtful(self, shares: Mapping[Operation | None, int]) -> list[ServerResult]:
        """Return the results of which a look at the server can tell more than their state does."""

        def is_doubtful(result: ServerResult) -> bool:
            if result.state is ServerState.FAILED:
                is_shared = result.operation is not None and shares.get(result.operation, 1) > 1
                return is_shared and not result.has_failed_check
            timed_out = self.ending is Ending.TIME_LIMIT
            return result.state is ServerState.UNKNOWN or (timed_out and result.state in PENDING)

        return [result for result in self.results if result.server and is_doubtful(result)]

    def with_evidence(self, evidence: Mapping[tuple[str | None, str | None], Evidence]) -> Self:
        """Return it with what servers show, by run and server; a failed look is in the message."""

        def after(result: ServerResult) -> ServerResult:
            found = evidence.get((result.run, result.server))
            message = result.message
            if found is not None and found.observation.problem is not None:
                before = f"{message.removesuffix('.')}; it" if message else "It"
                problem = f"{before} couldn't be looked at: {found.observation.problem}"
                message = shorten(sentence(problem))
            return result._replace(evidence=found or result.evidence, message=message)

        return self._replace(results=tuple(map(after, self.results)))


def servers_of(results: Iterable[ServerResult]) -> list[str]:
    """Return the servers of results, each once."""
    return list(dict.fromkeys(result.server for result in results if result.server))


def followable(result: ServerResult) -> ServerResult:
    """Return the result as a wait for it begins: what can't be followed is unknown."""
    if result.state is not ServerState.QUEUED:
        return result
    if result.operation is None:
        return result._replace(state=ServerState.UNKNOWN)
    if result.operation.path is None:
        message = "Queued, but its status link leads away from the API and isn't followed."
        return result._replace(state=ServerState.UNKNOWN, message=message)
    return result


def with_status(result: ServerResult, status: OperationStatus, sharing: int) -> ServerResult:
    """Return the result of a server whose operation has this status; `sharing` servers share it."""
    if status.has_succeeded:
        return result._replace(state=ServerState.SUCCEEDED, status=None, message=None)
    if status.has_failed:
        message = "The operation failed; the API doesn't say why."
        if sharing > 1:
            message = (
                f"The operation failed. {sharing:,} servers share it, and the API doesn't say "
                "which of them failed."
            )
        return result._replace(state=ServerState.FAILED, status=None, message=message)
    return result._replace(state=ServerState.RUNNING, status=status, message=None)
