"""`clc status`: what became of earlier resets, now or once they are over."""

import logging
from collections.abc import Sequence

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.report import Remark
from clc_reset.commands.session import Session
from clc_reset.errors import (
    NOT_FOUND,
    AuthenticationError,
    ClcError,
    JournalError,
    UsageError,
)
from clc_reset.exit_codes import ExitCode
from clc_reset.identifiers import looks_like_run, looks_like_server_id
from clc_reset.journal.rows import Run
from clc_reset.models import Credential
from clc_reset.resets import followup
from clc_reset.resets.followup import Selection
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.request import Dependencies
from clc_reset.text import enumerate_names

_log = logging.getLogger(__name__)


def run(
    session: Session,
    names: Sequence[str],
    *,
    is_run: bool = False,
    account: str | None,
    wait: bool,
    timeout: float | None,
) -> int:
    """Show what became of the servers, operations and runs named; return the exit code.

    With `is_run` the only name is the beginning of a run's id.
    """
    credential, denied = _log_in(session)
    if account is None and credential is not None and credential.account is not None:
        account = sources.account(None, credential)
    try:
        selection = _select(session, names, account, is_run=is_run)
        for shown in selection.runs:
            _log.info("%s", followup.requested(shown))
        if not names:
            _name_earlier(session, selection.runs[0])
    except JournalError as error:
        session.renderer.error(error.kind, error.message, error.hint, ExitCode.UNKNOWN)
        return ExitCode.UNKNOWN
    missing = [Remark(NOT_FOUND, message, hint) for message, hint in selection.missing]
    if credential is None:
        if isinstance(denied, AuthenticationError) and not (selection.rows or missing):
            raise denied
        known = followup.unasked(selection, denied)
    else:
        known, lost = _ask(session, selection, account, credential, wait=wait, limit=timeout)
        missing += lost
    whole_run = None
    if len(selection.runs) == 1 and len({shown.asked for shown in selection.rows}) == 1:
        (whole,) = selection.runs
        whole_run = {"run": whole.id, "time": whole.at.utc.isoformat()}
    return report.outcome(session, known, whole_run=whole_run, missing=missing)


def _log_in(session: Session) -> tuple[Credential | None, ClcError | None]:
    """Return the credential or, since the journal is shown all the same, why there is none."""
    try:
        return session.log_in(), None
    except UsageError:
        raise
    except ClcError as error:
        return None, error


def _select(
    session: Session, names: Sequence[str], alias: str | None, *, is_run: bool
) -> Selection:
    """Find the names. Raises JournalError, and UsageError where there is nothing to show."""
    if not session.journal.is_on:
        if not names or is_run or any(looks_like_run(n) or looks_like_server_id(n) for n in names):
            raise UsageError(
                "Only operations can be shown: CLC_NO_JOURNAL turns the journal off.",
                hint="Name the operations, as in: clc status wa1-12345",
            )
        return Selection(operations=tuple(names))
    selection = followup.select(session.journal, session.origin, names, alias, is_run=is_run)
    if names or selection.rows:
        return selection
    where = f" in account {alias}" if alias else ""
    raise UsageError(
        f"The journal has no reset{where} at {session.origin}.",
        hint="Name the operations, as in: clc status wa1-12345\n"
        "To list what the journal has: clc history",
    )


def _ask(
    session: Session,
    selection: Selection,
    account: str | None,
    credential: Credential,
    *,
    wait: bool,
    limit: float | None,
) -> tuple[Outcome, list[Remark]]:
    """Ask what became of what is selected; return it, and remarks on what nobody knows."""
    client = session.client
    remarks = []
    try:
        account = sources.account(account, credential) if selection.operations else account
    except UsageError as error:
        if not selection.rows:
            raise
        message = f"Not asked: {enumerate_names(selection.operations)}. {error.message}"
        remarks.append(Remark(NOT_FOUND, message, error.hint))
        selection = selection._replace(operations=())
    deps = Dependencies(client, session.journal, session.inbox, session.clocks)
    operations = [client.operation(account or "", name) for name in selection.operations]
    with session.progress(shows=wait) as emit:
        known, lost = followup.FollowUp(
            selection, operations, deps, emit, waits=wait, limit=limit, looks=not session.quiet
        ).ask()
    if lost:
        message = f"Neither the journal nor the API knows: {enumerate_names(lost)}."
        hint = f"If {account} isn't the account of the reset, add -a."
        remarks.append(Remark(NOT_FOUND, message, hint))
    return known, remarks


def _name_earlier(session: Session, latest: Run) -> None:
    """Name an earlier run that left outcomes unknown: the latest one hides it."""
    earlier = session.journal.earlier_in_doubt(latest)
    if earlier is not None:
        servers = [row.server for row in earlier.rows if row.is_in_doubt]
        _log.warning(
            "the outcome of an earlier run is unknown for %s. To see it: clc status --run %s",
            enumerate_names(servers, 10),
            earlier.id,
        )
