"""`clc reset`: its options and help."""

from collections.abc import Mapping

import click

from clc_reset.cli import arguments, options
from clc_reset.cli.options import Invocation


@options.command(
    "reset",
    "clc reset WA1ALIASWB01 WA1ALIASWB02 --wait",
    "clc reset -g 'WA1 Web' --yes --at-a-time 5 --pause 30s",
    "clc servers -g Database | clc reset - -n",
)
@options.servers
@options.groups
@click.option("-y", "--yes", is_flag=True, help="Reset a group without asking first.")
@options.account
@options.wait
@options.timeout
@options.quiet
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
    help="Skip the check for earlier resets that are unsettled. With --rest-of: claim a run that "
    "may still be going on.",
)
@click.option(
    "--at-a-time",
    type=click.IntRange(1, options.MOST_NUMBER),
    metavar="N",
    help="Reset N servers, wait for them, then the next N. Implies --wait; --timeout is per wave.",
)
@options.time("--pause", "How long to pause between waves.")
@click.option(
    "--check",
    metavar="COMMAND",
    type=options.not_empty("The command of --check"),
    help="Run by sh for each server whose operation succeeded, with its id in CLC_SERVER, until "
    "it succeeds; tried every 5 s. Implies --wait.",
)
@options.time("--check-timeout", "How long the checks of a wave may take; by default 5m.")
@click.option(
    "--max-failures",
    type=click.IntRange(0, options.MOST_NUMBER),
    metavar="K",
    help="Stop after more than K servers have failed; by default 0.",
)
@options.run(
    "--rest-of", "Reset the servers that this run planned and didn't send, with its own options."
)
@options.output
@options.verbose
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    servers: tuple[str, ...],
    groups: tuple[str, ...],
    **given: object,
) -> int:
    """Hard-reset servers, like pressing the reset button.

    SERVER is an id such as WA1ALIASWB01, in upper or lower case; - reads ids from standard input,
    separated by white space; # starts a comment. All go into one request, which is sent once.

    The servers of a group are listed on a terminal and confirmed once; elsewhere -g needs --yes.
    A server whose earlier reset is unsettled (it may still be running, or its outcome is unknown)
    is confirmed in the same question; elsewhere nothing is sent, unless --again is given.
    """
    ids: list[str] = []
    if given["rest_of"] is None:
        _check_combination(given)
        ids = arguments.server_ids(servers, invocation.standard_input, may_be_none=bool(groups))
    elif servers or groups:
        raise click.UsageError("--rest-of names the servers; remove the others.")

    from clc_reset.commands import reset

    request = reset.Given(tuple(ids), groups, **given)  # type: ignore[arg-type] # click's own types
    return reset.run(invocation.session, request)


def _check_combination(given: Mapping[str, object]) -> None:
    """Raise UsageError for options that don't go together; the run of --rest-of has its own."""
    is_rolling, has_check = given["at_a_time"] is not None, given["check"] is not None
    waits = bool(given["wait"]) or is_rolling or has_check
    options.check_timeout(given["timeout"], waits=waits)
    for name in ("pause", "max_failures"):
        if given[name] is not None and not is_rolling:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --at-a-time.")
    if given["check_timeout"] is not None and not has_check:
        raise click.UsageError("--check-timeout needs --check.")
