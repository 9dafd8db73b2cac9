"""`clc reset`: build the request, carry it out, report the outcome."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from textwrap import TextWrapper
from typing import NamedTuple

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.errors import ClcError, Interrupted, JournalError, UnsettledError, UsageError
from clc_reset.journal.rows import Where
from clc_reset.journal.runs import Rest
from clc_reset.models import RollingOptions, ServerResult, ServerState
from clc_reset.resets import guard
from clc_reset.resets import run as resets
from clc_reset.resets.groups import Groups
from clc_reset.resets.outcome import Ending, Outcome
from clc_reset.resets.request import Dependencies, ResetRequest
from clc_reset.text import count, enumerate_names
from clc_reset.ui.streams import size_of

LINES_BESIDE = 3
"""Lines of the screen that a list of servers leaves free."""

_BY_ID = "By their ids"
_NEEDS_YES = "Add --yes to reset a group without being asked; -n shows its servers."

_log = logging.getLogger(__name__)


class Given(NamedTuple):
    """The options of one `clc reset`, as given; None where an option wasn't."""

    servers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rest_of: str | None = None
    account: str | None = None
    yes: bool = False
    wait: bool = False
    dry_run: bool = False
    again: bool = False
    timeout: float | None = None
    at_a_time: int | None = None
    pause: float | None = None
    check: str | None = None
    check_timeout: float | None = None
    max_failures: int | None = None


def run(session: Session, given: Given) -> int:
    """Reset servers; return the exit code."""
    given = given._replace(servers=tuple(session.each_once(given.servers)))
    try:
        if given.groups and not (given.yes or given.dry_run):
            session.prompts.require_terminal("a confirmation", _NEEDS_YES)
        rest = None if given.rest_of is None else _rest_of(session, given, given.rest_of)
        if given.dry_run:
            return _dry_run(session, given, rest)
        credential = session.log_in()
        alias = rest.run.account if rest else sources.account(given.account, credential)
        places = _places(session, alias, given)
        options = _options(given, RollingOptions() if rest is None else rest.options)
        waits = given.wait or options.at_a_time is not None or options.check is not None
        if rest is not None and rest.servers:
            _check_combination(given, options, waits=waits)
        request = ResetRequest(
            Where(session.origin, alias),
            credential.user,
            tuple(places) if rest is None else rest.servers,
            options,
            waits=waits,
            looks=not session.quiet,
            again=given.again,
            rest=rest,
            asks=bool(given.groups) and not given.yes,
        )
        known = _carry_out(session, request, places if request.asks else {})
    except (ClcError, Interrupted) as error:
        known = Outcome.not_sent("", (), waited=False).ended_by(error)
    if given.rest_of is not None and not known.results and known.ending is Ending.COMPLETE:
        note = f"Nothing left to reset from run {given.rest_of}."
        if known.in_doubt:
            note += " The outcome of some of its servers is unknown. To see them: "
            note += f"clc status --run {given.rest_of}"
        session.streams.note(note)
    return report.outcome(session, known, whole_run={"run": known.run})


def _carry_out(session: Session, request: ResetRequest, places: Mapping[str, str]) -> Outcome:
    """Reset servers with a display of the progress."""
    options = request.options
    checks = None
    if options.check is not None:
        checks = session.checks(options.check, options.directory)
        if request.rest is not None:
            _log.info("Check: %s (in %s)", options.check, options.directory)

    def confirm(unsettled: int, described: Sequence[str]) -> bool:
        lines = []
        if places:
            size = size_of(sys.stderr)
            account = request.where.account
            lines = [f"In account {account}:", *screenful(places, size.columns, size.lines)]
        if described:
            lines += ["Earlier resets are unsettled:", *described]
        session.streams.note("\n".join(lines))
        return session.prompts.confirm(_question(len(request.servers), unsettled))

    deps = Dependencies(
        session.client,
        session.journal,
        session.inbox,
        session.clocks,
        checks,
        confirm if session.prompts.can_ask else None,
    )
    with session.progress() as emit:
        return resets.run(request, deps, emit)


def _options(given: Given, before: RollingOptions) -> RollingOptions:
    """Return the options of the run: those given, else those of the run that is taken up."""
    anew = {
        "at_a_time": given.at_a_time,
        "pause": given.pause,
        "check": given.check,
        "directory": None if given.check is None else _working_directory(),
        "check_seconds": given.check_timeout,
        "max_failures": given.max_failures,
        "limit": given.timeout,
    }
    return RollingOptions(
        **before._asdict() | {name: value for name, value in anew.items() if value is not None}
    )


def _check_combination(given: Given, options: RollingOptions, *, waits: bool) -> None:
    """Raise UsageError for an option that would do nothing in the rest of a run."""
    is_rolling = options.at_a_time is not None
    for name, value, applies, needed in (
        ("--timeout", given.timeout, waits, "--wait"),
        ("--pause", given.pause, is_rolling, "--at-a-time"),
        ("--max-failures", given.max_failures, is_rolling, "--at-a-time"),
        ("--check-timeout", given.check_timeout, options.check is not None, "--check"),
    ):
        if value is not None and not applies:
            raise UsageError(f"{name} needs {needed}, which run {given.rest_of} doesn't have.")


