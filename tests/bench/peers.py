"""Other people's commands that ask for a reset or a reboot, and an API that answers all of them."""

import functools
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.bench.measuring import Command
from tests.fakes import Loopback, http, jwt, queued

PATIENCE = 2  # seconds that a command waits for an answer, where it lets itself be told

_EXECUTING, _SUCCEEDED = (http(200, {"status": word}) for word in ("executing", "succeeded"))
_EC2 = http(200, b"<RebootInstancesResponse><return>true</return></RebootInstancesResponse>")
_REQUESTS = f"""
import sys, requests, urllib3
url, token, *servers = sys.argv[1:]
retry = urllib3.Retry(
    total=3, backoff_factor=0.1, status_forcelist=[500, 502, 503, 504], allowed_methods=None
)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
authorization = {{"Authorization": f"Bearer {{token}}"}}
answer = session.post(url, json=servers, headers=authorization, timeout={PATIENCE})
answer.raise_for_status()
"""

Env = Mapping[str, str]
RESET = "/v2/operations/ABCD/servers/reset"


class Api(Loopback):
    """Answers each request after `latency` seconds.

    Each server of a reset gets an operation of its own. All are `executing` until `duration`
    seconds after the last reset.
    """

    def __init__(self, latency: float = 0.0, duration: float = 0.0) -> None:
        super().__init__()
        self._latency = latency
        self._duration = duration
        self._ended = 0.0

    def answer(self, request: bytes) -> bytes | None:
        time.sleep(self._latency)
        path = request.split(b" ", 2)[1]
        if b"/status/" in path:
            return _EXECUTING if time.monotonic() < self._ended else _SUCCEEDED
        if path.endswith(RESET.encode()):
            self._ended = time.monotonic() + self._duration
            return _queued(request.partition(b"\r\n\r\n")[2])
        return _EC2


@functools.cache  # after a first round it takes none of the API's time
def _queued(body: bytes) -> bytes:
    """As recorded: the names in lower case and in another order."""
    servers = json.loads(body)
    random.Random(1).shuffle(servers)
    return http(200, [queued(server, f"wa1-{number}") for number, server in enumerate(servers)])


def peers(url: str, servers: Sequence[str], env: Env) -> Iterator[Command]:
    """Yield those that this machine has; their retries are the defaults, but where named."""
    reset = f"{url}{RESET}"
    limits = ("-fsS", "--max-time", f"{PATIENCE}", "--retry-delay", "1")
    headers = ("-H", f"Authorization: Bearer {jwt()}", "-H", "Content-Type: application/json")
    data = ("-d", json.dumps([*servers]), reset)
    yield from _installed("curl --retry 5", *limits, *headers, *data, env=env)
    python = shutil.which("python3") or sys.executable  # of this machine, which may have it
    script = (python, "-c", _REQUESTS, reset, jwt(), *servers)
    yield Command("requests with Retry", script, env, is_ours=False)
    place = ("--endpoint-url", url, "--region", "us-east-1", "--cli-read-timeout", f"{PATIENCE}")
    keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}
    arguments = (*place, "--instance-ids", *(f"i-{number}" for number, _ in enumerate(servers, 1)))
    yield from _installed("aws ec2 reboot-instances", *arguments, env={**env, **keys})


def _installed(name: str, *arguments: str, env: Env) -> Iterator[Command]:
    program, *words = name.split()
    if path := shutil.which(program):
        yield Command(name, (path, *words, *arguments), env, is_ours=False)
