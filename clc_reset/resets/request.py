"""The request for a reset, and what carries it out."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from clc_reset.clocks import ApiTime, Clocks, Moment
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Journal, Rest
from clc_reset.models import (
    Observation,
    Operation,
    OperationStatus,
    PollFailure,
    ResetAnswer,
    RollingOptions,
)
from clc_reset.workers import Inbox


class ResetRequest(NamedTuple):
    """Servers to reset, in upper case, each once, and how.

    `waits` follows the operations to their ends; `looks` lets servers be looked at meanwhile.
    `again` skips the check for earlier resets; with a `rest` it only lets a run be claimed that may
    be going on. `rest` is the rest of a run that is claimed. `asks` wants a confirmation in any
    case: nobody typed the servers of a group.
    """

    where: Where
    user: str | None
    servers: tuple[str, ...]
    options: RollingOptions = RollingOptions()
    waits: bool = False
    looks: bool = True
    again: bool = False
    rest: Rest | None = None
    asks: bool = False

    def waves(self, servers: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the servers of each wave, in order."""
        size = self.options.at_a_time or max(1, len(servers))
        return [tuple(servers[first : first + size]) for first in range(0, len(servers), size)]


class Api(Protocol):
    """The API calls that a reset needs; see `api.client.Client`."""

    @property
    def api_time(self) -> ApiTime | None:
        """The API's clock, None while no answer has shown it."""

    def reset(
        self,
        account: str,
        servers: Sequence[str],
        recorded: Moment | None,
        tick: Callable[[float], None] | None = None,
    ) -> ResetAnswer:
        """Send one request; whatever happens is in the answer."""

    def operation_status(self, operation: Operation) -> OperationStatus | PollFailure:
        """Ask once. Raises AuthenticationError if the token is refused."""

    def server(self, account: str, server: str) -> Observation:
        """Look once; never raises."""


Checks = Callable[[Sequence[str], float, Callable[[str, int], None]], dict[str, str]]
"""Runs the operator's command for each server until it succeeds, for so many seconds, and returns
why the others didn't pass; never raises. See `checks.run`."""


class Dependencies(NamedTuple):
    """The things that a reset needs and doesn't make itself.

    `confirm` asks whether to reset the servers, so many of them unsettled, with a line for each of
    these; None where nobody can be asked. `jitter` gives numbers from 0 to 1.
    """

    api: Api
    journal: Journal
    inbox: Inbox
    clocks: Clocks
    checks: Checks | None = None
    confirm: Callable[[int, Sequence[str]], bool] | None = None
    jitter: Callable[[], float] = random.random
