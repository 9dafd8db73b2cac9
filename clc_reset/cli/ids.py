"""Which servers, groups, operations: what the command line and standard input name, checked."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from clc_reset.errors import UsageError
from clc_reset.models import is_operation_id, is_server_id
from clc_reset.wording import quote

_SOME = 5
"""Malformed ids that the message names."""


def server_ids(
    arguments: Sequence[str], read_standard_input: Callable[[], str], groups: Sequence[str] = ()
) -> tuple[list[str], int]:
    """The ids in upper case, in the order given, each once; and how many duplicates were left out.

    `-` stands for the ids in standard input, which is read only then. Raises UsageError for an
    empty, blank or malformed id, and where there is none, unless groups are named beside them.
    """
    given = list(_expanded(arguments, read_standard_input))
    _check(given, "server", "WA1ALIASWB01", is_server_id)
    if not given and not groups:
        raise _none_named("server", "WA1ALIASWB01", "clc reset")
    servers = list(dict.fromkeys(each.upper() for each in given))
    return servers, len(given) - len(servers)


def operation_ids(arguments: Sequence[str], read_standard_input: Callable[[], str]) -> list[str]:
    """The status ids in the order given, each once. Raises what `server_ids` raises."""
    given = list(_expanded(arguments, read_standard_input))
    _check(given, "operation", "wa1-12345", is_operation_id)
    if not given:
        raise _none_named("operation", "wa1-12345", "clc status")
    return list(dict.fromkeys(given))


def check_groups(names: Sequence[str]) -> None:
    """Raise UsageError where a group's name is empty or blank."""
    if any(not each.strip() for each in names):
        raise UsageError(
            "A group's name is empty: is a shell variable unset?",
            hint="Nothing was sent. Leave -g out, or give it a group's name or id.",
        )


def _check(given: Sequence[str], noun: str, example: str, is_id: Callable[[str], bool]) -> None:
    if any(not each.strip() for each in given):
        article = "An" if noun[0] in "aeiou" else "A"
        raise UsageError(
            f"{article} {noun} id is empty: is a shell variable unset?",
            hint="Nothing was sent. Leave the argument out, or give it an id.",
        )
    malformed = [each for each in given if not is_id(each)]
    if malformed:
        shown = ", ".join(quote(each) for each in malformed[:_SOME])
        more = f" and {len(malformed) - _SOME:,} more" if len(malformed) > _SOME else ""
        raise UsageError(
            f"These can't be {noun} ids: {shown}{more}.",
            hint=f"Nothing was sent. An id looks like {example}: letters, digits, - and _; "
            "one argument each.",
        )


def _none_named(noun: str, example: str, command: str) -> UsageError:
    return UsageError(
        f"No {noun} is named.",
        hint=f"Nothing was sent. Name one or more, as in: {command} {example}\n"
        "or give - to read them from standard input.",
    )


def _expanded(arguments: Iterable[str], read_standard_input: Callable[[], str]) -> Iterator[str]:
    unread = True
    for argument in arguments:
        if argument != "-":
            yield argument
        elif unread:
            unread = False
            for line in re.split(r"[\r\n]", read_standard_input()):  # a comment ends nowhere else
                yield from line.partition("#")[0].split()
