"""How a command ends: on every surface, in every form, whatever the outcome."""

import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response
from respx import Router

from clc_reset.commands import report
from clc_reset.errors import (
    AuthenticationError,
    Interrupted,
    OutputError,
    UnreachableError,
    UnsettledError,
)
from clc_reset.models import Evidence, Observation, Operation, ServerResult, ServerState
from clc_reset.resets.outcome import Ending, Outcome
from clc_reset.ui.streams import Delivery
from clc_reset.workers import Inbox
from tests.builders import A, B, C, D
from tests.fakes import Typed, exit_code_of, jwt, queued, refused
from tests.machine import Patch


class Recorder:
    """A session, its renderer and its streams: keeps what is printed, and fails where asked to."""

    quiet = verbose = False
    form: str | None = None
    usual_account = "ALIAS"
    delivery = Delivery.PRINTED

    def __init__(self, *fails: str) -> None:
        self.renderer = self.streams = self
        self.inbox = Inbox()
        self.stdout = io.StringIO()
        self.stderr = io.StringIO()
        self.calls: list[str] = []
        self.printed: tuple[object, ...] = ()
        self.errors: list[tuple[Any, ...]] = []
        self._fails = fails

    def results(self, *values: object, **options: object) -> Delivery:
        self.printed = (*values, options)
        self._call("results")
        return self.delivery

    def note(self, text: str) -> None:
        self._call("note")
        self.calls.append(text)

    def error(self, *printed: object) -> None:
        self.errors.append(printed)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self._fails:
            raise ZeroDivisionError(name)


QUEUED = Outcome(
    "ALIAS",
    (
        ServerResult(A, ServerState.QUEUED, Operation("wa1-1", "/x", "ALIAS")),
        ServerResult(B, ServerState.FAILED, None, "No."),
    ),
)


def ended(session: Any, outcome: Outcome = QUEUED, **options: Any) -> int:
    return report.outcome(session, outcome, **{"whole_run": {}, **options})


def remarks(outcome: Outcome, **options: Any) -> list[str]:
    """Return kind, message and hint of each remark about an outcome."""
    session = Recorder()
    code = ended(session, outcome, **options)
    assert {error[3] for error in session.errors} <= {code}
    return [f"{kind}: {message}\n{hint}".strip() for kind, message, hint, _ in session.errors]


def test_a_bug_while_printing_is_one_more_message_and_changes_no_code() -> None:
    session = Recorder("results", "note")
    assert ended(session) == 1
    assert [(error[1], error[3]) for error in session.errors] == [
        (f"ZeroDivisionError: {name} (this is a bug in clc).", 1) for name in ("results", "note")
    ]


def test_a_bug_in_a_message_leaves_the_result() -> None:
    broken = QUEUED._replace(seconds="soon")  # type: ignore[arg-type] # it can't be compared
    worse = of(OVERTIME, ServerResult(A, ServerState.UNKNOWN), limit="soon")
    for bug, code in ((broken, 1), (worse, 6)):
        session = Recorder()
        assert ended(session, bug) == code
        assert session.calls[0] == "results"
        assert "(this is a bug in clc)" in f"{session.errors}"


@pytest.mark.parametrize(
    ("state", "delivery", "code"),
    [
        ("failed", Delivery.ELSEWHERE, 143),
        ("unknown", Delivery.ELSEWHERE, 6),
        ("succeeded", Delivery.PRINTED, 0),
    ],
)
def test_a_signal_may_end_the_printing(state: str, delivery: Delivery, code: int) -> None:
    session = Recorder()
    session.inbox.signum, session.delivery = 15, delivery
    assert ended(session, of(QUEUED, result(A, state))) == code


def test_a_look_up_is_0_unless_it_was_not_read_or_could_not_be_printed() -> None:
    session: Any = Recorder()
    assert report.looked_up(session, Delivery.PRINTED) == 0
    assert report.looked_up(session, Delivery.CLOSED_PIPE) == 141
    with pytest.raises(OutputError, match=r"^Standard output can't be written\.$") as raised:
        report.looked_up(session, Delivery.ELSEWHERE)
    assert raised.value.hint == "The result is above."
    session.inbox.interrupt(15)
    with pytest.raises(Interrupted):
        report.looked_up(session, Delivery.ELSEWHERE)


@pytest.mark.parametrize(
    ("raised", "code", "printed"),
    [
        (Interrupted(15), 143, ["interrupted", "Interrupted.", ""]),
        (KeyError("x"), 1, ["internal", "KeyError: 'x' (this is a bug in clc).", ""]),
        (OSError(28, "full"), 1, ["internal", "OSError: [Errno 28] full.", ""]),
        (BrokenPipeError(), 141, []),  # it isn't mentioned
    ],
)
def test_an_error_has_its_code(raised: BaseException, code: int, printed: list[str]) -> None:
    session: Any = Recorder()
    assert report.error(session, raised) == code
    assert session.errors == ([(*printed, code)] if printed else [])


