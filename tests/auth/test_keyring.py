import json
import os
import sys
import termios
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from clc_reset.auth.keyring import SERVICE, Keyring
from clc_reset.errors import AuthenticationError, Interrupted
from clc_reset.models import Credential
from clc_reset.workers import Inbox
from tests.builders import ORIGIN
from tests.fakes import MemoryKeyring, Terminal, jwt

CREDENTIAL = Credential.from_token(jwt(), "login", account="SUB")
Use = Callable[[KeyringBackend], None]


def opened() -> Keyring:
    return Keyring(5, Inbox())


def reason(work: Callable[[], object]) -> str:
    """Return the reason in a AuthenticationError, whose hint names the alternatives."""
    with pytest.raises(AuthenticationError, match=r"The keyring can't be used: .*\.") as raised:
        work()
    assert "CLC_TOKEN_FILE" in raised.value.hint
    return raised.value.message.removeprefix("The keyring can't be used: ")


class Backend(MemoryKeyring):
    """Does something before it looks for a password."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self.work = work

    def get_password(self, service: str, username: str) -> str | None:
        self.work()
        return super().get_password(service, username)


def test_what_is_stored_for_a_base_url_is_loaded_for_it_until_it_is_forgotten(
    memory_keyring: MemoryKeyring,
) -> None:
    assert opened().store(ORIGIN, CREDENTIAL) == "tests.fakes.MemoryKeyring"
    assert opened().load(ORIGIN) == replace(CREDENTIAL, source="keyring")
    assert len(memory_keyring.kept[SERVICE, ORIGIN]) < 1280  # Windows' limit
    opened().store(ORIGIN, Credential("opaque", "login"))
    assert opened().load(ORIGIN) == Credential("opaque", "keyring")
    other = "http://127.0.0.1:8080"
    assert opened().load(other) is None
    assert [opened().forget(origin) for origin in (other, ORIGIN, ORIGIN)] == [False, True, False]
    assert memory_keyring.kept == {}


def entry(**odd: object) -> str:
    return json.dumps({"token": "t", "user": None, "account": "A", "roles": [], **odd})


@pytest.mark.parametrize(
    "held",
    [
        *("[]", "[" * 99999, '{"token": ' + "[" * 99999, "9" * 5000, 5, ["t"]),
        *(entry(token="a b"), entry(token=["t"]), entry(user=5), entry(account=["a"])),
        *(entry(roles="ServerAdmin"), entry(roles=["A", 3])),
    ],
    ids=lambda held: str(held)[:60],
)
def test_an_entry_that_is_not_ours_can_not_be_read(
    memory_keyring: MemoryKeyring, held: object
) -> None:
    memory_keyring.kept[SERVICE, ORIGIN] = held  # type: ignore[assignment] # a backend may give it
    with pytest.raises(AuthenticationError, match="can't be read") as raised:
        opened().load(ORIGIN)
    assert raised.value.hint == "Run: clc login"


def test_a_backend_that_stores_nothing_is_refused(use_keyring: Use) -> None:
    use_keyring(null.Keyring())  # type: ignore[no-untyped-call]
    no_backend = "no usable keyring backend was found."
    assert reason(lambda: opened().store(ORIGIN, CREDENTIAL)) == no_backend
    assert opened().load(ORIGIN) is None
    use_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    assert reason(lambda: opened().load(ORIGIN)) == no_backend  # not keyring's own advice


def test_a_backend_that_does_not_keep_a_token_is_refused_without_showing_it(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_service: str, _user: str, password: str) -> None:
        raise ValueError(f"can't store {password}")

    for setter, words in ((lambda *_: None, "didn't keep what was stored"), (fail, "can't store")):
        monkeypatch.setattr(memory_keyring, "set_password", setter)
        shown = reason(lambda: opened().store(ORIGIN, CREDENTIAL))
        assert words in shown
        assert CREDENTIAL.token.split(".")[1] not in shown


@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize("package", ["alt", "cryptfile"])
def test_a_backend_in_plain_text_is_refused(
    use_keyring: Use, is_chained: bool, package: str
) -> None:
    module = {"__module__": f"keyrings.{package}.file"}
    kind = type("PlaintextKeyring", (MemoryKeyring,), module)
    backend = MemoryKeyring() if is_chained else kind()
    backend.backends = [kind()]  # type: ignore[union-attr] # as a chain has them
    use_keyring(backend)
    assert "in plain text" in reason(lambda: opened().store(ORIGIN, CREDENTIAL))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no D-Bus\nat all"), "RuntimeError: no D-Bus."),
        (OSError(), "OSError."),
        (SystemExit("bye."), "SystemExit: bye."),
        (TimeoutError("of its own"), "TimeoutError: of its own."),
        (ValueError("\x1b[31mred"), "ValueError: [31mred."),
        (KeyringLocked("Failed!"), "it is locked. Unlock it, then run this again."),
    ],
)
def test_a_backends_error_is_one_line(use_keyring: Use, error: BaseException, message: str) -> None:
    def fail() -> None:
        raise error

    use_keyring(Backend(fail))
    assert reason(lambda: opened().load(ORIGIN)) == message


def test_what_a_backend_prints_goes_to_standard_error(
    use_keyring: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use_keyring(Backend(lambda: print("unlocked")))  # noqa: T201
    assert opened().load(ORIGIN) is None
    assert capsys.readouterr() == ("", "unlocked\n")


def test_a_backend_that_hangs_is_left_at_its_limit_or_a_signal(use_keyring: Use) -> None:
    inbox, released, stdout = Inbox(), threading.Event(), sys.stdout
    use_keyring(Backend(lambda: released.wait(60)))
    assert "didn't answer within 0.02 s" in reason(lambda: Keyring(0.02, inbox).load(ORIGIN))
    assert sys.stdout is stdout
    threading.Timer(0.02, inbox.interrupt, [2]).start()
    with pytest.raises(Interrupted):
        Keyring(60, inbox).load(ORIGIN)
    assert sys.stdout is stdout
    released.set()


def test_without_a_thread_the_keyring_can_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert reason(lambda: opened().load(ORIGIN)) == "RuntimeError: can't start new thread."


def test_ctrl_c_at_a_backends_prompt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(
        "import getpass, keyring.backend\n"
        "class Keyring(keyring.backend.KeyringBackend):\n"
        "    priority = 1\n"
        "    set_password = None\n"
        "    get_password = lambda *args: getpass.getpass('Unlock: ')\n"
    )
    variables = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "asking.Keyring"}
    clc = Terminal("whoami", **variables)
    clc.read_until(b"Unlock: ")
    assert not termios.tcgetattr(clc.screen)[3] & termios.ECHO
    os.write(clc.screen, b"\x03")
    assert clc.end()[0] == 130
    assert termios.tcgetattr(clc.screen)[3] & termios.ECHO
