"""The latest runs of the journal, as a Tab press offers them.

It reads the journal's lines by their shape. To load what reads JSON, and all of a run, would take a
tenth of a start, and a Tab press has a fifth of one for everything.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LARGEST_READ = 2**18
"""In bytes, from the end of each of the latest days."""
DAYS = 3

_RECORD = re.compile(r'\{"run":"([^"]+)","at":"[^"]+","event":"(asked|answered)"')
_OPERATION = re.compile(r'","[a-z ]+",\["([^"\\]+)","')
_WORD = re.compile(r'"([^"\\]+)"')


class Recent(NamedTuple):
    """A run's id, its servers, and the ids of its operations."""

    run: str
    servers: Sequence[str]
    operations: Sequence[str]


def runs(folder: str, base_url: str) -> Iterator[Recent]:
    """The latest runs at an API, the newest first. Raises OSError where there is no journal."""
    operations: dict[str, list[str]] = {}
    days = sorted((name for name in os.listdir(folder) if name.endswith(".jsonl")), reverse=True)
    for day in days[:DAYS]:
        for line in reversed(_end(os.path.join(folder, day)).split("\n")):
            record = _RECORD.match(line)
            if record is None:
                continue
            run, event = record.groups()
            if event == "answered":
                operations[run] = _OPERATION.findall(line)
            elif f'"base_url":"{base_url}"' in line:
                servers = _WORD.findall(line.partition('"servers":')[2])
                yield Recent(run, servers, operations.get(run, ()))


def _end(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LARGEST_READ))
        return file.read().decode("ascii", "replace")
