"""`clc history`: the latest resets, as the journal has them."""

from collections import Counter
from collections.abc import Sequence

from clc_reset.commands import report
from clc_reset.commands.session import Session
from clc_reset.journal.rows import Run
from clc_reset.resets import followup
from clc_reset.text import show_age, show_time

FIRST = 3
"""Servers of a run that are named."""


def run(session: Session, servers: Sequence[str], number: int) -> int:
    """List runs, the newest first; return the exit code."""
    runs = session.journal.runs(number, servers)
    now = session.clocks.now()
    elsewhere = () if all(run.base_url == session.origin for run in runs) else ("base_url",)
    delivery = session.renderer.table(
        # the run's id has the time
        ("run", "age", "account", "servers", "first_servers", *elsewhere),
        "first_servers",
        [
            {
                "run": run.id,
                "time": show_time(run.at.utc),
                "account": run.account,
                "servers": ", ".join(f"{n:,} {state}" for state, n in _states(run).items()),
                "base_url": run.base_url,
                "age": show_age(now.seconds_since(run.at)),
                "first_servers": ", ".join(run.servers[:FIRST])
                + (", …" if len(run.rows) > FIRST else ""),
            }
            for run in runs
        ],
        lambda: {"runs": [_document(run) for run in runs]},
    )
    if not runs:
        session.streams.note(
            "The journal has no runs" + (" with these servers." * bool(servers) or ".")
        )
    return report.looked_up(session, delivery)


def _states(run: Run) -> Counter[str]:
    shown = (followup.Shown(run, row, run.id) for row in run.rows)
    return Counter(result.state.value for result in followup.known_results(shown))


def _document(run: Run) -> dict[str, object]:
    return {
        "run": run.id,
        "time": run.at.utc.isoformat(),
        "account": run.account,
        "servers": _states(run),
        "base_url": run.base_url,
        "first_servers": run.servers[:FIRST],
    }
