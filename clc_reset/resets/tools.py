"""What a reset is handed: the API, the journal, the listener, and the clocks.

What only shows or records stands behind a fence: an error there is one note, and no more.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast

from clc_reset.journal import Journal
from clc_reset.models import (
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    ServerResult,
)
from clc_reset.resets import evidence, polling
from clc_reset.text import describe
from clc_reset.threads import Pool, Stop

JOURNAL = "the journal"
"""What it is called where it failed."""

_T = TypeVar("_T")


class Api(Protocol):
    """The calls that a reset needs; see `api.client.Client`."""

    @property
    def offset(self) -> timedelta | None:
        """The API's clock less this machine's, where an answer told it."""

    def operation_status(self, operation: Operation) -> OperationStatus | NoNews:
        """Ask once. Raises AuthenticationError if the token is refused."""

    def server(self, account: str, server: str) -> Observation:
        """Look once."""

    def reset_servers(
        self,
        account: str,
        servers: Sequence[str],
        *,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        """Send one request; all that can happen is in the answer."""


class Listener(polling.Listener, Protocol):
    """Is told what happens, so that somebody sees it."""

    def sending(self, servers: Sequence[str], seconds: float) -> None:
        """The request has been out for so many seconds."""

    def answered(self, results: Sequence[ServerResult]) -> None:
        """The answer is here, or it is clear that none comes."""

    def following(self, servers: Mapping[Operation, Sequence[str]]) -> None:
        """These operations are polled from now on."""

    def wave(self, number: int, of: int, servers: Sequence[str]) -> None:
        """A wave of a rolling reset begins."""

    def pausing(self, seconds_left: float) -> None:
        """The next wave waits."""

    def checking(self, server: str, tries: int) -> None:
        """The operator's check of a server is run again."""

    def close(self) -> None:
        """Leave the screen."""


class Fence:
    """Stands before what only shows or records: an error there is one note, and no more.

    `name` is what it is called in the note.
    """

    def __init__(self, behind: object, name: str, note: Callable[[str], None]) -> None:
        self._behind = behind
        self._name = name
        self._note = note
        self._has_failed = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as what stands behind it
        """What stands behind; a method that fails returns None."""
        method = getattr(self._behind, name)
        if not callable(method):
            return method

        def call(*args: object, **options: object) -> object:
            try:
                return method(*args, **options)
            except Exception as error:  # whatever it is, the reset goes on
                self._say(error)
                return None

        self.__dict__[name] = call  # this isn't asked for it again
        return call

    def _say(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._note(
                f"Warning: {self._name} failed ({describe(error)}); clc continues without it."
            )


def fenced(behind: _T, name: str, note: Callable[[str], None]) -> _T:
    """The same to its callers, with a fence before it."""
    return cast("_T", Fence(behind, name, note))


class Tools(NamedTuple):
    """What a reset needs and doesn't make itself.

    `clock` counts seconds, `now` is this machine's time in UTC, `jitter` gives numbers from 0 to 1,
    `pool` makes what asks the API several things at a time.
    """

    api: Api
    journal: Journal
    listener: Listener
    note: Callable[[str], None]
    stop: Stop
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = partial(datetime.now, UTC)
    jitter: Callable[[], float] = random.random
    pool: evidence.MakePool = Pool

    def fenced(self) -> Self:
        """The same tools, those that show and record behind a fence."""

        def note(text: str) -> None:
            with suppress(Exception):  # nobody is left to tell
                self.note(text)

        return self._replace(
            journal=fenced(self.journal, JOURNAL, note),
            listener=fenced(self.listener, "the display", note),
            note=note,
        )
