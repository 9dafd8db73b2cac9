"""The end of a command: its result, the remarks beside it, and the exit code.

Only the outcome of a reset says whether something was reset.
"""

import sys
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
from clc_reset.models import PENDING, ServerResult, ServerState
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
    is_silent = session.quiet and code == ExitCode.OK
    advice = Advice(known, session.usual_account, whole_run is not None)
    remarks = [*missing]
    with _bugs_among(remarks):
        remarks.extend(advice.remarks())
    follows = not remarks and not session.quiet and is_terminal(session.streams.stderr)
    delivery = Delivery.PRINTED
    with _bugs_among(remarks):
        if known.has_result and not (is_silent and session.form is None):
            beside = dict(whole_run or {})
            if remarks:
                beside["error"] = problem(remarks[0].kind, remarks[0].message, code)
            delivery = session.renderer.results(
                known.account, known.results, beside, run=known.run, verbose=session.verbose
            )
            if delivery is Delivery.ELSEWHERE and sys.stdout is not None:
                session.streams.note("Standard output can't be written; the result is above.")
    with _bugs_among(remarks):
        for note in () if is_silent else advice.notes(follows=follows):
            session.streams.note(note)
    for remark in remarks:
        session.renderer.error(*remark, code)
    if code == ExitCode.UNKNOWN:
        return code
    if delivery is Delivery.ELSEWHERE and session.inbox.signum is not None:
        return of_signal(session.inbox.signum)
    return ExitCode.CLOSED_PIPE if delivery is Delivery.CLOSED_PIPE else code


@contextmanager
def _bugs_among(remarks: list[Remark]) -> Generator[None]:
    """Let a bug be one more remark, and nothing else be lost for it."""
    try:
        yield
    except Exception as error:
        remarks.append(Remark(INTERNAL, _describe(error)))


def looked_up(session: Session, delivery: Delivery) -> int:
    """Return the exit code of a command that only shows something.

    Raises OutputError if standard output couldn't be written, Interrupted if a signal ended that.
    """
    if delivery is Delivery.ELSEWHERE:
        session.inbox.check()
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
        case _:
            remark, code = Remark(INTERNAL, _describe(raised)), int(ExitCode.FAILED)
    renderer.error(*remark, code)
    return code


def _describe(error: BaseException) -> str:
    return f"{describe(error) if isinstance(error, OSError) else describe_bug(error)}."


def _them(names: Sequence[object]) -> str:
    return "it" if len(names) == 1 else "them"


def _joined(message: str, more: str) -> str:
    """Return a message with more sentences, on a line of their own where it has several lines."""
    separator = "\n" if "\n" in message else " "
    return separator.join(filter(None, (message, more)))


def _lines(*lines: str) -> str:
    return "\n".join(filter(None, lines))


