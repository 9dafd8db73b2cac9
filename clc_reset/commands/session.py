"""Builds what a command needs when it first needs it: client, credential, journal, terminal."""

import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

from clc_reset.auth import sources
from clc_reset.clocks import Clocks
from clc_reset.identifiers import origin_in_use
from clc_reset.journal.runs import Journal
from clc_reset.resets.events import Emit
from clc_reset.text import count
from clc_reset.ui import messages, progress
from clc_reset.ui.prompts import Prompts
from clc_reset.ui.render import Renderer
from clc_reset.ui.streams import Streams, can_redraw, is_terminal
from clc_reset.workers import Inbox

if TYPE_CHECKING:
    from clc_reset.api.client import Client
    from clc_reset.auth.keyring import Keyring
    from clc_reset.models import Credential
    from clc_reset.resets.request import Checks

_log = logging.getLogger(__name__)

KEYRING_SECONDS = 5.0
UNLOCK_SECONDS = 60.0
"""The keyring's time on a terminal."""


class Session:
    """The surroundings of one command: standard streams, environment, signals and clocks.

    `form` is the output format, None for the usual one. `quiet` and `verbose` set what is logged.
    `usual_account` is the one in which a command without `-a` acts, None before `log_in`.
    """

    def __init__(self, inbox: Inbox, form: str | None, *, quiet: bool, verbose: bool) -> None:
        self.inbox = inbox
        self.clocks = Clocks()
        self.form = form
        self.quiet = quiet
        self.verbose = verbose
        self.usual_account: str | None = None
        self.streams = Streams(sys.stdin, sys.stdout, sys.stderr, lambda: inbox.signum is not None)
        self.renderer = Renderer(self.streams, form)
        self.prompts = Prompts(self.streams, inbox)
        level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
        messages.install(self.streams, level)

    @cached_property
    def origin(self) -> str:
        """The origin of CLC_BASE_URL. Raises UsageError if it has none that can be used."""
        return origin_in_use()

    @cached_property
    def client(self) -> "Client":
        """The API, with nobody logged in yet. Raises UnreachableError and UsageError."""
        from clc_reset.api.client import Client  # httpx, which `clc history` does without

        return Client(self.origin, self.inbox, self.clocks)

    @cached_property
    def journal(self) -> Journal:
        """The journal of resets, unless CLC_NO_JOURNAL turns it off."""
        return Journal.of_environment(os.environ, self.inbox, self.clocks)

    def checks(self, command: str, directory: str | None) -> "Checks":
        """Return the operator's check of servers."""
        from clc_reset import checks  # most resets start no process

        environ = {**os.environ, "CLC_BASE_URL": self.origin}
        return partial(checks.run, command, directory, environ, self.inbox)

    def keyring(self, seconds: float | None = None) -> "Keyring":
        """Open the OS keyring, given so many seconds, or the usual time.

        On a terminal it has time for somebody to unlock it, who may be typing a password.
        """
        from clc_reset.auth.keyring import Keyring  # only for those who use it

        if is_terminal(sys.stderr):
            seconds = UNLOCK_SECONDS
        return Keyring(KEYRING_SECONDS if seconds is None else seconds, self.inbox)

    @cached_property
    def sources(self) -> sources.Sources:
        """The sources of a credential, in their order."""
        return sources.Sources(
            origin=self.origin,
            keyring=self.keyring,
            log_in=self._log_in,
            clocks=self.clocks,
            inbox=self.inbox,
        )

    def _log_in(self, username: str, password: str) -> "Credential":
        return self.client.log_in(username, password)  # made only where it is needed

    def log_in(self) -> "Credential":
        """Find the credential and let the client use it. Raises what its source does."""
        credential = self.sources.credential()
        self.client.authorize(credential.token, sources.renewal(credential))
        self.usual_account = sources.usual_account(credential)
        return credential

    def each_once(self, servers: Sequence[str]) -> list[str]:
        """Return the servers in the order given, each once; log how often one came again."""
        distinct = list(dict.fromkeys(servers))
        if len(distinct) < len(servers):
            _log.info("%s ignored", count(len(servers) - len(distinct), "duplicate"))
        return distinct

    @contextmanager
    def progress(self, *, shows: bool = True) -> Generator[Emit]:
        """Show events: live on a terminal, in lines elsewhere, not at all where it is quiet."""
        if self.quiet or not shows:
            yield lambda _event: None
        elif can_redraw(self.streams.stderr):
            from clc_reset.ui.live import live  # it loads rich

            with live(self.streams, verbose=self.verbose) as display:
                yield display
        else:
            yield progress.Lines(self.streams.note, verbose=self.verbose)
