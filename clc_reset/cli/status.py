"""`clc status`: its options and help."""

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.options import Invocation


@options.command(
    "status",
    "clc status --wait",
    "clc status WA1ALIASWB01 wa1-12345",
    "clc status --run 20260115-021305-3f9a12bc -o json",
)
@click.argument(
    "names", nargs=-1, metavar="[OPERATION|SERVER|RUN]...", shell_complete=suggestions.names
)
@options.run(
    "--run", "Show this run; clc history lists them. A unique beginning of its id is enough."
)
@options.account
@options.wait
@options.timeout
@options.quiet
@options.output
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation,
    names: tuple[str, ...],
    run: str | None,
    account: str | None,
    timeout: float | None,
    *,
    wait: bool,
) -> int:
    """Show the state of earlier resets.

    Without names, shows the latest run in the account. Operations, servers and runs can be named;
    - reads names from standard input. Shows what this machine's journal knows, and what the API
    answers now.

    Without --wait, each operation is asked once. With --wait, a run that is still going on is
    followed to its end. "succeeded" means that the operation is done, not that the server is up.
    """
    options.check_timeout(timeout, waits=wait)
    if run is None:
        asked = arguments.names(names, invocation.standard_input)
    elif names:
        raise click.UsageError("--run shows a whole run: give either that or names.")
    else:
        asked = [run]

    from clc_reset.commands import status

    return status.run(
        invocation.session,
        asked,
        is_run=run is not None,
        account=account,
        wait=wait,
        timeout=timeout,
    )
