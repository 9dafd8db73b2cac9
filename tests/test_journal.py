import errno
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clc_reset.errors import Interrupted, RefusedError
from clc_reset.journal import FEWEST_KEPT, Journal, Run
from clc_reset.models import Operation, OperationStatus, ServerResult, ServerState

A, B = "WA1ALIASWB01", "WA1ALIASWB02"
URL = "https://api.ctl.io"
WA1 = Operation("wa1-12345", "/v2/operations/alias/status/wa1-12345")
QUEUED = ServerResult(A, ServerState.QUEUED, WA1)
REFUSED = ServerResult(B, ServerState.FAILED, None, "Not in a valid state.")


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def journal(tmp_path: Path, problems: list[str]) -> Journal:
    return Journal(str(tmp_path / "journal"), problems.append)


def latest(journal: Journal) -> Run:
    return next(journal.runs())


def file_of(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "journal").iterdir()
    return file


def test_what_is_asked_is_told_again(journal: Journal) -> None:
    with journal.begin(URL, "ALIAS", [A, B]) as entry:
        run = latest(journal)
    assert (run.id, run.base_url, run.account, run.servers) == (entry.run, URL, "ALIAS", [A, B])
    assert abs((datetime.now(UTC) - run.at).total_seconds()) < 60
    assert run.results is None
    assert not run.not_sent


def test_what_was_answered_and_heard_is_told_again(journal: Journal) -> None:
    with journal.begin(URL, "ALIAS", [A, B]) as entry:
        entry.answered([QUEUED, REFUSED], "no more")
        entry.changed(WA1, OperationStatus("executing"))
        entry.changed(WA1, OperationStatus("succeeded"))
    run = latest(journal)
    assert run.results == [QUEUED, REFUSED]
    assert run.problem == "no more"
    assert run.statuses == {WA1.href: OperationStatus("succeeded")}


@pytest.mark.parametrize("error", [RefusedError("Not today."), Interrupted(2, "Not today.")])
def test_an_error_that_is_certain_says_that_nothing_was_sent(
    journal: Journal, error: BaseException
) -> None:
    with pytest.raises(type(error)), journal.begin(URL, "ALIAS", [A]):
        raise error
    assert latest(journal).not_sent == "Not today."


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(2), ValueError("x")])
def test_an_error_that_is_not_certain_says_nothing(journal: Journal, error: BaseException) -> None:
    with pytest.raises(type(error)), journal.begin(URL, "ALIAS", [A]):
        raise error
    assert not latest(journal).not_sent


def test_an_error_after_the_answer_changes_nothing_of_it(journal: Journal) -> None:
    def wait() -> None:
        with journal.begin(URL, "ALIAS", [A]) as entry:
            entry.answered([QUEUED])
            raise RefusedError("Later.")

    with pytest.raises(RefusedError):
        wait()
    run = latest(journal)
    assert (run.results, run.not_sent) == ([QUEUED], "")


def test_runs_are_told_the_newest_first_and_may_be_taken_up_again(journal: Journal) -> None:
    runs = []
    for _ in range(3):
        with journal.begin(URL, "ALIAS", [A]) as entry:
            entry.answered([QUEUED])
            runs.append(entry.run)
    with journal.resume(runs[0]) as entry:
        entry.changed(WA1, OperationStatus("failed"))
    told = list(journal.runs())
    assert [each.id for each in told] == runs[::-1]
    assert [bool(each.statuses) for each in told] == [False, False, True]


def test_runs_of_several_days_are_told_in_their_order(journal: Journal, tmp_path: Path) -> None:
    with journal.begin(URL, "ALIAS", [A]) as first:
        pass
    file_of(tmp_path).rename(tmp_path / "journal" / "2026-01-15.jsonl")
    with journal.begin(URL, "ALIAS", [A]) as second:
        pass
    with journal.resume(first.run) as entry:
        entry.answered([QUEUED])
    newest, oldest = journal.runs()
    assert (newest.id, oldest.id) == (second.run, first.run)
    assert oldest.results == [QUEUED]


