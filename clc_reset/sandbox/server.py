"""The sandbox's cloud on loopback: sockets, threads, and a log line for each request."""

import errno
import gzip
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn

from clc_reset.sandbox.cloud import Cloud, HTTPRequest, HTTPResponse

LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 16 * 2**20
WORTH_COMPRESSING = 1024
IDLE_SECONDS = 120
PROCESS_POLL_SECONDS = 0.1
HTTP_PORT = 80


class Server(ThreadingHTTPServer):
    """An HTTP server for one cloud, on loopback only; port 0 takes a free one.

    `latency` is in seconds, added to each answer; `log` gets a line for each request. Raises
    OSError if the port can't be used.
    """

    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self, cloud: Cloud, *, port: int, latency: float, log: Callable[[str], None]
    ) -> None:
        self.cloud = cloud
        self.lock = threading.Lock()
        self.latency = latency
        self.log = log
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The base URL to point a client at."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def handle_error(self, *_connection: object) -> None:
        """Log the error that ended a connection; a client may go away in the middle."""
        self.log(f"connection lost: {sys.exception()!r}")


def own_hosts(port: int) -> set[str]:
    """Return the values of `Host` that name a server on this port of loopback."""
    names = {LOOPBACK, "localhost"}
    return {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1  # headers and body leave together
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        began = time.monotonic()
        response = self._response()
        time.sleep(self.server.latency)
        milliseconds = (time.monotonic() - began) * 1000
        outcome = f"{response.status}" if response else "(taken; the answer is lost)"
        note = f" {response.note}" if response and response.note else ""
        self.server.log(f"{self.command} {self.path} {outcome} {milliseconds:.0f} ms{note}")
        if response is None:
            self.close_connection = True
        else:
            self._send(response)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _response(self) -> HTTPResponse | None:
        """Return the response to the request, or None if the answer is lost."""
        cloud, length = self.server.cloud, self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            return cloud.refusal(411, "The length of the body must be given.")
        if int(length) > LARGEST_REQUEST:
            self.close_connection = True
            return cloud.refusal(413, "The body is too long.")
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        hosts, target = self.headers.get_all("Host", []), self.path
        if target.lower().startswith("http://"):  # from a client with a proxy that forwards it so
            authority, _, path = target[7:].partition("/")
            hosts, target = [*hosts, authority], f"/{path}"
        with self.server.lock:
            request = HTTPRequest(self.command, target, headers, body)
            return self._foreign(hosts) or cloud.handle(request)

    def _foreign(self, hosts: Sequence[str]) -> HTTPResponse | None:
        """Return a refusal of a request that a web page may have sent, or None for all others.

        A page can reach loopback by rebinding a name of its own, or send a form across sites: so
        it could use the sandbox, or lock its user.
        """
        own, cloud = own_hosts(self.server.server_address[1]), self.server.cloud
        if not hosts or any(host.lower() not in own for host in hosts):
            return cloud.refusal(421, f"This sandbox is {self.server.url}, and no other host.")
        site = self.headers.get("Sec-Fetch-Site", "none")
        origin = self.headers.get("Origin", self.server.url)
        if site in {"none", "same-origin"} and origin.lower() in {f"http://{name}" for name in own}:
            return None
        return cloud.refusal(403, "This sandbox takes no requests from other sites.")

    def _send(self, response: HTTPResponse) -> None:
        headers, body = dict(response.headers), response.body
        is_compressed = "gzip" in self.headers.get("Accept-Encoding", "")
        if is_compressed and len(body) > WORTH_COMPRESSING:  # answers are often gzip-encoded
            body = gzip.compress(body, compresslevel=1)
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        if self.close_connection:
            headers["Connection"] = "close"
        self.send_response_only(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Log what http.server says of a request that it refuses."""
        self.server.log(format % args)


def serve_beside(
    server: Server,
    path: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    quiet: bool,
    clean_up: Callable[[], None],
) -> NoReturn:
    """Replace this process by the command, as `env` does, while a child serves it until it ends.

    So the command has this process's signals, terminal and exit code. With `quiet` the child
    closes standard error. The child calls `clean_up` when the command has ended. Raises OSError if
    the command can't be run.
    """
    process = os.getpid()
    between = os.fork()
    if between == 0:
        try:
            if os.fork() == 0:  # not the command's child: it may wait for all of its children
                os.setsid()  # Ctrl-C is for the command
                null = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2) if quiet else (0, 1):
                    os.dup2(null, descriptor)  # a reader of the command's output must see its end
                threading.Thread(target=server.serve_forever, daemon=True).start()
                wait_for_the_end_of(process)
                clean_up()
        finally:
            os._exit(0)
    with suppress(ChildProcessError):  # where SIGCHLD is ignored, it is reaped already
        os.waitpid(between, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    try:
        os.execve(path, list(command), environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["sh", path, *command[1:]], environ)  # noqa: S606 - as env and shells do


def wait_for_the_end_of(process: int) -> None:
    """Block while a process is running. Polls where the kernel offers no notification."""
    with suppress(OSError, AttributeError):  # it has ended, or forbidden, or not on Linux
        select.select([os.pidfd_open(process)], [], [])
        return  # not polled after: a zombie would still be found
    with suppress(ProcessLookupError):
        while True:
            with suppress(PermissionError):  # it exists, as another user
                os.kill(process, 0)
            time.sleep(PROCESS_POLL_SECONDS)
