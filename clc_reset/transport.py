"""How one request travels to the API, and what is certain of it. The only door to httpx.

Whatever happens is in what `Transport` returns: an `Answer`, or `NoAnswer` with the reason and with
whether it is certain that the request never left this machine. Nothing is sent twice here.
"""

import json
import os
import re
import ssl
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any
from urllib.request import getproxies, proxy_bypass

from clc_reset import __version__
from clc_reset.errors import UnreachableError, UsageError, signal_of
from clc_reset.models import is_loopback, printable

# httpx imports its own command line, and rich for it, wherever rich is installed
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402
import truststore  # noqa: E402
from httpx import codes as codes  # noqa: E402, PLC0414 - for api, which knows no httpx

CONNECT_SECONDS = 10.0
LARGEST_ANSWER = 16 * 2**20
"""In bytes, decoded: 10,000 servers need 3 MiB."""
SHORTEST_SECRET = 4
"""In characters: what is shorter is a part of every other word, and no secret."""

_PROXY_HINT = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. Nothing was sent."
_SECRET = "[secret]"  # noqa: S105 - it stands for one
# A kept connection may be closing at the other end, which looks like a lost answer: measured, a try
# after a 429 got lost that way, and its outcome with it.
_ON_A_CONNECTION_OF_ITS_OWN = {"Content-Type": "application/json", "Connection": "close"}
# One chunk, decoded twice over or by what packs tighter than gzip, may be larger than any memory.
_DECODED = re.compile(r"\b(?:gzip|deflate)\b")
_NOT_ASKED_FOR = re.compile(r"\b(?:br|zstd)\b")
# As recorded. To join any link to the origin takes 0.1 ms, a second for 10,000.
_IS_ITS_OWN_TARGET = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
_BEFORE_THE_REQUEST = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    UnicodeError,  # a host name that is no name
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as `-v` tells of it: no header, no body, so no secret."""

    method: str
    url: str
    outcome: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, complete; the body is decoded from gzip.

    `secret` is what must not be quoted from it, beside the token.
    """

    status: int
    retry_after: str | None
    body: bytes
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is no answer, and whether it is certain that the request never left."""

    reason: str
    never_left: bool
    signum: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `seconds` limits the wait for its answer, which never shows `secret`."""

    method: str
    path: str
    content: object
    seconds: float
    secret: str = field(default="", repr=False)
    largest: int = LARGEST_ANSWER


class _Departure:
    """Knows, from httpx's trace of one request, whether its first byte may have left.

    Once abandoned, a request that has not left never does.
    """

    def __init__(self) -> None:
        self._is_connecting = False
        self._has_left = False
        self._abandoned = False
        self._lock = Lock()

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one trace event; a CONNECT to a proxy is part of connecting."""
        if event == "connection.connect_tcp.started":
            self._is_connecting = True
        elif event == "http11.send_request_headers.started" and (
            info["request"].method != b"CONNECT"
        ):
            with self._lock:
                if self._abandoned:
                    raise _AbandonedError
                self._has_left = True

    def never_left(self) -> bool:
        """Whether it is certain that no byte has left. Without a word of the transport it isn't."""
        return self._is_connecting and not self._has_left

    def abandon(self) -> bool:
        """Let it not leave any more, and say whether it is certain that it never did."""
        with self._lock:
            self._abandoned = True
            return not self._has_left


class _AbandonedError(Exception):
    """Nobody waits for this request any more, and it has not left."""


