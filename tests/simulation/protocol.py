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
IN_DOUBT = {INTENDED, UNKNOWN}
POSSIBLE = {INTENDED, QUEUED, UNKNOWN, OVER}
"""The states of a server that the run may have reset."""
_T = TypeVar("_T")


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
    """Commands, the first of them A, on a number of servers; `again` is the one with `--again`."""

    servers: int
    commands: str
    budget: Budget
    again: str = ""
    d_server: int = 1


class Row(NamedTuple):
    """A server of a command: what it knows of it, and what the journal has in the command's run.

    That is a state, the place of an intent, and the command that took the server.
    """

    owner: int
    server: int
    known: str = UNTOUCHED
    mark: str = ABSENT
    intent: int = 0
    taken_by: int = 0


class Command(NamedTuple):
    """A command: its next step, the servers that it sends, a row of each there is, and its end.

    `plan` is the place at which its run was planned, 0 if it has none. It may not know of its run,
    nor have noted its end there.
    """

    step: str
    servers: tuple[int, ...]
    rows: tuple[Row, ...]
    plan: int = 0
    has_record: bool = False
    wave: int = 0
    code: int | None = None
    noted: bool = True
    ended: bool = False

    @property
    def row(self) -> Row:
        """The row of its wave."""
        return self.rows[self.servers[self.wave]]


class Post(NamedTuple):
    """A request that arrived."""

    owner: int
    server: int
    is_late: bool


class State(NamedTuple):
    """One state of everything. `aged` is the latest intent that is more than an hour old."""

    commands: tuple[Command, ...]
    budget: Budget
    next_number: int = 1
    aged: int = 0
    posts: tuple[Post, ...] = ()

    def put(self, me: int, **values: Any) -> "State":
        """Change a command."""
        command = self.commands[me]._replace(**values)
        return self._replace(commands=_replaced(self.commands, me, command))

    def set_row(self, row: Row, **values: Any) -> "State":
        rows = self.commands[row.owner].rows
        changed = rows[row.server]._replace(**values)
        return self.put(row.owner, rows=_replaced(rows, row.server, changed))

    def know(self, me: int, known: str, step: str) -> "State":
        """Let a command know something of its wave's server, and go on to a step."""
        return self.set_row(self.commands[me].row, known=known).put(me, step=step)

    def finish(self, me: int, code: int) -> "State":
        return self.put(me, step="end of it", code=code)

    def next_wave(self, me: int) -> "State":
        command = self.commands[me]
        if command.wave + 1 == len(command.servers):
            return self.put(me, step="end")
        return self.put(me, step="wave", wave=command.wave + 1)

    def spend(self, *faults: str) -> "State":
        left = {fault: getattr(self.budget, fault) - 1 for fault in faults}
        return self._replace(budget=self.budget._replace(**left))

    def intend(self, me: int) -> "State":
        """Record the intent for a wave, and go on to its POST."""
        number = self.next_number
        after = self.set_row(self.commands[me].row, mark=INTENDED, intent=number)
        return after.put(me, step="post")._replace(next_number=number + 1)

    def begin(self, me: int, servers: tuple[int, ...], plan: int) -> "State":
        """Record a run whose first wave is intended, and go on to its POST."""
        after = self.put(me, servers=servers, plan=plan, has_record=True)
        for server in servers:
            after = after.set_row(after.commands[me].rows[server], mark=PLANNED)
        return after.intend(me)

    def latest(self, server: int, but: int | None = None) -> Row | None:
        """Return the latest possible reset of a server, but for those of one command."""
        rows = [command.rows[server] for command in self.commands]
        found = [row for row in rows if row.owner != but and row.mark in POSSIBLE]
        return max(found, key=lambda row: row.intent, default=None)

    def reset_since(self, planned: Row) -> Row | None:
        """Return the latest possible reset of a server by another run since it was planned."""
        latest = self.latest(planned.server, planned.owner)
        return latest if latest and latest.intent > self.commands[planned.owner].plan else None


Steps = Iterator[tuple[str, State, *tuple[str, ...]]]
"""What may happen, the state after it, and the fault of the budget that it is, if it is one."""


