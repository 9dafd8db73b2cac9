import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from clc_reset.auth import sources as module
from clc_reset.auth.keyring import Keyring
from clc_reset.errors import AuthenticationError, Interrupted, UsageError
from clc_reset.models import Credential
from clc_reset.workers import Inbox
from tests.builders import ORIGIN
from tests.fakes import MemoryKeyring, jwt
from tests.virtual import VirtualClocks

NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)
SECRET = "correct-horse-battery-staple"
RANDOM = "aB3dE6gH9jK2mN5pQ8"


class Surroundings:
    """The sources in an environment that has only these variables of ours, and their calls."""

    def __init__(self, **environ: str) -> None:
        for name in [name for name in os.environ if name.startswith("CLC_")]:
            del os.environ[name]
        os.environ.update(environ)
        self.inbox = Inbox()
        self.logins: list[tuple[str, str]] = []
        self.limits: list[float | None] = []
        self.sources = module.Sources(
            ORIGIN, self._keyring, self._log_in, VirtualClocks(NOW), self.inbox
        )

    def _keyring(self, seconds: float | None) -> Keyring:
        self.limits.append(seconds)
        return Keyring(5, self.inbox)

    def _log_in(self, username: str, password: str) -> Credential:
        self.logins.append((username, password))
        return Credential.from_token(token(unique_name="login"), "login")

    def user_and_source(self) -> tuple[str | None, str]:
        credential = self.sources.credential()
        return credential.user, credential.source


def token(**claims: Any) -> str:
    return jwt(**{"exp": int((NOW + timedelta(days=10)).timestamp()), **claims})


def store(**claims: Any) -> None:
    credential = Credential.from_token(token(unique_name="stored", **claims), "login")
    Keyring(5, Inbox()).store(ORIGIN, credential)


def failure(**environ: str) -> str:
    """Return message and hint of the error."""
    here = Surroundings(**environ)
    with pytest.raises(AuthenticationError) as raised:
        here.sources.credential()
    assert here.logins == []
    return f"{raised.value.message}\n{raised.value.hint}"


@pytest.fixture(autouse=True)
def _environment_is_restored() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        yield


def test_variables_come_before_the_keyring_and_a_token_before_a_login(
    memory_keyring: MemoryKeyring, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("in the file\r\n", newline="")
    (tmp_path / "token").write_text(f"{token(unique_name='file')}\n")
    store()
    here = Surroundings()
    assert here.user_and_source() == ("stored", "keyring")
    os.environ |= {"CLC_USERNAME": " demo\r", "CLC_PASSWORD_FILE": str(tmp_path / "password")}
    assert here.user_and_source() == ("login", "CLC_USERNAME")
    os.environ["CLC_PASSWORD"] = " in the variable "
    assert here.user_and_source() == ("login", "CLC_USERNAME")
    os.environ["CLC_TOKEN_FILE"] = str(tmp_path / "token")
    assert here.user_and_source() == ("file", "CLC_TOKEN_FILE")
    os.environ["CLC_TOKEN"] = f" {token(unique_name='token')}\n"
    assert here.user_and_source() == ("token", "CLC_TOKEN")
    assert here.logins == [("demo", "in the file"), ("demo", " in the variable ")]
    assert here.limits == [None]


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"CLC_TOKEN": " ", "CLC_TOKEN_FILE": "", "CLC_USERNAME": "\r", "CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "", "CLC_PASSWORD_FILE": ""}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": "x"}, "CLC_USERNAME"),
    ],
)
def test_an_empty_variable_is_no_source(environ: dict[str, str], source: str | None) -> None:
    Surroundings(**environ)
    assert module.source_before_the_keyring() == source


