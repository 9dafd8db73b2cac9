"""The groups of an account, and which servers those come to that a user names. Pure.

Archives and templates are not among them, nor is anything inside: they hold nothing to reset.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from clc_reset.errors import UsageError
from clc_reset.wording import count, enumerate_names, quote

SOME = 10
"""Groups of one name that a message tells."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group, and the ids of the servers in itself, in upper case.

    `datacenter` is in upper case: `WA1`. `depth` is 0 for a data centre's root.
    """

    id: str
    name: str
    datacenter: str
    depth: int
    servers: tuple[str, ...]


class Member(NamedTuple):
    """A server, and the name and the data centre of the group that it is in."""

    server: str
    group: str
    datacenter: str


class Groups:
    """The groups of an account, in their order: each is followed by those inside it."""

    def __init__(self, account: str, groups: Iterable[Group]) -> None:
        self._account = account
        self._groups = tuple(groups)

    @property
    def names(self) -> list[str]:
        """Their names, each once."""
        return list(dict.fromkeys(each.name for each in self._groups))

    def members(self, names: Sequence[str] = ()) -> list[Member]:
        """The servers of the groups named, and of those inside them, in their order, each once.

        Without a name, those of all groups. A name is one that exactly one group has, in any case,
        or a group's id. Raises UsageError for a name that fits no group, or several.
        """
        parts = map(self._part, names) if names else [self._groups]
        found: dict[str, Member] = {}
        for group in chain.from_iterable(parts):
            for server in group.servers:
                found.setdefault(server, Member(server, group.name, group.datacenter))
        return list(found.values())

    def members_to_reset(self, names: Sequence[str]) -> list[Member]:
        """What `members` returns. Raises UsageError where one of the groups has no server, too."""
        for name in names:
            if not self.members([name]):
                raise UsageError(
                    f"Group {quote(name)} of account {self._account} holds no server to reset.",
                    hint="Nothing was sent. Archives and templates don't count.",
                )
        return self.members(names)

    def _part(self, name: str) -> Iterator[Group]:
        """The group of that name, and those inside it."""
        wanted = _comparable(name)
        places = [
            place
            for place, each in enumerate(self._groups)
            if wanted in {_comparable(each.name), _comparable(each.id)}
        ]
        if not places:
            raise UsageError(
                f"Account {self._account} has no group {quote(name)}.",
                hint="Nothing was sent. To see what there is: clc servers. Archives and templates "
                "are left out.",
            )
        if len(places) > 1:
            fitting = [self._described(place) for place in places]
            raise UsageError(
                f"Account {self._account} has {len(places):,} groups {quote(name)}: "
                f"{enumerate_names(fitting, SOME)}.",
                hint="Nothing was sent. Give the id of the one that is meant.",
            )
        return self._within(places[0])

    def _within(self, place: int) -> Iterator[Group]:
        """The group at that place, and those inside it."""
        top = self._groups[place]
        yield top
        for inside in range(place + 1, len(self._groups)):  # a slice would copy it for each name
            if self._groups[inside].depth <= top.depth:
                return
            yield self._groups[inside]

    def _described(self, place: int) -> str:
        group = self._groups[place]
        servers = {server for each in self._within(place) for server in each.servers}
        return f"{group.id} ({group.datacenter}, {count(len(servers), 'server')})"


def _comparable(name: str) -> str:
    return name.strip().casefold()
