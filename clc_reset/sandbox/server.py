"""The sandbox's cloud on loopback: sockets, threads and a log line a request, and no more."""

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

from clc_reset.sandbox.cloud import Answer, Cloud, Request

LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 16 * 2**20
WORTH_COMPRESSING = 1024
IDLE_SECONDS = 120
PROCESS_POLL_SECONDS = 0.1


class Server(ThreadingHTTPServer):
    """Serves one cloud on loopback, and on nothing else; port 0 takes a free one.

    `latency` is in seconds, added to each answer; `log` gets a line a request. Raises OSError
    where the port can't be had.
    """

    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self, cloud: Cloud, *, port: int, latency: float, log: Callable[[str], None]
    ) -> None:
        self._cloud = cloud
        self._turn = threading.Lock()
        self.latency = latency
        self.log = log
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The base URL to point a client at."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    @property
    def servers(self) -> list[str]:
        """The ids of the cloud's servers."""
        return list(self._cloud.servers)

    def answer(self, request: Request) -> Answer | None:
        """Let the cloud answer, one request at a time."""
        with self._turn:
            return self._cloud.handle(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log what a connection died of; a client may go away in the middle."""
        self.log(f"connection lost: {sys.exception()!r}")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1  # headers and body leave together
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        began = time.monotonic()
        body = self._body()
        if body is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(Request(self.command, self.path, headers, body))
        time.sleep(self.server.latency)
        milliseconds = (time.monotonic() - began) * 1000
        outcome = f"{answer.status}" if answer else "(taken; the answer is lost)"
        note = f" {answer.note}" if answer and answer.note else ""
        self.server.log(f"{self.command} {self.path} {outcome} {milliseconds:.0f} ms{note}")
        if answer is None:
            self.close_connection = True
            return
        self._send(answer, compressed="gzip" in headers.get("accept-encoding", ""))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _body(self) -> bytes | None:
        """The request's body; None where it was refused."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411)
        elif int(length) > LARGEST_REQUEST:
            self.send_error(413)
        else:
            return self.rfile.read(int(length))
        self.close_connection = True
        return None

    def _send(self, answer: Answer, *, compressed: bool) -> None:
        headers, body = answer.headers, answer.body
        if compressed and len(body) > WORTH_COMPRESSING:  # answers are often gzip-encoded
            body = gzip.compress(body, compresslevel=1)
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Log what http.server says of a request that is none."""
        if args and not str(args[0]).startswith(f"{self.command} "):
            self.server.log(format % args)


def serve_beside(
    server: Server, path: str, command: Sequence[str], environ: Mapping[str, str], *, quiet: bool
) -> NoReturn:
    """Become the command, as env does, while a child serves it until it is gone.

    So its signals, its terminal and its exit code are its own. `quiet` lets the child go from
    standard error. Raises OSError where the command can't be run.
    """
    process = os.getpid()
    between = os.fork()
    if between == 0:
        if os.fork() == 0:  # nobody's child: the command may wait for all of its own
            _serve_until_the_end_of(process, server, quiet=quiet)
        os._exit(0)
    os.waitpid(between, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec hands that on
    try:
        os.execve(path, list(command), environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["sh", path, *command[1:]], environ)  # noqa: S606 - as env and shells do


def _serve_until_the_end_of(process: int, server: Server, *, quiet: bool) -> None:
    os.setsid()  # Ctrl-C is for the command
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2) if quiet else (0, 1):
        os.dup2(nothing, descriptor)  # whoever reads the command's output sees it end
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wait_for_the_end_of(process)


def wait_for_the_end_of(process: int) -> None:
    """Block while a process is running; where the kernel doesn't tell, look for it."""
    with suppress(OSError, AttributeError):  # gone already, forbidden, or not on Linux
        select.select([os.pidfd_open(process)], [], [])
        return  # it may be a zombie, for which a look would find somebody
    with suppress(ProcessLookupError):
        while True:
            with suppress(PermissionError):  # it is somebody else's now, but there
                os.kill(process, 0)
            time.sleep(PROCESS_POLL_SECONDS)
