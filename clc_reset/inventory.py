"""Reads the groups of an account: which there are, and which servers are in them.

Knows neither HTTP nor screen: what asks the API is a callable, run in daemon threads, which can't
keep this process alive. What can't be read in full is an error: no server is ever lost in silence.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from clc_reset.answers import decode, text
from clc_reset.errors import RefusedError
from clc_reset.groups import Group, Groups
from clc_reset.models import is_server_id
from clc_reset.wording import quote

AT_A_TIME = 16
"""Requests in flight at the most."""

_GROUP_ID = re.compile(r"[0-9a-f]{32}")
_NOTHING_TO_RESET = {"archive", "templates"}


def read_groups(ask: Callable[[str], bytes], account: str) -> Groups:
    """The groups of an account: by data centre, then in the API's order, servers by their ids.

    `ask` returns the body of the answer to a GET of a path; it is called by several threads at a
    time, since each data centre has a root group of its own, nested to the bottom.

    Raises what `ask` raises, and RefusedError for an answer that can't be read.
    """
    (body,) = _answers(ask, [f"/v2/datacenters/{account}?groupLinks=true"])
    roots = sorted(root_groups(body))
    bodies = _answers(ask, [f"/v2/groups/{account}/{root}" for _, root in roots])
    return Groups(
        account,
        (
            group
            for (datacenter, _), body in zip(roots, bodies, strict=True)
            for group in nested_groups(body, datacenter)
        ),
    )


def root_groups(body: bytes) -> Iterator[tuple[str, str]]:
    """Each data centre, in upper case, with the id of its root group.

    Recorded: an array of `{"id":"wa1","links":[{"rel":"group","id":"…32 hex…"}]}`.
    """
    for each in _checked(decode(body), "it is no list of data centres"):
        datacenter = text(each.get("id")).upper()
        unreadable = f"data centre {quote(datacenter)} has no root group"
        links = _objects(each, "links", unreadable)
        ids = [text(link.get("id")).lower() for link in links if link.get("rel") == "group"]
        if not (datacenter and ids and all(map(_GROUP_ID.fullmatch, ids))):
            raise _unreadable(unreadable)
        yield from ((datacenter, group_id) for group_id in ids)


def nested_groups(body: bytes, datacenter: str) -> Iterator[Group]:
    """A root group and those inside it, to the bottom, less archives and templates.

    Recorded: `{"id","name","type","groups":[the same],"links":[{"rel":"server","id":"WA1…"}]}`.
    """
    (root,) = _checked([decode(body)], f"that of {datacenter} is no group")
    left = [(root, 0)]
    while left:  # not by recursion: an answer may be nested deeper than Python can go
        group, depth = left.pop()
        group_id, name, kind = (text(group.get(key)) for key in ("id", "name", "type"))
        if not (group_id and name and kind):
            raise _unreadable(f"a group in {datacenter} lacks its id, name or type")
        if kind.lower() in _NOTHING_TO_RESET:
            continue
        yield Group(group_id, name, datacenter, depth, tuple(sorted(_servers(group, name))))
        inside = _objects(group, "groups", f"the groups in group {quote(name)} are no list")
        left += ((each, depth + 1) for each in reversed(inside))


def _servers(group: Mapping[str, Any], name: str) -> Iterator[str]:
    for link in _objects(group, "links", f"the links of group {quote(name)} are no list"):
        if link.get("rel") == "server":
            server = text(link.get("id"))
            if not is_server_id(server):
                raise _unreadable(f"{quote(server)} in group {quote(name)} is no server id")
            yield server.upper()


def _objects(holder: Mapping[str, Any], key: str, otherwise: str) -> list[dict[str, Any]]:
    """The objects that an object lists; a missing list, null and an empty one are alike."""
    found = holder.get(key)
    return [] if found is None else _checked(found, otherwise)


def _checked(found: object, otherwise: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _unreadable(otherwise)
    return found


def _unreadable(reason: str) -> RefusedError:
    return RefusedError(
        f"The API's answer about the groups can't be read: {reason}.", hint="No server was reset."
    )


def _answers(ask: Callable[[str], bytes], paths: Sequence[str]) -> list[bytes]:
    """The answers to the paths, asked for at once, in their order. The first error ends it."""
    asked: SimpleQueue[tuple[int, str]] = SimpleQueue()
    told: SimpleQueue[tuple[int, bytes | Exception]] = SimpleQueue()
    for number, path in enumerate(paths):
        asked.put((number, path))

    def work() -> None:
        with suppress(Empty):
            while True:
                number, path = asked.get_nowait()
                told.put((number, _answer(ask, path)))

    for _ in range(min(len(paths), AT_A_TIME)):
        Thread(target=work, name="inventory", daemon=True).start()
    bodies: dict[int, bytes] = {}
    while len(bodies) < len(paths):
        number, answer = told.get()
        if isinstance(answer, Exception):
            raise answer
        bodies[number] = answer
    return [bodies[number] for number in range(len(paths))]


def _answer(ask: Callable[[str], bytes], path: str) -> bytes | Exception:
    try:
        return ask(path)
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        return error
