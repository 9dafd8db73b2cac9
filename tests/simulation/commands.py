"""Simulated commands: the real `clc reset` and `clc status` in surroundings of their own."""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from clc_reset.commands import report, reset, status
from clc_reset.commands.reset import Given
from clc_reset.commands.session import Session
from clc_reset.errors import AuthenticationError, ClcError, Interrupted
from clc_reset.journal.runs import Journal
from clc_reset.models import Credential, ServerResult
from clc_reset.resets.events import Emit, Event, Tick
from clc_reset.resets.request import Checks
from clc_reset.text import describe
from clc_reset.ui.streams import Delivery
from tests.builders import ORIGIN
from tests.simulation.journal import Trouble, VirtualDatabase
from tests.simulation.network import Post, Sky, VirtualClient
from tests.simulation.world import Host, Process, VirtualInbox, World

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


class Command(Session):
    """One command: what was typed, its surroundings, and what came of it.

    It is its own streams, renderer and prompts, and the operator who answers these.
    """

    def __init__(
        self, name: str, world: World, sky: Sky, trouble: Trouble, folder: str, host: Host
    ) -> None:
        self.name = name
        self.world = world
        self.sky = sky
        self.given: Given | Asked = Asked()
        self.advice: Advice | None = None
        self.is_fine = False  # nothing goes wrong with it
        self.process = Process(world, name, host)
        self.process.command = self
        self.clocks = host
        self.inbox: VirtualInbox = VirtualInbox(self.process)
        self.database = VirtualDatabase(folder, self.process, self.inbox, trouble)
        self.shown: tuple[ServerResult, ...] = ()
        self.errors: list[report.Remark] = []
        self.lines: list[str] = []
        self.confirmed: set[tuple[str, str]] = set()
        self.code: int | None = None
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.crash: str | None = None
        self.longest_tick = 0.0
        self.judge: Callable[[], None] = lambda: None
        # what else a session has
        self.form, self.usual_account = None, "ALIAS"
        self.quiet = self.verbose = self.can_ask = False
        self.streams = self.renderer = self.prompts = self  # type: ignore[assignment]
        self.stdin = self.stdout = self.stderr = self
        self.origin = ORIGIN
        self.client = VirtualClient(sky, self.process, self.inbox)
        new_id = world.random.getrandbits
        self.journal = Journal(self.database, self.clocks, lambda: f"{new_id(32):08x}")

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

    # --- the process ---------------------------------------------------------------------------

    def start(self, when: float) -> None:
        self.world.push(when, lambda: self.process.start(self._work))

    def _work(self) -> None:
        self.began_at = self.world.time
        self.world.note(self.name, f"$ {show(self.given)}")
        try:
            self.process.step()
            try:
                if isinstance(self.given, Given):
                    code = reset.run(self, self.given)
                else:
                    code = status.run(self, account=None, **self.given._asdict())
            except (ClcError, Interrupted) as error:  # as cli.main does
                code = report.error(self.renderer, error)
            self.code, self.ended_at = int(code), self.world.time
            self.world.note(self.name, f"ends with {self.code}")
        except Exception as error:  # noqa: BLE001 - a traceback is a bug
            self.crash = describe(error)
            self.world.note(self.name, f"crashes: {self.crash}")
        finally:
            self.database.let_go()

    # --- its surroundings ----------------------------------------------------------------------

    def log_in(self) -> Credential:
        random = self.world.random
        self.process.step(4.0 if random.random() < 0.1 else 0.1)
        self.inbox.check()
        if not self.is_fine and random.random() < 0.02:
            raise AuthenticationError("No token.", hint="Log in.")
        return Credential(self.sky.token, "CLC_TOKEN", "demo", "ALIAS")

    def checks(self, command: str, directory: str | None) -> Checks:
        """Return the operator's check: it passes, fails, hangs or can't be run."""
        return self._check

    def _check(
        self, servers: Sequence[str], seconds: float, attempt: Callable[[str, int], None]
    ) -> dict[str, str]:
        random = self.world.random
        problems: dict[str, str | None] = dict.fromkeys(servers, "interrupted before it passed")
        bad = ("exit code 7", HANGS, "not tried: no fork")
        with suppress(Interrupted):
            for number, server in enumerate(servers):
                problem = random.choice((None,) if self.is_fine else (None, None, None, *bad))
                attempt(server, 1)
                if number == 0:
                    self.inbox.sleep(seconds if problem == HANGS else random.uniform(0, 3))
                problems[server] = problem
        return {server: problem for server, problem in problems.items() if problem}

    @contextmanager
    def progress(self, *, shows: bool = True) -> Generator[Emit]:
        def emit(event: Event) -> None:
            if isinstance(event, Tick):
                self.longest_tick = max(self.longest_tick, event.seconds)

        yield emit

    # --- what it shows, and asks ---------------------------------------------------------------

    def note(self, text: str) -> None:
        self.lines.append(text)
        self.world.note(self.name, text)

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
        self.shown = tuple(result._replace(run=result.run or run) for result in results)
        for result in self.shown:
            operation = result.operation.id if result.operation else "-"
            state = f"{result.server} {result.state} {operation} {result.message} {result.run}"
            self.note(f"| {state}")
        self.judge()
        return Delivery.PRINTED

    def error(self, kind: str, message: str, hint: str, exit_code: int) -> None:
        self.errors.append(report.Remark(kind, message, hint))
        self.note(f"{kind}: {message} / {hint}")

    def require_terminal(self, what: str, otherwise: str) -> None:
        assert self.can_ask

    def confirm(self, question: str) -> bool:
        random = self.world.random
        self.inbox.sleep(random.expovariate(1 / random.choice((3.0, 3.0, 200.0))))
        is_yes = random.random() < 0.7
        if is_yes:
            self.confirmed |= set(UNSETTLED.findall(self.lines[-1]))
        self.note(f"{question} {'y' if is_yes else 'n'}")
        return is_yes


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
