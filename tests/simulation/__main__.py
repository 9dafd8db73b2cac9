"""Simulated nights: `python -m tests.simulation --nights 3000 --seed 1`."""

import argparse
import sys
import time
from random import SystemRandom

from tests.simulation.invariants import readable
from tests.simulation.night import Night, nights
from tests.simulation.planted import hunt_all

SHOWN = 10


def main() -> int:
    """Run nights and print those that break a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--planted", action="store_true")
    given = parser.parse_args()
    seed = SystemRandom().randrange(10**9) if given.seed is None else given.seed
    if given.planted:
        return 0 if hunt_all(seed, given.processes) else 1
    began = time.monotonic()
    found = nights(range(seed, seed + given.nights), given.processes if given.nights > 1 else 1)
    seconds = time.monotonic() - began
    print(
        f"{given.nights:,} nights from seed {seed} in {seconds:.1f} s "
        f"({given.nights / seconds:.0f} a second): {len(found):,} break a promise"
    )
    for number, problems in found[:SHOWN]:
        print(f"\n--- python -m tests.simulation --seed {number} --trace")
        for problem in problems:
            print(f"    {problem}")
    if given.trace or (found and given.nights > 1):
        night = Night(found[0][0] if found else seed)
        night.run()
        print(readable(night))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
