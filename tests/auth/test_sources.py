import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from clc_reset.auth.keyring import Keyring
from clc_reset.auth.sources import (
    LARGEST_SECRET,
    Sources,
    account,
    refuse_expired,
    renewal,
    source_before_the_keyring,
    usual_account,
)
from clc_reset.errors import AuthenticationError, Interrupted, RefusedError, UsageError
from clc_reset.models import Credential
from clc_reset.workers import Inbox
from tests.builders import ORIGIN
from tests.fakes import MemoryKeyring, jwt
from tests.virtual import VirtualClocks

NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)
SECRET = "correct-horse-battery-staple"
RANDOM = "aB3dE6gH9jK2mN5pQ8"

Write = Callable[[str], str]


class Surroundings:
    """The sources in an environment that has only these variables of ours, and their calls."""

    def __init__(self, **environ: str) -> None:
        for name in [name for name in os.environ if name.startswith("CLC_")]:
            del os.environ[name]
        os.environ.update(environ)
        self.inbox = Inbox()
        self.logins: list[tuple[str, str]] = []
        self.limits: list[float | None] = []
        self.sources = Sources(ORIGIN, self._keyring, self._log_in, VirtualClocks(NOW), self.inbox)

    def _keyring(self, seconds: float | None) -> Keyring:
        self.limits.append(seconds)
        return Keyring(5, self.inbox)

    def _log_in(self, username: str, password: str) -> Credential:
        self.logins.append((username, password))
        if "wrong" in password:
            raise RefusedError("No.")
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


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """Write a file and return its path."""
    path = tmp_path / "file"
    return lambda content: (path.write_text(content, newline=""), str(path))[1]


@pytest.fixture
def warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """The log, though a command run in this process may have taken it from pytest."""
    monkeypatch.setattr(logging.getLogger("clc_reset"), "propagate", True)
    return caplog


# --- order -------------------------------------------------------------------------------------


def test_variables_come_before_the_keyring_and_a_token_before_a_login(
    memory_keyring: MemoryKeyring, file: Write, warnings: pytest.LogCaptureFixture
) -> None:
    store()
    here = Surroundings()
    assert here.user_and_source() == ("stored", "keyring")
    os.environ |= {"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": file("in the file\r\n")}
    assert here.user_and_source() == ("login", "CLC_USERNAME")
    os.environ["CLC_PASSWORD"] = " in the variable "
    assert here.user_and_source() == ("login", "CLC_USERNAME")
    assert here.logins == [("demo", "in the file"), ("demo", " in the variable ")]
    os.environ["CLC_TOKEN_FILE"] = file(token(unique_name="file") + "\n")
    assert here.user_and_source() == ("file", "CLC_TOKEN_FILE")
    os.environ["CLC_TOKEN"] = f" {token(unique_name='token')}\n"
    assert here.user_and_source() == ("token", "CLC_TOKEN")
    assert (len(here.logins), here.limits, warnings.messages) == (2, [None], [])


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"CLC_TOKEN": " ", "CLC_TOKEN_FILE": "", "CLC_USERNAME": "", "CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "\r", "CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "", "CLC_PASSWORD_FILE": ""}, None),
        ({"CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": "x"}, "CLC_USERNAME"),
        ({"CLC_TOKEN_FILE": "x", "CLC_USERNAME": "demo", "CLC_PASSWORD": "x"}, "CLC_TOKEN_FILE"),
        ({"CLC_TOKEN": "x", "CLC_TOKEN_FILE": "x"}, "CLC_TOKEN"),
    ],
)
def test_an_empty_variable_is_no_source(environ: dict[str, str], source: str | None) -> None:
    Surroundings(**environ)
    assert source_before_the_keyring() == source


@pytest.mark.usefixtures("memory_keyring")
def test_without_a_source_the_hint_names_all() -> None:
    text = failure()
    assert text.startswith(f"Not logged in at {ORIGIN}.\nRun: clc login\n")
    for name in ("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD_FILE"):
        assert name in text
    text = failure(CLC_USERNAME="demo")
    assert "CLC_USERNAME is set, but not CLC_PASSWORD or CLC_PASSWORD_FILE.\nRun: clc" in text


