"""The operator's own command, in real processes."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest

from clc_reset import checks
from clc_reset.checks import ShellCheck
from clc_reset.errors import Interrupted
from clc_reset.threads import Stop
from tests.fakes import wait_until

LONG = 30.0
"""In seconds: what is waited for comes sooner, or the test fails."""


class Checked:
    """A check of some servers, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = Stop()
        self.tries: list[tuple[str, int]] = []

    def __call__(
        self,
        command: str,
        *servers: str,
        seconds: float = LONG,
        every: float = 0.05,
        environ: dict[str, str] | None = None,
        stderr: TextIO | None = None,
    ) -> set[str]:
        here = {"PATH": os.environ["PATH"], "FOLDER": str(self.folder), **(environ or {})}
        check = ShellCheck(command, here, stderr, every=every)
        return check(servers or ("A",), seconds, self.stop, self._trying)

    def _trying(self, server: str, tries: int) -> None:
        self.tries.append((server, tries))

    def written(self, name: str) -> str:
        path = self.folder / name
        return path.read_text().strip() if path.exists() else ""


@pytest.fixture
def check(tmp_path: Path) -> Checked:
    return Checked(tmp_path)


def is_alive(pid: str) -> bool:
    """Whether a process runs; one that has ended and waits to be read doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_server_passes_by_the_commands_success(check: Checked) -> None:
    assert check('test "$CLC_SERVER" != B', "A", "B", "C", seconds=0.5) == {"A", "C"}


def test_it_is_tried_again_until_it_passes_and_each_try_is_told(check: Checked) -> None:
    command = 'echo x >> "$FOLDER/$CLC_SERVER"; test $(wc -l < "$FOLDER/$CLC_SERVER") -ge 3'
    assert check(command, "A", "B") == {"A", "B"}
    assert sorted(check.tries) == [(name, number) for name in "AB" for number in (1, 2, 3)]


def test_it_is_tried_again_only_after_a_while(check: Checked) -> None:
    assert check("false", seconds=0.5, every=LONG) == set()
    assert check.tries == [("A", 1)]


def test_a_command_that_hangs_keeps_no_other_server_from_being_tried_again(check: Checked) -> None:
    command = (
        'test "$CLC_SERVER" = B && exec sleep 60\n'
        'echo x >> "$FOLDER/A"; test $(wc -l < "$FOLDER/A") -ge 3'
    )
    assert check(command, "A", "B", seconds=2.0) == {"A"}
    assert check.tries.count(("B", 1)) == 1


def test_its_time_is_limited_and_nothing_is_left_running(check: Checked) -> None:
    began = time.monotonic()
    assert check('echo $$ > "$FOLDER/pid"; sleep 60; true', seconds=0.5) == set()
    assert time.monotonic() - began < 10
    assert not is_alive(check.written("pid"))


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "sleep 60"])
def test_a_command_that_forks_children_leaves_none_behind(check: Checked, end: str) -> None:
    check(f'sleep 61 & echo $! > "$FOLDER/child"; {end}', seconds=0.5, every=LONG)
    assert check.written("child")
    wait_until(lambda: not is_alive(check.written("child")))


def test_no_credential_is_in_its_environment(check: Checked) -> None:
    environ = {"CLC_TOKEN": "secret", "CLC_PASSWORD": "secret", "CLC_BASE_URL": "x", "OTHER": "y"}
    assert check('env > "$FOLDER/env"', environ=environ) == {"A"}
    variables = dict(line.split("=", 1) for line in check.written("env").splitlines())
    assert {name for name in variables if name.startswith("CLC_")} == {"CLC_SERVER", "CLC_BASE_URL"}
    assert (variables["CLC_SERVER"], variables["CLC_BASE_URL"]) == ("A", "x")
    assert variables["OTHER"] == "y"
    assert "secret" not in variables.values()


def test_what_it_prints_goes_to_standard_error(check: Checked, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        check("echo out; echo err >&2", stderr=stderr)
    assert check.written("stderr") == "out\nerr"


@pytest.mark.parametrize("closed", [False, True])
def test_where_standard_error_is_no_file_what_it_prints_is_lost(
    check: Checked, tmp_path: Path, closed: bool
) -> None:
    stderr: TextIO = io.StringIO()
    if closed:
        stderr = (tmp_path / "stderr").open("w")
        stderr.close()
    assert check("echo x", stderr=stderr) == {"A"}


def test_it_is_given_nothing_to_read(check: Checked) -> None:
    assert check("! read -r line") == {"A"}


def test_without_servers_there_is_nothing_to_run() -> None:
    assert ShellCheck("false", {}, None)([], LONG, Stop(), lambda *_: None) == set()


def test_a_signal_ends_it_and_all_commands(check: Checked) -> None:
    def interrupt(server: str, tries: int) -> None:
        if server == "B":
            wait_until(lambda: check.written("A") and check.written("B"))
            check.stop.set(signal.SIGTERM)

    command = 'echo $$ > "$FOLDER/$CLC_SERVER"; sleep 60'
    environ = {"PATH": os.environ["PATH"], "FOLDER": str(check.folder)}
    with pytest.raises(Interrupted):
        ShellCheck(command, environ, None)(["A", "B"], LONG, check.stop, interrupt)
    assert not is_alive(check.written("A"))
    assert not is_alive(check.written("B"))


PROGRAM = """
import sys
from clc_reset.checks import ShellCheck
from clc_reset.threads import Stop
command = 'echo $$ > "$FOLDER/pid"; sleep 61 & echo $! > "$FOLDER/child"; sleep 60'
ShellCheck(command, {"PATH": "/usr/bin:/bin", "FOLDER": sys.argv[1]}, None)(
    ["A"], 60, Stop(), lambda *_: None)
