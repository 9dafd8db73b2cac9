"""The groups and servers that the API last listed, kept in the cache for Tab to offer.

Nothing else is read from it: what is reset was listed by the API a moment before, or typed.
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Listing(NamedTuple):
    """The names of the groups of an account, and the ids of its servers."""

    groups: Sequence[str]
    servers: Sequence[str]


def save(folder: Path, base_url: str, account: str, listing: Listing) -> None:
    """Keep a listing, for the user's eyes only. What can't be kept is not missed."""
    unfinished = folder / f"{account}.{os.getpid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(listing._asdict()))
        # a Tab press sees all of it or nothing
        unfinished.replace(folder / f"{_name(base_url)}{account}.json")


def load(folder: Path, base_url: str) -> Listing:
    """What was listed at an API, of all accounts; empty where nothing was."""
    groups: dict[str, None] = {}
    servers: dict[str, None] = {}
    for path in sorted(folder.glob(f"{_name(base_url)}*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(path.read_bytes())
            groups |= dict.fromkeys(kept["groups"])
            servers |= dict.fromkeys(kept["servers"])
    return Listing(list(groups), list(servers))


def _name(base_url: str) -> str:
    """What the names of an API's files begin with."""
    return re.sub(r"[^a-z0-9.]+", "-", base_url) + "_"
