"""What the bodies of the API's answers mean. Pure: bytes and JSON in, values out.

Nothing is taken for granted: each reader says what was documented, recorded or reported, and
whatever else comes is read as far as it goes. No server that was asked for is ever lost.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clc_reset.models import (
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerResult,
    ServerState,
    printable,
)

LONGEST_WORD = 40
"""In characters; a status longer than that is no word."""


def reconcile(servers: Sequence[str], entities: Sequence[object]) -> ResetAnswer:
    """Hold what the API answered against what was asked, ignoring case and order.

    A server that the answer leaves out is unknown, never dropped. One that is answered for in two
    ways is unknown too: the API contradicts itself.
    """
    found: dict[str, ServerResult] = {}
    unasked: dict[str, None] = {}
    asked = set(servers)
    for entity in entities:
        name = text(entity.get("server")) if isinstance(entity, dict) else ""
        server = name.upper()
        if server in asked and isinstance(entity, dict):
            result = _server_result(server, entity)
            found[server] = _merged(found.get(server, result), result)
        elif name:
            unasked[printable(server)] = None
    missing = "The API's answer leaves this server out: it may have been reset."
    return ResetAnswer(
        tuple(
            found.get(server) or ServerResult(server, ServerState.UNKNOWN, None, missing)
            for server in servers
        ),
        tuple(unasked),
    )


def _server_result(server: str, entity: Mapping[str, object]) -> ServerResult:
    message = text(entity.get("errorMessage")) or None
    operation = _operation(entity.get("links"))
    match entity.get("isQueued"):
        case True:
            if operation is None and message is None:
                message = "Queued without a status link: it can't be followed."
            return ServerResult(server, ServerState.QUEUED, operation, message)
        case False:
            return ServerResult(
                server, ServerState.FAILED, None, message or "Refused; the API gave no reason."
            )
        case _:
            message = message or "The API doesn't say whether this was queued."
            return ServerResult(server, ServerState.UNKNOWN, operation, message)


def _merged(first: ServerResult, second: ServerResult) -> ServerResult:
    if first == second:
        return first
    if first.state is second.state is ServerState.FAILED:
        return first._replace(message=f"{first.message} {second.message}")
    ids = {each.operation.id for each in (first, second) if each.operation}
    message = "The API answered for this server in more than one way"
    return ServerResult(
        first.server,
        ServerState.UNKNOWN,
        first.operation or second.operation,
        f"{message}: {', '.join(sorted(ids))}." if ids else f"{message}.",
    )


def _operation(links: object) -> Operation | None:
    """The link whose rel is "status"; missing, null and empty links are alike."""
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "status":
            href = text(link.get("href"))
            status_id = text(link.get("id")) or href.rstrip("/").rpartition("/")[2]
            if href and status_id:
                return Operation(printable(status_id), href)
    return None


def entities(body: bytes) -> list[object] | None:
    """The entities of a reset's answer; None where it is something else.

    Reported: a single object instead of an array for one server.
    """
    answer = decode(body)
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, list):
        return None
    if answer and not any(isinstance(each, dict) and "isQueued" in each for each in answer):
        return None
    return answer


def operation_status(body: bytes) -> OperationStatus | None:
    """The status in the answer to Get Status: `{"status":"executing"}`; None in anything else."""
    answer = decode(body)
    word = printable(text(answer.get("status"))) if isinstance(answer, dict) else ""
    return OperationStatus(word) if 0 < len(word) <= LONGEST_WORD else None


def reason(body: bytes) -> str:
    """The words of an error's body, or an empty string.

    Recorded: an object with `message`, `modelState` (its key may be empty) or `error`, a bare
    string, an array of `message`; a 500 may carry `exceptionMessage`. Others say nothing.
    """
    content = decode(body)
    words: list[str] = []
    for each in content if isinstance(content, list) else [content]:
        if isinstance(each, dict):
            words += (text(each.get(key)) for key in ("message", "error", "exceptionMessage"))
            state = each.get("modelState")
            for texts in state.values() if isinstance(state, dict) else ():
                words += (text(each) for each in texts) if isinstance(texts, list) else ()
        else:
            words.append(text(each))
    return " ".join(dict.fromkeys(word for word in words if word))


def decode(body: bytes) -> Any:  # noqa: ANN401 - JSON is what it is; each reader looks closer
    """The JSON in a body, None where there is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def text(value: object) -> str:
    """The value where it is text, less blanks at its ends; else an empty string."""
    return value.strip() if isinstance(value, str) else ""
