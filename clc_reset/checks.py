"""The operator's own command that tells whether a server is back, run for many servers at once.

Each try is a shell in a session of its own, without a terminal: a command that asks for a password
there fails at once. A thread reads what it prints and waits for its end, so that the main thread
waits for results and signals only.
"""

import math
import os
import select
import signal
import subprocess
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from io import FileIO
from logging import getLogger
from time import monotonic, sleep
from typing import NamedTuple

from clc_reset.errors import Interrupted
from clc_reset.text import printable, show_seconds
from clc_reset.workers import SUSPENDED_SECONDS, Failure, Inbox

CREDENTIALS = frozenset(
    ("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD", "CLC_PASSWORD_FILE")
)
"""Variables that a command doesn't get; those that say where the API is are passed on."""
EVERY = 5.0
"""Seconds from the end of one try to the next."""
AT_A_TIME = 64
"""Commands at the most."""
LONGEST_LINE = 500
"""Characters of a printed line that are shown."""
MOST_LINES = 1000
"""Lines of a try that are shown."""

_TERM_SECONDS = 2.0
"""From SIGTERM to SIGKILL."""
_INTERRUPTED_TERM_SECONDS = 0.5
"""The same after a signal to this process, which has to end soon."""
_KILL_SECONDS = 0.5
"""From SIGKILL until a process that can't be killed (setuid, sudo) is let go."""
_LOOK_SECONDS = 0.25
"""Between two looks at what no result announces: the clock, a process that left its pipe open."""
_LONGEST_BYTES = 4 * LONGEST_LINE  # in UTF-8

# ends a command's process group when this process is gone, even by SIGKILL: its pipe is closed
_WATCH = 'read -r group && { read -r _; kill -s KILL -- "-$group"; }'

_log = getLogger(__name__)


class CheckResult(NamedTuple):
    """The result of a server's check.

    If not passed, `problem` is the reason, a clause without a full stop: `exit code 7: no route`.
    """

    passed: bool
    problem: str | None


class Checks:
    """A command for `sh -c`, with the server in CLC_SERVER and no credential in its environment.

    It runs in `directory`, by default in the current one. What it prints is logged line by line.
    """

    def __init__(
        self, command: str, directory: str | None, environ: Mapping[str, str], inbox: Inbox
    ) -> None:
        kept = {name: value for name, value in environ.items() if name not in CREDENTIALS}
        self._start = partial(_Try, command, directory, kept)
        self._inbox = inbox

    def run(
        self, servers: Sequence[str], seconds: float, attempt: Callable[[str, int], None]
    ) -> dict[str, CheckResult]:
        """Run the command for each server until it succeeds, for at most `seconds` in all.

        It is tried again 5 seconds after a try has ended. `attempt` is called with the server and
        the number of each try. Time for which this process was suspended doesn't count.

        Raises nothing for a signal: it ends all commands and returns; `inbox.signum` tells. No
        command is left running, except one that this process isn't allowed to kill. For the main
        thread only.
        """
        # ignored by our parent (`trap '' CHLD`), it would take every exit code from us
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        wave = _Wave(self._start, self._inbox, servers, seconds)
        try:
            with suppress(Interrupted):
                wave.run(attempt)
        finally:
            wave.end()
        otherwise = f"not tried within {show_seconds(seconds)}"
        if self._inbox.signum is not None:
            otherwise = "interrupted before it passed"
            wave.problems.clear()
        return {
            server: CheckResult(passed=True, problem=None)
            if server in wave.passed
            else CheckResult(passed=False, problem=wave.problems.get(server, otherwise))
            for server in servers
        }


