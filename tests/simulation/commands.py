"""Simulated commands: the real `clc reset` and `clc status` in surroundings of their own."""

import re
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from clc_reset.checks import CheckResult
from clc_reset.commands import report, reset, status
from clc_reset.commands.reset import Given
from clc_reset.commands.session import Session
from clc_reset.errors import AuthenticationError, ClcError, Interrupted
from clc_reset.journal.runs import Journal
from clc_reset.models import Credential, ServerResult
from clc_reset.resets import events
from clc_reset.ui.streams import Delivery
from tests.builders import ORIGIN
from tests.simulation.journal import Trouble, VirtualDatabase
from tests.simulation.network import Post, Sky, VirtualClient
from tests.simulation.world import Host, Killed, Process, VirtualClocks, VirtualInbox, World

HANGS = "no success within the time"
SERVER = re.compile(r"[A-Z]{2}1ALIAS[A-Z]+\d\d")
_COMMAND = re.compile(r"clc ((?:reset|status)(?: [\w.-]+)+)")
UNSETTLED = re.compile(
    rf"^({SERVER.pattern}): (?:reset .*? ago \(run|planned by run) ([\w-]+)", re.MULTILINE
)


class Asked(NamedTuple):
    """The arguments of a `clc status`."""

    names: tuple[str, ...] = ()
    wait: bool = False
    timeout: float | None = None


class Advice(NamedTuple):
    """A command that was printed, and the servers that the message beside it names."""

    words: tuple[str, ...]
    servers: frozenset[str]
    adviser: "Command"


class Error(NamedTuple):
    """An error or a remark that was printed."""

    kind: str
    message: str
    hint: str
    code: int


