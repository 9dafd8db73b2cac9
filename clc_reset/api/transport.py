"""One request on its way to the API, and what is certain of it. The only importer of httpx.

Nothing is raised: `Transport` returns an `Answer`, or `NoAnswer` with the reason and with whether
it is certain that the request never left this machine. Each request is sent once, on a connection
of its own: a kept one may be closing at the other end, which looks like a lost answer, and what
comes on it may be the answer to another request.
"""

import json
import logging
import math
import os
import re
import ssl
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, cast
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import truststore

from clc_reset import __version__
from clc_reset.clocks import ApiTime, Clocks, Moment
from clc_reset.errors import Interrupted, UnreachableError
from clc_reset.identifiers import is_loopback, unusable_base_url
from clc_reset.imports import hidden
from clc_reset.redaction import Redactor
from clc_reset.text import LONGEST_MESSAGE, REDACTED, continued, first_line, sentence, shorten
from clc_reset.workers import Inbox

with hidden("httpx._main"):  # its own command line, and rich for it
    import httpx

codes = httpx.codes
"""For the client, which doesn't import httpx."""
CONNECT_SECONDS = 10.0
LONGEST_DELAY = 60.0
"""Seconds between the record of a request and its departure; a suspension may take longer."""
LONGEST_TICK = 3.0
"""Seconds between two ticks of a wait; only a suspension takes longer."""
LARGEST_ANSWER = 16 * 2**20
"""In bytes, unpacked: 10,000 servers need 3 MiB."""
LONGEST_EXPLANATION = LONGEST_MESSAGE - 100
"""Characters of an error's text, which becomes a part of a message."""
LONGEST_PAUSE = 86400.0
"""In seconds; a Retry-After that asks for more asks for this."""

_log = logging.getLogger(__name__)

_YEARS = range(1970, 9999)  # of a clock with which one can count, back and forth
_CONNECTING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


class Answer(NamedTuple):
    """A complete answer. `content` is the JSON in its body, redacted; None if there is none.

    `retry_after` is in seconds, `time` the API's clock, `left` the moment when the request left;
    each is None where it isn't known.
    """

    status: int
    body: bytes
    content: object = None
    retry_after: float | None = None
    time: ApiTime | None = None
    left: Moment | None = None

    @property
    def date(self) -> datetime | None:
        """The API's clock when it answered, in UTC."""
        return self.time and self.time.date


class NoAnswer(NamedTuple):
    """The reason why there is no answer, and whether it is certain that the request never left.

    `left` is the moment when it left, where that is known. `error` is set where it would be no use
    to try again.
    """

    reason: str
    never_left: bool
    signum: int | None = None
    left: Moment | None = None
    error: UnreachableError | None = None


class _LateError(Exception):
    """The request was kept from leaving, because its time is over."""


@dataclass
class _Request:
    """One request, and whether its first byte may have left.

    `seconds` limits the wait for its answer, `largest` the answer's bytes. `content` is sent as
    JSON; where there is any, reads and writes have no limit of their own.

    It is `is_here` for certain until it is handed to httpx, and again once httpx's trace tells that
    it connects; from then on `left` is set before the first byte goes. A request that is abandoned
    before that never leaves: both happen under `lock`. Without a trace nothing is certain
    at the limit; what ends the wait before that may come just before the trace's first event.
    `awake` is the latest moment since it left until which this process is known to have been
    running.
    """

    method: str
    path: str
    seconds: float
    content: object = None
    recorded: Moment | None = None
    largest: int = LARGEST_ANSWER
    began: float = math.inf
    left: Moment | None = None
    awake: Moment | None = None
    is_here: bool = True
    is_abandoned: bool = False
    lock: Lock = field(default_factory=Lock)

    @property
    def patience(self) -> float | None:
        """Seconds for each read and write; None for no limit."""
        return self.seconds if self.method == "GET" else None


