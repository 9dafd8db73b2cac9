"""The values that the layers pass to each other: no library, no network, no terminal."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import NamedTuple, Self

from clc_reset.clocks import Moment
from clc_reset.errors import ClcError
from clc_reset.identifiers import datacenter_of

_PLAIN_WORDS = {"notstarted": "waiting", "executing": "running", "resumed": "running"}


class ServerState(StrEnum):
    """The state of one server's reset."""

    __hash__ = str.__hash__  # Enum's own is in Python, and each of thousands is looked up

    PLANNED = "planned"
    """A live run has still to send it."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"


PENDING = frozenset({ServerState.QUEUED, ServerState.RUNNING})
"""The states of a server whose operation isn't known to be over."""


class Sending(Enum):
    """The certainty about a request that resets servers."""

    NOT_SENT = "not sent"
    """The API can't have received it, or refused all of it."""
    MAYBE_SENT = "maybe sent"
    """It may have arrived; no readable answer came."""
    SENT = "sent"
    """It arrived, and was answered server by server."""


class Operation(NamedTuple):
    """A queued operation: its status id (`wa1-12345`) and the path of its status.

    `path` is that of the status link on the API's own origin, checked; None if the link leads
    elsewhere, so that it can't be followed. `account` is the alias in it, in upper case; None if
    the link isn't of the documented form. A whole batch may share one operation in each data centre
    (recorded), or have one a server (documented).
    """

    id: str
    path: str | None
    account: str | None = None


class OperationStatus(NamedTuple):
    """An operation's status, by the API's own word: `notStarted`, `executing`, `resumed`, ….

    Only two words are final. All others are polled on, the undocumented and the unknown ones too:
    `resumed` goes on to `succeeded` or back to `executing` (recorded).
    """

    word: str

    @property
    def is_final(self) -> bool:
        """Return whether the operation is over, one way or the other."""
        return self.has_succeeded or self.has_failed

    @property
    def has_succeeded(self) -> bool:
        """Return whether the operation is done. It doesn't say that the server is up."""
        return self.word.lower() == "succeeded"

    @property
    def has_failed(self) -> bool:
        """Return whether the operation failed; the API never says why."""
        return self.word.lower() == "failed"

    @property
    def plain_word(self) -> str:
        """The word for people: `waiting` for `notStarted`, `running` for the next two."""
        return _PLAIN_WORDS.get(self.word.lower(), self.word)


class PollFailure(NamedTuple):
    """A poll without a status, and why. `retry_after` is in seconds, where the API named any.

    `slow_down`: the API is asked too often (429, 503). `unreachable`: it wasn't reached at all.
    `not_found`: it knows no such operation (404).
    """

    reason: str
    slow_down: bool = False
    unreachable: bool = False
    not_found: bool = False
    retry_after: float | None = None


class Observation(NamedTuple):
    """The state of a server when it was looked at; each field is None where nothing tells it.

    `changed_at` and `changed_by` are its `changeInfo`: when it was last updated, in UTC to the
    second, and by which user. `seen_at` is the API's clock (`Date`) at that moment. `group` is the
    name of its group, or the id where only that is known. `problem` says why nothing, or no
    readable date, could be seen; `error` is there where that concerns all servers: the token was
    refused, or the API can't be reached.
    """

    server: str
    seen_at: datetime | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None
    status: str | None = None
    power: str | None = None
    in_maintenance: bool | None = None
    group: str | None = None
    datacenter: str | None = None
    problem: str | None = None
    error: ClcError | None = None


class Evidence(NamedTuple):
    """The change of a server, held against the request that may have reset it.

    `changed` is True for a change by the same user clearly after the request, False where the
    latest change is clearly older, None where neither is certain. `after` is the seconds from the
    request to the change, where both are known on the API's clock; `sent_at` is the request's time
    on that clock. `by_another` names the user of a change that isn't the caller's.
    """

    changed: bool | None
    observation: Observation
    sent_at: datetime | None = None
    after: float | None = None
    by_another: str | None = None

    @property
    def is_too_close(self) -> bool:
        """True if the change is so near to the request that it may have come before or after."""
        return self.changed is None and self.after is not None and self.by_another is None


class ServerResult(NamedTuple):
    """The result of one server, its id in upper case. A refused one has no operation.

    `server` is None if an operation was named by its id and nobody knows whose it is. `status` is
    that of an operation which is running, `message` what there is to say besides. `run` is the
    journal's id of the run that the row tells of. `has_failed_check` tells that the operation
    succeeded and the operator's check failed.
    """

    server: str | None
    state: ServerState
    operation: Operation | None = None
    message: str | None = None
    status: OperationStatus | None = None
    evidence: Evidence | None = None
    run: str | None = None
    has_failed_check: bool = False


