"""The guard of all tests: only `reset` may send a POST to a power operation."""

import httpx
import pytest
import respx

from clc_reset.commands import status
from tests.fakes import Run, exit_code_of


def test_a_status_that_resets_fails_its_test(
    clc: Run, monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router
) -> None:
    def reset(*_args: object, **_options: object) -> int:
        return httpx.post("https://api.ctl.io/v2/operations/ALIAS/servers/reset").status_code

    api_ctl_io.post().respond(200, json=[])
    monkeypatch.setattr(status, "run", reset)
    for run in (clc, exit_code_of):
        with pytest.raises(AssertionError, match="status"):
            run("status")
