"""`clc status`: what operations have come to, now or once they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clc_reset.cli import completing, exit_codes, following, identity, options, reading, remembering
from clc_reset.cli.ending import no_status, tell
from clc_reset.cli.ids import operation_ids
from clc_reset.errors import UsageError
from clc_reset.models import Operation, ServerResult, ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clc_reset.cli.app import App
    from clc_reset.cli.ending import Ending
    from clc_reset.cli.following import Followed
    from clc_reset.journal import Entry
    from clc_reset.models import Credential


@click.command("status")
@click.argument(
    "operations", nargs=-1, metavar="[OPERATION]...", shell_complete=completing.operations
)
@click.option(
    "--run",
    "name",
    metavar="RUN",
    shell_complete=completing.runs,
    help="Tell of this reset; clc history lists them.",
)
@options.account
@options.wait
@options.output
@options.verbose
@click.pass_obj
def command(  # noqa: PLR0913 - click passes one an option
    app: App,
    operations: tuple[str, ...],
    name: str | None,
    account: str | None,
    timeout: float,
    *,
    wait: bool,
) -> int:
    """Ask for the status of operations, as `clc reset` printed their ids.

    OPERATION is an id such as wa1-12345; - reads ids from standard input. Without any, tell of the
    latest reset in the account: what was asked, what came back, and what has come of it since.

    Without --wait each is asked once. "succeeded" says that the operation is done, not that the
    server is up.
    """
    if operations and name is not None:
        raise UsageError("--run tells of a whole reset.", hint="Name either that or operations.")
    if operations:
        ids = operation_ids(operations, lambda: reading.standard_input(reading.LARGEST_LIST))
        found = identity.credential(app)
        alias = identity.account(account, found)
        followed = _follow(app, found, _named(ids, alias), timeout, wait=wait)
        endings = _endings(found, followed, timeout, wait=wait)
        return tell(app, alias, followed.results, endings, following.exit_code(followed))
    found = identity.credential(app)
    run = remembering.run(app, name, identity.account(account, found))
    app.output.note(remembering.describe(run))
    with app.journal.resume(run.id) as entry:
        asked = remembering.results_of(run)
        followed = _follow(app, found, asked, timeout, wait=wait, entry=entry)
    code = exit_codes.NOT_SENT if run.not_sent else following.exit_code(followed)
    both = (
        *_endings(found, followed, timeout, wait=wait),
        *remembering.endings(run, followed.results),
    )
    extra = {"run": run.id, "time": run.at.isoformat()}
    return tell(app, run.account, followed.results, both, code, extra=extra)


def _named(ids: Sequence[str], alias: str) -> list[ServerResult]:
    """The operations of those ids in an account, which tell nothing of their servers."""
    links = {each: f"/v2/operations/{alias}/status/{each}" for each in ids}
    return [
        ServerResult("", ServerState.QUEUED, Operation(each, link)) for each, link in links.items()
    ]


def _follow(  # noqa: PLR0913 - as whom, what, how long, and where to record it
    app: App,
    found: Credential,
    asked: Sequence[ServerResult],
    timeout: float,
    *,
    wait: bool,
    entry: Entry | None = None,
) -> Followed:
    limit = timeout if wait else following.ONE_ROUND_SECONDS
    with app.api.authorize(found.token) as api:
        asked = following.resolved(api, asked)
        followed = following.follow(app, api, asked, limit=limit, once=not wait, entry=entry)
    if not wait:
        following.refuse_unreachable(followed.waited)
    return followed


def _endings(
    found: Credential, followed: Followed, timeout: float, *, wait: bool
) -> Iterator[Ending]:
    if wait or followed.waited.signum or followed.waited.error:
        return following.endings(followed, timeout, identity.usual_account(found))
    return no_status(followed.results)
