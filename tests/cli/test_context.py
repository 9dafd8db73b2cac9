import sys
from pathlib import Path

import pytest
import respx
from keyring import core

from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run
from tests.fakes import MemoryKeyring, jwt

A = "WA1ALIASWB01"


def whose(clc: Run) -> list[str]:
    """User and source, as `whoami` tells them."""
    result = clc("whoami")
    fields = dict(line.split("\t") for line in result.stdout.splitlines())
    return [fields["user"], fields["source"]]


def test_the_four_sources_go_in_their_order(
    clc: Run,
    served: Cloud,
    memory_keyring: MemoryKeyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clc("login", "-u", "demo", "--password-stdin", stdin="demo\n")
    assert whose(clc) == ["demo", "keyring"]
    monkeypatch.setenv("CLC_USERNAME", "demo")
    (tmp_path / "password").write_text("demo\r\n")
    monkeypatch.setenv("CLC_PASSWORD_FILE", str(tmp_path / "password"))
    assert whose(clc) == ["demo", "CLC_USERNAME"]
    (tmp_path / "password").write_text("wrong")
    monkeypatch.setenv("CLC_PASSWORD", "demo")
    assert whose(clc) == ["demo", "CLC_USERNAME"]
    (tmp_path / "token").write_text(jwt(unique_name="file") + "\n")
    monkeypatch.setenv("CLC_TOKEN_FILE", str(tmp_path / "token"))
    assert whose(clc) == ["file", "CLC_TOKEN_FILE"]
    monkeypatch.setenv("CLC_TOKEN", f" {jwt(unique_name='token')}\n")
    assert whose(clc) == ["token", "CLC_TOKEN"]


@pytest.mark.usefixtures("memory_keyring")
def test_without_any_source_the_message_names_them_all(clc: Run, api_ctl_io: respx.Router) -> None:
    result = clc("reset", A)
    assert result.exit_code == 4
    for word in ("clc login", "CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD_FILE"):
        assert word in result.stderr
    assert not api_ctl_io.calls


@pytest.mark.usefixtures("memory_keyring")
def test_empty_variables_are_no_source(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD", "CLC_BASE_URL"):
        monkeypatch.setenv(name, "")
    assert clc("reset", A).exit_code == 4


@pytest.mark.usefixtures("memory_keyring")
def test_a_user_name_without_a_password_is_pointed_out(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_USERNAME", "demo")
    result = clc("reset", A)
    assert result.exit_code == 4
    assert "CLC_USERNAME is set, but" in result.stderr


def test_an_expired_token_is_refused_without_a_request(
    clc: Run, monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router
) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=-1, exp=1768443180))
    result = clc("reset", A)
    assert result.exit_code == 4
    assert (
        "expired on 2026-01-15 02:13 UTC.\nIt was not sent. Set CLC_TOKEN to a new token"
        in result.stderr
    )
    assert not api_ctl_io.calls


def test_a_token_near_its_end_is_warned_about(
    clc: Run, monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router
) -> None:
    api_ctl_io.post().respond(200, json=[{"server": A, "isQueued": True}])
    monkeypatch.setenv("CLC_TOKEN", jwt(days_left=1.5))
    result = clc("reset", A)
    assert result.exit_code == 0
    assert "Warning: the token from CLC_TOKEN expires on" in result.stderr
    assert "in 1 d 11 h. Set CLC_TOKEN to a new token" in result.stderr


def test_a_token_of_unknown_expiry_is_used(
    clc: Run, monkeypatch: pytest.MonkeyPatch, api_ctl_io: respx.Router
) -> None:
    api_ctl_io.post().respond(200, json=[{"server": A, "isQueued": True}])
    monkeypatch.setenv("CLC_TOKEN", "opaque")
    assert clc("reset", A, "-a", "ALIAS").exit_code == 0


@pytest.mark.parametrize("token", ["two words", "ä", "a\x01b"])
def test_what_is_no_token_is_not_sent(
    clc: Run, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CLC_TOKEN", token)
    result = clc("reset", A)
    assert result.exit_code == 4
    assert "CLC_TOKEN doesn't hold a token" in result.stderr
    assert token not in result.stderr


@pytest.mark.parametrize("variable", ["CLC_TOKEN_FILE", "CLC_PASSWORD_FILE"])
@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"x" * 70_000])
def test_a_secret_file_that_can_not_be_used_is_one_message(
    clc: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    content: bytes | None,
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("CLC_USERNAME", "demo")
    monkeypatch.setenv(variable, str(file))
    result = clc("reset", A)
    assert result.exit_code == 4
    assert f"{variable} names {file}, which" in result.stderr
    assert len(result.stderr) < 500


def test_a_token_file_may_not_be_a_folder(
    clc: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLC_TOKEN_FILE", str(tmp_path))
    assert "Is a directory" in clc("reset", A).stderr


@pytest.mark.parametrize("base_url", ["http://api.ctl.io", "https://u:p@api.ctl.io", "x"])
def test_a_base_url_that_can_not_be_used_is_a_usage_error(
    clc: Run, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    monkeypatch.setenv("CLC_BASE_URL", base_url)
    monkeypatch.setenv("CLC_TOKEN", jwt())
    result = clc("reset", A)
    assert result.exit_code == 2
    assert "CLC_BASE_URL can't be used" in result.stderr


def test_a_keyring_that_can_not_be_used_is_4_with_the_alternatives(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nowhere", None)
    monkeypatch.setattr(core, "_keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "nowhere.Keyring")
    result = clc("reset", A)
    assert result.exit_code == 4
    assert "The keyring can't be used: ModuleNotFoundError" in result.stderr
    assert "CLC_TOKEN_FILE" in result.stderr
