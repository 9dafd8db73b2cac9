"""`clc reset`: one batch, sent once, and the truth about each server."""

import sys
from collections.abc import Sequence

import click

from clc_reset.cli import choosing, completing, exit_codes, following, identity, options, reading
from clc_reset.cli.app import App, is_terminal
from clc_reset.cli.ending import tell, unknown_outcome, verdict
from clc_reset.cli.ids import check_groups, server_ids
from clc_reset.errors import INTERRUPTED, OUTCOME_UNKNOWN
from clc_reset.models import ResetAnswer, ServerResult, ServerState
from clc_reset.wording import count, enumerate_names


@click.command("reset")
@click.argument("servers", nargs=-1, metavar="[SERVER]...", shell_complete=completing.servers)
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
@options.output
@options.verbose
@click.pass_obj
def command(  # noqa: PLR0913 - click passes one an option
    app: App,
    servers: tuple[str, ...],
    groups: tuple[str, ...],
    account: str | None,
    timeout: float,
    *,
    yes: bool,
    wait: bool,
    dry_run: bool,
) -> int:
    """Power servers off and on again, as with the reset button.

    SERVER is an id such as WA1ALIASWB01, in any case; - reads ids from standard input, separated
    by blanks, where # starts a comment. All go into one request, which is sent once.

    What a group holds is shown on a terminal, and has to be confirmed there; elsewhere -g needs
    --yes.
    """
    check_groups(groups)
    ids, duplicates = server_ids(
        servers, lambda: reading.standard_input(reading.LARGEST_LIST), groups
    )
    if duplicates:
        app.output.note(f"{count(duplicates, 'duplicate')} ignored")
    if dry_run and not groups:
        return _show_dry_run(app, ids, identity.known_account(app, account))
    asks = bool(groups) and not (yes or dry_run)
    if asks:
        choosing.require_terminal()
    found = identity.credential(app)
    alias = identity.account(account, found)
    with app.api.authorize(found.token) as api:
        if groups:
            chosen = choosing.find(app, api, alias, ids, groups)
            ids = list(chosen)
            if dry_run:
                return _show_dry_run(app, ids, alias)
            if asks:
                choosing.confirm(app, alias, chosen)
        with app.journal.begin(app.origin, alias, ids) as entry:
            app.account, app.usual_account, app.sent = alias, identity.usual_account(found), ids
            answer = api.reset_servers(alias, ids)
            app.known = following.resolved(api, answer.results)
            entry.answered(app.known, answer.problem)
            _warn_of_the_unasked(app, answer)
            if not wait or answer.problem:
                return _tell(app, alias, answer)
            followed = following.follow(app, api, app.known, limit=timeout, entry=entry)
    endings = [
        *following.endings(followed, timeout, app.usual_account),
        *unknown_outcome(followed.results),
    ]
    return tell(app, alias, followed.results, endings, following.exit_code(followed))


def _show_dry_run(app: App, ids: Sequence[str], alias: str | None) -> int:
    where = f"in account {alias}" if alias else "in the login's own account"
    message = f"Would be reset {where}."
    app.output.results(
        alias,
        [ServerResult(each, ServerState.NOT_SENT, None, message) for each in ids],
        {"dry_run": True},
    )
    app.output.note(f"Dry run: {count(len(ids), 'server')} {where}; nothing was sent.")
    return exit_codes.OK


def _warn_of_the_unasked(app: App, answer: ResetAnswer) -> None:
    if answer.unasked:
        app.output.note(
            "Warning: the API also answered for servers that were not asked for: "
            f"{enumerate_names(answer.unasked)}."
        )


def _tell(app: App, alias: str, answer: ResetAnswer) -> int:
    kind, code = OUTCOME_UNKNOWN, verdict(each.state for each in answer.results)
    if answer.signum is not None:
        kind, code = INTERRUPTED, exit_codes.of_signal(answer.signum)
    why = f"A reset was sent, but {answer.problem}. " if answer.problem else ""
    tell(app, alias, answer.results, unknown_outcome(answer.results, why, kind), code)
    operations = following.operations_of(app.known)
    if operations and is_terminal(sys.stderr):
        app.output.note(
            f"{following.go_on(operations)}\n{following.resume_hint(operations, app.usual_account)}"
        )
    return code