class Transport:
    """Sends requests to the API at one origin, with a token once `authorize` was called.

    `origin` is the result of `identifiers.api_origin`. `api_time` is the API's clock in its latest
    answer, None before it; worker threads may set it. `way` names the origin for messages.

    Raises UnreachableError if the environment's proxy or certificates can't be used, and
    UsageError if the origin's host can't be one.
    """

    def __init__(self, origin: str, inbox: Inbox, clocks: Clocks) -> None:
        self.origin = origin
        self.api_time: ApiTime | None = None
        self._inbox = inbox
        self._clocks = clocks
        self._secrets: set[str] = set()
        self._public: set[str] = set()
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Connection": "close",
            "User-Agent": f"clc-reset/{__version__}",
        }
        try:
            self._here = httpx.URL(origin)
        except httpx.InvalidURL as error:
            raise unusable_base_url(first_line(error)) from error
        tls = _tls_context(origin)
        try:
            proxy = _proxy(self._here)
            self._connect = partial(httpx.HTTPTransport, verify=tls, proxy=proxy, trust_env=False)
            self._connect().close()
        except (ImportError, ValueError, TypeError, httpx.InvalidURL) as error:
            # other texts may quote the proxy's password
            why = f": {first_line(error)}" if isinstance(error, ImportError) else "."
            raise UnreachableError(
                sentence(f"The proxy named in the environment can't be used{why}"),
                hint="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.",
            ) from error
        self.way = f"{origin} through the proxy named in the environment" if proxy else origin
        password = proxy.userinfo.decode("ascii").partition(":")[2] if proxy else ""
        self.hide(password, unquote(password))

    def hide(self, *secrets: str, public: str = "") -> None:
        """Redact these secrets from now on; `public` is a user's name, which may equal one."""
        self._secrets.update(secrets)
        self._public.add(public)
        self.redactor = Redactor(self._secrets, self._public)

    def authorize(self, token: str) -> None:
        """Carry a token from now on."""
        self.hide(token)
        self._headers["Authorization"] = f"Bearer {token}"

    # --- links ---------------------------------------------------------------------------------

    def target(self, href: str) -> str | None:
        """Return the path and query of a link, redacted before, to the API's own origin.

        It is what is requested, as it is: nothing in it can be read as another host. None if the
        link leads elsewhere, or holds a secret, which would be asked for and kept.
        """
        try:
            url = self._here.join(href)
            target = url.raw_path.decode("ascii")
            requested = httpx.URL(self.origin + target)
        except (httpx.InvalidURL, ValueError):
            return None
        urls = (self._here, url, requested)
        is_own = len({(url.scheme, url.raw_host, url.port, url.userinfo) for url in urls}) == 1
        is_same = requested.raw_path == url.raw_path and not target.startswith("//")
        has_secret = REDACTED in href or self.redactor.redact(target) != target
        return target if is_own and is_same and not has_secret else None

    # --- requests ------------------------------------------------------------------------------

    def get(self, path: str, seconds: float, largest: int = LARGEST_ANSWER) -> Answer | NoAnswer:
        """Send a GET in this thread; an answer that drips may take longer than `seconds`."""
        request = _Request("GET", path, seconds, largest=largest)
        return self._finished(request, self._outcome(request))

    def post(
        self,
        path: str,
        content: object,
        seconds: float,
        recorded: Moment | None = None,
        tick: Callable[[float], None] | None = None,
    ) -> Answer | NoAnswer:
        """Send a POST in a thread of its own, and wait for its answer.

        So a signal or the limit ends the wait at once, also in the middle of a name's resolution or
        of headers without an end. The thread sets itself no limit for the answer: one that came
        while this process was suspended is read, though nobody knows then how old its `Date` is.
        It doesn't leave more than 60 s after `recorded`, if that is given. `tick` is called each
        second with the seconds since it left.
        """
        request = _Request("POST", path, seconds, content, recorded)

        def pass_on(_seconds: float) -> None:
            if request.left is None or request.awake is None:
                return
            now = self._clocks.now()
            # once suspended, never known to be awake again: the answer may be from before that
            if now.seconds_since(request.awake) <= LONGEST_TICK:
                request.awake = now
            if tick is not None:
                tick(now.seconds_since(request.left))

        try:
            outcome = self._inbox.call(partial(self._outcome, request), seconds, pass_on)
        except (Exception, Interrupted) as error:  # no thread was to be had, for one
            with request.lock:
                request.is_abandoned = True
                is_kept = request.is_here or not isinstance(error, TimeoutError)
                never_left = is_kept and request.left is None
            outcome = self._no_answer(request, error, never_left=never_left)
        if isinstance(outcome, NoAnswer):
            if outcome.never_left:  # a signal may have kept it, before this thread was woken
                outcome = outcome._replace(signum=self._inbox.signum)
        elif request.awake and self._clocks.now().seconds_since(request.awake) > LONGEST_TICK:
            outcome = outcome._replace(time=None)  # its Date is as old as the suspension was long
        return self._finished(request, outcome)

    def _outcome(self, request: _Request) -> Answer | NoAnswer:
        """Send a request. Raises nothing."""
        try:
            request.began = self._clocks.monotonic()
            headers, content = self._headers, None
            if request.content is not None:
                headers = {**headers, "Content-Type": "application/json"}
                content = json.dumps(request.content).encode()  # in ASCII, which carries anything
            connect = min(CONNECT_SECONDS, request.seconds)
            times = {"connect": connect, "read": request.patience, "write": request.patience}
            sent = httpx.Request(
                request.method,
                self.origin + request.path,
                headers=headers,
                content=content,
                extensions={"timeout": times, "trace": partial(self._trace, request)},
            )
            with self._connect() as connection:
                request.is_here = False  # until the trace tells
                with closing(connection.handle_request(sent)) as response:
                    return self._answer(response, request)
        except Exception as error:  # whatever it was, it may have been sent
            is_here = request.is_here or isinstance(error, _CONNECTING)
            return self._no_answer(request, error, never_left=is_here and request.left is None)

    def _trace(self, request: _Request, event: str, info: Mapping[str, Any]) -> None:
        """Take httpx's event; a CONNECT to a proxy is part of connecting.

        A request that hasn't left never does once it is abandoned, a signal came, or its time is
        over.
        """
        if event.endswith(".connect_tcp.started"):
            request.is_here = True
        if event != "http11.send_request_headers.started" or info["request"].method == b"CONNECT":
            return
        with request.lock:
            now = self._clocks.now()
            if request.is_abandoned or self._inbox.signum is not None:
                raise RuntimeError("it was interrupted before it was sent")
            if request.recorded and now.seconds_since(request.recorded) > LONGEST_DELAY:
                raise _LateError(f"more than {LONGEST_DELAY:g} s had passed since it was recorded")
            request.left = request.awake = now

    def _answer(self, response: httpx.Response, request: _Request) -> Answer:
        now, largest = self._clocks.now(), request.largest
        date = _date(response.headers.get("Date", ""))
        time = ApiTime(date, now) if date is not None and date.year in _YEARS else None
        retry_after = _seconds(response.headers.get("Retry-After", "").strip(), date or now.utc)
        deadline = self._clocks.monotonic() + (request.patience or math.inf)
        unpacker = _unpacker(response.headers.get_list("Content-Encoding", split_commas=True))
        body, received = bytearray(), 0
        for chunk in cast("Iterable[bytes]", response.stream):
            received += len(chunk)
            # piece by piece: a small one may hold more than any memory, or nothing for ever
            body += unpacker.decompress(chunk, largest + 1) if unpacker else chunk
            if max(received, len(body)) > largest:
                raise ValueError(f"the answer is larger than {largest >> 10:,} KiB")
            if self._clocks.monotonic() > deadline:
                raise httpx.ReadTimeout("")
        if unpacker and received and not unpacker.eof:
            raise httpx.DecodingError("its end is missing")
        content = self.redactor.decode(bytes(body))
        status = response.status_code
        return Answer(status, bytes(body), content, retry_after, time, request.left)

    def _no_answer(self, request: _Request, error: BaseException, *, never_left: bool) -> NoAnswer:
        """Return the meaning of an error."""
        text = reason = shorten(self.redactor.redact(_plain(error)), LONGEST_EXPLANATION)
        final = signum = None
        match error:
            case Interrupted():
                reason, signum = "the wait for its answer was interrupted", error.signum
            case _LateError():
                message = f"The request was given up: {text}."
                final = UnreachableError(message, hint="Run the command again.")
            case httpx.ConnectError() if cause := _tls_error(error):
                reason = f"TLS failed: {text}"
                if isinstance(cause, ssl.SSLCertVerificationError):
                    reason = f"{text} (SSL_CERT_FILE can name a private CA)"
                    hint = "If a private CA issued it, name the CA's certificate in SSL_CERT_FILE"
                    hint += " (a file in PEM format)."
                    final = UnreachableError(f"Can't reach {self.way}: {text}.", hint=hint)
            case httpx.ConnectTimeout():
                reason = f"no connection within {min(CONNECT_SECONDS, request.seconds):g} s"
            case httpx.TimeoutException() | TimeoutError():
                reason = f"no answer within {request.seconds:g} s"
            case httpx.RemoteProtocolError() if "without sending a response" in text:
                reason = "the connection was lost before an answer came"
            case httpx.ReadError() | httpx.WriteError() | httpx.RemoteProtocolError():
                reason = f"the connection was lost ({text})"
            case httpx.DecodingError() | zlib.error():
                reason = f"the answer can't be decoded ({text})"
        return NoAnswer(reason, never_left, signum, request.left, final)

    def _finished(self, request: _Request, outcome: Answer | NoAnswer) -> Answer | NoAnswer:
        """Keep the API's time, and log a request: no header and no body, so no secret."""
        if isinstance(outcome, Answer):
            self.api_time = outcome.time or self.api_time
        if _log.isEnabledFor(logging.DEBUG):
            status = outcome.status if isinstance(outcome, Answer) else f"({outcome.reason})"
            url = self.redactor.redact(self.origin + request.path)
            took = max(0.0, self._clocks.monotonic() - request.began) * 1000
            _log.debug("%s %s %s %.0f ms", request.method, url, status, took)
        return outcome


