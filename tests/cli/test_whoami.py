"""`clc whoami`, and the source of a credential as every command finds it."""

import json
from typing import Any

import pytest

from tests.fakes import Run, jwt


def whoami(clc: Run) -> dict[str, Any]:
    result = clc("whoami", "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def test_whoami_shows_the_credential_without_the_token_and_null_for_what_is_not_known(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt(days_left=10.5)
    monkeypatch.setenv("CLC_TOKEN", token)
    monkeypatch.setenv("CLC_BASE_URL", "")
    shown = whoami(clc)
    assert shown.pop("issued") < shown.pop("expires")
    assert shown == {
        **shown,
        "user": "someone",
        "account": "ABCD",
        "roles": ["ServerAdmin"],
        "source": "CLC_TOKEN",
        "base_url": "https://api.ctl.io",
        "age": "3 d 12 h",
        "expires_in": "10 d 11 h",
    }
    assert token not in clc("whoami", "-v").output
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    unknown = whoami(clc)
    assert [unknown[name] for name in ("user", "account", "expires", "age")] == [None] * 4


@pytest.mark.parametrize("base_url", ["http://api.ctl.io", "https://u:p@api.ctl.io", "x"])
def test_an_unusable_base_url_is_a_usage_error(
    clc: Run, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    monkeypatch.setenv("CLC_BASE_URL", base_url)
    for line in (["whoami"], ["login", "-u", "demo", "--password-stdin"], ["logout"]):
        result = clc(*line)
        assert result.exit_code == 2
        assert "CLC_BASE_URL can't be used" in result.stderr
