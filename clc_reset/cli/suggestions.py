"""What a Tab press offers: what was used before, the latest first. No network, no credentials."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from clc_reset.cli import context

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

    from clc_reset.journal import Journal

MOST_OFFERED = 500


def servers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Server ids of the latest resets, then those that `clc servers` listed."""
    journal, origin = _journal(), context.origin()
    return _offer(
        chain(
            journal.recent_servers(origin, incomplete, MOST_OFFERED),
            journal.listed_servers(origin, incomplete, MOST_OFFERED),
        ),
        _on_the_line(ctx, param),
    )


def groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The groups that `clc servers` listed."""
    return _offer(
        _journal().listed_groups(context.origin(), incomplete, MOST_OFFERED),
        _on_the_line(ctx, param),
    )


def asked(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Operation ids of the latest resets, then their servers, then the runs."""
    journal, origin = _journal(), context.origin()
    return _offer(
        chain(
            journal.recent_operations(origin, incomplete, MOST_OFFERED),
            journal.recent_servers(origin, incomplete, MOST_OFFERED),
            journal.recent_runs(origin, incomplete, MOST_OFFERED),
        ),
        _on_the_line(ctx, param),
    )


def runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The ids of the latest runs."""
    return _journal().recent_runs(context.origin(), incomplete, MOST_OFFERED)


def _journal() -> Journal:
    return context.journal(lambda _warning: None)


def _on_the_line(ctx: click.Context, param: click.Parameter) -> set[str]:
    given = ctx.params.get(param.name or "") or ()
    return {f"{each}".casefold() for each in given}


def _offer(found: Iterable[str], given: set[str]) -> list[str]:
    fitting = (each for each in dict.fromkeys(found) if each.casefold() not in given)
    return [each for each, _ in zip(fitting, range(MOST_OFFERED), strict=False)]
