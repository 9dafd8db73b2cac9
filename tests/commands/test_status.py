"""`clc status`: of operations, servers and runs that are named, and of the latest reset."""

from collections.abc import Callable

import pytest
import respx

from tests.fakes import Run

Answer = Callable[..., respx.Route]
Patch = pytest.MonkeyPatch


def test_status_waits_on_request_in_the_account_asked_for(clc: Run, statuses: Answer) -> None:
    route = statuses("wa1-1", "executing", "succeeded", alias="SUB")
    result = clc("status", "--wait", "-a", "sub", "-", stdin="wa1-1")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "wa1-1 running (0 s)"
    assert "/v2/operations/SUB/status/wa1-1" in str(route.calls.last.request.url)