@pytest.mark.parametrize(
    ("environ", "user"),
    [
        ({}, "stored"),
        ({"CLC_TOKEN": jwt(exp=1, unique_name="expired")}, "expired"),
        ({"CLC_TOKEN": "two words"}, None),
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
    memory_keyring.kept["clc-reset", ORIGIN] = "nonsense"
    if not environ:
        assert here.sources.without_request() is None
    assert (here.logins, here.limits) == ([], [] if environ else [1.0, 1.0])


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer\t", " BEARER  ", ""])
def test_a_leading_bearer_is_dropped(scheme: str, file: Write) -> None:
    whole = f"bearer_{token()}"
    for environ in ({"CLC_TOKEN": scheme + whole}, {"CLC_TOKEN_FILE": file(scheme + whole + "\n")}):
        assert Surroundings(**environ).sources.credential().token == whole


NO_TOKEN = "{0} doesn't hold a token: a token is one word of ASCII.\nCorrect or unset {0}."
QUOTED = "The token in {} is in quotes.\nRemove the quotes; `docker --env-file` doesn't."


@pytest.mark.parametrize(
    ("message", "held"),
    [
        *[(NO_TOKEN, held) for held in (f"{SECRET} two", f"{SECRET}ä", f"{SECRET}\x01", "Bearer")],
        *[
            (QUOTED, held)
            for held in (f"'{SECRET}'", f'"{SECRET}"\r', f'"x {SECRET}"', f'{SECRET}"')
        ],
    ],
)
def test_what_is_no_token_is_neither_used_nor_shown(held: str, message: str, file: Write) -> None:
    for name, text in (("CLC_TOKEN", held), ("CLC_TOKEN_FILE", file(held))):
        assert failure(**{name: text}) == message.format(name)


# --- expiry and renewal ------------------------------------------------------------------------

RENEWALS = {
    "CLC_TOKEN": "Set CLC_TOKEN to a new token, or unset it and run: clc login",
    "CLC_TOKEN_FILE": "Put a new token into /run/token, or unset CLC_TOKEN_FILE and run: clc login",
    "keyring": "To renew the token in the keyring, run: clc login",
}
CLOCK = "If it should still be valid, check this machine's clock: 2026-01-15 02:13 UTC."


@pytest.mark.parametrize("source", [*RENEWALS, "CLC_USERNAME", "login"])
def test_an_expired_token_is_refused_with_its_renewal(source: str) -> None:
    os.environ["CLC_TOKEN_FILE"] = "/run/token"
    for expires in (NOW - timedelta(seconds=1), NOW):
        with pytest.raises(AuthenticationError) as raised:
            refuse_expired(Credential("t", source, expires=expires), NOW)
        label = f"the {source}" if source in {"keyring", "login"} else source
        expired = f"{expires:%Y-%m-%d %H:%M}"
        assert raised.value.message == f"The token from {label} expired on {expired} UTC."
        assert raised.value.hint.splitlines() == [*filter(None, [RENEWALS.get(source)]), CLOCK]
    refuse_expired(Credential("t", source, expires=NOW + timedelta(seconds=1)), NOW)
    refuse_expired(Credential("t", source), NOW)
    assert renewal(Credential("t", "CLC_USERNAME", user="nightly")) == (
        "The token is new, from the login as nightly: check that this user may act in the account."
    )


def test_a_token_with_less_than_two_days_left_is_warned_about(
    memory_keyring: MemoryKeyring, warnings: pytest.LogCaptureFixture
) -> None:
    store(exp=int((NOW + timedelta(days=2)).timestamp()))
    assert Surroundings().user_and_source() == ("stored", "keyring")
    assert warnings.records == []
    store(exp=int((NOW + timedelta(hours=35, minutes=5)).timestamp()))
    Surroundings().sources.credential()
    (record,) = warnings.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "The token from the keyring expires on 2026-01-16 13:18 UTC, in 1 d 11 h. "
        + RENEWALS["keyring"],
    )
    store(exp=int(NOW.timestamp()))
    assert failure().startswith("The token from the keyring expired on 2026-01-15 02:13 UTC.\nTo ")


# --- logins ------------------------------------------------------------------------------------


def test_a_login_that_fails_is_not_repeated() -> None:
    here = Surroundings(CLC_USERNAME=" demo\r", CLC_PASSWORD="wrong \r")  # an env file with CRLF
    with pytest.raises(RefusedError):
        here.sources.credential()
    assert here.logins == [("demo", "wrong ")]


# --- files -------------------------------------------------------------------------------------


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
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbf" + b"x" * (LARGEST_SECRET - 3))  # with a BOM
    credential = Surroundings(CLC_TOKEN_FILE="~/secret").sources.credential()
    assert credential.token == "x" * (LARGEST_SECRET - 3)
    assert "Is a directory" in failure(CLC_TOKEN_FILE=str(tmp_path))
    read, write = os.pipe()
    os.write(write, token(unique_name="pipe").encode())
    os.close(write)
    assert Surroundings(CLC_TOKEN_FILE=f"/dev/fd/{read}").user_and_source()[0] == "pipe"
    os.close(read)


SHOWN = ("/nowhere/token", "~/nowhere/token", "~nobody-here/x", "./x", "../a/x", "here/x")
HIDDEN = (SECRET, f"{SECRET}/{SECRET}", SECRET * 99, "/" + jwt(), jwt())
RANDOM_PATHS = (f"/{RANDOM}", f"/nowhere/{RANDOM}/x", f"~/{RANDOM}")


@pytest.mark.parametrize("path", SHOWN + HIDDEN + RANDOM_PATHS)
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


def test_ctrl_c_ends_the_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    here = Surroundings(CLC_TOKEN_FILE=str(tmp_path / "pipe"))
    before = [(s, signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    here.inbox.handle_signals()
    ctrl_c = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(Interrupted):
        here.sources.credential()
    ctrl_c.join()
    for signum, handler in before:
        signal.signal(signum, handler)


# --- the account -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "own", "hint"),
    [
        (None, None, "Give the account alias with -a, or in CLC_ACCOUNT."),
        ("", "abcd", "Is a shell variable unset?"),
        (None, " ", "Is a shell variable unset?"),
        (None, "A-B", "It looks like this: ALIAS"),
    ],
)
def test_the_account_is_the_one_given_or_the_logins_own(
    alias: str | None, own: str | None, hint: str
) -> None:
    abcd = Credential("t", "x", account="abcd")
    assert [account(given, abcd) for given in ("sub", None)] == ["SUB", "ABCD"]
    with pytest.raises(UsageError) as raised:
        account(alias, replace(abcd, account=own))
    assert raised.value.hint == hint


def test_the_usual_account_is_that_of_the_environment_or_the_logins_own() -> None:
    own = Credential("t", "x", account="own")
    assert [usual_account(Credential("t", "x")), usual_account(own)] == [None, "OWN"]
    Surroundings(CLC_ACCOUNT="", CLC_ALIAS="two")
    assert usual_account(own) == "TWO"
    Surroundings(CLC_ACCOUNT="one", CLC_ALIAS="two")
    assert usual_account(own) == "ONE"
