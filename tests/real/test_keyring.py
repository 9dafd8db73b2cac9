"""`clc` in a desktop session with the GNOME keyring."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clc_reset.errors import WITHOUT_A_KEYRING
from tests.builders import A
from tests.fakes import Loopback, Terminal, http, jwt, loopback, queued, run_clc

PASSWORD = "correct horse battery staple"
TOKEN = jwt()
UNLOCKS_THE_KEYRING = b"throw-away"
RESET = http(200, [queued(A, "wa1-12345")])
LOGGED_IN = http(200, {"userName": "someone", "accountAlias": "ABCD", "bearerToken": TOKEN})
LIMIT = 5.0
"""The keyring's seconds off a terminal."""
SLACK = 4.0
"""What a busy machine may need on top of them, to start and to end."""

PACKAGES = {
    "dbus-run-session": "dbus",
    "gdbus": "libglib2.0-bin",
    "gnome-keyring-daemon": "gnome-keyring",
}
MISSING = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]


class Desktop:
    """A session bus in the environment as it is. What runs on it is one process group."""

    def __init__(self) -> None:
        tell_the_address = 'echo "$DBUS_SESSION_BUS_ADDRESS"; exec cat'
        self._bus = start(0, "dbus-run-session", "sh", "-c", tell_the_address)
        self._processes = [self._bus]
        assert self._bus.stdout
        self.address = self._bus.stdout.readline().decode().strip()

    def start_keyring(self, password: bytes = b"") -> None:
        """Start the daemon, unlocked with a password or else locked, and wait until it serves."""
        unlock = ["--unlock"] if password else []
        daemon = start(
            self._bus.pid, "gnome-keyring-daemon", "--foreground", "--components=secrets", *unlock
        )
        self._processes.append(daemon)
        assert daemon.stdin
        with daemon.stdin as stdin:
            stdin.write(password)
        served = ("wait", "--session", "--timeout", "20", "org.freedesktop.secrets")
        with start(self._bus.pid, "gdbus", *served) as asked:
            asked.communicate()
        assert asked.returncode == 0

    def restart_keyring(self, password: bytes = b"") -> None:
        """End the daemon and start another, as a logout and a login do."""
        with self._processes.pop() as daemon:
            daemon.terminate()
        self.start_keyring(password)

    def freeze_keyring(self) -> None:
        """Let the daemon take what it is asked, and never answer."""
        self._processes[-1].send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """End all that runs on the bus, and the bus."""
        os.killpg(self._bus.pid, signal.SIGTERM)
        os.killpg(self._bus.pid, signal.SIGCONT)
        for process in self._processes:
            with process:
                pass  # what waits for it, and closes its pipes


def start(group: int, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=group,
    )


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    """A session whose keyring was never used, all of it in the test's own folder."""
    if MISSING:
        pytest.skip(f"not installed (Debian packages): {', '.join(MISSING)}")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "GNOME_KEYRING_CONTROL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    session = Desktop()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", session.address)
    yield session
    session.end()


@pytest.fixture
def unlocked(desktop: Desktop) -> Desktop:
    """A session whose keyring its login has unlocked."""
    desktop.start_keyring(UNLOCKS_THE_KEYRING)
    return desktop


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """The API, which takes one login, and then any reset."""
    with loopback(LOGGED_IN, RESET) as server:
        monkeypatch.setenv("CLC_BASE_URL", server.url)
        yield server


def log_in() -> subprocess.CompletedProcess[str]:
    return run_clc("login", "-v", "-u", "someone", "--password-stdin", stdin=PASSWORD)


def is_logged_in() -> bool:
    shown = json.loads(run_clc("whoami", "-o", "json").stdout)
    return (shown["user"], shown["source"]) == ("someone", "keyring")


def assert_unusable(result: subprocess.CompletedProcess[str], reason: str) -> None:
    assert (result.returncode, result.stdout) == (4, "")
    assert f"Error: The keyring can't be used: {reason}" in result.stderr
    assert result.stderr.endswith(f"{WITHOUT_A_KEYRING}\n")


