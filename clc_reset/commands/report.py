"""The end of a command: its result, the remarks beside it, and the exit code.

Only the outcome of a reset says whether something was reset.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from clc_reset.commands.session import Session
from clc_reset.errors import (
    INTERNAL,
    INTERRUPTED,
    OUTCOME_UNKNOWN,
    SHARED_FAILURE,
    STOPPED,
    TIME_LIMIT,
    ClcError,
    Interrupted,
    OutputError,
)
from clc_reset.exit_codes import ExitCode, of_signal
from clc_reset.identifiers import is_operation_id
from clc_reset.models import ServerState
from clc_reset.resets.outcome import Ending, Outcome
from clc_reset.text import (
    NAMED_IN_COMMANDS,
    continued,
    count,
    describe,
    describe_bug,
    enumerate_names,
    sentence,
    show_seconds,
)
from clc_reset.ui.render import Renderer, problem
from clc_reset.ui.streams import Delivery, is_terminal

NOTHING = "No server was reset."

_T = TypeVar("_T")


class Remark(NamedTuple):
    """A message beside a result. `kind` is its word in JSON, `hint` the next step."""

    kind: str
    message: str
    hint: str = ""


def outcome(
    session: Session,
    known: Outcome,
    *,
    usual_account: str | None = None,
    extra: Mapping[str, object] | None = None,
    missing: Sequence[Remark] = (),
    is_whole: bool = True,
) -> int:
    """Print an outcome and the remarks beside it; return the exit code.

    `usual_account` is the one in which a command without `-a` acts. In JSON `extra` stands beside
    the servers, and the first remark as `error`. `missing` are remarks about names that nobody
    knows. `is_whole` tells that all servers of the run are shown. A bug in here is one more
    message: the exit code is the outcome's.
    """
    code = known.exit_code
    if missing and code == ExitCode.OK:
        code = ExitCode.FAILED
    renderer = session.renderer

    def safe(work: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return work()
        except Exception as error:
            renderer.error(INTERNAL, _describe(error), "", code)
            return otherwise

    remarks = [*missing]
    safe(lambda: remarks.extend(_remarks(known, usual_account, is_whole=is_whole)), None)
    delivery = Delivery.PRINTED
    is_silent = session.quiet and session.form is None and code == ExitCode.OK
    if known.has_result and not is_silent:
        beside = dict(extra or {})
        if remarks:
            beside["error"] = problem(remarks[0].kind, remarks[0].message, code)
        delivery = safe(lambda: _result(session, known, beside), delivery)
    if not (session.quiet and code == ExitCode.OK):
        safe(lambda: _notes(session, known), None)
    for remark in remarks:
        renderer.error(remark.kind, remark.message, remark.hint, code)
    if not remarks:
        safe(lambda: _how_it_goes_on(session, known, usual_account), None)
    if delivery is Delivery.CLOSED_PIPE and code != ExitCode.UNKNOWN:
        return ExitCode.CLOSED_PIPE
    return code


def looked_up(delivery: Delivery) -> int:
    """Return the exit code of a command that only shows something.

    Raises OutputError if standard output couldn't be written.
    """
    if delivery is Delivery.ELSEWHERE:
        raise OutputError("Standard output can't be written.", hint="The result is above.")
    return ExitCode.CLOSED_PIPE if delivery is Delivery.CLOSED_PIPE else ExitCode.OK


def error(renderer: Renderer, raised: BaseException) -> int:
    """Print the error that ended a command; return its exit code."""
    match raised:
        case BrokenPipeError():
            return ExitCode.CLOSED_PIPE
        case ClcError():
            remark, code = Remark(raised.kind, raised.message, raised.hint), int(raised.exit_code)
        case Interrupted():
            remark, code = Remark(INTERRUPTED, "Interrupted."), of_signal(raised.signum)
        case KeyboardInterrupt():
            remark, code = Remark(INTERRUPTED, "Interrupted."), int(ExitCode.INTERRUPTED)
        case _:
            remark, code = Remark(INTERNAL, _describe(raised)), int(ExitCode.FAILED)
    renderer.error(*remark, code)
    return code


def _describe(error: BaseException) -> str:
    return f"{describe(error) if isinstance(error, OSError) else describe_bug(error)}."


def _result(session: Session, known: Outcome, extra: Mapping[str, object]) -> Delivery:
    delivery = session.renderer.results(
        known.account, known.results, extra, run=known.run, verbose=session.verbose
    )
    if delivery is Delivery.ELSEWHERE and sys.stdout is not None:
        session.streams.note("Standard output can't be written; the result is above.")
    return delivery


def _notes(session: Session, known: Outcome) -> None:
    line = summary(known)
    if line is not None:
        session.streams.note(line)
    if known.unasked:
        session.streams.note(
            "Warning: the API also answered for servers that were not asked for: "
            f"{enumerate_names(known.unasked)}."
        )


def _how_it_goes_on(session: Session, known: Outcome, usual_account: str | None) -> None:
    """Tell a person how to follow operations that aren't waited for."""
    is_read = is_terminal(session.streams.stderr) and not session.quiet
    if known.pending and not known.waited and is_read:
        follow = how_to_follow(known, usual_account)
        session.streams.note(f"{_in_the_cloud(known)}\n{follow}")


