import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clc_reset.auth.keyring import Keyring
from clc_reset.auth.sources import (
    LARGEST_SECRET,
    Sources,
    account,
    checked_alias,
    refuse_expired,
    renewal,
    source_before_the_keyring,
    usual_account,
    without_line_end,
)
from clc_reset.clocks import Clocks, Moment
from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    Interrupted,
    RefusedError,
    UnreachableError,
    UsageError,
)
from clc_reset.models import Credential
from clc_reset.workers import Inbox
from tests.fakes import MemoryKeyring, jwt

ORIGIN = "https://api.ctl.io"
NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)
IN_TEN_DAYS = int((NOW + timedelta(days=10)).timestamp())
SECRET = "correct-horse-battery-staple"
RANDOM = "aB3dE6gH9jK2mN5pQ8"

Write = Callable[[str], str]


class FixedClocks(Clocks):
    def now(self) -> Moment:
        return Moment(NOW.timestamp(), 0.0, "")


class Surroundings:
    """The arguments of the sources, and the calls that they made."""

    def __init__(self, **environ: str) -> None:
        self.environ = environ
        self.inbox = Inbox()
        self.logins: list[tuple[str, str]] = []
        self.limits: list[float | None] = []
        self.refusal: Exception | None = None
        self.sources = Sources(
            environ, ORIGIN, self._keyring, self._log_in, FixedClocks(), self.inbox
        )

    def _keyring(self, seconds: float | None) -> Keyring:
        self.limits.append(seconds)
        return Keyring(5, self.inbox)

    def _log_in(self, username: str, password: str) -> Credential:
        self.logins.append((username, password))
        if self.refusal:
            raise self.refusal
        return Credential.from_token(token(unique_name="login"), "login")


def token(**claims: Any) -> str:
    return jwt(**{"exp": IN_TEN_DAYS, **claims})


def store(**claims: Any) -> None:
    credential = Credential.from_token(token(unique_name="stored", **claims), "login")
    Keyring(5, Inbox()).store(ORIGIN, credential)


def user_and_source(here: Surroundings) -> tuple[str | None, str]:
    credential = here.sources.credential()
    return credential.user, credential.source


def failure(**environ: str) -> str:
    """Return message and hint of the error."""
    here = Surroundings(**environ)
    with pytest.raises(AuthenticationError) as raised:
        here.sources.credential()
    assert here.logins == []
    return f"{raised.value.message}\n{raised.value.hint}"


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """Write a file and return its path."""

    def write(content: str) -> str:
        path = tmp_path / "file"
        path.write_text(content, newline="")
        return str(path)

    return write


@pytest.fixture
def warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """The log, though a command run in this process may have taken it from pytest."""
    monkeypatch.setattr(logging.getLogger("clc_reset"), "propagate", True)
    return caplog


# --- order -------------------------------------------------------------------------------------


def test_the_sources_have_an_order(
    memory_keyring: MemoryKeyring, file: Write, warnings: pytest.LogCaptureFixture
) -> None:
    store()
    here = Surroundings()
    assert user_and_source(here) == ("stored", "keyring")
    here.environ |= {"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": file("in the file\r\n")}
    assert user_and_source(here) == ("login", "CLC_USERNAME")
    here.environ["CLC_PASSWORD"] = " in the variable "
    assert user_and_source(here) == ("login", "CLC_USERNAME")
    assert here.logins == [("demo", "in the file"), ("demo", " in the variable ")]
    here.environ["CLC_TOKEN_FILE"] = file(token(unique_name="file") + "\n")
    assert user_and_source(here) == ("file", "CLC_TOKEN_FILE")
    here.environ["CLC_TOKEN"] = f" {token(unique_name='token')}\n"
    assert user_and_source(here) == ("token", "CLC_TOKEN")
    assert (len(here.logins), here.limits, warnings.messages) == (2, [None], [])


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({}, None),
        ({"CLC_TOKEN": " ", "CLC_TOKEN_FILE": "", "CLC_USERNAME": "", "CLC_PASSWORD": ""}, None),
        ({"CLC_USERNAME": "demo"}, None),
        ({"CLC_USERNAME": "\r", "CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "", "CLC_PASSWORD_FILE": ""}, None),
        ({"CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "x"}, "CLC_USERNAME"),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": "x"}, "CLC_USERNAME"),
        ({"CLC_TOKEN_FILE": "x", "CLC_USERNAME": "demo", "CLC_PASSWORD": "x"}, "CLC_TOKEN_FILE"),
        ({"CLC_TOKEN": "x", "CLC_TOKEN_FILE": "x"}, "CLC_TOKEN"),
    ],
)
def test_the_source_before_the_keyring(environ: dict[str, str], source: str | None) -> None:
    assert source_before_the_keyring(environ) == source