def assert_no_file_holds_a_secret(folder: Path) -> None:
    """Look into every file of the session, the keyring's own among them."""
    payload = TOKEN.split(".")[1]
    secrets = [payload.encode(), base64.urlsafe_b64decode(payload + "==")]  # the token's part, too
    secrets += [PASSWORD.encode(), base64.b64encode(PASSWORD.encode())]
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(path.suffix == ".keyring" for path in files)
    assert [path for path, data in files.items() if any(s in data for s in secrets)] == []


def test_a_token_is_kept_used_and_forgotten_and_no_file_holds_a_secret(
    unlocked: Desktop, api: Loopback, tmp_path: Path
) -> None:
    login = log_in()
    assert login.returncode == 0
    assert "in the keyring (keyring.backends.SecretService.Keyring)" in login.stderr
    assert_no_file_holds_a_secret(tmp_path)
    unlocked.restart_keyring(UNLOCKS_THE_KEYRING)  # it may write when it ends
    assert_no_file_holds_a_secret(tmp_path)
    assert is_logged_in()
    reset = run_clc("reset", A, "-v")
    assert (reset.returncode, reset.stdout.startswith(f"{A}\tqueued\twa1-12345\t")) == (0, True)
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in api.requests[-1]
    shown = login.stderr + reset.stdout + reset.stderr
    assert TOKEN.split(".")[1] not in shown
    assert PASSWORD not in shown
    for message in (f"Logged out at {api.url}.\n", f"Not logged in at {api.url}.\n"):
        result = run_clc("logout")
        assert (result.returncode, result.stderr) == (0, message)
    assert run_clc("reset", A).returncode == 4
    assert api.posts == 2
    assert_no_file_holds_a_secret(tmp_path)


def test_a_locked_keyring_is_said_to_be_locked_and_keeps_nothing(
    unlocked: Desktop, api: Loopback, tmp_path: Path
) -> None:
    assert log_in().returncode == 0
    unlocked.restart_keyring()
    began = time.monotonic()
    for line in ("whoami", f"reset {A}", "status wa1-12345", "logout"):
        assert_unusable(run_clc(*line.split()), "it is locked. Unlock it, then run this again.")
    assert time.monotonic() - began < LIMIT + SLACK
    assert len(api.requests) == 1
    api.script.insert(0, LOGGED_IN)
    assert_unusable(log_in(), "it is locked. Unlock it, then run this again.")
    assert_no_file_holds_a_secret(tmp_path)
    unlocked.restart_keyring(UNLOCKS_THE_KEYRING)
    assert is_logged_in()


def test_a_keyring_that_was_never_used_can_not_ask_for_its_password_without_a_screen(
    desktop: Desktop, api: Loopback
) -> None:
    began = time.monotonic()
    assert_unusable(run_clc("whoami"), "")
    assert time.monotonic() - began < LIMIT + SLACK


def test_a_keyring_that_never_answers_is_given_five_seconds_and_longer_on_a_terminal(
    unlocked: Desktop, api: Loopback
) -> None:
    unlocked.freeze_keyring()
    began = time.monotonic()
    no_answer = "it didn't answer within 5 s; it may be waiting to be unlocked."
    assert_unusable(run_clc("whoami"), no_answer)
    assert LIMIT < time.monotonic() - began < LIMIT + SLACK
    terminal = Terminal("whoami", **os.environ)
    time.sleep(LIMIT + 3)
    os.write(terminal.screen, b"\x03")
    assert terminal.end() == (130, "^CInterrupted.\r\n")


def test_without_a_dbus_the_alternatives_are_named(
    api: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)  # as `env -i`, or cron
    for result in (run_clc("whoami"), run_clc("reset", A), log_in()):
        assert_unusable(result, "no usable keyring backend was found")
    assert api.requests == []
