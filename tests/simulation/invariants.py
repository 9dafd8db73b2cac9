"""The promises of the contract, held against what the cloud received."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clc_reset.errors import INTERNAL
from clc_reset.models import ServerResult, ServerState
from tests.simulation.commands import UNSETTLED, Command
from tests.simulation.network import Post

if TYPE_CHECKING:
    from tests.simulation.night import Night

SAFE = {2, 3, 5}
"""Exit codes after which nothing was reset."""
SLACK = 3.0
SIGNAL_SECONDS = 6.0
HOUR, HALF_A_DAY = 3600.0, 12 * 3600.0
USUAL = 1800.0
LEAVING = 61.0
"""Seconds from the record of a request to its departure, at the most."""


class Run(NamedTuple):
    """A run as the journal has it in the morning: the state of each server."""

    number: int
    has_ended: bool
    states: dict[str, str]


# --- when a command prints its results ---


def judge_results(night: "Night", command: Command) -> None:
    """Hold the results of a command against the cloud as it is now."""
    for result in command.shown:
        problem = _untrue(night, result)
        if problem:
            night.world.violate(f"{command.name} says {result.server} {result.state}: {problem}")
    asked = command.given.servers
    shown = tuple(result.server for result in command.shown)
    if command.is_reset and asked and shown != asked:
        night.world.violate(f"{command.name} shows {shown}, not {asked}")


def _untrue(night: "Night", result: ServerResult) -> str:
    """Return why a result isn't true; empty if it is, or says that it doesn't know."""
    operation = result.operation
    if operation is None:
        return "its operation is None" if result.state is ServerState.SUCCEEDED else ""
    queued = [post.operations.get(result.server or "") for post in night.sky.posts]
    if result.server and operation.id not in queued:
        return "another server's operation"
    status = night.sky.status(operation.id)
    text = result.message or ""
    is_check = "check failed" in text or "passed" in text
    wrong = (result.state is ServerState.SUCCEEDED and status != "succeeded") or (
        result.state is ServerState.FAILED and status != "failed" and not is_check
    )
    return f"its operation is {status}" if wrong else ""


# --- in the morning ---


class Morning:
    """Everything that was said and done in a night."""

    def __init__(self, night: "Night") -> None:
        self.night = night
        self.commands = night.commands
        self.runs = recorded_runs(night.folder)
        self.posts = sorted(night.sky.posts, key=lambda post: (post.commit, post.left_at))

    def problems(self) -> list[str]:
        found = [f"{c.name} {problem}" for c in self.commands for problem in self.of_command(c)]
        found += self.secrets()
        if not self.night.trouble.is_forgetful:
            found += self.posts_that_should_not_be()
        return found

    def of_command(self, command: Command) -> Iterator[str]:
        if command.began_at is not None and not command.process.is_dead:
            if command.crash is not None:
                yield f"crashes: {command.crash}"
            elif command.ended_at is None:
                yield "never ends"
            else:
                for error in command.errors:
                    if error.kind == INTERNAL:
                        yield f"has a bug: {error.message}"
                yield from self.limits(command, command.ended_at)
                yield from self.exit_code(command)
                yield from self.left_out(command)
        yield from self.said(command)
        if command.code == 3:
            yield from self.safe_to_run_again(command)
        if command.code == 0 and not self.night.trouble.is_forgetful:
            yield from self.hides_doubts(command)

    def limits(self, command: Command, ended_at: float) -> Iterator[str]:
        signalled_at, suspended = command.inbox.signalled_at, command.process.suspended
        if signalled_at is not None and not suspended and ended_at - signalled_at > SIGNAL_SECONDS:
            yield f"ends {ended_at - signalled_at:.0f} s after a signal"
        limit = command.given.timeout or USUAL
        if command.longest_tick > limit + 10 + SLACK + suspended:
            yield f"waits {command.longest_tick:.0f} s, with a limit of {limit:g} s"

    def exit_code(self, command: Command) -> Iterator[str]:
        states = {result.state for result in command.shown}
        good = {ServerState.SUCCEEDED}
        if command.is_reset and not command.given.wait:
            good.add(ServerState.QUEUED)
        if command.code == 0 and states - good and command.given.rest_of is None:
            yield f"ends with 0: {', '.join(sorted(states))}"
        if ServerState.UNKNOWN in states and command.code not in {6, 129, 130, 143}:
            yield f"ends with {command.code}, though an outcome is unknown"

    def left_out(self, command: Command) -> Iterator[str]:
        """Yield names that a `clc status` of the next day leaves out."""
        if command.is_reset or not command.is_fine:
            return
        shown = {result.server for result in command.shown}
        shown |= {result.operation.id for result in command.shown if result.operation}
        text = " ".join(error.message for error in command.errors)
        for name in command.given.servers:
            if ("ALIAS" in name or "a1-" in name) and name not in shown and name not in text:
                yield f"says nothing of {name}"
        for run in self.runs.values():
            if set(run.states) - shown:
                yield f"leaves out {sorted(set(run.states) - shown)}"

    def said(self, command: Command) -> Iterator[str]:
        """Hold what was called not sent against what the cloud received, then or later."""
        own = command.sent if command.is_reset else set()
        if own and command.code in SAFE:
            yield f"ends with {command.code}, but the cloud reset {sorted(own)}"
        if own and any("No server was reset" in line for line in command.lines):
            yield f"says that no server was reset, but the cloud reset {sorted(own)}"
        if command.is_reset and command.advice and not own <= command.advice.servers:
            others = sorted(own - command.advice.servers)
            yield f"follows {command.advice.adviser.name} and resets {others}, too"
        for result in command.shown:
            by = command if command.is_reset else self.night.owner(result.run)
            if result.state is ServerState.NOT_SENT and by and result.server in by.sent:
                yield f"calls {result.server} not sent, but {by.name} sent it"

    def safe_to_run_again(self, command: Command) -> Iterator[str]:
        """Yield resets after which it was safe to run again, but that are in the way now."""
        for error in command.errors:
            for server, run in UNSETTLED.findall(error.message):
                owner = self.night.owner(run)
                if owner is None or owner.code != 5 or owner.ended_at is None:
                    continue
                warned = any("couldn't note this" in line for line in owner.lines)
                if owner.ended_at < (command.began_at or 0.0) and not warned:
                    yield f"finds {owner.name}, which ended with 5, in the way of {server}"

    def secrets(self) -> Iterator[str]:
        token = self.night.sky.token
        for command in self.commands:
            if any(token in line for line in command.lines):
                yield f"{command.name} prints the token"
        for path in sorted(Path(self.night.folder).iterdir()):
            if token.encode() in path.read_bytes():
                yield f"{path.name} holds the token"

    def hides_doubts(self, command: Command) -> Iterator[str]:
        """Yield servers of a run without a rest of which nobody knows what became of them."""
        name, has_nothing = command.given.rest_of, "Nothing left" in "\n".join(command.lines)
        run, owner = self.runs.get(name or ""), self.night.owner(name)
        if run is None or owner is None or not has_nothing:
            return
        over_at = owner.process.over_at
        doubtful = sorted(s for s, state in run.states.items() if state in {"intended", "unknown"})
        if doubtful and over_at is not None and over_at < (command.began_at or 0.0):
            yield f"ends with 0, though {doubtful} are in doubt"

    def posts_that_should_not_be(self) -> Iterator[str]:
        for number, post in enumerate(self.posts):
            command = post.command
            age = post.left_at - post.committed_at
            has_record = command.run in self.runs
            if age > LEAVING and has_record and not self.night.trouble.commit_fails:
                yield f"{command.name} sends a request {age:.0f} s after its record"
            for server in post.operations:
                before = [other for other in self.posts[:number] if server in other.operations]
                for problem in self.wrong(post, server, before):
                    yield f"{command.name} resets {server} {problem}"

    def wrong(self, post: Post, server: str, before: list[Post]) -> Iterator[str]:
        command, family = post.command, post.command.family
        strangers = []
        for other in before:
            if other.command is command:
                yield "twice"
            elif other.command.family is family:
                yield f"again after {other.command.name} of the same family"
            elif other.command.run in self.runs:
                strangers.append(other)
        if command.run not in self.runs:
            return
        for other in strangers:
            if family.plan is not None and family.plan < other.commit < post.commit:
                yield f"though {other.command.name} reset it since it was planned"
        if strangers and not self.may_follow(post, strangers[-1], server):
            yield f"after {strangers[-1].command.name}, which isn't settled"
        if not command.is_unguarded:
            yield from self.planned_elsewhere(post, server, before)

    def may_follow(self, post: Post, earlier: Post, server: str) -> bool:
        """Return whether the guard may let a reset follow an earlier one."""
        command, other = post.command, earlier.command
        operation = earlier.operations[server]
        gone_from = self.night.sky.vanished.get(operation, (float("inf"), 0.0))[0]
        if command.is_unguarded or operation in post.over or gone_from <= post.left_at:
            return True
        # the guard asks about the latest reset, which may be one that never left
        latest = self.runs[other.run or ""].number
        for name, run in command.confirmed:
            if name == server and run in self.runs and self.runs[run].number >= latest:
                return True
        if command.clocks is other.clocks:
            return post.left_at - earlier.left_at > HOUR - LEAVING
        return abs(post.left.wall - earlier.left.wall) > HALF_A_DAY - LEAVING

    def planned_elsewhere(self, post: Post, server: str, before: list[Post]) -> Iterator[str]:
        """Yield other runs that had planned the server and were going on."""
        command = post.command
        asked = [self.night.owner(run) for name, run in command.confirmed if name == server]
        allowed = [command.family, *(owner.family for owner in asked if owner)]
        for other in self.commands:
            plan, run, over_at = other.plan, self.runs.get(other.run or ""), other.process.over_at
            if plan is None or plan >= post.commit or run is None or server not in run.states:
                continue
            is_over = over_at is not None and over_at <= post.left_at
            taken = any(plan < earlier.commit for earlier in before)
            if is_over or taken or other.family in allowed:
                continue
            if not any(server in earlier.servers for earlier in other.posts):
                yield f"though {other.name} plans it"


def recorded_runs(folder: str) -> dict[str, Run]:
    """Return the runs that the journal has."""
    path = Path(folder, "journal.sqlite3")
    if not path.exists():
        return {}
    found = {}
    with sqlite3.connect(path) as db:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables == (0,):
            return {}
        for number, run, ended in db.execute("SELECT number, id, ended FROM run").fetchall():
            rows = db.execute("SELECT name, state FROM server WHERE run = ?", (number,))
            found[run] = Run(number, bool(ended), dict(rows.fetchall()))
    db.close()
    return found


def certainly_left(night: "Night", command: Command) -> set[str]:
    """Return the servers of a run that nobody has sent or may have sent, so that a rest has them.

    Empty where `--rest-of` isn't meant for it, or may rightly be refused.
    """
    runs = recorded_runs(night.folder)
    run = runs.get(command.run or "")
    gone = any(ends == float("inf") for _, ends in night.sky.vanished.values())
    if run is None or night.trouble.is_forgetful or night.has_steps or gone:
        return set()
    if command.family is not command:
        return set()
    if not night.trouble.has_locks:  # a run that was killed may be going on: it refuses all of them
        going_on = [other for other in runs.values() if other is not run and not other.has_ended]
        if any(other.states.get(s) == "planned" for other in going_on for s in run.states):
            return set()
    doubtful = {
        server
        for other in runs.values()
        for server, state in other.states.items()
        if state not in {"planned", "taken", "refused"}
    }
    sent = {server for post in night.sky.posts for server in post.servers}
    planned = {server for server, state in run.states.items() if state in {"planned", "taken"}}
    return planned - doubtful - sent


def readable(night: "Night") -> str:
    """Return what happened, line by line."""
    lines = [f"{time:10.3f}  {who:14} {what}" for time, who, what in night.world.trace]
    text = "\n".join(lines).replace(night.folder, "HOME")
    return re.sub(r"corrupt-\d+", "corrupt-…", text)