class Advice(NamedTuple):
    """The texts about an outcome, with the next steps as commands to paste.

    A command names an account other than `usual_account`. `is_whole` tells that all servers of the
    run are shown.
    """

    known: Outcome
    usual_account: str | None
    is_whole: bool

    def notes(self, *, follows: bool) -> Iterator[str]:
        """Yield the notes below a result; with `follows` how to wait for what goes on."""
        known = self.known
        if line := summary(known):
            yield line
        if follows and not known.waited and known.pending:
            yield f"{self.in_the_cloud()}\n{self.how_to_follow()}"

    def remarks(self) -> Iterator[Remark]:
        """Yield the remarks; the first one tells most of the exit code."""
        known = self.known
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
            # of a shared operation, whose servers show different things
            failed = servers_of(r for r in known.having(ServerState.FAILED) if r.evidence)
            if failed and (hint := self._next_step(ServerState.FAILED)):
                message = f"A shared operation failed: {enumerate_names(failed)}."
                yield Remark(SHARED_FAILURE, message, hint)

    def _cut_short(self) -> Remark:
        known = self.known
        goes_on = self.in_the_cloud() if known.was_sent or not known.resets else NOTHING
        kind, message, hint = INTERNAL, known.crash or "", ""
        if known.ending is Ending.INTERRUPTED:
            kind, message = INTERRUPTED, "Interrupted."
        elif known.ending is Ending.TIME_LIMIT:
            passed = show_seconds(known.limit or 0)
            kind, message = TIME_LIMIT, f"The time limit of {passed} has passed."
        elif known.error is not None:
            kind, message, hint = known.error.kind, known.error.message, known.error.hint
        asks = ""
        if goes_on == NOTHING and known.run is not None and not known.has_record:
            asks = (
                "The journal couldn't note this, so the next reset of these servers will "
                "ask first, or end with exit code 3."
            )
        return Remark(kind, _joined(message, goes_on), _lines(hint, asks, self.how_to_follow()))

    def _unknown(self, names: Sequence[str], kind: str) -> Remark:
        known = self.known
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
        known = self.known
        of_state = known.having(state)
        changed, unchanged, unseen = (
            servers_of(r for r in of_state if (r.evidence and r.evidence.changed) is shown)
            for shown in (True, False, None)
        )
        is_unknown = state is ServerState.UNKNOWN
        can_change = is_unknown and known.can_change
        hints = []
        if changed:
            hints.append("Those that have changed were most likely reset: leave them alone.")
        if can_change and (unchanged or known.ending is Ending.INTERRUPTED):
            hints.append("A change can still come: the API takes up to 30 s a server.")
            if known.can_be_awaited and known.run is not None:
                hints.append(f"To wait for a change: clc status --wait --run {known.run}")
        if known.account is None:
            return _lines(*hints)
        if unchanged and len(unchanged) <= NAMED_IN_COMMANDS:
            if len([*changed, *unchanged, *unseen]) == 1:
                them = "it, if it hasn't changed by then" if can_change else "it"
            else:
                them = "those that haven't changed" + (" by then" * can_change)
            again = " --again" if is_unknown else ""
            hints.append(f"To reset {them}: {self._command('reset', unchanged)}{again}")
        if unseen and is_unknown:
            look = self._command("servers", unseen[:NAMED_IN_COMMANDS])
            hints.append(f"To look at {_them(unseen)}: {look}")
        return _lines(*hints)

    def _command(self, name: str, servers: Sequence[str]) -> str:
        """Return a command about these servers, to paste."""
        return " ".join(["clc", name, *self._elsewhere(self.known.account), *servers])

    def _elsewhere(self, account: str | None) -> list[str]:
        return ["-a", account] if account and account != self.usual_account else []

    def _not_sent(self) -> Iterator[Remark]:
        """Name the servers that weren't sent, and why, with the command that sends them alone."""
        known = self.known
        unsent = known.having(ServerState.NOT_SENT)
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
            message, hint = _joined(message, these), _lines(hint, self._how_to_send(left))
        if message:
            yield Remark(kind, message, hint)
        if taken:
            names = enumerate_names(servers_of(taken))
            yield Remark(STOPPED, f"Left out, since another run may have reset them: {names}.")

    def _how_to_send(self, left: Sequence[str]) -> str:
        known = self.known
        if known.run is not None and self.is_whole:
            once = ", once the others are over" if known.pending else ""
            return f"To reset {_them(left)}{once}: clc reset --rest-of {known.run}"
        if known.account is not None and len(left) <= NAMED_IN_COMMANDS:
            return f"To reset {_them(left)}: {self._command('reset', left)}"
        return ""

    def in_the_cloud(self) -> str:
        """Return what becomes of operations that nobody waits for any more."""
        known, pending = self.known, self.known.pending
        if not pending:
            return ""
        number = count(len(pending), "operation")
        verb = "is" if len(pending) == 1 else "are"
        if not known.waited or known.answered.issuperset(pending):
            return f"The resets continue in the cloud: {number} {verb} still running."
        doubt = f"{number} {verb}n't known to be over."
        return f"The resets may continue in the cloud: {doubt}" if known.resets else doubt

    def how_to_follow(self) -> str:
        """Return how to take up the wait again, as a command to paste; empty if nothing is pending.

        It names the run, or several. Without a journal it names up to ten operations.
        """
        known, pending = self.known, self.known.pending
        if not pending and not known.servers(ServerState.PLANNED):
            return ""
        begins = f"To follow {_them(pending)}: clc status --wait"
        if known.run is not None:
            return f"{begins} --run {known.run}"
        runs = {result.run for result in known.having(*PENDING, ServerState.PLANNED)}
        if None not in runs and len(runs) <= NAMED_IN_COMMANDS:
            return " ".join([begins, *sorted(map(str, runs))])
        named = [op for op in pending if is_operation_id(op.id)][:NAMED_IN_COMMANDS]
        ids: dict[str | None, list[str]] = {}
        for operation in named:
            ids.setdefault(operation.account, []).append(operation.id)
        lines = [" ".join([begins, *self._elsewhere(of), *some]) for of, some in ids.items()]
        if more := len(pending) - len(named):
            lines.append(f"{count(more, 'more operation')} can't be named here.")
        return _lines(*lines)


def summary(known: Outcome) -> str | None:
    """Return one line about several servers: `299 succeeded, 2 failed in 6 s. Failed: …`."""
    if not known.has_result or len(known.results) <= 1:
        return None
    order = [state for state in ServerState if state is not ServerState.UNKNOWN]
    found: dict[ServerState, list[ServerResult]] = {s: [] for s in [*order, ServerState.UNKNOWN]}
    for result in known.results:
        found[result.state].append(result)
    line = ", ".join(_counted(state, results) for state, results in found.items() if results)
    if known.seconds is not None and known.seconds >= 1:
        seconds = f"{known.seconds:,.0f} s"  # behind evidence, "in" would tell when it changed
        line += f" ({seconds})" if ": " in line else f" in {seconds}"
    failed = known.servers(ServerState.FAILED)
    return f"{line}. Failed: {enumerate_names(failed)}" if failed else line


def _counted(state: ServerState, results: Sequence[ServerResult]) -> str:
    """Return how many servers have a state, and what they show: `3 unknown: 2 not yet`."""
    shown = [result.evidence and result.evidence.changed for result in results]
    counts = {"changed since": shown.count(True), "not yet": shown.count(False)}
    evidence = ", ".join(f"{number:,} {words}" for words, number in counts.items() if number)
    return f"{len(shown):,} {state}" + (f": {evidence}" if evidence else "")
