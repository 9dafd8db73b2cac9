"""Values that many tests need: servers, operations, results and answers."""

from collections.abc import Sequence
from datetime import datetime

from clc_reset.clocks import Moment
from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)

ORIGIN, ACCOUNT, USER = "https://api.ctl.io", "ALIAS", "nightly"
A, B, C, D = "WA1ALIASWB01", "WA1ALIASWB02", "WA1ALIASWB03", "WA1ALIASWB04"
FAR = "VA1ALIASWB01"
"""A server of another data centre."""

EXECUTING, SUCCEEDED, FAILED = map(OperationStatus, ("executing", "succeeded", "failed"))


def many(number: int, datacenter: str = "WA1") -> tuple[str, ...]:
    """So many servers."""
    return tuple(f"{datacenter}ALIASN{n:05}" for n in range(number))


def operation(name: int | str, account: str = ACCOUNT) -> Operation:
    """The operation of that id, or number."""
    name = name if isinstance(name, str) else f"wa1-{name}"
    return Operation(name, f"/v2/operations/{account.lower()}/status/{name}", account)


ONE, TWO = operation(1), operation(2)


def queued(server: str | None, operation: Operation | None = ONE) -> ServerResult:
    return ServerResult(server, ServerState.QUEUED, operation)


def refused(server: str, message: str = "Not in a valid state.") -> ServerResult:
    return ServerResult(server, ServerState.FAILED, None, message)


def unknown(server: str, message: str | None = None) -> ServerResult:
    return ServerResult(server, ServerState.UNKNOWN, None, message)


def not_sent(*servers: str) -> tuple[ServerResult, ...]:
    return tuple(ServerResult(server, ServerState.NOT_SENT) for server in servers)


def sent(
    *results: ServerResult,
    turns: Sequence[str] | None = None,
    left: Moment | None = None,
    sent_at: datetime | None = None,
) -> ResetAnswer:
    """The answer of an API that got the request; its `turns` are those of the results, in order."""
    if turns is None:
        turns = [result.server for result in results if result.server]
    return ResetAnswer(Sending.SENT, results, tuple(turns), left=left, sent_at=sent_at)


def lost(*servers: str, problem: str = "it timed out") -> ResetAnswer:
    """No answer to a request that left."""
    return ResetAnswer.maybe_sent(servers, problem)
