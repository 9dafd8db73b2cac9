"""The operator's own command, in real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clc_reset import checks
from clc_reset.workers import Inbox
from tests.fakes import wait_until

LONG = 30.0
"""In seconds: what is waited for comes sooner, or the test fails."""


class Checked:
    """A check of some servers in a folder, and its tries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"PATH": os.environ["PATH"]}
        self.inbox = Inbox()
        self.tries: list[tuple[str, int]] = []

    def __call__(
        self,
        command: str,
        servers: str = "A",
        *,
        seconds: float = LONG,
        every: float = 0.05,
        attempt: Callable[[str], object] = lambda _server: None,
    ) -> dict[str, str | None]:
        """Return the problem of each server, None where it passed."""

        def tried(server: str, number: int) -> None:
            self.tries.append((server, number))
            attempt(server)

        names, folder = servers.split("|"), str(self.folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "EVERY", every)
            problems = checks.run(command, folder, self.environ, self.inbox, names, seconds, tried)
        return {server: problems.get(server) for server in names}

    def once(self, command: str, seconds: float = LONG, **options: Any) -> str | None:
        """Return the problem of one server that is tried once."""
        return self(command, seconds=seconds, every=LONG, **options)["A"]

    def written(self, name: str) -> str:
        path = self.folder / name
        return path.read_text().strip() if path.exists() else ""

    def runs(self, name: str) -> bool:
        """Return whether the process runs that wrote its id; one that waits to be read doesn't."""
        try:
            state = Path(f"/proc/{self.written(name) or 'none'}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return ") Z" not in state


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Checked]:
    before = signal.getsignal(signal.SIGCHLD)
    yield Checked(tmp_path)
    signal.signal(signal.SIGCHLD, before)


PROBLEMS = {
    "true": None,
    "exit 3": "exit code 3",
    "echo up; echo 'no route.' >&2; echo; exit 7": "exit code 7: no route",
    "printf 'not yet...'; exit 1": "exit code 1: not yet...",
    "exec >&- 2>&-; sleep 0.3; exit 4": "exit code 4",
    "kill -s SEGV $$": "killed by signal 11",
    "sleep 60": "no success within 1 s",
    "echo asking; trap 'exit 0' TERM; sleep 60": "no success within 1 s: asking",
    "read -r line": "exit code 1",  # there is nothing to read
}


def test_a_server_passes_by_the_commands_success_or_the_result_says_why_not(check: Checked) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a parent's `trap '' CHLD` has it
    assert check('eval "$CLC_SERVER"', "|".join(PROBLEMS), seconds=1.0, every=LONG) == PROBLEMS
    assert sorted(check.tries) == sorted((command, 1) for command in PROBLEMS)


def test_an_exit_code_that_somebody_else_has_taken_is_no_success(check: Checked) -> None:
    taken = check.once(
        "sleep 0.2", 0.6, attempt=lambda _server: signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    )
    assert taken == "exit code unknown"


def test_it_has_a_session_and_a_directory_of_its_own_no_terminal_and_no_credential(
    check: Checked,
) -> None:
    check.environ |= dict.fromkeys((*checks.CREDENTIALS, "CLC_BASE_URL", "OTHER"), "x")
    command = "env > env; ps -o sid= -p $$ > session; read -r x < /dev/tty"
    problem = check.once(command, 0.5)
    assert problem is not None
    assert "/dev/tty: No such device" in problem
    assert int(check.written("session")) != os.getsid(0)
    variables = dict(line.split("=", 1) for line in check.written("env").splitlines())
    assert {name for name in variables if name.startswith("CLC_")} == {"CLC_SERVER", "CLC_BASE_URL"}
    assert (variables["CLC_SERVER"], variables["OTHER"]) == ("A", "x")
    check.folder = Path("/gone")
    assert check.once("true") == "not tried: No such file or directory: /gone"


def test_what_it_prints_is_logged_in_whole_printable_lines_and_of_a_flood_the_beginning(
    check: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "clc_reset")
    check(
        "printf 'on'; sleep 0.1; printf 'e\\n\\n\\033[31mtwo\\r\\n' >&2\n"
        "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\nlast'"
    )
    assert caplog.messages == ["A: one", "A: [31mtwo", f"A: {'x' * checks.LONGEST_LINE}", "A: last"]
    assert check.once("seq 3000; exit 1", 1.5) == "exit code 1: 3000"
    assert caplog.messages[-2:] == ["A: 1000", "A: … (further lines are not shown)"]


@pytest.mark.parametrize("holder", ["sleep 20", "yes"])
def test_it_is_over_when_its_process_is(check: Checked, holder: str) -> None:
    began = time.monotonic()
    assert check.once(f"setsid {holder} & echo $! > child; sleep 0.1") is None
    assert time.monotonic() - began < 10
    with suppress(ProcessLookupError):  # `yes` ends when nobody reads it
        os.kill(int(check.written("child")), signal.SIGKILL)


@pytest.mark.parametrize("end", ["exit 0", "sleep 60"])
def test_nothing_is_left_running(check: Checked, end: str) -> None:
    check(f"echo $$ > pid; sleep 61 & echo $! > child; {end}", seconds=0.5)
    assert not check.runs("pid")
    wait_until(lambda: not check.runs("child"))


PROGRAM = """
import sys
from clc_reset import checks
from clc_reset.workers import Inbox
begun = lambda *_: print("begun", flush=True)
command = "echo $$ > pid; sleep 61 & echo $! > child; sleep 60"
checks.run(command, sys.argv[1], {"PATH": "/usr/bin:/bin"}, Inbox(), ["A"], 60, begun)
"""


