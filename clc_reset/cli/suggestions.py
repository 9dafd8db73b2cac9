"""Suggestions for a Tab press: what was used before, the latest first.

They come from the journal: no network, no credentials.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import click

from clc_reset.identifiers import DEFAULT_BASE_URL, api_origin

MOST_OFFERED = 500

_Query = Callable[[Mapping[str, str], str, str, int], list[str]]
"""A query of `journal.completion`: environment, origin, beginning, most."""


def servers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of servers that were reset or listed."""
    from clc_reset.journal import completion

    return _offer(ctx, param, incomplete, completion.servers)


def groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the groups that `clc servers` listed."""
    from clc_reset.journal import completion

    return _offer(ctx, param, incomplete, completion.groups)


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of operations, then of servers, then of runs."""
    from clc_reset.journal import completion

    return _offer(
        ctx, param, incomplete, completion.operations, completion.servers, completion.runs
    )


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of runs."""
    from clc_reset.journal import completion

    return _offer(ctx, param, incomplete, completion.runs)


def _offer(
    ctx: click.Context, param: click.Parameter, incomplete: str, *queries: _Query
) -> list[str]:
    """Return what the queries find, without what is on the command line already."""
    try:
        origin = api_origin(os.environ.get("CLC_BASE_URL") or DEFAULT_BASE_URL)
    except ValueError:
        return []
    value = ctx.params.get(param.name or "")
    given: Iterable[str] = value if isinstance(value, tuple) else ()
    used = {name.casefold() for name in given}
    found = dict.fromkeys(
        name for query in queries for name in query(os.environ, origin, incomplete, MOST_OFFERED)
    )
    return list(islice((name for name in found if name.casefold() not in used), MOST_OFFERED))
