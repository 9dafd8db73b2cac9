"""The operator's own command that tells whether a server is back, run for many servers at once.

Each try is a shell in a session of its own, without a terminal: a command that asks for a password
there fails at once. The main thread reads what all of them print and looks for their ends.
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
from time import monotonic

from clc_reset.errors import Interrupted
from clc_reset.text import printable, show_seconds
from clc_reset.workers import SUSPENDED_SECONDS, Inbox

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
_LOOK_SECONDS = 0.05
"""Between two looks at what no output announces: signals, the clock, the end of a process."""
_LONGEST_BYTES = 4 * LONGEST_LINE  # in UTF-8

# a command begins once the watcher knows it: a line never comes from a process that is gone
_START = 'read -r _ && exec /bin/sh -c "$0" sh < /dev/null'
# the watcher ends the process groups that it was told last when this process is gone, even by
# SIGKILL: its pipe is closed
_WATCH = """
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group"; done
"""

_log = getLogger(__name__)


def run(
    command: str,
    directory: str | None,
    environ: Mapping[str, str],
    inbox: Inbox,
    servers: Sequence[str],
    seconds: float,
    attempt: Callable[[str, int], None],
) -> dict[str, str]:
    """Run a command for each server until it succeeds, for at most `seconds` in all.

    The command is for `sh -c`; it gets the server in CLC_SERVER and no credential, and runs in
    `directory`, by default in the current one. What it prints is logged line by line. It is tried
    again 5 seconds after a try has ended. `attempt` is called with the server and the number of
    each try. Time for which this process was suspended doesn't count.

    Returns the servers that didn't pass, each with the reason, a clause without a full stop:
    `exit code 7: no route to host`. Raises nothing for a signal: it ends all commands and returns;
    `inbox.signum` tells. No command is left running, except one that this process isn't allowed to
    kill. For the main thread only.
    """
    # ignored by our parent (`trap '' CHLD`), it would take every exit code from us
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        watcher = _Watcher()
    except OSError as error:
        return dict.fromkeys(servers, _show_error(error))
    kept = {name: value for name, value in environ.items() if name not in CREDENTIALS}
    wave = _Wave(partial(_Try, command, directory, kept), watcher, inbox, servers, seconds)
    try:
        with suppress(Interrupted):
            wave.run(attempt)
    finally:
        wave.end()
        watcher.end()
    return wave.failed()


class _Wave:
    """The tries of one `run`. Times are seconds for which this process was not suspended."""

    def __init__(
        self,
        start: Callable[[str], "_Try"],
        watcher: "_Watcher",
        inbox: Inbox,
        servers: Sequence[str],
        seconds: float,
    ) -> None:
        self._start = start
        self._watcher = watcher
        self._inbox = inbox
        self._seconds = seconds
        self._servers = servers
        self._waiting = deque((0.0, server) for server in servers)
        """Servers with the time from which a try may begin, the earliest first."""
        self._running: list[_Try] = []
        self._tries = Counter[str]()
        self._passed: set[str] = set()
        self._problems: dict[str, str] = {}
        self._suspended = 0.0
        self._awake = monotonic()
        self._deadline = self._now() + seconds

    def run(self, attempt: Callable[[str, int], None]) -> None:
        """Try until every server has passed or the time is over. Raises Interrupted."""
        while (self._waiting or self._running) and (now := self._now()) < self._deadline:
            self._inbox.check()
            self._begin(attempt)
            self._kill(now)
            self._look(min(_LOOK_SECONDS, self._deadline - now))

    def end(self) -> None:
        """End what is running: SIGTERM, then SIGKILL; let go of what can't be killed."""
        self._look(0.0)  # one that has just ended counts
        for running in self._running:
            running.terminate(self._now())
        while self._running:
            self._look(_LOOK_SECONDS)
            self._kill(self._now())

    def failed(self) -> dict[str, str]:
        """Return the servers that didn't pass, each with the reason."""
        problems = dict.fromkeys(self._servers, f"not tried within {show_seconds(self._seconds)}")
        problems |= self._problems
        if self._inbox.signum is not None:
            problems = dict.fromkeys(problems, "interrupted before it passed")
        return {server: problems[server] for server in problems if server not in self._passed}

    def _now(self) -> float:
        now = monotonic()
        # nothing between two looks at the clock takes so long
        if (took := now - self._awake) > SUSPENDED_SECONDS:
            self._suspended += took
        self._awake = now
        return now - self._suspended

    def _begin(self, attempt: Callable[[str, int], None]) -> None:
        """Begin what may begin, those who have waited longest first, or make room for them."""
        while self._waiting and self._waiting[0][0] <= self._now():
            self._inbox.check()
            _, server = self._waiting[0]
            if len(self._running) == AT_A_TIME:
                self._make_room()
                return
            try:
                begun = self._start(server)
            except OSError as error:
                if self._running:  # the system gives no more processes or files
                    self._make_room()
                    return
                for _, server in self._waiting:
                    self._problems.setdefault(server, _show_error(error))
                self._waiting.clear()
                return
            self._waiting.popleft()
            self._tries[server] += 1
            begun.began = self._now()
            self._running.append(begun)
            self._watcher.watch(self._running)
            begun.begin()
            attempt(server, self._tries[server])

    def _make_room(self) -> None:
        """End tries that have had their share of the time."""
        now = self._now()
        share = self._seconds / -(-len(self._servers) // len(self._running))
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
                self._remove(running)
            elif waited >= patience:
                running.send(signal.SIGKILL)

    def _look(self, seconds: float) -> None:
        """Wait until something is printed, and take it and the results of what has ended."""
        poll = select.poll()
        for running in self._running:
            if not running.is_silent:
                poll.register(running.output, select.POLLIN)
        poll.poll(seconds * 1000)
        for running in tuple(self._running):
            self._now()  # all together may have much to say
            if running.has_ended():
                self._remove(running)

    def _remove(self, running: "_Try") -> None:
        """Take the result of a try that has ended, or is let go; note when the next may begin."""
        self._running.remove(running)
        running.close()
        self._watcher.watch(self._running)
        server, line = running.server, running.last_line
        if running.terminated is not None:  # whatever its exit code
            if line or server not in self._problems:
                limit = f"no success within {show_seconds(self._seconds)}"
                self._problems[server] = _with_line(limit, line)
        elif running.exit_code == 0:
            self._passed.add(server)
            return
        else:
            self._problems[server] = _with_line(_show_exit(running.exit_code), line)
        self._waiting.append((self._now() + EVERY, server))


class _Try:
    """A command that waits for `begin`, in a process group of its own.

    Raises OSError if it can't be started. `_Wave` sets `began`, the time; `terminated` is when it
    was told to end. `exit_code` is negative for a signal, and None while it runs, or where somebody
    else has taken it. `is_silent` tells that nothing holds its output open any more.
    """

    def __init__(
        self, command: str, directory: str | None, environ: Mapping[str, str], server: str
    ) -> None:
        self.server = server
        self.began = 0.0
        self.terminated: float | None = None
        self.exit_code: int | None = None
        self.is_silent = False
        self.last_line = ""
        self._rest = b""
        self._lines = 0
        environ = {**environ, "CLC_SERVER": server}
        source, sink = os.pipe()
        os.set_blocking(source, False)
        with FileIO(sink, "w"), ExitStack() as opened:
            self.output = opened.enter_context(FileIO(source))
            self._process, self._gate = _start([_START, command], environ, directory, sink)
            opened.pop_all()  # `close` closes it
        self.group = self._process.pid

    def begin(self) -> None:
        """Let the command begin."""
        with self._gate, suppress(BrokenPipeError):  # somebody may have killed it
            self._gate.write(b"\n")

    def send(self, signum: int) -> None:
        """Send a signal to the command's process group, as far as this process may."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signum)

    def terminate(self, now: float) -> None:
        """Ask it to end, if that isn't done yet."""
        if self.terminated is None:
            self.terminated = now
            self.send(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Log what it has printed, and return whether it has ended.

        It is over when its process is: another one may keep the pipe open for days.
        """
        pid = self.group
        # not by Popen, for which an exit code that somebody else has taken is 0
        with suppress(ChildProcessError):
            pid, status = os.waitpid(pid, os.WNOHANG)
            self.exit_code = os.waitstatus_to_exitcode(status) if pid else None
        data = self.output.read(65536)  # at its end, all that is in the pipe
        if data is not None:
            *lines, rest = (self._rest + data).split(b"\n")
            for place, line in enumerate(lines):
                if self._lines > MOST_LINES:  # of a flood only its last line is of use
                    any(map(self._print, reversed(lines[place:])))
                    break
                self._print(line)
            self._rest = rest[:_LONGEST_BYTES]
            self.is_silent = not data
        if pid:
            self._process.returncode = 0  # for Popen, which would wait for it
        return bool(pid)

    def close(self) -> None:
        """End the rest of its group, and read no more of what it prints."""
        self.send(signal.SIGKILL)
        self._print(self._rest)
        self.output.close()

    def _print(self, line: bytes) -> bool:
        """Log a line, unless there were too many before; return False for a blank one."""
        text = printable(line[:_LONGEST_BYTES].decode(errors="replace"))[:LONGEST_LINE].strip()
        if not text:
            return False
        if self.terminated is None:  # not the shell's words about its end
            self.last_line = text
        self._lines += 1
        if self._lines <= MOST_LINES:
            _log.info("%s: %s", self.server, text)
        elif self._lines == MOST_LINES + 1:
            _log.info("%s: … (further lines are not shown)", self.server)
        return True


class _Watcher:
    """A process that ends the commands that run when this process is gone, even by SIGKILL.

    Raises OSError if it can't be started.
    """

    def __init__(self) -> None:
        self._process, self._pipe = _start([_WATCH], {}, "/", subprocess.DEVNULL)
        os.set_blocking(self._pipe.fileno(), False)

    def watch(self, running: Sequence[_Try]) -> None:
        """Tell it the commands that run."""
        groups = " ".join(str(command.group) for command in running)
        with suppress(OSError):  # somebody may have killed or stopped it
            self._pipe.write(f"{groups}\n".encode())

    def end(self) -> None:
        """End it, without anything that it watches."""
        with self._process, self._pipe:
            self._process.kill()


def _start(
    script: Sequence[str], environ: Mapping[str, str], directory: str | None, output: int
) -> tuple[subprocess.Popen[bytes], FileIO]:
    """Start a shell script and its `$0` in a session of its own, with a pipe to its input.

    Returns both. Raises OSError.
    """
    source, sink = os.pipe()
    with FileIO(source), ExitStack() as opened:
        pipe = opened.enter_context(FileIO(sink, "w"))
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            ["/bin/sh", "-c", *script],
            env=environ,
            cwd=directory,
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        opened.pop_all()
    return process, pipe


def _show_error(error: OSError) -> str:
    reason = ": ".join(map(str, filter(None, (error.strerror, error.filename))))
    return f"not tried: {printable(reason)}"


def _show_exit(code: int | None) -> str:
    if code is None:
        return "exit code unknown"
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"


def _with_line(problem: str, line: str) -> str:
    line = line if line.endswith("..") else line.removesuffix(".")
    return f"{problem}: {line}" if line else problem
