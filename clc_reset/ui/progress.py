"""The progress of a reset in lines, for pipes, logs and screens that can't be redrawn."""

import time
from collections.abc import Callable, Mapping, Sequence

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.resets import events
from clc_reset.text import count, printable, sentence

HEARTBEAT_SECONDS = 60.0
SERVERS_NAMED = 3
"""Servers that a line of progress names."""
QUEUED = OperationStatus("queued")
"""The status of an operation that wasn't polled yet."""
FAILING_NAMED = 5
"""Operations with failing polls that are named one by one; the rest share one note."""


def some(names: Sequence[str]) -> str:
    """Return a few of the names: `A, B, C, …`."""
    more = ["…"] if len(names) > SERVERS_NAMED else []
    return printable(", ".join([*names[:SERVERS_NAMED], *more]))


def counted(names: Sequence[str]) -> str:
    """Return the number of servers and a few of their names; of a single one only its name."""
    if len(names) == 1:
        return some(names)
    return f"{count(len(names), 'server')}: {some(names)}"


def wave_line(event: events.WaveStarted) -> str:
    """Return `Wave 2 of 8 (5 of 40 servers done)`."""
    done = f"{event.done:,} of {count(event.total, 'server')} done"
    return f"Wave {event.number:,} of {event.of:,} ({done})"


class Notes:
    """Writes the notes of all displays: refusals, and operations whose polls keep failing.

    Refusals are noted when the run goes on: at its end the result tells of them. A status is in
    plain words, or with `verbose` in the API's.
    """

    def __init__(self, note: Callable[[str], None], *, verbose: bool = False) -> None:
        self._note = note
        self._verbose = verbose
        self._refused: Sequence[ServerResult] = ()
        self._failing: set[Operation] = set()

    def __call__(self, event: events.Event) -> None:
        """Note what is worth a note."""
        match event:
            case events.Answered(results):
                failed = (result for result in results if result.state is ServerState.FAILED)
                self._refused = [result for result in failed if result.operation is None]
            case events.Following() | events.Pausing() | events.WaveStarted():
                self._failing.clear()
                self._note_refusals()
            case events.PollsFailing(operation, reason, failures):
                self._polls_failing(operation, reason, failures)
            case events.PollsRecovered(operation) if operation in self._failing:
                self._failing.remove(operation)
                self._note(f"Status requests for {operation.id} succeed again.")
            case _:
                pass

    def _word(self, status: OperationStatus) -> str:
        return printable(status.word if self._verbose else status.plain_word)

    def _note_refusals(self) -> None:
        refused, self._refused = self._refused, ()
        if refused:
            names = counted([result.server or "" for result in refused])
            reason = refused[0].message if len(refused) == 1 else None
            self._note(f"Refused: {names}: {sentence(reason)}" if reason else f"Refused: {names}")

    def _polls_failing(self, operation: Operation, reason: str, failures: int) -> None:
        if len(self._failing) > FAILING_NAMED:
            return
        if len(self._failing) < FAILING_NAMED:
            self._note(
                f"{count(failures, 'status request')} for {operation.id} failed ({reason}); "
                "retrying until the time limit."
            )
        else:
            self._note("Status requests for other operations failed, too.")
        self._failing.add(operation)


class Lines(Notes):
    """Notes a line for each change, too, and one a minute while nothing changes."""

    def __init__(self, note: Callable[[str], None], *, verbose: bool = False) -> None:
        super().__init__(note, verbose=verbose)
        self._servers: Mapping[Operation, Sequence[str]] = {}
        self._shown: dict[Operation, str] = {}  # the status in the last line of each
        self._running: set[Operation] = set()
        self._noted_at = 0.0
        self._is_pausing = False
        self._checks: dict[str, float] = {}  # the time of each server's last line

    def __call__(self, event: events.Event) -> None:
        """Write a line for what is new."""
        super().__call__(event)
        match event:
            case events.Sending(_, seconds):
                self._heartbeat("Still waiting for the API's answer", seconds)
            case events.Answered():
                self._noted_at = 0.0
            case events.Following(servers):
                self._follow(servers)
            case events.StatusChanged(operation, status, seconds):
                self._status(operation, status, seconds)
            case events.ServerChanged():
                of = f" of {event.operation.id}" if event.operation else ""
                servers = f"{event.changed:,} of {count(event.of, 'server')}{of}"
                line = f"{event.server} changed ({servers}, {event.seconds:.0f} s)"
                self._line(line, event.seconds)
            case events.Tick(seconds):
                running = count(len(self._running), "operation")
                text = f"{running} still running" if self._running else "Still waiting"
                self._heartbeat(text, seconds)
            case events.WaveStarted(servers=servers):
                self._is_pausing = False
                self._noted_at = 0.0
                self._note(f"{wave_line(event)}: {counted(servers)}")
            case events.Pausing(seconds_left) if not self._is_pausing:
                self._is_pausing = True
                self._note(f"Pausing for {seconds_left:.0f} s before the next wave")
            case events.Checking(server, attempt):
                self._checking(server, attempt)
            case _:
                pass

    def _follow(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """Begin anew with these operations, which are queued."""
        self._servers = servers
        self._shown = {}
        self._running = set(servers)
        self._noted_at = 0.0
        lines = [self._row(operation, QUEUED, 0.0) for operation in servers if servers[operation]]
        if lines:
            self._note("\n".join(lines))

    def _status(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        if status.is_final:
            self._running.discard(operation)
        word = self._word(status)
        if self._shown.get(operation) != word:
            self._shown[operation] = word
            self._line(self._row(operation, status, seconds), seconds)

    def _row(self, operation: Operation, status: OperationStatus, seconds: float) -> str:
        """Return `2 servers wa1-12345 running (12 s): WA1ALIASWB01, WA1ALIASWB02`."""
        names = self._servers.get(operation, ())
        line = f"{operation.id} {self._word(status)} ({seconds:.0f} s)"
        if len(names) > 1:
            return f"{count(len(names), 'server')} {line}: {some(names)}"
        return f"{names[0]} {line}" if names else line

    def _checking(self, server: str, attempt: int) -> None:
        """Say so at the first attempt, and then each minute."""
        now = time.monotonic()
        if server not in self._checks:
            self._note(f"Checking {server}")
        elif now - self._checks[server] >= HEARTBEAT_SECONDS:
            self._note(f"Still checking {server} (attempt {attempt:,})")
        else:
            return
        self._checks[server] = now

    def _heartbeat(self, text: str, seconds: float) -> None:
        if seconds - self._noted_at >= HEARTBEAT_SECONDS:
            self._line(f"{text} ({seconds:.0f} s)", seconds)

    def _line(self, line: str, seconds: float) -> None:
        self._note(line)
        self._noted_at = seconds
