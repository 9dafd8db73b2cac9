"""`clc reset`: what is typed becomes an order, and the outcome is reported."""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.context import Context, journal, origin
from clc_reset.errors import DeclinedError, Interrupted, JournalError, UsageError

if TYPE_CHECKING:
    from clc_reset.api.client import Client
    from clc_reset.journal import Journal
    from clc_reset.resets.guard import Confirm
    from clc_reset.resets.rolling import Plan
    from clc_reset.ui.output import Output

ROOM_BESIDE = 3
"""Lines of the screen that a list of servers leaves free."""

_BY_ID = "By their ids"
_NEEDS_YES = (
    "Nothing was sent. Give --yes to reset a group without being asked; -n shows its servers."
)


@options.command(
    "reset",
    "clc reset WA1ALIASWB01 WA1ALIASWB02 --wait",
    "clc reset -g 'WA1 Web' --yes --at-a-time 5 --pause 30s",
    "clc servers -g Database | clc reset - -n",
)
@click.argument("servers", nargs=-1, metavar="[SERVER]...", shell_complete=suggestions.servers)
@options.groups
@click.option("-y", "--yes", is_flag=True, help="Reset a group without asking first.")
@options.account
@options.wait
@click.option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="Print what would be reset; send nothing. With -g the API is asked what the group "
    "holds, which needs a token.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Go ahead even if an earlier reset of a server isn't settled.",
)
@click.option(
    "--at-a-time",
    type=click.IntRange(1, options.MOST_NUMBER),
    metavar="N",
    help="Reset N servers, wait for them, then the next N; --timeout is each wave's.",
)
@click.option(
    "--pause", type=options.Duration(), metavar="TIME", help="How long to pause between waves."
)
@click.option(
    "--check",
    metavar="COMMAND",
    help="Run by sh for each server of a wave, with its id in CLC_SERVER; it has to succeed "
    "before the next wave begins. Tried every 5 s.",
)
@click.option(
    "--check-timeout",
    type=options.Duration(),
    metavar="TIME",
    help="How long a wave's checks may take; by default 5m.",
)
@click.option(
    "--max-failures",
    type=click.IntRange(0, options.MOST_NUMBER),
    metavar="K",
    help="Go on until more than K servers have failed; by default 0.",
)
@click.option(
    "--rest-of",
    metavar="RUN",
    shell_complete=suggestions.runs,
    help="Reset the servers that this run didn't reach, and only those.",
)
@options.output
@options.verbose
@click.pass_obj
def command(
    ctx: Context,
    servers: tuple[str, ...],
    groups: tuple[str, ...],
    account: str | None,
    timeout: float | None,
    at_a_time: int | None,
    pause: float | None,
    check: str | None,
    check_timeout: float | None,
    max_failures: int | None,
    rest_of: str | None,
    form: str | None,
    *,
    yes: bool,
    wait: bool,
    dry_run: bool,
    again: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Hard-reset servers, like pressing the reset button.

    SERVER is an id such as WA1ALIASWB01, in any case; - reads ids from standard input, separated
    by blanks, where # starts a comment. All go into one request, which is sent once.

    The servers of a group are shown on a terminal, and confirmed there once; elsewhere -g needs
    --yes. Servers with an earlier reset that isn't settled are asked about in the same way;
    elsewhere nothing is sent, unless --again is given.
    """
    options.check_timeout(timeout, waits=wait or at_a_time is not None)
    _check_rolling(at_a_time, pause, check, check_timeout, max_failures)
    _check_names(servers, groups, rest_of)
    output, usual = ctx.output(form), None
    try:
        ids = [] if rest_of is not None else _named(ctx, output, servers, groups)
        if groups and not (yes or dry_run):
            ctx.prompts.require_terminal("a confirmation", _NEEDS_YES)
        # from here on what is asked can be asked for, and the rooms below are loaded
        from clc_reset.auth import sources
        from clc_reset.resets import batch
        from clc_reset.resets.tools import Tools

        book = journal(output.note)
        if rest_of is not None:
            ids, account = _rest_of(book, rest_of, account)
        if dry_run and not groups:
            return _show_dry_run(output, ids, _known_account(ctx, output, account), book)
        with ctx.client(output, verbose=verbose) as client:
            credential = ctx.sources(output, lambda: client).credential()
            client.authorize(credential.token)
            alias = sources.account(account, credential)
            usual = sources.usual_account(os.environ, credential)
            if groups:
                places = _find(client, book, alias, ids, groups)
                ids = list(places)
                if dry_run:
                    return _show_dry_run(output, ids, alias, book)
                if not yes:
                    _confirm(ctx, output, alias, places)
            order = batch.Order(
                origin(),
                alias,
                credential.user,
                tuple(ids),
                wait=wait,
                limit=timeout,
                looks=not quiet,
                again=again,
            )
            tells = wait or at_a_time is not None
            listener = ctx.listener(output, quiet=quiet, verbose=verbose, tells_refusals=tells)
            tools = Tools(client, book, listener, output.note, ctx.stop)
            confirm = _confirm_again(ctx, output)
            if at_a_time is None:
                outcome = batch.reset(order, tools, confirm)
            else:
                from clc_reset.resets import rolling

                plan = _plan(at_a_time, pause, check, check_timeout, max_failures)
                outcome = rolling.reset(order, plan, tools, confirm)
    except Interrupted as interrupt:
        from clc_reset.resets.outcome import Outcome

        outcome = Outcome.interrupted(interrupt.signum)
    from clc_reset.cli import report

    return report.outcome(
        output, outcome, usual, quiet=quiet, verbose=verbose, extra={"run": outcome.run}
    )


def _check_names(servers: Sequence[str], groups: Sequence[str], rest_of: str | None) -> None:
    """Raise UsageError for names that are empty, or that don't go together."""
    arguments.check_groups(groups)
    if rest_of is not None:
        arguments.check_run(rest_of)
        if servers or groups:
            raise click.UsageError("--rest-of names the servers: give no others.")


def _named(
    ctx: Context, output: "Output", servers: Sequence[str], groups: Sequence[str]
) -> list[str]:
    """The servers that are named one by one."""
    ids, duplicates = arguments.server_ids(
        servers, lambda: arguments.standard_input(ctx.stop), groups
    )
    arguments.tell_duplicates(duplicates, output.note)
    return ids


def _check_rolling(
    at_a_time: int | None,
    pause: float | None,
    check: str | None,
    check_timeout: float | None,
    max_failures: int | None,
) -> None:
    """Raise UsageError for what makes no sense without rolling, or at all."""
    given = {
        "--pause": pause,
        "--check": check,
        "--check-timeout": check_timeout,
        "--max-failures": max_failures,
    }
    alone = [name for name, value in given.items() if value is not None]
    if at_a_time is None and alone:
        raise click.UsageError(f"{alone[0]} needs --at-a-time.")
    if check is None and check_timeout is not None:
        raise click.UsageError("--check-timeout needs --check.")
    if check is not None and not check.strip():
        raise click.UsageError("The command of --check is empty: is a shell variable unset?")


def _plan(
    at_a_time: int,
    pause: float | None,
    check: str | None,
    check_timeout: float | None,
    max_failures: int | None,
) -> "Plan":
    from clc_reset.checks import ShellCheck
    from clc_reset.resets.rolling import CHECK_SECONDS, Plan

    return Plan(
        at_a_time,
        pause or 0.0,
        None if check is None else ShellCheck(check, os.environ, sys.stderr),
        CHECK_SECONDS if check_timeout is None else check_timeout,
        max_failures or 0,
    )


def _rest_of(book: "Journal", name: str, account: str | None) -> tuple[list[str], str]:
    """The servers that a run didn't reach, and its account. Raises UsageError."""
    from clc_reset.models import ServerState
    from clc_reset.resets import inquiry

    run = book.run(name)
    if run.base_url != origin():
        raise UsageError(
            f"Run {run.id} was at {run.base_url}, but this is {origin()}.",
            hint=f"Nothing was sent. Set CLC_BASE_URL to {run.base_url} to reset there.",
        )
    if account is not None and account.upper() != run.account:
        raise UsageError(
            f"Run {run.id} was in account {run.account}, not in {account.upper()}.",
            hint="Nothing was sent.",
        )
    left = inquiry.known(run).servers(ServerState.NOT_SENT)
    if not left:
        raise UsageError(f"Run {run.id} left no server out.", hint="Nothing was sent.")
    since = book.sent_since(run, left)
    if since.issuperset(left):
        raise UsageError(
            f"What run {run.id} left out has been reset since.",
            hint="Nothing was sent. See: clc history",
        )
    return [each for each in left if each not in since], run.account


def _known_account(ctx: Context, output: "Output", account: str | None) -> str | None:
    """The account as far as it can be told without a request."""
    from clc_reset.auth.sources import checked_alias

    if account is None:
        sources = ctx.sources(output, lambda: ctx.client(output, verbose=False))
        credential = sources.without_request()
        account = credential.account if credential else None
    return None if account is None else checked_alias(account)


def _show_dry_run(
    output: "Output", ids: Sequence[str], account: str | None, book: "Journal"
) -> int:
    """Print what would be sent, and what the guard would say."""
    from clc_reset.cli import report
    from clc_reset.models import ServerResult, ServerState
    from clc_reset.resets import guard
    from clc_reset.text import count

    where = f"in account {account}" if account else "in the login's own account"
    message = f"Would be reset {where}."
    delivery = output.results(
        account,
        [ServerResult(each, ServerState.NOT_SENT, None, message) for each in ids],
        {"dry_run": True},
    )
    output.note(f"Dry run: {count(len(ids), 'server')} {where}; nothing was sent.")
    if account is not None:
        try:
            found = book.unsettled(origin(), account, ids, unsettled_within=guard.SECONDS)
        except JournalError as error:
            output.note(f"Warning: {error.message}")
            found = ()
        if found:
            lines = guard.describe(guard.unasked(found), datetime.now(UTC))
            output.note("\n".join(["Would be asked about first, or refused:", *lines]))
    return report.looked_up(delivery)


def _find(
    client: "Client", book: "Journal", account: str, ids: Sequence[str], names: Sequence[str]
) -> Mapping[str, str]:
    """The ids and the servers of the groups, in this order, each once, with where each one is."""
    from clc_reset.resets.groups import Groups

    groups = Groups(account, client.groups(account))
    book.keep_listing(origin(), account, groups.names, [each.server for each in groups.members()])
    members = groups.members_to_reset(names)
    places = {each.server: f"{each.datacenter} {each.group}" for each in members}
    return {**dict.fromkeys(ids, _BY_ID), **places}


def _confirm(ctx: Context, output: "Output", account: str, places: Mapping[str, str]) -> None:
    """Show what was found and ask once. Raises DeclinedError if the answer isn't yes."""
    from clc_reset.text import count
    from clc_reset.ui.output import size_of

    lines = screenful(places, *size_of(sys.stderr))
    output.note("\n".join([f"In account {account}:", *lines]))
    these = f"these {count(len(places), 'server')}" if len(places) > 1 else "this server"
    if not ctx.prompts.confirm(f"Reset {these}?"):
        raise DeclinedError("Nothing was sent.")


def _confirm_again(ctx: Context, output: "Output") -> "Confirm | None":
    """Asks about earlier resets that aren't settled; None if nobody can be asked."""
    from clc_reset.ui.output import is_terminal

    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return None

    def confirm(lines: Sequence[str]) -> bool:
        output.note("\n".join(["An earlier reset isn't settled:", *lines]))
        return ctx.prompts.confirm("Reset anyway?")

    return confirm


def screenful(places: Mapping[str, str], width: int, height: int) -> list[str]:
    """The servers below their groups, as many a line and as many lines as the screen holds."""
    from clc_reset.text import count

    servers_at: dict[str, list[str]] = {}
    for server, place in places.items():
        servers_at.setdefault(place, []).append(server)
    at_a_time = max(1, (width - 2) // (max(map(len, places)) + 2))
    lines: list[tuple[str, int]] = []
    for place, servers in servers_at.items():
        lines.append((f"  {place}"[:width], 0))
        for first in range(0, len(servers), at_a_time):
            some = servers[first : first + at_a_time]
            lines.append((f"    {'  '.join(some)}", len(some)))
    room = max(1, height - ROOM_BESIDE)
    if len(lines) <= room:
        return [line for line, _ in lines]
    more = sum(number for _, number in lines[room - 1 :])
    return [*(line for line, _ in lines[: room - 1]), f"  and {count(more, 'more server')}"]
