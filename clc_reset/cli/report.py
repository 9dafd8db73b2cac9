"""How a command ends: the result, what has to be said beside it, and the exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from clc_reset.cli import exit_codes
from clc_reset.errors import INTERNAL, INTERRUPTED, ClcError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clc_reset.resets.outcome import Outcome, Remark
    from clc_reset.ui.output import Delivery, Output

_T = TypeVar("_T")


def outcome(
    output: Output,
    known: Outcome,
    usual_account: str | None,
    *,
    quiet: bool,
    verbose: bool = False,
    extra: Mapping[str, object] | None = None,
) -> int:
    """Print an outcome and what has to be said beside it; returns the exit code.

    `usual_account` is the one that a command without `-a` acts in. In JSON `extra` stands beside
    the servers, and the first remark as `error`. A defect here is one message more: the code is
    the outcome's, and what can be told is told.
    """
    from clc_reset.resets.outcome import remarks
    from clc_reset.ui.output import Delivery, problem

    code = exit_codes.of_outcome(known)

    def fenced(work: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - what only shows can't change what is told
            output.error(INTERNAL, _defect(error), "", code)
            return otherwise

    said: list[Remark] = fenced(lambda: list(remarks(known, usual_account)), [])
    first = next(iter(said), None)
    beside = dict(extra or {})
    if first is not None:
        beside["error"] = problem(first.kind, first.message, code)
    delivery = Delivery.PRINTED
    if known.has_result:
        delivery = fenced(lambda: _result(output, known, beside, verbose=verbose), delivery)
    fenced(lambda: _notes(output, known, quiet=quiet), None)
    for each in said:
        output.error(each.kind, each.message, each.hint or "", code)
    if not said:
        fenced(lambda: _how_it_goes_on(output, known, usual_account), None)
    if delivery is Delivery.CLOSED_PIPE and code != exit_codes.UNKNOWN:
        return exit_codes.CLOSED_PIPE
    return code


def looked_up(delivery: Delivery) -> int:
    """The exit code of a command that only shows something.

    Raises OutputError if standard output couldn't be written.
    """
    if delivery is delivery.ELSEWHERE:
        raise OutputError("Standard output can't be written.", hint="The result is above.")
    return exit_codes.CLOSED_PIPE if delivery is delivery.CLOSED_PIPE else exit_codes.OK


def error(output: Output, raised: Exception | KeyboardInterrupt, *, was_sent: bool = False) -> int:
    """Say what an error came to that ended a command before anything was sent."""
    code = exit_codes.of_error(raised, was_sent=was_sent)
    if isinstance(raised, ClcError):
        output.error(raised.kind, raised.message, raised.hint, code)
    elif isinstance(raised, KeyboardInterrupt):
        output.error(INTERRUPTED, "Interrupted.", "", code)
    elif not isinstance(raised, BrokenPipeError):
        output.error(INTERNAL, _defect(raised), "", code)
    return code


def _result(
    output: Output, known: Outcome, extra: Mapping[str, object], *, verbose: bool
) -> Delivery:
    delivery = output.results(
        known.account, known.results, extra, known.observations, verbose=verbose
    )
    if delivery is delivery.ELSEWHERE and sys.stdout is not None:
        output.note("Standard output can't be written; the result is above.")
    return delivery


def _notes(output: Output, known: Outcome, *, quiet: bool) -> None:
    from clc_reset.resets.outcome import Verdict, summary
    from clc_reset.text import enumerate_names

    line = summary(known)
    if line is not None and not (quiet and known.verdict is Verdict.DONE):
        output.note(line)
    if known.unasked:
        output.note(
            "Warning: the API also answered for servers that were not asked for: "
            f"{enumerate_names(known.unasked)}."
        )


def _how_it_goes_on(output: Output, known: Outcome, usual_account: str | None) -> None:
    """Say to a person how to follow what isn't waited for."""
    from clc_reset.resets.outcome import how_to_follow, in_the_cloud
    from clc_reset.ui.output import is_terminal

    if not known.waited and is_terminal(sys.stderr) and known.pending:
        follow = how_to_follow(known, usual_account)
        output.note(f"{in_the_cloud(known.pending)}\n{follow}")


def _defect(raised: Exception) -> str:
    from clc_reset.text import describe, describe_defect

    return f"{describe(raised) if isinstance(raised, OSError) else describe_defect(raised)}."
