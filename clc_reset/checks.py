"""The operator's own command that tells whether a server is back, run for many at once."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import BinaryIO, TextIO, cast

from clc_reset.threads import Stop

SERVER_VARIABLE = "CLC_SERVER"
CREDENTIALS = {
    *("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD", "CLC_PASSWORD_FILE")
}
"""Variables that are kept from it; those that say where the API is are not."""
EVERY = 5.0
"""Seconds from the end of one try to the next."""
AT_A_TIME = 64
"""Commands at the most; one that hangs keeps its place until the end."""
LOOK_EVERY = 0.05
"""Seconds between two looks at whether a command has ended."""

# the command begins once it is watched: with a line, which never comes from a process that is gone
_START = 'read -r _ && exec /bin/sh -c "$0" sh < /dev/null'
# ends the command's process group when this process is gone, however it went: the pipe's end tells
_WATCH = 'read -r _; kill -s KILL -- "-$0" 2> /dev/null'


class ShellCheck:
    """A command for `sh -c`, with the server in CLC_SERVER and no credential in its environment.

    What it prints goes to standard error. It is tried again `every` seconds after it has failed.
    """

    def __init__(
        self,
        command: str,
        environ: Mapping[str, str],
        stderr: TextIO | None,
        *,
        every: float = EVERY,
    ) -> None:
        self._command = command
        self._environ = {k: v for k, v in environ.items() if k not in CREDENTIALS}
        self._stderr = stderr
        self._every = every

    def __call__(
        self,
        servers: Sequence[str],
        seconds: float,
        stop: Stop,
        trying: Callable[[str, int], None],
    ) -> set[str]:
        """Run it for each server until it succeeds, for so many seconds; return who passed.

        `trying` is told of each try and its number. Raises Interrupted, and OSError if no
        process can be had. No command is left running.
        """
        deadline = monotonic() + seconds
        due = dict.fromkeys(servers, 0.0)  # who waits for a try, and when it may begin
        tries = dict.fromkeys(servers, 0)
        running: dict[str, _Run] = {}
        passed: set[str] = set()
        try:
            while (due or running) and monotonic() < deadline:
                for server in self._begin(due, running):
                    tries[server] += 1
                    trying(server, tries[server])
                for server in [each for each, run in running.items() if run.has_ended()]:
                    if running.pop(server).end() == 0:
                        passed.add(server)
                    else:
                        due[server] = monotonic() + self._every
                if due or running:
                    stop.sleep(LOOK_EVERY)
        finally:
            for each in running.values():
                each.end()
        return passed

    def _begin(self, due: dict[str, float], running: "dict[str, _Run]") -> list[str]:
        """Begin what is due while there are places, those who have waited longest first."""
        begun = []
        for server in sorted(due, key=due.__getitem__)[: AT_A_TIME - len(running)]:
            if due[server] > monotonic():
                break
            try:
                running[server] = _Run(
                    self._command, {**self._environ, SERVER_VARIABLE: server}, self._output()
                )
            except OSError:
                if not running:
                    raise
                break  # there are as many as the system gives
            del due[server]
            begun.append(server)
        return begun

    def _output(self) -> int:
        try:
            return subprocess.DEVNULL if self._stderr is None else self._stderr.fileno()
        except (OSError, ValueError):  # in memory, or closed
            return subprocess.DEVNULL


class _Run:
    """A command that is running, and the one that ends it if this process can't."""

    def __init__(self, command: str, environ: Mapping[str, str], output: int) -> None:
        self._process = _shell(_START, command, environ, output)
        try:
            number, path = f"{self._process.pid}", {"PATH": os.defpath}
            self._watch = _shell(_WATCH, number, path, subprocess.DEVNULL)
        except OSError:
            self._kill()
            raise
        go = cast("BinaryIO", self._process.stdin)
        with suppress(BrokenPipeError), go:  # somebody may have killed it
            go.write(b"\n")

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> int:
        """End it, and all that it started; return its exit code."""
        with self._watch:  # which closes the pipe and waits
            self._watch.kill()
        return self._kill()

    def _kill(self) -> int:
        with self._process, suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.returncode


def _shell(
    script: str, name: str, environ: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    """Run a script in a process group of its own, with a pipe to it; `name` is its `$0`."""
    return subprocess.Popen(  # noqa: S603 - the user's own command, which is asked for
        ["/bin/sh", "-c", script, name],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        process_group=0,
    )
