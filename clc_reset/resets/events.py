"""Events of a reset that a display may want to show.

`seconds` count from the start of a wait, those of `Sending` from the moment when the request left.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clc_reset.models import Operation, OperationStatus, ServerResult


class Sending(NamedTuple):
    """The request for these servers has been out for so many seconds."""

    servers: Sequence[str]
    seconds: float


class Answered(NamedTuple):
    """The request is over: its results, one a server."""

    results: Sequence[ServerResult]


class WaveStarted(NamedTuple):
    """A wave begins: its number from 1, and how many servers of the run are done."""

    number: int
    of: int
    servers: Sequence[str]
    done: int
    total: int


class Pausing(NamedTuple):
    """The next wave begins in so many seconds."""

    seconds_left: float


class Following(NamedTuple):
    """These operations are polled from now on; the servers of each in the order asked."""

    servers: Mapping[Operation, Sequence[str]]


class StatusChanged(NamedTuple):
    """An operation has another status than before."""

    operation: Operation
    status: OperationStatus
    seconds: float


class PollsFailing(NamedTuple):
    """Several polls of an operation in a row have failed."""

    operation: Operation
    reason: str
    failures: int


class PollsRecovered(NamedTuple):
    """An operation whose polls were failing has a status again."""

    operation: Operation


class ServerChanged(NamedTuple):
    """A server shows a change after the request: `changed` of the `of` servers beside it do.

    `operation` is the one that they share, None where the answer was lost.
    """

    operation: Operation | None
    server: str
    changed: int
    of: int
    seconds: float


class Checking(NamedTuple):
    """The operator's check of a server is run, `attempt` from 1."""

    server: str
    attempt: int


class Tick(NamedTuple):
    """A second has passed, about."""

    seconds: float


Event = (
    Sending
    | Answered
    | WaveStarted
    | Pausing
    | Following
    | StatusChanged
    | PollsFailing
    | PollsRecovered
    | ServerChanged
    | Checking
    | Tick
)
Emit = Callable[[Event], None]
