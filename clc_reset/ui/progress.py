"""How a reset comes along, in lines; and nothing, for who asked for quiet.

What is said of it is said by `note`. `seconds` count from the beginning of what is waited for.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, Unpack

from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.text import count, printable, sentence

HEARTBEAT_SECONDS = 60.0
SERVERS_NAMED = 3
"""Servers that a line of progress names, after their number where it leaves some out."""
SILENT_NAMED = 5
"""Silent operations named one by one; the rest share one note."""


def word_of(status: OperationStatus, *, verbose: bool) -> str:
    """An operation's status in plain words, or with `verbose` in the API's."""
    return printable(status.word if verbose else status.plain_word)


def some(names: Sequence[str]) -> str:
    """A few of the names: `A, B, C, …`."""
    return printable(", ".join([*names[:SERVERS_NAMED], *(["…"] * (len(names) > SERVERS_NAMED))]))


def counted(names: Sequence[str]) -> str:
    """The servers' number, and a few of their names; of one only its name."""
    if len(names) == 1:
        return some(names)
    return ": ".join(filter(None, (count(len(names), "server"), some(names))))


class Quiet:
    """Says nothing."""

    def sending(self, servers: Sequence[str], seconds: float) -> None:
        """The request has been out for so many seconds."""

    def answered(self, results: Sequence[ServerResult]) -> None:
        """The request's answer is here."""

    def following(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """These operations are polled from now on."""

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """An operation has a status that it didn't have before."""

    def silent(self, operation: Operation, reason: str) -> None:
        """Three polls in a row told nothing."""

    def heard_again(self, operation: Operation) -> None:
        """A silent operation has a status again."""

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        """A server of a shared operation has changed, so that `changed` of its servers have."""

    def tick(self, seconds: float) -> None:
        """Time has passed."""

    def wave(self, number: int, of: int, servers: Sequence[str]) -> None:
        """The next few servers are reset."""

    def pausing(self, seconds_left: float) -> None:
        """The next wave is waited for."""

    def checking(self, server: str, tries: int) -> None:
        """A server's check is tried."""

    def close(self) -> None:
        """Nothing more will be told."""


class Manner(TypedDict, total=False):
    """How progress is told.

    `verbose` is in the API's words. A refusal isn't worth a note where the result is printed at
    once: `tells_refusals`. `clock` counts seconds.
    """

    verbose: bool
    tells_refusals: bool
    clock: Callable[[], float]


class Notes(Quiet):
    """Says what is worth a note on any screen: refusals, and operations without news."""

    def __init__(self, note: Callable[[str], None], **manner: Unpack[Manner]) -> None:
        self._note = note
        self._verbose = manner.get("verbose", False)
        self._tells_refusals = manner.get("tells_refusals", True)
        self._clock = manner.get("clock", time.monotonic)
        self._named: set[Operation] = set()
        self._has_counted = False

    def answered(self, results: Sequence[ServerResult]) -> None:
        """Say `Refused: VA1ALIASJOB03: The server cannot be found.`."""
        refused = [
            each for each in results if each.state is ServerState.FAILED and each.operation is None
        ]
        if not refused or not self._tells_refusals:
            return
        names = counted([each.server or "" for each in refused])
        reason = refused[0].message if len(refused) == 1 else None
        self._note(f"Refused: {names}: {sentence(reason)}" if reason else f"Refused: {names}")

    def following(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """Forget who was silent before."""
        del servers
        self._named.clear()
        self._has_counted = False

    def silent(self, operation: Operation, reason: str) -> None:
        """Name the first few silent operations."""
        if len(self._named) < SILENT_NAMED:
            self._named.add(operation)
            self._note(
                f"No status of {operation.id} three times in a row: {reason}. "
                "Still trying, until the time limit."
            )
        elif not self._has_counted:
            self._has_counted = True
            self._note("No status of other operations, either.")

    def heard_again(self, operation: Operation) -> None:
        """Say so of an operation that was named."""
        if operation in self._named:
            self._named.remove(operation)
            self._note(f"{operation.id} has a status again.")


class Lines(Notes):
    """A line a change, and one a minute while nothing changes."""

    def __init__(self, note: Callable[[str], None], **manner: Unpack[Manner]) -> None:
        super().__init__(note, **manner)
        self._servers: Mapping[Operation, Sequence[str]] = {}
        self._running: set[Operation] = set()
        self._said = 0.0
        self._is_pausing = False
        self._checks: dict[str, float] = {}  # when each server's was last spoken of

    def following(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """Begin anew with these operations, which are queued."""
        super().following(servers)
        self._servers = servers
        self._running = set(servers)
        self._said = 0.0
        queued = OperationStatus("queued")
        lines = [self._line(each, queued, 0.0) for each, names in servers.items() if names]
        if lines:
            self._note("\n".join(lines))

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """Say `2 servers wa1-12345 executing (12 s): WA1ALIASWB01, WA1ALIASWB02`."""
        if status.is_final:
            self._running.discard(operation)
        self._say(self._line(operation, status, seconds), seconds)

    def server_changed(
        self, operation: Operation, server: str, changed: int, of: int, seconds: float
    ) -> None:
        """Say `WA1ALIASWB01 changed: 5 of 8 servers of wa1-12345 (77 s)`."""
        servers = f"{changed:,} of {count(of, 'server')} of {operation.id}"
        self._say(f"{server} changed: {servers} ({seconds:.0f} s)", seconds)

    def tick(self, seconds: float) -> None:
        """Say how many are still running, once a minute without a change."""
        if self._running and seconds - self._said >= HEARTBEAT_SECONDS:
            running = count(len(self._running), "operation")
            self._say(f"{running} still running ({seconds:.0f} s)", seconds)

    def wave(self, number: int, of: int, servers: Sequence[str]) -> None:
        """Say `Wave 2 of 8: 5 servers: WA1ALIASWB01, WA1ALIASWB02, WA1ALIASWB03, …`."""
        self._is_pausing = False
        self._checks.clear()
        self._note(f"Wave {number:,} of {of:,}: {counted(servers)}")

    def pausing(self, seconds_left: float) -> None:
        """Say so once a pause."""
        if not self._is_pausing:
            self._is_pausing = True
            self._note(f"Pausing for {seconds_left:.0f} s before the next wave")

    def checking(self, server: str, tries: int) -> None:
        """Say so at the first try, and then each minute."""
        now = self._clock()
        if server not in self._checks:
            self._note(f"Checking {server}")
        elif now - self._checks[server] >= HEARTBEAT_SECONDS:
            self._note(f"Still checking {server} (try {tries:,})")
        else:
            return
        self._checks[server] = now

    def _line(self, operation: Operation, status: OperationStatus, seconds: float) -> str:
        names = self._servers.get(operation, ())
        line = f"{operation.id} {word_of(status, verbose=self._verbose)} ({seconds:.0f} s)"
        if len(names) > 1:
            return f"{count(len(names), 'server')} {line}: {some(names)}"
        return f"{names[0]} {line}" if names else line

    def _say(self, line: str, seconds: float) -> None:
        self._note(line)
        self._said = seconds
