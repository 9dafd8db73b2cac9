"""The operator's own command, in real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clc_reset import checks
from clc_reset.checks import CheckResult, Checks
from clc_reset.workers import Inbox
from tests.fakes import wait_until

LONG = 30.0
"""In seconds: what is waited for comes sooner, or the test fails."""
PASSED = CheckResult(passed=True, problem=None)


class Checked:
    """A check of some servers, and its tries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = Inbox()
        self.tries: list[tuple[str, int]] = []

    def __call__(
        self,
        command: str,
        *servers: str,
        seconds: float = LONG,
        every: float = 0.05,
        environ: dict[str, str] | None = None,
        directory: str | None = None,
        attempt: Callable[[str, int], None] = lambda _server, _number: None,
    ) -> dict[str, CheckResult]:
        def tried(server: str, number: int) -> None:
            self.tries.append((server, number))
            attempt(server, number)

        here = {"PATH": os.environ["PATH"], "FOLDER": str(self.folder), **(environ or {})}
        check = Checks(command, directory, here, self.inbox)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "EVERY", every)
            return check.run(servers or ("A",), seconds, tried)

    def problem(self, command: str, seconds: float = LONG, **options: Any) -> str | None:
        """Return why a check failed that is tried once."""
        (result,) = self(command, seconds=seconds, every=LONG, **options).values()
        return result.problem

    def written(self, name: str) -> str:
        path = self.folder / name
        return path.read_text().strip() if path.exists() else ""


@pytest.fixture
def check(tmp_path: Path) -> Checked:
    return Checked(tmp_path)


@pytest.fixture(autouse=True)
def _sigchld() -> Iterator[None]:
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


def passed(results: dict[str, CheckResult]) -> set[str]:
    return {server for server, result in results.items() if result == PASSED}


def is_alive(pid: str) -> bool:
    """Return whether a process runs; one that has ended and waits to be read doesn't."""
    if not pid:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# one command


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
    results = check('eval "$CLC_SERVER"', *PROBLEMS, seconds=1.0, every=LONG)
    assert {command: result.problem for command, result in results.items()} == PROBLEMS
    assert passed(results) == {"true"}
    assert sorted(check.tries) == sorted((command, 1) for command in PROBLEMS)


def test_it_has_no_terminal_and_a_session_of_its_own(check: Checked) -> None:
    problem = check.problem('ps -o sid= -p $$ > "$FOLDER/session"; read -r x < /dev/tty', 0.5)
    assert problem is not None
    assert "/dev/tty: No such device" in problem
    assert int(check.written("session")) != os.getsid(0)


def test_no_credential_is_in_its_environment(check: Checked) -> None:
    environ = dict.fromkeys((*checks.CREDENTIALS, "CLC_BASE_URL", "OTHER"), "x")
    assert check('env > "$FOLDER/env"', environ=environ) == {"A": PASSED}
    variables = dict(line.split("=", 1) for line in check.written("env").splitlines())
    assert {name for name in variables if name.startswith("CLC_")} == {"CLC_SERVER", "CLC_BASE_URL"}
    assert (variables["CLC_SERVER"], variables["OTHER"]) == ("A", "x")


def test_it_runs_in_its_directory(check: Checked) -> None:
    assert passed(check('test "$(pwd)" = "$FOLDER"', directory=str(check.folder))) == {"A"}
    problem = check.problem("true", directory="/gone")
    assert problem == "not tried: No such file or directory: /gone"


def test_what_it_prints_is_logged_in_whole_printable_lines(
    check: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "clc_reset")
    check(
        "printf 'on'; sleep 0.1; printf 'e\\n\\n\\033[31mtwo\\r\\n' >&2\n"
        "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\nlast'"
    )
    assert caplog.messages == ["A: one", "A: [31mtwo", f"A: {'x' * checks.LONGEST_LINE}", "A: last"]


@pytest.mark.parametrize("holder", ["sleep 20", "yes"])
def test_it_is_over_when_its_process_is(check: Checked, holder: str) -> None:
    began = time.monotonic()
    assert passed(check(f'setsid {holder} & echo $! > "$FOLDER/child"; sleep 0.1')) == {"A"}
    assert time.monotonic() - began < 10
    with suppress(ProcessLookupError):  # `yes` ends when nobody reads it
        os.kill(int(check.written("child")), signal.SIGKILL)


