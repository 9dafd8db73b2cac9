"""A model of the journal's protocol between commands, explored to the last state.

`python -m tests.simulation.protocol` explores small configurations and fails if a promise breaks;
`… each` leaves out one rule after the other and shows what breaks without it; `… all` explores the
large configurations, too.

Commands, each of which may be killed or stopped for ever between two steps:

- A: `reset S1 … Sn --at-a-time 1`
- B: `reset --rest-of A`, with `--again` in some configurations
- C: `reset --rest-of A`
- D: `reset Sk`, with `--again` in some configurations

Beside them: a POST is queued, lost before or after it arrives, or certainly not sent; an operation
gets over or not; a transaction fails, or is in doubt; an hour passes, so that the guard doesn't see
what is older.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

PLANNED, INTENDED, QUEUED, UNKNOWN, OVER, TAKEN, ABSENT = "PIQUOT-"
NOT_SENT, UNTOUCHED = "N."
_T = TypeVar("_T")
POSSIBLE = {INTENDED, QUEUED, UNKNOWN, OVER}
"""The states of a server that the run may have reset."""


class Rules(NamedTuple):
    """The rules of the protocol; each can be left out."""

    claim_needs_record: bool = True
    not_sent_goes_back: bool = True
    follow_chain: bool = True
    leave_out: bool = True
    answer_is_kept_first: bool = True
    lock_tells_life: bool = True
    sixty_seconds: bool = True
    commit_is_read_back: bool = True
    end_puts_back: bool = True
    doubt_is_no_success: bool = True


class Budget(NamedTuple):
    """The number of faults that may happen."""

    kills: int = 0
    failures: int = 0
    doubts: int = 0
    lost: int = 0
    not_sent: int = 0
    hours: int = 0


class Config(NamedTuple):
    """Commands on a number of servers; `again` is the one with `--again`."""

    servers: int
    commands: str
    budget: Budget
    again: str = ""
    d_server: int = 1


class Run(NamedTuple):
    """A run in the journal: of each server its state, its intent's place, and who took it."""

    owner: int
    states: str
    ended: bool
    plan: int
    intents: tuple[int, ...]
    taken_by: tuple[int, ...]


class Process(NamedTuple):
    """A command: its next step, what it knows of each server, its run (-1: none), its servers."""

    step: str
    known: str
    run: int
    servers: tuple[int, ...]
    wave: int = 0
    code: int | None = None
    noted: bool = True


class Post(NamedTuple):
    """A request that arrived."""

    owner: int
    server: int
    is_late: bool


class State(NamedTuple):
    """One state of everything. `aged` is the latest intent that is more than an hour old."""

    runs: tuple[Run, ...]
    next_number: int
    aged: int
    posts: tuple[Post, ...]
    processes: tuple[Process, ...]
    budget: Budget


Steps = Iterator[tuple[str, State, *tuple[str, ...]]]
"""What may happen, the state after it, and the fault of the budget that it is, if it is one."""


