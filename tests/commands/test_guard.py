"""The guard of all tests: only `reset` may send a POST to a power operation."""

import httpx
import pytest
import respx

from clc_reset.commands import status
from tests.fakes import Run, exit_code_of


@pytest.fixture
def _resetting_status(monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router) -> None:
    api_ctl_io.post().respond(200, json=[])

    def run(*_args: object, **_options: object) -> int:
        with httpx.Client() as client:
            client.post("https://api.ctl.io/v2/operations/ALIAS/servers/reset")
        return 0

    monkeypatch.setattr(status, "run", run)


@pytest.mark.usefixtures("_resetting_status")
def test_a_status_that_resets_fails_its_test(clc: Run) -> None:
    with pytest.raises(AssertionError, match="status"):
        clc("status")
    with pytest.raises(AssertionError, match="status"):
        exit_code_of("status")
