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
    source_before_the_keyring,
    usual_account,
    without_line_end,
)
from clc_reset.errors import (
    AuthenticationError,
    Interrupted,
    RefusedError,
    UnreachableError,
    UsageError,
)
from clc_reset.models import Credential
from clc_reset.threads import Stop
from tests.fakes import MemoryKeyring, jwt

ORIGIN = "https://api.ctl.io"
NOW = datetime(2026, 1, 15, 2, 13, tzinfo=UTC)
IN_TEN_DAYS = int((NOW + timedelta(days=10)).timestamp())
SECRET = "correct-horse-battery-staple"


class Surroundings:
    """What the sources are handed, and what they did with it."""

    def __init__(self, **environ: str) -> None:
        self.environ = environ
        self.stop = Stop()
        self.logins: list[tuple[str, str]] = []
        self.patience: list[float | None] = []
        self.notes: list[str] = []
        self.refuses: Exception | None = None

    @property
    def sources(self) -> Sources:
        return Sources(
            self.environ,
            ORIGIN,
            keyring=self._keyring,
            log_in=self._log_in,
            note=self.notes.append,
            now=lambda: NOW,
            stop=self.stop,
        )

    def _keyring(self, patience: float | None) -> Keyring:
        self.patience.append(patience)
        return Keyring(5, self.stop)

    def _log_in(self, username: str, password: str) -> Credential:
        self.logins.append((username, password))
        if self.refuses:
            raise self.refuses
        return Credential.from_token(token(unique_name="login"), "login")


def token(**claims: Any) -> str:
    return jwt(**{"exp": IN_TEN_DAYS, **claims})


def store(**claims: Any) -> None:
    credential = Credential.from_token(token(unique_name="kept", **claims), "login")
    Keyring(5, Stop()).store(ORIGIN, credential)


def whose(surroundings: Surroundings) -> tuple[str | None, str]:
    """User and source."""
    credential = surroundings.sources.credential()
    return credential.user, credential.source