class _TooLargeError(Exception):
    """The answer is of a size that nothing needs."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit >> 10:,} KiB")


class Transport:
    """The way to the API at one origin; it carries a token once `authorize` has given it one.

    `origin` is what `models.api_origin` made of the base URL. `on_exchange` is told of each
    request. `clock` counts seconds.

    Raises UnreachableError where the environment's proxy or certificates can't be used, and
    UsageError where the origin has no host that can be one.
    """

    def __init__(
        self, origin: str, on_exchange: Callable[[Exchange], None], clock: Callable[[], float]
    ) -> None:
        self.origin = origin
        self._forms_of_token: list[str] = []
        self._on_exchange = on_exchange
        self._clock = clock
        self._targets: dict[str, str] = {}
        self._headers = httpx.Headers(
            {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"clc-reset/{__version__}",
            }
        )
        try:
            self._here = httpx.URL(origin)
        except httpx.InvalidURL as error:
            raise UsageError(
                f"CLC_BASE_URL can't be used: {first_line(error)}.", hint="Nothing was sent."
            ) from error
        proxy = _proxy(self._here)
        tls = _tls_context(origin)
        # Not a Client: nothing may redirect, keep cookies or authenticate here, and its layers are
        # a third of what a poll costs. One for each request at a time, so that none waits.
        self._connect = partial(httpx.HTTPTransport, verify=tls, proxy=proxy, trust_env=False)
        try:
            self._idle = deque([self._connect()])
        except (ImportError, ValueError, TypeError, httpx.InvalidURL) as error:
            # other texts may quote the proxy's password
            why = f": {first_line(error)}" if isinstance(error, ImportError) else "."
            raise UnreachableError(
                f"The proxy that the environment names can't be used{why}", hint=_PROXY_HINT
            ) from error
        self.way = f"{origin}, through the proxy that the environment names," if proxy else origin

    def authorize(self, token: str) -> None:
        """Carry a token from now on."""
        self._forms_of_token = _forms(token)
        self._headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close the connections that wait for a request."""
        with suppress(IndexError):  # a poll that goes on may take the last one meanwhile
            while True:
                self._idle.pop().close()

    def target(self, href: str) -> str | None:
        """The path and query of a link to the API's own origin; None where it leads elsewhere."""
        if _IS_ITS_OWN_TARGET.fullmatch(href):
            return href
        if href not in self._targets:
            try:
                there = self._here.join(href)
            except (httpx.InvalidURL, ValueError):
                return None
            same = [(url.scheme, url.host, url.port) for url in (self._here, there)]
            if same[0] != same[1] or there.userinfo:
                return None
            self._targets[href] = there.raw_path.decode("ascii")
        return self._targets[href]

    def exchange(self, request: Request) -> Answer | NoAnswer:
        """Send one request once and wait for its answer, for `request.seconds` at the most.

        It is sent by a thread of its own, so that a signal or the time limit ends the wait at
        once, also in the middle of a name's resolution or of headers without an end. Whatever
        happens is in what it returns, a signal too.
        """
        departure = _Departure()
        headers = self._headers.copy()
        headers.update(_ON_A_CONNECTION_OF_ITS_OWN)
        outcomes: SimpleQueue[Answer | NoAnswer] = SimpleQueue()
        began = self._clock()

        def work() -> None:
            outcome = self._attempt(request, headers, {"trace": departure})
            if isinstance(outcome, NoAnswer) and departure.never_left():
                outcome = replace(outcome, never_left=True)
            outcomes.put(outcome)

        thread = Thread(target=work, name="exchange", daemon=True)
        outcome: Answer | NoAnswer
        try:
            thread.start()
            outcome = outcomes.get(timeout=CONNECT_SECONDS + request.seconds)
        except Empty:
            reason = f"no answer within {CONNECT_SECONDS + request.seconds:g} s"
            outcome = NoAnswer(reason, departure.abandon())
        except RuntimeError as error:
            outcome = NoAnswer(first_line(error), never_left=True)  # no thread was to be had
        except KeyboardInterrupt as interrupt:
            outcome = interrupted(interrupt, never_left=departure.abandon())
        self._tell(request, outcome, began)
        return outcome

    def _tell(self, request: Request, outcome: Answer | NoAnswer, began: float) -> None:
        told = f"{outcome.status}" if isinstance(outcome, Answer) else f"({outcome.reason})"
        milliseconds = (self._clock() - began) * 1000
        self._on_exchange(Exchange(request.method, self.origin + request.path, told, milliseconds))

    def _attempt(
        self, request: Request, headers: httpx.Headers, extensions: Mapping[str, Any]
    ) -> Answer | NoAnswer:
        """Send a request in this thread; whatever happens is in what it returns.

        Whether it left is as far as the error alone tells; a trace may know better.
        """
        try:
            return self._answer(request, headers, extensions)
        except Exception as error:  # noqa: BLE001 - whatever it was, the request may be out there
            # h11 quotes what it can't read, which may be an echo of what was sent
            why = self.without_secrets(_why(error, request.seconds), request.secret)
            return NoAnswer(why, isinstance(error, _BEFORE_THE_REQUEST))

    def _answer(
        self, request: Request, headers: httpx.Headers, extensions: Mapping[str, Any]
    ) -> Answer:
        sent = httpx.Request(
            request.method,
            self.origin + request.path,
            headers=headers,
            # not `json=`: ASCII carries any password
            content=None if request.content is None else json.dumps(request.content).encode(),
            extensions={
                "timeout": {
                    "connect": CONNECT_SECONDS,
                    "pool": CONNECT_SECONDS,
                    "write": request.seconds,
                    "read": request.seconds,
                },
                **extensions,
            },
        )
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = self._connect()
        try:
            with closing(transport.handle_request(sent)) as response:
                return Answer(
                    response.status_code,
                    response.headers.get("Retry-After"),
                    self._body(response, request.largest),
                    request.secret,
                )
        finally:
            self._idle.append(transport)

    def ask(self, request: Request) -> Answer | NoAnswer:
        """Send one request once in this thread, on any connection. It may not end in time."""
        began = self._clock()
        outcome = self._attempt(request, self._headers, {})
        self._tell(request, outcome, began)
        return outcome

    def without_secrets(self, text: str, secret: str = "") -> str:
        """Text of the API's, which may be an echo of what was sent, also as JSON in a string."""
        for form in (*self._forms_of_token, *_forms(secret)):
            text = text.replace(form, _SECRET)
        return text

    def _body(self, response: httpx.Response, largest: int) -> bytes:
        encodings = response.headers.get("Content-Encoding", "").lower()
        if len(_DECODED.findall(encodings)) > 1 or _NOT_ASKED_FOR.search(encodings):
            raise httpx.DecodingError(f"Content-Encoding: {encodings}")
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > largest:
                raise _TooLargeError(largest)
        return bytes(body)


