"""`clc whoami`, and the source of a credential as every command finds it."""

import json
import sys
from typing import Any

import pytest
from keyring import core

from tests.fakes import Run, jwt


def whoami(clc: Run, *options: str) -> dict[str, Any]:
    result = clc("whoami", "-o", "json", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def test_whoami_shows_the_credential_without_the_token(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt(days_left=10.5)
    monkeypatch.setenv("CLC_TOKEN", token)
    monkeypatch.setenv("CLC_BASE_URL", "")
    shown = whoami(clc)
    assert (shown["user"], shown["account"], shown["roles"]) == (
        "someone",
        "ABCD",
        ["ServerAdmin"],
    )
    assert (shown["source"], shown["base_url"]) == ("CLC_TOKEN", "https://api.ctl.io")
    assert (shown["age"], shown["expires_in"]) == ("3 d 12 h", "10 d 11 h")
    assert shown["issued"] < shown["expires"]
    assert token not in clc("whoami", "-v").output


def test_whoami_of_an_opaque_token_shows_what_is_unknown(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    shown = whoami(clc)
    assert (shown["user"], shown["account"], shown["expires"], shown["age"]) == (None,) * 4


@pytest.mark.parametrize("base_url", ["http://api.ctl.io", "https://u:p@api.ctl.io", "x"])
def test_an_unusable_base_url_is_a_usage_error(
    clc: Run, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    monkeypatch.setenv("CLC_BASE_URL", base_url)
    for line in (["whoami"], ["login", "-u", "demo", "--password-stdin"], ["logout"]):
        result = clc(*line)
        assert result.exit_code == 2
        assert "CLC_BASE_URL can't be used" in result.stderr


def test_an_unusable_keyring_is_4_with_the_alternatives(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nowhere", None)
    monkeypatch.setattr(core, "_keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "nowhere.Keyring")
    result = clc("whoami")
    assert result.exit_code == 4
    assert "The keyring can't be used: ModuleNotFoundError" in result.stderr
    assert "CLC_TOKEN_FILE" in result.stderr