def test_only_the_user_may_read_it(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir(mode=0o777)
    with journal.begin(URL, "ALIAS", [A]):
        pass
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_what_is_asked_is_flushed_to_disk_before_anything_else(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
    with journal.begin(URL, "ALIAS", [A]):
        assert flushed == [(tmp_path / "journal").stat().st_ino, file_of(tmp_path).stat().st_ino]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_record_that_was_cut_short_harms_no_other(tmp_path: Path, data: st.DataObject) -> None:
    journal = Journal(str(tmp_path / "journal"), lambda _problem: None)
    with journal.begin(URL, "ALIAS", [A]) as entry:
        entry.answered([QUEUED])
    file = file_of(tmp_path)
    whole = file.read_bytes()
    torn = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:torn])
    with journal.begin(URL, "ALIAS", [B]) as second:
        pass
    newest, *older = journal.runs()
    assert newest.id == second.run
    assert [each.id for each in older] in ([], [entry.run])
    assert [each.results for each in older] in ([], [None], [[QUEUED]])
    file.unlink()


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"run":3}',
        b'{"run":"x"}',
        b'{"run":"x","event":"asked"}',
        b'{"run":"x","event":"asked","at":"yesterday"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_record_is_passed_over(journal: Journal, tmp_path: Path, line: bytes) -> None:
    with journal.begin(URL, "ALIAS", [A]) as entry:
        pass
    with file_of(tmp_path).open("ab") as file:
        file.write(line + b"\n")
    assert latest(journal).id == entry.run


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"event": "more"},
        {"event": "answered"},
        {"event": "answered", "results": [[A, "lost", None, None]]},
    ],
)
def test_a_record_that_can_not_be_understood_takes_no_run_with_it(
    journal: Journal, tmp_path: Path, record: dict[str, object]
) -> None:
    with journal.begin(URL, "ALIAS", [A]) as entry:
        pass
    with file_of(tmp_path).open("a") as file:
        file.write(json.dumps({"run": entry.run, **record}) + "\n")
    assert latest(journal).results is None


def test_ten_thousand_servers_are_one_record(journal: Journal) -> None:
    servers = [f"WA1ALIASN{number:05}" for number in range(10_000)]
    with journal.begin(URL, "ALIAS", servers) as entry:
        entry.answered([ServerResult(each, ServerState.QUEUED, WA1) for each in servers])
    run = latest(journal)
    assert run.servers == servers
    assert run.results is not None
    assert len(run.results) == 10_000


@pytest.mark.parametrize(
    ("records", "age", "kept"),
    [
        (FEWEST_KEPT, 31, False),
        (FEWEST_KEPT, 29, True),
        (FEWEST_KEPT - 1, 31, True),
    ],
)
def test_old_days_are_dropped_beyond_ten_thousand_records(
    journal: Journal, tmp_path: Path, records: int, age: int, *, kept: bool
) -> None:
    home = tmp_path / "journal"
    home.mkdir()
    for name, number, days in (("2026-01-01", 1, age), ("2026-01-02", records, 31)):
        (home / f"{name}.jsonl").write_bytes(b'\n{"run":"x"}\n' * number)
        then = time.time() - days * 86400
        os.utime(home / f"{name}.jsonl", (then, then))
    with journal.begin(URL, "ALIAS", [A]):
        pass
    assert (home / "2026-01-01.jsonl").exists() is kept
    assert (home / "2026-01-02.jsonl").exists()


def test_a_folder_that_can_not_be_made_is_told_once(tmp_path: Path, problems: list[str]) -> None:
    (tmp_path / "file").touch()
    with Journal(str(tmp_path / "file" / "journal"), problems.append).begin(
        URL, "ALIAS", [A]
    ) as entry:
        entry.answered([QUEUED])
    assert problems == ["Not a directory"]


def test_without_a_home_nothing_is_written_to_the_working_directory(
    tmp_path: Path, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Journal("journal", problems.append).begin(URL, "ALIAS", [A]):
        pass
    assert problems == ["there is no home directory"]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_once(
    journal: Journal, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, data: bytes) -> int:
        return len(data) - 1

    monkeypatch.setattr(os, "write", full)
    with journal.begin(URL, "ALIAS", [A]) as entry:
        entry.answered([QUEUED])
    assert problems == [os.strerror(errno.ENOSPC)]


def test_an_error_without_words_is_told_by_its_own(
    journal: Journal, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_file: int) -> None:
        raise OSError("no words")

    monkeypatch.setattr(os, "fsync", fails)
    with journal.begin(URL, "ALIAS", [A]):
        pass
    assert problems == ["no words"]


def test_two_hundred_runs_at_once_lose_no_record(journal: Journal) -> None:
    ready = Barrier(200)

    def reset() -> None:
        ready.wait()
        with journal.begin(URL, "ALIAS", [A, B]) as entry:
            entry.answered([QUEUED, REFUSED])
            for word in ("notStarted", "executing", "succeeded"):
                entry.changed(WA1, OperationStatus(word))

    threads = [Thread(target=reset) for _ in range(200)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    runs = list(journal.runs())
    assert len({each.id for each in runs}) == 200
    assert all(each.results == [QUEUED, REFUSED] for each in runs)
    assert all(each.statuses[WA1.href].has_succeeded for each in runs)


def test_a_journal_that_is_turned_off_records_nothing(problems: list[str]) -> None:
    journal = Journal(None, problems.append)
    with journal.begin(URL, "ALIAS", [A]) as entry:
        entry.answered([QUEUED])
    assert list(journal.runs()) == []
    assert problems == []


def test_without_a_journal_there_are_no_runs(journal: Journal) -> None:
    assert list(journal.runs()) == []