def test_it_dies_with_clc_even_if_that_is_killed(check: Checked) -> None:
    program = [sys.executable, "-c", PROGRAM, str(check.folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"  # it is watched
        wait_until(lambda: check.written("child"))
        assert check.runs("pid")
        process.kill()
    wait_until(lambda: not (check.runs("pid") or check.runs("child")))


def test_it_is_tried_again_until_it_passes_whoever_hangs_and_the_last_words_are_the_reason(
    check: Checked,
) -> None:
    command = """echo x >> $CLC_SERVER; tries=$(wc -l < $CLC_SERVER)
    case $CLC_SERVER in
      [AB]) test $tries -ge 3; exit;;
      D) test $tries = 2 || exit 9;;
      E) test $tries = 2 && echo again || exit 9;;
    esac
    sleep 60"""
    assert check(command, "A|B|C|D|E", seconds=1.5) == {
        **dict.fromkeys("AB"),
        "C": "no success within 1.5 s",
        "D": "exit code 9",
        "E": "no success within 1.5 s: again",
    }
    tries = {"A": 3, "B": 3, "C": 1, "D": 2, "E": 2}
    assert sorted(check.tries) == [(s, n + 1) for s, most in tries.items() for n in range(most)]


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
@pytest.mark.parametrize(
    ("signum", "expected"),
    [(None, "no success within 0.5 s: up"), (15, "interrupted before it passed")],
)
def test_one_that_cannot_be_killed_is_let_go(
    check: Checked, monkeypatch: pytest.MonkeyPatch, signum: int | None, expected: str
) -> None:
    def refuse(_group: int, _signum: int) -> None:
        raise PermissionError

    def interrupt(_server: str) -> None:
        check.inbox.signum = signum

    monkeypatch.setattr(os, "killpg", refuse)
    began = time.monotonic()
    assert check.once("echo up; sleep 8; echo late", 0.5, attempt=interrupt) == expected
    assert time.monotonic() - began < 7


def test_a_signal_ends_all_and_keeps_what_has_passed(check: Checked) -> None:
    def interrupt(server: str) -> None:
        if server == "C":
            wait_until(lambda: check.written("B") and check.written("C") and not check.runs("A"))
            check.inbox.interrupt(signal.SIGTERM)

    command = 'echo $$ > $CLC_SERVER; test $CLC_SERVER = A || { trap "" TERM; sleep 60; }'
    began = time.monotonic()
    results = check(command, "A|B|C|D", attempt=interrupt)
    assert results == {"A": None, **dict.fromkeys("BCD", "interrupted before it passed")}
    assert check.tries == [("A", 1), ("B", 1), ("C", 1)]
    assert not any(map(check.runs, "BC"))
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("stops_first", [False, True])
def test_stopped_time_does_not_count(
    check: Checked, monkeypatch: pytest.MonkeyPatch, stops_first: bool
) -> None:
    def monotonic() -> float:
        return time.monotonic() + (1000 if check.written("stopped") else 0)

    def begin(_server: str) -> None:
        (check.folder / "begun").touch()
        if stops_first:  # while commands begin
            (check.folder / "stopped").write_text("x")

    monkeypatch.setattr(checks, "monotonic", monotonic)
    command = "until test -e begun; do sleep 0.1; done; echo x > stopped; sleep 0.3"
    assert check.once(command, attempt=begin) is None


def test_a_result_that_arrives_with_the_limit_counts(check: Checked) -> None:
    def wait(_server: str) -> None:
        wait_until(lambda: check.written("pid") and not check.runs("pid"))

    assert check.once("echo $$ > pid; sleep 0.3", 0.2, attempt=wait) is None


def test_a_display_that_fails_leaves_nothing_running(check: Checked) -> None:
    def fail(_server: str) -> None:
        wait_until(lambda: check.written("pid"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check("echo $$ > pid; sleep 60", attempt=fail)
    assert not check.runs("pid")


def test_those_that_hang_starve_no_other(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "AT_A_TIME", 2)

    def count_running(_server: str) -> None:
        assert sum(map(check.runs, "ABCDE")) <= 2

    command = "echo $$ > $CLC_SERVER; test $CLC_SERVER = E || sleep 60"
    problem = "no success within 3 s"
    expected = {**dict.fromkeys("ABCD", problem), "E": None}
    assert check(command, "A|B|C|D|E", seconds=3.0, attempt=count_running) == expected


def test_one_that_was_never_tried_says_so(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "AT_A_TIME", 1)
    command = "echo $$ > pid; trap '' TERM; while :; do sleep 1; done"
    results = check(command, "A|B", seconds=0.5)
    assert results == {"A": "no success within 0.5 s", "B": "not tried within 0.5 s"}
    assert not check.runs("pid")


@pytest.mark.parametrize("most", [0, 1, 4])  # the watcher is one of them
def test_where_processes_are_short_fewer_run_at_a_time_or_none_is_tried(
    check: Checked, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    popen: Callable[..., subprocess.Popen[Any]] = subprocess.Popen
    started: list[subprocess.Popen[Any]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        if sum(process.returncode is None for process in started) >= most:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    problem = None if most > 1 else "not tried: Resource temporarily unavailable"
    assert check("echo x > ran; sleep 0.1", "A|B|C|D|E") == dict.fromkeys("ABCDE", problem)
    assert sorted(check.tries) == ([(server, 1) for server in "ABCDE"] if most > 1 else [])
    assert (check.folder / "ran").exists() is (most > 1)
    assert all(process.returncode is not None for process in started)
