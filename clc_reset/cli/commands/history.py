"""`clc history`: the latest resets, as the journal has them."""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from clc_reset.cli import arguments, options, suggestions
from clc_reset.cli.context import Context, journal, origin

if TYPE_CHECKING:
    from clc_reset.journal import Run

USUAL = 20
FIRST = 3
"""Servers of a run that are named."""


@options.command("history", "clc history", "clc history WA1ALIASWB01 -n 5")
@click.argument("servers", nargs=-1, metavar="[SERVER]...", shell_complete=suggestions.servers)
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, options.MOST_NUMBER),
    default=USUAL,
    show_default=True,
    metavar="N",
    help="How many runs to list.",
)
@options.output
@options.verbose
@click.pass_obj
def command(
    ctx: Context, servers: tuple[str, ...], number: int, form: str | None, *, verbose: bool
) -> int:
    """List the latest resets from this machine.

    The newest comes first. With names, it lists only the resets of those servers. The states are
    those last known; to ask again: clc status --run RUN
    """
    del verbose  # nothing is sent
    output = ctx.output(form)
    ids: list[str] = []
    if servers:
        ids, _ = arguments.server_ids(
            servers, lambda: arguments.standard_input(ctx.stop), command="clc history"
        )

    from clc_reset.cli import report
    from clc_reset.text import show_age, show_time
    from clc_reset.ui.output import RUNS, RUNS_HERE

    runs = journal(output.note).runs(number, ids)
    now = datetime.now(UTC)
    states = [_states(run) for run in runs]
    here = all(run.base_url == origin() for run in runs)
    delivery = output.table(
        RUNS_HERE if here else RUNS,
        [
            (
                run.id,
                show_time(run.at),
                run.account,
                ", ".join(f"{number:,} {state}" for state, number in counts.items()),
                run.base_url,
                show_age(now - run.at),
                ", ".join(_first(run)) + (", …" if len(run.servers) > FIRST else ""),
            )
            for run, counts in zip(runs, states, strict=True)
        ],
        lambda: {
            "runs": [
                {
                    "run": run.id,
                    "time": run.at.isoformat(),
                    "account": run.account,
                    "servers": counts,
                    "base_url": run.base_url,
                    "first_servers": _first(run),
                }
                for run, counts in zip(runs, states, strict=True)
            ]
        },
    )
    if not runs:
        output.note("The journal has no runs" + (" with these servers." if ids else "."))
    return report.looked_up(delivery)


def _states(run: "Run") -> Counter[str]:
    from clc_reset.resets import inquiry

    return Counter(each.state.value for each in inquiry.known(run).results)


def _first(run: "Run") -> list[str]:
    return list(run.servers[:FIRST])
