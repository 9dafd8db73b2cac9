import fcntl
import os
import pwd
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clc_reset.errors import Interrupted, JournalError
from clc_reset.journal.database import FILE, VERSION, Database, DoubtError
from tests.journal.kit import NOBODY, Machine

JUNK = b"no database" * 999
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


def fails(database: Database, seconds: float = 5.0) -> JournalError:
    """The error of a transaction; nothing is written."""
    with pytest.raises(JournalError) as raised:
        database.write(add, seconds)
    assert not isinstance(raised.value, DoubtError)
    return raised.value


def folder_of(environ: dict[str, str]) -> str:
    database = Database.of(environ, None)
    assert database
    return database.folder


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


# where it is


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/clc-reset"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/me"}, "/home/me/.local/state/clc-reset"),
        ({"HOME": "/home/me", "CLC_STATE_DIR": ""}, "/home/me/.local/state/clc-reset"),
        ({"HOME": "/home/me", "CLC_STATE_DIR": "/own"}, "/own"),
        ({}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/clc-reset"),
        ({"HOME": "me"}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/clc-reset"),
    ],
)
def test_the_environment_says_where_it_is(environ: dict[str, str], folder: str) -> None:
    assert folder_of(environ) == folder


@pytest.mark.parametrize("folder", ["own", "", "~/x"])
def test_a_relative_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database(folder, machine.inbox)
    error = fails(database)
    assert "its folder is not absolute" in error.message
    assert error.hint == "Set CLC_STATE_DIR to an absolute path."
    with pytest.raises(JournalError, match="can't be read"):
        counted(database)
    assert not list(tmp_path.iterdir())


def test_a_user_whom_nobody_knows_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert folder_of({"HOME": "me"}) == "me/.local/state/clc-reset"


