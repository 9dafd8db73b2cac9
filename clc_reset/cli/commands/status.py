"""`clc status`: what has become of earlier resets, now or once they are done."""

import os
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.context import Context, journal, origin
from clc_reset.errors import ClcError, JournalError, UsageError
from clc_reset.identifiers import looks_like_operation_id, looks_like_run

if TYPE_CHECKING:
    from clc_reset.journal import Journal, Run
    from clc_reset.resets.inquiry import Part


@options.command(
    "status",
    "clc status --wait",
    "clc status WA1ALIASWB01 wa1-12345",
    "clc status --run 20260115-021305-3f9a12bc -o json",
)
@click.argument(
    "names", nargs=-1, metavar="[OPERATION|SERVER|RUN]...", shell_complete=suggestions.asked
)
@click.option(
    "--run",
    "name",
    metavar="RUN",
    shell_complete=suggestions.runs,
    help="Show this reset; clc history lists them. The beginning of its id is enough if it is "
    "unique.",
)
@options.account
@options.wait
@options.output
@options.verbose
@click.pass_obj
def command(
    ctx: Context,
    names: tuple[str, ...],
    name: str | None,
    account: str | None,
    timeout: float | None,
    form: str | None,
    *,
    wait: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what has become of a reset.

    By default of the latest one in the account; operations, servers and runs may be named, and -
    reads names from standard input. It shows what this machine's journal knows, and what the API
    says now.

    Without --wait each operation is asked once. "succeeded" means that the operation is done, not
    that the server is up.
    """
    options.check_timeout(timeout, waits=wait)
    if name is not None:
        arguments.check_run(name)
        if names:
            raise click.UsageError("--run shows a whole reset: give either that or names.")
    output = ctx.output(form)
    asked = arguments.names(names, lambda: arguments.standard_input(ctx.stop)) if names else []

    from clc_reset.auth import sources
    from clc_reset.cli import report
    from clc_reset.resets import inquiry
    from clc_reset.resets.outcome import requested
    from clc_reset.resets.tools import Tools

    alias = None if account is None else sources.checked_alias(account)
    book = journal(output.note)
    connect = cache(partial(ctx.client, output, verbose=verbose))
    client, credential, denied = None, None, None
    try:
        credential = ctx.sources(output, connect).credential()
        if credential.account is not None:  # or the journal tells the account
            alias = sources.account(alias, credential)
        client = connect().authorize(credential.token)
    except UsageError:
        raise
    except ClcError as error:  # what the journal knows is shown all the same
        denied = error
    parts, unknown = _found(book, asked, name, alias)
    whole = [each.run for each in parts if each.is_whole]
    for run in whole:
        output.note(requested(run.at, len(run.servers), run.account, run.id))
    if client is None or credential is None:
        if denied is not None and not parts:  # nothing is known that could be shown
            raise denied
        outcome = inquiry.unasked(parts, unknown, denied)
    else:
        listener = ctx.listener(output, quiet=quiet or not wait, verbose=verbose)
        tools = Tools(client, book, listener, output.note, ctx.stop)
        where = sources.account(alias, credential) if unknown else ""
        operations = [client.operation(where, each) for each in unknown]
        with client:
            outcome = inquiry.ask(
                parts, operations, alias, tools, wait=wait, limit=timeout, looks=not quiet
            )
    usual = None if credential is None else sources.usual_account(os.environ, credential)
    named = whole[0] if len(parts) == len(whole) == 1 and not unknown else None
    return report.outcome(output, outcome, usual, quiet=quiet, verbose=verbose, extra=_extra(named))


def _found(
    book: "Journal", names: Sequence[str], run_name: str | None, alias: str | None
) -> tuple[list["Part"], list[str]]:
    """What the journal knows of the names, and the operations that it doesn't know.

    Without any name, the latest reset. Raises JournalError for a server or a run that it doesn't
    know.
    """
    from clc_reset.resets.inquiry import Part

    if run_name is not None:
        return [Part.whole(_at_this_api(book.run(run_name)))], []
    if not names:
        return [Part.whole(_latest(book, alias))], []
    parts: list[Part] = []
    unknown: list[str] = []
    for name in names:
        if looks_like_run(name):
            parts.append(Part.whole(_at_this_api(book.run(name))))
        elif looks_like_operation_id(name):
            run = book.with_operation(origin(), name.lower(), alias) if book.is_on else None
            if run is None:
                unknown.append(name)
            else:
                parts.append(Part.of_operation(run, name.lower()))
        else:
            server = name.upper()
            parts.append(Part(_latest_of(book, alias, server), (server,)))
    return parts, unknown


def _latest_of(book: "Journal", alias: str | None, server: str) -> "Run":
    run = book.latest_of(origin(), alias, server)
    if run is None:
        from clc_reset.text import quote

        where = f" in account {alias}" if alias else ""
        raise JournalError(
            f"The journal has no reset of {quote(server)}{where} at {origin()}.",
            hint="To see what it has: clc history\n"
            f"To look at a server itself: clc servers {server}",
        )
    return run


def _latest(book: "Journal", alias: str | None) -> "Run":
    run = book.latest(origin(), alias)
    if run is None:
        where = f" in account {alias}" if alias else ""
        raise JournalError(
            f"No operation is named, and the journal has no reset{where} at {origin()}.",
            hint="Name the operations, as in: clc status wa1-12345\n"
            "To see what the journal has: clc history",
        )
    return run


def _at_this_api(run: "Run") -> "Run":
    if run.base_url != origin():
        raise JournalError(
            f"Run {run.id} was at {run.base_url}, but this is {origin()}.",
            hint=f"Set CLC_BASE_URL to {run.base_url} to ask there.",
        )
    return run


def _extra(run: "Run | None") -> Mapping[str, object]:
    return {} if run is None else {"run": run.id, "time": run.at.isoformat()}