"""


def test_it_dies_with_clc_even_if_that_is_killed(check: Checked) -> None:
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(check.folder)]
    with subprocess.Popen(program) as process:
        wait_until(lambda: check.written("child"))
        assert is_alive(check.written("pid"))
        process.kill()
    wait_until(lambda: not is_alive(check.written("pid")))
    wait_until(lambda: not is_alive(check.written("child")))


# where processes are short


class FewProcesses:
    """Lets so many commands run at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.running: list[subprocess.Popen[Any]] = []
        self._popen: Callable[..., subprocess.Popen[Any]] = subprocess.Popen

    def __call__(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        self.running = [each for each in self.running if each.poll() is None]
        if len(self.running) >= self.most:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.running.append(self._popen(arguments, **options))
        return self.running[-1]


def test_where_processes_are_short_fewer_run_at_a_time(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FewProcesses(4)  # a command and who watches it, for two servers
    monkeypatch.setattr(subprocess, "Popen", few)
    servers = [f"S{n}" for n in range(5)]
    assert check("sleep 0.1", *servers) == set(servers)
    assert sorted(check.tries) == [(each, 1) for each in servers]


@pytest.mark.parametrize("most", [0, 1])
def test_where_none_can_be_had_it_is_an_error_and_nothing_is_left_running(
    check: Checked, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    few = FewProcesses(most)
    monkeypatch.setattr(subprocess, "Popen", few)
    with pytest.raises(OSError, match="temporarily unavailable"):
        check("sleep 60")
    assert all(each.returncode == -signal.SIGKILL for each in few.running)


def test_a_command_that_nobody_could_end_is_not_begun(
    check: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were this process killed before its watch is there, it would go on."""
    monkeypatch.setattr(subprocess, "Popen", FewProcesses(1))
    with pytest.raises(OSError, match="temporarily unavailable"):
        check('echo x > "$FOLDER/ran"')
    assert not (check.folder / "ran").exists()


def test_there_is_a_limit_to_the_commands_at_a_time(check: Checked) -> None:
    servers = [f"S{n}" for n in range(checks.AT_A_TIME + 3)]
    passed = check("sleep 60", *servers, seconds=1.0)
    assert passed == set()
    assert len(check.tries) <= checks.AT_A_TIME
