"""`clc history`: the latest resets, as the journal has them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.journal.rows import Run
from clc_reset.resets import followup
from clc_reset.text import show_age, show_time
from clc_reset.ui.render import RUNS, RUNS_HERE

FIRST = 3
"""Servers of a run that are named."""


def run(session: Session, servers: Sequence[str], number: int) -> int:
    """List runs, the newest first; return the exit code."""
    runs = session.journal.runs(number, servers)
    states = [_states(run) for run in runs]
    now = session.clocks.now().utc
    here = all(run.base_url == session.origin for run in runs)
    delivery = session.renderer.table(
        RUNS_HERE if here else RUNS,
        [
            (
                run.id,
                show_time(run.at.utc),
                run.account,
                ", ".join(f"{number:,} {state}" for state, number in counts.items()),
                run.base_url,
                show_age(now - run.at.utc),
                ", ".join(run.servers[:FIRST]) + (", …" if len(run.rows) > FIRST else ""),
            )
            for run, counts in zip(runs, states, strict=True)
        ],
        lambda: {"runs": [_document(run, c) for run, c in zip(runs, states, strict=True)]},
    )
    if not runs:
        session.streams.note(
            "The journal has no runs" + (" with these servers." * bool(servers) or ".")
        )
    return report.looked_up(delivery)


def _states(run: Run) -> Counter[str]:
    shown = (followup.Shown(run, row, run.id) for row in run.rows)
    return Counter(result.state.value for result in followup.known(shown))


def _document(run: Run, counts: Mapping[str, int]) -> dict[str, object]:
    return {
        "run": run.id,
        "time": run.at.utc.isoformat(),
        "account": run.account,
        "servers": counts,
        "base_url": run.base_url,
        "first_servers": run.servers[:FIRST],
    }
