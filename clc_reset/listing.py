"""The groups and servers that the API last listed, kept in the cache for Tab to offer.

Nothing else is read from it: what is reset was listed by the API a moment before, or typed.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

_GROUP = "group "


class Listing(NamedTuple):
    """The names of the groups of an account, and the ids of its servers."""

    groups: Sequence[str]
    servers: Sequence[str]


def save(folder: str, base_url: str, account: str, listing: Listing) -> None:
    """Keep a listing, for the user's eyes only. What can't be kept is not missed."""
    unfinished = os.path.join(folder, f"{account}.{os.getpid()}")
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(unfinished, "w", opener=_for_the_user_only) as file:
            file.writelines(f"{_GROUP}{each}\n" for each in listing.groups if "\n" not in each)
            file.writelines(f"{each}\n" for each in listing.servers)
        # a Tab press sees all of it or nothing
        os.replace(unfinished, os.path.join(folder, f"{_name(base_url)}{account}"))


def load(folder: str, base_url: str) -> Listing:
    """What was listed at an API, of all accounts; empty where nothing was."""
    groups: dict[str, None] = {}
    servers: dict[str, None] = {}
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            if name.startswith(_name(base_url)):
                with open(os.path.join(folder, name), errors="replace") as file:
                    for line in file.read().splitlines():
                        kept = groups if line.startswith(_GROUP) else servers
                        kept[line.removeprefix(_GROUP)] = None
    return Listing(list(groups), list(servers))


def _for_the_user_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _name(base_url: str) -> str:
    """What the names of an API's files begin with."""
    return re.sub(r"[^a-z0-9.]+", "-", base_url) + "_"