QUESTION = QUEUED._replace(resets=False, waited=True, run="R1")
LATER = "A change can still come: the API takes up to 30 s a server."
WAIT = "clc status --wait --run R1"
AWAIT = f"To wait for a change: {WAIT}"
REST = "To reset it: clc reset --rest-of R1"
C_IS_LEFT = f"1 server was not sent: {C}."
TAKEN = f"stopped: Left out, since another run may have reset them: {B}."
GOES_ON = "The resets continue in the cloud: 1 operation is still running."
THREE_LOST = f"outcome_unknown: The outcome is unknown for 3 servers: {A}, {B}, {C}."
ONE_LOST = f"The outcome is unknown for 1 server: {B}."
B_LOST = f"outcome_unknown: {ONE_LOST}"
B_AGAIN = f"clc reset {B} --again"
OTHERS = "To reset those that haven't changed"
LOOK_AT_B, LOOK_AT_C = (f"To look at it: clc servers {server}" for server in (B, C))
NO_WAVE_2 = "Wave 2 of 2 wasn't sent"
UNREACHED = "unreachable: Can't reach it. No server was reset."
ASKS_FIRST = (
    "The journal couldn't note this, so the next reset of these servers will ask first, "
    "or end with exit code 3."
)
SIGNALLED = {"ending": Ending.INTERRUPTED, "signum": 2}
LOOKS = {"changed": True, "not yet": False, "unsure": None}
LEAVE = "Those that have changed were most likely reset: leave them alone."


def of(known: Outcome, *results: ServerResult, **values: Any) -> Outcome:
    return known._replace(results=results, **values)


def result(server: str, state: str, look: str = "", run: str | None = None) -> ServerResult:
    evidence = Evidence(LOOKS[look], Observation(server)) if look else None
    return ServerResult(server, ServerState(state), evidence=evidence, run=run)


UNCHANGED = result(B, "unknown", "not yet")
LOST = of(QUESTION, result(A, "unknown", "changed"), UNCHANGED, result(C, "unknown", "unsure"))
ELEVEN = [result(f"S{n}", "not sent") for n in range(11)]
NOT_SENT = [result(A, "succeeded"), result(B, "not sent", run="R2"), result(C, "not sent")]
WAVE_2 = of(QUEUED, *NOT_SENT[::2], run="R1", wave=2, waves=2)
DOWN_ERROR = UnreachableError("Can't reach it.", hint="Check it.")
NOTHING_SENT = Outcome.not_sent("ALIAS", [A], waited=False).ended_by(DOWN_ERROR)._replace(run="R1")
CRASHED = QUEUED._replace(ending=Ending.CRASHED, crash="KeyError: 'x'.")
RUNNING = QUEUED.results[0]
STARTED = RUNNING._replace(state=ServerState.RUNNING)
TWO_RUN = (STARTED, STARTED._replace(server=B, operation=Operation("va1-1", "/y", "ALIAS")))
DENIED = AuthenticationError("It was refused.", hint="Log in.")
OVERTIME = of(QUESTION, STARTED, result(B, "not sent"), resets=True, ending=Ending.TIME_LIMIT)


