import pytest

from tests.cli.conftest import Run
from tests.fakes import MemoryKeyring


@pytest.mark.usefixtures("served", "memory_keyring")
def test_logout_forgets_and_says_so(clc: Run, memory_keyring: MemoryKeyring) -> None:
    clc("login", "-u", "demo", "--password-stdin", stdin="demo")
    assert clc("logout").stderr == "Logged out at https://api.ctl.io.\n"
    assert memory_keyring.kept == {}
    result = clc("logout")
    assert (result.exit_code, result.stderr) == (0, "Not logged in at https://api.ctl.io.\n")


@pytest.mark.usefixtures("memory_keyring")
def test_logout_names_what_is_still_used(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN_FILE", "/x")
    assert "CLC_TOKEN_FILE is still set, and still used" in clc("logout").stderr
