import fcntl
import os
import pwd
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clc_reset.errors import Interrupted, JournalError
from clc_reset.journal.database import FILE, VERSION, Database, DoubtError
from tests.machine import JUNK, Machine, Patch, fail_with

OTHERWISE = "Repair it, or set CLC_STATE_DIR to another folder."
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")


def add(db: sqlite3.Connection) -> int:
    """Add a listing, and return how many there are."""
    db.execute("INSERT INTO listing (base_url, account) VALUES (hex(randomblob(8)), 'A')")
    return count(db)


def count(db: sqlite3.Connection) -> int:
    (number,) = db.execute("SELECT count(*) FROM listing").fetchone()
    return int(number)


def counted(database: Database) -> int:
    with database.read() as db:
        return count(db)


def named(environ: dict[str, str]) -> Database:
    database = Database.of(environ, None)
    assert database
    return database


def fails(database: Database, seconds: float = 5.0, code: int = 0) -> JournalError:
    """The error of a transaction, in which SQLite may fail with a code; nothing is written."""
    with pytest.raises(JournalError) as raised:
        database.write(lambda db: add(db) and code and fail_with(code)(db), seconds)
    assert not isinstance(raised.value, DoubtError)
    return raised.value


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    before = len([*Path("/proc/self/fd").iterdir()])
    yield
    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/clc-reset"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
        ({"HOME": "/home/me", "CLC_STATE_DIR": ""}, "/home/me/.local/state/clc-reset"),
        ({"HOME": "/home/me", "CLC_STATE_DIR": "/own"}, "/own"),
        ({"HOME": "me"}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/clc-reset"),
    ],
)
def test_the_environment_names_it(monkeypatch: Patch, environ: dict[str, str], folder: str) -> None:
    assert named(environ).folder == folder
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user whom nobody knows
    assert named({"HOME": "me"}).folder == "me/.local/state/clc-reset"


@pytest.mark.parametrize("name", ["100%25", "a?b#c", "\u00fc \udcff", "/two"])
def test_a_folder_may_have_any_name(tmp_path: Path, machine: Machine, name: str) -> None:
    # the first slash is doubled, which URIs take for a host
    database = machine.open(f"/{tmp_path}/{name}/x")
    assert database.write(add, 0.0) == counted(database) == 1
    assert (tmp_path / name.strip("/") / "x" / FILE).exists()


def test_a_folder_that_can_not_be_one_is_an_error(machine: Machine) -> None:
    for folder, reason, hint in (
        ("own", "its folder is not absolute", "Set CLC_STATE_DIR to an absolute path."),
        ("/x\0", "embedded null byte", OTHERWISE),
        (__file__, "Not a directory", OTHERWISE),
    ):
        found = fails(machine.open(folder))
        assert found.message == f"The journal {folder}/{FILE} can't be written: {reason}."
        assert found.hint == hint
        with pytest.raises(JournalError, match=f"can't be read: {reason}"):
            counted(machine.open(folder))
    assert not Path("own").exists()


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        ("", lambda path: path.symlink_to("elsewhere")),
        ("-wal", os.mkfifo),
        ("-journal", Path.mkdir),
    ],
)
def test_what_is_not_a_file_is_left_alone(machine: Machine, suffix: str, make: Any) -> None:
    machine.folder.mkdir()
    odd = machine.folder / f"{FILE}{suffix}"
    make(odd)
    found = fails(machine.database)
    assert f"{odd} is not a file" in found.message
    assert found.hint == f"Remove {odd}."
    with pytest.raises(JournalError, match="can't be read"):
        counted(machine.database)
    assert list(machine.folder.iterdir()) == [odd]


@pytest.mark.parametrize("version", [VERSION - 1, 99])
def test_a_journal_of_another_version_is_left_alone(machine: Machine, version: int) -> None:
    machine.database.write(add, 0.0)
    machine.sql(f"PRAGMA user_version = {version}")
    before = machine.file.read_bytes()
    found = fails(machine.database)
    assert "it was written by another version of clc" in found.message
    assert found.hint == f"Rename {machine.file}."
    assert machine.file.read_bytes() == before


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of a user to whom permissions apply."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(place)
        finally:
            os.seteuid(os.getuid())
            Path(place).chmod(0o700)