class _Wave:
    """The tries of one `run`. Times are seconds for which this process was not suspended."""

    def __init__(
        self,
        start: Callable[[str], "_Try"],
        inbox: Inbox,
        servers: Sequence[str],
        seconds: float,
    ) -> None:
        self.passed: set[str] = set()
        self.problems: dict[str, str] = {}
        self._start = start
        self._inbox = inbox
        self._limit = f"no success within {show_seconds(seconds)}"
        # of a try, as long as others wait for its place
        self._share = seconds / math.ceil(len(servers) / AT_A_TIME)
        # servers with the time from which a try may begin, the earliest first
        self._waiting = deque((0.0, server) for server in servers)
        self._running: list[_Try] = []
        self._tries = Counter[str]()
        self._suspended = 0.0
        self._deadline = self._now() + seconds

    def run(self, attempt: Callable[[str, int], None]) -> None:
        """Try until every server has passed or the time is over. Raises Interrupted."""
        while (self._waiting or self._running) and (now := self._now()) < self._deadline:
            while self._waiting and self._waiting[0][0] <= self._now():
                if len(self._running) == AT_A_TIME or not self._begin(attempt):
                    self._make_room(now)
                    break
            self._kill()
            self._collect(min(_LOOK_SECONDS, self._deadline - now))

    def end(self) -> None:
        """End what is running: SIGTERM, then SIGKILL; let go of what can't be killed."""
        until = self._now() + _LOOK_SECONDS
        with suppress(Interrupted):  # a result that is on its way counts
            while self._running and (left := until - self._now()) > 0:
                self._collect(left)
        for running in self._running:
            running.terminate(self._now())
        while self._running:
            try:
                self._collect(_LOOK_SECONDS / 2)
            except Interrupted:  # the inbox doesn't wait any more
                sleep(_LOOK_SECONDS / 5)
            self._kill()

    def _now(self) -> float:
        return monotonic() - self._suspended

    def _begin(self, attempt: Callable[[str, int], None]) -> bool:
        """Begin a try for the server that has waited longest; return False if none can be begun.

        Raises Interrupted.
        """
        self._inbox.check()
        server = self._waiting[0][1]
        try:
            begun = self._start(server)
        except OSError as error:
            if not self._running:  # whose end might change that
                reason = ": ".join(map(str, filter(None, (error.strerror, error.filename))))
                for _, other in self._waiting:
                    self.problems.setdefault(other, f"not tried: {printable(reason)}")
                self._waiting.clear()
            return False
        self._waiting.popleft()
        self._tries[server] += 1
        begun.began = self._now()
        self._running.append(begun)
        begun.ticket = self._inbox.submit(begun, begun.follow)
        attempt(server, self._tries[server])
        return True

    def _make_room(self, now: float) -> None:
        """End tries that have had their share of the time, as many as others wait for a place."""
        lasting = [running for running in self._running if running.terminated is None]
        leaving = len(self._running) - len(lasting)
        for running in lasting[: max(0, len(self._waiting) - leaving)]:  # the oldest
            if running.began + self._share <= now:
                running.terminate(now)

    def _kill(self) -> None:
        """Kill what hasn't ended at SIGTERM in time, and let go of what hasn't at SIGKILL."""
        interrupted = self._inbox.signum is not None
        patience = _INTERRUPTED_TERM_SECONDS if interrupted else _TERM_SECONDS
        for running in [running for running in self._running if running.terminated is not None]:
            waited = self._now() - (running.terminated or 0.0)
            if waited >= patience + _KILL_SECONDS:
                self._running.remove(running)
                self._inbox.forget(running.ticket)
                running.abandon()
                self._fail_unfinished(running)
            elif waited >= patience:
                running.send(signal.SIGKILL)

    def _collect(self, seconds: float) -> None:
        """Wait for a result and take it. Raises Interrupted."""
        asked = monotonic()
        done = self._inbox.next(seconds)
        took = monotonic() - asked
        if took > seconds + SUSPENDED_SECONDS:
            self._suspended += took - seconds
        if done is None or not isinstance(done.key, _Try):
            return
        ended = done.key
        self._running.remove(ended)
        if isinstance(done.result, Failure):  # no thread could be had
            ended.send(signal.SIGKILL)
            self._fail(ended.server, f"not watched: {printable(str(done.result.error))}")
        elif ended.terminated is not None:  # whatever its exit code
            self._fail_unfinished(ended)
        elif (code := ended.process.returncode) == 0:
            self.passed.add(ended.server)
        else:
            problem = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            self._fail(ended.server, _with_line(problem, ended.last_line))

    def _fail_unfinished(self, ended: "_Try") -> None:
        problem = self.problems.get(ended.server)
        if ended.last_line or problem is None:
            problem = _with_line(self._limit, ended.last_line)
        self._fail(ended.server, problem)

    def _fail(self, server: str, problem: str) -> None:
        """Note why a try failed, and when the next may begin."""
        self.problems[server] = problem
        self._waiting.append((self._now() + EVERY, server))


