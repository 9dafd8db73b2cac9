"""Runs `clc` again and again in forks of one process, and sends it a signal at a line of its own.

`python -m tests.zygote` reads a line of JSON a run and answers each with one: the exit code, and
how many lines of the package the main thread has run, which is where a signal may come. A fork has
all modules loaded, so that a run takes a few milliseconds.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import keyring

import clc_reset.api.client
import clc_reset.auth.keyring
import clc_reset.cli.login
import clc_reset.cli.reset
import clc_reset.cli.status
import clc_reset.commands.login
import clc_reset.commands.reset
import clc_reset.commands.status
import clc_reset.ui.live
import clc_reset.ui.table
from clc_reset.__main__ import main as run
from tests import fakes

PACKAGE = str(Path(clc_reset.__file__).parent)


class Counter:
    """Counts the lines of the package that the main thread runs, and sends a signal at one."""

    def __init__(self, at: int, signum: int) -> None:
        self.lines = 0
        self._at = at
        self._signum = signum

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "call" and not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                os.kill(os.getpid(), self._signum)
        return self.trace


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run(writer, **request)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            lines = int(pipe.read() or 0)
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "lines": lines}
        print(json.dumps(answer), flush=True)


def _run(
    writer: int, argv: list[str], env: dict[str, str], folder: str, at: int, signum: int
) -> None:
    counter = Counter(at, signum)
    leave = os._exit

    def report_and_leave(code: int) -> NoReturn:
        sys.settrace(None)
        os.write(writer, f"{counter.lines}".encode())
        os.close(writer)
        leave(code)

    os._exit = report_and_leave  # type: ignore[assignment] # `run` ends with it
    try:
        os.environ.clear()
        os.environ.update(env)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            path = Path(folder, name)
            if number == 0:
                path.write_text("secret-of-demo\n")
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(path, flags, 0o600), number)
        keyring.set_keyring(fakes.MemoryKeyring())
        sys.argv = ["clc", *argv]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.current_thread().name = "MainThread"
        sys.settrace(counter.trace)
        run()
    except SystemExit as ended:  # before the command line was loaded
        os._exit(int(ended.code or 0))
    except BaseException:  # noqa: BLE001 - what the interpreter would print
        sys.settrace(None)
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


if __name__ == "__main__":
    main()
