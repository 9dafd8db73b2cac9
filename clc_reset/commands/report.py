"""The end of a command: its result, the remarks beside it, and the exit code.

Only the outcome of a reset says whether something was reset.
"""

import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

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
from clc_reset.models import ServerResult, ServerState
from clc_reset.resets.outcome import Ending, Outcome, servers_of
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


class Remark(NamedTuple):
    """A message beside a result. `kind` is its word in JSON, `hint` the next step."""

    kind: str
    message: str
    hint: str = ""


def outcome(
    session: Session,
    known: Outcome,
    *,
    whole_run: Mapping[str, object] | None = None,
    missing: Sequence[Remark] = (),
) -> int:
    """Print an outcome and the remarks beside it; return the exit code.

    `whole_run` is what JSON says of the run where all of its servers are shown. There the first
    remark is `error`. `missing` are remarks about names that nobody knows. A bug in here is one
    more remark: the exit code is the outcome's.
    """
    code = known.exit_code
    if missing and code == ExitCode.OK:
        code = ExitCode.FAILED
    advice = Advice(known, session.usual_account, is_whole=whole_run is not None)
    remarks = [*missing]
    with _bugs_among(remarks):
        remarks.extend(advice.remarks())
    has_remarks = bool(remarks)
    delivery = Delivery.PRINTED
    is_silent = session.quiet and code == ExitCode.OK
    if known.has_result and not (is_silent and session.form is None):
        beside = dict(whole_run or {})
        if remarks:
            beside["error"] = problem(remarks[0].kind, remarks[0].message, code)
        with _bugs_among(remarks):
            delivery = session.renderer.results(
                known.account, known.results, beside, run=known.run, verbose=session.verbose
            )
            if delivery is Delivery.ELSEWHERE and sys.stdout is not None:
                session.streams.note("Standard output can't be written; the result is above.")
    if not is_silent:
        with _bugs_among(remarks):
            _notes(session, known, None if has_remarks else advice)
    for remark in remarks:
        session.renderer.error(*remark, code)
    if delivery is Delivery.CLOSED_PIPE and code != ExitCode.UNKNOWN:
        return ExitCode.CLOSED_PIPE
    return code


@contextmanager
def _bugs_among(remarks: list[Remark]) -> Generator[None]:
    """Let a bug be one more remark, and nothing else be lost for it."""
    try:
        yield
    except Exception as error:
        remarks.append(Remark(INTERNAL, _describe(error)))


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


def _notes(session: Session, known: Outcome, advice: "Advice | None") -> None:
    line = summary(known)
    if line is not None:
        session.streams.note(line)
    if known.unasked:
        session.streams.note(
            "Warning: the API also answered for servers that were not asked for: "
            f"{enumerate_names(known.unasked)}."
        )
    is_read = is_terminal(session.streams.stderr) and not session.quiet
    if is_read and advice is not None and not known.waited and known.pending:
        session.streams.note(f"{advice.in_the_cloud()}\n{advice.how_to_follow()}")


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _joined(message: str, more: str) -> str:
    """Return a message with more sentences, on a line of their own where it has several lines."""
    separator = "\n" if "\n" in message else " "
    return separator.join(filter(None, (message, more)))


