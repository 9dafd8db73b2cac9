"""The names that a Tab press offers, from the journal. It never writes, never raises."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from clc_reset.errors import JournalError
from clc_reset.journal.database import LAST_CHARACTER, Database

if TYPE_CHECKING:
    from collections.abc import Mapping

# servers that were only refused are left out: the API may not know them
_RECENT_SERVERS = """
SELECT DISTINCT name FROM (
    SELECT name, server.state FROM run CROSS JOIN server ON server.run = run.number
    WHERE run.base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
WHERE substr(name, 1, length(:beginning)) = :beginning AND state <> 'refused' LIMIT :most
"""
_LISTED_SERVERS = """
SELECT name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = :base_url AND datacenter IS NULL AND name BETWEEN :beginning AND :end LIMIT :most
"""
_RECENT_OPERATIONS = """
SELECT DISTINCT operation FROM (
    SELECT operation FROM run CROSS JOIN server ON server.run = run.number
    WHERE base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
WHERE substr(operation, 1, length(:beginning)) = :beginning COLLATE NOCASE LIMIT :most
"""
_RECENT_RUNS = """
SELECT id FROM (SELECT id FROM run WHERE base_url = :base_url ORDER BY number DESC LIMIT 2000)
WHERE substr(id, 1, length(:beginning)) = :beginning LIMIT :most
"""
_LISTED_GROUPS = """
SELECT account, datacenter, name FROM listing CROSS JOIN listed ON listing = number
WHERE base_url = :base_url AND datacenter IS NOT NULL
"""


def servers(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return servers of the latest resets, then those that were last listed."""
    args = environ, base_url, beginning.upper(), most
    found = [*_find(_RECENT_SERVERS, *args), *_find(_LISTED_SERVERS, *args)]
    return list(dict.fromkeys(name for (name,) in found))[:most]


def operations(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return operations of the latest resets."""
    return [name for (name,) in _find(_RECENT_OPERATIONS, environ, base_url, beginning, most)]


def runs(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return the latest runs."""
    return [name for (name,) in _find(_RECENT_RUNS, environ, base_url, beginning, most)]


def groups(environ: Mapping[str, str], base_url: str, beginning: str, most: int) -> list[str]:
    """Return groups that were last listed.

    Where data centres of an account have the same name they are `WA1 Web`, `VA1 Web`.
    """
    same: dict[tuple[str, str], dict[str, str]] = {}
    for account, datacenter, name in _find(_LISTED_GROUPS, environ, base_url, beginning, most):
        same.setdefault((account, name.casefold()), {})[datacenter.upper()] = name
    names = [
        f"{datacenter} {name}" if len(by_datacenter) > 1 else name
        for by_datacenter in same.values()
        for datacenter, name in by_datacenter.items()
    ]
    begun = beginning.casefold()
    return [name for name in dict.fromkeys(names) if name.casefold().startswith(begun)][:most]


def _find(
    query: str, environ: Mapping[str, str], base_url: str, beginning: str, most: int
) -> list[tuple[str, ...]]:
    database = Database.of(environ, None)
    end = beginning + LAST_CHARACTER
    values = {"base_url": base_url, "beginning": beginning, "end": end, "most": most}
    with suppress(JournalError):
        if database is not None:
            with database.read() as db:
                return db.execute(query, values).fetchall()
    return []
