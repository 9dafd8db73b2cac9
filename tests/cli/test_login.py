"""`clc login` and `clc logout`."""

import json
import signal

import pytest
import respx

from clc_reset.errors import Interrupted
from clc_reset.ui.prompts import Prompts
from tests.fakes import MemoryKeyring, Run, jwt

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


@pytest.mark.parametrize(
    ("token", "code", "text"),
    [
        (jwt(days_left=-1), 4, "check this machine's clock"),  # has expired
        ("opaque", 0, "as demo, account unknown.\n"),
    ],
)
def test_a_token_from_the_login_is_stored_unless_it_has_expired(
    clc: Run,
    api_ctl_io: respx.Router,
    memory_keyring: MemoryKeyring,
    token: str,
    code: int,
    text: str,
) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": token})
    ended, shown = log_in(clc)
    assert ended == code
    assert text in shown
    assert (ENTRY in memory_keyring.kept) is (code == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-u", "demo", "--password-stdin"], "holds no password"),
        (["-u", " "], "There is no terminal to ask"),
        (["-u", "demo"], "There is no terminal to ask"),
        (["-u", "demo", "-a", ""], "is a shell variable unset?"),
        (["-u", "demo", "-a", "A/B"], "'A/B' has more than letters and digits."),
    ],
)
@pytest.mark.usefixtures("memory_keyring")
def test_what_is_missing_off_a_terminal_is_a_usage_error(
    clc: Run, arguments: list[str], message: str
) -> None:
    result = clc("login", *arguments, stdin="\n")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "sent" not in result.stderr
    assert ("--password-stdin" in result.stderr) == ("terminal" in message)


@pytest.mark.usefixtures("served")
def test_login_asks_for_what_is_missing_until_ctrl_c(
    clc: Run, monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring
) -> None:
    asked: list[str] = []

    def ask(_prompts: Prompts, what: str, _otherwise: str, *, hidden: bool = False) -> str:
        asked.append(f"hidden {what}" if hidden else what)
        if len(asked) > 3:
            raise Interrupted(signal.SIGINT)
        return "demo"

    monkeypatch.setattr(Prompts, "ask", ask)
    assert clc("login").exit_code == 0
    assert clc("login", "-u", "demo").exit_code == 0
    assert asked == ["user name", "hidden password", "hidden password"]
    assert memory_keyring.kept.pop(ENTRY)
    result = clc("login")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert memory_keyring.kept == {}