# ownership


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder of a user to whom permissions apply."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        if os.geteuid() != 0:
            yield Path(place)
            return
        os.chown(place, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


@needs_root
@pytest.mark.parametrize("variable", ["HOME", "XDG_STATE_HOME"])
def test_a_root_shell_makes_nothing_in_the_home_of_another_user(
    tmp_path: Path, machine: Machine, variable: str
) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    database = Database.of({"HOME": "/root", variable: str(tmp_path)}, machine.inbox)
    assert database
    error = fails(database)
    assert f"{tmp_path} belongs to another user" in error.message
    assert "CLC_STATE_DIR" in error.hint
    assert not list(tmp_path.iterdir())
    environ = {"HOME": "/root", "CLC_STATE_DIR": f"{tmp_path}/own"}
    machine_wide = Database.of(environ, machine.inbox)
    assert machine_wide
    assert machine_wide.write(add, 0.0) == 1


@needs_root
@pytest.mark.parametrize("has_home", [True, False])
def test_a_user_makes_nothing_where_the_home_is_roots(machine: Machine, *, has_home: bool) -> None:
    with unprivileged() as place:
        home = "/root" if has_home else "/nonexistent"
        environ = {"HOME": home, "XDG_STATE_HOME": str(place)}
        database = Database.of(environ, machine.inbox)
        assert database
        if has_home:
            assert "/root belongs to another user" in fails(database).message
        else:
            assert database.write(add, 0.0) == 1  # a service account: nobody's home


@needs_root
def test_a_folder_or_file_of_another_user_is_not_used(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    os.chown(machine.file, NOBODY, NOBODY)
    assert fails(machine.database).message == (
        f"The journal {machine.file} can't be written: {machine.file} belongs to another user."
    )
    os.chown(machine.folder, NOBODY, NOBODY)
    assert f"{machine.folder} belongs to another user" in fails(machine.database).message
    assert machine.database.hold_lock("run") is None


def test_only_the_user_may_read_it(machine: Machine) -> None:
    machine.folder.mkdir(mode=0o777)
    lock = machine.database.hold_lock("run")
    assert lock is not None
    machine.database.write(add, 0.0)
    assert stat.S_IMODE(machine.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in machine.folder.iterdir()} == {0o600}
    machine.database.release_lock("run", lock, remove=True)


# odd files


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.parent.parent / "elsewhere"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["link", "pipe", "folder"],
)
def test_what_is_not_a_file_is_left_alone(
    machine: Machine, make: Callable[[Path], None], suffix: str
) -> None:
    machine.folder.mkdir()
    odd = machine.folder / f"{FILE}{suffix}"
    make(odd)
    error = fails(machine.database)
    assert f"{odd} is not a file" in error.message
    assert error.hint == f"Remove {odd}."
    with pytest.raises(JournalError, match="can't be read"):
        counted(machine.database)
    assert list(machine.folder.iterdir()) == [odd]
    assert not (machine.folder.parent / "elsewhere").exists()


@pytest.mark.parametrize("name", ["100%25", "a?b#c", "\u00fc \udcff", "/two"])
def test_a_folder_may_have_any_name(tmp_path: Path, machine: Machine, name: str) -> None:
    folder = f"/{tmp_path}/{name}/x"  # the first slash is doubled, which URIs take for a host
    database = Database(folder, machine.inbox)
    assert database.write(add, 0.0) == counted(database) == 1
    assert (tmp_path / name.strip("/") / "x" / FILE).exists()


def test_a_name_that_no_file_can_have_is_an_error(machine: Machine) -> None:
    assert "embedded null" in fails(Database("/x\0", machine.inbox)).message


def test_a_folder_that_is_a_file_is_an_error(machine: Machine) -> None:
    machine.folder.touch()
    error = fails(machine.database)
    assert error.message == f"The journal {machine.file} can't be written: Not a directory."
    assert error.hint == "Repair it, or set CLC_STATE_DIR to another folder."
    with pytest.raises(JournalError, match="can't be read: Not a directory"):
        counted(machine.database)
    assert machine.database.hold_lock("run") is None
    assert machine.database.is_locked("run") is None
    assert machine.database.recently_corrupt() == []


@pytest.mark.parametrize("version", [VERSION - 1, 99])
def test_a_journal_of_another_version_is_left_alone(machine: Machine, version: int) -> None:
    machine.database.write(add, 0.0)
    machine.sql(f"PRAGMA user_version = {version}")
    before = machine.file.read_bytes()
    error = fails(machine.database)
    assert "it was written by another version of clc" in error.message
    assert error.hint == f"Rename {machine.file}."
    assert machine.file.read_bytes() == before


def test_a_missing_or_empty_file_is_an_empty_journal(machine: Machine) -> None:
    assert counted(machine.database) == 0
    assert not machine.folder.exists()  # reading makes nothing
    machine.folder.mkdir()
    machine.file.touch()
    assert counted(machine.database) == 0
    assert machine.database.write(add, 0.0) == 1


# what may not be written


def test_a_folder_that_is_read_only_is_an_error(machine: Machine) -> None:
    with unprivileged() as place:
        place.chmod(0o500)
        database = Database(str(place / "x"), machine.inbox)
        assert "Permission denied" in fails(database).message
        assert counted(database) == 0


def test_a_file_that_is_read_only_is_read(machine: Machine) -> None:
    with unprivileged() as place:
        database = Database(str(place), machine.inbox, machine.clocks.monotonic)
        database.write(add, 0.0)
        (place / FILE).chmod(0o400)
        error = fails(database)
        assert "attempt to write a readonly database" in error.message
        assert error.hint == "Make it writable for this user."
        assert counted(database) == 1
        (place / FILE).chmod(0)
        began = machine.clocks.monotonic()
        assert "unable to open database file" in fails(database).message
        assert machine.clocks.monotonic() - began < 1
        place.chmod(0o700)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 4096, 40_000])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(machine: Machine, size: int) -> None:
    with full_disk(size):
        message = fails(machine.database).message
        assert "disk I/O error" in message or "disk is full" in message
    assert machine.database.write(add, 0.0) == 1


