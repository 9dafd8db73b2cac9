"""What the measured commands find around them: an API and a keyring."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.fakes import run_clc
from tests.real.desktop import MISSING, Desktop

ROOT = Path(__file__).parents[2]

_FIXED = (
    "a fixed backend, not discovered",
    {"PYTHON_KEYRING_BACKEND": "tests.bench.fixed.Fixed", "PYTHONPATH": str(ROOT)},
)


@contextmanager
def api(*options: str) -> Iterator[str]:
    """The URL of a `tests.bench.server`, which runs meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.server", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        yield server.stdout.readline().strip()


@contextmanager
def keyring(url: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A keyring that holds a token for a URL: what it is, and the variables that lead to it.

    A Secret Service where one can be had, found as it always is. Else a backend of ours, which
    keyring is told of and so doesn't search for.
    """
    if MISSING:
        yield _FIXED
        return
    desktop = Desktop()
    bus = {"DBUS_SESSION_BUS_ADDRESS": desktop.address}
    os.environ.update(bus)  # for the desktop's own commands
    try:
        yield ("Secret Service, discovered", bus) if _logs_in(desktop, url) else _FIXED
    finally:
        desktop.end()


def _logs_in(desktop: Desktop, url: str) -> bool:
    try:
        desktop.start_keyring(b"throw-away")
    except AssertionError:
        return False
    log_in = ("login", "-u", "demo", "--password-stdin")
    return run_clc(*log_in, env={"CLC_BASE_URL": url}, stdin="demo").returncode == 0