# --- remarks ---


def _remarks(known: Outcome, usual_account: str | None, *, is_whole: bool) -> Iterator[Remark]:
    unknown = known.servers(ServerState.UNKNOWN)
    kind = OUTCOME_UNKNOWN
    if known.ending is Ending.INTERRUPTED and known.problem and unknown:
        kind = INTERRUPTED  # the signal ended the wait for the answer: one remark for both
    elif known.ending not in {Ending.COMPLETE, Ending.STOPPED}:
        yield _cut_short(known, usual_account)
    if unknown:
        yield _unknown(known, unknown, kind, usual_account)
    if known.has_result:
        yield from _not_sent(known, usual_account, is_whole=is_whole)
        yield from _failed_in_part(known, usual_account)


def _cut_short(known: Outcome, usual_account: str | None) -> Remark:
    follow = how_to_follow(known, usual_account)
    goes_on = _in_the_cloud(known) if known.was_sent or not known.resets else NOTHING
    match known.ending:
        case Ending.INTERRUPTED:
            return Remark(INTERRUPTED, _joined("Interrupted.", goes_on), follow)
        case Ending.TIME_LIMIT:
            passed = f"The time limit of {show_seconds(known.limit or 0)} has passed."
            return Remark(TIME_LIMIT, _joined(passed, goes_on), follow)
        case Ending.ERROR if known.error is not None:
            return _error(known, known.error, goes_on, follow)
        case _:
            return Remark(INTERNAL, _joined(known.crash or "", goes_on), follow)


def _error(known: Outcome, error: ClcError, goes_on: str, follow: str) -> Remark:
    hints = [error.hint, "" if goes_on == NOTHING else follow]
    is_safe = goes_on == NOTHING and error.exit_code is ExitCode.NOT_SENT
    if is_safe and known.run is not None and not known.has_record:
        hints.append(
            "The journal couldn't note this, so the next reset of these servers will ask first, "
            "or end with exit code 3."
        )
    return Remark(error.kind, _joined(error.message, goes_on), "\n".join(filter(None, hints)))


def _joined(message: str, more: str) -> str:
    """Return a message with more sentences, on a line of their own where it has several lines."""
    separator = "\n" if "\n" in message else " "
    return separator.join(filter(None, (message, more)))


def _unknown(known: Outcome, names: Sequence[str], kind: str, usual_account: str | None) -> Remark:
    message = f"The outcome is unknown for {count(len(names), 'server')}: {enumerate_names(names)}."
    if not known.resets:
        return Remark(kind, message, _next_step(known, ServerState.UNKNOWN, usual_account))
    if known.problem:
        message = f"{sentence(f'A reset was sent, but {known.problem}')} {message}"
    look = f"clc status --run {known.run}"
    if not known.run:
        look = _command("servers", names[:NAMED_IN_COMMANDS], known, usual_account)
    they_have = "it has" if len(names) == 1 else "they have"
    return Remark(
        kind,
        message,
        f"The request may have reset {_them(names)}, and wasn't repeated.\n"
        f"To see whether {they_have} changed: {look}",
    )


def _next_step(known: Outcome, state: ServerState, usual_account: str | None) -> str:
    """Return the next step for servers with this state, by what they show.

    Servers of several accounts can't be named in one command.
    """
    shown: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for result in known.results:
        if result.state is state and result.server:
            changed = None if result.evidence is None else result.evidence.changed
            shown[changed].append(result.server)
    is_one = sum(map(len, shown.values())) == 1
    is_unknown = state is ServerState.UNKNOWN
    hints = []
    if shown[True]:
        hints.append("Those that have changed were most likely reset: leave them alone.")
    was_cut_short = known.ending is Ending.INTERRUPTED
    if is_unknown and known.can_change and (shown[False] or was_cut_short):
        hints.append("A change can still come: the API takes up to 30 s a server.")
        if known.can_be_awaited and known.run is not None:
            hints.append(f"To wait for a change: clc status --wait --run {known.run}")
    if known.account is None:
        return "\n".join(hints)
    if shown[False] and len(shown[False]) <= NAMED_IN_COMMANDS:
        them = "it" if is_one else "those that haven't changed"
        if is_unknown and known.can_change:
            them = "it, if it hasn't changed by then" if is_one else f"{them} by then"
        again = " --again" if is_unknown else ""
        command = _command("reset", shown[False], known, usual_account)
        hints.append(f"To reset {them}: {command}{again}")
    if shown[None] and is_unknown:
        look = _command("servers", shown[None][:NAMED_IN_COMMANDS], known, usual_account)
        hints.append(f"To look at {_them(shown[None])}: {look}")
    return "\n".join(hints)


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _command(name: str, servers: Sequence[str], known: Outcome, usual_account: str | None) -> str:
    """Return a command about these servers, to paste."""
    elsewhere = ["-a", known.account] if known.account != usual_account else []
    return " ".join(["clc", name, *filter(None, elsewhere), *servers])


