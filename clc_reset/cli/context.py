"""Builds what a command needs, when it first needs it. It holds no state of a command.

The heavy rooms are imported here, in the functions: a Tab press, help and a usage error load none
of httpx, keyring and rich; a token in the environment leaves keyring alone; TSV and JSON leave
rich alone.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from clc_reset.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from clc_reset.api.client import Client
    from clc_reset.api.transport import Exchange
    from clc_reset.auth.keyring import Keyring
    from clc_reset.auth.sources import Sources
    from clc_reset.journal import Journal
    from clc_reset.threads import Stop
    from clc_reset.ui.output import Output
    from clc_reset.ui.progress import Quiet
    from clc_reset.ui.prompts import Prompts

KEYRING_SECONDS = 5.0
UNLOCK_SECONDS = 60.0
"""The keyring's time on a terminal, where a dialog that unlocks it may be open."""


def origin() -> str:
    """The origin of CLC_BASE_URL. Raises UsageError if it has none that can be used."""
    from clc_reset.identifiers import DEFAULT_BASE_URL, api_origin

    try:
        return api_origin(os.environ.get("CLC_BASE_URL") or DEFAULT_BASE_URL)
    except ValueError as error:
        raise UsageError(
            f"CLC_BASE_URL can't be used: {error}.",
            hint=f"Set it to https://HOST, or unset it for {DEFAULT_BASE_URL}.",
        ) from error


def journal(note: Callable[[str], None]) -> Journal:
    """The journal of resets, unless CLC_NO_JOURNAL turns it off."""
    from clc_reset.journal import Journal, folder

    is_off = os.environ.get("CLC_NO_JOURNAL", "0") not in {"", "0"}
    return Journal(None if is_off else folder(os.environ), note)


class Context:
    """What the commands share: the rooms below them, for one process."""

    def __init__(self, *, handles_signals: bool = False) -> None:
        self._handles_signals = handles_signals
        self._outputs: dict[str | None, Output] = {}

    @cached_property
    def stop(self) -> Stop:
        """The mark that a signal leaves, from now on, where this process handles signals."""
        from clc_reset.threads import Stop

        stop = Stop()
        if self._handles_signals:
            stop.install()
        return stop

    def output(self, form: str | None = None) -> Output:
        """What the user sees: a table on a terminal, TSV elsewhere, unless `form` is another."""
        from clc_reset.ui.output import Output, is_terminal

        if form not in self._outputs:
            usual = "table" if is_terminal(sys.stdout) else "tsv"
            self._outputs[form] = Output(sys.stdout, sys.stderr, form or usual, _draw)
        return self._outputs[form]

    @cached_property
    def prompts(self) -> Prompts:
        """Questions on the terminal."""
        from clc_reset.ui.prompts import Prompts

        return Prompts(sys.stdin, sys.stderr, self.stop)

    def client(self, output: Output, *, verbose: bool) -> Client:
        """The API, for nobody yet. Raises UnreachableError and UsageError."""
        from clc_reset.api.client import Client

        def log(exchange: Exchange) -> None:
            if verbose:
                output.note(
                    f"{exchange.method} {exchange.url} {exchange.outcome} "
                    f"{exchange.milliseconds:.0f} ms"
                )

        return Client(origin(), self.stop, on_exchange=log, on_note=output.note)

    def keyring(self, seconds: float | None = None) -> Keyring:
        """The OS keyring, given so many seconds, or what is usual."""
        from clc_reset.auth.keyring import Keyring
        from clc_reset.ui.output import is_terminal

        usual = UNLOCK_SECONDS if is_terminal(sys.stderr) else KEYRING_SECONDS
        return Keyring(usual if seconds is None else seconds, self.stop)

    def sources(self, output: Output, client: Callable[[], Client]) -> Sources:
        """Where a credential may come from. `client` makes the API that a login needs."""
        from clc_reset.auth.sources import Sources

        return Sources(
            environ=os.environ,
            origin=origin(),
            keyring=self.keyring,
            log_in=lambda username, password: client().log_in(username, password),
            note=output.note,
            now=lambda: datetime.now(UTC),
            stop=self.stop,
        )

    def listener(
        self, output: Output, *, quiet: bool, verbose: bool, tells_refusals: bool = True
    ) -> Quiet:
        """Progress: live on a terminal, lines elsewhere, none with `quiet`."""
        from clc_reset.ui.output import can_redraw
        from clc_reset.ui.progress import Lines, Quiet

        if quiet:
            return Quiet()
        stream = sys.stderr
        if can_redraw(stream):
            from clc_reset.ui.live import Live

            live = Live(stream, output.note, verbose=verbose, tells_refusals=tells_refusals)
            output.speak_through(live.say)
            return live
        return Lines(output.note, verbose=verbose, tells_refusals=tells_refusals)


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO) -> str:
    from clc_reset.ui.table import draw

    return draw(titles, rows, wide, stream)