def _forms(secret: str) -> list[str]:
    """How a secret may come back: as it is, without blanks at its ends, as JSON in a string."""
    return [
        form
        for each in dict.fromkeys((secret, secret.strip()))
        if len(each) >= SHORTEST_SECRET
        for form in (each, json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1])
    ]


def interrupted(interrupt: KeyboardInterrupt, *, never_left: bool) -> NoAnswer:
    """What a signal leaves of a request."""
    reason = "the wait for its answer was interrupted"
    return NoAnswer(reason, never_left, signal_of(interrupt))


def _why(error: Exception, seconds: float) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return f"no connection within {CONNECT_SECONDS:g} s"
        case httpx.TimeoutException():
            return f"no answer within {seconds:g} s"
        case httpx.ReadError() | httpx.WriteError() | httpx.RemoteProtocolError():
            return f"the connection was lost ({first_line(error)})"
        case httpx.DecodingError():
            return f"the answer can't be decoded ({first_line(error)})"
        case _:
            return first_line(error)


def first_line(error: Exception) -> str:
    """An error's text, or its name where it has none."""
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__


def _proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for a URL, by urllib's rules.

    A plain http URL is one on loopback: its token is not shown to a proxy on another machine.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    host = proxy.partition("://")[2].rpartition("@")[2].partition("/")[0]
    if url.scheme == "http" and not is_loopback(re.sub(r":[0-9]*$", "", host)):
        return None
    return proxy


def _tls_context(origin: str) -> ssl.SSLContext:
    """The system's trust store, as curl and pip have it.

    A plain http URL (loopback only) gets a context that trusts nobody: it is never used, and
    loading the store takes about 20 ms.
    """
    if origin.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    cafile = os.environ.get("SSL_CERT_FILE")
    if cafile:
        try:
            context.load_verify_locations(cafile)
        except (OSError, ValueError) as error:
            raise UnreachableError(
                f"SSL_CERT_FILE names {cafile}, which can't be read: {first_line(error)}",
                hint="Correct or unset SSL_CERT_FILE. Nothing was sent.",
            ) from error
    return context
