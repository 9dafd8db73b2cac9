import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import click.testing
import hypothesis
import keyring
import pytest
import respx
from keyring.backend import KeyringBackend

from clc_reset.cli.main import command
from tests.builders import ORIGIN
from tests.fakes import MemoryKeyring, Run

# a busy machine is no failure
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Let no signal be ignored, as nohup and a background may have it: programs inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see no credential, proxy, keyring or taste of whoever runs them, nor another's log."""
    prefixes = ("CLC_", "SSL_CERT_", "PYTHON_KEYRING_", "COLUMNS", "FORCE_COLOR", "NO_COLOR")
    for name in list(os.environ):
        if name.startswith(prefixes) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    log = logging.getLogger("clc_reset")  # which a command takes from pytest
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "handlers", [])


@pytest.fixture
def use_keyring() -> Iterator[Callable[[KeyringBackend], None]]:
    """Put a backend in the keyring's place."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


@pytest.fixture
def memory_keyring(use_keyring: Callable[[KeyringBackend], None]) -> MemoryKeyring:
    """A keyring that keeps what it is given, in memory."""
    backend = MemoryKeyring()
    use_keyring(backend)
    return backend


@pytest.fixture
def api_ctl_io(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.Router]:
    """The platform's own address, where nothing answers but what a test puts there."""
    # nobody needs the system's certificates, which take longer than a command
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda _context: None)
    with respx.mock(base_url=ORIGIN, assert_all_called=False) as router:
        yield router


@pytest.fixture
def clc() -> Run:
    """Run `clc` in this process, its standard output and error in pipes."""

    def run(*arguments: str, stdin: str | bytes = "") -> click.testing.Result:
        return click.testing.CliRunner().invoke(command, arguments, input=stdin)

    return run
