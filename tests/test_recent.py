from pathlib import Path

import pytest

from clc_reset.journal import Journal
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState
from clc_reset.recent import LARGEST_READ, runs

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASWB01"
URL = "https://api.ctl.io"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


def reset(folder: str, base_url: str, *results: ServerResult) -> str:
    """Record a reset; its run's id."""
    journal = Journal(folder, lambda _problem: None)
    with journal.begin(base_url, "ALIAS", [each.server for each in results]) as entry:
        entry.answered(results)
        for each in results:
            if each.operation:
                entry.changed(each.operation, OperationStatus("succeeded"))
    return entry.run


def queued(server: str, operation: str) -> ServerResult:
    link = f"/v2/operations/alias/status/{operation}"
    return ServerResult(server, ServerState.QUEUED, Operation(operation, link))


def test_it_reads_what_the_journal_writes(folder: str) -> None:
    refused = ServerResult(C, ServerState.FAILED, None, 'Not "now", ["x","y",["z","z"]].')
    first = reset(folder, URL, queued(A, "wa1-1"), refused, queued(B, "wa1-2"))
    reset(folder, f"{URL}:8443", queued(C, "va1-9"))
    second = reset(folder, URL, queued(C, "va1-3"))
    assert list(runs(folder, URL)) == [
        (second, [C], ["va1-3"]),
        (first, [A, C, B], ["wa1-1", "wa1-2"]),
    ]


def test_a_run_without_an_answer_has_no_operations(folder: str) -> None:
    with Journal(folder, lambda _problem: None).begin(URL, "ALIAS", [A]) as entry:
        assert list(runs(folder, URL)) == [(entry.run, [A], ())]


def test_it_reads_the_latest_days_and_of_each_the_end(folder: str) -> None:
    run = reset(folder, URL, queued(A, "wa1-1"))
    (file,) = Path(folder).iterdir()
    whole = file.read_bytes()
    for day in range(1, 9):
        (Path(folder) / f"2026-01-0{day}.jsonl").write_bytes(whole * 200 + b"x" * LARGEST_READ)
    (Path(folder) / "2026-01-08.jsonl").write_bytes(whole)
    assert [each.run for each in runs(folder, URL)] == [run, run]


def test_without_a_journal_it_is_an_error(folder: str) -> None:
    with pytest.raises(FileNotFoundError):
        list(runs(folder, URL))
