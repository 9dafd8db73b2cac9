"""Simulated commands: the real `clc reset` and `clc status` in surroundings of their own."""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, NamedTuple

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
from tests.simulation.journal import VirtualDatabase
from tests.simulation.network import Post, VirtualClient
from tests.simulation.world import Host, Process, VirtualInbox

if TYPE_CHECKING:
    from tests.simulation.night import Night

HANGS = "no success within the time"
SERVER = re.compile(r"[A-Z]{2}1ALIAS[A-Z]+\d\d")
_COMMAND = re.compile(r"clc ((?:reset|status)(?: [\w.-]+)+)")
UNSETTLED = re.compile(
    rf"^({SERVER.pattern}): (?:reset .*? ago \(run|planned by run) ([\w-]+)", re.MULTILINE
)


class Advice(NamedTuple):
    """A command that was printed, and the servers that the message beside it names."""

    words: tuple[str, ...]
    servers: frozenset[str]
    adviser: "Command"


class Command(Session):
    """One command: what was typed, its surroundings, and what came of it.

    It is its own streams, renderer and prompts, and the operator who answers these. The names of a
    `clc status` are the servers that are given.
    """

    def __init__(self, night: "Night", host: Host) -> None:
        self.night = night
        self.world = night.world
        self.name = f"{ascii_uppercase[len(night.commands)]}@{host.name}"
        self.given = Given()
        self.is_reset = True
        self.advice: Advice | None = None
        self.is_fine = False  # nothing goes wrong with it
        self.process = Process(self.world, self.name, host)
        self.process.command = self
        self.inbox: VirtualInbox = VirtualInbox(self.process)
        self.database = VirtualDatabase(night.folder, self.process, self.inbox, night.trouble)
        self.shown: tuple[ServerResult, ...] = ()
        self.errors: list[report.Remark] = []
        self.lines: list[str] = []
        self.confirmed: set[tuple[str, str]] = set()
        self.code: int | None = None
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.crash: str | None = None
        self.longest_tick = 0.0
        # what else a session has
        self.clocks = host
        self.form, self.usual_account = None, "ALIAS"
        self.quiet = self.verbose = self.can_ask = False
        self.streams = self.renderer = self.prompts = self  # type: ignore[assignment]
        self.stdin = self.stdout = self.stderr = self
        self.origin = ORIGIN
        self.client = VirtualClient(night.sky, self.process, self.inbox)
        new_id = self.world.random.getrandbits
        self.journal = Journal(self.database, host, lambda: f"{new_id(32):08x}")

    @property
    def run(self) -> str | None:
        """The run that it began, or tried to begin last."""
        return self.database.runs[-1] if self.database.runs else None

    @property
    def is_unguarded(self) -> bool:
        """Whether it asks nobody; the rest of a run is guarded even so."""
        return self.given.again and self.given.rest_of is None

    @property
    def family(self) -> "Command":
        """The first of the commands that took the rest of each other's run, this one the last."""
        owner = self.night.owner(self.given.rest_of)
        return self if owner is None or owner is self else owner.family

    @property
    def posts(self) -> list[Post]:
        """Its requests that left."""
        return [post for post in self.night.sky.posts if post.command is self]

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
        given, usual = self.given, Given()._asdict()
        changed = {name: x for name, x in given._asdict().items() if x != usual[name]}
        self.world.note(self.name, f"$ clc {'reset' if self.is_reset else 'status'} {changed}")
        try:
            self.process.step()
            try:
                if self.is_reset:
                    code = reset.run(self, given)
                else:
                    wait, limit = given.wait, given.timeout
                    code = status.run(self, given.servers, account=None, wait=wait, timeout=limit)
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
        return Credential(self.night.sky.token, "CLC_TOKEN", "demo", "ALIAS")

    def checks(self, command: str, directory: str | None) -> Checks:
        """Return the operator's check: it passes, fails, hangs or can't be run."""
        return self._check

    def _check(self, servers: Sequence[str], seconds: float, attempt: Any) -> dict[str, str]:
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

    def results(self, *printed: Any, run: str | None, verbose: bool) -> Delivery:
        self.shown = tuple(result._replace(run=result.run or run) for result in printed[1])
        for result in self.shown:
            operation = result.operation.id if result.operation else "-"
            state = f"{result.server} {result.state} {operation} {result.message} {result.run}"
            self.note(f"| {state}")
        self.night.judge(self)
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


def parsed(words: Sequence[str]) -> Given:
    """Return the options of a command that somebody types, as it was printed."""
    values: dict[str, Any] = {}
    names = []
    rest = iter(words)
    for word in rest:
        if word in {"--wait", "--again"}:
            values[word[2:]] = True
        elif word == "--rest-of":
            values["rest_of"] = next(rest)
        elif word == "-a":
            next(rest)
        else:
            names.append(next(rest) if word == "--run" else word)
    return Given(tuple(names), **values)