def failure(surroundings: Surroundings) -> str:
    """Message and hint of an authentication that fails."""
    with pytest.raises(AuthenticationError) as raised:
        surroundings.sources.credential()
    return f"{raised.value.message}\n{raised.value.hint}"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Write a file, and tell its path."""

    def write(content: str) -> str:
        path = tmp_path / "file"
        path.write_text(content, newline="")
        return str(path)

    return write


def test_the_four_sources_are_asked_in_their_order(
    memory_keyring: MemoryKeyring, file: Callable[[str], str], tmp_path: Path
) -> None:
    store()
    here = Surroundings()
    assert whose(here) == ("kept", "keyring")
    assert here.patience == [None]
    here.environ |= {"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": file("in the file\r\n")}
    assert whose(here) == ("login", "CLC_USERNAME")
    here.environ["CLC_PASSWORD"] = " of the variable "
    assert whose(here) == ("login", "CLC_USERNAME")
    assert here.logins == [("demo", "in the file"), ("demo", " of the variable ")]
    here.environ["CLC_TOKEN_FILE"] = file(token(unique_name="file") + "\n")
    assert whose(here) == ("file", "CLC_TOKEN_FILE")
    here.environ["CLC_TOKEN"] = f" {token(unique_name='token')}\n"
    assert whose(here) == ("token", "CLC_TOKEN")
    assert (len(here.logins), here.patience, here.notes) == (2, [None], [])


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({}, None),
        ({"CLC_TOKEN": " ", "CLC_TOKEN_FILE": "", "CLC_USERNAME": "", "CLC_PASSWORD": ""}, None),
        ({"CLC_USERNAME": "demo"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "", "CLC_PASSWORD_FILE": ""}, None),
        ({"CLC_PASSWORD": "x"}, None),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD": "x"}, "CLC_USERNAME"),
        ({"CLC_USERNAME": "demo", "CLC_PASSWORD_FILE": "x"}, "CLC_USERNAME"),
        ({"CLC_TOKEN_FILE": "x", "CLC_USERNAME": "demo", "CLC_PASSWORD": "x"}, "CLC_TOKEN_FILE"),
        ({"CLC_TOKEN": "x", "CLC_TOKEN_FILE": "x"}, "CLC_TOKEN"),
    ],
)
def test_the_variable_that_takes_precedence_over_the_keyring_is_told(
    environ: dict[str, str], source: str | None
) -> None:
    assert source_before_the_keyring(environ) == source


def test_with_a_token_in_the_environment_keyring_is_not_even_imported() -> None:
    code = (
        "import sys, clc_reset.auth.sources\n"
        "assert not {'keyring', 'clc_reset.auth.keyring'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.usefixtures("memory_keyring")
def test_without_any_source_the_hint_names_them_all() -> None:
    said = failure(Surroundings())
    assert said.startswith(f"Not logged in at {ORIGIN}.\nRun: clc login\n")
    for word in ("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD_FILE"):
        assert word in said


@pytest.mark.usefixtures("memory_keyring")
def test_a_user_name_without_a_password_is_pointed_out() -> None:
    said = failure(Surroundings(CLC_USERNAME="demo"))
    assert "CLC_USERNAME is set, but neither CLC_PASSWORD nor its file.\nRun: clc login" in said


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer\t", " BEARER  "])
def test_bearer_in_front_of_a_token_is_left_out(scheme: str, file: Callable[[str], str]) -> None:
    whole = token()
    for environ in ({"CLC_TOKEN": scheme + whole}, {"CLC_TOKEN_FILE": file(scheme + whole + "\n")}):
        assert Surroundings(**environ).sources.credential().token == whole


def test_a_token_that_only_begins_like_bearer_is_left_whole() -> None:
    assert Surroundings(CLC_TOKEN="bearer_x").sources.credential().token == "bearer_x"


@pytest.mark.parametrize("held", [f"{SECRET} two", f"{SECRET}ä", f"{SECRET}\x01", "Bearer"])
def test_what_is_no_token_is_neither_used_nor_shown(held: str, file: Callable[[str], str]) -> None:
    for name, text in (("CLC_TOKEN", held), ("CLC_TOKEN_FILE", file(held))):
        said = failure(Surroundings(**{name: text}))
        assert said == (
            f"{name} doesn't hold a token: a token is one word of ASCII.\n"
            f"Correct or unset {name}. Nothing was sent."
        )


def test_a_token_of_unknown_expiry_is_used() -> None:
    here = Surroundings(CLC_TOKEN="opaque")
    assert here.sources.credential() == Credential("opaque", "CLC_TOKEN")
    assert here.notes == []


# expiry


@pytest.mark.parametrize(
    ("source", "renewal"),
    [
        (
            "CLC_TOKEN",
            "Set CLC_TOKEN to a new token",
        ),
        (
            "CLC_TOKEN_FILE",
            "Put a new token into the file that CLC_TOKEN_FILE names",
        ),
        ("CLC_USERNAME", "The next login gets a new one."),
        ("login", "The next login gets a new one."),
        ("keyring", "Run: clc login"),
    ],
)
def test_an_expired_token_is_refused_with_what_renews_its_kind(source: str, renewal: str) -> None:
    if source in {"CLC_TOKEN", "CLC_TOKEN_FILE"}:
        renewal += (
            f", or unset {source}, which takes precedence over the keyring, and run: clc login"
        )
    credential = Credential("t", source, expires=NOW - timedelta(minutes=1))
    with pytest.raises(AuthenticationError) as raised:
        refuse_expired(credential, NOW)
    assert raised.value.message == f"The token from {source} expired on 2026-01-15 02:12 UTC."
    assert raised.value.hint == (
        f"It was not sent. {renewal}\n"
        "If it should still be valid, check this machine's clock: 2026-01-15 02:13 UTC."
    )


def test_a_token_that_lives_or_tells_no_expiry_is_not_refused() -> None:
    refuse_expired(Credential("t", "x", expires=NOW + timedelta(seconds=1)), NOW)
    refuse_expired(Credential("t", "x"), NOW)


def test_an_expired_token_is_no_credential(memory_keyring: MemoryKeyring) -> None:
    store(exp=int(NOW.timestamp()) - 1)
    said = failure(Surroundings())
    assert said.startswith("The token from keyring expired on 2026-01-15 02:12 UTC.\nIt was not")
    assert "Run: clc login" in said


def test_a_token_near_its_end_is_warned_about(memory_keyring: MemoryKeyring) -> None:
    store(exp=int((NOW + timedelta(hours=35, minutes=5)).timestamp()))
    here = Surroundings()
    assert here.sources.credential().user == "kept"
    (note,) = here.notes
    until, _, renewal = note.partition(". ")
    assert until == "Warning: the token from keyring expires on 2026-01-16 13:18 UTC, in 1 d 11 h"
    assert renewal == "Run: clc login"


# logins


@pytest.mark.parametrize("error", [AuthenticationError("No."), UnreachableError("No.")])
def test_a_login_that_fails_is_not_repeated(error: Exception) -> None:
    here = Surroundings(CLC_USERNAME="demo", CLC_PASSWORD="wrong")
    here.refuses = error
    with pytest.raises(type(error)):
        here.sources.credential()
    assert here.logins == [("demo", "wrong")]


@pytest.mark.parametrize(
    ("line", "password"),
    [("x\n", "x"), ("x\r\n", "x"), (" x \n", " x "), ("x\n\n", "x\n"), ("x\r", "x"), ("x", "x")],
)
def test_a_password_is_a_line_less_its_end(line: str, password: str) -> None:
    assert without_line_end(line) == password


# files


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
def test_a_file_that_can_not_be_used_is_one_message(
    tmp_path: Path, variable: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    here = Surroundings(CLC_USERNAME="demo", **{variable: str(path)})
    assert failure(here) == (
        f"{variable} names {path}, {reason}\nCorrect or unset {variable}. Nothing was sent."
    )
    assert here.logins == []


def test_a_file_may_be_as_large_as_any_secret_and_begin_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbf" + b"x" * (LARGEST_SECRET - 3))
    credential = Surroundings(CLC_TOKEN_FILE=str(path)).sources.credential()
    assert credential.token == "x" * (LARGEST_SECRET - 3)


def test_a_token_file_may_not_be_a_folder(tmp_path: Path) -> None:
    assert "Is a directory" in failure(Surroundings(CLC_TOKEN_FILE=str(tmp_path)))


def test_a_secret_may_come_through_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, token(unique_name="pipe").encode())
    os.close(write)
    try:
        assert whose(Surroundings(CLC_TOKEN_FILE=f"/dev/fd/{read}"))[0] == "pipe"
    finally:
        os.close(read)


@pytest.mark.parametrize(
    "path", [SECRET, f"/{SECRET}", f"{SECRET}/{SECRET}", f"/{SECRET}/x", SECRET * 99, f"{SECRET}\0"]
)
def test_a_path_that_may_be_the_secret_itself_is_not_shown(path: str) -> None:
    said = failure(Surroundings(CLC_TOKEN_FILE=path))
    assert said.startswith("CLC_TOKEN_FILE names a file, which can't be read: ")
    assert SECRET not in said


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop that Ctrl-C leaves its mark on, until the test is over."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(each) for each in signals]
    stop = Stop()
    stop.install()
    yield stop
    for signum, handler in zip(signals, before, strict=True):
        signal.signal(signum, handler)


def test_ctrl_c_ends_the_wait_for_a_pipe_that_nobody_writes_to(stop: Stop, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    here = Surroundings(CLC_TOKEN_FILE=str(pipe))
    here.stop = stop
    ctrl_c = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    ctrl_c.start()
    with pytest.raises(Interrupted):
        here.sources.credential()
    ctrl_c.join()


# without a request


def test_what_can_be_told_without_a_request_is(memory_keyring: MemoryKeyring) -> None:
    store()
    here = Surroundings()
    credential = here.sources.without_request()
    assert credential
    assert (credential.user, here.patience) == ("kept", [1.0])
    here.environ["CLC_TOKEN"] = token(unique_name="token")
    credential = here.sources.without_request()
    assert credential
    assert (credential.user, here.patience) == ("token", [1.0])


def test_an_expired_token_still_tells_its_account() -> None:
    here = Surroundings(CLC_TOKEN=jwt(exp=1))
    credential = here.sources.without_request()
    assert credential
    assert credential.account == "ABCD"
    assert here.notes == []


@pytest.mark.usefixtures("memory_keyring")
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CLC_TOKEN": "two words"},
        {"CLC_TOKEN_FILE": "nowhere"},
        {"CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"},
    ],
)
def test_what_can_not_be_told_without_a_request_is_nothing(environ: dict[str, str]) -> None:
    here = Surroundings(**environ)
    assert here.sources.without_request() is None
    assert here.logins == []


def test_a_keyring_that_can_not_be_read_tells_nothing(memory_keyring: MemoryKeyring) -> None:
    store()
    memory_keyring.kept = dict.fromkeys(memory_keyring.kept, "nonsense")
    assert Surroundings().sources.without_request() is None


def test_a_surprise_is_no_authentication() -> None:
    here = Surroundings(CLC_USERNAME="demo", CLC_PASSWORD="demo")
    here.refuses = RefusedError("No.")
    with pytest.raises(RefusedError):
        here.sources.credential()


# the account


def test_the_account_is_the_one_given_or_else_the_logins_own() -> None:
    credential = Credential("t", "x", account="abcd")
    assert account("sub", credential) == "SUB"
    assert account(None, credential) == "ABCD"


def test_an_account_that_nothing_tells_is_asked_for() -> None:
    with pytest.raises(UsageError, match="doesn't tell which account") as raised:
        account(None, Credential("t", "x"))
    assert "-a" in raised.value.hint


@pytest.mark.parametrize(
    ("alias", "hint"),
    [("", "unset"), (" ", "unset"), ("../x", "looks like"), ("A-B", "looks like")],
)
def test_what_can_be_no_alias_is_a_usage_error(alias: str, hint: str) -> None:
    with pytest.raises(UsageError, match="can't be an account alias") as raised:
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
def test_the_usual_account_is_that_of_a_command_without_an_option(
    environ: dict[str, str], usual: str
) -> None:
    assert usual_account(environ, Credential("t", "x", account="own")) == usual


def test_there_may_be_no_usual_account() -> None:
    assert usual_account({}, Credential("t", "x")) is None
