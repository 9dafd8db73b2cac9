import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import protocol
from tests.simulation.invariants import readable
from tests.simulation.night import Night, failures
from tests.simulation.planted import faults, planted

SEEDS = [
    int(line.partition("#")[0])
    for line in Path(__file__).with_name("seeds.txt").read_text().splitlines()
    if line.partition("#")[0].strip()
]
FIRST, NIGHTS, AT_A_TIME = 190_000, 150, 30


@pytest.mark.parametrize("seed", SEEDS)
def test_a_night_that_once_broke_a_promise_keeps_it(seed: int) -> None:
    assert failures(seed)[1] == []


@pytest.mark.parametrize("first", range(FIRST, FIRST + NIGHTS, AT_A_TIME))
def test_nights_break_no_promise(first: int) -> None:
    assert [found for found in map(failures, range(first, first + AT_A_TIME)) if found[1]] == []


def digest() -> str:
    """Return a checksum of what happens in some nights."""
    traces = []
    for seed in range(12):
        night = Night(seed)
        night.run()
        traces.append(readable(night))
    return hashlib.sha256("\n".join(traces).encode()).hexdigest()


def test_one_seed_makes_one_night_in_every_process() -> None:
    code = "from tests.simulation.test_nights import digest; print(digest())"
    command = [sys.executable, "-c", code]
    other = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    assert other.stdout.decode().strip() == digest()


def test_without_a_rule_the_protocol_breaks_a_promise() -> None:
    rules = protocol.Rules(claim_needs_record=False)
    assert "a run and those that take its rest send a server twice" in protocol.check(
        protocol.SMALL[:2], rules
    )


def test_every_planted_fault_fits_the_code() -> None:
    for fault in faults():
        with planted(fault):
            pass


def test_a_planted_fault_is_found() -> None:
    fault = next(fault for fault in faults() if fault.name == "forget the intent")
    with planted(fault):
        assert any(failures(seed)[1] for seed in range(1, 80))
