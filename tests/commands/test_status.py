"""`clc status`: of operations, servers and runs that are named, and of the latest reset."""

import json
from collections.abc import Callable

import pytest
import respx

from tests.builders import A, B
from tests.fakes import Run, jwt, latest_run, queued, refused, rows

Answer = Callable[..., respx.Route]
Patch = pytest.MonkeyPatch


def test_status_asks_each_operation_once(
    clc: Run, statuses: Answer, api_ctl_io: respx.Router
) -> None:
    statuses("wa1-1", "succeeded")
    statuses("va1-2", "executing")
    result = clc("status", "wa1-1", "va1-2", "wa1-1")
    assert result.exit_code == 7
    assert rows(result.stdout) == [
        ["", "succeeded", "wa1-1", "", "", ""],
        ["", "running", "va1-2", "running", "", ""],
    ]
    assert result.stderr == "1 running, 1 succeeded\n"
    assert len(api_ctl_io.calls) == 2


def test_status_waits_on_request_in_the_account_asked_for(clc: Run, statuses: Answer) -> None:
    route = statuses("wa1-1", "executing", "succeeded", alias="SUB")
    result = clc("status", "--wait", "-a", "sub", "-", stdin="wa1-1")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "wa1-1 running (0 s)"
    assert "/v2/operations/SUB/status/wa1-1" in str(route.calls.last.request.url)


def test_the_wait_is_taken_up_again_and_its_end_is_remembered(
    clc: Run, posts: Answer, statuses: Answer
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    route = statuses("wa1-1", "succeeded")
    assert rows(clc("status", "--wait").stdout)[0][:3] == [A, "succeeded", "wa1-1"]
    result = clc("status", "-o", "json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["servers"][0]["state"] == "succeeded"
    assert (shown["run"], shown["account"]) == (latest_run(clc), "ABCD")
    assert route.call_count == 1  # an end is an end


def test_without_a_token_what_is_known_is_shown_and_why_no_more_is(
    clc: Run, posts: Answer, monkeypatch: Patch
) -> None:
    posts(queued(A, "wa1-1"), refused(B, "No."))
    clc("reset", A, B)
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=-1))
    result = clc("status", "-o", "json")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert [row["state"] for row in shown["servers"]] == ["queued", "failed"]
    assert shown["error"]["kind"] == "authentication"
    assert "expired on" in result.stderr
