"""The names that a Tab press offers, from the journal. It never writes, never raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clc_reset.errors import JournalError
from clc_reset.journal.database import LAST_CHARACTER, Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_QUERIES = {
    # servers that were only refused are left out: the API may not know them
    "servers": """
        SELECT DISTINCT name FROM (
            SELECT name, server.state FROM run CROSS JOIN server ON server.run = run.number
            WHERE run.base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
        WHERE state <> 'refused' AND name BETWEEN upper(:begun) AND upper(:begun) || :last
        UNION ALL SELECT * FROM (
            SELECT name FROM listing CROSS JOIN listed ON listing = number
            WHERE base_url = :base_url AND datacenter IS NULL
                AND name BETWEEN upper(:begun) AND upper(:begun) || :last LIMIT 5000)
    """,
    "operations": """
        SELECT DISTINCT operation FROM (
            SELECT operation FROM run CROSS JOIN server ON server.run = run.number
            WHERE base_url = :base_url ORDER BY run.number DESC, place LIMIT 5000)
    """,
    "runs": "SELECT id FROM run WHERE base_url = :base_url ORDER BY number DESC LIMIT 2000",
    "groups": """
        SELECT account, datacenter, name FROM listing CROSS JOIN listed ON listing = number
        WHERE base_url = :base_url AND datacenter IS NOT NULL
    """,
}


def names(kind: str, environ: Mapping[str, str], base_url: str, beginning: str) -> Iterable[str]:
    """Return `servers`, `operations`, `runs` or `groups` that begin so, each once.

    Those of the latest resets come first, then those that were last listed.
    """
    values = {"base_url": base_url, "begun": beginning, "last": LAST_CHARACTER}
    database = Database.of(environ, None)
    if database is None:
        return []
    try:
        with database.read() as db:
            rows = db.execute(_QUERIES[kind], values).fetchall()
    except JournalError:
        return []
    found = _groups(rows) if kind == "groups" else (name for (name,) in rows)
    begun = beginning.casefold()
    return dict.fromkeys(name for name in found if name and name.casefold().startswith(begun))


def _groups(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield groups; where data centres of an account have the same name `WA1 Web`, `VA1 Web`."""
    same: dict[tuple[str, str], dict[str, str]] = {}
    for account, datacenter, name in rows:
        same.setdefault((account, name.casefold()), {})[datacenter.upper()] = name
    for by_datacenter in same.values():
        for datacenter, name in by_datacenter.items():
            yield f"{datacenter} {name}" if len(by_datacenter) > 1 else name
