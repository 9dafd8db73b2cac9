"""What a Tab press offers: what was used before, the latest first. No network, no credentials."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING

from clc_reset.cli.app import App

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click

    from clc_reset.recent import Recent

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
    return _offer(chain.from_iterable(run.operations for run in _runs()), incomplete)


def runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The ids of the latest runs."""
    return _offer((each.run for each in _runs()), incomplete)


def _runs() -> Iterator[Recent]:
    with suppress(OSError):  # there is no journal yet
        yield from App().recent


def _offer(found: Iterable[str], incomplete: str) -> list[str]:
    begun = incomplete.casefold()
    fitting = (each for each in dict.fromkeys(found) if each.casefold().startswith(begun))
    return list(islice(fitting, MOST_OFFERED))