class Model:
    """The protocol with some rules in one configuration."""

    def __init__(self, config: Config, rules: Rules) -> None:
        self.config = config
        self.rules = rules
        self.all = range(config.servers)

    def first(self) -> State:
        untouched = UNTOUCHED * self.config.servers
        steps = {"A": "begin", "B": "claim", "C": "claim", "D": "begin"}
        servers = {"A": tuple(self.all), "D": (self.config.d_server,)}
        processes = tuple(
            Process(steps[name], untouched, -1, servers.get(name, ()))
            for name in self.config.commands
        )
        return State((), 1, 0, (), processes, self.config.budget)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield each thing that may happen next, and the state after it."""
        for number, name in enumerate(self.config.commands):
            step = state.processes[number].step
            if step == "end of it":
                continue
            dead = ("is killed", self.put(state, number, step="end of it"), "kills")
            for label, after, *faults in (dead, *getattr(self, f"step_{step}")(state, number)):
                if all(getattr(state.budget, fault) for fault in faults):
                    yield f"{name} {label}", self.spend(after, *faults)
        if state.budget.hours and state.runs:
            yield "an hour passes", self.spend(state._replace(aged=state.next_number - 1), "hours")

    # --- small changes ---

    def put(self, state: State, number: int, **values: Any) -> State:
        process = state.processes[number]._replace(**values)
        return state._replace(processes=_replaced(state.processes, number, process))

    def know(self, state: State, number: int, server: int, known: str, step: str) -> State:
        """Let a process know something of a server, and go on to a step."""
        known = "".join(_replaced(state.processes[number].known, server, known))
        return self.put(state, number, known=known, step=step)

    def spend(self, state: State, *faults: str) -> State:
        left = {fault: getattr(state.budget, fault) - 1 for fault in faults}
        return state._replace(budget=state.budget._replace(**left))

    def mark(self, state: State, number: int, server: int, mark: str, by: int = -1) -> State:
        """Set the state of a server in a run; `by` is the run that takes it."""
        run = state.runs[number]
        run = run._replace(states="".join(_replaced(run.states, server, mark)))
        if mark == INTENDED:
            run = run._replace(intents=_replaced(run.intents, server, state.next_number))
            state = state._replace(next_number=state.next_number + 1)
        if mark == TAKEN:
            run = run._replace(taken_by=_replaced(run.taken_by, server, by))
        return state._replace(runs=_replaced(state.runs, number, run))

    def finish(self, state: State, number: int, code: int) -> State:
        return self.put(state, number, step="end of it", code=code)

    def new_run(self, state: State, number: int, servers: tuple[int, ...], plan: int) -> State:
        """Record a run whose first wave is intended, and go on to its POST."""
        states = "".join(PLANNED if server in servers else ABSENT for server in self.all)
        nothing = (0,) * self.config.servers
        run = Run(number, states, ended=False, plan=plan, intents=nothing, taken_by=nothing)
        place = len(state.runs)
        state = self.mark(state._replace(runs=(*state.runs, run)), place, servers[0], INTENDED)
        return self.put(state, number, step="post", run=place, servers=servers)

    def doubt(self, state: State, lost: State) -> tuple[str, State, str]:
        """Return what follows where a transaction was applied, though it seems to have failed."""
        if self.rules.commit_is_read_back:
            return "finds its commit by reading back", state, "doubts"
        return "takes its commit for failed", lost, "doubts"

    # --- what the journal tells ---

    def latest(self, state: State, server: int, but: int | None) -> tuple[int, int, str] | None:
        """Return intent, run and state of the latest possible reset of a server."""
        found = [
            (run.intents[server], number, run.states[server])
            for number, run in enumerate(state.runs)
            if number != but and run.states[server] in POSSIBLE
        ]
        return max(found, default=None)

    def may_go_on(self, state: State, number: int) -> bool:
        """Return whether a run isn't known to be over."""
        run = state.runs[number]
        is_alive = state.processes[run.owner].step != "end of it"
        return not run.ended and (is_alive or not self.rules.lock_tells_life)

    def guard(
        self, state: State, servers: Sequence[tuple[int | None, int]], *, planned: bool = True
    ) -> list[tuple[bool, State]]:
        """Return whether earlier resets are in the way; their operations may be over or not.

        Each server comes with the run that asks. With `planned` another run that has planned the
        server, and may go on, is in the way, too.
        """
        if not servers:
            return [(False, state)]
        *others, (but, server) = servers
        branches = []
        for is_bad, before in self.guard(state, others, planned=planned):
            latest = self.latest(before, server, but)
            if is_bad or (planned and self.is_planned(before, server, but)):
                branches.append((True, before))
            elif latest is None or latest[0] <= before.aged or latest[2] == OVER:
                branches.append((False, before))
            else:
                branches.append((True, before))
                if latest[2] == QUEUED:
                    branches.append((False, self.mark(before, latest[1], server, OVER)))
        return branches

    def is_planned(self, state: State, server: int, but: int | None) -> bool:
        """Return whether a run that may go on has still to send a server."""
        return any(
            number != but and run.states[server] == PLANNED and self.may_go_on(state, number)
            for number, run in enumerate(state.runs)
        )

    def is_reset_since(self, state: State, server: int, run: int) -> bool:
        """Return whether another run may have reset a server since this one planned it."""
        latest = self.latest(state, server, run)
        return latest is not None and latest[0] > state.runs[run].plan

    def target(self, state: State) -> int | None:
        owners = [self.config.commands[run.owner] for run in state.runs]
        return owners.index("A") if "A" in owners else None

    def standing(self, state: State, run: int) -> dict[int, int]:
        """Return the run that stands for each server of a run: those that took it, in a chain."""
        found = dict.fromkeys(self.all, run)
        for server in self.all if self.rules.follow_chain else ():
            while state.runs[found[server]].states[server] == TAKEN:
                found[server] = state.runs[found[server]].taken_by[server]
        return found

    def rest(self, state: State, run: int) -> tuple[list[tuple[int, int]], list[int], bool, bool]:
        """Return what is left of a run, the runs that may go on, whether any is in doubt or runs.

        What is left are pairs of run and server.
        """
        standing = self.standing(state, run)
        going_on = [number for number in {run, *standing.values()} if self.may_go_on(state, number)]
        left, in_doubt, is_running = [], False, False
        for server, holder in standing.items():
            mark = state.runs[holder].states[server]
            in_doubt = in_doubt or mark in {INTENDED, UNKNOWN}
            intent = state.runs[holder].intents[server]
            is_running = is_running or (mark == QUEUED and intent > state.aged)
            if mark == PLANNED and not self.is_reset_since(state, server, holder):
                left.append((holder, server))
            elif mark == PLANNED:
                latest = self.latest(state, server, holder)
                in_doubt = in_doubt or (latest is not None and latest[2] in {INTENDED, UNKNOWN})
        return left, going_on, in_doubt, is_running

    def code_of_rest(self, state: State) -> int | None:
        """Return the exit code of `--rest-of A` now; None if it would send something."""
        run = self.target(state)
        if run is None:
            return 2
        left, going_on, in_doubt, _ = self.rest(state, run)
        if left:
            return 3 if going_on else None
        return 6 if in_doubt and self.rules.doubt_is_no_success else 0

    # --- the steps of a command ---

    def step_begin(self, state: State, number: int) -> Steps:
        name, process = self.config.commands[number], state.processes[number]
        yield "can't record, warns", self.put(state, number, step="post"), "failures"
        servers = [] if name == self.config.again else process.servers
        for is_bad, after in self.guard(state, [(None, server) for server in servers]):
            if is_bad:
                yield "finds something unsettled, exit 3", self.finish(after, number, 3)
                continue
            begun = self.new_run(after, number, process.servers, after.next_number)
            yield "records its plan and the first intent", begun
            yield self.doubt(begun, self.put(begun, number, run=-1))

    def step_claim(self, state: State, number: int) -> Steps:
        run = self.target(state)
        is_again = self.config.commands[number] == self.config.again
        if run is None:
            yield "finds no such run, exit 2", self.finish(state, number, 2)
            return
        left, going_on, _, is_running = self.rest(state, run)
        if not left:
            code = self.code_of_rest(state) or 0
            yield f"finds nothing left, exit {code}", self.finish(state, number, code)
            return
        if going_on and not is_again:
            yield "finds a run going on, exit 3", self.finish(state, number, 3)
            return
        if is_running:
            yield "finds operations running, exit 3", self.finish(state, number, 3)
        servers = tuple(sorted(server for _, server in left))
        after = self.finish(state, number, 3)
        if not self.rules.claim_needs_record:
            after = self.put(state, number, step="post", servers=servers)
        yield "can't record its claim", after, "failures"
        for is_bad, after in self.guard(state, left, planned=False):
            if is_bad:
                yield "finds something unsettled, exit 3", self.finish(after, number, 3)
                continue
            plan = min(after.runs[holder].plan for holder, _ in left)
            plan = plan if self.rules.leave_out else after.next_number
            claimed = self.new_run(after, number, servers, plan)
            for holder, server in left:
                claimed = self.mark(claimed, holder, server, TAKEN, by=len(after.runs))
            yield "claims the rest, with its first intent", claimed
            yield self.doubt(claimed, self.finish(claimed, number, 3))

    def step_post(self, state: State, number: int) -> Steps:
        process = state.processes[number]
        server = process.servers[process.wave]
        is_recorded = process.run >= 0
        is_late = is_recorded and state.runs[process.run].intents[server] <= state.aged
        if is_late and self.rules.sixty_seconds:
            given_up = self.know(state, number, server, NOT_SENT, "record")
            yield f"gives S{server + 1} up: its intent is too old", given_up
            return
        arrived = state._replace(posts=(*state.posts, Post(number, server, is_late)))
        for label, known, after, *fault in (
            ("is queued", QUEUED, arrived),
            ("arrives, answer lost", UNKNOWN, arrived, "lost"),
            ("is lost on the way", UNKNOWN, state, "lost"),
            ("is certainly not sent", NOT_SENT, state, "not_sent"),
        ):
            done = self.know(after, number, server, known, "record")
            yield f"POST of S{server + 1} {label}", done, *fault

    def step_record(self, state: State, number: int) -> Steps:
        process = state.processes[number]
        server = process.servers[process.wave]
        known = process.known[server]
        after = self.put(state, number, step="wait" if known == QUEUED else "end")
        if process.run < 0:
            yield "has no record", after
            return
        failed = after
        if not self.rules.answer_is_kept_first:
            failed = self.know(state, number, server, UNTOUCHED, "end")
        yield "can't record the answer", failed, "failures"
        mark = PLANNED if known == NOT_SENT and self.rules.not_sent_goes_back else known
        yield "records the answer", self.mark(after, process.run, server, mark)

    def step_wait(self, state: State, number: int) -> Steps:
        yield "stops (limit, signal, failed check)", self.put(state, number, step="end")
        process = state.processes[number]
        server = process.servers[process.wave]
        if process.run >= 0 and state.runs[process.run].states[server] == QUEUED:
            state = self.mark(state, process.run, server, OVER)
        known = self.know(state, number, server, OVER, "wait")
        yield "sees its operation over", self.next_wave(known, number)

    def next_wave(self, state: State, number: int) -> State:
        process = state.processes[number]
        if process.wave + 1 == len(process.servers):
            return self.put(state, number, step="end")
        return self.put(state, number, step="wave", wave=process.wave + 1)

    def step_wave(self, state: State, number: int) -> Steps:
        process = state.processes[number]
        server, run = process.servers[process.wave], process.run
        if run < 0:
            yield "goes on without a record", self.put(state, number, step="post")
            return
        yield "can't record the wave, stops", self.put(state, number, step="end"), "failures"
        if state.runs[run].states[server] != PLANNED:
            yield f"leaves S{server + 1} out: taken", self.next_wave(state, number)
            return
        if self.rules.leave_out and self.is_reset_since(state, server, run):
            latest = self.latest(state, server, run)
            taken = self.mark(state, run, server, TAKEN, by=latest[1] if latest else -1)
            yield f"leaves S{server + 1} out: reset since", self.next_wave(taken, number)
            return
        for is_bad, after in self.guard(state, [(run, server)]):
            if is_bad:
                yield "finds something unsettled, stops", self.put(after, number, step="end")
                continue
            intended = self.put(self.mark(after, run, server, INTENDED), number, step="post")
            yield f"records the intent for S{server + 1}", intended
            stopped = self.put(intended, number, step="end")  # it can't be read back either
            yield "can't tell whether it is recorded, stops", stopped, "doubts"

    def step_end(self, state: State, number: int) -> Steps:
        process = state.processes[number]
        code = _exit_code([process.known[server] for server in process.servers])
        if process.run < 0:
            yield f"ends with {code}", self.finish(state, number, code)
            return
        ended = self.finish(state, number, code)
        yield (
            f"can't record its end, ends with {code}",
            self.put(ended, number, noted=False),
            "failures",
        )
        after = state
        for server in process.servers:
            known = process.known[server]
            is_sent = known not in {NOT_SENT, UNTOUCHED}
            is_written = after.runs[process.run].states[server] != INTENDED
            if not is_written and (is_sent or self.rules.end_puts_back):
                after = self.mark(after, process.run, server, known if is_sent else PLANNED)
        run = after.runs[process.run]._replace(ended=True)
        after = after._replace(runs=_replaced(after.runs, process.run, run))
        yield f"records its end, ends with {code}", self.finish(after, number, code)

    # --- the promises ---

    def broken(self, state: State) -> Iterator[str]:
        yield from self.sent_twice(state)
        yield from self.said_not_sent(state)
        if all(process.step == "end of it" for process in state.processes):
            yield from self.can_be_repeated(state)
            yield from self.rest_can_be_sent(state)

    def sent_twice(self, state: State) -> Iterator[str]:
        names = self.config.commands
        runs = {run.owner: run for run in state.runs}
        for server in self.all:
            posts = [post for post in state.posts if post.server == server]
            family = [post for post in posts if names[post.owner] in "ABC"]
            if len(family) > 1:
                yield "a run and those that take its rest send a server twice"
            if len(posts) < 2 or len(family) > 1 or not all(p.owner in runs for p in posts):
                continue
            first, second = (runs[post.owner] for post in posts[:2])
            if posts[1].is_late:
                yield "a request leaves an hour after its intent"
            elif (
                names[first.owner] == "D"
                and second.plan < first.plan
                and first.intents[server] < second.intents[server]
            ):
                yield "a planned server is sent, though D reset it since"

    def said_not_sent(self, state: State) -> Iterator[str]:
        for number, server, _ in state.posts:
            process = state.processes[number]
            if process.code is not None and process.known[server] in {NOT_SENT, UNTOUCHED}:
                yield "a command says 'not sent', but the cloud has it"
            marks = {run.states[server]: run.ended for run in state.runs if run.owner == number}
            if marks.keys() & {NOT_SENT, TAKEN} or marks.get(PLANNED):
                yield "status says 'not sent' of what its run sent"

    def can_be_repeated(self, state: State) -> Iterator[str]:
        """Yield where 5, 'safe to run again', isn't true, though it doesn't say so."""
        for number, process in enumerate(state.processes):
            if process.code != 5 or not process.noted:
                continue
            if self.config.commands[number] in "AD":
                latest = self.latest(state, process.servers[0], None)
                is_own = latest is not None and state.runs[latest[1]].owner == number
                if is_own and latest and latest[2] in "IU" and latest[0] > state.aged:
                    yield "5, but running it again is refused"
            elif self.code_of_rest(state) == 0 and not state.posts[-1:]:
                yield "5, but running it again does nothing"

    def rest_can_be_sent(self, state: State) -> Iterator[str]:
        run = self.target(state)
        if run is None:
            return
        sent = {post.server for post in state.posts}
        doubtful = {
            server
            for server in self.all
            if any(row.states[server] in {INTENDED, UNKNOWN} for row in state.runs)
            or any(process.known[server] == UNKNOWN for process in state.processes)
        }
        has_rest = not set(self.all) <= sent | doubtful
        code = self.code_of_rest(state)
        if has_rest and code == 0:
            yield "--rest-of has nothing left, but a server was never sent"
        if has_rest and code == 3:
            yield "--rest-of needs --again, though nothing is alive"
        holders = self.standing(state, run).items()
        marks = {state.runs[holder].states[server] for server, holder in holders}
        if code == 0 and marks & {INTENDED, UNKNOWN}:
            yield "--rest-of ends with 0, though a server is in doubt"
        owner = state.processes[state.runs[run].owner]
        for server in owner.servers:
            is_left = owner.code is not None and owner.known[server] in "N." and owner.noted
            if is_left and server not in sent and state.runs[run].states[server] in "NI":
                yield "A says 'not sent', but --rest-of doesn't send it"