@pytest.mark.parametrize(
    ("environ", "user"),
    [
        ({}, "stored"),
        ({"CLC_TOKEN": jwt(exp=1, unique_name="expired")}, "expired"),
        ({"CLC_TOKEN_FILE": "nowhere"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"}, None),
    ],
)
def test_without_a_request_nobody_logs_in_and_nothing_is_an_error(
    memory_keyring: MemoryKeyring, environ: dict[str, str], user: str | None
) -> None:
    store()
    here = Surroundings(**environ)
    found = here.sources.without_request()
    assert (found and found.user) == user
    assert (here.logins, here.limits) == ([], [] if environ else [1.0])


@pytest.mark.parametrize("scheme", ["Bearer ", " BEARER\t ", ""])
def test_a_leading_bearer_is_dropped(scheme: str) -> None:
    whole = f"bearer_{token()}"
    assert Surroundings(CLC_TOKEN=scheme + whole).sources.credential().token == whole


RENEWALS = {
    "CLC_TOKEN": "Set CLC_TOKEN to a new token, or unset it and run: clc login",
    "CLC_TOKEN_FILE": "Put a new token into /run/token, or unset CLC_TOKEN_FILE and run: clc login",
    "keyring": "To renew the token in the keyring, run: clc login",
}


@pytest.mark.parametrize("source", RENEWALS)
def test_an_expired_token_is_refused_with_its_renewal(source: str) -> None:
    os.environ["CLC_TOKEN_FILE"] = "/run/token"
    with pytest.raises(AuthenticationError) as raised:
        module.refuse_expired(Credential("t", source, expires=NOW), NOW)
    assert "expired on 2026-01-15 02:13 UTC." in raised.value.message
    clock = "If it should still be valid, check this machine's clock: 2026-01-15 02:13 UTC."
    assert raised.value.hint == f"{RENEWALS[source]}\n{clock}"
    module.refuse_expired(Credential("t", source, expires=NOW + timedelta(seconds=1)), NOW)
    module.refuse_expired(Credential("t", source), NOW)


def test_a_token_with_less_than_two_days_left_is_warned_about(
    memory_keyring: MemoryKeyring, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Surroundings().sources
    for left in (timedelta(days=2), timedelta(hours=35, minutes=5)):
        store(exp=int((NOW + left).timestamp()))
        sources.credential()
    expiry = "The token from the keyring expires on 2026-01-16 13:18 UTC, in 1 d 11 h."
    assert caplog.messages == [f"{expiry} {RENEWALS['keyring']}"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b" \n", "which is empty."),
        (b"\xff\xfe" + SECRET.encode(), "which can't be read: it isn't UTF-8 text."),
        (SECRET.encode() * 9999, "which can't be read: it is larger than 64 KiB."),
    ],
    ids=["blank", "binary", "large"],
)
@pytest.mark.parametrize("variable", ["CLC_TOKEN_FILE", "CLC_PASSWORD_FILE"])
def test_an_unusable_file_is_named_by_its_path(
    tmp_path: Path, variable: str, content: bytes, reason: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert failure(CLC_USERNAME="demo", **{variable: str(path)}) == (
        f"{variable} names {path}, {reason}\nCorrect or unset {variable}."
    )


def test_a_secret_may_be_64_kib_in_the_home_or_come_through_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(
        b"\xef\xbb\xbf" + b"x" * (module.LARGEST_SECRET - 3)
    )  # with a BOM
    credential = Surroundings(CLC_TOKEN_FILE="~/secret").sources.credential()
    assert credential.token == "x" * (module.LARGEST_SECRET - 3)
    assert "Is a directory" in failure(CLC_TOKEN_FILE=str(tmp_path))
    read, write = os.pipe()
    os.write(write, token(unique_name="pipe").encode())
    os.close(write)
    assert Surroundings(CLC_TOKEN_FILE=f"/dev/fd/{read}").user_and_source()[0] == "pipe"
    os.close(read)


SHOWN = ["/nowhere/token", "~/nowhere/token", "~nobody-here/x", "./x", "../a/x", "here/x"]
HIDDEN = [SECRET, f"{SECRET}/{SECRET}", SECRET * 99, jwt(), f"/{jwt()}"]
HIDDEN += [f"/{RANDOM}", f"/nowhere/{RANDOM}/x", f"~/{RANDOM}"]


@pytest.mark.parametrize("path", SHOWN + HIDDEN)
def test_a_path_is_shown_unless_it_may_be_the_secret_itself(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    shown = failure(CLC_TOKEN_FILE=path)
    named = path if path in SHOWN else "a file"
    assert shown.startswith(f"CLC_TOKEN_FILE names {named}, which can't be read: ")
    assert ".." not in shown.partition("read: ")[2]
    assert SECRET not in shown
    assert RANDOM not in shown


def test_a_signal_ends_the_wait_for_a_file() -> None:
    here = Surroundings(CLC_TOKEN_FILE="/nowhere")
    here.inbox.interrupt(signal.SIGINT)
    with pytest.raises(Interrupted):
        here.sources.credential()


@pytest.mark.parametrize(
    ("own", "hint"), [(" ", "Is a shell variable unset?"), ("A-B", "It looks like this: ALIAS")]
)
def test_an_account_in_the_token_that_is_none_is_refused(own: str, hint: str) -> None:
    credential = Credential("t", "x", account=own)
    assert module.account("sub", credential) == "SUB"
    with pytest.raises(UsageError) as raised:
        module.account(None, credential)
    assert raised.value.hint == hint


def test_the_usual_account_is_that_of_the_environment_or_the_logins_own() -> None:
    own = Credential("t", "x", account="own")
    assert [module.usual_account(Credential("t", "x")), module.usual_account(own)] == [None, "OWN"]
    Surroundings(CLC_ACCOUNT="", CLC_ALIAS="two")
    assert module.usual_account(own) == "TWO"
    Surroundings(CLC_ACCOUNT="one", CLC_ALIAS="two")
    assert module.usual_account(own) == "ONE"