def _plain(error: BaseException) -> str:
    """Return an error's text as the end of a sentence: `connection refused`."""
    # h11 quotes what it can't read, in bytes: an echo of what was sent can hide in that
    text = first_line(error).partition("bytearray(")[0]
    text = re.sub(r"^\[[^]]*\] *| *\(_ssl\.c:[0-9]+\)$", "", text)
    return continued(text.rstrip(".: "))


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS that led to an error, or None."""
    chain = [error]  # which may lead back to where it began
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return next((error for error in chain if isinstance(error, ssl.SSLError)), None)


def _unpacker(encodings: list[str]) -> "zlib._Decompress | None":
    """Return what unpacks a body; None if it isn't packed. Raises DecodingError."""
    packed = [name.lower() for name in encodings if name.lower() not in {"", "identity"}]
    if not packed:
        return None
    if len(packed) > 1 or packed[0] not in {"gzip", "x-gzip", "deflate"}:
        raise httpx.DecodingError(f"Content-Encoding: {', '.join(encodings)}")
    return zlib.decompressobj(32 + zlib.MAX_WBITS)  # gzip or zlib


def _date(text: str) -> datetime | None:
    """Return a date of HTTP (RFC 9110, 5.6.7); asctime's form names no zone, and all are in UTC."""
    try:
        found = parsedate_to_datetime(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds(text: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After asks for, by a number or a date (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_PAUSE)
    until = _date(text) if text else None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_PAUSE) if until else None


def _proxy(url: httpx.URL) -> httpx.URL | None:
    """Return the proxy that the environment names for a URL, by urllib's rules.

    NO_PROXY may name the host with its port, in brackets, or neither. A plain http URL is one on
    loopback: its token is not shown to a proxy on another machine.
    """
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    port = url.port or (443 if url.scheme == "https" else 80)
    if not named or any(proxy_bypass(f"{host}:{port}") for host in (url.host, f"[{url.host}]")):
        return None
    # read once: what is looked at here is what is connected to
    proxy = httpx.URL(named if "://" in named else f"http://{named}")
    return proxy if url.scheme == "https" or is_loopback(proxy.host) else None


def _tls_context(origin: str) -> ssl.SSLContext:
    """Return a context with the system's trust store, as curl and pip have it.

    A plain http URL (loopback only) gets a context that trusts nobody: it is never used, and
    loading the store takes about 20 ms. Where OpenSSL finds the store by itself, as on most Linux
    systems, truststore does no more than that, but anew for each connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if origin.startswith("http:"):
        return context
    if sys.platform == "linux":
        context.load_default_certs()
    if not context.cert_store_stats()["x509_ca"]:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    cafile = os.environ.get("SSL_CERT_FILE")
    if cafile:
        try:
            context.load_verify_locations(cafile)
        except (OSError, ValueError) as error:
            raise UnreachableError(
                sentence(f"SSL_CERT_FILE names {cafile}, which can't be read: {first_line(error)}"),
                hint="Correct or unset SSL_CERT_FILE.",
            ) from error
    return context