def test_a_token_in_the_environment_needs_no_keyring() -> None:
    code = (
        "import sys, clc_reset.auth.sources\n"
        "assert not {'keyring', 'clc_reset.auth.keyring'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.usefixtures("memory_keyring")
def test_without_a_source_the_hint_names_all() -> None:
    text = failure()
    assert text.startswith(f"Not logged in at {ORIGIN}.\nRun: clc login\n")
    for name in ("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD_FILE"):
        assert name in text
    text = failure(CLC_USERNAME="demo")
    assert "CLC_USERNAME is set, but not CLC_PASSWORD or CLC_PASSWORD_FILE.\nRun: clc" in text


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer\t", " BEARER  "])
def test_a_leading_bearer_is_dropped(scheme: str, file: Write) -> None:
    whole = token()
    for environ in ({"CLC_TOKEN": scheme + whole}, {"CLC_TOKEN_FILE": file(scheme + whole + "\n")}):
        assert Surroundings(**environ).sources.credential().token == whole
    assert Surroundings(CLC_TOKEN="bearer_x").sources.credential().token == "bearer_x"


@pytest.mark.parametrize("held", [f"{SECRET} two", f"{SECRET}ä", f"{SECRET}\x01", "Bearer"])
def test_what_is_no_token_is_neither_used_nor_shown(held: str, file: Write) -> None:
    for name, text in (("CLC_TOKEN", held), ("CLC_TOKEN_FILE", file(held))):
        assert failure(**{name: text}) == (
            f"{name} doesn't hold a token: a token is one word of ASCII.\nCorrect or unset {name}."
        )


@pytest.mark.parametrize("held", ["'{}'", '"{}"\r', '"Bearer {}"', '{}"'])
def test_quotes_around_a_token_are_named(held: str, file: Write) -> None:
    whole = token()
    for name, text in (("CLC_TOKEN", held), ("CLC_TOKEN_FILE", file(held.format(whole)))):
        shown = failure(**{name: text.format(whole)})
        assert shown.startswith(f"The token in {name} is in quotes.\nRemove the quotes; ")
        assert whole not in shown


# --- expiry and renewal ------------------------------------------------------------------------

RENEWALS = {
    "CLC_TOKEN": "Set CLC_TOKEN to a new token, or unset it and run: clc login",
    "CLC_TOKEN_FILE": "Put a new token into /run/token, or unset CLC_TOKEN_FILE and run: clc login",
    "keyring": "To renew the token in the keyring, run: clc login",
}
CLOCK = "If it should still be valid, check this machine's clock: 2026-01-15 02:13 UTC."


@pytest.mark.parametrize("source", [*RENEWALS, "CLC_USERNAME", "login"])
def test_an_expired_token_is_refused_with_its_renewal(source: str) -> None:
    credential = Credential("t", source, expires=NOW - timedelta(minutes=1))
    with pytest.raises(AuthenticationError) as raised:
        refuse_expired(credential, NOW, {"CLC_TOKEN_FILE": "/run/token"})
    label = f"the {source}" if source in {"keyring", "login"} else source
    assert raised.value.message == f"The token from {label} expired on 2026-01-15 02:12 UTC."
    assert raised.value.hint.splitlines() == [*filter(None, [RENEWALS.get(source)]), CLOCK]


def test_a_living_token_is_not_refused_and_a_new_one_needs_no_renewal(
    memory_keyring: MemoryKeyring,
) -> None:
    assert renewal(Credential("t", "CLC_USERNAME", user="nightly")) == (
        "The token is new, from the login as nightly: check that this user may act in the account."
    )
    assert Surroundings(CLC_TOKEN="opaque").sources.credential().expires is None
    refuse_expired(Credential("t", "x", expires=NOW + timedelta(seconds=1)), NOW)
    refuse_expired(Credential("t", "x"), NOW)
    store(exp=int(NOW.timestamp()) - 1)
    assert failure().startswith("The token from the keyring expired on 2026-01-15 02:12 UTC.\nTo ")


def test_a_token_near_its_end_is_warned_about(
    memory_keyring: MemoryKeyring, warnings: pytest.LogCaptureFixture
) -> None:
    store(exp=int((NOW + timedelta(hours=35, minutes=5)).timestamp()))
    assert user_and_source(Surroundings()) == ("stored", "keyring")
    assert warnings.record_tuples == [
        (
            "clc_reset.auth.sources",
            logging.WARNING,
            "The token from the keyring expires on 2026-01-16 13:18 UTC, in 1 d 11 h. "
            + RENEWALS["keyring"],
        )
    ]


# --- logins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [AuthenticationError("No."), UnreachableError("No."), RefusedError("No.")]
)
def test_a_login_that_fails_is_not_repeated(error: ClcError) -> None:
    here = Surroundings(CLC_USERNAME=" demo\r", CLC_PASSWORD="wrong \r")  # an env file with CRLF
    here.refusal = error
    with pytest.raises(type(error)):
        here.sources.credential()
    assert here.logins == [("demo", "wrong ")]


