"""The names that a Tab press offers, from the journal. It never writes, never raises."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from clc_reset.errors import JournalError
from clc_reset.journal.database import LAST_CHARACTER, Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# `+` keeps SQLite from an index by which it would have to sort all runs;
# servers that were only refused are left out: the API may not know them
_RECENT_SERVERS = """
SELECT name FROM (
    SELECT name, server.state FROM run CROSS JOIN server ON server.run = run.number
    WHERE +run.base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
WHERE substr(name, 1, length(:beginning)) = :beginning AND state <> 'refused'
"""
_LISTED_SERVERS = """
SELECT name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = :base_url AND datacenter IS NULL AND name BETWEEN :beginning AND :end LIMIT :most
"""
_RECENT_OPERATIONS = """
SELECT operation FROM (
    SELECT operation FROM run CROSS JOIN server ON server.run = run.number
    WHERE +base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
WHERE substr(operation, 1, length(:beginning)) = :beginning COLLATE NOCASE
"""
_RECENT_RUNS = """
SELECT id FROM (SELECT id FROM run WHERE +base_url = :base_url ORDER BY number DESC LIMIT 2000)
WHERE substr(id, 1, length(:beginning)) = :beginning
"""
_LISTED_GROUPS = """
SELECT listing, datacenter, name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = ? AND datacenter IS NOT NULL
"""


def servers(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return servers of the latest resets, then those that were last listed."""
    beginning = beginning.upper()
    recent = _offer(environ, _RECENT_SERVERS, base_url, beginning, most)
    return _distinct([*recent, *_offer(environ, _LISTED_SERVERS, base_url, beginning, most)], most)


def operations(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return operations of the latest resets."""
    return _offer(environ, _RECENT_OPERATIONS, base_url, beginning, most)


def runs(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return the latest runs."""
    return _offer(environ, _RECENT_RUNS, base_url, beginning, most)


def groups(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return groups that were last listed.

    Where data centres of an account have the same name they are `WA1 Web`, `VA1 Web`.
    """
    same: dict[tuple[int, str], dict[str, str]] = {}
    database = Database.of(environ, None, monotonic)
    if database is not None:
        with suppress(JournalError), database.read() as db:
            for listing, datacenter, name in db.execute(_LISTED_GROUPS, (base_url,)):
                same.setdefault((listing, name.casefold()), {})[datacenter.upper()] = name
    names = [
        f"{datacenter} {name}" if len(by_datacenter) > 1 else name
        for by_datacenter in same.values()
        for datacenter, name in by_datacenter.items()
    ]
    begun = beginning.casefold()
    return _distinct((name for name in names if name.casefold().startswith(begun)), most)


def _offer(
    environ: Mapping[str, str], query: str, base_url: str, beginning: str, most: int
) -> list[str]:
    database = Database.of(environ, None, monotonic)
    end = beginning + LAST_CHARACTER
    values = {"base_url": base_url, "beginning": beginning, "end": end, "most": most}
    if database is not None:
        with suppress(JournalError), database.read() as db:
            return _distinct((name for (name,) in db.execute(query, values)), most)
    return []


def _distinct(values: Iterable[str], most: int) -> list[str]:
    """Return each value once, where it comes first; take no more than `most` need."""
    found: dict[str, None] = {}
    for value in values:
        if len(found) == most:
            break
        found[value] = None
    return list(found)