@pytest.mark.parametrize(
    ("outcome", "lines"),
    [
        (  # servers that changed are left alone and only the others named
            LOST._replace(can_change=True, can_be_awaited=True),
            [THREE_LOST, LEAVE, LATER, AWAIT, f"{OTHERS} by then: {B_AGAIN}", LOOK_AT_C],
        ),
        (LOST, [THREE_LOST, LEAVE, f"{OTHERS}: {B_AGAIN}", LOOK_AT_C]),  # the limit has passed
        # of several accounts
        (LOST._replace(account=None, can_change=True), [THREE_LOST, LEAVE, LATER]),
        (  # the signal ended the wait for the answer: one remark for both
            of(QUEUED, result(B, "unknown"), run="R1", problem="it was cut", **SIGNALLED),
            [
                f"interrupted: A reset was sent, but it was cut. {ONE_LOST}",
                "The request may have reset it, and wasn't repeated.",
                "To see whether it has changed: clc status --run R1",
            ],
        ),
        (  # in two runs that were asked about
            of(QUESTION, *(result(A, "failed", "not yet", run) for run in ("R1", "R2"))),
            [f"failed: A shared operation failed: {A}.", f"To reset it: clc reset {A}"],
        ),
        (
            of(
                QUEUED,
                *(result(A, "failed", "changed"), result(B, "failed", "not yet")),
                *(result(C, "running", "not yet"), result(D, "failed")),
                can_change=True,
            ),
            [f"failed: A shared operation failed: {A}, {B}.", LEAVE, f"{OTHERS}: clc reset {B}"],
        ),
        (of(QUEUED, result(A, "failed", "unsure")), []),
        (of(QUESTION, result(B, "unknown", "unsure"), can_change=True), [B_LOST, LOOK_AT_B]),
        (  # what another run took is left out of the advice
            of(QUEUED, *NOT_SENT, run="R1", ending=Ending.STOPPED),
            [f"stopped: {C_IS_LEFT}", REST, TAKEN],
        ),
        (of(QUEUED, *NOT_SENT[:2], run="R1", ending=Ending.STOPPED), [TAKEN]),
        (
            WAVE_2.ended_by(UnsettledError(f"An earlier reset:\n{C}: reset 1 s ago")),
            [f"unsettled: {NO_WAVE_2}: an earlier reset:", f"{C}: reset 1 s ago", C_IS_LEFT, REST],
        ),
        (  # a live run has still to send it
            of(QUESTION, result(A, "planned"), ending=Ending.TIME_LIMIT, limit=0.0),
            ["time_limit: The time limit of 0 s has passed.", f"To follow them: {WAIT}"],
        ),
        (  # of one the latest poll failed
            of(QUESTION, TWO_RUN[0], TWO_RUN[1]._replace(message="No status: x."), **SIGNALLED),
            [
                "interrupted: Interrupted. 2 operations aren't known to be over.",
                f"To follow them: {WAIT}",
            ],
        ),
        (  # the token expired while it waited
            of(QUEUED, RUNNING, run="R1", ending=Ending.ERROR, error=DENIED, has_record=False),
            [f"authentication: It was refused. {GOES_ON}", "Log in.", f"To follow it: {WAIT}"],
        ),
        (  # without a journal
            of(QUEUED, result(A, "succeeded"), result(B, "not sent"), ending=Ending.STOPPED),
            [f"stopped: 1 server was not sent: {B}.", f"To reset it: clc reset {B}"],
        ),
        (CRASHED, [f"internal: KeyError: 'x'. {GOES_ON}", "To follow it: clc status --wait wa1-1"]),
        (
            of(CRASHED, result(A, "not sent"), has_record=False),
            ["internal: KeyError: 'x'. No server was reset."],
        ),
        (NOTHING_SENT._replace(has_record=False), [UNREACHED, "Check it.", ASKS_FIRST]),
    ],
)
def test_the_remarks_say_what_happened_and_what_to_do(outcome: Outcome, lines: list[str]) -> None:
    assert "\n".join(remarks(outcome)).splitlines() == lines


def test_quiet_prints_a_result_where_not_all_succeeded_or_a_form_is_given() -> None:
    for state, form, calls in (
        ("succeeded", "json", ["results"]),
        ("running", None, ["results", "note", "2 running"]),
    ):
        session = Recorder()
        session.quiet, session.form = True, form
        ended(session, of(QUESTION, result(A, state), result(B, state)))
        assert session.calls == calls


@pytest.mark.parametrize("verbose", [False, True])
def test_a_result_is_printed_with_its_run_and_the_first_remark_as_error(verbose: bool) -> None:
    session = Recorder()
    session.verbose = verbose
    known = OVERTIME._replace(limit=60.0, answered=frozenset(OVERTIME.pending))
    ended(session, known, whole_run={"run": "R1"})
    message = f"The time limit of 1 min has passed. {GOES_ON}"
    error = {"kind": "time_limit", "message": message, "exit_code": 1}
    options = {"run": "R1", "verbose": verbose}
    expected = "ALIAS", OVERTIME.results, {"run": "R1", "error": error}, options
    assert session.printed == expected


@pytest.mark.parametrize(
    ("outcome", "is_quiet"),
    [
        (of(QUEUED, RUNNING, result(B, "failed")), True),
        (of(QUEUED, RUNNING, waited=True), False),
        (of(QUEUED, result(A, "succeeded")), False),
        (of(QUEUED, RUNNING, result(B, "unknown")), False),  # a remark says more
    ],
)
def test_a_terminal_is_not_always_told_how_to_follow(outcome: Outcome, is_quiet: bool) -> None:
    session = Recorder()
    session.stderr, session.quiet = Typed(), is_quiet
    ended(session, outcome)
    assert "\n" not in "".join(session.calls)