class Model:
    """The protocol with some rules in one configuration."""

    def __init__(self, config: Config, rules: Rules) -> None:
        self.config = config
        self.rules = rules
        self.all = tuple(range(config.servers))

    def first(self) -> State:
        steps = {"A": "begin", "B": "claim", "C": "claim", "D": "begin"}
        servers = {"A": self.all, "D": (self.config.d_server,)}
        commands = []
        for me, name in enumerate(self.config.commands):
            rows = tuple(Row(me, server) for server in self.all)
            commands.append(Command(steps[name], servers.get(name, ()), rows))
        return State(tuple(commands), self.config.budget)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield each thing that may happen next, and the state after it."""
        for me, name in enumerate(self.config.commands):
            step = state.commands[me].step
            if step == "end of it":
                continue
            dead = ("is killed", state.put(me, step="end of it"), "kills")
            for label, after, *faults in (dead, *getattr(self, f"step_{step}")(state, me)):
                if all(getattr(state.budget, fault) for fault in faults):
                    yield f"{name} {label}", after.spend(*faults)
        if state.budget.hours and state.next_number > 1:
            yield "an hour passes", state._replace(aged=state.next_number - 1).spend("hours")

    # --- what the journal tells ---

    def may_go_on(self, state: State, owner: int) -> bool:
        """Return whether a run isn't known to be over."""
        command = state.commands[owner]
        is_alive = command.step != "end of it" or not self.rules.lock_tells_life
        return is_alive and not command.ended

    def guard(
        self, state: State, asking: Sequence[Row], *, planned: bool = True
    ) -> list[tuple[bool, State]]:
        """Return whether earlier resets are in the way; their operations may be over or not.

        With `planned` another run that has planned the server, and may go on, is in the way, too.
        """
        if not asking:
            return [(False, state)]
        *others, asker = asking
        branches = []
        for is_bad, before in self.guard(state, others, planned=planned):
            latest = before.latest(asker.server, asker.owner)
            if is_bad or (planned and self.is_planned(before, asker)):
                branches.append((True, before))
            elif latest is None or latest.intent <= before.aged or latest.mark == OVER:
                branches.append((False, before))
            else:
                branches.append((True, before))
                if latest.mark == QUEUED:
                    branches.append((False, before.set_row(latest, mark=OVER)))
        return branches

    def is_planned(self, state: State, asker: Row) -> bool:
        """Return whether another run that may go on has still to send a server."""
        rows = [command.rows[asker.server] for command in state.commands]
        planned = [row.owner for row in rows if row.mark == PLANNED and row.owner != asker.owner]
        return any(self.may_go_on(state, owner) for owner in planned)

    def standing(self, state: State) -> list[Row]:
        """Return the rows that stand for the servers of A: those of the runs that took them."""
        return [self.stands_for(state, row) for row in state.commands[0].rows]

    def stands_for(self, state: State, row: Row) -> Row:
        if row.mark == TAKEN and self.rules.follow_chain:
            return self.stands_for(state, state.commands[row.taken_by].rows[row.server])
        return row

    def left(self, state: State) -> list[Row]:
        """Return what nobody has sent of A."""
        rows = self.standing(state)
        return [row for row in rows if row.mark == PLANNED and not state.reset_since(row)]

    def code_of_rest(self, state: State) -> int | None:
        """Return the exit code of `--rest-of A` now; None if it would send something."""
        if not state.commands[0].plan:
            return 2
        rows = self.standing(state)
        if self.left(state):
            owners = {0, *(row.owner for row in rows)}
            return 3 if any(self.may_go_on(state, owner) for owner in owners) else None
        latest = [state.reset_since(row) if row.mark == PLANNED else row for row in rows]
        is_in_doubt = any(row is not None and row.mark in IN_DOUBT for row in latest)
        return 6 if is_in_doubt and self.rules.doubt_is_no_success else 0

    # --- the steps of a command ---

    def step_begin(self, state: State, me: int) -> Steps:
        servers = state.commands[me].servers
        yield "can't record, warns", state.put(me, step="post"), "failures"
        is_again = self.config.commands[me] == self.config.again
        guarded = () if is_again else [state.commands[me].rows[server] for server in servers]
        for is_bad, after in self.guard(state, guarded):
            if is_bad:
                yield "finds something unsettled, exit 3", after.finish(me, 3)
                continue
            begun = after.begin(me, servers, after.next_number)
            yield "records its plan and the first intent", begun
            yield self.doubt(begun, begun.put(me, has_record=False))

    def step_claim(self, state: State, me: int) -> Steps:
        left, code = self.left(state), self.code_of_rest(state)
        if not left and code is not None:
            found = "no such run" if code == 2 else "nothing left"
            yield f"finds {found}, exit {code}", state.finish(me, code)
            return
        if code == 3 and self.config.commands[me] != self.config.again:
            yield "finds a run going on, exit 3", state.finish(me, 3)
            return
        if any(row.mark == QUEUED and row.intent > state.aged for row in self.standing(state)):
            yield "finds operations running, exit 3", state.finish(me, 3)
        servers = tuple(row.server for row in left)
        after = state.finish(me, 3)
        if not self.rules.claim_needs_record:
            after = state.put(me, step="post", servers=servers)
        yield "can't record its claim", after, "failures"
        for is_bad, after in self.guard(state, left, planned=False):
            if is_bad:
                yield "finds something unsettled, exit 3", after.finish(me, 3)
                continue
            plan = min(after.commands[row.owner].plan for row in left)
            claimed = after.begin(me, servers, plan if self.rules.leave_out else after.next_number)
            for row in left:
                claimed = claimed.set_row(row, mark=TAKEN, taken_by=me)
            yield "claims the rest, with its first intent", claimed
            yield self.doubt(claimed, claimed.finish(me, 3))

    def doubt(self, state: State, lost: State) -> tuple[str, State, str]:
        """Return what follows where a transaction was applied, though it seems to have failed."""
        if self.rules.commit_is_read_back:
            return "finds its commit by reading back", state, "doubts"
        return "takes its commit for failed", lost, "doubts"

    def step_post(self, state: State, me: int) -> Steps:
        command = state.commands[me]
        name = f"S{command.row.server + 1}"
        is_late = command.has_record and command.row.intent <= state.aged
        if is_late and self.rules.sixty_seconds:
            given_up = state.know(me, NOT_SENT, "record")
            yield f"gives {name} up: its intent is too old", given_up
            return
        arrived = state._replace(posts=(*state.posts, Post(me, command.row.server, is_late)))
        for label, known, after, *fault in (
            ("is queued", QUEUED, arrived),
            ("arrives, answer lost", UNKNOWN, arrived, "lost"),
            ("is lost on the way", UNKNOWN, state, "lost"),
            ("is certainly not sent", NOT_SENT, state, "not_sent"),
        ):
            yield f"POST of {name} {label}", after.know(me, known, "record"), *fault

    def step_record(self, state: State, me: int) -> Steps:
        row = state.commands[me].row
        after = state.put(me, step="wait" if row.known == QUEUED else "end")
        if not state.commands[me].has_record:
            yield "has no record", after
            return
        failed = after if self.rules.answer_is_kept_first else state.know(me, UNTOUCHED, "end")
        yield "can't record the answer", failed, "failures"
        goes_back = row.known == NOT_SENT and self.rules.not_sent_goes_back
        mark = PLANNED if goes_back else row.known
        yield "records the answer", after.set_row(row, mark=mark)

    def step_wait(self, state: State, me: int) -> Steps:
        yield "stops (limit, signal, failed check)", state.put(me, step="end")
        command = state.commands[me]
        if command.has_record and command.row.mark == QUEUED:
            state = state.set_row(command.row, mark=OVER)
        yield "sees its operation over", state.know(me, OVER, "wait").next_wave(me)

    def step_wave(self, state: State, me: int) -> Steps:
        if not state.commands[me].has_record:
            yield "goes on without a record", state.put(me, step="post")
            return
        yield "can't record the wave, stops", state.put(me, step="end"), "failures"
        row = state.commands[me].row
        name, since = f"S{row.server + 1}", state.reset_since(row)
        if row.mark != PLANNED:
            yield f"leaves {name} out: taken", state.next_wave(me)
            return
        if since and self.rules.leave_out:
            taken = state.set_row(row, mark=TAKEN, taken_by=since.owner)
            yield f"leaves {name} out: reset since", taken.next_wave(me)
            return
        for is_bad, after in self.guard(state, [row]):
            if is_bad:
                yield "finds something unsettled, stops", after.put(me, step="end")
                continue
            intended = after.intend(me)
            yield f"records the intent for {name}", intended
            # it can't be read back either
            yield "can't tell whether it is recorded, stops", intended.put(me, step="end"), "doubts"

    def step_end(self, state: State, me: int) -> Steps:
        command = state.commands[me]
        rows = [command.rows[server] for server in command.servers]
        code = _exit_code({row.known for row in rows})
        ended = state.finish(me, code)
        if not command.has_record:
            yield f"ends with {code}", ended
            return
        yield f"can't record its end, ends with {code}", ended.put(me, noted=False), "failures"
        for row in rows:
            is_sent = row.known not in {NOT_SENT, UNTOUCHED}
            if row.mark == INTENDED and (is_sent or self.rules.end_puts_back):
                ended = ended.set_row(row, mark=row.known if is_sent else PLANNED)
        yield f"records its end, ends with {code}", ended.put(me, ended=True)

    # --- the promises ---

    def broken(self, state: State) -> Iterator[str]:
        yield from self.sent_twice(state)
        yield from self.said_not_sent(state)
        if all(command.step == "end of it" for command in state.commands):
            yield from self.can_be_repeated(state)
            yield from self.rest_can_be_sent(state)

    def sent_twice(self, state: State) -> Iterator[str]:
        names = self.config.commands
        for server in self.all:
            posts = [post for post in state.posts if post.server == server]
            if sum(names[post.owner] in "ABC" for post in posts) > 1:
                yield "a run and those that take its rest send a server twice"
            elif len(posts) > 1:
                first, second = (state.commands[post.owner] for post in posts)
                if not (first.plan and second.plan):
                    continue
                if posts[1].is_late:
                    yield "a request leaves an hour after its intent"
                elif (
                    names[posts[0].owner] == "D"
                    and second.plan < first.plan
                    and first.rows[server].intent < second.rows[server].intent
                ):
                    yield "a planned server is sent, though D reset it since"

    def said_not_sent(self, state: State) -> Iterator[str]:
        for owner, server, _ in state.posts:
            command = state.commands[owner]
            row = command.rows[server]
            if command.code is not None and row.known in {NOT_SENT, UNTOUCHED}:
                yield "a command says 'not sent', but the cloud has it"
            if row.mark in {NOT_SENT, TAKEN} or (row.mark == PLANNED and command.ended):
                yield "status says 'not sent' of what its run sent"

    def can_be_repeated(self, state: State) -> Iterator[str]:
        """Yield where 5, 'safe to run again', isn't true, though it doesn't say so."""
        for me, command in enumerate(state.commands):
            if command.code != 5 or not command.noted:
                continue
            if self.config.commands[me] in "AD":
                latest = state.latest(command.servers[0])
                is_own = latest is not None and latest.owner == me and latest.mark in IN_DOUBT
                if is_own and latest and latest.intent > state.aged:
                    yield "5, but running it again is refused"
            elif self.code_of_rest(state) == 0 and not state.posts:
                yield "5, but running it again does nothing"

    def rest_can_be_sent(self, state: State) -> Iterator[str]:
        code = self.code_of_rest(state)
        if code == 2:
            return
        sent = {post.server for post in state.posts}
        rows = [row for command in state.commands for row in command.rows]
        doubtful = {row.server for row in rows if row.mark in IN_DOUBT or row.known == UNKNOWN}
        has_rest = not set(self.all) <= sent | doubtful
        if has_rest and code == 0:
            yield "--rest-of has nothing left, but a server was never sent"
        if has_rest and code == 3:
            yield "--rest-of needs --again, though nothing is alive"
        if code == 0 and any(row.mark in IN_DOUBT for row in self.standing(state)):
            yield "--rest-of ends with 0, though a server is in doubt"
        first = state.commands[0]
        for row in first.rows if first.code is not None and first.noted else ():
            is_left = row.known in {NOT_SENT, UNTOUCHED} and row.server not in sent
            if is_left and row.mark in {NOT_SENT, INTENDED}:
                yield "A says 'not sent', but --rest-of doesn't send it"


def _replaced(items: Sequence[_T], place: int, item: _T) -> tuple[_T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def _exit_code(known: set[str]) -> int:
    if UNKNOWN in known:
        return 6
    if not known & {QUEUED, OVER}:
        return 5
    return 1 if known & {NOT_SENT, UNTOUCHED} else 7 if QUEUED in known else 0


def explore(config: Config, rules: Rules) -> tuple[int, dict[str, tuple[str, ...]]]:
    """Return the number of states, and the shortest way to each broken promise."""
    model = Model(config, rules)
    first = model.first()
    known = {first}
    broken: dict[str, tuple[str, ...]] = {}
    todo: deque[tuple[State, tuple[str, ...]]] = deque([(first, ())])
    while todo:
        state, way = todo.popleft()
        for label, after in model.steps(state):
            if after in known:
                continue
            known.add(after)
            todo.append((after, (*way, label)))
            for promise in model.broken(after):
                broken.setdefault(promise, (*way, label))
    return len(known), broken


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


def check(configs: tuple[Config, ...], rules: Rules) -> dict[str, tuple[str, ...]]:
    """Explore configurations, and print and return the promises that break."""
    found: dict[str, tuple[str, ...]] = {}
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
