"""What the journal remembers of earlier resets: which one is meant, and what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from clc_reset.cli import following
from clc_reset.cli.ending import unknown_outcome
from clc_reset.errors import UsageError
from clc_reset.models import ServerResult, ServerState
from clc_reset.wording import count, quote, show_time

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from clc_reset.cli.app import App
    from clc_reset.cli.ending import Ending
    from clc_reset.journal import Run

_NAME_THEM = "Name the operations, as in: clc status wa1-12345"


def run(app: App, name: str | None, alias: str) -> Run:
    """The run of that id, by default the latest in an account.

    Raises UsageError where there is none, where it is of another API, or can't be read.
    """
    with _readable():
        for each in app.journal.runs():
            if each.id == name:
                return _of_this_api(app, each)
            if name is None and (each.base_url, each.account) == (app.origin, alias):
                return each
    if name is not None:
        raise UsageError(f"The journal has no run {quote(name)}.", hint="See: clc history")
    raise UsageError(
        f"No operation is named, and the journal has no reset in account {alias} at {app.origin}.",
        hint=f"{_NAME_THEM}\nWhat the journal has: clc history",
    )


def _of_this_api(app: App, run: Run) -> Run:
    if run.base_url != app.origin:
        raise UsageError(
            f"Run {run.id} was at {run.base_url}, but this is {app.origin}.",
            hint=f"Set CLC_BASE_URL to {run.base_url} to ask there.",
        )
    return run


def latest_runs(app: App, most: int) -> Sequence[Run]:
    """The latest runs, the newest first. Raises UsageError where the journal can't be read."""
    with _readable():
        return list(islice(app.journal.runs(), most))


def describe(run: Run) -> str:
    """What was asked, where and when."""
    what = f"Reset of {count(len(run.servers), 'server')} in account {run.account}"
    return f"{what}, asked for at {show_time(run.at)} (run {run.id})."


def results_of(run: Run, *, at_last: bool = False) -> Sequence[ServerResult]:
    """What came back for each server, with the ends that were heard of since.

    With `at_last` also with what was last heard of operations that had no end yet.
    """
    if run.results is None:
        state, message = ServerState.UNKNOWN, _without_an_answer(run)
        if run.not_sent:
            state, message = ServerState.NOT_SENT, run.not_sent
        return [ServerResult(each, state, None, message) for each in run.servers]
    heard = {
        each: status
        for each in following.operations_of(run.results)
        if (status := run.statuses.get(each.href)) and (at_last or status.is_final)
    }
    settled = following.settled(run.results, heard, {})
    return [
        after if before.operation in heard else before
        for before, after in zip(run.results, settled, strict=True)
    ]


def endings(run: Run, results: Sequence[ServerResult]) -> Iterator[Ending]:
    """What has to be said beside the results of a run where an outcome is unknown."""
    why = f"{run.problem[:1].upper()}{run.problem[1:]}. " if run.problem else ""
    if run.results is None:
        why = f"{_without_an_answer(run)} "
    return unknown_outcome(results, why)


def _without_an_answer(run: Run) -> str:
    return (
        f"Maybe sent at {show_time(run.at)}, no answer was ever recorded: look before you repeat."
    )


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"The journal can't be read: {error.strerror or error}.", hint=_NAME_THEM
        ) from error
