"""What a Tab press offers: what was used before, the latest first. No network, no credentials."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from clc_reset.cli.app import App

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click

    from clc_reset.journal import Run

RUNS_READ = 100
"""Runs of the journal that a Tab press reads, at the most."""
MOST_OFFERED = 500


def servers(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Server ids of the latest resets, then those that `clc servers` listed."""
    used = chain.from_iterable(run.servers for run in _runs())
    return _offer(chain(used, App().listing.servers), incomplete)


def groups(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The groups that `clc servers` listed."""
    return _offer(App().listing.groups, incomplete)


def operations(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Operation ids of the latest resets."""
    found = (each.operation.id for run in _runs() for each in run.results or () if each.operation)
    return _offer(found, incomplete)


def runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The ids of the latest runs."""
    return _offer((run.id for run in _runs()), incomplete)


def _runs() -> Iterator[Run]:
    """The latest runs at the API in use."""
    app = App()
    latest = islice(app.journal.runs(statuses=False), RUNS_READ)
    return (run for run in latest if run.base_url == app.origin)


def _offer(found: Iterable[str], incomplete: str) -> list[str]:
    begun = incomplete.casefold()
    fitting = (each for each in dict.fromkeys(found) if each.casefold().startswith(begun))
    return list(islice(fitting, MOST_OFFERED))
