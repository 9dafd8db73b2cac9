import json
import threading
from collections.abc import Callable

import keyring
import pytest
from keyring import backend, core
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked

from clc_reset.credentials import SERVICE, Keyring
from clc_reset.errors import KeyringError
from clc_reset.models import Credential
from tests.fakes import MemoryKeyring, jwt

ORIGIN = "https://api.ctl.io"
UseKeyring = Callable[[KeyringBackend], None]


@pytest.fixture
def credential() -> Credential:
    return Credential.from_token(jwt(), "login", account="SUB")


def test_what_is_stored_is_loaded_again(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    name = Keyring(5).store(ORIGIN, credential)
    loaded = Keyring(5).load(ORIGIN)
    assert name == "tests.fakes.MemoryKeyring"
    assert loaded
    assert (loaded.token, loaded.account, loaded.user, loaded.roles, loaded.source) == (
        credential.token,
        "SUB",
        "someone",
        ("ServerAdmin",),
        "keyring",
    )


def test_each_base_url_has_an_entry_of_its_own(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    Keyring(5).store("http://127.0.0.1:8080", credential)
    assert list(memory_keyring.kept) == [(SERVICE, "http://127.0.0.1:8080")]
    assert Keyring(5).load(ORIGIN) is None


def test_an_entry_fits_into_what_windows_takes(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    Keyring(5).store(ORIGIN, credential)
    assert len(memory_keyring.kept[SERVICE, ORIGIN]) < 1280


def test_forgetting_deletes_the_entry_and_says_whether_there_was_one(
    memory_keyring: MemoryKeyring, credential: Credential
) -> None:
    Keyring(5).store(ORIGIN, credential)
    assert Keyring(5).forget(ORIGIN) is True
    assert Keyring(5).forget(ORIGIN) is False
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
    ],
)
def test_an_entry_that_is_not_ours_is_an_error(memory_keyring: MemoryKeyring, entry: str) -> None:
    memory_keyring.kept[SERVICE, ORIGIN] = entry
    with pytest.raises(KeyringError, match="can't be read") as raised:
        Keyring(5).load(ORIGIN)
    assert raised.value.hint == "Run: clc login"


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring], ids=["fail", "null"])
def test_a_backend_that_keeps_nothing_is_refused_before_anything_is_stored(
    use_keyring: UseKeyring, backend: Callable[[], KeyringBackend], credential: Credential
) -> None:
    use_keyring(backend())
    with pytest.raises(KeyringError, match="no usable keyring backend") as raised:
        Keyring(5).store(ORIGIN, credential)
    assert "CLC_TOKEN_FILE" in raised.value.hint


def test_a_null_backend_has_no_entry(use_keyring: UseKeyring) -> None:
    backend: Callable[[], KeyringBackend] = null.Keyring
    use_keyring(backend())
    assert Keyring(5).load(ORIGIN) is None


def test_a_backend_that_loses_what_it_took_is_found_out(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    class Forgetful(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    use_keyring(Forgetful())
    with pytest.raises(KeyringError, match="did not keep what was stored"):
        Keyring(5).store(ORIGIN, credential)


def test_a_backend_in_plain_text_is_refused(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    kind = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})
    use_keyring(kind())
    with pytest.raises(KeyringError, match="in plain text"):
        Keyring(5).store(ORIGIN, credential)


def test_a_backend_that_hangs_is_given_its_time_and_no_more(use_keyring: UseKeyring) -> None:
    released = threading.Event()

    class Hanging(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            released.wait(60)
            return None

    use_keyring(Hanging())
    with pytest.raises(KeyringError, match=r"did not answer within 0\.05 s"):
        Keyring(0.05).load(ORIGIN)
    released.set()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("no D-Bus\nat all"), "RuntimeError: no D-Bus."),
        (OSError(), "OSError."),
        (SystemExit("bye."), "SystemExit: bye."),
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
        Keyring(5).load(ORIGIN)
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
        Keyring(5).store(ORIGIN, credential)
    assert credential.token not in str(raised.value)


def test_a_chain_of_backends_with_one_in_plain_text_is_refused(
    use_keyring: UseKeyring, credential: Credential
) -> None:
    kind = type("PlaintextKeyring", (MemoryKeyring,), {"__module__": "keyrings.alt.file"})
    chain = MemoryKeyring()
    chain.backends = [kind()]  # type: ignore[attr-defined]
    use_keyring(chain)
    with pytest.raises(KeyringError, match="in plain text"):
        Keyring(5).store(ORIGIN, credential)


def test_what_a_backend_prints_does_not_reach_standard_output(
    use_keyring: UseKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    class Chatty(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            print("unlocked")  # noqa: T201
            return None

    use_keyring(Chatty())
    assert Keyring(5).load(ORIGIN) is None
    assert capsys.readouterr().out == ""


def test_without_a_backend_the_advice_of_keyring_is_not_repeated(use_keyring: UseKeyring) -> None:
    backend: Callable[[], KeyringBackend] = fail.Keyring
    use_keyring(backend())
    with pytest.raises(KeyringError) as raised:
        Keyring(5).load(ORIGIN)
    assert "keyrings.alt" not in str(raised.value)


def test_keyring_still_keeps_its_choice_where_we_look_for_it() -> None:
    ring = keyring.get_keyring()
    assert core._keyring_backend is ring  # noqa: SLF001


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., KeyringBackend]:
    """Let keyring find these backends, and return what is chosen of them."""

    def choose(*found: KeyringBackend) -> KeyringBackend:
        monkeypatch.setattr(backend, "get_all_keyring", lambda: list(found))
        monkeypatch.setattr(core, "_keyring_backend", None)
        Keyring(5).load(ORIGIN)
        return keyring.get_keyring()

    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setattr(core, "load_config", lambda: None)
    return choose


@pytest.mark.parametrize("others", [[], [fail.Keyring], [fail.Keyring, null.Keyring]])
def test_the_only_backend_is_chosen_without_a_look_at_the_chain(
    rings: Callable[..., KeyringBackend],
    monkeypatch: pytest.MonkeyPatch,
    others: list[Callable[[], KeyringBackend]],
) -> None:
    class Chain(ChainerBackend):
        @property
        def priority(self) -> float:
            raise AssertionError

    only = MemoryKeyring()
    chain: Callable[[], KeyringBackend] = Chain
    assert rings(chain(), only, *(each() for each in others)) is only


def test_several_backends_are_chained_as_keyring_does_it(
    rings: Callable[..., KeyringBackend],
) -> None:
    new_chain: Callable[[], KeyringBackend] = ChainerBackend
    chain = new_chain()
    assert rings(MemoryKeyring(), chain, MemoryKeyring()) is chain


def test_a_backend_that_is_set_stays(memory_keyring: MemoryKeyring) -> None:
    Keyring(5).load(ORIGIN)
    assert keyring.get_keyring() is memory_keyring
