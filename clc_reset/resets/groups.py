"""Find the servers that the names of groups stand for."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice, takewhile

from clc_reset.errors import UsageError
from clc_reset.models import Observation, ServerGroup
from clc_reset.text import count, enumerate_names, quote

SOME = 10
"""Groups of one name that a message names."""
LEAST_LIKENESS = 0.6


class Groups:
    """The groups of an account, in their order: each is followed by those inside it."""

    def __init__(self, account: str, groups: Iterable[ServerGroup]) -> None:
        self._account = account
        self._groups = tuple(groups)

    @property
    def names(self) -> list[tuple[str, str]]:
        """The data centre and the name of each group."""
        return list(dict.fromkeys((group.datacenter, group.name) for group in self._groups))

    def members(self, names: Sequence[str] = ()) -> list[Observation]:
        """Return the servers of the groups named and of those inside them, in order, each once.

        Without a name, those of all groups. A name is one that exactly one group has, in any case,
        one with its data centre in front (`WA1 Web`), or a group's id. Raises UsageError for a name
        that fits no group, or several.
        """
        parts = map(self._part, names) if names else [self._groups]
        found: dict[str, Observation] = {}
        for group in chain.from_iterable(parts):
            for shown in group.servers:
                found.setdefault(shown.server, shown)
        return list(found.values())

    def members_to_reset(self, names: Sequence[str]) -> list[Observation]:
        """Return `members`. Raises UsageError if one of the groups has no server, too."""
        for name in names:
            if not self.members([name]):
                raise UsageError(
                    f"Group {quote(name)} of account {self._account} holds no server to reset.",
                    hint="Archives and templates don't count.",
                )
        return self.members(names)

    def _part(self, name: str) -> Iterable[ServerGroup]:
        """Return the group of that name, and those inside it."""
        wanted = _comparable(name)
        fitting = [
            place
            for place, group in enumerate(self._groups)
            if wanted in {_comparable(group.name), _comparable(group.id)}
        ] or [
            place
            for place, group in enumerate(self._groups)
            if wanted == _comparable(f"{group.datacenter} {group.name}")
        ]
        if not fitting:
            raise UsageError(
                f"Account {self._account} has no group {quote(name)}.{self._nearest(wanted)}",
                hint="To see what there is: clc servers\nArchives and templates are left out.",
            )
        if len(fitting) > 1:
            described = enumerate_names([self._described(place) for place in fitting], SOME)
            raise UsageError(
                f"Account {self._account} has {len(fitting):,} groups {quote(name)}: {described}.",
                hint="Name the data centre, too, as in 'WA1 Web', or give an id.",
            )
        return self._within(fitting[0])

    def _nearest(self, wanted: str) -> str:
        from difflib import get_close_matches  # for a name that fits no group

        names = {_comparable(group.name): group.name for group in self._groups}
        near = get_close_matches(wanted, names, n=1, cutoff=LEAST_LIKENESS)
        return f" Did you mean {quote(names[near[0]])}?" if near else ""

    def _within(self, place: int) -> Iterable[ServerGroup]:
        """Return the group at that place, and those inside it."""
        groups = islice(self._groups, place, None)
        top = next(groups)
        return chain([top], takewhile(lambda group: group.depth > top.depth, groups))

    def _described(self, place: int) -> str:
        group = self._groups[place]
        servers = {shown.server for inner in self._within(place) for shown in inner.servers}
        return f"{group.id} ({group.datacenter}, {count(len(servers), 'server')})"


def _comparable(name: str) -> str:
    return name.strip().casefold()
