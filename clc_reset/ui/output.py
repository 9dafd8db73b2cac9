"""Results on standard output; notes, warnings and errors on standard error.

Tables are drawn by `table`, which loads rich and is handed in; this module does without.
"""

from __future__ import annotations

import io
import os
import re
import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TextIO

from clc_reset.errors import INTERRUPTED, TIME_LIMIT, DeclinedError
from clc_reset.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from clc_reset.models import Observation, ServerResult

LARGEST_TABLE = 200
"""Rows; beyond it columns are plain, since rich takes 0.2 ms a row and nobody reads the borders."""

USUAL_SIZE = (80, 24)
"""Columns and lines of a terminal that doesn't tell its own."""

_NO_ERRORS = {INTERRUPTED, TIME_LIMIT, DeclinedError.kind}
_GROUP_ID = r"[0-9a-f]{32}"
_COMMAND = r"(?:^|(?<=: ))(?:[A-Z_]+=\S+ )*clc "
# what no line end may come into: a quoted command; a date, a time, a number with its unit; a word
_UNIT = (
    r"(?:`[^`]*`"
    r"|\d[\d:.,-]*(?: \d\d:\d\d(?::\d\d)?)?(?: (?:UTC|s|min|h|d)\b)?"
    r"|\S)+"
)

Row = tuple[str, ...]
Draw = Callable[[Row, Sequence[Row], str, TextIO], str]


class Delivery(Enum):
    """What became of a result that was to be printed."""

    PRINTED = "printed"
    """It is on standard output, all of it."""
    ELSEWHERE = "elsewhere"
    """Standard output is closed, full or broken; the result went to standard error."""
    CLOSED_PIPE = "closed pipe"
    """Nobody reads standard output any more."""


class Columns(NamedTuple):
    """The columns of a result.

    `names` are TSV's, in its order. `titles` are a table's by those names, in the order in which
    they are drawn; what has none is not drawn. `wide` names the one whose text may be broken.
    """

    names: Row
    titles: Mapping[str, str]
    wide: str

    def drawn(self, rows: Iterable[Row]) -> list[Row]:
        """The cells of a table, of rows that have all of TSV's."""
        places = [self.names.index(name) for name in self.titles]
        return [tuple(row[place] for place in places) for row in rows]


FATES = Columns(
    ("server", "state", "operation", "message"),
    {"server": "Server", "state": "State", "operation": "Operation", "message": "Message"},
    wide="message",
)
SERVERS = Columns(
    (
        *("server", "group", "datacenter", "status", "power", "maintenance"),
        *("changed_at", "changed_by", "message"),
    ),
    {  # the data centre stands before the group: `WA1 Web`, as -g takes it
        "server": "Server",
        "group": "Group",
        "status": "Status",
        "power": "Power",
        "maintenance": "Maint.",
        "changed_at": "Changed (UTC)",
        "changed_by": "By",
    },
    wide="group",
)
SERVERS_WITH_MESSAGES = Columns(
    SERVERS.names, {**SERVERS.titles, "message": "Message"}, wide="message"
)
"""The same where there is something to say of one."""
RUNS = Columns(
    ("run", "time", "account", "servers", "base_url", "age", "first_servers"),
    {  # the run's id has the time
        "run": "Run",
        "age": "Age",
        "account": "Account",
        "servers": "Servers",
        "first_servers": "First servers",
        "base_url": "API",
    },
    wide="first_servers",
)
RUNS_HERE = Columns(
    RUNS.names,
    {name: title for name, title in RUNS.titles.items() if name != "base_url"},
    wide="first_servers",
)
"""The same where all runs are at the API in use."""


