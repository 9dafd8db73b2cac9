"""A signal at some lines of each command; CLC_TEST_SAMPLES says at how many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.signals import SCRIPTS

SAMPLES = os.environ.get("CLC_TEST_SAMPLES", "12")  # here: a test has no CLC_* variables


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_signal_at_any_line_loses_nothing_and_shows_the_truth(tmp_path: Path, name: str) -> None:
    program = [sys.executable, "-m", "tests.signals", name, str(tmp_path), SAMPLES]
    ended = subprocess.run(program, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stderr
