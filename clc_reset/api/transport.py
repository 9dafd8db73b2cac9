"""How one request travels to the API, and what is certain of it. The only door to httpx.

Whatever happens is in what `Transport` returns: an `Answer`, or `NoAnswer` with the reason and with
whether it is certain that the request never left this machine. No POST is sent twice here.
"""

import json
import os
import re
import select
import signal
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from threading import Lock
from typing import Any, NamedTuple, cast
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import truststore

from clc_reset import __version__, threads
from clc_reset.errors import Interrupted, UnreachableError, UsageError
from clc_reset.identifiers import is_loopback
from clc_reset.imports import hidden
from clc_reset.text import Redactor, first_line, printable, sentence

with hidden("httpx._main"):  # its own command line, and rich for it
    import httpx

codes = httpx.codes
"""For the client, which knows no httpx."""
CONNECT_SECONDS = 10.0
LARGEST_ANSWER = 16 * 2**20
"""In bytes, decoded: 10,000 servers need 3 MiB."""
LONGEST_PAUSE = 86400.0
"""In seconds; a Retry-After that asks for more asks for this."""

_PROXY_HINT = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. Nothing was sent."
# As recorded. To join any link to the origin takes 0.1 ms, a second for 10,000.
_IS_ITS_OWN_TARGET = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
_PACKED = {"gzip", "x-gzip", "deflate"}
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_BEFORE_THE_REQUEST = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    UnicodeError,  # a host name that is no name
)


class Exchange(NamedTuple):
    """One request as `-v` tells of it: no header, no body, so no secret."""

    method: str
    url: str
    outcome: str
    milliseconds: float


class Answer(NamedTuple):
    """An answer, complete; the body is unpacked.

    `date` is the API's clock (UTC), `seconds` how long after the request had left it came, and
    `retry_after` the seconds to wait that it names.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    date: datetime | None = None
    seconds: float = 0.0


class NoAnswer(NamedTuple):
    """Why there is no answer, and whether it is certain that the request never left.

    `seconds` is how long ago it left, where that is known.
    """

    reason: str
    never_left: bool
    signum: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `seconds` limits the wait for its answer, which is never told with `secret`."""

    method: str
    path: str
    content: object
    seconds: float
    secret: str = field(default="", repr=False)
    largest: int = LARGEST_ANSWER


class _Departure:
    """Knows, from httpx's trace of one request, whether its first byte may have left.

    Once abandoned, or once there is a signal's mark, a request that has not left never does.
    """

    def __init__(self, stop: threads.Stop, clock: Callable[[], float]) -> None:
        self.left_at: float | None = None
        self.is_handed_over = False
        self._is_connecting = False
        self._is_abandoned = False
        self._stop = stop
        self._clock = clock
        self._lock = Lock()

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one trace event; a CONNECT to a proxy is part of connecting."""
        if event == "connection.connect_tcp.started":
            self._is_connecting = True
        elif event == "http11.send_request_headers.started" and (
            info["request"].method != b"CONNECT"
        ):
            with self._lock:
                if self._is_abandoned or self._stop.signum is not None:
                    raise _AbandonedError
                self.left_at = self._clock()

    def never_left(self) -> bool:
        """Whether it is certain that no byte has left. Without a word of the transport it isn't."""
        return self.left_at is None and (self._is_connecting or not self.is_handed_over)

    def abandon(self) -> bool:
        """Let it not leave any more, and say whether it is certain that it never did."""
        with self._lock:
            self._is_abandoned = True
            return self.left_at is None


class _AbandonedError(Exception):
    """Nobody waits for this request any more, and it has not left."""


class _StaleError(Exception):
    """A kept connection gave what can't be the answer to this request."""