def test_of_a_flood_the_beginning_is_logged(
    check: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "clc_reset")
    assert check.problem("seq 100000; exit 1", 0.5) == "exit code 1: 100000"
    assert caplog.messages[-2:] == ["A: 1000", "A: … (further lines are not shown)"]


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "sleep 60", "trap '' TERM; sleep 60; true"])
def test_nothing_is_left_running(check: Checked, end: str) -> None:
    check(f'echo $$ > "$FOLDER/pid"; sleep 61 & echo $! > "$FOLDER/child"; {end}', seconds=0.5)
    assert not is_alive(check.written("pid"))
    wait_until(lambda: not is_alive(check.written("child")))


def test_an_ignored_sigchld_loses_no_exit_code_and_a_lost_one_is_no_success(
    check: Checked,
) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    assert check.problem("exit 3", 0.4) == "exit code 3"

    def ignore(_server: str, _number: int) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    assert check.problem("sleep 0.2", 0.6, attempt=ignore) == "exit code unknown"


# time


def test_it_is_tried_again_until_it_passes(check: Checked) -> None:
    command = 'echo x >> "$FOLDER/$CLC_SERVER"; test $(wc -l < "$FOLDER/$CLC_SERVER") -ge 3'
    assert passed(check(command, "A", "B")) == {"A", "B"}
    assert sorted(check.tries) == [(name, number) for name in "AB" for number in (1, 2, 3)]


def test_the_last_try_that_says_something_is_the_reason(check: Checked) -> None:
    command = 'test -e "$FOLDER/$CLC_SERVER" || { echo x > "$FOLDER/$CLC_SERVER"; exit 9; }; '
    results = check(
        f"{command} test $CLC_SERVER = A || echo again; sleep 60", "A", "B", seconds=1.0
    )
    assert results["A"].problem == "exit code 9"
    assert results["B"].problem == "no success within 1 s: again"


