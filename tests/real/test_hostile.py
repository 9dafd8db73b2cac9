"""Whatever the API answers: a documented exit code, JSON that parses, no secret, nothing lost."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import NamedTuple

import click.testing
import httpx
import keyring
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from clc_reset.cli.main import command
from tests.builders import ORIGIN, A, B
from tests.fakes import MemoryKeyring, http, jwt

TOKEN = jwt()
PASSWORD = "pa\u00df\u20acw\"ord'[x]"
SECRETS = (TOKEN, PASSWORD, json.dumps(PASSWORD)[1:-1])
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800-\udfff]")

words = st.text() | st.sampled_from(
    [
        *(A, A.lower(), B, "x", "[red]", "[/x]", "\x1b[2J", "\u202e", "\ud800", "a\tb", *SECRETS),
        *("queued", "executing", "succeeded", "failed", "status", "wa1-1"),
        *("/v2/operations/abcd/status/wa1-1", "//evil.example/x", "http://[", "\x00"),
    ]
)
keys = words | st.sampled_from(
    [
        *("server", "isQueued", "links", "rel", "href", "id", "errorMessage", "message"),
        *("modelState", "error", "exceptionMessage", "status"),
        *("bearerToken", "userName", "accountAlias", "roles"),
    ]
)
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
login = st.fixed_dictionaries(
    {"bearerToken": words}, optional=dict.fromkeys(("userName", "accountAlias", "roles"), anything)
)
status = st.fixed_dictionaries({"status": words})
contents = anything | st.lists(entity | anything, max_size=4) | login | status
bodies = st.binary() | contents.map(lambda content: json.dumps(content).encode())


class Answer(NamedTuple):
    """What the API answers to every request."""

    status: int
    body: bytes
    headers: dict[str, str]

    def to(self, _request: httpx.Request) -> httpx.Response:
        patience = {"Retry-After": "1000"} if self.status == 429 else {}  # nobody waits for that
        stream = httpx.ByteStream(self.body)
        return httpx.Response(self.status, headers={**self.headers, **patience}, stream=stream)


codes = [201, 202, 204, 301, 401, 403, 404, 429, 500, 502, 503]
names = st.sampled_from(["Retry-After", "Content-Type", "Location", "Content-Encoding"])
values = ["1000", "x", "Wed, 21 Oct 2099 07:28:00 GMT", "gzip", "br", ORIGIN]
answers = st.builds(
    Answer,
    st.sampled_from([200, 400]) | st.sampled_from(codes) | st.integers(200, 599),
    bodies,
    st.dictionaries(names, st.sampled_from(values), max_size=2),
)


def clc(
    answer: Answer, *arguments: str, stdin: str = "", **environment: str
) -> tuple[int, dict[str, object]]:
    """Run a command whose every request gets one answer; check what holds whatever that is."""
    with respx.mock(base_url=ORIGIN, assert_all_called=False) as router:
        router.route().mock(side_effect=answer.to)
        runner = click.testing.CliRunner(env=environment)
        result = runner.invoke(command, arguments, input=stdin)
    shown = result.stdout + result.stderr
    assert "Traceback" not in shown
    assert "bug in clc" not in shown
    assert result.stderr.count("Error: ") <= 1
    assert not CONTROL.search(shown.replace("\\u", ""))
    assert not [secret for secret in (SECRETS if stdin else [TOKEN]) if secret in shown]
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


@given(answers, st.sampled_from([[], ["--wait", "--timeout", "0"]]))
def test_a_reset_loses_no_server_and_says_nothing_was_sent_only_where_that_is_certain(
    answer: Answer, wait: list[str]
) -> None:
    code, shown = clc(answer, "reset", A, B, "--again", *wait, "-o", "json", CLC_TOKEN=TOKEN)
    assert code in {0, 1, 4, 5, 6, 7}
    if code in {4, 5} and "servers" not in shown:
        assert 400 <= answer.status < 500
    else:
        servers = shown["servers"]
        assert isinstance(servers, list)
        assert [server["server"] for server in servers] == [A, B]
        assert (code == 6) <= any(server["state"] == "unknown" for server in servers)


@given(answers)
def test_a_status_is_told_or_said_to_be_unknown(answer: Answer) -> None:
    code, shown = clc(answer, "status", "wa1-1", "-o", "json", CLC_TOKEN=TOKEN)
    assert code in {0, 1, 4, 6, 7}
    assert "servers" in shown or "error" in shown


@given(answers)
def test_a_login_keeps_a_token_or_says_why_not(answer: Answer) -> None:
    before, kept = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(kept)
    try:
        code, _ = clc(answer, "login", "-u", "someone", "--password-stdin", stdin=PASSWORD)
    finally:
        keyring.set_keyring(before)
    assert code in {0, 4, 5}
    assert bool(kept.kept) == (code == 0)


# --- answers without an end, or with more than any memory ---------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
LARGEST_MEMORY = 200 * 2**20
"""In bytes: one chunk of 64 KiB unpacks to 64 MiB at the most."""


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(10**6)) for _ in range(megabytes)), packer.flush()])


GZIP = "Content-Encoding: gzip\r\n"
ANSWERS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "a body of 50 MB": lambda: (http(200, b"[" + b" " * 50_000_000 + b"]"), b""),
    "a body without an end": lambda: (HEAD + b"\r\n", b" " * 65536),
    "chunks without an end": lambda: (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"ff\r\n%b\r\n" % (b" " * 255) * 999,
    ),
    "headers without an end": lambda: (HEAD, b"X-More: of this\r\n" * 999),
    "one header without an end": lambda: (HEAD + b"X-More: ", b"of this " * 999),
    "a status without an end": lambda: (b"HTTP/1.1 200 ", b"OK " * 9999),
    "gzip that unpacks to 500 MB": lambda: (http(200, zeros(500), GZIP), b""),
    "gzip in gzip": lambda: (http(200, gzip.compress(zeros(1000)), GZIP * 2), b""),
    "deep nesting": lambda: (http(200, b"[" * 5_000_000), b""),
    "deep objects": lambda: (http(200, b'[{"links":' * 500_000), b""),
}


class Endless(StreamRequestHandler):
    """Answers with the first part once, and with the second for as long as somebody reads."""

    answer: tuple[bytes, bytes]

    def handle(self) -> None:
        head, more = self.answer
        with suppress(OSError):  # nobody reads it any more
            self.wfile.write(head)
            while more:
                self.wfile.write(more)


@pytest.fixture(scope="module", params=ANSWERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where every request gets the same answer."""
    handler = type("", (Endless,), {"answer": ANSWERS[request.param]()})
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


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


@pytest.mark.parametrize(
    ("arguments", "code", "state", "errors"),
    [(["reset", A, B, "--wait"], 6, "unknown", 1), (["status", "wa1-1"], 7, "queued", 0)],
    ids=["reset", "status"],
)
def test_an_answer_of_any_size_is_refused_within_bounded_time_and_memory(
    url: str, arguments: list[str], code: int, state: str, errors: int
) -> None:
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments, "-o", "json"],
        env={**os.environ, "CLC_BASE_URL": url, "CLC_TOKEN": TOKEN},
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
