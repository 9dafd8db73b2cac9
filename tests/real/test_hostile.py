"""Whatever the API answers: a documented exit code, JSON that parses, no secret, nothing lost."""

import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import click.testing
import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.main import command
from tests.builders import ORIGIN, A, B
from tests.fakes import http, jwt, loopback

TOKEN = jwt()
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800-\udfff]")

SAID = [A, A.lower(), B, "x", "[red]", "[/x]", "\x1b[2J", "\u202e", "\ud800", "a\tb", TOKEN]
SAID += ["queued", "executing", "succeeded", "failed", "status", "wa1-1", "\x00", "http://["]
SAID += ["/v2/operations/abcd/status/wa1-1", "//evil.example/x"]
NAMES = ["server", "isQueued", "links", "rel", "href", "id", "errorMessage", "message"]
NAMES += ["modelState", "error", "exceptionMessage", "status"]

words = st.text() | st.sampled_from(SAID)
keys = words | st.sampled_from(NAMES)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)
link = st.fixed_dictionaries({"rel": st.just("status")}, optional={"href": words, "id": words})
entity = st.fixed_dictionaries(
    {"server": words, "isQueued": st.booleans() | anything},
    optional={"links": st.lists(link) | anything, "errorMessage": anything},
)
contents = (
    anything | st.lists(entity | anything, max_size=4) | st.fixed_dictionaries({"status": words})
)
bodies = st.binary() | contents.map(lambda content: json.dumps(content).encode())
codes = st.sampled_from([200, 200, 200, 400, 401, 403, 404, 429, 503]) | st.integers(200, 599)


def clc(answer: tuple[int, bytes], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command whose every request gets one answer; check what holds whatever that is."""
    code, body = answer
    patience = {"Retry-After": "1000"} if code == 429 else {}  # nobody waits for that

    def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(code, headers=patience, stream=httpx.ByteStream(body))

    with respx.mock(base_url=ORIGIN, assert_all_called=False) as router:
        router.route().mock(side_effect=respond)
        runner = click.testing.CliRunner(env={"CLC_TOKEN": TOKEN})
        result = runner.invoke(command, [*arguments, "-o", "json"])
    shown = result.stdout + result.stderr
    assert not re.search("Traceback|bug in clc", shown)
    assert result.stderr.count("Error: ") <= 1
    assert not CONTROL.search(shown.replace("\\u", ""))
    assert TOKEN not in shown
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


@given(st.tuples(codes, bodies), st.sampled_from([[], ["--wait", "--timeout", "0"]]))
def test_a_reset_loses_no_server_and_says_nothing_was_sent_only_where_that_is_certain(
    answer: tuple[int, bytes], wait: list[str]
) -> None:
    code, shown = clc(answer, "reset", A, B, "--again", *wait)
    assert code in {0, 1, 4, 5, 6, 7}
    if code in {4, 5} and "servers" not in shown:
        assert 400 <= answer[0] < 500
    else:
        states = {server["server"]: server["state"] for server in shown["servers"]}
        assert list(states) == [A, B]
        assert (code == 6) <= ("unknown" in states.values())
    code, shown = clc(answer, "status", "wa1-1")
    assert code in {0, 1, 4, 6, 7}
    assert "servers" in shown or "error" in shown


HEAD = b"HTTP/1.1 200 OK\r\n"
LARGEST_MEMORY = 200 * 2**20
"""In bytes: one chunk of 64 KiB unpacks to 64 MiB at the most."""


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(10**6)) for _ in range(megabytes)), packer.flush()])


ANSWERS: dict[str, Callable[[], bytes]] = {
    "a body without an end": lambda: HEAD + b"\r\n" + b" " * 300_000_000,
    "chunks without an end": lambda: (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"ff\r\n%b\r\n" % (b" " * 255) * 1_000_000
    ),
    "headers without an end": lambda: HEAD + b"X-More: of this\r\n" * 20_000_000,
    "gzip that unpacks to 500 MB": lambda: http(200, zeros(500), "Content-Encoding: gzip\r\n"),
    "deep nesting": lambda: http(200, b"[" * 5_000_000),
}

# `clc`, which says in the end how large it was; as a child of a large process it seems as large
MEASURED = """
import os, sys
from clc_reset.__main__ import main
status, leave = open("/proc/self/status"), os._exit
def report_and_leave(code):
    print(*(x for x in status if "VmHWM" in x), file=sys.stderr, end="", flush=True)
    leave(code)
os._exit = report_and_leave
main()
"""


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_any_size_is_refused_within_bounded_time_and_memory(name: str) -> None:
    with loopback(ANSWERS[name]()) as server:
        for arguments, code, state, errors in (
            (["reset", A, B, "--wait"], 6, "unknown", 1),
            (["status", "wa1-1"], 7, "queued", 0),
        ):
            began = time.monotonic()
            result = subprocess.run(
                [sys.executable, "-c", MEASURED, *arguments, "-o", "json"],
                env={**os.environ, "CLC_BASE_URL": server.url, "CLC_TOKEN": TOKEN},
                capture_output=True,
                check=False,
            )
            assert time.monotonic() - began < 30
            assert result.returncode == code
            *lines, peak = result.stderr.decode().splitlines()
            assert int(peak.split()[1]) * 1024 < LARGEST_MEMORY
            assert {shown["state"] for shown in json.loads(result.stdout)["servers"]} == {state}
            assert [line.startswith("Error: ") for line in lines].count(True) == errors
            assert "Traceback" not in "".join(lines)