def test_one_that_cannot_be_killed_is_let_go(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_group: int, _signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    began = time.monotonic()
    problem = check.problem("echo up; sleep 8; echo late", 0.5)
    assert problem == "no success within 0.5 s: up"
    assert time.monotonic() - began < 7


def test_a_signal_ends_all_and_keeps_what_has_passed(check: Checked) -> None:
    def interrupt(server: str, _number: int) -> None:
        if server == "C":
            wait_until(lambda: check.written("B") and check.written("C"))
            wait_until(lambda: not is_alive(check.written("A")))
            check.inbox.interrupt(signal.SIGTERM)

    command = 'echo $$ > "$FOLDER/$CLC_SERVER"; test $CLC_SERVER = A || { trap "" TERM; sleep 60; }'
    began = time.monotonic()
    results = check(command, *"ABCD", attempt=interrupt)
    interrupted = CheckResult(passed=False, problem="interrupted before it passed")
    assert results == {"A": PASSED, "B": interrupted, "C": interrupted, "D": interrupted}
    assert check.tries == [("A", 1), ("B", 1), ("C", 1)]
    assert not is_alive(check.written("B"))
    assert not is_alive(check.written("C"))
    assert time.monotonic() - began < 8


def test_stopped_time_does_not_count(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    def monotonic() -> float:
        return time.monotonic() + (1000 if check.written("stopped") else 0)

    def start(_server: str, _number: int) -> None:
        (check.folder / "begun").touch()

    monkeypatch.setattr(checks, "monotonic", monotonic)
    until_begun = 'until test -e "$FOLDER/begun"; do sleep 0.1; done'
    command = f'{until_begun}; echo x > "$FOLDER/stopped"; sleep 0.3'
    assert passed(check(command, attempt=start)) == {"A"}


def test_a_result_that_arrives_with_the_limit_counts(check: Checked) -> None:
    def wait(_server: str, _number: int) -> None:
        wait_until(lambda: check.written("pid") and not is_alive(check.written("pid")))

    assert passed(check('echo $$ > "$FOLDER/pid"; sleep 0.3', seconds=0.2, attempt=wait)) == {"A"}


def test_a_display_that_fails_leaves_nothing_running(check: Checked) -> None:
    def fail(_server: str, _number: int) -> None:
        wait_until(lambda: check.written("pid"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check('echo $$ > "$FOLDER/pid"; sleep 60', attempt=fail)
    assert not is_alive(check.written("pid"))


PROGRAM = """
import sys
from clc_reset.checks import Checks
from clc_reset.workers import Inbox
command = 'echo $$ > "$FOLDER/pid"; sleep 61 & echo $! > "$FOLDER/child"; sleep 60'
environ = {"PATH": "/usr/bin:/bin", "FOLDER": sys.argv[1]}
Checks(command, None, environ, Inbox()).run(["A"], 60, print)
"""


def test_it_dies_with_clc_even_if_that_is_killed(check: Checked) -> None:
    program = [sys.executable, "-c", PROGRAM, str(check.folder)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: check.written("child"))
        assert is_alive(check.written("pid"))
        process.kill()
    wait_until(lambda: not is_alive(check.written("pid")))
    wait_until(lambda: not is_alive(check.written("child")))


# many commands


def test_one_that_hangs_keeps_no_other_from_being_tried_again(check: Checked) -> None:
    command = (
        'test "$CLC_SERVER" = B && exec sleep 60\n'
        'echo x >> "$FOLDER/A"; test $(wc -l < "$FOLDER/A") -ge 3'
    )
    assert passed(check(command, "A", "B", seconds=1.5)) == {"A"}
    assert check.tries.count(("B", 1)) == 1


def test_those_that_hang_starve_no_other(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "AT_A_TIME", 2)
    command = 'echo $$ > "$FOLDER/$CLC_SERVER"; test $CLC_SERVER = E || sleep 60'

    def count_running(_server: str, _number: int) -> None:
        assert sum(is_alive(check.written(server)) for server in "ABCDE") <= 2

    assert passed(check(command, *"ABCDE", seconds=3.0, attempt=count_running)) == {"E"}
    assert {server for server, _ in check.tries} == set("ABCDE")


def test_one_that_was_never_tried_says_so(check: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "AT_A_TIME", 1)
    results = check("trap '' TERM; while :; do sleep 1; done", "A", "B", seconds=0.5)
    assert results["A"].problem == "no success within 0.5 s"
    assert results["B"].problem == "not tried within 0.5 s"


def test_results_of_other_calls_are_dropped(check: Checked) -> None:
    check.inbox.submit("other", lambda: None)
    assert passed(check("sleep 0.2")) == {"A"}
    assert Checks("false", None, {}, check.inbox).run([], LONG, lambda *_: None) == {}


# where processes are short


class FewProcesses:
    """Lets so many commands run at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.running: list[subprocess.Popen[Any]] = []
        self._popen: Callable[..., subprocess.Popen[Any]] = subprocess.Popen

    def __call__(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        self.running = [process for process in self.running if process.returncode is None]
        if len(self.running) >= self.most:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.running.append(self._popen(arguments, **options))
        return self.running[-1]


def test_where_processes_are_short_fewer_run_at_a_time(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", FewProcesses(4))  # with its watcher each
    servers = [f"S{n}" for n in range(5)]
    assert passed(check("sleep 0.1", *servers)) == set(servers)
    assert sorted(check.tries) == [(server, 1) for server in servers]


@pytest.mark.parametrize("most", [0, 1])
def test_without_a_process_or_its_watcher_nothing_is_tried(
    check: Checked, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    few = FewProcesses(most)
    monkeypatch.setattr(subprocess, "Popen", few)
    problem = check.problem('echo x > "$FOLDER/ran"')
    assert problem == "not tried: Resource temporarily unavailable"
    assert not (check.folder / "ran").exists()
    assert all(process.returncode == -signal.SIGKILL for process in few.running)


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning", "ignore:unclosed:ResourceWarning")
def test_without_a_thread_to_watch_it_a_check_fails(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert check.problem("sleep 60", 0.5) == "not watched: can't start new thread"