class _Try:
    """A running command, and the watcher that ends it if this process can't.

    Raises OSError if it can't be started. The main thread owns `began` (when), `ticket` (of the
    inbox) and `terminated` (when it was told to end).
    """

    def __init__(
        self, command: str, directory: str | None, environ: Mapping[str, str], server: str
    ) -> None:
        self.server = server
        self.began = 0.0
        self.ticket = 0
        self.terminated: float | None = None
        self.last_line = ""
        self._rest = b""
        self._lines = 0
        watched, lifeline = _pipe()
        self._output, printed = _pipe()
        with watched, printed, ExitStack() as opened:
            opened.enter_context(lifeline)
            opened.enter_context(self._output)
            watcher = _start(_WATCH, "/", {}, watched, subprocess.DEVNULL)
            opened.callback(watcher.wait)
            opened.callback(watcher.kill)  # first
            environ = {**environ, "CLC_SERVER": server}
            self.process = _start(command, directory, environ, subprocess.DEVNULL, printed)
            with suppress(BrokenPipeError):  # somebody may have killed it
                lifeline.write(f"{self.process.pid}\n".encode())
            self._opened = opened.pop_all()  # `follow` closes them

    def send(self, signum: int) -> None:
        """Send a signal to the command's process group, as far as this process may."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signum)

    def terminate(self, now: float) -> None:
        """Ask it to end, if that isn't done yet."""
        if self.terminated is None:
            self.terminated = now
            self.send(signal.SIGTERM)

    def abandon(self) -> None:
        """Log no more of what it prints."""
        self._lines = MOST_LINES + 1

    def follow(self) -> None:
        """Log what it prints until it has ended, and end the rest of its group; in a thread.

        It is over when its process is: another one may keep the pipe open for days.
        """
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        with self._opened:
            while self.process.poll() is None:
                if poll.poll(_LOOK_SECONDS * 1000) and not self._read():
                    self.process.wait()  # all have closed it
            self.send(signal.SIGKILL)
            if poll.poll(0):  # what it had printed at its end is in the pipe
                self._read()
            self._print(self._rest)

    def _read(self) -> bool:
        """Take what it has printed; return False at the end."""
        data = self._output.read(65536)
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._print(line)
        self._rest = rest[:_LONGEST_BYTES]
        return bool(data)

    def _print(self, line: bytes) -> None:
        text = printable(line[:_LONGEST_BYTES].decode(errors="replace"))[:LONGEST_LINE].strip()
        if not text:
            return
        if self.terminated is None:  # not the shell's words about its end
            self.last_line = text
        self._lines += 1
        if self._lines <= MOST_LINES:
            _log.info("%s: %s", self.server, text)
        elif self._lines == MOST_LINES + 1:
            _log.info("%s: … (further lines are not shown)", self.server)


def _pipe() -> tuple[FileIO, FileIO]:
    source, sink = os.pipe()
    return FileIO(source), FileIO(sink, "w")


def _start(
    script: str,
    directory: str | None,
    environ: Mapping[str, str],
    stdin: FileIO | int,
    output: FileIO | int,
) -> subprocess.Popen[bytes]:
    """Start a shell script in a session of its own. Raises OSError."""
    return subprocess.Popen(  # noqa: S603 - the user's own command
        ["/bin/sh", "-c", script, "sh"],
        env=environ,
        cwd=directory,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _with_line(problem: str, line: str) -> str:
    line = line if line.endswith("..") else line.removesuffix(".")
    return f"{problem}: {line}" if line else problem
