"""Each system call that writes fails in turn, with each error: a reset's outcome stays its own."""

import shutil
import subprocess

import pytest

from tests.builders import A, B
from tests.fakes import CLC, Loopback, environment, http, loopback, queued

QUEUED = http(200, [queued(B, "wa1-1"), queued(A, "wa1-1")])
STRACE = shutil.which("strace")
ERRORS = ("ENOSPC", "EPIPE", "EAGAIN")
CALLS = {"write": 4, "pwrite64": 6, "fsync": 2, "fdatasync": 3, "ftruncate": 3, "unlink": 2}
"""How many times a reset makes each, at the least; later ones are the nearest to the end."""


def reset(server: Loopback, call: str, error: str, when: int) -> subprocess.CompletedProcess[str]:
    fault = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")
    return subprocess.run(
        [str(STRACE), "-o", "/dev/null", *fault, CLC, "reset", A, B],
        env=environment(CLC_BASE_URL=server.url),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(STRACE is None, reason="needs strace (Debian package strace)")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_changes_no_exit_code_and_loses_no_result(call: str, error: str) -> None:
    for when in range(1, CALLS[call] + 1):
        with loopback(QUEUED) as server:
            result = reset(server, call, error, when)
        shown = result.stdout + result.stderr
        assert "Traceback" not in shown
        assert server.posts == 1, shown
        if result.returncode == 141:  # nobody reads any more, says the system
            assert (call, error) == ("write", "EPIPE")
            continue
        assert result.returncode == 0, shown
        assert A in shown
        assert B in shown