@needs_root
def test_nothing_is_made_in_the_home_of_another_user(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    for variable in ("HOME", "XDG_STATE_HOME"):
        found = fails(named({"HOME": "/root", variable: str(tmp_path)}))
        assert f"{tmp_path} belongs to another user" in found.message
        assert found.hint == "Set HOME to your own, or CLC_STATE_DIR to a folder of yours."
    assert not list(tmp_path.iterdir())
    assert named({"HOME": "/root", "CLC_STATE_DIR": f"{tmp_path}/own"}).write(add, 0.0) == 1
    with unprivileged() as place:
        found = fails(named({"HOME": "/root", "XDG_STATE_HOME": str(place)}))
        assert "/root belongs to another user" in found.message
        service = named({"HOME": "/nonexistent", "XDG_STATE_HOME": str(place)})
        assert service.write(add, 0.0) == 1
        of_all = named({"HOME": str(place), "XDG_STATE_HOME": "/"})
        assert "can't be written: Permission denied." in fails(of_all).message


@needs_root
def test_what_is_of_all_or_of_another_user_is_left_alone(tmp_path: Path, machine: Machine) -> None:
    tmp_path.chmod(0o1777)
    found = fails(named({"HOME": "/root", "CLC_STATE_DIR": str(tmp_path)}))
    assert f"can't be written: {tmp_path} is for all users." in found.message
    assert found.hint == "Set CLC_STATE_DIR to a folder of yours."
    assert (tmp_path.stat().st_mode & 0o7777, list(tmp_path.iterdir())) == (0o1777, [])
    machine.database.write(add, 0.0)
    for path in (machine.file, machine.folder):
        os.chown(path, NOBODY, NOBODY)
        found = fails(machine.database)
        assert f"can't be written: {path} belongs to another user." in found.message


def test_a_missing_or_empty_file_is_an_empty_journal_of_this_user(machine: Machine) -> None:
    assert counted(machine.database) == 0
    assert not machine.folder.exists()  # reading makes nothing
    machine.folder.mkdir(mode=0o777)
    assert machine.database.write(add, 0.0) == 1
    machine.database.hold_lock("run")
    assert stat.S_IMODE(machine.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in machine.folder.iterdir()} == {0o600}
    machine.database.release_lock("run", remove=True)
    machine.file.write_bytes(b"")
    assert counted(machine.database) == 0
    assert machine.database.write(add, 0.0) == 1


def test_what_is_read_only_can_be_read(machine: Machine) -> None:
    with unprivileged() as place:
        database = machine.open(place)
        database.write(add, 0.0)
        (place / FILE).chmod(0o400)
        assert "attempt to write a readonly database" in fails(database).message
        assert counted(database) == 1
        (place / FILE).chmod(0)
        began = machine.clocks.monotonic()
        assert "unable to open database file" in fails(database).message
        assert machine.clocks.monotonic() - began < 1
        (place / FILE).chmod(0o600)
        (place / FILE).write_bytes(JUNK)
        place.chmod(0o500)
        message = fails(database).message
        assert message.endswith("can't be renamed, though it is corrupt: Permission denied.")
        assert "Permission denied" in fails(machine.open(place / "x")).message


def test_an_error_of_sqlite_has_its_remedy(machine: Machine) -> None:
    for code, hint, waits in (
        (sqlite3.SQLITE_FULL, "Free some disk space.", False),
        (sqlite3.SQLITE_READONLY_DBMOVED, "Make it writable for this user.", False),
        (sqlite3.SQLITE_PERM, "Make it writable for this user.", False),
        (sqlite3.SQLITE_IOERR_FSYNC, OTHERWISE, False),
        (sqlite3.SQLITE_LOCKED, OTHERWISE, True),
    ):
        assert fails(machine.database, code=code).hint == hint
        assert (len(machine.inbox.pauses) > 0) is waits
    assert counted(machine.database) == 0


def test_a_busy_journal_is_waited_for_by_the_inbox(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    with machine.locked() as db:
        machine.inbox.on_wait = lambda number: number == 3 and db.execute("ROLLBACK")
        assert machine.database.write(add, 5.0) == 2
        assert len(machine.inbox.pauses) == 3
        db.execute("BEGIN EXCLUSIVE")
        machine.inbox.on_wait = lambda number: number == 6 and db.execute("ROLLBACK")
        assert counted(machine.database) == 2
        count(db.execute("BEGIN").connection)  # a reader, which keeps a commit waiting
        machine.inbox.on_wait = lambda number: number == 8 and db.execute("ROLLBACK")
        assert machine.database.write(add, 5.0) == 3
        assert len(machine.inbox.pauses) == 8


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_journal_that_stays_busy_is_given_up_in_time(machine: Machine, seconds: float) -> None:
    machine.database.write(add, 0.0)
    began = machine.clocks.monotonic()
    with machine.locked():
        found = fails(machine.database, seconds)
        assert began + seconds <= machine.clocks.monotonic() < began + seconds + 0.1
        with pytest.raises(JournalError, match="can't be read: database is locked"):
            counted(machine.database)
    assert found.hint == "Another process has it locked; if that hangs, end it."


@pytest.mark.parametrize(
    ("use", "is_pending", "has_time"),
    [
        (lambda database: database.write(add, 5.0), False, False),
        (lambda database: database.write(add, 5.0), True, False),
        (lambda database: database.write(add, 5.0, despite_signal=True), False, True),
        (lambda database: database.write(add, 5.0, despite_signal=True), True, True),
        (counted, False, False),
        (counted, True, True),
    ],
)
def test_a_signal_ends_the_wait_for_a_busy_journal(
    machine: Machine, use: Callable[[Database], int], *, is_pending: bool, has_time: bool
) -> None:
    """At once before a request; what is written or read after a signal has half a second."""
    machine.database.write(add, 0.0)
    if is_pending:
        machine.inbox.interrupt(15)
    machine.inbox.on_wait = lambda _number: machine.inbox.interrupt(15)
    began = machine.clocks.monotonic()
    with machine.locked(), pytest.raises(JournalError if has_time else Interrupted):
        use(machine.database)
    assert (machine.clocks.monotonic() - began > 0.4) is has_time
    assert machine.clocks.monotonic() - began < 0.7
    assert use(machine.database)


@pytest.mark.parametrize("end", ["applied", "not applied", "unreadable", "signal"])
def test_a_commit_that_fails_is_read_back_or_in_doubt(machine: Machine, end: str) -> None:
    def at_commit(execute: Callable[[str], object]) -> None:
        execute("ROLLBACK" if end == "not applied" else "COMMIT")
        if end == "unreadable":
            machine.file.write_bytes(JUNK)
        if end == "signal":
            stack.enter_context(machine.locked())
            machine.inbox.on_wait = lambda _number: machine.inbox.interrupt(15)

    machine.at_commit = at_commit
    with ExitStack() as stack:
        if end == "applied":
            assert machine.database.write(add, 5.0, lambda db: count(db) == 1) == 1
            assert "can't be written: it failed" in fails(machine.database).message
            return
        with pytest.raises(JournalError, match="can't be written: it failed") as raised:
            machine.database.write(add, 5.0, lambda db: count(db) == 1)
    assert isinstance(raised.value, DoubtError) is (end != "not applied")
    assert raised.value.hint == OTHERWISE


def test_the_file_and_its_undo_log_outlive_power_cuts(machine: Machine, monkeypatch: Patch) -> None:
    """The folder is synchronized before the first commit; no commit is the removal of a file."""
    synchronized: list[tuple[bool, int]] = []

    def fsync(file: int) -> None:
        is_folder = os.path.samestat(os.fstat(file), machine.folder.stat())
        synchronized.append((is_folder, machine.file.stat().st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    machine.database.write(add, 0.0)
    assert synchronized == [(True, 0)]
    undo = machine.folder / f"{FILE}-journal"
    before = undo.stat()
    machine.database.write(add, 0.0)
    assert os.path.samestat(before, undo.stat())
    assert undo.stat().st_size == 0


def test_a_killed_writer_is_rolled_back_but_not_by_a_tab_press(machine: Machine) -> None:
    """A Tab press has no inbox: it never waits or writes."""
    machine.database.write(add, 0.0)
    tab = Database(str(machine.folder), None)
    with tab.read() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        add(db)
    with machine.locked() as db:
        with pytest.raises(JournalError, match="locked"):
            counted(tab)
        db.execute("PRAGMA cache_size = 1")
        insert = "INSERT INTO listing (base_url, account) VALUES (?, 'A')"
        db.executemany(insert, [(number,) for number in range(5000)])
        killed = shutil.copytree(machine.folder, machine.folder.parent / "killed")
    with pytest.raises(JournalError, match="read"):
        counted(Database(str(killed), None))
    assert counted(machine.open(killed)) == counted(Database(str(killed), None)) == 1


def test_a_corrupt_journal_is_renamed_with_its_undo_log(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    machine.file.write_bytes(JUNK)
    with pytest.raises(JournalError, match="can't be read: file is not a database"):
        counted(machine.database)
    assert machine.database.write(add, 0.0) == counted(machine.database) == 1
    aside, undo = sorted(machine.folder.glob(f"{FILE}.corrupt-*"))
    assert aside.read_bytes() == JUNK
    assert undo.name == f"{aside.name}-journal"
    renamed_at = aside.stat().st_mtime
    for seconds, is_recent in ((0, True), (86_000, True), (-86_000, True), (-87_000, False)):
        os.utime(aside, (renamed_at + seconds, renamed_at + seconds))
        assert machine.database.recently_corrupt() == [str(aside)] * is_recent
    aside.unlink()
    found = fails(machine.database, code=sqlite3.SQLITE_CORRUPT)
    assert "written: it failed" in found.message
    assert len(list(machine.folder.glob("*.corrupt-*[0-9]"))) == 1  # once in a transaction


@pytest.mark.parametrize("is_new", [True, False])
def test_a_journal_is_renamed_once(machine: Machine, monkeypatch: Patch, is_new: bool) -> None:
    """Another process is faster, just before this one has the lock, or opens it."""
    flock = fcntl.flock

    def late(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        machine.file.rename(machine.folder / "corrupt")
        if is_new:
            machine.open().write(add, 0.0)
        flock(file, operation)

    machine.folder.mkdir()
    machine.file.write_bytes(JUNK)
    monkeypatch.setattr(fcntl, "flock", late)
    assert machine.database.write(add, 5.0) == 1 + is_new
    assert not list(machine.folder.glob("*.corrupt-*"))
    number = machine.opened + 1
    machine.on_open = lambda n: n == number and machine.file.rename(machine.folder / "aside")
    assert machine.database.write(add, 5.0) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_file_can_be_written_or_fails(machine: Machine, data: st.DataObject) -> None:
    """Cut short, overwritten in the middle, or both."""
    for path in machine.folder.glob("*"):
        path.unlink()
    machine.database.write(add, 0.0)
    whole = machine.file.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=99)) * data.draw(st.integers(0, 99))
    machine.file.write_bytes(whole[:at] + junk + whole[at + len(junk) : data.draw(st.integers(at))])
    with suppress(JournalError):
        counted(machine.database)
    with suppress(JournalError):
        assert machine.database.write(add, 0.0) > 0
        assert counted(machine.database) > 0


def test_a_run_may_go_on_unless_its_lock_is_free(machine: Machine, monkeypatch: Patch) -> None:
    def fail(_file: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    machine.folder.mkdir()
    machine.database.hold_lock("run")
    machine.database.hold_lock("run")  # its transaction is tried again
    assert machine.open().may_go_on("run")
    machine.database.release_lock("run", remove=False)
    assert not machine.open().may_go_on("run")
    monkeypatch.setattr(fcntl, "flock", fail)
    assert machine.database.may_go_on("run")
    machine.database.hold_lock("other")
    assert not (machine.folder / "run-other.lock").exists()
    monkeypatch.undo()
    machine.database.remove_lock("run")
    assert machine.database.may_go_on("run")  # nothing tells
