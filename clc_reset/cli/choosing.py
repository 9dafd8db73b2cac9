"""Servers that nobody typed: found by their groups, and confirmed before they are reset."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from clc_reset.cli import reading
from clc_reset.errors import DeclinedError, Interrupted, signal_of
from clc_reset.wording import count

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from clc_reset.api import Api
    from clc_reset.cli.app import App

ROOM_BESIDE = 3
"""Lines of the screen that the list of servers leaves free."""

_BY_ID = "By their ids"


def find(
    app: App, api: Api, alias: str, ids: Sequence[str], groups: Sequence[str]
) -> Mapping[str, str]:
    """The ids and the servers of the groups, in this order, each once, with where each one is.

    Raises Interrupted, and whatever `App.groups` and `Groups.members_to_reset` raise.
    """
    with _sure_that_nothing_was_reset():
        members = app.groups(api, alias).members_to_reset(groups)
    places = {each.server: f"{each.datacenter} {each.group}" for each in members}
    return {**dict.fromkeys(ids, _BY_ID), **places}


def require_terminal() -> None:
    """Raise UsageError where nobody can be asked to confirm."""
    reading.require_terminal(
        "a confirmation",
        "Nothing was sent. Give --yes to reset a group without being asked; -n shows its servers.",
    )


def confirm(app: App, alias: str, found: Mapping[str, str]) -> None:
    """Show what was found and ask once. Raises DeclinedError, and Interrupted."""
    import shutil  # noqa: PLC0415 - it brings all kinds of archives with it

    lines = screenful(found, *shutil.get_terminal_size())
    app.output.note("\n".join([f"In account {alias}:", *lines]))
    these = f"these {count(len(found), 'server')}" if len(found) > 1 else "this server"
    with _sure_that_nothing_was_reset():
        if not reading.confirm(app, f"Reset {these}?"):
            raise DeclinedError("Nothing was sent.")


def screenful(found: Mapping[str, str], width: int, height: int) -> list[str]:
    """The servers below where they are, as many to a line and on the screen as there is room."""
    places: dict[str, list[str]] = {}
    for server, place in found.items():
        places.setdefault(place, []).append(server)
    at_a_time = max(1, (width - 2) // (max(map(len, found)) + 2))
    lines: list[tuple[str, int]] = []
    for place, servers in places.items():
        lines.append((f"  {place}"[:width], 0))
        for first in range(0, len(servers), at_a_time):
            some = servers[first : first + at_a_time]
            lines.append((f"    {'  '.join(some)}", len(some)))
    room = max(1, height - ROOM_BESIDE)
    if len(lines) <= room:
        return [line for line, _ in lines]
    more = sum(number for _, number in lines[room - 1 :])
    return [*(line for line, _ in lines[: room - 1]), f"  and {count(more, 'more server')}"]


@contextmanager
def _sure_that_nothing_was_reset() -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(signal_of(interrupt), "No server was reset.") from None
