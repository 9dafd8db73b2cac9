"""The operator's own command that tells whether a server is back, run for many servers at once.

Each try is a shell in a session of its own, without a terminal: a command that asks for a password
there fails at once. The main thread reads what all of them print and looks for their ends.
"""

import os
import signal
import subprocess
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import FileIO
from logging import getLogger
from math import ceil, inf
from select import POLLIN, poll
from time import monotonic

from clc_reset.text import printable, show_seconds
from clc_reset.workers import SUSPENDED_SECONDS, Inbox

CREDENTIALS = frozenset(
    (
        *("CLC_TOKEN", "CLC_TOKEN_FILE", "CLC_USERNAME", "CLC_PASSWORD", "CLC_PASSWORD_FILE"),
        *("CLC_V2_API_TOKEN", "CLC_V2_API_USERNAME", "CLC_V2_API_PASSWD"),  # of Ansible modules
    )
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
_LOST = 256
"""Instead of an exit code that nobody knows."""
_LONGEST_BYTES = 4 * LONGEST_LINE  # in UTF-8

# ends the process groups that it was told last when this process is gone, even by SIGKILL: its pipe
# is closed
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
    with ExitStack() as stack:
        try:
            watcher = stack.enter_context(_watcher())
        except OSError as error:
            return dict.fromkeys(servers, _show_error(error))
        kept = {name: value for name, value in environ.items() if name not in CREDENTIALS}
        wave = _Wave(partial(_Try, command, directory, kept), watcher, inbox, servers, seconds)
        wave.run(attempt)
    if inbox.signum is not None:
        return dict.fromkeys(wave.problems, "interrupted before it passed")
    return wave.problems


class _Wave:
    """The tries of one `run`.

    Times are seconds since its beginning for which this process was not suspended. `problems` holds
    the servers that haven't passed. `watcher` gets the process groups that run.
    """

    def __init__(
        self,
        start: Callable[[str, float], "_Try"],
        watcher: FileIO,
        inbox: Inbox,
        servers: Sequence[str],
        seconds: float,
    ) -> None:
        self.problems = dict.fromkeys(servers, f"not tried within {show_seconds(seconds)}")
        self._start = start
        self._watcher = watcher
        self._inbox = inbox
        self._servers = len(servers)
        self._seconds = seconds
        self._waiting = deque((0.0, server) for server in servers)
        """Servers with the time from which a try may begin, the earliest first."""
        self._running: list[_Try] = []
        self._tries = Counter[str]()
        self._time = 0.0
        self._looked = monotonic()

    def run(self, attempt: Callable[[str, int], None]) -> None:
        """Try until every server has passed, the time is over or a signal came; leave none running.

        What is running then gets SIGTERM, then SIGKILL; what can't be killed is let go.
        """
        try:
            while (self._waiting or self._running) and self._now() < self._seconds:
                if self._inbox.signum is not None:
                    break
                self._begin(attempt)
                self._step()
            self._step()  # one that has just ended counts
        finally:
            for running in self._running:
                running.terminate(self._now())
            while self._running:
                self._step()

    def _now(self) -> float:
        before, self._looked = self._looked, monotonic()
        # nothing between two looks at the clock takes so long
        if (passed := self._looked - before) <= SUSPENDED_SECONDS:
            self._time += passed
        return self._time

    def _begin(self, attempt: Callable[[str, int], None]) -> None:
        """Begin what may begin, those who have waited longest first, or make room for them."""
        while self._waiting and self._waiting[0][0] <= self._now() and self._inbox.signum is None:
            _, server = self._waiting[0]
            if len(self._running) == AT_A_TIME:
                self._make_room()
                return
            try:
                begun = self._start(server, self._now())
            except OSError as error:
                if self._running:  # the system gives no more processes or files
                    self._make_room()
                    return
                untried = [server for _, server in self._waiting if not self._tries[server]]
                self.problems |= dict.fromkeys(untried, _show_error(error))
                self._waiting.clear()
                return
            self._waiting.popleft()
            self._tries[server] += 1
            self._running.append(begun)
            self._watch()
            attempt(server, self._tries[server])

    def _make_room(self) -> None:
        """End tries that have had their share of the time, the oldest first."""
        now = self._now()
        share = self._seconds / ceil(self._servers / len(self._running))
        share -= min(_TERM_SECONDS + _KILL_SECONDS, share / 2)  # one that resists keeps its place
        lasting = [running for running in self._running if running.terminated == inf]
        leaving = len(self._running) - len(lasting)
        for running in lasting[: max(0, len(self._waiting) - leaving)]:
            if running.began + share <= now:
                running.terminate(now)

    def _step(self) -> None:
        """Wait until something is printed, take it and the results of what has ended.

        Kill what hasn't ended at SIGTERM in time, and let go of what hasn't at SIGKILL.
        """
        outputs = poll()  # not select, which takes no file beyond the first 1,024
        for running in self._running:
            outputs.register(running.output, POLLIN)
        outputs.poll(_LOOK_SECONDS * 1000)
        interrupted = self._inbox.signum is not None
        patience = _INTERRUPTED_TERM_SECONDS if interrupted else _TERM_SECONDS
        for running in tuple(self._running):
            waited = self._now() - running.terminated  # each time: all together may say much
            code = running.exit_code()
            if code is not None or waited >= patience + _KILL_SECONDS:
                self._remove(running, code)
            elif waited >= patience:
                running.send(signal.SIGKILL)

    def _remove(self, running: "_Try", code: int | None) -> None:
        """Take the result of a try that has ended, or is let go; note when the next may begin."""
        self._running.remove(running)
        running.close()
        self._watch()
        server, line = running.server, running.last_line
        if code is None or running.terminated < inf:  # whatever its exit code
            if line or self._tries[server] == 1:
                limit = f"no success within {show_seconds(self._seconds)}"
                self.problems[server] = _with_line(limit, line)
        elif code == 0:
            del self.problems[server]
            return
        else:
            problem = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            if code == _LOST:
                problem = "exit code unknown"
            self.problems[server] = _with_line(problem, line)
        self._waiting.append((self._now() + EVERY, server))

    def _watch(self) -> None:
        groups = " ".join(str(running.group) for running in self._running)
        self._watcher.write(f"{groups}\n".encode())


class _Try:
    """A command that runs in a process group of its own.

    It `began` at a time, and was `terminated` when it was told to end. Raises OSError if it can't
    be started.
    """

    def __init__(
        self,
        command: str,
        directory: str | None,
        environ: Mapping[str, str],
        server: str,
        began: float,
    ) -> None:
        self.server = server
        self.began = began
        self.terminated = inf
        self.last_line = ""
        self._rest = b""
        self._lines = 0
        source, sink = os.pipe()
        os.set_blocking(source, False)
        # our `_sink` stays open: an output that the command has closed would always be readable
        self.output, self._sink = FileIO(source), FileIO(sink, "w")
        try:
            environ = {**environ, "CLC_SERVER": server}
            self._process = _shell(command, environ, directory, subprocess.DEVNULL, sink)
        except OSError:
            self._close_pipe()
            raise
        self.group = self._process.pid

    def send(self, signum: int) -> None:
        """Send a signal to the command's process group, as far as this process may."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signum)

    def terminate(self, now: float) -> None:
        """Ask it to end, if that isn't done yet."""
        if self.terminated == inf:
            self.terminated = now
            self.send(signal.SIGTERM)

    def exit_code(self) -> int | None:
        """Log what it has printed; return its exit code, negative for a signal, None while it runs.

        It is over when its process is: another one may keep the pipe open for days.
        """
        # first: at its end, all that it printed is in the pipe
        code = _exit_code(self._process)
        *lines, rest = (self._rest + (self.output.read(65536) or b"")).split(b"\n")
        if self._lines > MOST_LINES:  # of a flood only its last line is of use
            lines = [line for line in lines if line.strip()][-1:]
        for line in lines:
            self._print(line)
        self._rest = rest[:_LONGEST_BYTES]
        return code

    def close(self) -> None:
        """End the rest of its group, and read no more of what it prints."""
        self.send(signal.SIGKILL)
        self._print(self._rest)
        self._close_pipe()

    def _close_pipe(self) -> None:
        self.output.close()
        self._sink.close()

    def _print(self, line: bytes) -> None:
        """Log a line, unless it is blank or there were too many before."""
        text = printable(line[:_LONGEST_BYTES].decode(errors="replace"))[:LONGEST_LINE].strip()
        if not text:
            return
        if self.terminated == inf:  # not the shell's words about its end
            self.last_line = text
        self._lines += 1
        if self._lines <= MOST_LINES:
            _log.info("%s: %s", self.server, text)
        elif self._lines == MOST_LINES + 1:
            _log.info("%s: … (further lines are not shown)", self.server)


@contextmanager
def _watcher() -> Generator[FileIO]:
    """Run a process that ends the last process groups written to its pipe, should we be killed.

    The pipe never blocks: somebody may have stopped the process. Raises OSError if it can't be
    started.
    """
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    # our `source` stays open: a write is no error where somebody has killed the process
    with (
        FileIO(source),
        FileIO(sink, "w") as pipe,
        _shell(_WATCH, {}, "/", source, subprocess.DEVNULL) as process,
    ):
        try:
            yield pipe
        finally:
            process.kill()


def _shell(
    script: str, environ: Mapping[str, str], directory: str | None, source: int, output: int
) -> subprocess.Popen[bytes]:
    """Start a shell script in a session of its own. Raises OSError."""
    return subprocess.Popen(  # noqa: S603 - the user's own command
        ["/bin/sh", "-c", script, "sh"],
        env=environ,
        cwd=directory,
        stdin=source,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return a process's exit code, None while it runs, _LOST if somebody else has taken it.

    Popen would return 0 for that.
    """
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        process.returncode = _LOST
    else:
        process.returncode = os.waitstatus_to_exitcode(status) if pid else None
    return process.returncode


def _show_error(error: OSError) -> str:
    reason = ": ".join(map(str, filter(None, (error.strerror, error.filename))))
    return f"not tried: {printable(reason)}"


def _with_line(problem: str, line: str) -> str:
    line = line if line.endswith("..") else line.removesuffix(".")
    return f"{problem}: {line}" if line else problem
