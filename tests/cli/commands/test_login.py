import getpass
import json
import signal
from collections.abc import Callable

import pytest
import respx
from keyring.backend import KeyringBackend
from keyring.backends import fail

from clc_reset.errors import Interrupted
from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run, Typed, exit_code_of
from tests.fakes import MemoryKeyring, jwt

ENTRY = ("clc-reset", "https://api.ctl.io")


@pytest.mark.usefixtures("served")
def test_login_keeps_the_token_in_the_keyring_and_nowhere_else(
    clc: Run, memory_keyring: MemoryKeyring
) -> None:
    result = clc("login", "-u", "demo", "--password-stdin", stdin="demo\n")
    assert result.exit_code == 0
    assert result.stdout == ""
    entry = json.loads(memory_keyring.kept[ENTRY])
    assert entry["account"] == "ALIAS"
    assert entry["token"] not in result.stderr
    assert "Logged in at https://api.ctl.io as demo, account ALIAS until 20" in result.stderr
    assert "tests.fakes.MemoryKeyring" in result.stderr


@pytest.mark.usefixtures("served")
def test_login_keeps_the_account_to_act_in(clc: Run, memory_keyring: MemoryKeyring) -> None:
    clc("login", "-u", "demo", "--password-stdin", "-a", "sub", stdin="demo")
    assert json.loads(memory_keyring.kept[ENTRY])["account"] == "SUB"


def test_a_wrong_password_is_4_and_stores_nothing(
    clc: Run, served: Cloud, memory_keyring: MemoryKeyring
) -> None:
    result = clc("login", "-u", "demo", "--password-stdin", stdin="guess")
    assert result.exit_code == 4
    assert "We didn't recognize the username" in result.stderr
    assert "guess" not in result.stderr
    assert memory_keyring.kept == {}


def test_a_keyring_that_keeps_nothing_is_refused_before_the_password_is_sent(
    clc: Run, api_ctl_io: respx.Router, use_keyring: Callable[[KeyringBackend], None]
) -> None:
    backend: Callable[[], KeyringBackend] = fail.Keyring
    use_keyring(backend())
    result = clc("login", "-u", "demo", "--password-stdin", stdin="demo")
    assert result.exit_code == 4
    assert "no usable keyring backend" in result.stderr
    assert not api_ctl_io.calls


@pytest.mark.usefixtures("memory_keyring")
def test_an_expired_token_from_the_login_is_not_kept(
    clc: Run, api_ctl_io: respx.Router, memory_keyring: MemoryKeyring
) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": jwt(days_left=-1)})
    result = clc("login", "-u", "demo", "--password-stdin", stdin="demo")
    assert result.exit_code == 4
    assert "check this machine's clock" in result.stderr
    assert memory_keyring.kept == {}


@pytest.mark.usefixtures("memory_keyring")
def test_a_token_that_tells_nothing_is_kept_all_the_same(
    clc: Run, api_ctl_io: respx.Router
) -> None:
    api_ctl_io.post().respond(200, json={"bearerToken": "opaque"})
    result = clc("login", "-u", "demo", "--password-stdin", stdin="demo")
    assert result.exit_code == 0
    assert "as demo, account unknown.\n" in result.stderr


@pytest.mark.usefixtures("memory_keyring", "served")
def test_a_source_that_takes_precedence_over_the_keyring_is_warned_about(
    clc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_TOKEN", "x")
    result = clc("login", "-u", "demo", "--password-stdin", stdin="demo")
    assert "Warning: CLC_TOKEN is set, and takes precedence over the keyring." in result.stderr


@pytest.mark.parametrize("stdin", ["", "\n"])
@pytest.mark.usefixtures("memory_keyring")
def test_an_empty_password_is_a_usage_error(clc: Run, stdin: str) -> None:
    result = clc("login", "-u", "demo", "--password-stdin", stdin=stdin)
    assert result.exit_code == 2
    assert "holds no password" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["-u", "demo"]])
@pytest.mark.usefixtures("memory_keyring")
def test_without_a_terminal_nothing_is_asked(clc: Run, arguments: list[str]) -> None:
    result = clc("login", *arguments, stdin="demo\ndemo\n")
    assert result.exit_code == 2
    assert "There is no terminal to ask" in result.stderr
    assert "--password-stdin" in result.stderr


@pytest.fixture
def typed(types: Callable[[str], Typed], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Typed]:
    """Let a user name and a password be typed; returns what the terminal shows."""

    def at(name: str, password: str | BaseException | type[BaseException]) -> Typed:
        screen = types(name)

        def hidden(prompt: str, stream: Typed) -> str:
            stream.write(prompt)
            if not isinstance(password, str):
                raise password
            if password == "\udcff":
                password.encode()
            return password

        monkeypatch.setattr(getpass, "getpass", hidden)
        return screen

    return at


@pytest.mark.usefixtures("served")
def test_login_asks_on_a_terminal(
    typed: Callable[..., Typed],
    memory_keyring: MemoryKeyring,
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = typed("demo\n", "demo")
    assert exit_code_of("login") == 0
    assert screen.getvalue().startswith("User name: Password: Logged in")
    assert capsys.readouterr().out == ""
    assert ENTRY in memory_keyring.kept


@pytest.mark.parametrize(
    ("name", "password", "missing"),
    [("\n", "x", "user name"), ("", "x", "user name"), ("demo", EOFError, "password")],
)
@pytest.mark.usefixtures("memory_keyring")
def test_an_answer_that_is_not_given_is_a_usage_error(
    typed: Callable[..., Typed],
    name: str,
    password: str | BaseException | type[BaseException],
    missing: str,
) -> None:
    screen = typed(name, password)
    assert exit_code_of("login") == 2
    assert f"No {missing} was given." in screen.getvalue()


@pytest.mark.usefixtures("memory_keyring")
def test_the_end_of_input_leaves_the_line_of_the_prompt(typed: Callable[..., Typed]) -> None:
    screen = typed("", "x")
    assert exit_code_of("login") == 2
    assert screen.getvalue().startswith("User name: \nError: ")


@pytest.mark.usefixtures("memory_keyring")
def test_ctrl_c_at_the_prompt_is_130_and_leaves_the_line(typed: Callable[..., Typed]) -> None:
    screen = typed("demo\n", Interrupted(signal.SIGINT))
    assert exit_code_of("login") == 130
    assert screen.getvalue() == "User name: Password: \nInterrupted.\n"


@pytest.mark.usefixtures("memory_keyring")
def test_a_password_in_another_encoding_is_a_usage_error(typed: Callable[..., Typed]) -> None:
    screen = typed("demo\n", "\udcff")
    assert exit_code_of("login") == 2
    assert "can't be read in this terminal's encoding" in screen.getvalue()
