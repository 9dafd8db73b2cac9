"""How a command that reports servers ends: the result, and what has to be said beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from clc_reset.cli import exit_codes
from clc_reset.cli.app import App
from clc_reset.errors import OUTCOME_UNKNOWN
from clc_reset.models import ServerResult, ServerState
from clc_reset.output import problem
from clc_reset.wording import count, enumerate_names


class Ending(NamedTuple):
    """What has to be said beside a result. `kind` is its word in `-o json`."""

    kind: str
    message: str
    hint: str


def tell(  # noqa: PLR0913 - all that a command ends with
    app: App,
    alias: str,
    results: Sequence[ServerResult],
    endings: Iterable[Ending],
    code: int,
    *,
    extra: Mapping[str, object] | None = None,
) -> int:
    """Print the results and what has to be said beside them; returns the exit code.

    In JSON `extra` stands beside the servers, and the first ending as `error`.
    """
    said = list(endings)
    error = {"error": problem(said[0].kind, said[0].message, code)} if said else {}
    try:
        app.output.results(alias, results, {**(extra or {}), **error})
    finally:  # also where nobody reads the result any more
        for each in said:
            app.output.error(each.kind, each.message, each.hint, code)
    return code


def verdict(states: Iterable[ServerState], *, waited: bool = False) -> int:
    """The exit code of a batch: the first of 6, 1 and 7 that applies, else 0.

    Without a wait for the operations, queued is as good as it gets.
    """
    seen = set(states)
    if ServerState.UNKNOWN in seen:
        return exit_codes.UNKNOWN
    if ServerState.FAILED in seen:
        return exit_codes.FAILED
    running = waited and seen & {ServerState.QUEUED, ServerState.RUNNING}
    return exit_codes.RUNNING if running else exit_codes.OK


def unknown_outcome(
    results: Iterable[ServerResult], why: str = "", kind: str = OUTCOME_UNKNOWN
) -> Iterator[Ending]:
    """What has to be said where the outcome is unknown for a server."""
    names = [each.server for each in results if each.state is ServerState.UNKNOWN]
    if names:
        yield Ending(
            kind,
            f"{why}The outcome is unknown for {count(len(names), 'server')}: "
            f"{enumerate_names(names)}.",
            "They may have been reset, or not. It was not sent again. "
            "Look at them before you repeat it.",
        )


def no_status(results: Iterable[ServerResult]) -> Iterator[Ending]:
    """What has to be said where no status could be had of an operation."""
    ids = [
        each.operation.id
        for each in results
        if each.operation and each.state is ServerState.UNKNOWN
    ]
    if ids:
        yield Ending(
            OUTCOME_UNKNOWN,
            f"No status of {count(len(ids), 'operation')}: {enumerate_names(ids)}.",
            "The message beside each says why. Is -a the account of the reset?",
        )
