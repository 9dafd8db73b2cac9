"""What tests put in the place of other people's parts."""

import base64
import io
import json
import os
import pty
import re
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import click.testing
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from clc_reset.cli.main import command

CLC = str(Path(sys.executable).with_name("clc"))
NEVER = b""
"""An answer that is the end of the connection."""
HANG = None
"""An answer that doesn't come, while the connection stays open."""


Run = Callable[..., click.testing.Result]
"""Run `clc` in this process."""


class Typed(io.StringIO):
    """A terminal on which somebody types."""

    def isatty(self) -> bool:
        return True


def exit_code_of(*arguments: str) -> object:
    """Return the exit code of `clc`, run in this process on the standard streams that there are."""
    try:
        command([*arguments])
    except SystemExit as ended:
        return ended.code
    return None


class MemoryKeyring(KeyringBackend):
    """Keeps what it is given, in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError


def jwt(*, days_left: float = 10, **claims: object) -> str:
    """A token with a signature of nonsense, as old as fourteen days less what is left."""
    expires = time.time() + days_left * 86400
    payload = {
        "unique_name": "someone",
        "role": "ServerAdmin",
        "urn:tier3:account-alias": "ABCD",
        "urn:tier3:location-alias": "WA1",
        "exp": int(expires),
        "nbf": int(expires - 14 * 86400),
        **claims,
    }
    return f"e30.{base64url(json.dumps(payload).encode())}.c2lnbmF0dXJl"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def http(status: int, body: object = None, headers: str = "") -> bytes:
    """An HTTP/1.1 answer as it goes over the wire; a body of bytes goes as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


def queued(server: str, operation: str, href: str = "") -> dict[str, Any]:
    """The entity of a queued server, as recorded; by default in account ABCD."""
    href = href or f"/v2/operations/abcd/status/{operation}"
    links = [{"rel": "status", "href": href, "id": operation}]
    return {"server": server.lower(), "isQueued": True, "links": links}


def refused(server: str, message: str = "Not in a valid state.") -> dict[str, Any]:
    """The entity of a server that isn't reset."""
    return {"server": server.lower(), "isQueued": False, "errorMessage": message}


class Loopback(socketserver.ThreadingTCPServer):
    """A real server on loopback that answers by a script and counts what reached it.

    The last answer of the script is repeated. After a HANG of `silence` seconds the connection
    ends.
    """

    daemon_threads = True
    request_queue_size = 64
    silence = 60.0

    def __init__(
        self, *script: bytes | None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.script = list(script)
        self.tls = tls
        self.requests: list[bytes] = []
        self.done = threading.Event()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = f"[{host}]" if ":" in host else host
        super().__init__((host, 0), _Handler)

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{self._host}:{self.server_address[1]}"

    @property
    def posts(self) -> int:
        return sum(request.startswith(b"POST ") for request in self.requests)

    def answer(self, request: bytes) -> bytes | None:
        """Return the answer to a request, head and body."""
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that doesn't trust the certificate, for one


class _Handler(socketserver.StreamRequestHandler):
    server: Loopback

    def handle(self) -> None:
        if self.server.tls is None:
            self._converse(self.request)
        else:
            with self.server.tls.wrap_socket(self.request, server_side=True) as connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            # a client may go away without a word
            lines = takewhile(lambda line: line not in {b"", b"\r\n"}, iter(file.readline, None))
            head = b"".join(lines)
            length = re.search(rb"(?im)^content-length: *([0-9]+)", head)
            request = head + b"\r\n" + file.read(int(length[1]) if length else 0)
        self.server.requests.append(request)
        answer = self.server.answer(request)
        if answer is HANG:
            self.server.done.wait(self.server.silence)
        else:
            connection.sendall(answer)


@contextmanager
def serving(server: Loopback) -> Iterator[Loopback]:
    """Let a server run."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.done.set()
        server.shutdown()


def loopback(
    *script: bytes | None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AbstractContextManager[Loopback]:
    """Serve a script on loopback."""
    return serving(Loopback(*script, tls=tls, host=host))


def environment(**variables: str) -> dict[str, str]:
    """As cron has it, with a token, and then some."""
    coverage = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
    home = os.environ["HOME"]
    return {"PATH": os.defpath, "HOME": home, "CLC_TOKEN": jwt(), **coverage, **variables}


def rows(stdout: str) -> list[list[str]]:
    """The cells of TSV."""
    return [line.split("\t") for line in stdout.splitlines()]


def run_clc(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a pipe."""
    return subprocess.run(
        [CLC, *arguments],
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `CLC ` stands for the command."""
    return subprocess.run(
        ["/bin/bash", "-c", line.replace("CLC ", f"{CLC} ")],
        env=environment(**variables),
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )


class Terminal:
    """A program, `clc` by default, on a pseudo-terminal of its own, which can be typed on."""

    def __init__(self, *arguments: str, program: str = CLC, **variables: str) -> None:
        self.shown = b""
        self.process, self.screen = pty.fork()
        if self.process == 0:
            usual = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "HOME": os.environ["HOME"]}
            environment = {**usual, **variables}
            os.execve(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted

    def read_until(self, words: bytes) -> None:
        wait_until(lambda: (self._read(), words in self.shown)[1])

    def end(self) -> tuple[int, str]:
        """The exit code and all that was shown."""
        while self._read(60):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1]), self.shown.decode()

    def _read(self, seconds: float = 0.01) -> bool:
        if not select.select([self.screen], [], [], seconds)[0]:
            return False
        try:
            chunk = os.read(self.screen, 65536)
        except OSError:  # the end of a terminal
            return False
        self.shown += chunk
        return bool(chunk)


def wait_until(so: Callable[[], object]) -> None:
    """Look until something is so, for 20 seconds at the most."""
    deadline = time.monotonic() + 20
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
