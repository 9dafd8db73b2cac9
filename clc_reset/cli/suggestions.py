"""Suggestions for a Tab press: what was used before, the latest first.

They come from the journal: no network, no credentials.
"""

import os
from collections.abc import Callable
from itertools import islice

import click

from clc_reset.errors import UsageError
from clc_reset.identifiers import origin_in_use
from clc_reset.text import printable

MOST_OFFERED = 500


def _latest(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a function that offers the names of these kinds.

    What is on the command line already is left out, and what no shell could show.
    """

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from clc_reset.journal import completion

        try:
            origin = origin_in_use()
        except UsageError:
            return []
        value = ctx.params.get(param.name or "")
        used = {name.casefold() for name in (value if isinstance(value, tuple) else ())}
        found = dict.fromkeys(
            name
            for kind in kinds
            for name in completion.names(kind, os.environ, origin, incomplete)
            if name.casefold() not in used and printable(name) == name
        )
        return list(islice(found, MOST_OFFERED))

    return offer


servers = _latest("servers")
groups = _latest("groups")
runs = _latest("runs")
names = _latest("operations", "servers", "runs")
