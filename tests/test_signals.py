"""Each command again and again, each time with a signal at another line of its own.

A run is a fork with all modules loaded, so that it takes a few milliseconds: of a process that has
one thread, `python -m tests.test_signals NAME FOLDER SAMPLES`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import keyring
import pytest

import clc_reset
from clc_reset.__main__ import main as clc
from clc_reset.clocks import Clocks
from clc_reset.journal.rows import RowState, Run
from clc_reset.journal.runs import Journal
from clc_reset.workers import Inbox
from tests.builders import A, B
from tests.fakes import Loopback, MemoryKeyring, http, jwt, queued, rows, wait_until

for module in ("cli", "commands"):
    for name in ("login", "reset", "status"):
        import_module(f"clc_reset.{module}.{name}")
for name in ("auth.keyring", "ui.live", "ui.table"):
    import_module(f"clc_reset.{name}")

QUEUED = http(200, [queued(B, "wa1-1"), queued(A, "wa1-1")])
RUNNING = http(200, {"status": "executing"})
DONE = http(200, {"status": "succeeded"})
LOGIN = http(200, {"userName": "demo", "accountAlias": "ABCD", "bearerToken": jwt()})

SCRIPTS: dict[str, tuple[list[str], list[bytes]]] = {
    "reset": (["reset", A, B, "-o", "json"], [QUEUED]),
    "reset --wait": (["reset", A, B, "--wait"], [QUEUED, RUNNING, DONE]),
    "status --wait": (["status", "--wait"], [RUNNING, DONE]),
    "login": (["login", "-u", "demo", "--password-stdin"], [LOGIN]),
}
SAMPLES = os.environ.get("CLC_TEST_SAMPLES", "8")  # here: a test has no CLC_* variables
FIRST = 2
"""The line before it is `try:`, which can't catch what comes at it."""
PACKAGE = str(Path(clc_reset.__file__).parent)


class Ended(NamedTuple):
    """What a run came to. `lines` of the package were run by its main thread."""

    code: int
    lines: int
    stdout: str
    stderr: str
    posts: int
    run: Run | None
    signum: int


def run(
    server: Loopback, name: str, folder: Path, at: int = 0, signum: int = signal.SIGINT
) -> Ended:
    """Run one of SCRIPTS in a new folder, with a signal at the line of that number, or none."""
    if name == "status --wait":
        shutil.copytree(folder.with_name("reset"), folder)
    else:
        folder.mkdir()
    argv, script = SCRIPTS[name]
    server.script[:] = script
    server.requests.clear()
    token = {} if name == "login" else {"CLC_TOKEN": jwt()}
    variables = {**_environ(folder), "CLC_BASE_URL": server.url, **token}
    (folder / "stdin").write_text("secret-of-demo\n")
    (folder / "lines").write_text("")
    wait_until(lambda: threading.active_count() == 1)
    child = os.fork()
    if child == 0:
        _become(argv, variables, folder, at, signum)
    serving = threading.Thread(target=server.serve_forever, args=(0.005,))
    serving.start()  # after the fork, which has one thread only
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    server.shutdown()
    serving.join()
    posts = sum(request.startswith(b"POST /v2/operations/") for request in server.requests)
    runs = Journal.of_environment(_environ(folder), Inbox(), Clocks()).runs(1, ())
    stdout, stderr, lines = ((folder / name).read_text() for name in ("stdout", "stderr", "lines"))
    return Ended(code, int(lines or 0), stdout, stderr, posts, runs[0] if runs else None, signum)


def _environ(folder: Path) -> dict[str, str]:
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **home}


def _become(
    argv: list[str], environ: dict[str, str], folder: Path, at: int, signum: int
) -> NoReturn:
    """Be `clc`, and count the lines of the package that the main thread runs."""
    lines, leave = 0, os._exit

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if event == "call" and not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                os.kill(os.getpid(), signum)
        return trace

    def count_and_leave(code: int) -> NoReturn:
        sys.settrace(None)
        (folder / "lines").write_text(f"{lines}")
        leave(code)

    os._exit = count_and_leave  # type: ignore[assignment] # `clc` ends with it
    try:
        os.environ.clear()
        os.environ.update(environ)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(os.open(folder / name, flags if number else os.O_RDONLY, 0o600), number)
        keyring.set_keyring(MemoryKeyring())
        sys.argv = ["clc", *argv]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.settrace(trace)
        clc()
    except SystemExit as ended:  # before the command line was loaded
        os._exit(int(ended.code or 0))
    except BaseException:  # noqa: BLE001 - what the interpreter would print
        sys.settrace(None)
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(99)


def check(name: str, ended: Ended) -> None:
    """Fail unless what the API saw, what was printed, the journal and the exit code agree."""
    shown = ended.stdout + ended.stderr
    for words in ("Traceback", "bug in clc", "Exception ignored", "secret-of-demo"):
        assert words not in shown, shown
    sends = name.startswith("reset")
    assert ended.posts <= sends, ended
    if ended.code == -ended.signum:  # before there was a handler
        assert (ended.posts, shown) == (0, ""), ended
        return
    states = _states(ended.stdout)
    is_unknown = "unknown" in states.values()
    is_interrupted = ended.code == 128 + ended.signum
    assert is_interrupted or ended.code == (6 if is_unknown else 0), ended
    recorded = {row.state for row in ended.run.rows} if ended.run else set()
    if name == "login":
        return
    if sends and ended.posts == 0 and states == {}:
        assert is_interrupted, ended
        assert recorded <= {RowState.PLANNED}, ended
        assert ended.run is None or not ended.run.may_go_on, ended
    elif is_unknown:
        assert sends, ended
        assert states == {A: "unknown", B: "unknown"}, ended
        # the process may end between its decision to send and the first byte
        assert ended.posts == 1 or is_interrupted, ended
        assert recorded == {RowState.UNKNOWN}, ended
    else:
        # a signal before `status` asked leaves no more to say than that it was interrupted
        says_nothing = is_interrupted and not (sends or states)
        assert set(states) == {A, B} or says_nothing, ended
        assert ended.posts == sends, ended
        is_over = "--wait" in name and not is_interrupted
        said = {"succeeded"} if is_over else {"queued", "running", "succeeded"}
        assert set(states.values()) <= said, ended
        assert recorded == {RowState.QUEUED}, ended


def _states(stdout: str) -> dict[str, str]:
    if stdout.startswith("{"):
        servers = json.loads(stdout).get("servers", [])
        return {server["server"]: server["state"] for server in servers}
    return {row[0]: row[1] for row in rows(stdout)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_signal_at_any_line_loses_nothing_and_shows_the_truth(tmp_path: Path, name: str) -> None:
    program = [sys.executable, "-m", __name__, name, str(tmp_path), SAMPLES]
    ended = subprocess.run(program, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stderr


def main(name: str, folder: Path, samples: int) -> None:
    with Loopback() as server:
        if name == "status --wait":
            run(server, "reset", folder / "reset")
        whole = run(server, name, folder / "whole")
        assert (whole.code, whole.posts) == (0, name.startswith("reset")), whole
        check(name, whole)
        with suppress(AssertionError):
            check(name, whole._replace(posts=whole.posts + 1))
            sys.exit("the check can't fail")
        step = max(1, whole.lines // samples)
        signals = cycle((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        for line in range(FIRST, whole.lines + 1, step):
            check(name, run(server, name, folder / f"{line}", line, next(signals)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
