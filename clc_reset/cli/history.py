"""`clc history`: the latest resets, as the journal has them."""

from collections import Counter

import click

from clc_reset.cli import options, remembering
from clc_reset.cli.app import App
from clc_reset.output import RUNS
from clc_reset.wording import show_time

USUAL = 20


@click.command("history")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=USUAL,
    show_default=True,
    metavar="N",
    help="How many runs to list.",
)
@options.output
@options.verbose
@click.pass_obj
def command(app: App, number: int) -> None:
    """List the latest resets from this machine, the newest first.

    The states of the servers are those that were last heard of. To ask anew: clc status --run RUN.
    """
    runs = remembering.latest_runs(app, number)
    states = [
        Counter(each.state.value for each in remembering.results_of(run, at_last=True))
        for run in runs
    ]
    app.output.table(
        RUNS,
        [
            (
                run.id,
                show_time(run.at),
                run.account,
                ", ".join(f"{number:,} {state}" for state, number in counts.items()),
                run.base_url,
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
                }
                for run, counts in zip(runs, states, strict=True)
            ]
        },
    )
    if not runs:
        app.output.note("The journal has no runs.")
