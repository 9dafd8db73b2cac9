"""Known faults, put into the code one after another: a simulation that misses one is no good.

`planted.txt` has them. Each replaces words in the source of a real function; words that are no
longer there are an error, so that no fault falls out of use unnoticed.
"""

import __future__

import inspect
import multiprocessing
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from tests.simulation.night import failures

MOST_NIGHTS = 3000


class Fault(NamedTuple):
    """Words to replace in the source of `function`, or `Class.method`, of a module."""

    name: str
    module: str
    function: str
    old: str
    new: str


def faults() -> list[Fault]:
    """Return the faults of the file."""
    found = []
    for block in Path(__file__).with_suffix(".txt").read_text().split("\n\n")[1:]:
        name, where, *words = block.strip("\n").split("\n")
        module, _, function = where.removeprefix("@ ").partition(":")
        old, new = ("\n".join(w[2:] for w in words if w[0] == sign) for sign in "-+")
        found.append(Fault(name, module, function, old, new))
    return found


@contextmanager
def planted(fault: Fault) -> Generator[None]:
    """Put a fault into the code. Raises ValueError if its words aren't there."""
    module = import_module(fault.module)
    owner: Any = module
    *path, name = fault.function.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = owner.__dict__[name]
    function: Any = original.fget if isinstance(original, property) else original
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: the words aren't in {fault.function}, or not once")
    flags = __future__.annotations.compiler_flag
    code = compile(source.replace(fault.old, fault.new), f"<{fault.name}>", "exec", flags)
    namespace: dict[str, Any] = {}
    exec(code, dict(vars(module)), namespace)  # noqa: S102 - our own source
    holders = [owner] + [  # those that imported it by name, too
        other
        for key, other in sorted(sys.modules.items())
        if key.startswith("clc_reset") and vars(other).get(name) is original
    ]
    for holder in holders:
        setattr(holder, name, namespace[name])
    try:
        yield
    finally:
        for holder in holders:
            setattr(holder, name, original)


def hunt(fault: Fault, seed: int) -> int | None:
    """Return after how many nights a fault is found, None if it isn't."""
    with planted(fault):
        nights = range(1, MOST_NIGHTS + 1)
        return next((night for night in nights if failures(seed + night)[1]), None)


def hunt_all(seed: int, processes: int) -> bool:
    """Print after how many nights each fault is found; return whether all are."""
    missed = False
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = pool.imap(partial(hunt, seed=seed), faults())
        for fault, nights in zip(faults(), found, strict=True):
            missed = missed or nights is None
            print(f"{nights or 'NEVER':>6}  {fault.name}", flush=True)
    return not missed