def _working_directory() -> str:
    """Return the folder that a check is run in. Raises UsageError if it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109 - a string
    except OSError as error:
        raise UsageError(
            f"--check can't be run in the working directory: {error.strerror}.",
            hint="Change to a folder that exists.",
        ) from error


def _rest_of(session: Session, given: Given, name: str) -> Rest:
    """Return the rest of a run. Raises UsageError, and UnsettledError if it can't be read."""
    if not session.journal.is_on:
        raise UsageError(
            "--rest-of needs the journal, which CLC_NO_JOURNAL turns off.",
            hint="Unset CLC_NO_JOURNAL.",
        )
    try:
        rest = session.journal.rest_of(name)
    except JournalError as error:
        raise UnsettledError(error.message, hint=error.hint) from error
    run = rest.run
    if run.base_url != session.origin:
        raise UsageError(
            f"Run {run.id} was at {run.base_url}, but CLC_BASE_URL is {session.origin}.",
            hint=f"Set CLC_BASE_URL to {run.base_url} to reset there.",
        )
    if given.account not in {None, run.account}:
        raise UsageError(
            f"Run {run.id} was in account {run.account}, not {given.account}.",
            hint=f"To reset there: clc reset --rest-of {run.id} -a {run.account}",
        )
    if rest.left_out:
        _log.warning(
            "left out, since another run may have reset them: %s",
            enumerate_names([f"{server} (run {run})" for server, run in rest.left_out.items()]),
        )
    return rest


def _places(session: Session, account: str, given: Given) -> dict[str, str]:
    """Return the ids and the servers of the groups, in this order, each once, with its group."""
    places = dict.fromkeys(given.servers, _BY_ID)
    if given.groups:
        groups = Groups(account, session.client.groups(account))
        listed = [shown.server for shown in groups.members()]
        session.journal.keep_listing(session.origin, account, groups.names, listed)
        for shown in groups.members_to_reset(given.groups):
            places[shown.server] = f"{shown.datacenter} {shown.group}"
    return places


# --- dry run ---


def _dry_run(session: Session, given: Given, rest: Rest | None) -> int:
    """Show what would be reset; only what a group holds needs a request."""
    account, servers = given.account, given.servers
    if rest is not None:
        account, servers = rest.run.account, rest.servers
    elif given.groups:
        account = sources.account(account, session.log_in())
        servers = tuple(_places(session, account, given))
    elif account is None and (credential := session.sources.without_request()):
        account = credential.account and sources.checked_alias(credential.account)
    where = f"in account {account}" if account else "in the login's own account"
    message = f"Would be reset {where}."
    results = [ServerResult(server, ServerState.NOT_SENT, None, message) for server in servers]
    delivery = session.renderer.results(account, results, {"dry_run": True})
    session.streams.note(f"Dry run: {count(len(servers), 'server')} {where}; nothing was sent.")
    if rest is not None:
        if rest.going_on and not given.again:
            runs = ", ".join(rest.going_on)
            session.streams.note(f"Would be refused: run {runs} is still going on, or may be.")
        elif rest.running:
            session.streams.note("Would be refused while operations of the run are running.")
    if session.journal.is_on and (rest is not None or not given.again):
        own = {row.key for row in rest.left} if rest is not None else frozenset()
        try:
            found = session.journal.unsettled(session.origin, servers, but=own)
        except JournalError as error:
            _log.warning("%s %s", error.message, error.hint)
            found = ()
        if found:
            lines = guard.describe_all(list(map(guard.Unsettled, found)), session.clocks.now())
            session.streams.note("\n".join(["Would be asked about first, or refused:", *lines]))
    return report.looked_up(session, delivery)


# --- confirm ---


def _question(servers: int, unsettled: int) -> str:
    if servers == 1:
        return f"Reset this {'unsettled ' if unsettled else ''}server?"
    these = f"Reset these {servers:,} servers"
    return f"{these}, {unsettled:,} of them unsettled?" if unsettled else f"{these}?"


def screenful(places: Mapping[str, str], width: int, height: int) -> list[str]:
    """Return the servers below their groups: as many a line and as many lines as fit the screen."""
    servers_at: dict[str, list[str]] = {}
    for server, place in places.items():
        servers_at.setdefault(place, []).append(server)
    fill = TextWrapper(width, "    ", "    ", break_long_words=False, break_on_hyphens=False)
    lines: list[str] = []
    for place, servers in servers_at.items():
        lines += [f"  {place}"[:width], *fill.wrap("  ".join(servers))]
    most = max(1, height - LINES_BESIDE)
    if len(lines) > most:
        del lines[most - 1 :]
        named = sum(len(line.split()) for line in lines if line.startswith("    "))
        lines.append(f"  and {count(len(places) - named, 'more server')}")
    return lines
