"""Results in the three formats: a table to be read, TSV and JSON for programs."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from clc_reset.errors import INTERRUPTED, TIME_LIMIT, DeclinedError
from clc_reset.models import Evidence, Observation, ServerResult
from clc_reset.text import is_plain, printable
from clc_reset.ui.streams import Delivery, Streams, is_terminal

LARGEST_TABLE = 200
"""Rows; a longer table isn't drawn by rich, which takes 0.2 ms a row."""

_NO_ERRORS = {INTERRUPTED, TIME_LIMIT, DeclinedError.kind}
_GROUP_ID_LENGTH = 32
_YES_OR_NO: dict[object, str] = {True: "yes", False: "no", None: ""}
_TITLES = {
    "maintenance": "Maint.",
    "changed_at": "Changed (UTC)",
    "changed_by": "By",
    "first_servers": "First servers",
    "base_url": "API",
}

Row = Mapping[str, str]
"""Cells by the names of their columns, in TSV's order."""


class Renderer:
    """Prints results in one form: `table`, `tsv` or `json`; None is the usual form.

    That is a table on a terminal, TSV elsewhere. Text is data: control characters are removed.
    """

    def __init__(self, streams: Streams, form: str | None = None) -> None:
        self._streams = streams
        self._on_terminal = is_terminal(streams.stdout)
        self.form = form or ("table" if self._on_terminal else "tsv")

    def results(
        self,
        account: str | None,
        results: Sequence[ServerResult],
        extra: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        verbose: bool = False,
    ) -> Delivery:
        """Print the result of each server; in JSON what is `extra`, too.

        `run` is that of a result which names none. A status is in plain words, in JSON and with
        `verbose` in the API's.
        """

        def row(result: ServerResult) -> Row:
            evidence = result.evidence
            changed = _YES_OR_NO[evidence.changed if evidence else None]
            return {
                "server": result.server or "",
                "state": result.state,
                "operation": result.operation.id if result.operation else "",
                "message": _message(result, verbose=verbose) or "",
                "changed": _change_text(evidence) if self.form == "table" else changed,
                "run": result.run or run or "",
            }

        changed = ["changed"] if any(result.evidence for result in results) else []
        return self.table(
            ("server", "state", "operation", *changed, "message"),
            "message",
            map(row, results),
            lambda: {
                "account": account,
                "servers": [_result_object(result, run) for result in results],
                **(extra or {}),
            },
        )

    def servers(self, account: str | None, observations: Sequence[Observation]) -> Delivery:
        """Print the state of each server."""
        messages = ["message"] if any(observation.problem for observation in observations) else []
        in_table = self.form == "table"
        return self.table(
            # the data centre stands before the group: `WA1 Web`, as -g takes it
            (
                *("server", "group", "status", "power", "maintenance", "changed_at", "changed_by"),
                *messages,
            ),
            "message" if messages else "group",
            [_server_row(observation, in_table=in_table) for observation in observations],
            lambda: {"account": account, "servers": [*map(_server_object, observations)]},
        )

    def table(
        self,
        columns: Sequence[str],
        wide: str,
        rows: Iterable[Row],
        document: Callable[[], Mapping[str, object]],
    ) -> Delivery:
        """Print rows, or in JSON the document that holds the same.

        A table has these columns, in this order; the text of `wide` may be broken.
        """
        if self.form == "json":
            return self._streams.print_result(self._json(document()))
        rows = map(_printable, rows)
        if self.form == "tsv":
            return self._streams.print_result(_tsv(row.values() for row in rows))
        titles = [_TITLES.get(name, name.capitalize()) for name in columns]
        lines = [titles, *([row[name] for name in columns] for row in rows)]
        return self._streams.print_result(self._drawn(lines, columns.index(wide)))

    def record(self, fields: Mapping[str, str | Sequence[str] | None]) -> Delivery:
        """Print the fields of one thing, a line each."""
        if self.form == "json":
            return self._streams.print_result(self._json(fields))
        rows = [
            (name, printable(value if isinstance(value, str) else ", ".join(value or ())))
            for name, value in fields.items()
        ]
        return self._streams.print_result(_tsv(rows) if self.form == "tsv" else _aligned(rows))

    def document(self, value: Mapping[str, object]) -> None:
        """Print an object in JSON on standard output, where standard error has its text already."""
        self._streams.print_result(self._json(value), falls_back=False)

    def error(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        """Print an error and the next step on standard error.

        With `-o json` standard output gets it as an object too, unless a result went there.
        """
        first = message if kind in _NO_ERRORS else f"Error: {message}"
        self._streams.note(f"{first}\n{hint}" if hint else first)
        if self.form == "json" and not self._streams.has_result:
            self.document({"error": problem(kind, message, exit_code)})

    def _json(self, value: Mapping[str, object]) -> str:
        # ASCII, so that it parses whatever the locale
        return json.dumps(_clean(value), indent=2 if self._on_terminal else None) + "\n"

    def _drawn(self, lines: Sequence[Sequence[str]], folding: int) -> str:
        titles, *rows = lines
        if self._streams.stdout is not None and len(rows) <= LARGEST_TABLE:
            with suppress(Exception):  # whatever rich can't draw is printed all the same
                from clc_reset.ui.table import draw  # loads rich

                return draw(titles, rows, folding, self._streams.stdout)
        return _aligned(lines)


def problem(kind: str, message: str, exit_code: int) -> dict[str, object]:
    """Return an error as `-o json` shows it."""
    return {"kind": kind, "message": message, "exit_code": exit_code}


# --- one server ------------------------------------------------------------------------------


def _message(result: ServerResult, *, verbose: bool) -> str | None:
    """Return the status of a running operation and the message; None if there is neither."""
    if result.status is None:
        return result.message or None
    status = result.status.word if verbose else result.status.plain_word
    return f"{status}; {result.message}" if result.message else status


def _change_text(evidence: Evidence | None) -> str:
    """Return the cell below `Changed`; empty where nothing could be seen."""
    if evidence is None:
        return ""
    if evidence.changed is False:
        return "not yet"
    when = "" if evidence.after is None else f"after {evidence.after:.0f} s"
    if evidence.is_too_close:
        return "within 2 s"  # of the request: before it, or after it
    by = f"by {evidence.by_another}" if evidence.by_another else ""
    return ", ".join(filter(None, (when, by))) or _YES_OR_NO[evidence.changed]


def _result_object(result: ServerResult, run: str | None) -> dict[str, object]:
    evidence = result.evidence
    observation = evidence.observation if evidence else None
    return {
        "server": result.server,
        "state": result.state.value,
        "operation": result.operation.id if result.operation else None,
        "message": _message(result, verbose=True),
        "changed": evidence.changed if evidence else None,
        **_change_object(observation),
        "sent_at": _iso(evidence.sent_at) if evidence else None,
        "run": result.run or run,
    }


def _server_object(observation: Observation) -> dict[str, object]:
    return {
        "server": observation.server,
        "group": observation.group,
        "datacenter": observation.datacenter,
        "status": observation.status,
        "power": observation.power,
        "maintenance": observation.in_maintenance,
        **_change_object(observation),
        "message": observation.problem,
    }


def _change_object(observation: Observation | None) -> dict[str, object]:
    return {
        "changed_at": _iso(observation.changed_at) if observation else None,
        "changed_by": observation.changed_by if observation else None,
        "seen_at": _iso(observation.seen_at) if observation else None,
    }


def _server_row(observation: Observation, *, in_table: bool) -> Row:
    """Return a server's cells: the fields of JSON.

    In a table the data centre stands before the group, and times are to the minute.
    """
    values = _server_object(observation)
    del values["seen_at"]
    if in_table:
        group = observation.group or ""
        if len(group) == _GROUP_ID_LENGTH and not group.strip("0123456789abcdef"):
            group = f"{group[:8]}.."  # its name couldn't be found out
        values["group"] = " ".join(filter(None, (observation.datacenter, group)))
        if observation.changed_at:
            values["changed_at"] = f"{observation.changed_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return {name: _YES_OR_NO.get(value, str(value)) for name, value in values.items()}


def _iso(instant: datetime | None) -> str | None:
    return instant.astimezone(UTC).isoformat() if instant else None


# --- formats ---------------------------------------------------------------------------------


def _clean(value: object) -> object:
    match value:
        case str():
            return printable(value)
        case Mapping():
            return {key: _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case _:
            return value


def _printable(row: Row) -> Row:
    # a look at all cells at once: most rows need no more
    if is_plain("".join(row.values())):
        return row
    return {name: printable(cell) for name, cell in row.items()}


def _tsv(rows: Iterable[Iterable[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns that are as wide as their widest cell on a screen."""
    widths = [max(map(cells_of, column)) for column in zip(*rows, strict=True)]
    padded = (
        [cell + " " * (width - cells_of(cell)) for cell, width in zip(row, widths, strict=True)]
        for row in rows
    )
    return "".join("  ".join(row).rstrip() + "\n" for row in padded)


def cells_of(text: str) -> int:
    """Return the columns that a text takes on a screen: two for a wide character (East Asian)."""
    if text.isascii():
        return len(text)
    # marks are drawn with the character before
    characters = [c for c in text if unicodedata.category(c) not in {"Mn", "Me", "Cf"}]
    return len(characters) + sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in characters)
