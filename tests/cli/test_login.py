"""`clc login` and `clc logout`."""

import json

import pytest
import respx

from tests.fakes import MemoryKeyring, Run

ENTRY = ("clc-reset", "https://api.ctl.io")


def log_in(clc: Run, *options: str, stdin: str = "demo\n") -> tuple[int, str]:
    """Return the exit code and what was written to standard error."""
    result = clc("login", "--password-stdin", *(options or ("-u", "demo")), stdin=stdin)
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.mark.usefixtures("served")
def test_login_stores_the_token_and_logout_deletes_it(
    clc: Run, memory_keyring: MemoryKeyring
) -> None:
    code, shown = log_in(clc)
    assert code == 0
    assert shown.startswith("Logged in at https://api.ctl.io as demo, account ALIAS until 20")
    assert shown.endswith("The token is in the keyring (tests.fakes.MemoryKeyring).\n")
    entry = json.loads(memory_keyring.kept[ENTRY])
    assert entry["account"] == "ALIAS"
    assert entry["token"] not in shown
    assert clc("logout").stderr == "Logged out at https://api.ctl.io.\n"
    assert memory_keyring.kept == {}
    result = clc("logout", "-v")
    assert (result.exit_code, result.stderr) == (0, "Not logged in at https://api.ctl.io.\n")


@pytest.mark.parametrize(
    ("variable", "options"), [(" demo\r", []), ("", ["-u", "demo "]), ("x", ["-u", "demo"])]
)
@pytest.mark.usefixtures("served")
def test_the_user_name_is_stripped_and_the_account_to_act_in_is_stored(
    clc: Run,
    memory_keyring: MemoryKeyring,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    options: list[str],
) -> None:
    monkeypatch.setenv("CLC_USERNAME", variable)
    assert "as demo, account" in log_in(clc, *options, "-a", "sub", stdin="demo")[1]
    assert json.loads(memory_keyring.kept[ENTRY])["account"] == "SUB"


def test_a_token_that_tells_nothing_is_stored_too(
    clc: Run, api_ctl_io: respx.Router, memory_keyring: MemoryKeyring
) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": "opaque"})
    code, shown = log_in(clc)
    assert code == 0
    assert "as demo, account unknown.\n" in shown
    assert ENTRY in memory_keyring.kept
