"""How the sandbox's cloud is to behave. Light: the command line loads it for every command."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the cloud is to behave; the faults of a bad night are off by default.

    `duration` is the seconds that an operation takes. `refuse` and `fail` hold server ids in upper
    case: the first are never queued, the operations of the second end as failed. `flaky` is the
    share of polls that get a 503. `servers` is the size of the inventory, None for the small one.
    """

    duration: float = 3.0
    refuse: frozenset[str] = frozenset()
    fail: frozenset[str] = frozenset()
    lose_answer: bool = False
    flaky: float = 0.0
    expired_token: bool = False
    servers: int | None = None
