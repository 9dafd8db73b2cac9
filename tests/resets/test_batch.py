import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc_reset.errors import (
    AuthenticationError,
    ClcError,
    Interrupted,
    RefusedError,
    UnreachableError,
)
from clc_reset.models import (
    NoNews,
    Observation,
    Operation,
    OperationStatus,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets import batch
from clc_reset.resets.evidence import SECONDS_FOR_ALL
from clc_reset.resets.outcome import Ending, Outcome, Verdict
from clc_reset.resets.polling import GRACE, LONGEST_POLL
from clc_reset.threads import Failure, Pool
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    MISS,
    ONE,
    ORIGIN,
    SUCCEEDED,
    THREE,
    TWO,
    A,
    B,
    C,
    News,
    Tripwire,
    World,
    check_that_what_shows_and_records_changes_nothing,
    fail,
    operation,
    order,
    queued,
    refused,
    scripted,
    states,
    unknown,
)

AWAY = Operation("wa1-9", None)
UNGUARDED = "Warning: without a journal there is no check for earlier resets."


# one request, and what came of it


def test_a_batch_that_is_not_waited_for_ends_with_its_answer() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(queued(A), refused(B), queued(C, None))
    outcome = batch.reset(order(A, B, C), world.tools())
    assert states(outcome.results) == {A: "queued", B: "failed", C: "queued"}
    assert (outcome.sending, outcome.ending) == (Sending.SENT, Ending.COMPLETE)
    assert outcome.verdict is Verdict.FAILED
    assert world.api.posts == [(A, B, C)]
    assert not world.api.polls
    assert not world.api.looks


def test_a_batch_is_waited_for_and_told_as_it_comes_along(tmp_path: Path) -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(queued(A), queued(B), turns=[B, A])
    world.api.status = scripted(o1=[EXECUTING, SUCCEEDED])
    tools = world.tools(tmp_path)
    outcome = batch.reset(order(wait=True), tools)
    assert outcome.verdict is Verdict.DONE
    assert states(outcome.results) == {A: "succeeded", B: "succeeded"}
    assert outcome.seconds == world.seconds
    assert [name for name, _ in world.told if name != "tick"] == [
        "sending",
        "answered",
        "following",
        "changed",
        "changed",
        "close",
    ]
    assert world.heard("following") == [({ONE: [B, A]},)]
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    assert (outcome.run, run.statuses, run.turns) == (run.id, {ONE: SUCCEEDED}, (B, A))


def test_what_cannot_be_followed_is_unknown_after_a_wait_and_looked_at() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(queued(A, AWAY), queued(B, None), queued(C))
    outcome = batch.reset(order(A, B, C, wait=True), world.tools())
    assert states(outcome.results) == {A: "unknown", B: "unknown", C: "succeeded"}
    assert outcome.verdict is Verdict.UNKNOWN
    assert [server for _, server in world.api.looks] == [A, B]


def test_where_all_are_refused_there_is_nothing_to_follow() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(*map(refused, servers))
    outcome = batch.reset(order(wait=True), world.tools())
    assert outcome.verdict is Verdict.FAILED
    assert [name for name, _ in world.told] == ["sending", "answered", "close"]


def test_what_the_api_answered_without_being_asked_is_kept() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(*map(queued, servers))._replace(unasked=("X",))
    assert batch.reset(order(), world.tools()).unasked == ("X",)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UnreachableError("x"), Verdict.NOT_SENT),
        (RefusedError("x"), Verdict.NOT_SENT),
        (AuthenticationError("x"), Verdict.AUTHENTICATION),
    ],
)
def test_what_was_certainly_not_sent_is_told_as_that(
    error: ClcError, verdict: Verdict, tmp_path: Path
) -> None:
    world = World()
    world.api.reset = lambda servers: ResetAnswer.not_sent(servers, error)
    tools = world.tools(tmp_path)
    outcome = batch.reset(order(wait=True), tools)
    assert set(states(outcome.results).values()) == {"not sent"}
    assert (outcome.error, outcome.verdict) == (error, verdict)
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    assert (run.waves[0].sending, run.waves[0].problem) == (Sending.NOT_SENT, "x")


