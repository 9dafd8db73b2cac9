"""The journal: what was sent survives the terminal.

Append-only JSON lines, one file a day (UTC). A record is one
write, which needs no lock: the system appends each as a whole, however many `clc` run at once. It
begins and ends with a line end, so that one cut short by a kill or a full disk harms no other.

A run's records begin with what is asked, flushed to disk before the request leaves; then comes what
was answered, or why nothing was sent, and each change of an operation. No token, no password.

A journal that can't be written is a warning, never a reason not to reset.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from clc_reset.errors import ClcError, Interrupted
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState

FEWEST_KEPT = 10_000
"""Records; beyond them those of old days are dropped."""
YOUNGEST_DROPPED = 30 * 86400
"""In seconds since the last write to its file."""

_SUFFIX = ".jsonl"
_BLOCK = 2**16


class Run(NamedTuple):
    """One reset as the journal has it.

    `results` are None where no answer was ever recorded; `not_sent` then says why nothing was sent,
    where that is certain. `problem` says why an answer could not be had. `statuses` are the last
    ones heard, by their link.
    """

    id: str
    at: datetime
    base_url: str
    account: str
    servers: Sequence[str]
    results: Sequence[ServerResult] | None = None
    problem: str = ""
    not_sent: str = ""
    statuses: Mapping[str, OperationStatus] = MappingProxyType({})


class Entry:
    """What is recorded of one run, while it lasts. After a problem it records no more of it."""

    def __init__(self, folder: str | None, run: str, on_problem: Callable[[str], None]) -> None:
        """Without a folder nothing is recorded; see `Journal`."""
        self.run = run
        self._folder = folder
        self._on_problem = on_problem
        self._file: int | None = None
        self._is_over = False
        self._has_answer = False

    def asked(self, base_url: str, account: str, servers: Sequence[str]) -> None:
        """Record what is about to be asked, before it leaves."""
        self._write(
            {
                "event": "asked",
                "process": os.getpid(),
                "base_url": base_url,
                "account": account,
                "servers": servers,
            },
            flush=True,
        )

    def answered(self, results: Sequence[ServerResult], problem: str = "") -> None:
        """Record what is known of each server, after the request was sent."""
        self._has_answer = True
        rows = [(each.server, each.state, _pair(each.operation), each.message) for each in results]
        self._write({"event": "answered", "results": rows, "problem": problem}, flush=True)

    def changed(self, operation: Operation, status: OperationStatus) -> None:
        """Record another status of an operation."""
        self._write({"event": "status", "href": operation.href, "status": status.word})

    def __enter__(self) -> Self:
        """Record until the end of the block."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Record why nothing was sent, where an error says with certainty that nothing was."""
        if isinstance(error, ClcError | Interrupted) and error.message and not self._has_answer:
            self._write({"event": "not_sent", "reason": error.message})
        if self._file is not None:
            os.close(self._file)

    def _write(self, record: Mapping[str, object], *, flush: bool = False) -> None:
        """Append a record; with `flush` it outlives the machine."""
        if self._folder is None or self._is_over:
            return
        now = datetime.now(UTC)
        record = {"run": self.run, "at": now.isoformat(timespec="milliseconds"), **record}
        line = f"\n{json.dumps(record, separators=(',', ':'))}\n".encode()
        try:
            if self._file is None:
                self._file = _opened(self._folder, f"{now:%Y-%m-%d}{_SUFFIX}")
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - as any
            if flush:
                os.fsync(self._file)
        except OSError as error:
            self._is_over = True
            self._on_problem(error.strerror or str(error))


class Journal:
    """The journal in a folder, which it makes when it first writes; None turns it off.

    `on_problem` is told, once a run, why it can't be written.
    """

    def __init__(self, folder: str | None, on_problem: Callable[[str], None]) -> None:
        self._folder = folder
        self._on_problem = on_problem

    def begin(self, base_url: str, account: str, servers: Sequence[str]) -> Entry:
        """Record what is about to be asked, before it leaves."""
        run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"
        entry = self.resume(run)
        entry.asked(base_url, account, servers)
        return entry

    def resume(self, run: str) -> Entry:
        """Record more of a run."""
        return Entry(self._folder, run, self._on_problem)

    def runs(self) -> Iterator[Run]:
        """All runs, the newest first. Raises OSError where the journal can't be read."""
        later: dict[str, list[dict[str, Any]]] = {}
        for path in _files(self._folder) if self._folder else ():
            for line in _lines_from_the_end(path):
                record = _record(line)
                if record is None:
                    continue
                told = later.setdefault(record["run"], [])
                told.append(record)
                if record.get("event") == "asked" and (run := _run(told[::-1])):
                    del later[record["run"]]
                    yield run


def _opened(folder: str, name: str) -> int:
    """The file of a day, for appending; only the user may read it."""
    if not os.path.isabs(folder):
        raise OSError(errno.ENOENT, "there is no home directory")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with suppress(OSError):  # somebody else's
        os.chmod(folder, 0o700)
    path = os.path.join(folder, name)
    is_new = not os.path.exists(path)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if is_new:
        _drop_the_old(folder)
        above = os.open(folder, os.O_RDONLY)
        os.fsync(above)  # the file itself must be there after a power cut
        os.close(above)
    return file


def _drop_the_old(folder: str) -> None:
    kept = 0
    for path in _files(folder):
        with suppress(OSError):  # another `clc` was faster
            if kept >= FEWEST_KEPT and time.time() - os.stat(path).st_mtime > YOUNGEST_DROPPED:
                os.unlink(path)
                continue
            with open(path, "rb") as file:
                kept += file.read().count(b"\n{")


def _files(folder: str) -> list[str]:
    """The files, the newest day first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    names = sorted((each for each in names if each.endswith(_SUFFIX)), reverse=True)
    return [os.path.join(folder, each) for each in names]


def _lines_from_the_end(path: str) -> Iterator[bytes]:
    """A file's lines, the last first; no more is read than is asked for."""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position:
            size = min(_BLOCK, position)
            position = file.seek(position - size)
            rest, *lines = (file.read(size) + rest).split(b"\n")
            yield from reversed(lines)
        yield rest


def _record(line: bytes) -> dict[str, Any] | None:
    """A record; None for an empty line, and for one that was cut short."""
    try:
        record = json.loads(line) if line else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("run"), str) else None


def _run(records: Sequence[Mapping[str, Any]]) -> Run | None:
    """A run from its records, the oldest first; None where what was asked can't be understood."""
    asked, *later = records
    told: dict[str, Any] = {}
    statuses: dict[str, OperationStatus] = {}
    for record in later:
        with suppress(KeyError, TypeError, ValueError):  # one that can't be read takes no other
            match record["event"]:
                case "answered":
                    told["results"] = [_result(*row) for row in record["results"]]
                    told["problem"] = record["problem"]
                case "not_sent":
                    told["not_sent"] = record["reason"]
                case "status":
                    statuses[record["href"]] = OperationStatus(record["status"])
    try:
        return Run(
            asked["run"],
            datetime.fromisoformat(asked["at"]),
            asked["base_url"],
            asked["account"],
            asked["servers"],
            statuses=statuses,
            **told,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _pair(operation: Operation | None) -> tuple[str, str] | None:
    return (operation.id, operation.href) if operation else None


def _result(
    server: str, state: str, operation: Sequence[str] | None, message: str | None
) -> ServerResult:
    return ServerResult(
        server, ServerState(state), Operation(*operation) if operation else None, message
    )