class Advice:
    """The remarks about an outcome, with the next steps as commands to paste."""

    def __init__(self, known: Outcome, usual_account: str | None, *, is_whole: bool) -> None:
        self._known = known
        self._usual_account = usual_account
        self._is_whole = is_whole

    def remarks(self) -> Iterator[Remark]:
        """Yield the remarks; the first one tells most of the exit code."""
        known = self._known
        unknown = known.servers(ServerState.UNKNOWN)
        kind = OUTCOME_UNKNOWN
        if known.ending is Ending.INTERRUPTED and known.problem and unknown:
            kind = INTERRUPTED  # the signal ended the wait for the answer: one remark for both
        elif known.ending not in {Ending.COMPLETE, Ending.STOPPED}:
            yield self._cut_short()
        if unknown:
            yield self._unknown(unknown, kind)
        if known.has_result:
            yield from self._not_sent()
            yield from self._failed_in_part()

    def _cut_short(self) -> Remark:
        known, follow = self._known, self.how_to_follow()
        goes_on = self.in_the_cloud() if known.was_sent or not known.resets else NOTHING
        match known.ending:
            case Ending.INTERRUPTED:
                return Remark(INTERRUPTED, _joined("Interrupted.", goes_on), follow)
            case Ending.TIME_LIMIT:
                passed = f"The time limit of {show_seconds(known.limit or 0)} has passed."
                return Remark(TIME_LIMIT, _joined(passed, goes_on), follow)
            case Ending.ERROR if known.error is not None:
                hints = [known.error.hint, follow]
                is_safe = goes_on == NOTHING and known.error.exit_code is ExitCode.NOT_SENT
                if is_safe and known.run is not None and not known.has_record:
                    hints.append(
                        "The journal couldn't note this, so the next reset of these servers will "
                        "ask first, or end with exit code 3."
                    )
                message = _joined(known.error.message, goes_on)
                return Remark(known.error.kind, message, "\n".join(filter(None, hints)))
            case _:
                return Remark(INTERNAL, _joined(known.crash or "", goes_on), follow)

    def _unknown(self, names: Sequence[str], kind: str) -> Remark:
        known = self._known
        servers = count(len(names), "server")
        message = f"The outcome is unknown for {servers}: {enumerate_names(names)}."
        if not known.resets:
            return Remark(kind, message, self._next_step(ServerState.UNKNOWN))
        if known.problem:
            message = f"{sentence(f'A reset was sent, but {known.problem}')} {message}"
        look = f"clc status --run {known.run}"
        if not known.run:
            look = self._command("servers", names[:NAMED_IN_COMMANDS])
        they_have = "it has" if len(names) == 1 else "they have"
        return Remark(
            kind,
            message,
            f"The request may have reset {_them(names)}, and wasn't repeated.\n"
            f"To see whether {they_have} changed: {look}",
        )

    def _next_step(self, state: ServerState) -> str:
        """Return the next step for servers with this state, by what they show.

        Servers of several accounts can't be named in one command.
        """
        known = self._known
        changed, unchanged, unseen = _by_evidence(known, state)
        is_one = len(changed) + len(unchanged) + len(unseen) == 1
        is_unknown = state is ServerState.UNKNOWN
        hints = []
        if changed:
            hints.append("Those that have changed were most likely reset: leave them alone.")
        was_cut_short = known.ending is Ending.INTERRUPTED
        if is_unknown and known.can_change and (unchanged or was_cut_short):
            hints.append("A change can still come: the API takes up to 30 s a server.")
            if known.can_be_awaited and known.run is not None:
                hints.append(f"To wait for a change: clc status --wait --run {known.run}")
        if known.account is None:
            return "\n".join(hints)
        if unchanged and len(unchanged) <= NAMED_IN_COMMANDS:
            them = "it" if is_one else "those that haven't changed"
            if is_unknown and known.can_change:
                them = "it, if it hasn't changed by then" if is_one else f"{them} by then"
            again = " --again" if is_unknown else ""
            hints.append(f"To reset {them}: {self._command('reset', unchanged)}{again}")
        if unseen and is_unknown:
            look = self._command("servers", unseen[:NAMED_IN_COMMANDS])
            hints.append(f"To look at {_them(unseen)}: {look}")
        return "\n".join(hints)

    def _command(self, name: str, servers: Sequence[str]) -> str:
        """Return a command about these servers, to paste."""
        return " ".join(["clc", name, *self._elsewhere(self._known.account), *servers])

    def _elsewhere(self, account: str | None) -> list[str]:
        return ["-a", account] if account and account != self._usual_account else []

    def _not_sent(self) -> Iterator[Remark]:
        """Name the servers that weren't sent, and why, with the command that sends them alone."""
        known = self._known
        unsent = [r for r in known.results if r.state is ServerState.NOT_SENT]
        taken = [r for r in unsent if known.resets and r.run not in {None, known.run}]
        left = servers_of(r for r in unsent if r not in taken)
        kind, message, hint = STOPPED, "", ""
        if known.ending is Ending.STOPPED and known.error is not None:
            kind, hint = known.error.kind, known.error.hint
            reason = continued(known.error.message)
            message = f"Wave {known.wave:,} of {known.waves:,} wasn't sent: {reason}"
        if left:
            were = "was" if len(left) == 1 else "were"
            these = f"{count(len(left), 'server')} {were} not sent: {enumerate_names(left)}."
            message = _joined(message, these)
            hint = "\n".join(filter(None, (hint, self._how_to_send(left))))
        if message:
            yield Remark(kind, message, hint)
        if taken:
            names = enumerate_names(servers_of(taken))
            yield Remark(STOPPED, f"Left out, since another run may have reset them: {names}.")

    def _how_to_send(self, left: Sequence[str]) -> str:
        known = self._known
        if known.run is not None and self._is_whole:
            once = ", once the others are over" if known.pending else ""
            return f"To reset {_them(left)}{once}: clc reset --rest-of {known.run}"
        if known.account is not None and len(left) <= NAMED_IN_COMMANDS:
            return f"To reset {_them(left)}: {self._command('reset', left)}"
        return ""

    def _failed_in_part(self) -> Iterator[Remark]:
        """Say what to do where a shared operation failed and its servers show different things."""
        results = self._known.results
        failed = servers_of(r for r in results if r.state is ServerState.FAILED and r.evidence)
        if failed and (hint := self._next_step(ServerState.FAILED)):
            message = f"A shared operation failed: {enumerate_names(failed)}."
            yield Remark(SHARED_FAILURE, message, hint)

    def in_the_cloud(self) -> str:
        """Return what becomes of operations that nobody waits for any more."""
        known, pending = self._known, self._known.pending
        if not pending:
            return ""
        number = count(len(pending), "operation")
        verb = "is" if len(pending) == 1 else "are"
        running = {r.operation for r in known.results if r.state is ServerState.RUNNING}
        if known.resets or running.issuperset(pending):
            return f"The resets continue in the cloud: {number} {verb} still running."
        return f"{number} {verb}n't known to be over."

    def how_to_follow(self) -> str:
        """Return how to take up the wait again, as a command to paste; empty if nothing is pending.

        It names the run. Without a journal it names up to ten operations.
        """
        known, pending = self._known, self._known.pending
        if not pending and not known.servers(ServerState.PLANNED):
            return ""
        begins = f"To follow {'it' if len(pending) == 1 else 'them'}: clc status --wait"
        if known.run is not None:
            return f"{begins} --run {known.run}"
        named = [op for op in pending if is_operation_id(op.id)][:NAMED_IN_COMMANDS]
        ids: dict[str | None, list[str]] = {}
        for operation in named:
            ids.setdefault(operation.account, []).append(operation.id)
        lines = [" ".join([begins, *self._elsewhere(of), *some]) for of, some in ids.items()]
        if more := len(pending) - len(named):
            lines.append(f"{count(more, 'more operation')} can't be named here.")
        return "\n".join(lines)


def _by_evidence(known: Outcome, state: ServerState) -> tuple[list[str], list[str], list[str]]:
    """Return the servers with a state: those that changed, that didn't, and all others."""
    found: dict[bool | None, list[ServerResult]] = {True: [], False: [], None: []}
    for result in known.results:
        if result.state is state:
            found[result.evidence and result.evidence.changed].append(result)
    changed, unchanged, others = map(servers_of, found.values())
    return changed, unchanged, others


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
        if result.evidence is not None and result.state is state
    )
    evidence = [f"{shown[True]:,} changed since"] * bool(shown[True])
    evidence += [f"{shown[False]:,} not yet"] * bool(shown[False])
    return f"{number:,} {state}" + (f": {', '.join(evidence)}" if evidence else "")