@pytest.mark.parametrize(
    ("line", "password"),
    [("x\n", "x"), ("x\r\n", "x"), (" x \n", " x "), ("x\n\n", "x\n"), ("x\r", "x"), ("x", "x")],
)
def test_a_password_is_a_line_without_its_end(line: str, password: str) -> None:
    assert without_line_end(line) == password


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["CLC_TOKEN_FILE", "CLC_PASSWORD_FILE"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "which can't be read: No such file or directory."),
        (b"", "which is empty."),
        (b" \n", "which is empty."),
        (b"\xff\xfe" + SECRET.encode(), "which can't be read: it isn't UTF-8 text."),
        (SECRET.encode() * 9999, "which can't be read: it is larger than 64 KiB."),
    ],
    ids=["none", "empty", "blank", "binary", "large"],
)
def test_an_unusable_file_is_named_by_its_path(
    tmp_path: Path, variable: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    assert failure(CLC_USERNAME="demo", **{variable: str(path)}) == (
        f"{variable} names {path}, {reason}\nCorrect or unset {variable}."
    )


def test_a_file_may_be_as_large_as_any_secret_and_begin_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbf" + b"x" * (LARGEST_SECRET - 3))
    credential = Surroundings(CLC_TOKEN_FILE=str(path)).sources.credential()
    assert credential.token == "x" * (LARGEST_SECRET - 3)
    assert "Is a directory" in failure(CLC_TOKEN_FILE=str(tmp_path))


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(token(unique_name="home"))
    assert user_and_source(Surroundings(CLC_TOKEN_FILE="~/token")) == ("home", "CLC_TOKEN_FILE")


def test_a_secret_may_come_through_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, token(unique_name="pipe").encode())
    os.close(write)
    try:
        assert user_and_source(Surroundings(CLC_TOKEN_FILE=f"/dev/fd/{read}"))[0] == "pipe"
    finally:
        os.close(read)