def _not_sent(known: Outcome, usual_account: str | None, *, is_whole: bool) -> Iterator[Remark]:
    """Name the servers that weren't sent, and why, with the command that sends them alone."""
    unsent = [r for r in known.results if r.state is ServerState.NOT_SENT]
    taken = [r for r in unsent if known.resets and r.run not in {None, known.run}]
    left = [r.server or "" for r in unsent if r not in taken]
    kind, message, hint = STOPPED, "", ""
    if known.ending is Ending.STOPPED and known.error is not None:
        kind, hint = known.error.kind, known.error.hint
        reason = continued(known.error.message)
        message = f"Wave {known.wave:,} of {known.waves:,} wasn't sent: {reason}"
    if left:
        were = "was" if len(left) == 1 else "were"
        these = f"{count(len(left), 'server')} {were} not sent: {enumerate_names(left)}."
        message = _joined(message, these)
        hint = "\n".join(
            filter(None, (hint, _how_to_send(known, left, usual_account, is_whole=is_whole)))
        )
    if message:
        yield Remark(kind, message, hint)
    if taken:
        names = enumerate_names([result.server or "" for result in taken])
        yield Remark(STOPPED, f"Left out, since another run may have reset them: {names}.")


def _how_to_send(
    known: Outcome, left: Sequence[str], usual_account: str | None, *, is_whole: bool
) -> str:
    if known.run is not None and is_whole:
        once = ", once the others are over" if known.pending else ""
        return f"To reset {_them(left)}{once}: clc reset --rest-of {known.run}"
    if known.account is not None and len(left) <= NAMED_IN_COMMANDS:
        return f"To reset {_them(left)}: {_command('reset', left, known, usual_account)}"
    return ""


def _failed_in_part(known: Outcome, usual_account: str | None) -> Iterator[Remark]:
    """Say what to do where a shared operation failed and its servers show different things."""
    failed = [r for r in known.results if r.state is ServerState.FAILED and r.evidence]
    hint = _next_step(known, ServerState.FAILED, usual_account)
    if failed and hint:
        names = enumerate_names([result.server or "" for result in failed])
        yield Remark(SHARED_FAILURE, f"A shared operation failed: {names}.", hint)


def _in_the_cloud(known: Outcome) -> str:
    """Return what becomes of operations that nobody waits for any more."""
    pending = known.pending
    if not pending:
        return ""
    number = count(len(pending), "operation")
    is_one = len(pending) == 1
    running = {result.operation for result in known.results if result.state is ServerState.RUNNING}
    if known.resets or running.issuperset(pending):
        verb = "is" if is_one else "are"
        return f"The resets continue in the cloud: {number} {verb} still running."
    verb = "isn't" if is_one else "aren't"
    return f"{number} {verb} known to be over."


def how_to_follow(known: Outcome, usual_account: str | None) -> str:
    """Return how to take up the wait again, as a command to paste; empty if nothing is pending.

    It names the run. Without a journal it names up to ten operations.
    """
    pending = known.pending
    if not pending and not known.servers(ServerState.PLANNED):
        return ""
    begins = f"To follow {'it' if len(pending) == 1 else 'them'}: clc status --wait"
    if known.run is not None:
        return f"{begins} --run {known.run}"
    ids: dict[str | None, list[str]] = {}
    for operation in pending:
        if is_operation_id(operation.id):
            ids.setdefault(operation.account, []).append(operation.id)
    lines = []
    left = NAMED_IN_COMMANDS
    for account, operations in ids.items():
        named = operations[:left]
        left -= len(named)
        if named:
            elsewhere = ["-a", account] if account and account != usual_account else []
            lines.append(" ".join([begins, *elsewhere, *named]))
    more = len(pending) - (NAMED_IN_COMMANDS - left)
    if more:
        lines.append(f"{count(more, 'more operation')} can't be named here.")
    return "\n".join(lines)


def summary(known: Outcome) -> str | None:
    """Return one line about several servers: `299 succeeded, 2 failed in 6 s. Failed: …`."""
    if not known.has_result or len(known.results) <= 1:
        return None
    states = Counter(result.state for result in known.results)
    order = [state for state in ServerState if state is not ServerState.UNKNOWN]
    parts = [_counted(known, s, states[s]) for s in [*order, ServerState.UNKNOWN] if states[s]]
    line = ", ".join(parts)
    if known.seconds is not None and known.seconds >= 1:
        seconds = f"{known.seconds:,.0f} s"  # behind evidence, "in" would tell when it changed
        line += f" ({seconds})" if ": " in line else f" in {seconds}"
    failed = known.servers(ServerState.FAILED)
    return f"{line}. Failed: {enumerate_names(failed)}" if failed else line


def _counted(known: Outcome, state: ServerState, number: int) -> str:
    """Return how many servers have a state, and their evidence: `3 unknown: 1 changed since`."""
    shown = Counter(
        result.evidence.changed
        for result in known.results
        if result.state is state and result.evidence is not None
    )
    evidence = [f"{shown[True]:,} changed since"] * bool(shown[True])
    evidence += [f"{shown[False]:,} not yet"] * bool(shown[False])
    return f"{number:,} {state}" + (f": {', '.join(evidence)}" if evidence else "")
