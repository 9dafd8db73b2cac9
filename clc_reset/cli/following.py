"""Follows operations for `reset --wait` and `status`: asks, shows progress, says how it ended."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from clc_reset.cli import exit_codes
from clc_reset.cli.ending import Ending, verdict
from clc_reset.errors import INTERRUPTED, TIME_LIMIT, UnreachableError
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState, is_operation_id
from clc_reset.wording import enumerate_names, show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from clc_reset.api import Api
    from clc_reset.cli.app import App
    from clc_reset.journal import Entry
    from clc_reset.models import NoNews
    from clc_reset.output import Output, Progress
    from clc_reset.waiting import Waited

ONE_ROUND_SECONDS = 90.0
"""The limit where each operation is asked once: an answer may take a minute (reported)."""
SILENT_NAMED = 5
"""Operations without news that are named; of the others it is said once that there are some."""

_PENDING = {ServerState.QUEUED, ServerState.RUNNING}
_LINK = r"/v2/operations/(?P<alias>[A-Za-z0-9]+)/status/(?P<id>[^/?]+)"


def operations_of(results: Iterable[ServerResult]) -> list[Operation]:
    """The distinct operations that may still be running."""
    found = (each.operation for each in results if each.state in _PENDING)
    return list(dict.fromkeys(each for each in found if each is not None))


class Followed(NamedTuple):
    """The results after their operations were followed, and how that went.

    `still_running` are the operations that nobody has heard the end of.
    """

    results: Sequence[ServerResult]
    waited: Waited
    still_running: Sequence[Operation]


def follow(  # noqa: PLR0913 - what to follow, how, and where to record it
    app: App,
    api: Api,
    results: Sequence[ServerResult],
    *,
    limit: float,
    once: bool = False,
    entry: Entry | None = None,
) -> Followed:
    """Poll the operations of the results, until all are final or `limit` seconds have passed.

    Their links are paths of the API, as `resolved` makes them. With `once` each is asked one
    time only. Changes are recorded in the journal's `entry`.
    """
    followed = [_followable(each) for each in results]
    servers: dict[Operation, list[str]] = {each: [] for each in operations_of(followed)}
    for each in followed:
        if each.operation in servers and each.server:
            servers[each.operation].append(each.server)
    with app.progress(servers, shown=not once) as progress:
        listener = _Listener(app.output, progress, entry)
        for operation, names in servers.items():
            if names:
                progress.changed(operation, OperationStatus("queued"), 0.0)
        waited = app.wait(api, servers, listener, limit=limit, once=once)
    return Followed(
        settled(followed, waited.statuses, waited.no_news),
        waited,
        [each for each in servers if not _is_final(waited.statuses.get(each))],
    )


def settled(
    results: Sequence[ServerResult],
    statuses: Mapping[Operation, OperationStatus],
    no_news: Mapping[Operation, NoNews],
) -> list[ServerResult]:
    """The results after what was heard of their operations."""
    shares = Counter(each.operation for each in results)
    return [_after(each, statuses, no_news, shares[each.operation]) for each in results]


def resolved(api: Api, results: Iterable[ServerResult]) -> list[ServerResult]:
    """The results with their status links as paths of the API, empty where one leads elsewhere.

    The alias of an account may be spelled in either case; one operation stays one all the same.
    """
    first: dict[tuple[str, str], Operation] = {}

    def one(operation: Operation) -> Operation:
        path = api.path_of(operation)
        if path is None:
            return operation._replace(href="")
        link = re.fullmatch(_LINK, path)
        key = (link["alias"].upper(), link["id"]) if link else ("", path)
        return first.setdefault(key, operation._replace(href=path))

    return [
        each._replace(operation=one(each.operation)) if each.operation else each for each in results
    ]


def refuse_unreachable(waited: Waited) -> None:
    """Raise UnreachableError where no operation's status could even be asked for."""
    silences = list(waited.no_news.values())
    if silences and not waited.statuses and all(each.unreachable for each in silences):
        raise UnreachableError(
            f"The API was not reached: {silences[0].reason}.",
            hint="Check the network, the proxy settings and CLC_BASE_URL. Nothing was changed.",
        )


