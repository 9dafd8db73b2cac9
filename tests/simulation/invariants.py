"""The promises of the contract, held against what the cloud received."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clc_reset.commands.reset import Given
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
    for result in command.results or ():
        problem = _untrue(night, result)
        if problem:
            night.world.violate(f"{command.name} says {result.server} {result.state}: {problem}")
    given = command.given
    if isinstance(given, Given) and given.servers:
        shown = tuple(result.server for result in command.results or ())
        if shown != given.servers:
            night.world.violate(f"{command.name} shows {shown}, not {given.servers}")


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


def judge_night(night: "Night") -> None:
    """Hold everything that was said and done against everything that happened."""
    problems = [*_each_command(night), *_said(night), *_secrets(night)]
    if not night.trouble.is_forgetful:
        problems += [*_twice(night), *_doubts_hidden(night)]
    for problem in problems:
        night.world.violate(problem)


def _each_command(night: "Night") -> Iterator[str]:
    for command in night.commands:
        if command.began_at is None or command.process.is_dead:
            continue
        if command.crash is not None:
            yield f"{command.name} crashes: {command.crash}"
        elif command.ended_at is None:
            yield f"{command.name} never ends"
        else:
            for error in command.errors:
                if error.kind == INTERNAL:
                    yield f"{command.name} has a bug: {error.message}"
            yield from _limits(command)
            yield from _exit_code(command)
            yield from _missing(night, command)


def _missing(night: "Night", command: Command) -> Iterator[str]:
    """Yield names that a `clc status` of the next day leaves out."""
    if isinstance(command.given, Given) or not command.is_fine:
        return
    shown = {result.server for result in command.results or ()}
    shown |= {result.operation.id for result in command.results or () if result.operation}
    said = " ".join(error.message for error in command.errors)
    for name in command.given.names:
        if ("ALIAS" in name or "a1-" in name) and name not in shown and name not in said:
            yield f"{command.name} says nothing of {name}"
    for run in recorded_runs(night.folder).values():
        if set(run.states) - shown:
            yield f"{command.name} leaves out {sorted(set(run.states) - shown)}"


def _limits(command: Command) -> Iterator[str]:
    inbox, suspended = command.inbox, command.process.suspended
    assert command.ended_at is not None
    if inbox.signalled_at is not None and not suspended:
        seconds = command.ended_at - inbox.signalled_at
        if seconds > SIGNAL_SECONDS:
            yield f"{command.name} ends {seconds:.0f} s after a signal"
    limit = command.given.timeout or USUAL
    if command.longest_tick > limit + 10 + SLACK + suspended:
        yield f"{command.name} waits {command.longest_tick:.0f} s, with a limit of {limit:g} s"


def _exit_code(command: Command) -> Iterator[str]:
    states = {result.state for result in command.results or ()}
    good, given = {ServerState.SUCCEEDED}, command.given
    if isinstance(given, Given) and not given.wait:
        good.add(ServerState.QUEUED)
    is_rest = isinstance(given, Given) and given.rest_of is not None
    if command.code == 0 and states - good and not is_rest:
        yield f"{command.name} ends with 0: {', '.join(sorted(states))}"
    if ServerState.UNKNOWN in states and command.code not in {6, 129, 130, 143}:
        yield f"{command.name} ends with {command.code}, though an outcome is unknown"


def _said(night: "Night") -> Iterator[str]:
    """Hold what was called not sent against what the cloud received, then or later."""
    owners = {run: command for command in night.commands for run in command.database.runs}
    for command in night.commands:
        is_reset = isinstance(command.given, Given)
        own = {server for post in posts_of(night, command) for server in post.operations}
        if is_reset and own and command.code in SAFE:
            yield f"{command.name} ends with {command.code}, but the cloud reset {sorted(own)}"
        if is_reset and own and any("No server was reset" in line for line in command.lines):
            yield f"{command.name} says that no server was reset, but the cloud reset {sorted(own)}"
        if is_reset and command.advice and not own <= command.advice.servers:
            others = sorted(own - command.advice.servers)
            yield f"{command.name} follows {command.advice.adviser.name} and resets {others}, too"
        for result in command.results or ():
            if result.state is not ServerState.NOT_SENT:
                continue
            by = command if is_reset else owners.get(result.run or "")
            sent = {s for post in posts_of(night, by) for s in post.operations} if by else set()
            if result.server in sent:
                yield f"{command.name} calls {result.server} not sent, but {by and by.name} sent it"
        if command.code == 3:
            yield from _safe_to_run_again(command, owners)


def _safe_to_run_again(command: Command, owners: dict[str, Command]) -> Iterator[str]:
    """Yield resets after which it was safe to run again, but that are in the way now."""
    for error in command.errors:
        for server, run in UNSETTLED.findall(error.message):
            owner = owners.get(run)
            if owner is None or owner.code != 5 or owner.ended_at is None:
                continue
            warned = any("couldn't note this" in line for line in owner.lines)
            if owner.ended_at < (command.began_at or 0.0) and not warned:
                yield f"{owner.name} ends with 5, but {server} can't be reset again"


def posts_of(night: "Night", command: Command) -> list[Post]:
    return [post for post in night.sky.posts if post.process is command.process]


def _secrets(night: "Night") -> Iterator[str]:
    token = night.sky.token
    for command in night.commands:
        if any(token in line for line in command.lines):
            yield f"{command.name} prints the token"
    for path in sorted(Path(night.folder).iterdir()):
        if token.encode() in path.read_bytes():
            yield f"{path.name} holds the token"


# --- resets that shouldn't have been sent ---


def _twice(night: "Night") -> Iterator[str]:
    runs = recorded_runs(night.folder)
    posts = sorted(night.sky.posts, key=lambda post: (post.commit, post.left_at))
    for number, post in enumerate(posts):
        command = post.process.command
        age = post.left_at - post.committed_at
        if age > LEAVING and command.run in runs and not night.trouble.commit_fails:
            yield f"{command.name} sends a request {age:.0f} s after its record"
        for server in post.operations:
            before = [other for other in posts[:number] if server in other.operations]
            for problem in _wrong(night, post, server, before, runs):
                yield f"{command.name} resets {server} {problem}"


def _wrong(
    night: "Night", post: Post, server: str, before: list[Post], runs: dict[str, Run]
) -> Iterator[str]:
    command = post.process.command
    family = root(night, command)
    strangers = []
    for other in before:
        first = other.process.command
        if first is command:
            yield "twice"
        elif root(night, first) is family:
            yield f"again after {first.name} of the same family"
        elif first.run in runs:
            strangers.append(other)
    if command.run not in runs:
        return
    plan = _plan(night, family)
    for other in strangers:
        if plan is not None and plan < other.commit < post.commit:
            yield f"though {other.process.name} reset it since it was planned"
    if strangers and not _may_follow(post, strangers[-1], server, night, runs):
        yield f"after {strangers[-1].process.name}, which isn't settled"
    yield from _planned_elsewhere(night, post, server, before, runs)


def _doubts_hidden(night: "Night") -> Iterator[str]:
    """Yield rests that end with 0 although nobody knows what became of a server of the run."""
    runs = recorded_runs(night.folder)
    owners = {other.run: other for other in night.commands}
    for command in night.commands:
        name = command.given.rest_of if isinstance(command.given, Given) else None
        has_nothing = any(line.startswith("Nothing left") for line in command.lines)
        if name not in runs or name not in owners or command.code != 0 or not has_nothing:
            continue
        states, over_at = runs[name].states, owners[name].process.over_at
        doubtful = sorted(s for s, state in states.items() if state in {"intended", "unknown"})
        if doubtful and over_at is not None and over_at < (command.began_at or 0.0):
            yield f"{command.name} ends with 0, though {doubtful} are in doubt"


def root(night: "Night", command: Command) -> Command:
    """Return the command whose run this one, or those before it, took the rest of."""
    while isinstance(command.given, Given) and command.given.rest_of is not None:
        name = command.given.rest_of
        owner = next((c for c in night.commands if name in c.database.runs), None)
        if owner is None or owner is command:
            break
        command = owner
    return command


def _plan(night: "Night", command: Command) -> int | None:
    posts = posts_of(night, command)
    return min(post.commit for post in posts) if posts else None


def _may_follow(
    post: Post, earlier: Post, server: str, night: "Night", runs: dict[str, Run]
) -> bool:
    """Return whether the guard may let a reset follow an earlier one."""
    command, other = post.process.command, earlier.process.command
    if _is_unguarded(command):
        return True
    # the guard asks about the latest reset, which may be one that never left
    if any(
        name == server and run in runs and runs[run].number >= runs[other.run].number
        for name, run in command.confirmed
    ):
        return True
    operation = earlier.operations[server]
    gone_from = night.sky.vanished.get(operation, (float("inf"), 0.0))[0]
    if operation in post.over or gone_from <= post.left_at:
        return True
    if post.process.host is earlier.process.host:
        return post.left_at - earlier.left_at > HOUR - LEAVING
    return abs(post.left.wall - earlier.left.wall) > HALF_A_DAY - LEAVING


def _is_unguarded(command: Command) -> bool:
    given = command.given
    return isinstance(given, Given) and given.again and given.rest_of is None


def _planned_elsewhere(
    night: "Night", post: Post, server: str, before: list[Post], runs: dict[str, Run]
) -> Iterator[str]:
    """Yield other runs that had planned the server and were going on."""
    command = post.process.command
    if _is_unguarded(command):
        return
    for other in night.commands:
        plan = _plan(night, other)
        run = runs.get(other.run or "")
        if plan is None or plan >= post.commit or run is None or server not in run.states:
            continue
        process = other.process
        is_over = process.over_at is not None and process.over_at <= post.left_at
        own = root(night, other) is root(night, command)
        taken = any(plan < earlier.commit for earlier in before)
        if is_over or own or taken or (server, other.run) in command.confirmed:
            continue
        if not any(server in earlier.servers for earlier in posts_of(night, other)):
            yield f"though {other.name} plans it"


def planned_elsewhere(folder: str, command: Command) -> set[str]:
    """Return the servers that other runs without an end have planned."""
    return {
        server
        for name, run in recorded_runs(folder).items()
        if name != command.run and not run.has_ended
        for server, state in run.states.items()
        if state == "planned"
    }


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
    if root(night, command) is not command:
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
