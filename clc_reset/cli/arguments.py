"""Arguments and standard input, checked: the names of servers, operations, runs and groups."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from clc_reset.errors import UsageError
from clc_reset.identifiers import (
    is_operation_id,
    is_server_id,
    looks_like_operation_id,
    looks_like_run,
    looks_like_server_id,
)

if TYPE_CHECKING:
    from clc_reset.workers import Inbox

LARGEST_LIST = 16 * 2**20
"""In bytes."""
MOST_NAMED = 5
"""Malformed ids that a message names."""

Read = Callable[[], str]

_LISTS = (".txt", ".csv", ".tsv", ".list", ".lst")


def server_ids(
    arguments: Sequence[str], read: Read, command: str = "clc reset", *, may_be_none: bool = False
) -> list[str]:
    """Return the ids in upper case, in the order given.

    `-` stands for the ids on standard input, which `read` reads only then. Raises UsageError for
    an empty or malformed id and, unless there `may_be_none`, where there is none.
    """
    given = _given(arguments, read, command, "server id", _can_be_server)
    if not given and not may_be_none:
        if "-" in arguments:
            raise UsageError(
                "Standard input holds no server ids.",
                hint="It should hold ids such as WA1ALIASWB01, separated by white space.",
            )
        raise UsageError(
            "No servers given.",
            hint=f"Name one or more, as in: {command} WA1ALIASWB01\n"
            f"To read ids from standard input: {command} -",
        )
    return [server.upper() for server in given]


def names(arguments: Sequence[str], read: Read) -> list[str]:
    """Return the names of servers, operations and runs as they are given, each once.

    `-` stands for the names on standard input. Raises UsageError for what can't be a name, and
    where standard input has none.
    """
    noun = "server, operation or run"
    given = _given(
        arguments, read, "clc status", noun, lambda name: is_operation_id(name) and not _range(name)
    )
    if arguments and not given:
        raise UsageError(
            "Standard input holds no names.",
            hint="It should hold names such as WA1ALIASWB01, wa1-12345 or "
            "20260115-021305-3f9a12bc.",
        )
    return list(dict.fromkeys(given))


def _given(
    arguments: Sequence[str], read: Read, command: str, noun: str, is_valid: Callable[[str], bool]
) -> list[str]:
    """Return the arguments, with the names on standard input in the place of the first `-`."""
    given: list[str] = []
    for place, argument in enumerate(arguments):
        if argument != "-":
            given.append(argument)
        elif arguments.index("-") == place:
            for line in re.split(r"[\r\n]", read()):  # a comment ends nowhere else
                # our own output has tabs, with the server before the first one
                given += line.partition("\t")[0].partition("#")[0].split()
    malformed = [name for name in given if not is_valid(name)]
    if malformed:
        from clc_reset.text import enumerate_names, quote

        if not all(map(str.strip, malformed)):
            raise UsageError(
                "An argument is empty: is a shell variable unset?",
                hint=f"Leave it out, or give it a {noun}.",
            )
        shown = enumerate_names(list(map(quote, malformed)), MOST_NAMED)
        raise UsageError(f"Not a {noun}: {shown}.", hint=_hint(malformed[0], command))
    return given


def _can_be_server(text: str) -> bool:
    """Return whether it can be a server id, and isn't another id that `clc` prints or a range."""
    if text.isascii() and text.isalnum():  # most are, and there may be thousands
        return True
    if "-" in text and (looks_like_operation_id(text) or looks_like_run(text) or _range(text)):
        return False
    return is_server_id(text)


def _hint(malformed: str, command: str) -> str:
    """Return what to do instead of giving a name that isn't one."""
    if looks_like_run(malformed) or looks_like_operation_id(malformed):
        return f"To see its state: clc status {malformed}"
    if "," in malformed:
        return "Separate ids with spaces, not commas."
    if ids := _range(malformed):
        return f"To give a range, let the shell expand it: {command} {ids}"
    path = malformed.removeprefix("@")
    if path != malformed or "/" in path or path.endswith(_LISTS) or os.path.isfile(path):  # noqa: PTH113 - pathlib is slow to load
        from shlex import quote

        return f"To read ids from a file: {command} - < {quote(path or 'FILE')}"
    if "." in malformed:
        return "Give the server's id, not its host name. To list the ids: clc servers"
    return "An id has letters, digits, - and _, as in WA1ALIASWB01; give each as one argument."


def _range(text: str) -> str | None:
    """Return a range as a shell expands it: `WB0{1..3}` for `WB[01-03]` and `WB01-WB03`.

    None if it isn't a range.
    """
    first, _, last = text.partition("-")
    match = re.fullmatch(r"(.*?)[\[{]([0-9]+)(?:-|\.\.)([0-9]+)[\]}]", text)
    if match is None:
        if not (looks_like_server_id(first) and looks_like_server_id(last)):
            return None
        match = re.fullmatch(r"(.*?)([0-9]+)-\1([0-9]+)", text, re.IGNORECASE)
        if match is None:
            return f"{first} {last}"
    stem, begin, end = match.groups()
    if begin[:-1] == end[:-1]:  # bash 3.2, which is macOS's, drops leading zeros within braces
        stem, begin, end = stem + begin[:-1], begin[-1], end[-1]
    return f"{stem}{{{begin}..{end}}}"


def standard_input(inbox: "Inbox", limit: int = LARGEST_LIST) -> str:
    """Return all of standard input, at most `limit` bytes.

    On a terminal it says that it reads, and how to end. Raises UsageError and Interrupted.
    """
    from clc_reset.auth.sources import read_text, why_unreadable
    from clc_reset.ui.outlet import wait_on, write_whole

    stdin = sys.stdin
    if stdin is None:
        raise UsageError("Standard input is closed.")
    try:
        with inbox.interruptible():
            if is_typed() and sys.stderr is not None:
                how = "Reading names from the terminal; end with Ctrl-D on a new line.\n"
                write_whole(sys.stderr, how)
            wait_on(stdin)
            return read_text(stdin.buffer, limit)
    except (OSError, ValueError) as error:
        raise UsageError(f"Standard input can't be read: {why_unreadable(error)}.") from error


def is_typed() -> bool:
    """Return whether standard input is a terminal."""
    with suppress(ValueError):  # it is closed
        return sys.stdin is not None and sys.stdin.isatty()
    return False


def password(inbox: "Inbox") -> str:
    """Return the password on standard input, without its line end.

    It isn't for a terminal, which would show it. Raises UsageError and Interrupted.
    """
    from clc_reset.auth.sources import LARGEST_SECRET, without_line_end

    secret = without_line_end(standard_input(inbox, LARGEST_SECRET))
    if not secret:
        raise UsageError("Standard input holds no password.")
    return secret
