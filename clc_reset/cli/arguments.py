"""What the command line and standard input name, checked: servers, operations, runs, groups."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from clc_reset.errors import UsageError
from clc_reset.identifiers import (
    is_operation_id,
    is_server_id,
    looks_like_operation_id,
    looks_like_run,
)

if TYPE_CHECKING:
    from clc_reset.threads import Stop

LARGEST_LIST = 16 * 2**20
"""In bytes."""
SOME = 5
"""Malformed ids that the message names."""

Read = Callable[[], str]


def server_ids(
    arguments: Sequence[str], read: Read, groups: Sequence[str] = (), command: str = "clc reset"
) -> tuple[list[str], int]:
    """The ids in upper case, in the order given, each once; and how many duplicates were left out.

    `-` stands for the ids in standard input, which is read only then. Raises UsageError for an
    empty, blank or malformed id, and where there is none, unless groups are named beside them.
    """
    given = list(_expanded(arguments, read))
    _check(given, command, "server", "WA1ALIASWB01", _may_be_server)
    if not given and not groups:
        raise UsageError(
            "No server is named.",
            hint=f"Nothing was sent. Name one or more, as in: {command} WA1ALIASWB01\n"
            "or give - to read them from standard input.",
        )
    servers = list(dict.fromkeys(each.upper() for each in given))
    return servers, len(given) - len(servers)


def tell_duplicates(number: int, note: Callable[[str], None]) -> None:
    """Say how many ids were left out, if any."""
    if number:
        from clc_reset.text import count

        note(f"{count(number, 'duplicate')} ignored")


def names(arguments: Sequence[str], read: Read) -> list[str]:
    """The names of servers, operations or runs, as they are typed, each once.

    Raises UsageError for what can't be one, and where there is none.
    """
    given = list(_expanded(arguments, read))
    _check(
        given,
        "clc status",
        "server, operation or run",
        "WA1ALIASWB01, wa1-12345 or 20260115-021305-3f9a12bc",
        is_operation_id,
    )
    if not given:
        raise UsageError(
            "Standard input names nothing.",
            hint="Name servers, operations or a run, as in: clc status wa1-12345",
        )
    return list(dict.fromkeys(given))


def check_groups(groups: Sequence[str]) -> None:
    """Raise UsageError if a group's name is empty or blank."""
    if any(not each.strip() for each in groups):
        raise UsageError(
            "A group's name is empty: is a shell variable unset?",
            hint="Nothing was sent. Leave -g out, or give it a group's name or id.",
        )


def check_run(name: str) -> None:
    """Raise UsageError if a run's id, or its beginning, is empty or blank."""
    if not name.strip():
        raise UsageError(
            "The id of a run is empty: is a shell variable unset?",
            hint="Nothing was sent. The runs are listed by: clc history",
        )


def _check(
    given: Sequence[str], command: str, noun: str, example: str, is_id: Callable[[str], bool]
) -> None:
    if any(not each.strip() for each in given):
        raise UsageError(
            f"The id of a {noun} is empty: is a shell variable unset?",
            hint="Nothing was sent. Leave the argument out, or give it an id.",
        )
    malformed = [each for each in given if not is_id(each)]
    if malformed:
        from clc_reset.text import quote

        shown = ", ".join(quote(each) for each in malformed[:SOME])
        more = f" and {len(malformed) - SOME:,} more" if len(malformed) > SOME else ""
        raise UsageError(
            f"These can't be {noun} ids: {shown}{more}.",
            hint=f"Nothing was sent. {_reason(malformed[0], command)}\nAn id looks like {example}.",
        )


def _may_be_server(text: str) -> bool:
    """Whether it can be a server's id, and isn't one of those that `clc` prints beside them."""
    is_another = "-" in text and (looks_like_operation_id(text) or looks_like_run(text))
    return is_server_id(text) and not is_another


def _reason(malformed: str, command: str) -> str:
    """What is wrong with what isn't an id, as far as it shows."""
    if looks_like_run(malformed) or looks_like_operation_id(malformed):
        return f"To see what became of it: clc status {malformed}"
    if "," in malformed:
        return "Ids are separated by blanks, not by commas: one argument each."
    if "/" in malformed:
        return f"To read ids from a file: {command} - < FILE"
    if "." in malformed:
        return "It is the id that counts, not the host name: clc servers lists the ids."
    return "It has letters, digits, - and _; one argument each."


def _expanded(arguments: Iterable[str], read: Read) -> Iterator[str]:
    unread = True
    for argument in arguments:
        if argument != "-":
            yield argument
        elif unread:
            unread = False
            for line in re.split(r"[\r\n]", read()):  # a comment ends nowhere else
                # our own output has tabs, with the server before the first one
                yield from line.partition("\t")[0].partition("#")[0].split()


def standard_input(stop: "Stop", what: str = "names", limit: int = LARGEST_LIST) -> str:
    """All of standard input, `limit` bytes at the most.

    On a terminal it says `what` it reads, and how to end. Raises UsageError, and Interrupted.
    """
    stdin = sys.stdin
    if stdin is None:
        raise UsageError("Standard input is closed.", hint="Nothing was sent.")
    try:
        if stdin.isatty() and sys.stderr is not None:
            sys.stderr.write(f"Reading {what} from this terminal; end with Ctrl-D on a new line.\n")
            sys.stderr.flush()
        with stop.blocking():
            return _text(stdin.buffer, limit)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Standard input can't be read: {_why(error)}.", hint="Nothing was sent."
        ) from error


def password(stop: "Stop") -> str:
    """The password in standard input, less the end of its line."""
    from clc_reset.auth.sources import LARGEST_SECRET, without_line_end

    given = without_line_end(standard_input(stop, "the password", LARGEST_SECRET))
    if not given:
        raise UsageError("Standard input holds no password.", hint="Nothing was sent.")
    return given


def _text(file: BinaryIO, limit: int) -> str:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it is larger than {limit >> 10} KiB")
    return data.decode("utf-8-sig")


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
