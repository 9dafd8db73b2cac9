"""`clc status`: what became of earlier resets, now or once they are over."""

import logging
from collections.abc import Mapping, Sequence

from clc_reset.auth import sources
from clc_reset.commands import report
from clc_reset.commands.report import Remark
from clc_reset.commands.session import Session
from clc_reset.errors import NOT_FOUND, ClcError, JournalError, UsageError
from clc_reset.exit_codes import ExitCode
from clc_reset.journal.rows import Run
from clc_reset.models import Credential
from clc_reset.resets import followup
from clc_reset.resets.followup import Selection
from clc_reset.resets.outcome import Outcome
from clc_reset.resets.request import Dependencies
from clc_reset.text import enumerate_names
from clc_reset.workers import Inbox

_log = logging.getLogger(__name__)


def run(
    inbox: Inbox,
    names: Sequence[str],
    *,
    is_run: bool,
    account: str | None,
    wait: bool,
    timeout: float | None,
    form: str | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what became of the servers, operations and runs named; return the exit code."""
    session = Session(inbox, form, quiet=quiet, verbose=verbose)
    return show(session, names, is_run=is_run, account=account, wait=wait, timeout=timeout)


def show(
    session: Session,
    names: Sequence[str],
    *,
    is_run: bool = False,
    account: str | None,
    wait: bool,
    timeout: float | None,
) -> int:
    """Show what became of earlier resets in these surroundings; return the exit code.

    With `is_run` the only name is the beginning of a run's id.
    """
    alias = None if account is None else sources.checked_alias(account)
    credential, denied = _log_in(session)
    if alias is None and credential is not None and credential.account is not None:
        alias = sources.account(None, credential)
    try:
        selection = _select(session, names, alias, is_run=is_run)
    except JournalError as error:
        session.renderer.error(error.kind, error.message, error.hint, ExitCode.UNKNOWN)
        return ExitCode.UNKNOWN
    for run_ in selection.runs:
        _log.info("%s", followup.requested(run_))
    if credential is None:
        if denied is not None and not (selection.rows or selection.missing):
            raise denied
        known, lost = followup.unasked(selection, denied), list[str]()
    else:
        account_of_operations = sources.account(alias, credential) if selection.operations else ""
        known, lost = _ask(session, selection, account_of_operations, wait=wait, limit=timeout)
    if not names:
        _name_earlier(session, selection.runs[0])
    is_whole = len(selection.runs) == 1 and len({s.asked for s in selection.rows}) == 1
    usual = None if credential is None else sources.usual_account(credential)
    return report.outcome(
        session,
        known,
        usual_account=usual,
        extra=_extra(selection) if is_whole else {},
        missing=[
            *(Remark(NOT_FOUND, message, hint) for message, hint in selection.missing),
            *_unknown_operations(lost, alias),
        ],
        is_whole=is_whole,
    )


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
        if not names:
            raise UsageError(
                "No operation is named, and CLC_NO_JOURNAL turns the journal off.",
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
    session: Session, selection: Selection, account: str, *, wait: bool, limit: float | None
) -> tuple[Outcome, list[str]]:
    client = session.client
    deps = Dependencies(client, session.journal, session.inbox, session.clocks)
    question = followup.Question(
        selection,
        tuple(client.operation(account, name) for name in selection.operations),
        account or None,
        waits=wait,
        limit=limit,
        looks=not session.quiet or not wait,
    )
    with session.progress(shows=wait) as emit:
        return followup.ask(question, deps, emit)


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


def _unknown_operations(names: Sequence[str], account: str | None) -> list[Remark]:
    if not names:
        return []
    message = f"Neither the journal nor the API knows: {enumerate_names(names)}."
    return [Remark(NOT_FOUND, message, f"If {account} isn't the account of the reset, add -a.")]


def _extra(selection: Selection) -> Mapping[str, object]:
    run_ = selection.runs[0]
    return {"run": run_.id, "time": run_.at.utc.isoformat()}
