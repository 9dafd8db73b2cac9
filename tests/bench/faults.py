"""How many resets does an API get of one command, when its answer is lost?

The API of each command and fault takes the request, counts it as a reset when the body has arrived,
and only then fails. Other requests, such as a look at the server, are answered as they should be.
"""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from tests.bench.measuring import Command
from tests.bench.peers import Api, Env, peers
from tests.fakes import CLC, HANG, NEVER, http, jwt, serving

SERVER = "WA1ABCDWB01"
NOWHERE = "http://127.0.0.1:1"  # nobody listens there
BOUND, AT_A_TIME = 60, 8
"""Seconds that no command takes, and commands at a time: most of them wait."""

FINE, UNREACHED = "all is well", "not reached"
FAULTS = {"connection dropped": NEVER, "500": http(500), "503": http(503), "hangs": HANG}
CASES = (FINE, UNREACHED, *FAULTS)


class FaultyApi(Api):
    """Takes requests, and fails in one way; one that hangs drops the connection after 8 s."""

    silence = 8.0

    def __init__(self, case: str) -> None:
        super().__init__()
        self._case = case

    def answer(self, request: bytes) -> bytes | None:
        has_fault = self._case in FAULTS and request.startswith(b"POST ")
        return FAULTS[self._case] if has_fault else super().answer(request)


def rows(env: Env, work: Path, only: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a table: what each command, with `only` in its name, came to in each case."""
    yield ("command", *CASES)
    names = [command.name for command in _commands("", env) if only in command.name]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for name in names:
            yield (name, *pool.map(lambda case, name=name: _outcome(name, case, env, work), CASES))


def _commands(url: str, env: Env) -> list[Command]:
    variables = {**env, "CLC_BASE_URL": url, "CLC_TOKEN": jwt()}
    own = Command("clc reset", (CLC, "reset", SERVER), variables)
    return [own, *peers(url, [SERVER], env)]


def _outcome(name: str, case: str, env: Env, work: Path) -> str:
    """Return how many resets the API received, and the exit code in brackets."""
    home = mkdtemp(dir=work)  # of its own: nothing is known of an earlier reset
    with serving(FaultyApi(case)) as api:
        url = NOWHERE if case == UNREACHED else api.url
        (command,) = (c for c in _commands(url, {**env, "HOME": home}) if c.name == name)
        argv, env = command.argv, command.env
        ended = subprocess.run(argv, env=env, capture_output=True, timeout=BOUND, check=False)
        return f"{api.posts} ({ended.returncode})"