@pytest.mark.parametrize(
    "path",
    ["/nowhere/token", "~/nowhere/token", "~nobody-here/x", "./x", "../nowhere/x", "here/x"],
)
def test_a_path_is_shown(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    shown = failure(CLC_TOKEN_FILE=path)
    assert shown.startswith(f"CLC_TOKEN_FILE names {path}, which can't be read: ")
    assert ".." not in shown.partition("read: ")[2]


@pytest.mark.parametrize(
    "path",
    [
        SECRET,
        f"{SECRET}/{SECRET}",
        f"/{RANDOM}",
        f"/nowhere/{RANDOM}/x",
        f"~/{RANDOM}",
        "/" + jwt(),
        jwt(),
        SECRET * 99,
        f"{SECRET}\0",
    ],
)
def test_a_path_that_may_be_the_secret_itself_is_not_shown(path: str) -> None:
    shown = failure(CLC_TOKEN_FILE=path)
    assert shown.startswith("CLC_TOKEN_FILE names a file, which can't be read: ")
    assert SECRET not in shown
    assert RANDOM not in shown


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """An inbox that gets this process's signals until the test is over."""
    before = [(s, signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    inbox = Inbox()
    inbox.handle_signals()
    yield inbox
    for signum, handler in before:
        signal.signal(signum, handler)


def test_ctrl_c_ends_the_wait_for_a_pipe(inbox: Inbox, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    here = Surroundings(CLC_TOKEN_FILE=str(pipe))
    ctrl_c = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(Interrupted):
        here.sources._replace(inbox=inbox).credential()
    ctrl_c.join()


# --- without a request -------------------------------------------------------------------------


def test_a_credential_without_a_request(
    memory_keyring: MemoryKeyring, warnings: pytest.LogCaptureFixture
) -> None:
    store()
    here = Surroundings()
    stored = here.sources.without_request()
    here.environ["CLC_TOKEN"] = jwt(exp=1, unique_name="expired")
    expired = here.sources.without_request()
    assert stored
    assert expired
    assert (stored.user, expired.user, expired.account) == ("stored", "expired", "ABCD")
    assert (here.limits, warnings.messages) == ([1.0], [])


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CLC_TOKEN": "two words"},
        {"CLC_TOKEN_FILE": "nowhere"},
        {"CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"},
    ],
)
def test_no_credential_without_a_request(
    memory_keyring: MemoryKeyring, environ: dict[str, str]
) -> None:
    memory_keyring.kept["clc-reset", ORIGIN] = "nonsense"
    here = Surroundings(**environ)
    assert here.sources.without_request() is None
    assert here.logins == []


# --- the account -------------------------------------------------------------------------------


def test_the_account_is_the_one_given_or_the_logins_own() -> None:
    credential = Credential("t", "x", account="abcd")
    assert account("sub", credential) == "SUB"
    assert account(None, credential) == "ABCD"
    with pytest.raises(UsageError, match="doesn't say which account") as raised:
        account(None, Credential("t", "x"))
    assert "-a" in raised.value.hint


@pytest.mark.parametrize(
    ("alias", "hint"),
    [("", "unset"), (" ", "unset"), ("../x", "looks like"), ("A-B", "looks like")],
)
def test_a_malformed_alias_is_a_usage_error(alias: str, hint: str) -> None:
    with pytest.raises(UsageError, match="isn't an account alias") as raised:
        checked_alias(alias)
    assert hint in raised.value.hint
    with pytest.raises(UsageError):
        account(None, Credential("t", "x", account=alias))


@pytest.mark.parametrize(
    ("environ", "usual"),
    [
        ({}, "OWN"),
        ({"CLC_ACCOUNT": "one", "CLC_ALIAS": "two"}, "ONE"),
        ({"CLC_ACCOUNT": "", "CLC_ALIAS": "two"}, "TWO"),
    ],
)
def test_the_usual_account(environ: dict[str, str], usual: str) -> None:
    assert usual_account(environ, Credential("t", "x", account="own")) == usual
    assert usual_account({}, Credential("t", "x")) is None
