"""A signal at many lines of each command; at each of them with CLC_TEST_EVERY_LINE=1."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes import loopback
from tests.signals import SCRIPTS, Driver, check, driving
from tests.test_signals import FIRST

EVERY_LINE = os.environ.get("CLC_TEST_EVERY_LINE") == "1"  # here: a test has no CLC_* variables
SAMPLES = 40
SEED = int(os.environ.get("CLC_TEST_SEED") or time.time())
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with loopback(b"") as server, driving(tmp_path, server) as found:
        yield found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_signal_at_any_line_loses_nothing_and_shows_the_truth(driver: Driver, name: str) -> None:
    lines: Sequence[int] = range(FIRST, driver.run(name).lines + 1)
    if not EVERY_LINE:
        lines = sorted(random.Random(SEED).sample(lines, min(SAMPLES, len(lines))))
    print(f"CLC_TEST_SEED={SEED}")  # noqa: T201 - shown where it fails
    for number, line in enumerate(lines):
        check(name, driver.run(name, line, SIGNALS[number % 3]))