def test_a_full_database_says_that_space_is_missing(machine: Machine) -> None:
    def fill(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        for _ in range(1000):
            add(db)

    machine.database.write(add, 0.0)
    with pytest.raises(JournalError) as raised:
        machine.database.write(fill, 0.0)
    assert raised.value.hint == "Free some disk space."
    assert counted(machine.database) == 1


# busy


def test_a_busy_journal_is_waited_for_by_the_inbox(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    with machine.locked() as db:
        machine.inbox.on_wait = lambda number: number == 3 and db.execute("ROLLBACK")
        assert machine.database.write(add, 5.0) == 2
        assert machine.inbox.waits == 3
        db.execute("BEGIN EXCLUSIVE")
        machine.inbox.on_wait = lambda number: number == 6 and db.execute("ROLLBACK")
        assert counted(machine.database) == 2


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_journal_that_stays_busy_is_given_up_in_time(machine: Machine, seconds: float) -> None:
    machine.database.write(add, 0.0)
    began = machine.clocks.monotonic()
    with machine.locked():
        error = fails(machine.database, seconds)
        assert began + seconds <= machine.clocks.monotonic() < began + seconds + 0.1
        with pytest.raises(JournalError, match="can't be read: database is locked"):
            counted(machine.database)
    assert error.hint == "Another process has it locked; if that hangs, end it."


@pytest.mark.parametrize(
    ("use", "is_pending", "has_time"),
    [
        (lambda database: database.write(add, 5.0), False, False),
        (lambda database: database.write(add, 5.0), True, False),
        (lambda database: database.persist(add, 5.0), False, True),
        (lambda database: database.persist(add, 5.0), True, True),
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
    assert counted(machine.database) == 1
    assert use(machine.database)


def test_without_an_inbox_nothing_waits_or_writes(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    quick = Database(str(machine.folder), None)
    assert counted(quick) == 1
    with quick.read() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        add(db)
    with machine.locked(), pytest.raises(JournalError, match="locked"):
        counted(quick)


def test_a_reader_that_keeps_a_commit_waiting_does_not_lose_it(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    with closing(sqlite3.connect(machine.file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        count(reader)
        machine.inbox.on_wait = lambda number: number == 2 and reader.execute("ROLLBACK")
        assert machine.database.write(add, 5.0) == 2
    assert machine.inbox.waits == 2


# a commit that fails


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_commit_that_fails_is_read_back(machine: Machine, *, is_applied: bool) -> None:
    machine.at_commit = lambda execute: execute("COMMIT" if is_applied else "ROLLBACK")
    database = machine.open()
    if is_applied:
        assert database.write(add, 5.0, lambda db: count(db) == 1) == 1
    else:
        with pytest.raises(JournalError) as raised:
            database.write(add, 5.0, lambda db: count(db) == 1)
        assert not isinstance(raised.value, DoubtError)
    assert "can't be written: disk I/O error" in fails(database).message


@pytest.mark.parametrize("trouble", ["unreadable", "signal"])
def test_a_commit_that_can_not_be_read_back_is_in_doubt(machine: Machine, trouble: str) -> None:
    def at_commit(execute: Callable[[str], object]) -> None:
        execute("COMMIT")
        if trouble == "unreadable":
            machine.file.write_bytes(JUNK)
        else:
            stack.enter_context(machine.locked())
            machine.inbox.on_wait = lambda _number: machine.inbox.interrupt(15)

    machine.at_commit = at_commit
    with ExitStack() as stack, pytest.raises(DoubtError, match="written: disk I/O error") as raised:
        machine.open().write(add, 5.0, lambda db: count(db) == 1)
    assert raised.value.hint


def test_the_file_and_its_undo_log_outlive_a_power_cut(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is synchronized before the first commit; no commit is the removal of a file."""
    synchronized: list[bool] = []

    def fsync(file: int) -> None:
        synchronized.append(os.path.samestat(os.fstat(file), machine.folder.stat()))
        assert machine.file.stat().st_size == 0

    monkeypatch.setattr(os, "fsync", fsync)
    machine.database.write(add, 0.0)
    assert synchronized == [True]
    undo = machine.folder / f"{FILE}-journal"
    before = undo.stat()
    machine.database.write(add, 0.0)
    assert os.path.samestat(before, undo.stat())
    assert undo.stat().st_size == 0


def test_a_killed_writer_is_rolled_back(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    kill = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN EXCLUSIVE")
for number in range(5000):
    db.execute("INSERT INTO listing (base_url, account) VALUES (?, 'A')", (number,))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", kill, machine.file], check=False, timeout=60)
    with pytest.raises(JournalError, match="read"):  # a Tab press rolls nothing back
        counted(Database(str(machine.folder), None))
    assert counted(machine.database) == 1


# corrupt


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


def test_a_journal_is_renamed_once_in_a_transaction(machine: Machine) -> None:
    def corrupts(db: sqlite3.Connection) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(JournalError, match="malformed"):
        machine.database.write(corrupts, 5.0)
    assert len(list(machine.folder.glob("*.corrupt-*[0-9]"))) == 1


def test_a_corrupt_journal_that_can_not_be_renamed_is_an_error(machine: Machine) -> None:
    with unprivileged() as place:
        (place / FILE).write_bytes(JUNK)
        place.chmod(0o500)
        database = Database(str(place), machine.inbox)
        message = fails(database).message
        assert message.endswith("can't be renamed, though it is corrupt: Permission denied.")
        place.chmod(0o700)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_journal_that_another_process_has_renamed_is_not_renamed_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """Another process is faster, just before this one has the lock."""
    machine.folder.mkdir()
    machine.file.write_bytes(JUNK)
    flock = fcntl.flock

    def late(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        machine.file.rename(machine.folder / "corrupt")
        if is_new:
            machine.open().write(add, 0.0)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert machine.database.write(add, 5.0) == 1 + is_new
    assert not list(machine.folder.glob("*.corrupt-*"))


def test_a_journal_that_is_renamed_while_it_is_opened_is_made_anew(machine: Machine) -> None:
    machine.database.write(add, 0.0)
    renames = [machine.folder / "aside"]

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        if renames:
            machine.file.rename(renames.pop())
        db: sqlite3.Connection = sqlite3.connect(*args, **kwargs)
        return db

    folder, clock = str(machine.folder), machine.clocks.monotonic
    assert Database(folder, machine.inbox, clock, connect).write(add, 5.0) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_whatever_is_in_the_file_a_write_succeeds_or_is_an_error(
    machine: Machine, data: st.DataObject
) -> None:
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


# locks of runs


def test_a_run_is_locked_while_its_process_lives(machine: Machine) -> None:
    assert machine.database.is_locked("run") is None
    lock = machine.database.hold_lock("run")
    assert lock is not None
    other = machine.open()
    assert other.is_locked("run") is True
    assert other.is_locked("other") is None
    assert other.hold_lock("run") is None  # it can't be: ids are random
    machine.database.release_lock("run", lock, remove=False)
    lock = other.hold_lock("run")
    assert lock is not None
    other.release_lock("run", lock, remove=False)
    assert other.is_locked("run") is False
    other.remove_lock("run")
    assert other.is_locked("run") is None
    lock = other.hold_lock("run")
    assert lock is not None
    other.remove_lock("run")
    other.release_lock("run", lock, remove=True)  # its file is gone


def test_where_locks_do_not_work_nothing_is_known(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    lock = machine.database.hold_lock("run")
    assert lock is not None
    machine.database.release_lock("run", lock, remove=False)
    monkeypatch.setattr(fcntl, "flock", fail)
    assert machine.database.is_locked("run") is None
    assert machine.database.hold_lock("other") is None
    assert not (machine.folder / "run-other.lock").exists()


def test_a_killed_process_lets_go_of_its_lock(machine: Machine) -> None:
    hold = """
import sys
from clc_reset.journal.database import Database
Database(sys.argv[1], None).hold_lock("run")
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", hold, str(machine.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert machine.database.is_locked("run") is True
        process.kill()
        process.wait(60)
    assert machine.database.is_locked("run") is False