class Output:
    """Standard output and standard error, and the form of results: table, tsv or json.

    `draw` lays out a screenful of rows for a stream: titles, rows, the title of the wide column. A
    standard stream that is closed is None. Nothing here raises.
    """

    def __init__(self, stdout: TextIO | None, stderr: TextIO | None, form: str, draw: Draw) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._form = form
        self._draw = draw
        self._on_terminal = is_terminal(stderr)
        self._say: Callable[[str], None] | None = None
        self._has_result = False

    def results(
        self,
        account: str | None,
        results: Sequence[ServerResult],
        extra: Mapping[str, object] | None = None,
        observations: Mapping[str, Observation] | None = None,
        *,
        verbose: bool = False,
    ) -> Delivery:
        """Print the fate of each server; in JSON what it showed, too, and what is `extra`.

        A status is in plain words, in JSON and with `verbose` in the API's.
        """
        seen = observations or {}

        def document() -> Mapping[str, object]:
            rows = (_fate(each, plain=False) for each in results)
            servers = [{**_fields(FATES.names, row), **_changes(seen.get(row[0]))} for row in rows]
            return {"account": account, "servers": servers, **(extra or {})}

        return self.table(FATES, (_fate(each, plain=not verbose) for each in results), document)

    def servers(
        self,
        account: str | None,
        observations: Sequence[Observation],
        extra: Mapping[str, object] | None = None,
    ) -> Delivery:
        """Print what each server showed."""

        def document() -> Mapping[str, object]:
            servers = [
                {
                    "server": each.server,
                    "group": each.group,
                    "datacenter": each.datacenter,
                    "status": each.status,
                    "power": each.power,
                    "maintenance": each.in_maintenance,
                    **_changes(each),
                    "message": each.problem,
                }
                for each in observations
            ]
            return {"account": account, "servers": servers, **(extra or {})}

        columns = SERVERS_WITH_MESSAGES if any(each.problem for each in observations) else SERVERS
        shown = _read if self._form == "table" else _exact
        return self.table(columns, map(shown, observations), document)

    def table(
        self, columns: Columns, rows: Iterable[Row], document: Callable[[], Mapping[str, object]]
    ) -> Delivery:
        """Print rows, or in JSON the document that holds the same."""
        rows = [tuple(map(printable, row)) for row in rows]
        titles = tuple(columns.titles.values())

        def plain() -> str:
            return _columns([titles, *columns.drawn(rows)])

        if self._stdout is None:
            text = ""
        elif self._form == "json":
            text = _json(document())
        elif self._form == "tsv":
            text = _tsv(rows)
        elif len(rows) > LARGEST_TABLE:
            text = plain()
        else:
            try:
                wide = columns.titles[columns.wide]
                text = self._draw(titles, columns.drawn(rows), wide, self._stdout)
            except Exception:  # noqa: BLE001 - what only shows can't change what is told
                text = plain()
        return self._print(text, plain)

    def record(self, fields: Mapping[str, str | Sequence[str] | None]) -> Delivery:
        """Print one thing's fields, a line each."""
        rows = [
            (name, printable(value if isinstance(value, str) else ", ".join(value or ())))
            for name, value in fields.items()
        ]
        forms = {"json": lambda: _json(fields), "tsv": lambda: _tsv(rows)}
        return self._print(forms.get(self._form, lambda: _columns(rows))(), lambda: _columns(rows))

    def line(self, text: str) -> Delivery:
        """Print one line, or more, that is the result itself."""
        return self._print(f"{text}\n", lambda: f"{text}\n")

    def note(self, text: str) -> None:
        """Say something on standard error; what can't be said there is lost, and no more.

        On a terminal long lines are broken between words.
        """
        lines = [printable(line) for line in text.splitlines()]
        if self._on_terminal:
            width = size_of(self._stderr).columns
            lines = [part for line in lines for part in break_line(line, width)]
        self._tell("\n".join(lines))

    def speak_through(self, say: Callable[[str], None]) -> None:
        """Let a live display say what is to be said from now on, above itself."""
        self._say = say

    def document(self, value: Mapping[str, object]) -> Delivery:
        """Print an object in JSON that is the result itself."""
        return self._print(_json(value), None)

    def error(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        """Say what went wrong, and what to do next.

        With `-o json` standard output gets it as an object too, unless a result went there.
        """
        first = message if kind in _NO_ERRORS else f"Error: {message}"
        self.note(f"{first}\n{hint}" if hint else first)
        if self._form == "json" and not self._has_result:
            self._print(_json({"error": problem(kind, message, exit_code)}), None)

    def _print(self, text: str, otherwise: Callable[[], str] | None) -> Delivery:
        delivery = Delivery.ELSEWHERE
        if self._stdout is not None:
            self._has_result = True
            try:
                write_whole(self._stdout, text)
            except BrokenPipeError:
                delivery = Delivery.CLOSED_PIPE
            except (OSError, ValueError):  # full, broken, or closed
                pass
            else:
                return Delivery.PRINTED
            let_go_of(self._stdout)
            self._stdout = None
        if delivery is Delivery.ELSEWHERE and otherwise is not None:
            self._tell(otherwise().removesuffix("\n"))
        return delivery

    def _tell(self, text: str) -> None:
        if self._say is not None:
            try:
                self._say(text)
            except Exception:  # noqa: BLE001 - a display that fails does no more
                self._say = None
            else:
                return
        if self._stderr is not None:
            try:
                write_whole(self._stderr, f"{text}\n")
            except (OSError, ValueError):
                let_go_of(self._stderr)
                self._stderr = None


def problem(kind: str, message: str, exit_code: int) -> dict[str, object]:
    """An error as `-o json` shows it."""
    return {"kind": kind, "message": message, "exit_code": exit_code}


def write_whole(stream: TextIO, text: str) -> None:
    """Write all of a text, and nothing is left in a buffer.

    What the encoding lacks is escaped. A pipe that is full and doesn't block is waited for, and a
    short write goes on where it ended. Raises OSError, and ValueError if the stream is closed.
    """
    stream.flush()
    data = text.encode(stream.encoding or "utf-8", "backslashreplace")
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with `python -u` there is no buffer
    if not isinstance(raw, io.RawIOBase):  # in memory
        stream.write(data.decode(stream.encoding or "utf-8"))
        stream.flush()
        return
    left = memoryview(data)
    while left:
        written = raw.write(left)
        if written is None:
            select.select([], [raw], [])
        else:
            left = left[written:]


def let_go_of(stream: TextIO) -> None:
    """Point a stream that can't be written at nothing, so that Python's own flush can't fail."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # a bare container: a pipe takes what a buffer may hold
            _, nothing = os.pipe()
        os.dup2(nothing, number)
        os.close(nothing)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; a closed one is None."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed since
        return False


def can_redraw(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal that can move its cursor, and ACCESSIBLE doesn't forbid it."""
    environ = os.environ
    can = environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
    return can and environ.get("ACCESSIBLE", "0") in {"", "0"} and is_terminal(stream)


def size_of(stream: TextIO | None, usual: tuple[int, int] = USUAL_SIZE) -> os.terminal_size:
    """The columns and lines of a terminal: COLUMNS and LINES, what it says itself, or `usual`."""
    own = (0, 0)
    with suppress(OSError, ValueError, AttributeError):
        own = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]
    asked = (_number(os.environ.get(name, "")) for name in ("COLUMNS", "LINES"))
    columns, lines = (a or b or c for a, b, c in zip(asked, own, usual, strict=True))
    return os.terminal_size((columns, lines))