class ServerGroup(NamedTuple):
    """One group and its own servers. Archives and templates are never among them.

    `servers` have their group and data centre; the rest of them is there where the groups were
    asked for in detail. `datacenter` is in upper case: `WA1`. `depth` is 0 for a data centre's
    root.
    """

    id: str
    name: str
    datacenter: str
    depth: int
    servers: tuple[Observation, ...]


def usual_limit(servers: Iterable[str]) -> float:
    """Return 30 minutes, or a minute for each server of the largest data centre, in seconds.

    The API resets the servers of one data centre one after another; up to 30 s each was recorded.
    """
    largest = max(Counter(map(datacenter_of, servers)).values(), default=0)
    return max(1800.0, 60.0 * largest)


class RollingOptions(NamedTuple):
    """The options of a run that are kept with it, so that `--rest-of` goes on with them.

    `at_a_time` is None where all servers go into one wave. Times are in seconds; `limit` is None
    for the usual one. `check` is the command as typed, run in `directory`.
    """

    at_a_time: int | None = None
    pause: float = 0.0
    check: str | None = None
    directory: str | None = None
    check_seconds: float = 300.0
    max_failures: int = 0
    limit: float | None = None


class ResetAnswer(NamedTuple):
    """The answer to one request that resets servers: a result a server, in the order asked.

    `turns` are the servers in the order of the answer, which is the order in which the API resets
    them (recorded). `unasked` names servers that the API answered for although nobody asked.
    `problem` says why no readable answer came; `error` why nothing was sent. `signum` is the number
    of the signal that ended it. `left` is the moment when the request left, `sent_at` the same on
    the API's clock, where they are known.
    """

    sending: Sending
    results: tuple[ServerResult, ...]
    turns: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    problem: str | None = None
    error: ClcError | None = None
    signum: int | None = None
    left: Moment | None = None
    sent_at: datetime | None = None

    @classmethod
    def not_sent(
        cls, servers: Sequence[str], error: ClcError | None = None, signum: int | None = None
    ) -> Self:
        """Return the answer where it is certain that no server was reset."""
        results = tuple(ServerResult(server, ServerState.NOT_SENT) for server in servers)
        return cls(Sending.NOT_SENT, results, error=error, signum=signum)

    @classmethod
    def maybe_sent(cls, servers: Sequence[str], problem: str, signum: int | None = None) -> Self:
        """Return the answer where each server may have been reset, or not."""
        message = f"Sent; outcome unknown: {problem}."
        results = tuple(
            ServerResult(server, ServerState.UNKNOWN, None, message) for server in servers
        )
        return cls(Sending.MAYBE_SENT, results, problem=problem, signum=signum)


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token and its claims. The token is never part of a repr.

    `source` names where it comes from, `account` is the alias to act in by default, `issued` and
    `expires` are in UTC; each of the others is None or empty where nothing tells it.
    """

    token: str = field(repr=False)
    source: str
    user: str | None = None
    account: str | None = None
    roles: tuple[str, ...] = ()
    issued: datetime | None = None
    expires: datetime | None = None

    @classmethod
    def from_token(
        cls,
        token: str,
        source: str,
        *,
        user: str | None = None,
        account: str | None = None,
        roles: tuple[str, ...] = (),
    ) -> Self:
        """Read what the token says of itself; what is passed in takes precedence.

        The payload's names are recorded from real tokens. The signature can't be checked by a
        client. A token that can't be decoded is still one: its expiry is unknown, no more.

        Raises ValueError if the text can't stand in an Authorization header.
        """
        if not re.fullmatch("[!-~]+", token):
            raise ValueError("it isn't one word of visible ASCII")
        claims = _claims(token)
        role = claims.get("role")
        texts = map(_text, role if isinstance(role, list) else [role])
        return cls(
            token,
            source,
            user or _text(claims.get("unique_name")),
            account or _text(claims.get("urn:tier3:account-alias")),
            roles or tuple(filter(None, texts)),
            _instant(claims.get("nbf")),
            _instant(claims.get("exp")),
        )


def _claims(token: str) -> dict[str, object]:
    import base64  # not before there is a token: most usage errors come earlier
    import json

    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):  # binascii's error is a ValueError
        return {}
    return claims if isinstance(claims, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _instant(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(value, UTC)
    return None