@pytest.mark.parametrize("raised", [ZeroDivisionError("x"), Interrupted(15)])
def test_a_client_that_raises_may_have_sent_it(raised: BaseException, tmp_path: Path) -> None:
    world = World()

    def explode(_servers: Sequence[str]) -> ResetAnswer:
        raise raised

    world.api.reset = explode
    tools = world.tools(tmp_path)
    outcome = batch.reset(order(wait=True), tools)
    assert set(states(outcome.results).values()) == {"unknown"}
    expected = Verdict.INTERRUPTED if isinstance(raised, Interrupted) else Verdict.UNKNOWN
    assert outcome.verdict is expected
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    assert run.waves[0].sending is Sending.MAYBE_SENT


# the end of a wait


def test_a_token_that_is_refused_ends_the_wait_and_what_is_known_is_told() -> None:
    world = World()
    denied = AuthenticationError("refused")

    def status(asked: Operation) -> News:
        if asked == TWO and world.seconds > 3:
            raise denied
        return SUCCEEDED if asked == ONE else EXECUTING

    world.api.status = status
    world.api.reset = lambda servers: world.api.sent(queued(A), queued(B, TWO))
    outcome = batch.reset(order(wait=True), world.tools())
    assert states(outcome.results) == {A: "succeeded", B: "running"}
    assert (outcome.error, outcome.verdict) == (denied, Verdict.AUTHENTICATION)
    assert world.api.looks == []


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (ZeroDivisionError("x"), "ZeroDivisionError: x"),
        (RefusedError("no"), "RefusedError: no"),
    ],
)
def test_any_other_error_of_a_poll_is_no_news(raised: Exception, reason: str) -> None:
    world = World()
    said = iter([raised, raised, raised])

    def status(_asked: Operation) -> News:
        for each in said:
            raise each
        return SUCCEEDED

    world.api.status = status
    outcome = batch.reset(order(wait=True), world.tools())
    assert outcome.verdict is Verdict.DONE
    assert world.heard("silent") == [(ONE, reason)]
    assert world.heard("heard_again") == [(ONE,)]


def test_a_poll_without_an_end_is_no_news() -> None:
    world = World(latency=lambda _asked: 1e9)
    outcome = batch.reset(order(A, wait=True, limit=LONGEST_POLL + 1), world.tools())
    assert outcome.results[0].message == (
        "No status yet: no answer within 90 s; couldn't be looked at: no answer came in time."
    )
    assert outcome.verdict is Verdict.RUNNING


def test_the_time_limit_is_told_with_the_outcome() -> None:
    world = World()
    world.api.status = lambda _asked: EXECUTING
    outcome = batch.reset(order(wait=True, limit=20.0), world.tools())
    assert (outcome.ending, outcome.limit) == (Ending.TIME_LIMIT, 20.0)
    assert states(outcome.results) == {A: "running", B: "running"}
    assert outcome.verdict is Verdict.RUNNING


def test_half_an_hour_or_a_minute_a_server_of_the_largest_data_centre_is_the_usual_limit() -> None:
    assert batch.usual_limit([]) == 1800
    assert batch.usual_limit([A] * 30) == 1800
    assert batch.usual_limit(["wa1x"] * 20 + [A] * 20 + ["VA1X"] * 39) == 40 * 60
    world = World()
    world.api.status = lambda _asked: EXECUTING
    outcome = batch.reset(order(*(f"WA1{n}" for n in range(31)), wait=True), world.tools())
    assert outcome.limit == 31 * 60


def test_a_surprise_while_waiting_loses_nothing_of_what_was_heard() -> None:
    world = World()
    world.api.reset = lambda servers: world.api.sent(queued(A), queued(B, TWO))
    world.api.status = lambda asked: SUCCEEDED if asked == ONE else EXECUTING

    def surprise(what: str) -> None:
        if what == "take" and world.seconds > 5:
            fail()

    world.tripwire = surprise
    outcome = batch.reset(order(wait=True), world.tools())
    assert outcome.ending is Ending.SURPRISE
    assert outcome.surprise == "ZeroDivisionError: x (a defect of clc)."
    assert states(outcome.results) == {A: "succeeded", B: "running"}
    assert outcome.verdict is Verdict.RUNNING


# the journal


def test_a_journal_that_is_off_is_said_once_and_the_operations_have_to_be_named() -> None:
    world = World()
    outcome = batch.reset(order(), world.tools())
    assert world.notes == [UNGUARDED]
    assert outcome.run is None
    world.notes.clear()
    batch.reset(order(again=True), world.tools())
    assert world.notes == []  # nothing was to be checked


