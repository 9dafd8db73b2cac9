"""`clc status`: what operations have come to, now or once they are done."""

import click

from clc_reset.cli import following, identity, options, reading
from clc_reset.cli.app import App
from clc_reset.cli.ending import no_status, tell
from clc_reset.cli.ids import operation_ids
from clc_reset.models import Operation, ServerResult, ServerState


@click.command("status")
@click.argument("operations", nargs=-1, metavar="OPERATION...")
@options.account
@options.wait
@options.output
@options.verbose
@click.pass_obj
def command(
    app: App, operations: tuple[str, ...], account: str | None, timeout: float, *, wait: bool
) -> int:
    """Ask for the status of operations, as `clc reset` printed their ids.

    OPERATION is an id such as wa1-12345; - reads ids from standard input. Without --wait each is
    asked once. "succeeded" says that the operation is done, not that the server is up.
    """
    ids = operation_ids(operations, lambda: reading.standard_input(reading.LARGEST_LIST))
    found = identity.credential(app)
    alias = identity.account(account, found)
    links = {each: f"/v2/operations/{alias}/status/{each}" for each in ids}
    asked = [
        ServerResult("", ServerState.QUEUED, Operation(each, link)) for each, link in links.items()
    ]
    with app.api.authorize(found.token) as api:
        limit = timeout if wait else following.ONE_ROUND_SECONDS
        followed = following.follow(app, api, asked, limit=limit, once=not wait)
    if not wait:
        following.refuse_unreachable(followed.waited)
    endings = (
        following.endings(followed, limit, identity.usual_account(found))
        if wait or followed.waited.signum or followed.waited.error
        else no_status(followed.results)
    )
    return tell(app, alias, followed.results, endings, following.exit_code(followed))
