import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from clc_reset.auth.keyring import SERVICE, Keyring
from clc_reset.errors import Interrupted, KeyringError
from clc_reset.models import Credential
from clc_reset.threads import Stop
from tests.fakes import MemoryKeyring, jwt

ORIGIN = "https://api.ctl.io"
UseKeyring = Callable[[KeyringBackend], None]


def opened(patience: float = 5) -> Keyring:
    return Keyring(patience, Stop())


class Hanging(MemoryKeyring):
    """Gives nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.released.wait(60)
        return None


_LOADS = f"""
import sys
from clc_reset.auth.keyring import Keyring
from clc_reset.errors import KeyringError
from clc_reset.threads import Stop
try:
    print(Keyring(60, Stop()).load("{ORIGIN}"))
except KeyringError as error:
    print(error)
""".strip()


@pytest.fixture
def credential() -> Credential:
    return Credential.from_token(jwt(), "login", account="SUB")


def test_what_is_stored_is_loaded_again(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    name = opened().store(ORIGIN, credential)
    loaded = opened().load(ORIGIN)
    assert name == "tests.fakes.MemoryKeyring"
    assert loaded
    assert (loaded.token, loaded.account, loaded.user, loaded.roles, loaded.source) == (
        credential.token,
        "SUB",
        "someone",
        ("ServerAdmin",),
        "keyring",
    )


def test_what_nothing_told_when_it_was_stored_may_be_none(memory_keyring: MemoryKeyring) -> None:
    opened().store(ORIGIN, Credential("opaque", "login"))
    assert opened().load(ORIGIN) == Credential("opaque", "keyring")


def test_each_base_url_has_an_entry_of_its_own(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    opened().store("http://127.0.0.1:8080", credential)
    assert list(memory_keyring.kept) == [(SERVICE, "http://127.0.0.1:8080")]
    assert opened().load(ORIGIN) is None


def test_an_entry_fits_into_what_windows_takes(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    opened().store(ORIGIN, credential)
    assert len(memory_keyring.kept[SERVICE, ORIGIN]) < 1280


def test_forgetting_deletes_the_entry_and_says_whether_there_was_one(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    opened().store(ORIGIN, credential)
    assert opened().forget(ORIGIN) is True
    assert opened().forget(ORIGIN) is False
    assert memory_keyring.kept == {}


@pytest.mark.parametrize(
    "entry",
    [
        "no json",
        "[]",
        "{}",
        json.dumps({"token": "a b", "user": "", "account": "", "roles": []}),
        json.dumps({"token": "t", "user": 5, "account": "", "roles": []}),
        json.dumps({"token": "t", "user": None, "account": "A", "roles": 3}),
        json.dumps({"token": "t", "user": None, "account": "A", "roles": "ServerAdmin"}),
        json.dumps({"token": "t", "user": None, "account": "A", "roles": ["A", 3]}),
        json.dumps({"token": ["t"], "user": None, "account": None, "roles": []}),
        json.dumps({"token": "t", "user": ["a", "b"], "account": None, "roles": []}),
        "[" * 99999,
        '{"token": ' + "[" * 99999,
        "9" * 5000,
        5,
        ["t"],
    ],
    ids=lambda entry: str(entry)[:60],
)
def test_an_entry_that_is_not_ours_can_not_be_read(
    memory_keyring: MemoryKeyring, entry: object
) -> None:
    memory_keyring.kept[SERVICE, ORIGIN] = entry  # type: ignore[assignment] # a backend may give it
    with pytest.raises(KeyringError, match="can't be read") as raised:
        opened().load(ORIGIN)
    assert raised.value.hint == "Run: clc login"


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring], ids=["fail", "null"])
def test_a_backend_that_keeps_nothing_is_refused_before_anything_is_stored(
    use_keyring: UseKeyring, backend: Callable[[], KeyringBackend], credential: Credential
) -> None:
    use_keyring(backend())
    with pytest.raises(KeyringError, match="no usable keyring backend") as raised:
        opened().store(ORIGIN, credential)
    assert "CLC_TOKEN_FILE" in raised.value.hint


def test_a_null_backend_has_no_entry(use_keyring: UseKeyring) -> None:
    backend: Callable[[], KeyringBackend] = null.Keyring
    use_keyring(backend())
    assert opened().load(ORIGIN) is None


def test_a_backend_that_loses_what_it_took_is_found_out(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    class Forgetful(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    use_keyring(Forgetful())
    with pytest.raises(KeyringError, match="did not keep what was stored"):
        opened().store(ORIGIN, credential)


def test_a_backend_in_plain_text_is_refused(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    kind = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})
    use_keyring(kind())
    with pytest.raises(KeyringError, match="in plain text"):
        opened().store(ORIGIN, credential)


def test_a_backend_that_hangs_is_given_its_time_and_no_more(use_keyring: UseKeyring) -> None:
    hanging = Hanging()
    use_keyring(hanging)
    with pytest.raises(KeyringError, match=r"did not answer within 0\.05 s"):
        opened(0.05).load(ORIGIN)
    hanging.released.set()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("no D-Bus\nat all"), "RuntimeError: no D-Bus."),
        (OSError(), "OSError."),
        (SystemExit("bye."), "SystemExit: bye."),
        (TimeoutError("of its own"), "TimeoutError: of its own."),
        (KeyboardInterrupt(), "KeyboardInterrupt."),
        (ValueError("\x1b[31mred"), "ValueError: [31mred."),
        (
            KeyringLocked("Failed to unlock the collection!"),
            "it is locked. Unlock it, then run this again.",
        ),
    ],
)
def test_whatever_a_backend_raises_is_one_line(
    use_keyring: UseKeyring, error: BaseException, words: str
) -> None:
    class Raising(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            raise error

    use_keyring(Raising())
    with pytest.raises(KeyringError) as raised:
        opened().load(ORIGIN)
    assert raised.value.message == f"The keyring can't be used: {words}"


def test_a_backend_that_tells_the_token_in_its_error_is_not_quoted_in_full(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    class Telltale(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            message = f"can't store {password}"
            raise ValueError(message)

    use_keyring(Telltale())
    with pytest.raises(KeyringError) as raised:
        opened().store(ORIGIN, credential)
    assert credential.token not in str(raised.value)


def test_a_chain_of_backends_with_one_in_plain_text_is_refused(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    kind = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})
    chain = MemoryKeyring()
    chain.backends = [kind()]  # type: ignore[attr-defined]
    use_keyring(chain)
    with pytest.raises(KeyringError, match="in plain text"):
        opened().store(ORIGIN, credential)


def test_what_a_backend_prints_does_not_reach_standard_output(
    use_keyring: UseKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    class Chatty(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            print("unlocked")  # noqa: T201
            return None

    use_keyring(Chatty())
    assert opened().load(ORIGIN) is None
    assert capsys.readouterr() == ("", "unlocked\n")


def test_a_backend_that_hangs_leaves_standard_output_as_it_was(use_keyring: UseKeyring) -> None:
    hanging = Hanging()
    use_keyring(hanging)
    stdout = sys.stdout
    with pytest.raises(KeyringError):
        opened(0.02).load(ORIGIN)
    assert sys.stdout is stdout
    hanging.released.set()


def test_a_signal_ends_the_wait_and_leaves_standard_output_as_it_was(
    use_keyring: UseKeyring,
) -> None:
    stop = Stop()

    class Interrupting(Hanging):
        def get_password(self, service: str, username: str) -> str | None:
            stop.set(2)
            return super().get_password(service, username)

    hanging = Interrupting()
    use_keyring(hanging)
    stdout = sys.stdout
    with pytest.raises(Interrupted):
        Keyring(60, stop).load(ORIGIN)
    assert sys.stdout is stdout
    hanging.released.set()


def test_without_a_thread_the_keyring_can_not_be_used(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(KeyringError, match="used: RuntimeError: can't start new thread"):
        opened().load(ORIGIN)


def test_without_a_backend_the_advice_of_keyring_is_not_repeated(use_keyring: UseKeyring) -> None:
    backend: Callable[[], KeyringBackend] = fail.Keyring
    use_keyring(backend())
    with pytest.raises(KeyringError) as raised:
        opened().load(ORIGIN)
    assert "keyrings.alt" not in str(raised.value)


def test_a_backend_that_is_set_stays(memory_keyring: MemoryKeyring) -> None:
    opened().load(ORIGIN)
    assert keyring.get_keyring() is memory_keyring


def test_a_backend_that_can_not_be_loaded_is_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _LOADS],
        env={"HOME": os.environ["HOME"], "PYTHON_KEYRING_BACKEND": "nowhere.Keyring"},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.startswith("The keyring can't be used: ModuleNotFoundError: No module ")


@pytest.mark.skipif(sys.platform == "darwin", reason="that is its own library there")
def test_elsewhere_nobody_searches_for_the_library_of_macos() -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{_LOADS}; print([each for each in sys.modules if 'macOS' in each])",
        ],
        env={"HOME": os.environ["HOME"]},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.splitlines()[-1] == "['keyring.backends.macOS']"