def test_a_journal_that_cannot_be_written_warns_once_and_the_reset_goes_on(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    world = World()
    outcome = batch.reset(order(wait=True), world.tools(tmp_path))
    assert outcome.verdict is Verdict.DONE
    assert outcome.run is None
    assert len(world.notes) == 1
    assert "the journal can't be written" in world.notes[0]
    assert "no check for earlier resets" in world.notes[0]


# what only shows or records


def eventful(world: World, folder: Path | None = None) -> Outcome:
    """A batch with all that can be told: a refusal, a silence, changed servers, a failure."""
    world.api.reset = lambda servers: world.api.sent(
        queued(A), queued(B), refused(C), queued("S4", TWO), queued("S5", THREE), turns=[B, A]
    )
    world.api.show = world.api.changing({B: 11.0})
    world.api.status = scripted(
        o1=[EXECUTING] * 20 + [FAILED], o2=[MISS] * 4 + [SUCCEEDED], o3=[SUCCEEDED]
    )
    return batch.reset(order(A, B, C, "S4", "S5", wait=True), world.tools(folder))


def test_what_only_shows_or_records_changes_nothing_whenever_it_raises(tmp_path: Path) -> None:
    called = check_that_what_shows_and_records_changes_nothing(eventful, tmp_path)
    assert called == {
        "journal.begin",
        "entry.answered",
        "entry.heard",
        "entry.flush",
        "entry.close",
        *(f"listener.{name}" for name in ("sending", "answered", "following", "changed")),
        *(f"listener.{name}" for name in ("silent", "heard_again", "server_changed")),
        *(f"listener.{name}" for name in ("tick", "close")),
    }


def test_a_display_that_is_broken_is_told_once_however_often_it_raises() -> None:
    world = World()

    def break_down(what: str) -> None:
        if what.startswith(("listener", "note")):
            fail()

    world.tripwire = break_down
    assert batch.reset(order(wait=True), world.tools()).verdict is Verdict.DONE
    world.tripwire = lambda what: fail() if what.startswith("listener") else None
    assert batch.reset(order(wait=True, again=True), world.tools()).verdict is Verdict.DONE
    assert world.notes == [
        "Warning: the display failed (ZeroDivisionError: x); clc continues without it."
    ]


# interruptions


def test_a_signal_before_the_request_keeps_it_from_leaving(tmp_path: Path) -> None:
    world = World()
    world.stop.set(signal.SIGTERM)
    tools = world.tools(tmp_path)
    outcome = batch.reset(order(wait=True), tools)
    assert world.api.posts == []
    assert (outcome.verdict, outcome.signum) == (Verdict.INTERRUPTED, signal.SIGTERM)
    assert set(states(outcome.results).values()) == {"not sent"}
    run = tools.journal.latest(ORIGIN, ACCOUNT)
    assert run
    assert run.waves[0].sending is Sending.NOT_SENT


def test_a_signal_at_any_step_loses_nothing_of_what_has_arrived() -> None:
    world = World()
    world.tripwire = wire = Tripwire(None, fail)
    whole = eventful(world)
    answered = wire.calls.index("reset_servers")
    for step in range(len(wire.calls)):
        world = World()
        world.tripwire = Tripwire(step, lambda world=world: world.stop.set(2))  # type: ignore[misc]
        outcome = eventful(world)
        assert len(outcome.results) == 5
        if step <= answered:
            assert (world.api.posts, outcome.verdict) == ([], Verdict.INTERRUPTED)
            assert set(states(outcome.results).values()) == {"not sent"}
            continue
        assert len(world.api.posts) == 1
        assert outcome.verdict in {Verdict.INTERRUPTED, whole.verdict}
        for each in outcome.results:
            assert each.state == fate(each.server or "", world, followed=True)


# arbitrary answers, errors and interruptions


def fate(server: str, world: World, *, followed: bool) -> str:
    """The truth of one server, from what the cloud was heard to say."""
    if not world.api.posts:
        return "not sent"
    result = next(each for each in world.api.answers[0].results if each.server == server)
    if result.state is not ServerState.QUEUED or not followed:
        return result.state.value
    if result.operation is None or result.operation.path is None:
        return "unknown"
    word = "queued"
    for asked, told in world.api.delivered:
        if asked == result.operation and isinstance(told, OperationStatus):
            word = told.word.lower()
    return word if word in {"queued", "succeeded", "failed"} else "running"


def verdict_of(outcome: Outcome, found: Sequence[str], world: World) -> str:
    """The first row of the table of exit codes that applies, where no signal came."""
    if not world.api.took and isinstance(outcome.error, ClcError) and set(found) == {"not sent"}:
        is_auth = isinstance(outcome.error, AuthenticationError)
        return "authentication" if is_auth else "not sent"
    told = (told for _, told in world.api.delivered if isinstance(told, Failure))
    if any(isinstance(each.error, AuthenticationError) for each in told):
        return "authentication"
    if "unknown" in found:
        return "unknown"
    if "failed" in found:
        return "failed"
    if outcome.waited and {"queued", "running"} & set(found):
        return "running"
    return "done"


@dataclass
class Script:
    """What happens in one run."""

    servers: list[str]
    wait: bool
    limit: float | None
    looks: bool
    has_journal: bool
    answer: str
    fates: list[tuple[str, int]]
    polls: dict[int, list[object]]
    shown: list[object]
    latency: list[float]
    stop_at: int | None
    raise_at: set[int]


WORDS = st.sampled_from(
    ["notStarted", "executing", "resumed", "succeeded", "failed", "Failed", "?"]
)
POLLS = st.one_of(
    WORDS.map(OperationStatus),
    st.builds(
        NoNews,
        st.just("x"),
        slow_down=st.booleans(),
        unreachable=st.booleans(),
        not_found=st.booleans(),
        retry_after=st.none() | st.floats(0, 100),
    ),
    st.sampled_from(
        [ZeroDivisionError("x"), TimeoutError(), RefusedError("x"), AuthenticationError("x")]
    ),
)
SHOWN = st.sampled_from(["changed", "unchanged", "missing", ZeroDivisionError("x")])
FATES = st.tuples(
    st.sampled_from(
        ["queued", "queued", "queued", "refused", "unknown", "contradicted", "no link", "away"]
    ),
    st.integers(1, 3),
)
ANSWERS = ["answered"] * 6 + ["lost", "lost with a date", "interrupted", "unreachable", "denied"]
ANSWERS += ["raises before", "raises after", "raises an interruption"]
SCRIPTS = st.integers(1, 5).flatmap(
    lambda number: st.builds(
        Script,
        servers=st.just([f"WA1ALIASWB{n:02}" for n in range(number)]),
        wait=st.sampled_from([True, True, True, False]),
        limit=st.none() | st.sampled_from([0.0, 1.0, 30.0, 600.0]),
        looks=st.booleans(),
        has_journal=st.booleans(),
        answer=st.sampled_from(ANSWERS),
        fates=st.lists(FATES, min_size=number, max_size=number),
        polls=st.fixed_dictionaries(
            dict.fromkeys((1, 2, 3), st.lists(POLLS, min_size=1, max_size=8))
        ),
        shown=st.lists(SHOWN, min_size=1, max_size=5),
        latency=st.lists(st.sampled_from([0.0, 0.05, 2.0, 15.0, 100.0]), min_size=1, max_size=5),
        stop_at=st.none() | st.integers(0, 80),
        raise_at=st.sets(st.integers(0, 80), max_size=6),
    )
)


class Play:
    """Plays a script in a world."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls = 0
        self.latencies = 0
        self.polled = dict.fromkeys((1, 2, 3), 0)
        self.looks = 0
        self.world = World(latency=self.latency)
        self.world.tripwire = self.trip
        self.world.api.reset = self.reset
        self.world.api.status = self.status
        self.world.api.show = self.show

    def latency(self, _asked: object) -> float:
        self.latencies += 1
        return self.script.latency[self.latencies % len(self.script.latency)]

    def trip(self, what: str) -> None:
        number = self.calls
        self.calls += 1
        if number == self.script.stop_at:
            self.world.stop.set(signal.SIGTERM)
        shows = what.startswith(("listener", "journal", "entry", "note"))
        if shows and number in self.script.raise_at:
            raise (ZeroDivisionError, OSError, UnreachableError)[number % 3]("x")

    def reset(self, servers: Sequence[str]) -> ResetAnswer:
        api = self.world.api
        match self.script.answer:
            case "unreachable":
                api.took = False
                return ResetAnswer.not_sent(servers, UnreachableError("x"))
            case "denied":
                api.took = False
                return ResetAnswer.not_sent(servers, AuthenticationError("x"))
            case "raises before":
                api.took = False
                raise ZeroDivisionError("x")
            case "raises after":
                raise ZeroDivisionError("x")
            case "raises an interruption":
                raise Interrupted(signal.SIGTERM)
            case "lost":
                return ResetAnswer.maybe_sent(servers, "no answer")
            case "lost with a date":
                return ResetAnswer.maybe_sent(servers, "a 500", sent_at=self.world.at())
            case "interrupted":
                self.world.stop.set(signal.SIGTERM)
                return ResetAnswer.maybe_sent(servers, "interrupted", signal.SIGTERM)
        results = [
            self.result(server, *each)
            for server, each in zip(servers, self.script.fates, strict=True)
        ]
        return api.sent(*results, turns=servers[::-1])

    def result(self, server: str, kind: str, number: int) -> ServerResult:
        match kind:
            case "queued":
                return queued(server, operation(number))
            case "refused":
                return refused(server)
            case "unknown":
                return unknown(server)
            case "contradicted":
                return unknown(server)._replace(operation=operation(number))
            case "no link":
                return queued(server, None)
        return queued(server, AWAY)

    def status(self, asked: Operation) -> News:
        number = int(asked.id.rpartition("-")[2])
        script = self.script.polls[number]
        said = script[min(self.polled[number], len(script) - 1)]
        self.polled[number] += 1
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, OperationStatus | NoNews)
        return said

    def show(self, server: str) -> Observation:
        self.looks += 1
        shown = self.script.shown[self.looks % len(self.script.shown)]
        if isinstance(shown, Exception):
            raise shown
        if shown == "missing":
            return Observation(server, problem="the API knows no such server (404)")
        return self.world.api.changing({server: self.world.seconds} if shown == "changed" else {})(
            server
        )

    def run(self, folder: Path) -> Outcome:
        script = self.script
        tools = self.world.tools(folder if script.has_journal else None)
        asked = order(*script.servers, wait=script.wait, limit=script.limit, looks=script.looks)
        return batch.reset(asked, tools)


@settings(max_examples=300)
@given(SCRIPTS)
def test_whatever_happens_the_outcome_is_the_truth(script: Script) -> None:
    play = Play(script)
    world = play.world
    with tempfile.TemporaryDirectory() as folder:
        outcome = play.run(Path(folder))

    # a reset at most once, and each server in the result exactly once, in order
    assert len(world.api.posts) <= 1
    assert [each.server for each in outcome.results] == script.servers
    assert outcome.ending is not Ending.SURPRISE

    # `not sent` only where the cloud saw nothing
    found = [each.state.value for each in outcome.results]
    is_taken = bool(world.api.posts) and world.api.took
    if is_taken:
        assert "not sent" not in found
        assert outcome.sending is not Sending.NOT_SENT

    # each server's state is what the cloud said of it
    followed = script.wait and outcome.sending is not Sending.NOT_SENT
    if world.api.posts and script.answer.startswith(("raises", "interrupted")):
        assert set(found) == {"unknown"}
    else:
        expected = [fate(each, world, followed=followed) for each in script.servers]
        assert found == expected

    # the verdict is as the table says
    interrupted = world.stop.signum is not None or "interruption" in script.answer
    verdict = outcome.verdict.value
    assert verdict == verdict_of(outcome, found, world) or (
        interrupted and verdict == "interrupted" and outcome.signum == signal.SIGTERM
    )

    # a wait ends early for what the contract names, and for nothing else
    if followed and outcome.ending is Ending.COMPLETE:
        assert not {"queued", "running"} & set(found)
    if followed and outcome.ending is Ending.ERROR:
        assert isinstance(outcome.error, AuthenticationError)

    # a signal that came before the request kept it from leaving
    if outcome.sending is Sending.NOT_SENT and verdict == "interrupted":
        assert world.api.posts == []

    # it ended in time
    limit = batch.usual_limit(script.servers) if script.limit is None else script.limit
    assert world.seconds <= limit + GRACE + SECONDS_FOR_ALL + 1e-6


# with real threads


def test_polls_and_looks_are_made_by_threads() -> None:
    world = World()
    mine = threading.current_thread()
    seen: list[bool] = []

    def status(_asked: Operation) -> News:
        seen.append(threading.current_thread() is not mine)
        return FAILED

    world.api.status = status
    outcome = batch.reset(order(wait=True), world.tools()._replace(pool=Pool))
    assert seen == [True]
    assert outcome.verdict is Verdict.FAILED
    assert set(outcome.observations) == {A, B}


def test_where_no_thread_can_be_had_twenty_operations_are_waited_for_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    world = World()
    servers = [f"S{n}" for n in range(20)]
    world.api.reset = lambda servers: world.api.sent(
        *(queued(each, operation(n)) for n, each in enumerate(servers))
    )
    outcome = batch.reset(order(*servers, wait=True), world.tools()._replace(pool=Pool))
    assert outcome.verdict is Verdict.DONE
    assert len(world.api.polls) == 20
