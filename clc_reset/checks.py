"""The operator's own command that tells whether a server is back, run for many servers at once.

Each try is a shell in a session of its own, without a terminal: a command that asks for a password
there fails at once. A thread reads what it prints and waits for its end, so that the main thread
waits for results and signals only.
"""

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

# a command begins once it is watched: with a line, which never comes from a process that is gone
_START = 'read -r _ && exec /bin/sh -c "$0" sh < /dev/null'
# ends the command's process group when this process is gone, even by SIGKILL: its pipe is closed
_WATCH = 'read -r _; kill -s KILL -- "-$0" 2> /dev/null'

_log = getLogger(__name__)


class CheckResult(NamedTuple):
    """The result of a server's check.

    If not, `problem` is the reason, a clause without a full stop: `exit code 7: no route to host`.
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
        return {server: wave.result(server) for server in servers}


class _Wave:
    """The tries of one `run`. Times are seconds for which this process was not suspended."""

    def __init__(
        self,
        start: Callable[[str], "_Try"],
        inbox: Inbox,
        servers: Sequence[str],
        seconds: float,
    ) -> None:
        self._start = start
        self._inbox = inbox
        self._seconds = seconds
        self._servers = len(servers)
        self._waiting = deque((0.0, server) for server in servers)
        """Servers with the time from which a try may begin, the earliest first."""
        self._running: list[_Try] = []
        self._places = AT_A_TIME  # fewer where the system gives no more processes
        self._tries = Counter[str]()
        self._passed: set[str] = set()
        self._problems: dict[str, str] = {}
        self._suspended = 0.0
        self._deadline = self._now() + seconds

    def run(self, attempt: Callable[[str, int], None]) -> None:
        """Try until every server has passed or the time is over. Raises Interrupted."""
        while (self._waiting or self._running) and (now := self._now()) < self._deadline:
            self._begin(attempt)
            self._make_room(now)
            self._kill(now)
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
            self._kill(self._now())

    def result(self, server: str) -> CheckResult:
        """Return the result of a server."""
        if server in self._passed:
            return CheckResult(passed=True, problem=None)
        if self._inbox.signum is not None:
            return CheckResult(passed=False, problem="interrupted before it passed")
        untried = f"not tried within {show_seconds(self._seconds)}"
        return CheckResult(passed=False, problem=self._problems.get(server, untried))

    def _now(self) -> float:
        return monotonic() - self._suspended

    def _begin(self, attempt: Callable[[str, int], None]) -> None:
        """Begin what may begin while there are places, those who have waited longest first."""
        while self._waiting and len(self._running) < self._places:
            begins_at, server = self._waiting[0]
            if begins_at > self._now():
                return
            self._inbox.check()
            try:
                begun = self._start(server)
            except OSError as error:
                self._run_short(error)
                return
            self._waiting.popleft()
            self._tries[server] += 1
            begun.began = self._now()
            self._running.append(begun)
            begun.ticket = self._inbox.submit(begun, begun.follow)
            attempt(server, self._tries[server])

    def _run_short(self, error: OSError) -> None:
        """Wait for a running command to end; without one there is nothing to wait for."""
        self._places = len(self._running)
        if not self._running:
            reason = printable(": ".join(map(str, filter(None, (error.strerror, error.filename)))))
            for _, server in self._waiting:
                self._problems.setdefault(server, f"not tried: {reason}")
            self._waiting.clear()

    def _make_room(self, now: float) -> None:
        """End tries that have had their share of the time if others wait for a place."""
        if len(self._running) < self._places or not self._waiting or self._waiting[0][0] > now:
            return
        share = self._seconds / -(-self._servers // self._places)
        share -= min(_TERM_SECONDS + _KILL_SECONDS, share / 2)  # one that resists keeps its place
        lasting = [running for running in self._running if running.terminated is None]
        leaving = len(self._running) - len(lasting)
        for running in lasting[: max(0, len(self._waiting) - leaving)]:  # the oldest
            if running.began + share <= now:
                running.terminate(now)

    def _kill(self, now: float) -> None:
        """Kill what hasn't ended at SIGTERM in time, and let go of what hasn't at SIGKILL."""
        interrupted = self._inbox.signum is not None
        patience = _INTERRUPTED_TERM_SECONDS if interrupted else _TERM_SECONDS
        for running in tuple(self._running):
            if running.terminated is None:
                continue
            waited = now - running.terminated
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
        self._places = AT_A_TIME
        if isinstance(done.result, Failure):  # no thread could be had
            ended.send(signal.SIGKILL)
            self._fail(ended.server, f"not watched: {printable(str(done.result.error))}")
        elif ended.terminated is not None:  # whatever its exit code
            self._fail_unfinished(ended)
        elif ended.exit_code == 0:
            self._passed.add(ended.server)
        else:
            self._fail(ended.server, _with_line(_show_exit(ended.exit_code), ended.last_line))

    def _fail_unfinished(self, ended: "_Try") -> None:
        problem = self._problems.get(ended.server)
        if ended.last_line or problem is None:
            limit = f"no success within {show_seconds(self._seconds)}"
            problem = _with_line(limit, ended.last_line)
        self._fail(ended.server, problem)

    def _fail(self, server: str, problem: str) -> None:
        """Note why a try failed, and when the next may begin."""
        self._problems[server] = problem
        self._waiting.append((self._now() + EVERY, server))


class _Try:
    """A running command, and the watcher that ends it if this process can't.

    Raises OSError if it can't be started. The main thread owns `began` (when), `ticket` (of the
    inbox) and `terminated` (when it was told to end); `exit_code` is None while it runs, and
    negative for a signal.
    """

    def __init__(
        self, command: str, directory: str | None, environ: Mapping[str, str], server: str
    ) -> None:
        self.server = server
        self.began = 0.0
        self.ticket = 0
        self.terminated: float | None = None
        self.exit_code: int | None = None
        self.last_line = ""
        self._rest = b""
        self._lines = 0
        environ = {**environ, "CLC_SERVER": server}
        source, sink = os.pipe()
        with FileIO(sink, "w") as output, ExitStack() as opened:
            self._output = opened.enter_context(FileIO(source))
            self._process, begin = _start(_START, command, environ, directory, output.fileno())
            with begin:
                try:
                    self._watcher, self._lifeline = _start(
                        _WATCH, f"{self._process.pid}", {}, "/", subprocess.DEVNULL
                    )
                except OSError:
                    with self._process:
                        self._process.kill()
                    raise
                with suppress(BrokenPipeError):  # somebody may have killed it
                    begin.write(b"\n")
            opened.pop_all()  # `follow` closes them

    def send(self, signum: int) -> None:
        """Send a signal to the command's process group, as far as this process may."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signum)

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
        with self._output, self._lifeline:
            flags = os.WNOHANG
            while not self._has_ended(flags):
                if poll.poll(_LOOK_SECONDS * 1000) and not self._read():
                    flags = 0  # all have closed it
            self.send(signal.SIGKILL)
            if flags and poll.poll(0):  # what it had printed at its end is in the pipe
                self._read()
            self._print(self._rest)
            self._watcher.kill()
            self._watcher.wait()

    def _has_ended(self, flags: int) -> bool:
        # not by Popen, for which an exit code that somebody else has taken is 0
        with suppress(ChildProcessError):
            pid, status = os.waitpid(self._process.pid, flags)
            if pid == 0:
                return False
            self.exit_code = os.waitstatus_to_exitcode(status)
        self._process.returncode = 0  # for Popen, which would wait for it
        return True

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


def _start(
    script: str, argument: str, environ: Mapping[str, str], directory: str | None, output: int
) -> tuple[subprocess.Popen[bytes], FileIO]:
    """Start a shell script in a session of its own; return it and a pipe to its standard input.

    Its `$0` is `argument`. Raises OSError.
    """
    source, sink = os.pipe()
    with FileIO(source), ExitStack() as opened:
        pipe = opened.enter_context(FileIO(sink, "w"))
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            ["/bin/sh", "-c", script, argument],
            env=environ,
            cwd=directory,
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        opened.pop_all()
    return process, pipe


def _show_exit(code: int | None) -> str:
    if code is None:
        return "exit code unknown"
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"


def _with_line(problem: str, line: str) -> str:
    line = line if line.endswith("..") else line.removesuffix(".")
    return f"{problem}: {line}" if line else problem