def _replaced(items: Sequence[_T], place: int, item: _T) -> tuple[_T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _exit_code(known: list[str]) -> int:
    if UNKNOWN in known:
        return 6
    if not set(known) & {QUEUED, OVER}:
        return 5
    return 1 if set(known) & {NOT_SENT, UNTOUCHED} else 7 if QUEUED in known else 0


def explore(config: Config, rules: Rules) -> tuple[int, dict[str, list[str]]]:
    """Return the number of states, and the shortest way to each broken promise."""
    model = Model(config, rules)
    first = model.first()
    before: dict[State, tuple[State, str] | None] = {first: None}
    broken: dict[str, State] = {}
    todo = deque([first])
    while todo:
        state = todo.popleft()
        for label, after in model.steps(state):
            if after in before:
                continue
            before[after] = (state, label)
            todo.append(after)
            for promise in model.broken(after):
                broken.setdefault(promise, after)
    ways: dict[str, list[str]] = {}
    for promise, last in broken.items():
        ways[promise] = []
        while (step := before[last]) is not None:
            last = step[0]  # noqa: PLW2901 - back to the first
            ways[promise].insert(0, step[1])
    return len(before), ways


SMALL = (
    Config(2, "AB", Budget(1, 2, 0, 1, 1)),
    Config(2, "AB", Budget(1, 1, 1, 1, 1), again="B"),
    Config(2, "ABC", Budget(1, 1, 0, 1, 1), again="B"),
    Config(2, "AD", Budget(1, 1, 0, 1, 1, 1)),
    Config(2, "AD", Budget(1, 1, 1, 1, 1), again="D"),
    Config(2, "ABD", Budget(0, 0, 0, 1, 1), again="D"),
    Config(2, "ABD", Budget(1, 0, 0, 0, 1), again="B"),
)
LARGE = (
    Config(2, "ABD", Budget(1, 1, 1, 1, 1), again="B"),
    Config(2, "ABD", Budget(1, 1, 0, 0, 0, 1), again="B"),
    Config(2, "ABCD", Budget(1, 0, 0, 1, 0), again="B"),
    Config(3, "ABC", Budget(1, 1, 0, 1, 1), again="B"),
    Config(3, "ABD", Budget(1, 1, 0, 1, 0), again="B", d_server=2),
    Config(3, "ABD", Budget(1, 0, 0, 1, 1), again="D", d_server=1),
)


def check(configs: tuple[Config, ...], rules: Rules) -> dict[str, list[str]]:
    """Explore configurations, and print and return the promises that break."""
    found: dict[str, list[str]] = {}
    for config in configs:
        began = time.monotonic()
        states, broken = explore(config, rules)
        found = broken | found
        again = f" ({config.again} --again)" if config.again else ""
        seconds = time.monotonic() - began
        print(
            f"  {config.servers} servers, {config.commands}{again}: "
            f"{states:,} states in {seconds:.1f} s, {len(broken)} broken"
        )
    return found


def main(arguments: list[str]) -> int:
    """Run the model; return 1 if a promise breaks, or with `each` if a rule isn't needed."""
    if arguments == ["each"]:
        needless = []
        for rule in Rules._fields:
            print(f"without {rule}")
            found = check(SMALL, Rules(**{rule: False}))
            for promise, way in sorted(found.items()):
                print(f"    {promise}: {'; '.join(way)}")
            needless += [] if found else [rule]
        print(f"Not needed in the small configurations: {', '.join(needless) or 'none'}")
        return 1 if needless else 0
    found = check(SMALL + LARGE if arguments == ["all"] else SMALL, Rules())
    for promise, way in sorted(found.items()):
        print(f"\n{promise}:")
        for number, label in enumerate(way, 1):
            print(f"  {number}. {label}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