def test_many_servers_are_not_named_in_a_command() -> None:
    many = of(QUESTION, *(result(f"S{n}", "unknown", "not yet") for n in range(11)))
    assert "clc reset" not in remarks(many)[0]
    assert "clc reset S0 " in remarks(many._replace(results=many.results[:10]))[0]
    assert remarks(of(QUESTION, *ELEVEN), whole_run=None)[0].endswith(", S10.")
    ten = " ".join(f"S{n}" for n in range(10))
    some = remarks(of(QUESTION, *ELEVEN[:10]), whole_run=None)[0]
    assert some.startswith("stopped: 10 servers were not sent: S0, ")
    assert some.endswith(f"To reset them: clc reset {ten}")
    assert remarks(of(QUESTION, *ELEVEN[:1], account=None), whole_run=None)[0].endswith(": S0.")
    assert remarks(of(QUESTION, *ELEVEN))[0].endswith("To reset them: clc reset --rest-of R1")


def test_without_a_run_up_to_ten_operations_are_named() -> None:
    def how_to_follow(*names: str) -> list[str]:
        operations = [Operation(n, "/x", "SUB" if n[0] == "v" else "ALIAS") for n in names]
        results = (ServerResult(None, ServerState.QUEUED, operation) for operation in operations)
        advice = report.Advice(of(QUESTION, *results, run=None), "ALIAS", is_whole=True)
        return advice.how_to_follow().splitlines()

    assert how_to_follow("wa1-1", "?", "va1-2") == [
        "To follow them: clc status --wait wa1-1",
        "To follow them: clc status --wait -a SUB va1-2",
        "1 more operation can't be named here.",
    ]
    first, *others = how_to_follow(*(f"wa1-{n}" for n in range(10)), "va1-2")
    assert first.count("wa1-") == 10
    assert others == ["1 more operation can't be named here."]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (
            [
                *(result(A, "failed"), result(B, "unknown", "not yet")),
                *(result(server, "unknown", "changed") for server in (C, D)),
            ],
            f"1 failed, 3 unknown: 2 changed since, 1 not yet (1 s). Failed: {A}",
        ),
        (  # rows are counted, of whatever runs, and servers named
            [result(A, "failed", "not yet", run) for run in ("R1", "R2")],
            f"2 failed: 2 not yet (1 s). Failed: {A}",
        ),
        ([result(A, "succeeded"), result(B, "succeeded")], "2 succeeded in 1 s"),
    ],
)
def test_a_summary_counts_and_names(results: list[ServerResult], expected: str) -> None:
    assert report.summary(of(QUEUED, *results, seconds=1.0)) == expected


QUEUES_BOTH = Response(200, json=[queued(A, "wa1-1"), queued(B, "wa1-1")])
WAYS: list[tuple[int, Response, str]] = [
    (0, QUEUES_BOTH, f"reset --again {A} {B}"),
    (1, Response(200, json=[refused(A), queued(B, "wa1-1")]), f"reset --again {A} {B}"),
    (2, QUEUES_BOTH, "reset"),
    (5, Response(404), f"reset --again {A} {B}"),
    (6, Response(503), f"reset --again {A} {B}"),
    (7, QUEUES_BOTH, "status"),
]


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


SURFACES: dict[str, Callable[[], tuple[io.StringIO | None, io.StringIO]]] = {
    "terminal": lambda: (Typed(), Typed()),
    "stderr only on a terminal": lambda: (io.StringIO(), Typed()),
    "pipe": lambda: (io.StringIO(), io.StringIO()),
    "stdout full": lambda: (Broken(OSError(28, "full")), io.StringIO()),
    "stdout closed": lambda: (None, io.StringIO()),
    "closed pipe": lambda: (Broken(BrokenPipeError()), io.StringIO()),
}
WORKING = ("terminal", "stderr only on a terminal", "pipe")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("code", "answer", "line"), WAYS)
def test_an_exit_code_is_the_same_on_every_surface_and_in_every_form(
    api_ctl_io: Router, monkeypatch: Patch, code: int, answer: Response, line: str, surface: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CLC_TOKEN", jwt())
    api_ctl_io.post().mock(return_value=answer)
    api_ctl_io.get().respond(200, json={"status": "executing"})
    if line == "status":
        exit_code_of("reset", A, B, "-q")
    for form in ("table", "tsv", "json"):
        stdout, stderr = SURFACES[surface]()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO())
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            ended_with = exit_code_of(*line.split(), "-o", form)
        out, err = stdout.getvalue() if stdout else "", stderr.getvalue()
        gone = surface == "closed pipe" and code in {0, 1, 7}
        assert ended_with == (141 if gone else code), err
        assert not re.search("Traceback|bug in clc", err)
        has_result = code not in {2, 5}
        if form == "json" and surface in WORKING:
            shown = json.loads(out)
            assert ("servers" in shown) == has_result
            assert shown.get("error", {}).get("exit_code", code) == code
        elif has_result and surface != "closed pipe":
            assert A in (out if surface in WORKING else err)
            assert ("written; the result is above." in err) == (surface == "stdout full")
