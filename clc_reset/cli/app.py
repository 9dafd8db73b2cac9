"""Builds what a command needs when it first needs it.

All lazy imports live here, but for those of the commands, which `main` loads by name: a Tab press,
`--help` and a usage error load none of httpx, keyring and rich; a token in the environment leaves
keyring alone; TSV and JSON leave rich alone.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from clc_reset.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from clc_reset.api import Api
    from clc_reset.credentials import Keyring
    from clc_reset.groups import Groups
    from clc_reset.journal import Journal
    from clc_reset.listing import Listing
    from clc_reset.models import Operation, ServerResult
    from clc_reset.output import Output, Progress
    from clc_reset.recent import Recent
    from clc_reset.sandbox.behaviour import Behaviour
    from clc_reset.sandbox.server import Server
    from clc_reset.transport import Exchange
    from clc_reset.waiting import Listener, Waited

KEYRING_SECONDS = 5.0
UNLOCK_SECONDS = 60.0
"""The keyring's time on a terminal, where a dialog that unlocks it may be open."""


class App:
    """What the commands share: their common options, and the rooms below them."""

    def __init__(self) -> None:
        """The options are set while the command line is read."""
        self.form: str | None = None
        self.verbose = False
        self.quiet = False
        self.sent: Sequence[str] = ()
        """The servers of a reset that may have been sent."""
        self.known: Sequence[ServerResult] = ()
        """What is known of them."""
        self.account: str | None = None
        """The account alias that they are in."""
        self.usual_account: str | None = None
        """The one that a command without `-a` acts in."""

    @cached_property
    def output(self) -> Output:
        """What the user sees: a table on a terminal, TSV elsewhere, unless `-o` says otherwise."""
        from clc_reset.output import Output  # noqa: PLC0415

        usual = "table" if is_terminal(sys.stdout) else "tsv"
        return Output(sys.stdout, sys.stderr, self.form or usual, _draw)

    @cached_property
    def origin(self) -> str:
        """The origin of CLC_BASE_URL. Raises UsageError where it has none that can be used."""
        from clc_reset.models import DEFAULT_BASE_URL, api_origin  # noqa: PLC0415

        try:
            return api_origin(os.environ.get("CLC_BASE_URL") or DEFAULT_BASE_URL)
        except ValueError as error:
            raise UsageError(
                f"CLC_BASE_URL can't be used: {error}.",
                hint=f"Set it to https://HOST, or unset it for {DEFAULT_BASE_URL}.",
            ) from error

    @cached_property
    def api(self) -> Api:
        """The API, for nobody yet. Raises UnreachableError and UsageError."""
        from clc_reset.api import Api  # noqa: PLC0415

        return Api(self.origin, on_exchange=self._log, on_note=self.output.note)

    @cached_property
    def journal(self) -> Journal:
        """What outlives this process of a reset, unless CLC_NO_JOURNAL turns it off."""
        from clc_reset import places  # noqa: PLC0415
        from clc_reset.journal import Journal  # noqa: PLC0415

        is_off = os.environ.get("CLC_NO_JOURNAL", "0") not in {"", "0"}
        return Journal(None if is_off else places.state(), self._warn_of_the_journal)

    @property
    def recent(self) -> Iterator[Recent]:
        """The latest runs at the API in use. Raises OSError where there is no journal."""
        from clc_reset import places, recent  # noqa: PLC0415

        return recent.runs(places.state(), self.origin)

    @property
    def listing(self) -> Listing:
        """What the API last listed, for a Tab press."""
        from clc_reset import listing, places  # noqa: PLC0415

        return listing.load(places.cache(), self.origin)

    def keyring(self, patience: float | None = None) -> Keyring:
        """The OS keyring, given `patience` seconds, or what is usual."""
        from clc_reset.credentials import Keyring  # noqa: PLC0415

        usual = UNLOCK_SECONDS if is_terminal(sys.stderr) else KEYRING_SECONDS
        return Keyring(usual if patience is None else patience)

    @contextmanager
    def progress(
        self, servers: Mapping[Operation, Sequence[str]], *, shown: bool
    ) -> Generator[Progress]:
        """Progress while it lasts: live on a terminal, lines elsewhere, none with `-q`."""
        from clc_reset.output import NoProgress, PlainProgress  # noqa: PLC0415

        if self.quiet or not shown:
            yield NoProgress()
        elif sys.stderr is not None and can_redraw(sys.stderr):
            from clc_reset.terminal import LiveProgress  # noqa: PLC0415

            with LiveProgress(sys.stderr, servers) as live, self.output.above(live.say):
                yield live
        else:
            yield PlainProgress(self.output.note, servers)

    def wait(
        self,
        api: Api,
        operations: Iterable[Operation],
        listener: Listener,
        *,
        limit: float,
        once: bool = False,
    ) -> Waited:
        """Ask for the operations' statuses until all are final, or `limit` seconds have passed."""
        from clc_reset.waiting import Threads, wait  # noqa: PLC0415

        with closing(Threads(api.operation_status)) as polls:
            return wait(operations, polls, listener, limit=limit, once=once)

    def groups(self, api: Api, account: str) -> Groups:
        """The groups of an account. Raises what `Api.read` raises, and RefusedError."""
        from clc_reset import listing, places  # noqa: PLC0415
        from clc_reset.inventory import read_groups  # noqa: PLC0415

        groups = read_groups(lambda path: api.read(account, path), account)
        servers = [each.server for each in groups.members()]
        found = listing.Listing(groups.names, servers)
        listing.save(places.cache(), self.origin, account, found)
        return groups

    def sandbox(self, behaviour: Behaviour, *, port: int, latency: float, logs: bool) -> Server:
        """A new cloud on loopback, listening. Raises UsageError where it can't be had."""
        from random import Random  # noqa: PLC0415

        from clc_reset.sandbox.cloud import Cloud  # noqa: PLC0415
        from clc_reset.sandbox.server import Server  # noqa: PLC0415

        cloud = Cloud(behaviour, time.time, Random())  # noqa: S311 - it shuffles answers
        unknown = sorted((behaviour.refuse | behaviour.fail) - cloud.servers.keys())
        if unknown:
            raise UsageError(
                f"The sandbox has no server {', '.join(unknown)}.",
                hint=f"It has, among others: {', '.join(list(cloud.servers)[:12])}",
            )
        log = self.output.note if logs else _say_nothing
        try:
            return Server(cloud, port=port, latency=latency, log=log)
        except OSError as error:
            raise UsageError(
                f"Port {port} can't be had: {error.strerror}.",
                hint="Leave --port out to take a free one.",
            ) from error

    def serve_beside(
        self, server: Server, path: str, command: Sequence[str], environ: Mapping[str, str]
    ) -> str:
        """Become the command, served by the sandbox. Where it returns, it says why not."""
        from clc_reset.sandbox.server import serve_beside  # noqa: PLC0415

        try:
            serve_beside(server, path, command, environ, quiet=not self.verbose)
        except OSError as error:
            return error.strerror or str(error)

    def flush(self) -> None:
        """Write what is left, here rather than in Python's own end, which would change the code."""
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except (OSError, ValueError):
            from clc_reset.output import let_go_of  # noqa: PLC0415

            let_go_of(sys.stdout)

    def end(self, error: Exception | KeyboardInterrupt) -> int:
        """Say what an error came to; returns the exit code."""
        from clc_reset.cli.cut_short import end  # noqa: PLC0415

        return end(self, error)

    def _warn_of_the_journal(self, problem: str) -> None:
        self.output.note(
            f"Warning: the journal can't be written: {problem}. `clc status` won't remember this "
            "reset by itself."
        )

    def _log(self, exchange: Exchange) -> None:
        if self.verbose:
            self.output.note(
                f"{exchange.method} {exchange.url} {exchange.outcome} "
                f"{exchange.milliseconds:.0f} ms"
            )


def _say_nothing(_line: str) -> None:
    pass


def can_redraw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]], wide: str, stream: TextIO) -> None:
    from clc_reset.terminal import draw  # noqa: PLC0415

    draw(titles, rows, wide, stream)
