import json
from collections.abc import Callable

import pytest
from keyring.backend import KeyringBackend

from tests.cli.conftest import Run
from tests.fakes import MemoryKeyring, jwt


def test_whoami_tells_all_that_is_known(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=10.5))
    result = clc("whoami", "-o", "json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert (shown["user"], shown["account"], shown["roles"]) == (
        "someone",
        "ABCD",
        ["ServerAdmin"],
    )
    assert (shown["source"], shown["base_url"]) == ("CLC_TOKEN", "https://api.ctl.io")
    assert (shown["age"], shown["expires_in"]) == ("3 d 12 h", "10 d 11 h")
    assert shown["issued"] < shown["expires"]


def test_whoami_of_an_opaque_token_tells_what_is_unknown(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    shown = json.loads(clc("whoami", "-o", "json").stdout)
    assert (shown["user"], shown["account"], shown["expires"], shown["age"]) == (None,) * 4


def test_whoami_never_shows_the_token(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    token = jwt()
    monkeypatch.setenv("CLC_TOKEN", token)
    assert token not in clc("whoami", "-v").output


def test_a_surprise_is_one_message_without_a_traceback(
    clc: Run, use_keyring: Callable[[KeyringBackend], None]
) -> None:
    class Odd(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str:
            return 7  # type: ignore[return-value] # as no keyring should

    use_keyring(Odd())
    result = clc("whoami")
    assert result.exit_code in {4, 5}
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("served", "as_demo")
def test_whoami_logs_in_where_the_environment_says_so(clc: Run) -> None:
    shown = json.loads(clc("whoami", "-o", "json", "-a", "sub").stdout)
    assert (shown["user"], shown["account"], shown["source"]) == ("demo", "SUB", "CLC_USERNAME")
