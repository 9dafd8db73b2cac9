"""One night: the world, the faults and the commands that a seed makes."""

import logging
import multiprocessing
import os
import random as global_random
import signal
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

from clc_reset.commands.reset import Given
from clc_reset.journal.database import FILE
from clc_reset.text import describe
from tests.simulation import invariants
from tests.simulation.commands import Command, parsed
from tests.simulation.journal import Episode, Trouble, empty_database
from tests.simulation.network import SERVERS, Sky
from tests.simulation.world import Host, World

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIMEOUTS = (*(5.0, 20.0, 20.0, 30.0) * 4, 60.0, 200.0, None)
HALF_A_DAY = 12 * 3600.0
FOLDER = tempfile.gettempdir()
if os.path.isdir("/dev/shm"):  # noqa: S108, PTH112 - a disk would make each night slow
    FOLDER = "/dev/shm"  # noqa: S108


class _Handler(logging.Handler):
    """Prints warnings as the command that logs them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        command = self._world.current.command
        if command is not None:
            command.note(f"{record.levelname.lower()}: {record.getMessage()}")


class Night:
    """Everything that happens with one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World(seed)
        self.random = self.world.random
        self.sky = Sky(self.world)
        self.trouble = Trouble(self.world)
        self.commands: list[Command] = []
        self.folder = ""
        self.has_steps = False
        here = Host(self.world, "here", 0.0, self.random.uniform(0, 1e6))
        offset = self.random.choice((0.0, 0.3, -2.0, 400.0, -400.0))
        self.hosts = [here, Host(self.world, "there", offset, self.random.uniform(0, 1e6))]
        self.servers = self.random.sample(SERVERS, self.random.choice((1, 2, 3, 5)))

    def run(self) -> list[str]:
        """Return the invariants that don't hold."""
        logger = logging.getLogger("clc_reset")
        before = logger.handlers[:], logger.propagate, logger.level
        logger.handlers[:], logger.propagate = [_Handler(self.world)], False
        logger.setLevel(logging.INFO)
        state = global_random.getstate()
        global_random.seed(self.seed)
        try:
            with tempfile.TemporaryDirectory(prefix="night-", dir=FOLDER) as self.folder:
                if self.random.random() < 0.9:
                    Path(self.folder, FILE).write_bytes(empty_database())
                self._weather()
                self._evening()
                self.world.run()
                self._morning()
        finally:
            logger.handlers[:], logger.propagate = before[:2]
            logger.setLevel(before[2])
            global_random.setstate(state)
        return self.world.violations

    def _weather(self) -> None:
        """Choose how much goes wrong, and what."""
        random, sky, trouble = self.random, self.sky, self.trouble
        sky.trouble = random.choice((0.0, 0.0, 0.05, 0.2, 0.5))
        sky.durations = random.choice(((0.5, 3.0, 20.0), (0.5, 20.0, 300.0), (30.0, 300.0, 4000.0)))
        sky.fails = random.choice((0.0, 0.0, 0.1))
        sky.vanishes = random.choice((0.0, 0.0, 0.0, 0.3))
        sky.has_dates = random.random() < 0.9
        sky.set_clock(random.choice((0.0, 0.0, 5.0, -420.0, 420.0)))
        if random.random() < 0.3:
            for _ in range(random.randint(1, 3)):
                begins = random.expovariate(1 / 60)
                lasts = random.choice((0.1, 3.0, 9.0, 60.0, 1000.0))
                kind = random.choice(("locked", "locked", "full", "readonly", "ioerr"))
                trouble.episodes.append(Episode(begins, begins + lasts, kind))
        if random.random() < 0.2:
            trouble.commit_fails = random.choice((0.05, 0.3))
        if random.random() < 0.06:
            trouble.corrupt_at = random.randint(5, random.choice((50, 400)))
        trouble.has_locks = random.random() < 0.93
        for host in self.hosts:
            if random.random() < 0.2:
                step = random.choice((4200.0, 4200.0, -4200.0, 420.0, -420.0, 90000.0, -90000.0))
                set_clock = partial(host.set_clock, step)
                self.world.after(random.expovariate(1 / 40), set_clock)
                self.has_steps = True

    def _evening(self) -> None:
        """Plan the commands of the night."""
        random = self.random
        themes = [self._rests_again, self._replaced_journal, self._unwritten_end]
        themes.append(self._late_operation)
        for number, theme in enumerate(themes):  # what chance hardly brings
            if Random(f"{self.seed} {number}").random() < 0.03:
                theme()
                return
        when = 0.0
        for _ in range(random.choice((1, 2, 2, 3, 3, 4, 5))):
            self._command().start(when)
            if random.random() < 0.5:
                when += random.choice((0.0, 0.05, 1.0, 20.0, 200.0))
            else:
                when += random.expovariate(1 / random.choice((0.2, 5.0, 60.0, 1000.0, 5000.0)))
        if random.random() < 0.2:
            self.world.after(random.expovariate(1 / 30), self._somebody_else)

    def _rests_again(self) -> None:
        """Plan --again on the rest of a run that began with --again."""
        self.sky.trouble = self.random.choice((0.2, 0.5))
        servers = tuple(self.random.sample(SERVERS, 2))
        rolling = Given(servers, wait=True, at_a_time=1, timeout=20.0, again=True)
        self._plan(0.0, Given(servers[::-1]))
        self._plan(5.0, rolling)
        last = self._plan(90.0, rolling)
        last.process.before = partial(self._take_rest, last)

    def _replaced_journal(self) -> None:
        """Plan that a run's answer comes when a new journal has another run."""
        self.sky.trouble = self.random.choice((0.2, 0.5))
        self.trouble.corrupt_at = self.random.randint(10, 60)
        servers = tuple(self.random.sample(SERVERS, 4))
        for when, pair in ((0.0, servers[:2]), (self.random.uniform(0, 3), servers[2:])):
            command = self._plan(when, Given(pair, wait=True, at_a_time=1, timeout=20.0))
            self._disturb(command)

    def _unwritten_end(self) -> None:
        """Plan a run without a lock whose end can't be written."""
        self.trouble.has_locks = False
        begins = self.random.uniform(0.3, 3)
        self.trouble.episodes = [Episode(begins, begins + 60.0, "full")]
        servers = tuple(self.random.sample(SERVERS, 4))
        self._plan(0.0, Given(servers, wait=True, at_a_time=1, pause=3.0))

    def _late_operation(self) -> None:
        """Plan that a server has changed, but its operation, which can't be asked, goes on."""
        self.sky.trouble, self.sky.durations = 0.5, (20.0,)
        servers = tuple(self.random.sample(SERVERS, 4))
        self._plan(0.0, Given(servers))
        for server in servers:
            self._plan(self.random.uniform(10, 20), Given((server,)))

    def _plan(self, when: float, given: Given) -> Command:
        command = self._new_command(self.hosts[0])
        command.given = given
        command.start(when)
        return command

    def _take_rest(self, command: Command) -> None:
        rolling = self.commands[1]
        if rolling.run is not None:
            command.given = Given(rest_of=rolling.run, again=True)

    def _command(self) -> Command:
        """Return a command that is chosen when it is typed, and may be disturbed."""
        random = self.random
        command = self._new_command(self.hosts[random.random() < 0.3])
        command.can_ask = random.random() < 0.4
        command.quiet = random.random() < 0.1
        self._disturb(command)
        if len(self.commands) == 1:
            command.given = self._reset(can_ask=command.can_ask)
        else:
            command.process.before = partial(self._choose, command)
        return command

    def _new_command(self, host: Host) -> Command:
        command = Command(self, host)
        self.commands.append(command)
        return command

    def owner(self, run: str | None) -> Command | None:
        """Return the command that began a run."""
        return next((c for c in self.commands if run in c.database.runs), None)

    def judge(self, command: Command) -> None:
        """Hold the results that a command prints against the cloud as it is now."""
        invariants.judge_results(self, command)

    def _choose(self, command: Command) -> None:
        """Choose what to type, when it is typed: a run, or what an earlier command printed."""
        random = self.random
        earlier = [other for other in self.commands if other.began_at is not None]
        printed = [advice for other in earlier for advice in other.printed_advice]
        runs = [other.run for other in earlier if other.run is not None]
        dice = random.random()
        if printed and dice < 0.4:
            command.advice = random.choice(printed)
            name, *words = command.advice.words
            command.given, command.is_reset = parsed(words), name == "reset"
            if command.is_reset and random.random() < 0.3:
                command.given = command.given._replace(again=True)
        elif dice < 0.55:
            command.given, command.is_reset = self._status(runs), False
        elif runs and dice < 0.75:
            command.given = Given(again=random.random() < 0.4, rest_of=random.choice(runs))
        else:
            command.given = self._reset(can_ask=command.can_ask)

    def _reset(self, *, can_ask: bool) -> Given:
        random = self.random
        values: dict[str, object] = {"again": random.random() < 0.12}
        number = min(len(self.servers), random.choice((1, 2, 3, 5)))
        servers = tuple(random.sample(self.servers, number))
        if random.random() < 0.05:
            servers, values["groups"] = (), ("WA1 Web",)
            values["yes"] = not can_ask or random.random() < 0.3
        if random.random() < 0.5:
            values["at_a_time"] = random.choice((1, 1, 2))
            values["pause"] = random.choice((None, 0.0, 2.0, 10.0, 30.0, 120.0))
            values["max_failures"] = random.choice((None, None, 1, 9))
        if random.random() < 0.2:
            values["check"] = "curl --fail http://$CLC_SERVER/"
            values["check_timeout"] = random.choice((None, 2.0, 30.0))
        waits = "at_a_time" in values or "check" in values or random.random() < 0.5
        if waits:
            values["wait"] = True
            values["timeout"] = random.choice(TIMEOUTS)
        return Given(servers, **values)  # type: ignore[arg-type]

    def _status(self, runs: list[str]) -> Given:
        random = self.random
        operations = [op for post in self.sky.posts for op in post.operations.values()]
        known = [*self.servers, *runs, *operations]
        names = [random.choice(known) for _ in range(random.choice((0, 0, 1, 1, 2)))]
        wait = random.random() < 0.4
        timeout = random.choice(TIMEOUTS) if wait else None
        return Given(tuple(names), wait=wait, timeout=timeout)

    def _disturb(self, command: Command) -> None:
        """Choose the steps at which it is killed, suspended or gets a signal."""
        random, process = self.random, command.process
        step = int(2 ** random.uniform(1, 9))
        dice = random.random()
        if dice < 0.12:
            process.disturbances[step] = process.kill
        elif dice < 0.28:
            seconds = random.choice((1.0, 20.0, 59.0, 70.0, 200.0, 4000.0, 50000.0))
            process.disturbances[step] = partial(process.suspend, seconds)
        elif dice < 0.38:
            number = random.choice(SIGNALS)
            delay = random.choice((0.0, 0.1, 10.0))
            interrupt = partial(command.inbox.interrupt, number)
            process.disturbances[step] = partial(self.world.after, delay, interrupt)

    def _somebody_else(self) -> None:
        server = self.random.choice(self.servers)
        self.world.note("somebody else", f"resets {server}")
        self.sky.reset((server,))

    def _morning(self) -> None:
        """Follow up on everything once all is well again, and look at the whole night."""
        self.trouble.episodes.clear()
        self.trouble.commit_fails, self.trouble.corrupt_at = 0.0, -1
        self.sky.durations = (0.5,)
        self.sky.trouble = self.sky.fails = self.sky.vanishes = 0.0
        self.world.time = self.world.time + HALF_A_DAY + 3600.0
        self.world.note("", "-- the next day --")
        if self.random.random() < 0.2:
            runs = sorted(invariants.recorded_runs(self.folder))
            operations = {op: None for post in self.sky.posts for op in post.operations.values()}
            self._type(Given((*runs, *SERVERS, *operations)), self.hosts[0], is_reset=False)
        for command in self.commands[:]:
            servers = invariants.certainly_left(self, command)
            if servers:
                self._take_up(command, servers)
        for problem in invariants.Morning(self).problems():
            self.world.violate(problem)

    def _take_up(self, command: Command, servers: set[str]) -> None:
        """Type what sends the rest of a run, and find it sent."""
        given = Given(rest_of=command.run, again=not self.trouble.has_locks)
        last = self._type(given, command.process.host)
        sent = {server for post in last.posts for server in post.servers}
        if not servers <= sent:
            self.world.violate(
                f"--rest-of {command.run} sends {sorted(sent)} and ends with {last.code}, but "
                f"{sorted(servers)} are certainly left"
            )

    def _type(self, given: Given, host: Host, *, is_reset: bool = True) -> Command:
        """Carry out one command while nothing else happens."""
        command = self._new_command(host)
        command.given, command.is_reset = given, is_reset
        command.is_fine = True
        command.start(self.world.time)
        self.world.run()
        return command


def failures(seed: int) -> tuple[int, list[str]]:
    """Return what doesn't hold in the night of a seed."""
    try:
        return seed, Night(seed).run()
    except Exception as error:  # noqa: BLE001 - one more thing to look at
        return seed, [f"the night breaks: {describe(error)}"]


def nights(seeds: Sequence[int], processes: int) -> list[tuple[int, list[str]]]:
    """Return the seeds whose nights break a promise, with what they break."""
    if processes == 1:
        return [found for found in map(failures, seeds) if found[1]]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = pool.imap_unordered(failures, seeds, chunksize=50)
        return sorted(item for item in found if item[1])
