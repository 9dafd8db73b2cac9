"""All that a user sees. Results go to standard output, everything else to standard error.

Tables are drawn by `terminal`, which loads rich; this room does without.
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol, TextIO

from clc_reset.errors import INTERRUPTED, TIME_LIMIT, DeclinedError, OutputError
from clc_reset.models import Operation, OperationStatus, ServerResult, printable
from clc_reset.wording import count, enumerate_names

FORMS = ("table", "tsv", "json")

LARGEST_TABLE = 200
"""Rows; beyond it columns are plain, since rich takes 0.2 ms a row and nobody reads the borders."""

HEARTBEAT_SECONDS = 60.0
SERVERS_IN_A_LINE = 3
"""Servers that a line of progress names; the others are counted."""

_NO_ERRORS = {INTERRUPTED, TIME_LIMIT, DeclinedError.kind}

Row = tuple[str, ...]


class Columns(NamedTuple):
    """What the columns of a result are called: in JSON, and above a table.

    `wide` is the title of the one whose text may be too long for a line.
    """

    names: Row
    titles: Row
    wide: str


FATES = Columns(
    ("server", "state", "operation", "message"),
    ("Server", "State", "Operation", "Message"),
    wide="Message",
)
MEMBERS = Columns(
    ("server", "group", "datacenter"), ("Server", "Group", "Data centre"), wide="Group"
)
RUNS = Columns(
    ("run", "time", "account", "servers", "base_url"),
    ("Run", "Time", "Account", "Servers", "API"),
    wide="Servers",
)


class Output:
    """Standard output and standard error, and the form that results take, one of FORMS.

    `draw` puts a screenful of rows on a terminal, below their titles, one of which is `wide`. A
    standard stream that is closed is None.
    """

    def __init__(
        self,
        stdout: TextIO | None,
        stderr: TextIO | None,
        form: str,
        draw: Callable[[Row, Sequence[Row], str, TextIO], None],
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._form = form
        self._draw = draw
        self._say: Callable[[str], None] | None = None
        self.has_result = False
        """Whether anything went to standard output."""
        for stream in (stdout, stderr):
            with suppress(AttributeError, OSError, ValueError):  # closed, full, or of another kind
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def results(
        self,
        account: str | None,
        results: Sequence[ServerResult],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Print the fate of each server. Raises what `servers` raises."""
        self.servers(account, FATES, map(_row, results), extra)

    def servers(
        self,
        account: str | None,
        columns: Columns,
        rows: Iterable[Row],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Print what there is to say of servers, a row each; `extra` joins the JSON object.

        Raises what `table` raises.
        """
        known = list(rows)
        self.table(
            columns,
            known,
            lambda: {
                "account": account,
                "servers": [
                    dict(zip(columns.names, (cell or None for cell in row), strict=True))
                    for row in known
                ],
                **(extra or {}),
            },
        )

    def table(
        self, columns: Columns, rows: Iterable[Row], document: Callable[[], Mapping[str, object]]
    ) -> None:
        """Print rows, or in JSON the document that holds the same.

        Raises OutputError where standard output takes nothing, BrokenPipeError where nobody reads.
        """
        rows = [tuple(map(printable, row)) for row in rows]
        if self._stdout is None:  # somebody closed it, but the result is not lost
            self.note(_columns([columns.titles, *rows]))
            return
        try:
            self._table(self._stdout, columns, rows, document)
        except OutputError:
            self.note(_columns([columns.titles, *rows]))  # lost for a script, but not for a reader
            raise

    def record(self, fields: Mapping[str, str | Sequence[str] | None]) -> None:
        """Print one thing's fields, a line each. Raises what `results` raises."""
        if self._form == "json":
            self._print(_json(fields))
            return
        rows = [
            (name, printable(value if isinstance(value, str) else ", ".join(value or ())))
            for name, value in fields.items()
        ]
        self._print(_tsv(rows) if self._form == "tsv" else _columns(rows))

    def line(self, text: str) -> None:
        """Print one line that is the result itself. Raises what `results` raises."""
        self._print(f"{text}\n")

    def note(self, text: str) -> None:
        """Say something on standard error; what can't be said there is lost, and no more."""
        lines = "\n".join(printable(line) for line in text.splitlines())
        if self._say is not None:
            self._say(lines)
        elif self._stderr is not None:
            try:
                self._stderr.write(f"{lines}\n")
                self._stderr.flush()
            except (OSError, ValueError):
                let_go_of(self._stderr)

    @contextmanager
    def above(self, say: Callable[[str], None]) -> Generator[None]:
        """Let a live display say what is to be said meanwhile, above itself."""
        self._say = say
        try:
            yield
        finally:
            self._say = None

    def error(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        """Say what went wrong, and what to do next.

        With `-o json` standard output gets it as an object too, unless a result went there.
        """
        first = message if kind in _NO_ERRORS else f"Error: {message}"
        self.note(f"{first}\n{hint}" if hint else first)
        if self._form == "json" and not self.has_result:
            with suppress(OSError, OutputError):
                self._print(_json({"error": problem(kind, message, exit_code)}))

    def _table(
        self,
        stdout: TextIO,
        columns: Columns,
        rows: Sequence[Row],
        document: Callable[[], Mapping[str, object]],
    ) -> None:
        if self._form == "json":
            self._print(_json(document()))
        elif self._form == "tsv":
            self._print(_tsv(rows))
        elif len(rows) > LARGEST_TABLE:
            self._print(_columns([columns.titles, *rows]))
        else:
            titles, wide = columns.titles, columns.wide
            self._write(stdout, lambda: self._draw(titles, rows, wide, stdout))

    def _print(self, text: str) -> None:
        if self._stdout is not None:
            stdout = self._stdout
            self._write(stdout, lambda: stdout.write(text))

    def _write(self, stdout: TextIO, write: Callable[[], object]) -> None:
        self.has_result = True
        try:
            write()
            stdout.flush()
        except OSError as error:
            let_go_of(stdout)
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(
                f"Standard output can't be written: {error.strerror or error}."
            ) from error


class Progress(Protocol):
    """Shows how operations come along, `seconds` after the wait for them began."""

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """An operation has a status that it didn't have before."""

    def tick(self, seconds: float) -> None:
        """Time has passed."""


class PlainProgress:
    """Progress off a terminal: a line a change, and one a minute while nothing changes.

    `servers` names the servers of each operation.
    """

    def __init__(
        self, note: Callable[[str], None], servers: Mapping[Operation, Sequence[str]]
    ) -> None:
        self._note = note
        self._servers = servers
        self._running = set(servers)
        self._said = 0.0

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """Say `WA1ALIASWB01 wa1-12345 executing (12 s)`."""
        if status.is_final:
            self._running.discard(operation)
        names = enumerate_names(self._servers[operation], SERVERS_IN_A_LINE)
        self._note(f"{names} {operation.id} {status.word} ({seconds:.0f} s)".lstrip())
        self._said = seconds

    def tick(self, seconds: float) -> None:
        """Say how many are still running, once a minute without a change."""
        if seconds - self._said >= HEARTBEAT_SECONDS:
            running = count(len(self._running), "operation")
            self._note(f"{running} still running ({seconds:.0f} s)")
            self._said = seconds


class NoProgress:
    """Progress for who asked for quiet."""

    def changed(self, operation: Operation, status: OperationStatus, seconds: float) -> None:
        """Say nothing."""

    def tick(self, seconds: float) -> None:
        """Say nothing."""


def problem(kind: str, message: str, exit_code: int) -> dict[str, object]:
    """An error as `-o json` shows it."""
    return {"kind": kind, "message": message, "exit_code": exit_code}


def _row(result: ServerResult) -> Row:
    operation = result.operation.id if result.operation else ""
    return result.server, result.state, operation, result.message or ""


def _json(value: Mapping[str, object]) -> str:
    import json  # noqa: PLC0415 - for who asks for it

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


def let_go_of(stream: TextIO) -> None:
    """Point a stream that can't be written at nothing, so that Python's own flush can't fail."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
