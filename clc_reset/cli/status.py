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
@click.option(
    "--run",
    "run_name",
    metavar="RUN",
    shell_complete=suggestions.runs,
    help="Show this run; clc history lists them. A unique beginning of its id is enough.",
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
    run_name: str | None,
    account: str | None,
    timeout: float | None,
    form: str | None,
    *,
    wait: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show the state of earlier resets.

    Without names, shows the latest run in the account. Operations, servers and runs can be named;
    - reads names from standard input. Shows what this machine's journal knows, and what the API
    answers now.

    Without --wait, each operation is asked once. With --wait, a run that is still going on is
    followed to its end. "succeeded" means that the operation is done, not that the server is up.
    """
    options.check_timeout(timeout, waits=wait)
    asked: list[str] = []
    if run_name is not None:
        arguments.check_run(run_name)
        if names:
            raise click.UsageError("--run shows a whole run: give either that or names.")
        asked = [run_name]
    elif names:
        asked = arguments.names(names, invocation.standard_input)

    from clc_reset.commands import status

    session = invocation.session(form, quiet=quiet, verbose=verbose)
    is_run = run_name is not None
    return status.run(session, asked, is_run=is_run, account=account, wait=wait, timeout=timeout)
