"""Checks among real processes: a terminal, and a program that can't be killed."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from clc_reset import checks
from clc_reset.workers import Inbox
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
inbox = Inbox()
inbox.handle_signals()
begun = lambda *_: print("begun", flush=True)
environ = {"PATH": "/usr/bin:/bin"}
problems = checks.run(sys.argv[1], "/", environ, inbox, ["A"], float(sys.argv[2]), begun)
print(problems["A"], inbox.signum)
"""
RESISTING = "int main(void) { setuid(0); setgid(0); sleep(20); return 0; }"


def test_one_that_asks_on_the_terminal_fails_with_its_reason() -> None:
    program = [sys.executable, "-c", PROGRAM, "read x < /dev/tty", "0.5"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(program[0], program)  # noqa: S606 - fork has made the terminal
    output = b""
    while b"\n" not in output.partition(b"begun\r\n")[2]:
        output += os.read(terminal, 1000)
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"cannot open /dev/tty" in output or b"/dev/tty: No such device" in output


def test_one_that_cannot_be_killed_is_let_go(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if os.geteuid() != 0 or compiler is None:
        pytest.skip("only root can make a program that others can't kill")
    source = tmp_path / "resisting.c"
    source.write_text(f"#include <unistd.h>\n{RESISTING}")
    program = Path("/tmp") / f"clc-resisting-{os.getpid()}"  # noqa: S108 - others can reach it there
    try:
        subprocess.run([compiler, source, "-o", program], check=True)
        program.chmod(0o4755)
        arguments = [sys.executable, "-c", PROGRAM, f"exec {program}", "60"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=10)  # it would sleep for longer
        assert output == "interrupted before it passed 15\n"
    finally:
        program.unlink()