def endings(followed: Followed, limit: float, usual: str | None) -> Iterator[Ending]:
    """What is to be said of a wait that ended before its operations did."""
    waited, running = followed.waited, followed.still_running
    resume = resume_hint(running, usual)
    if waited.signum is not None:
        yield Ending(INTERRUPTED, f"Interrupted. {go_on(running)}", resume)
    elif waited.error is not None:
        hint = "\n".join(filter(None, (waited.error.hint, resume)))
        yield Ending(waited.error.kind, f"{waited.error.message} {go_on(running)}", hint)
    elif waited.timed_out:
        passed = f"The time limit of {show_seconds(limit)} has passed."
        yield Ending(TIME_LIMIT, f"{passed} {go_on(running)}", resume)


def go_on(running: Sequence[Operation]) -> str:
    """What is to be said of operations that nobody waits for any more."""
    if not running:
        return "No operation is still running."
    are = "operation is" if len(running) == 1 else "operations are"
    return f"The resets go on in the cloud. {len(running):,} {are} still running."


def resume_hint(operations: Iterable[Operation], usual: str | None) -> str:
    """How to take the wait up again, in commands that can be pasted.

    Alias and id are those of the link, which is what works; `usual` is the alias that needs no
    `-a`. What no command can name is said.
    """
    ids: dict[str, dict[str, None]] = {}
    lost = []
    for operation in operations:
        link = re.fullmatch(_LINK, operation.href)
        if link and is_operation_id(link["id"]):
            ids.setdefault(link["alias"].upper(), {})[link["id"]] = None
        else:
            lost.append(operation.id)
    lines = [
        " ".join(
            ["clc", "status", "--wait", *([] if where == usual else ["-a", where]), *ids[where]]
        )
        for where in ids
    ]
    said = [f"Resume with: {line}" for line in lines]
    if lost:
        said.append(f"Not to be resumed by their ids: {enumerate_names(lost)}")
    return "\n".join(said)


def exit_code(followed: Followed) -> int:
    """The verdict on what was waited for."""
    if followed.waited.signum is not None:
        return exit_codes.of_signal(followed.waited.signum)
    if followed.waited.error is not None:
        return exit_codes.of_error(followed.waited.error, sent=())
    states = {each.state for each in followed.results}
    if followed.waited.timed_out and not any(each.server for each in followed.results):
        # asked for by its id, and not heard of in time: to be asked again, as what is running
        states = {ServerState.RUNNING if s is ServerState.UNKNOWN else s for s in states}
    return verdict(states, waited=True)


def _is_final(status: OperationStatus | None) -> bool:
    return status is not None and status.is_final


def _followable(result: ServerResult) -> ServerResult:
    if result.state is not ServerState.QUEUED:
        return result
    if result.operation is None:
        return result._replace(state=ServerState.UNKNOWN)
    if not result.operation.href:
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
        message = f"No status yet: {silence.reason}." if silence else "No status yet."
        state = ServerState.QUEUED if result.server else ServerState.UNKNOWN
        return result._replace(state=state, message=message)
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
    return result._replace(state=ServerState.RUNNING, message=status.word)


class _Listener:
    """Shows changes as progress, and says what is amiss."""

    def __init__(self, output: Output, progress: Progress, entry: Entry | None) -> None:
        self._output = output
        self._progress = progress
        self._entry = entry
        self._named: set[Operation] = set()
        self._has_counted = False

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        self._progress.changed(operation, status, seconds)
        if self._entry is not None:
            self._entry.changed(operation, status)

    def tick(self, seconds: float) -> None:
        self._progress.tick(seconds)

    def silent(self, operation: Operation, reason: str) -> None:
        if len(self._named) < SILENT_NAMED:
            self._named.add(operation)
            self._output.note(
                f"No status of {operation.id} three times in a row: {reason}. "
                "It is asked again until the time limit."
            )
        elif not self._has_counted:
            self._has_counted = True
            self._output.note("No status of further operations, either.")

    def heard_again(self, operation: Operation) -> None:
        if operation in self._named:
            self._named.remove(operation)
            self._output.note(f"{operation.id} has a status again.")
