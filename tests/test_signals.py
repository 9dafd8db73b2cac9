"""A signal at some lines of each command; tests/real has them all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import loopback
from tests.signals import SCRIPTS, Driver, check, driving

SAMPLES = 12
FIRST = 2
"""The line before it is `try:`, which can't catch what comes at it."""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with loopback(b"") as server, driving(tmp_path, server) as found:
        yield found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_signal_at_some_lines_loses_nothing_and_shows_the_truth(
    driver: Driver, name: str
) -> None:
    whole = driver.run(name)
    assert (whole.code, whole.posts) == (0, name.startswith("reset")), whole
    with pytest.raises(AssertionError):
        check(name, whole._replace(posts=whole.posts + 1))
    for sample in range(SAMPLES):
        check(name, driver.run(name, FIRST + sample * whole.lines // SAMPLES))