class _TooLargeError(Exception):
    """The answer is larger than any that is needed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit >> 10:,} KiB")


class _Line:
    """A connection that GETs keep, one at a time, so that none waits for another.

    Not a Client: nothing may redirect, keep cookies or authenticate here, and its layers are a
    third of what a poll costs.
    """

    def __init__(self, transport: httpx.HTTPTransport) -> None:
        self._transport = transport
        self.close = transport.close
        self._kept: Any = None  # the network stream after an answer
        self._seconds = 0.0

    @property
    def is_kept(self) -> bool:
        """Whether an answer has come on it before."""
        return self._kept is not None

    def send(self, sent: httpx.Request, seconds: float) -> httpx.Response:
        """Send a request; an answer on a kept connection has to come after it.

        Bytes that a server sends after an answer are read with it, and would be taken for the
        answer to what is asked next: a failing operation was reported as succeeded.
        """
        if self.is_kept:
            self._seconds = seconds
            sent.extensions["trace"] = self._trace
        return self._transport.handle_request(sent)

    def check(self, response: httpx.Response) -> None:
        """Raise _StaleError if an answer that was read whole may be another request's."""
        if self.is_kept and self._kept.get_extra_info("is_readable"):
            raise _StaleError
        self._kept = response.extensions.get("network_stream")

    def _trace(self, event: str, _info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self._kept = None  # it had been closed
        elif event == "http11.receive_response_headers.started" and self.is_kept:
            # so that what is there before it stays behind it, where `check` finds the answer
            poll = select.poll()
            poll.register(self._kept.get_extra_info("socket"), select.POLLIN)
            if not poll.poll(self._seconds * 1000):
                raise httpx.ReadTimeout("")


class Transport:
    """The way to the API at one origin; it carries a token once `authorize` has given it one.

    `origin` is what `identifiers.api_origin` made of the base URL. `on_exchange` is told of each
    request. `clock` counts seconds from anywhere, `wall_clock` since 1970; `connect_seconds` limits
    how long a connection may take.

    Raises UnreachableError if the environment's proxy or certificates can't be used, and
    UsageError if the origin has no host that can be one.
    """

    def __init__(
        self,
        origin: str,
        stop: threads.Stop,
        on_exchange: Callable[[Exchange], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        *,
        connect_seconds: float = CONNECT_SECONDS,
        tick_seconds: float = 1.0,
    ) -> None:
        self.origin = origin
        self.offset: timedelta | None = None
        self._stop = stop
        self._on_exchange = on_exchange
        self._clock = clock
        self._wall_clock = wall_clock
        self._connect_seconds = connect_seconds
        self._tick_seconds = tick_seconds
        self._is_closed = False
        # most operations are asked for again, and to read a URL is a tenth of a poll
        self._url = lru_cache(maxsize=1024)(lambda path: httpx.URL(origin + path))
        self._targets: dict[str, str | None] = {}
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
        tls = _tls_context(origin)
        try:
            proxy = _proxy(self._here)
            self._connect = partial(httpx.HTTPTransport, verify=tls, proxy=proxy, trust_env=False)
            self._idle = deque([_Line(self._connect())])
        except (ImportError, ValueError, TypeError, httpx.InvalidURL) as error:
            # other texts may quote the proxy's password
            why = f": {first_line(error)}" if isinstance(error, ImportError) else "."
            raise UnreachableError(
                f"The proxy named in the environment can't be used{why}", hint=_PROXY_HINT
            ) from error
        self.way = f"{origin}, through the proxy named in the environment," if proxy else origin
        password = proxy.userinfo.decode("ascii").partition(":")[2] if proxy else ""
        self._secrets = [password, unquote(password)]
        self._redactor = Redactor(self._secrets)

    def authorize(self, token: str) -> None:
        """Carry a token from now on."""
        self._secrets.append(token)
        self._redactor = Redactor(self._secrets)
        self._headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close the connections that wait for a request, and those that still do something then."""
        self._is_closed = True
        with suppress(IndexError):  # a poll that goes on may take the last one meanwhile
            while True:
                self._idle.pop().close()

    def clean(self, text: str, secret: str = "") -> str:
        """The API's text, fit to be shown and kept: one line, without a secret in it."""
        redactor = Redactor([*self._secrets, secret]) if secret else self._redactor
        return redactor.redact(printable(text))

    def target(self, href: str) -> str | None:
        """The path and query of a link to the API's own origin; None if it leads elsewhere.

        It is what is requested, as it is: nothing in it can be read as another host.
        """
        if _IS_ITS_OWN_TARGET.fullmatch(href):
            return href
        if href not in self._targets:
            self._targets[href] = self._joined(href)
        return self._targets[href]

    def _joined(self, href: str) -> str | None:
        try:
            target = self._of_this_origin(self._here.join(href))
            if target is None or target.startswith("//"):
                return None
            requested = self._of_this_origin(httpx.URL(self.origin + target))
        except (httpx.InvalidURL, ValueError):
            return None
        return target if requested == target else None

    def _of_this_origin(self, url: httpx.URL) -> str | None:
        here, there = ((each.scheme, each.raw_host, each.port) for each in (self._here, url))
        return url.raw_path.decode("ascii") if here == there and not url.userinfo else None

    def exchange(
        self, request: Request, tick: Callable[[float], None] | None = None
    ) -> Answer | NoAnswer:
        """Send one request once and wait for its answer, for `request.seconds` at the most.

        It has a connection of its own: a kept one may be closing at the other end, which looks
        like a lost answer (measured: a try after a 429 got lost that way). It is sent by a thread
        of its own, so that a signal or the time limit ends the wait at once, also in the middle of
        a name's resolution or of headers without an end. `tick` is told each second how many
        seconds ago it left. Whatever happens is in what this returns.
        """
        departure = _Departure(self._stop, self._clock)
        began = 0.0
        seconds = self._connect_seconds + request.seconds

        def work() -> Answer | NoAnswer:
            try:
                with self._connect() as transport:

                    def send(sent: httpx.Request) -> httpx.Response:
                        departure.is_handed_over = True
                        return transport.handle_request(sent)

                    sent = self._sent(request, {"Connection": "close"}, departure)
                    return self._answer(request, sent, send, departure)
            except Exception as error:  # whatever it was, it may be out there
                outcome = self._no_answer(request, error)
                return outcome._replace(never_left=outcome.never_left or departure.never_left())

        def tell(_seconds: float) -> None:
            if tick is not None and departure.left_at is not None:
                with suppress(Exception):
                    tick(self._clock() - departure.left_at)

        outcome: Answer | NoAnswer
        try:
            began = self._clock()
            outcome = threads.call(
                work, seconds, self._stop, tick=tell, tick_seconds=self._tick_seconds
            )
        except KeyboardInterrupt as error:
            signum = error.signum if isinstance(error, Interrupted) else signal.SIGINT
            reason = "the wait for its answer was interrupted"
            outcome = NoAnswer(reason, departure.abandon(), signum)
        except TimeoutError:
            outcome = NoAnswer(f"no answer within {seconds:g} s", departure.abandon())
        except Exception as error:  # no thread was to be had, or no memory
            outcome = NoAnswer(first_line(error), departure.abandon())
        if isinstance(outcome, NoAnswer) and departure.left_at is not None:
            outcome = outcome._replace(seconds=self._clock() - departure.left_at)
        self._tell(request, outcome, began)
        return outcome

    def ask(self, request: Request) -> Answer | NoAnswer:
        """Send one GET in this thread, on any connection. It may not end in time."""
        began = self._clock()
        try:
            line = self._idle.pop()
        except IndexError:
            line = _Line(self._connect())
        try:
            outcome = self._asked(request, line)
        except _StaleError:  # it was closing, or nothing that comes on it can be believed
            outcome = self._asked(request, _Line(self._connect()))
        self._tell(request, outcome, began)
        return outcome

    def _asked(self, request: Request, line: _Line) -> Answer | NoAnswer:
        try:
            send = partial(line.send, seconds=request.seconds)
            answer = self._answer(request, self._sent(request), send, check=line.check)
        except _StaleError:
            line.close()
            raise
        except Exception as error:  # whatever it was, it is no news
            line.close()
            if line.is_kept and isinstance(error, _LOST):
                raise _StaleError from error
            return self._no_answer(request, error)
        self._idle.append(line)
        if self._is_closed:
            self.close()
        return answer

    def _sent(
        self,
        request: Request,
        headers: Mapping[str, str] | None = None,
        trace: _Departure | None = None,
    ) -> httpx.Request:
        content = None
        sent_headers = self._headers
        if headers is not None:
            sent_headers = self._headers.copy()
            sent_headers.update({"Content-Type": "application/json", **headers})
            content = json.dumps(request.content).encode()  # not `json=`: ASCII carries anything
        return httpx.Request(
            request.method,
            self._url(request.path),
            headers=sent_headers,
            content=content,
            extensions={
                "timeout": {
                    "connect": min(self._connect_seconds, request.seconds),
                    "pool": self._connect_seconds,
                    "write": request.seconds,
                    "read": request.seconds,
                },
                **({"trace": trace} if trace else {}),
            },
        )

    def _answer(
        self,
        request: Request,
        sent: httpx.Request,
        send: Callable[[httpx.Request], httpx.Response],
        departure: _Departure | None = None,
        check: Callable[[httpx.Response], None] | None = None,
    ) -> Answer:
        began = self._clock()
        with closing(send(sent)) as response:
            came, here = self._clock(), datetime.fromtimestamp(self._wall_clock(), UTC)
            body = self._body(response, request.largest, came + request.seconds)
            if check is not None:
                check(response)
        if departure is not None and departure.left_at is not None:
            began = departure.left_at
        date = _instant(response.headers.get("Date", ""))
        if date is not None:
            self.offset = date - here
        retry_after = _seconds(response.headers.get("Retry-After", "").strip(), date or here)
        return Answer(response.status_code, body, retry_after, date, came - began)

    def _body(self, response: httpx.Response, largest: int, deadline: float) -> bytes:
        """The body, unpacked piece by piece: a small one may be packed larger than any memory."""
        named = response.headers.get_list("Content-Encoding", split_commas=True)
        encodings = [each.lower() for each in named if each.lower() not in {"", "identity"}]
        if len(encodings) > 1 or not _PACKED.issuperset(encodings):
            raise httpx.DecodingError(f"Content-Encoding: {', '.join(named)}")
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if encodings else None
        body = bytearray()
        received = 0
        for chunk in cast("Iterable[bytes]", response.stream):
            received += len(chunk)
            body += unpacker.decompress(chunk, largest + 1 - len(body)) if unpacker else chunk
            if max(received, len(body)) > largest:
                raise _TooLargeError(largest)
            if self._clock() > deadline:
                raise httpx.ReadTimeout("")
        if unpacker is not None and received and not unpacker.eof:
            raise httpx.DecodingError("its end is missing")
        return bytes(body)

    def _no_answer(self, request: Request, error: Exception) -> NoAnswer:
        """What an error leaves of a request; whether it left is as far as the error tells."""
        # h11 quotes what it can't read, in bytes: an echo of what was sent can hide in that
        told = first_line(error).partition("bytearray(")[0].rstrip(".: ")
        match error:
            case httpx.ConnectTimeout() | httpx.PoolTimeout():
                why = f"no connection within {min(self._connect_seconds, request.seconds):g} s"
            case httpx.TimeoutException():
                why = f"no answer within {request.seconds:g} s"
            case httpx.RemoteProtocolError() if "without sending a response" in told:
                why = "the connection was lost before an answer came"
            case _ if isinstance(error, _LOST):
                why = f"the connection was lost ({told})"
            case httpx.DecodingError() | zlib.error():
                why = f"the answer can't be decoded ({told})"
            case _:
                why = told
        return NoAnswer(self.clean(why, request.secret), isinstance(error, _BEFORE_THE_REQUEST))

    def _tell(self, request: Request, outcome: Answer | NoAnswer, began: float) -> None:
        told = f"{outcome.status}" if isinstance(outcome, Answer) else f"({outcome.reason})"
        with suppress(Exception):  # what only shows changes nothing
            milliseconds = (self._clock() - began) * 1000
            url = self.clean(self.origin + request.path)
            self._on_exchange(Exchange(request.method, url, told, milliseconds))


@lru_cache(maxsize=16)  # of sixteen polls at a time most are answered in the same second
def _instant(text: str) -> datetime | None:
    """A date of HTTP (RFC 9110, 5.6.7); asctime's form names no zone, and all are in UTC."""
    try:
        instant = parsedate_to_datetime(text)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds(text: str, now: datetime) -> float | None:
    """The seconds to wait that a Retry-After names, a number or a date (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_PAUSE)
    until = _instant(text) if text else None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_PAUSE) if until else None


def _proxy(url: httpx.URL) -> httpx.URL | None:
    """The proxy that the environment names for a URL, by urllib's rules.

    A plain http URL is one on loopback: its token is not shown to a proxy on another machine.
    """
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or proxy_bypass(url.host):
        return None
    # read once: what is looked at here is what is connected to
    proxy = httpx.URL(named if "://" in named else f"http://{named}")
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return None if url.scheme == "http" and not is_loopback(host) else proxy


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
                sentence(f"SSL_CERT_FILE names {cafile}, which can't be read: {first_line(error)}"),
                hint="Correct or unset SSL_CERT_FILE. Nothing was sent.",
            ) from error
    return context
