"""The values that the rooms hand each other. They know no library, no network and no screen.

They are named tuples, since every run defines them all, and a frozen dataclass takes 0.3 ms.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Self

DEFAULT_BASE_URL = "https://api.ctl.io"
TOKEN_LIFE_WARNING = timedelta(days=2)
"""Less life than this is worth a warning: the next run of a cron job may come too late."""

# not compiled here: most runs need few of them, and re keeps what it has compiled
_UNPRINTABLE = (
    # C0 and C1 controls, line and paragraph separators, marks that reorder text, lone surrogates
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_BLANKS = r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+"
_JWT = r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"
_SERVER_ID = r"[A-Za-z0-9_-]+"
_OPERATION_ID = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_ACCOUNT_ALIAS = r"[A-Za-z0-9]+"
_VISIBLE = r"[!-~]+"
_BASE_URL = (
    # no user, path, query or fragment; other clients' `/v2` is understood and left out
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/v2)?/?"
)
_LOOPBACK = r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]"
_DEFAULT_PORTS = {"https": 443, "http": 80}


def printable(text: str) -> str:
    """One line of text that can't move a cursor, set a colour or reorder what is read.

    What looks like a token (a JWT) is not shown either, whoever quotes it.
    """
    if not (text.isascii() and text.isprintable()):
        text = re.sub(_UNPRINTABLE, "", re.sub(_BLANKS, " ", text))
    return re.sub(_JWT, "[secret]", text) if "eyJ" in text else text


def is_server_id(text: str) -> bool:
    """Whether the text can be a server id: `WA1ALIASWB01`, in any case.

    The API takes data centre, account alias, name and number without a separator, so no more
    than the characters can be checked without asking it.
    """
    return re.fullmatch(_SERVER_ID, text) is not None


def is_operation_id(text: str) -> bool:
    """Whether the text can be a status id: `wa1-12345`. It can stand in a URL's path as it is."""
    return re.fullmatch(_OPERATION_ID, text) is not None


def is_account_alias(text: str) -> bool:
    """Whether the text can be an account alias, and so be put into a URL's path."""
    return re.fullmatch(_ACCOUNT_ALIAS, text) is not None


def api_origin(base_url: str) -> str:
    """The origin that a base URL names, in its one spelling: `https://api.ctl.io`.

    Raises ValueError, its text the reason, for what isn't an https origin; http is for loopback.
    """
    found = re.fullmatch(_BASE_URL, base_url.strip().lower())
    if not found:
        reason = "it isn't a URL of the form https://HOST[:PORT]"
        raise ValueError(reason)
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if scheme == "http" and not is_loopback(host):
        reason = "it isn't https, and only a loopback address may do without"
        raise ValueError(reason)
    number = int(port or _DEFAULT_PORTS[scheme])
    if not 0 < number <= 65535:  # noqa: PLR2004 - the largest TCP port
        reason = f"there is no port {number}"
        raise ValueError(reason)
    return f"{scheme}://{host}" + ("" if number == _DEFAULT_PORTS[scheme] else f":{number}")


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL has it, is this machine: `localhost`, `127.0.0.1`, `[::1]`."""
    return re.fullmatch(_LOOPBACK, host.lower()) is not None


class ServerState(StrEnum):
    """What is known of one server's reset."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"


class Operation(NamedTuple):
    """A queued operation: its status id (`wa1-12345`) and the link that tells its status.

    A whole batch may share one in each data centre (recorded), or have one a server (documented).
    """

    id: str
    href: str


class OperationStatus(NamedTuple):
    """An operation's status, by the API's own word: `notStarted`, `executing`, `resumed`, ….

    Only two words are final. All others are polled on, the undocumented and the unknown ones too:
    `resumed` goes on to `succeeded` or back to `executing` (recorded).
    """

    word: str

    @property
    def is_final(self) -> bool:
        """Whether the operation is done, one way or the other."""
        return self.has_succeeded or self.has_failed

    @property
    def has_succeeded(self) -> bool:
        """Whether the operation is done. It doesn't say that the server is up."""
        return self.word.lower() == "succeeded"

    @property
    def has_failed(self) -> bool:
        """Whether the operation failed; the API never says why."""
        return self.word.lower() == "failed"


class NoNews(NamedTuple):
    """A poll that told nothing, and why. `retry_after` is in seconds, where the API named any.

    `slow_down` tells that the API is asked too often (429, 503), `unreachable` that it wasn't
    reached at all.
    """

    reason: str
    slow_down: bool = False
    unreachable: bool = False
    retry_after: float | None = None


class ServerResult(NamedTuple):
    """The fate of one server, the id in upper case. A refused one has no operation.

    `server` is empty where an operation was asked for by its id: the API doesn't tell whose it is.
    """

    server: str
    state: ServerState
    operation: Operation | None = None
    message: str | None = None


class ResetAnswer(NamedTuple):
    """What is known of a batch that was sent: one result a server asked for, in the order asked.

    `unasked` names what the API answered for although nobody asked. Where no answer came that can
    be read, all results are unknown and `problem` says why; `signum` is the signal's number where
    the wait for the answer was interrupted.
    """

    results: tuple[ServerResult, ...]
    unasked: tuple[str, ...] = ()
    problem: str = ""
    signum: int | None = None


@dataclass(frozen=True, slots=True)  # which can leave the token out of its repr
class Credential:
    """A bearer token and what is known of it. The token is never part of a repr.

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
        """Read what the token says of itself; what is passed in goes first.

        The payload's names are recorded from real tokens. The signature can't be checked by a
        client. A token that can't be decoded is still one: its expiry is unknown, no more.

        Raises ValueError where the text can't stand in an Authorization header.
        """
        if not re.fullmatch(_VISIBLE, token):
            reason = "it isn't one word of visible ASCII"
            raise ValueError(reason)
        claims = _claims(token)
        return cls(
            token,
            source,
            user=user or _text(claims.get("unique_name")),
            account=account or _text(claims.get("urn:tier3:account-alias")),
            roles=roles or _texts(claims.get("role")),
            issued=_instant(claims.get("nbf")),
            expires=_instant(claims.get("exp")),
        )

    def has_expired(self, now: datetime) -> bool:
        """Whether the token's own expiry has passed; False where it has none."""
        return self.expires is not None and self.expires <= now

    def expires_soon(self, now: datetime) -> bool:
        """Whether under two days of life are left."""
        return self.expires is not None and self.expires - now < TOKEN_LIFE_WARNING


def _claims(token: str) -> dict[str, object]:
    import base64  # noqa: PLC0415 - a Tab press, help and a usage error look at no token
    import json  # noqa: PLC0415

    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):  # binascii's error is a ValueError
        return {}
    return claims if isinstance(claims, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _instant(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None
