"""An API on loopback that costs next to nothing: `python -m tests.bench.server`.

Each server of a reset gets an operation of its own, as documented. It is `executing` until
`--duration` seconds after the last reset and `succeeded` from then on, so all of them end together.
The answer to a reset is remembered: after the warm-up round it takes no time of the server's.
"""

import argparse
import asyncio
import functools
import json
import random
import re
import ssl
import sys
import time
from pathlib import Path

import trustme

from tests.fakes import http, queued, tls_with

_LENGTH = re.compile(rb"(?im)^content-length: *([0-9]+)")
_EXECUTING, _SUCCEEDED = (http(200, {"status": word}) for word in ("executing", "succeeded"))
# EC2 is asked at `/` and answers in XML, Linode at a path and in JSON
_REBOOTED = http(200, b"<RebootInstancesResponse><return>true</return></RebootInstancesResponse>")
_EMPTY = http(200, b"{}")


class Api:
    """Answers requests, each after `latency` seconds."""

    def __init__(self, latency: float, duration: float) -> None:
        self._latency = latency
        self._duration = duration
        self._ended = 0.0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                answer = self._answer(head.split(b" ", 2)[1].decode(), body)
                await asyncio.sleep(self._latency)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the end of a conversation
        finally:
            writer.close()

    def _answer(self, path: str, body: bytes) -> bytes:
        if "/status/" in path:
            return _EXECUTING if time.monotonic() < self._ended else _SUCCEEDED
        if path.endswith("/servers/reset"):
            self._ended = time.monotonic() + self._duration
            return _queued(body)
        return _REBOOTED if path == "/" else _EMPTY


@functools.cache
def _queued(body: bytes) -> bytes:
    """As recorded: the names in lower case and in another order."""
    servers = json.loads(body)
    random.Random(1).shuffle(servers)
    return http(200, [queued(server, f"wa1-{number}") for number, server in enumerate(servers)])


async def _serve(latency: float, duration: float, authority: Path | None) -> None:
    tls = None
    if authority:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(authority))
        tls = tls_with(ca.issue_cert("127.0.0.1"))
    api = Api(latency, duration)
    server = await asyncio.start_server(api.converse, "127.0.0.1", 0, ssl=tls, backlog=64)
    port = server.sockets[0].getsockname()[1]
    print(f"{'https' if tls else 'http'}://127.0.0.1:{port}", flush=True)
    # until whoever started it lets go of its standard input
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds of an operation")
    parser.add_argument("--authority", type=Path, help="TLS; write there whom to trust")
    given = parser.parse_args()
    asyncio.run(_serve(given.latency, given.duration, given.authority))
