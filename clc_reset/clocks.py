"""Three clocks: seconds since boot, the wall clock, and the API's clock.

The wall clock may be set at any moment, so ages come from the boot-time clock where both moments
lie between the same start and stop of one machine. The API's clock is in each answer's `Date`
header; recorded clients' clocks were up to 7 minutes off, so times that the API tells are only
compared with times on its own clock.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Moment(NamedTuple):
    """A moment on this machine's clocks.

    `wall` is seconds since 1970, `boot` seconds since the machine was started, suspension
    included. `boot_id` identifies machine and start; empty where the system doesn't tell.
    """

    wall: float
    boot: float
    boot_id: str

    @property
    def utc(self) -> datetime:
        """The wall clock's time, in UTC."""
        return datetime.fromtimestamp(self.wall, UTC)

    def shares_boot_with(self, other: "Moment") -> bool:
        """Return whether the boot-time clock can tell the time between the two."""
        return bool(self.boot_id) and self.boot_id == other.boot_id

    def seconds_since(self, earlier: "Moment") -> float:
        """Return the seconds since an earlier moment; negative where the wall clock was set."""
        if self.shares_boot_with(earlier):
            return self.boot - earlier.boot
        return self.wall - earlier.wall


class ApiTime(NamedTuple):
    """A time that the API told (`Date`, in UTC), and the moment when its answer came."""

    date: datetime
    at: Moment

    def of(self, moment: Moment) -> datetime:
        """Return what the API's clock showed at a moment of this machine's clocks."""
        return self.date - timedelta(seconds=self.at.seconds_since(moment))


class Clocks:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Return seconds from anywhere, for waiting."""
        return time.monotonic()

    def now(self) -> Moment:
        """Return the present moment."""
        return Moment(time.time(), time.clock_gettime(_BOOT_CLOCK), _boot_id())


@cache
def _boot_id() -> str:
    with suppress(OSError), open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()
    return ""