class Screen:
    """The streams, the renderer and the prompts of a command, and somebody who answers these."""

    form = "tsv"

    def __init__(self, command: "Command") -> None:
        self.stdin = self.stdout = self.stderr = self
        self.can_ask = command.is_on_terminal
        self.note = command.say
        self._command = command

    def isatty(self) -> bool:
        return self.can_ask

    def results(
        self,
        account: str | None,
        results: Sequence[ServerResult],
        extra: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        verbose: bool = False,
    ) -> Delivery:
        command = self._command
        command.results = tuple(result._replace(run=result.run or run) for result in results)
        for result in command.results:
            operation = result.operation.id if result.operation else "-"
            state = f"{result.server} {result.state} {operation} {result.message} {result.run}"
            command.say(f"| {state}")
        command.judge()
        return Delivery.PRINTED

    def error(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        self._command.errors.append(Error(kind, message, hint, exit_code))
        self._command.say(f"{kind}: {message} / {hint}")

    def require_terminal(self, what: str, otherwise: str) -> None:
        assert self.can_ask

    def confirm(self, question: str) -> bool:
        command, random = self._command, self._command.world.random
        command.inbox.sleep(random.expovariate(1 / random.choice((3.0, 3.0, 200.0))))
        is_yes = random.random() < 0.7
        if is_yes:
            command.confirmed |= set(UNSETTLED.findall(command.lines[-1]))
        command.say(f"{question} {'y' if is_yes else 'n'}")
        return is_yes


class VirtualChecks:
    """The operator's checks: they pass, fail, hang or can't be run."""

    def __init__(self, command: "Command") -> None:
        self._command = command

    def run(
        self, servers: Sequence[str], seconds: float, attempt: Callable[[str, int], None]
    ) -> dict[str, CheckResult]:
        random, inbox = self._command.world.random, self._command.inbox
        results = {}
        bad = ("exit code 7", HANGS, "not tried: no fork")
        problems: tuple[str | None, ...] = (None, None, None, *bad)
        if self._command.is_fine:
            problems = (None,)
        try:
            for number, server in enumerate(servers):
                problem = random.choice(problems)
                attempt(server, 1)
                if number == 0:
                    inbox.sleep(seconds if problem == HANGS else random.uniform(0, 3))
                results[server] = CheckResult(problem is None, problem)
        except Interrupted:
            pass
        cut = CheckResult(passed=False, problem="interrupted before it passed")
        return {server: results.get(server, cut) for server in servers}


class Surroundings(Session):
    """A session without streams, environment and sockets of the real process."""

    def __init__(self, command: "Command", journal: Journal, client: VirtualClient) -> None:
        self.inbox = command.inbox
        self.clocks = command.clocks
        self.form = None
        self.quiet = command.is_quiet
        self.verbose = False
        self.usual_account = "ALIAS"
        self.streams = self.renderer = self.prompts = Screen(command)  # type: ignore[assignment]
        self.__dict__ |= {"origin": ORIGIN, "client": client, "journal": journal}
        self._command = command

    def checks(self, command: str, directory: str | None) -> Any:
        return VirtualChecks(self._command)

    def log_in(self) -> Credential:
        command = self._command
        slow = command.world.random.random() < 0.1
        command.process.step(4.0 if slow else 0.1)
        command.inbox.check()
        if not command.is_fine and command.world.random.random() < 0.02:
            raise AuthenticationError("No token.", hint="Log in.")
        return Credential(command.sky.token, "CLC_TOKEN", "demo", "ALIAS")

    @contextmanager
    def progress(self, *, tells_refusals: bool = True, shows: bool = True) -> Generator[Any]:
        yield self._command.take


class Command:
    """One command: what was typed, and what came of it."""

    def __init__(self, world: World, sky: Sky, trouble: Trouble, folder: str, host: Host) -> None:
        self.world = world
        self.sky = sky
        self.trouble = trouble
        self.given: Given | Asked = Asked()
        self.advice: Advice | None = None
        self.is_on_terminal = False
        self.is_quiet = False
        self.is_fine = False  # nothing goes wrong with it
        self.name = ""
        self.process = Process(world, "", host)
        self.clocks = VirtualClocks(world, host)
        self.inbox = VirtualInbox(self.process, self.clocks)
        self.database = VirtualDatabase(folder, self.process, self.inbox, self.clocks, trouble)
        self.results: tuple[ServerResult, ...] | None = None
        self.errors: list[Error] = []
        self.lines: list[str] = []
        self.confirmed: set[tuple[str, str]] = set()
        self.code: int | None = None
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.crash: str | None = None
        self.longest_tick = 0.0
        self.judge: Callable[[], None] = lambda: None

    @property
    def run(self) -> str | None:
        """The run that it began, or tried to begin last."""
        return self.database.runs[-1] if self.database.runs else None

    @property
    def is_reset(self) -> bool:
        return isinstance(self.given, Given)

    @property
    def rest_of(self) -> str | None:
        """The run whose rest it sends."""
        return self.given.rest_of if isinstance(self.given, Given) else None

    @property
    def is_unguarded(self) -> bool:
        """Whether it asks nobody; the rest of a run is guarded even so."""
        return isinstance(self.given, Given) and self.given.again and self.rest_of is None

    @property
    def posts(self) -> list[Post]:
        """Its requests that left."""
        return [post for post in self.sky.posts if post.process is self.process]

    @property
    def sent(self) -> set[str]:
        """The servers that the cloud reset for it."""
        return {server for post in self.posts for server in post.operations}

    @property
    def plan(self) -> int | None:
        """The transaction with which it planned its servers, if it sent any."""
        return min((post.commit for post in self.posts), default=None)

    @property
    def printed_advice(self) -> list[Advice]:
        """The commands that it printed, each with the servers named beside it."""
        return [
            Advice(tuple(words.rstrip(".").split()), frozenset(SERVER.findall(error.message)), self)
            for error in self.errors
            for words in _COMMAND.findall(error.hint)
        ]

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.world.note(self.name, text)

    def take(self, event: events.Event) -> None:
        if isinstance(event, events.Tick):
            self.longest_tick = max(self.longest_tick, event.seconds)

    def start(self, when: float) -> None:
        self.process.name = self.name
        self.process.command = self
        self.world.push(when, lambda: self.process.start(self._work))

    def _work(self) -> None:
        self.began_at = self.world.time
        self.world.note(self.name, f"$ {show(self.given)}")
        random = self.world.random
        journal = Journal(self.database, self.clocks, lambda: f"{random.getrandbits(32):08x}")
        client = VirtualClient(self.sky, self.process, self.inbox, self.clocks)
        session = Surroundings(self, journal, client)
        try:
            self.process.step()
            self.code = self._code(session)
            self.ended_at = self.world.time
            self.world.note(self.name, f"ends with {self.code}")
        except Killed:
            raise
        except Exception as error:  # noqa: BLE001 - a traceback is a bug
            self.crash = f"{type(error).__name__}: {error}"
            self.world.note(self.name, f"crashes: {self.crash}")
        finally:
            self.database.let_go()

    def _code(self, session: Session) -> int:
        try:
            if isinstance(self.given, Given):
                return int(reset.run(session, self.given))
            return int(status.run(session, account=None, **self.given._asdict()))
        except (ClcError, Interrupted) as error:  # as cli.main does
            return int(report.error(session.renderer, error))


def parsed(words: Sequence[str]) -> Given | Asked:
    """Return the command that somebody types, as it was printed."""
    values: dict[str, Any] = {}
    names = []
    rest = iter(words[1:])
    for word in rest:
        if word in {"--wait", "--again"}:
            values[word[2:]] = True
        elif word == "--rest-of":
            values["rest_of"] = next(rest)
        elif word == "-a":
            next(rest)
        else:
            names.append(next(rest) if word == "--run" else word)
    return Given(tuple(names), **values) if words[0] == "reset" else Asked(tuple(names), **values)


def show(given: Given | Asked) -> str:
    """Return a command in a line of the trace."""
    usual = type(given)()._asdict()
    changed = {name: value for name, value in given._asdict().items() if value != usual[name]}
    return f"clc {'reset' if isinstance(given, Given) else 'status'} {changed}"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