def break_line(line: str, width: int) -> list[str]:
    """The line in parts of at most `width` columns.

    Ids, URLs, times and commands stay whole, a command at the end of a line with all its words; a
    line that is indented is left as it is.
    """
    if len(line) <= width or line[:1].isspace():
        return [line]
    command = re.search(_COMMAND, line)
    end = command.start() if command else len(line)
    units = [each[0] for each in re.finditer(_UNIT, line[:end])]
    if command:
        units.append(line[end:])
    parts = [units[0]]
    for unit in units[1:]:
        if len(parts[-1]) + 1 + len(unit) <= width:
            parts[-1] += f" {unit}"
        else:
            parts.append(unit)
    return parts


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("10000") else 0


def _fate(result: ServerResult, *, plain: bool) -> Row:
    operation = result.operation.id if result.operation else ""
    return result.server or "", result.state.value, operation, result.words(plain=plain)


def _exact(seen: Observation) -> Row:
    changed_at = _iso(seen.changed_at) or ""
    return _row(seen, seen.group or "", changed_at)


def _read(seen: Observation) -> Row:
    named = seen.group or ""
    if re.fullmatch(_GROUP_ID, named):  # a single server tells no more of its group
        named = f"{named[:8]}.."
    group = " ".join(filter(None, (seen.datacenter, named)))
    changed_at = f"{seen.changed_at.astimezone(UTC):%Y-%m-%d %H:%M}" if seen.changed_at else ""
    return _row(seen, group, changed_at)


def _row(seen: Observation, group: str, changed_at: str) -> Row:
    return (
        seen.server,
        group,
        seen.datacenter or "",
        seen.status or "",
        seen.power or "",
        {True: "yes", False: "no", None: ""}[seen.in_maintenance],
        changed_at,
        seen.changed_by or "",
        seen.problem or "",
    )


def _fields(names: Row, row: Row) -> dict[str, object]:
    return {name: cell or None for name, cell in zip(names, row, strict=True)}


def _changes(seen: Observation | None) -> dict[str, object]:
    return {
        "changed_at": _iso(seen.changed_at) if seen else None,
        "changed_by": seen.changed_by if seen else None,
        "seen_at": _iso(seen.seen_at) if seen else None,
    }


def _iso(instant: datetime | None) -> str | None:
    return instant.astimezone(UTC).isoformat() if instant else None


def _json(value: Mapping[str, object]) -> str:
    import json  # for who asks for it

    # ASCII, so that it parses whatever the locale; control characters go from the text first
    return json.dumps(_clean(value)) + "\n"


def _clean(value: object) -> object:
    match value:
        case str():
            return printable(value)
        case Mapping():
            return {key: _clean(each) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value]
        case _:
            return value


def _tsv(rows: Sequence[Row]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _columns(rows: Sequence[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)
