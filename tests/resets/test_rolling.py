"""Waves of batches, with a gate between them."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc_reset.errors import AuthenticationError, UnreachableError
from clc_reset.journal import Run
from clc_reset.models import (
    Observation,
    Operation,
    ResetAnswer,
    Sending,
    ServerResult,
    ServerState,
)
from clc_reset.resets import inquiry, rolling
from clc_reset.resets.outcome import Ending, Outcome, Verdict, remarks
from clc_reset.resets.rolling import Plan
from clc_reset.threads import Stop
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    MISS,
    ORIGIN,
    SUCCEEDED,
    USER,
    A,
    B,
    C,
    D,
    News,
    Tripwire,
    World,
    check_that_what_shows_and_records_changes_nothing,
    fail,
    operation,
    order,
    queued,
    refused,
    states,
    unknown,
)

SERVERS = (A, B, C, D)


class FakeCheck:
    """Passes servers after so many tries, each five seconds; others never."""

    def __init__(self, world: World, **tries: int) -> None:
        self.world = world
        self.tries = tries
        self.asked: list[tuple[tuple[str, ...], float]] = []
        self.raises: BaseException | None = None

    def __call__(
        self,
        servers: Sequence[str],
        seconds: float,
        stop: Stop,
        trying: Callable[[str, int], None],
    ) -> set[str]:
        self.asked.append((tuple(servers), seconds))
        if self.raises is not None:
            raise self.raises
        passed: set[str] = set()
        tries = 0
        deadline = self.world.seconds + seconds
        while self.world.seconds < deadline and passed != set(servers):
            tries += 1
            for each in servers:
                if each not in passed:
                    trying(each, tries)
            passed |= {each for each in servers if self.tries.get(each, 1) <= tries}
            stop.sleep(5.0)
        return passed


def each_wave(world: World, **fates: ServerResult | None) -> None:
    """Queue each wave in an operation of its own, but for the servers with another fate."""

    def reset(servers: Sequence[str]) -> ResetAnswer:
        number = len(world.api.posts)
        results = (fates.get(each) or queued(each, operation(number)) for each in servers)
        return world.api.sent(*results)

    world.api.reset = reset


def wave_states(run: Run) -> list[tuple[tuple[str, ...], str | None]]:
    return [(each.servers, each.sending and each.sending.value) for each in run.waves]


def latest(world: World, folder: Path) -> Run:
    run = world.journal(folder).latest(ORIGIN, ACCOUNT)
    assert run
    return run


# all goes well


def test_each_wave_is_sent_once_and_waited_for_before_the_next(tmp_path: Path) -> None:
    world = World()
    each_wave(world)
    durations: dict[Operation, float] = {}

    def status(asked: Operation) -> News:
        durations.setdefault(asked, world.seconds)
        return SUCCEEDED if world.seconds - durations[asked] > 20 else EXECUTING

    world.api.status = status
    outcome = rolling.reset(order(*SERVERS, "S5"), Plan(2), world.tools(tmp_path))
    assert world.api.posts == [(A, B), (C, D), ("S5",)]
    assert world.heard("wave") == [(1, 3, (A, B)), (2, 3, (C, D)), (3, 3, ("S5",))]
    assert outcome.verdict is Verdict.DONE
    assert [each.server for each in outcome.results] == [*SERVERS, "S5"]
    assert set(states(outcome.results).values()) == {"succeeded"}
    assert 60 < (outcome.seconds or 0) < 75
    run = latest(world, tmp_path)
    assert outcome.run == run.id
    assert wave_states(run) == [((A, B), "sent"), ((C, D), "sent"), (("S5",), "sent")]
    assert run.servers == (*SERVERS, "S5")


def test_between_waves_there_is_a_pause() -> None:
    world = World()
    each_wave(world)
    rolling.reset(order(A, B, C), Plan(1, pause=2.5), world.tools())
    assert world.seconds == 5.0
    assert world.heard("pausing") == [(2.5,), (1.5,), (0.5,)] * 2


def test_the_time_limit_is_each_wave_s_by_its_own_size() -> None:
    world = World()
    each_wave(world)
    world.api.status = lambda _asked: EXECUTING
    servers = [f"WA1{n}" for n in range(100)]
    outcome = rolling.reset(order(*servers), Plan(40), world.tools())
    assert outcome.limit == 40 * 60


# a wave ends it


@pytest.mark.parametrize(
    ("max_failures", "posts", "left"),
    [(0, 1, (B, C, D)), (1, 2, (C, D)), (2, 3, (D,)), (3, 4, ()), (4, 4, ())],
)
def test_more_failures_than_are_allowed_end_it(
    max_failures: int, posts: int, left: Sequence[str]
) -> None:
    world = World()
    each_wave(world, **{each: refused(each) for each in SERVERS})
    plan = Plan(1, max_failures=max_failures)
    outcome = rolling.reset(order(*SERVERS), plan, world.tools())
    assert len(world.api.posts) == posts
    assert outcome.servers(ServerState.NOT_SENT) == list(left)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.ending is (Ending.STOPPED if left else Ending.COMPLETE)


def test_a_failed_operation_ends_it_and_its_servers_are_looked_at() -> None:
    world = World()
    each_wave(world)
    world.api.status = lambda _asked: FAILED
    outcome = rolling.reset(order(*SERVERS), Plan(2), world.tools())
    assert states(outcome.results) == {A: "failed", B: "failed", C: "not sent", D: "not sent"}
    assert set(outcome.observations) == {A, B}
    assert outcome.verdict is Verdict.FAILED


@pytest.mark.parametrize("max_failures", [0, 100])
def test_an_unknown_outcome_ends_it_whatever_number_of_failures_is_allowed(
    max_failures: int, tmp_path: Path
) -> None:
    world = World()
    each_wave(world, **{B: unknown(B)})
    plan = Plan(1, max_failures=max_failures)
    outcome = rolling.reset(order(*SERVERS), plan, world.tools(tmp_path))
    assert states(outcome.results) == {A: "succeeded", B: "unknown", C: "not sent", D: "not sent"}
    assert outcome.verdict is Verdict.UNKNOWN
    said = list(remarks(outcome, ACCOUNT))
    assert [each.kind for each in said] == ["outcome_unknown", "stopped"]
    assert said[1].hint == f"To reset those: clc reset --rest-of {outcome.run}"


def test_an_answer_that_is_lost_ends_it() -> None:
    world = World()
    each_wave(world)
    send = world.api.reset
    world.api.reset = lambda servers: (
        send(servers) if A in servers else ResetAnswer.maybe_sent(servers, "no answer")
    )
    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools())
    assert outcome.sending is Sending.MAYBE_SENT
    assert outcome.problem == "no answer"
    assert states(outcome.results) == {A: "succeeded", B: "unknown", C: "not sent", D: "not sent"}


def test_the_time_limit_of_a_wave_ends_it_and_says_both_how_to_follow_and_to_go_on(
    tmp_path: Path,
) -> None:
    world = World()
    each_wave(world)
    world.api.status = lambda asked: SUCCEEDED if asked == operation(1) else EXECUTING
    tools = world.tools(tmp_path)
    outcome = rolling.reset(order(*SERVERS, limit=30.0), Plan(1, max_failures=9), tools)
    assert states(outcome.results) == {A: "succeeded", B: "running", C: "not sent", D: "not sent"}
    said = list(remarks(outcome, ACCOUNT))
    assert [each.kind for each in said] == ["time_limit", "stopped"]
    assert said[0].hint == "To follow them: clc status --wait"


@pytest.mark.parametrize(
    ("error", "verdict", "hint"),
    [
        (UnreachableError("No way.", hint="No server was reset."), Verdict.FAILED, None),
        (AuthenticationError("Denied.", hint="Log in."), Verdict.AUTHENTICATION, "Log in."),
    ],
)
def test_a_wave_that_was_certainly_not_sent_ends_it_and_the_others_were(
    error: UnreachableError | AuthenticationError,
    verdict: Verdict,
    hint: str | None,
    tmp_path: Path,
) -> None:
    world = World()
    each_wave(world)
    send = world.api.reset
    world.api.reset = lambda servers: (
        send(servers) if A in servers else ResetAnswer.not_sent(servers, error)
    )
    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools(tmp_path))
    assert outcome.sending is Sending.SENT
    assert states(outcome.results) == {A: "succeeded", **dict.fromkeys((B, C, D), "not sent")}
    assert outcome.verdict is verdict  # never that nothing was
    first, second = remarks(outcome, ACCOUNT)
    assert (
        first.message == f"Wave 2 of 4 wasn't sent: {error.message} No operation is still running."
    )
    assert first.hint == hint
    assert second.kind == "stopped"
    assert inquiry.known(latest(world, tmp_path)).servers(ServerState.NOT_SENT) == [B, C, D]


def test_a_first_wave_that_was_not_sent_means_that_nothing_was() -> None:
    world = World()
    world.api.reset = lambda servers: ResetAnswer.not_sent(servers, UnreachableError("x"))
    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools())
    assert (outcome.sending, outcome.verdict) == (Sending.NOT_SENT, Verdict.NOT_SENT)
    assert not outcome.has_result


# the check


def test_a_check_has_to_pass_for_every_server_of_a_wave() -> None:
    world = World()
    each_wave(world)
    check = FakeCheck(world, **{B: 3})
    plan = Plan(2, check=check, check_seconds=60.0)
    outcome = rolling.reset(order(*SERVERS), plan, world.tools())
    assert outcome.verdict is Verdict.DONE
    assert check.asked == [((A, B), 60.0), ((C, D), 60.0)]
    assert world.heard("checking")[:4] == [(A, 1), (B, 1), (B, 2), (B, 3)]
    assert [each.message for each in outcome.results] == [None] * 4


def test_a_server_whose_check_never_passes_has_failed_and_the_message_says_which_did() -> None:
    world = World()
    each_wave(world)
    plan = Plan(2, check=FakeCheck(world, **{B: 99}), check_seconds=30.0)
    outcome = rolling.reset(order(*SERVERS), plan, world.tools())
    assert states(outcome.results) == {A: "succeeded", B: "failed", C: "not sent", D: "not sent"}
    assert outcome.results[1].message == "The operation succeeded; the check didn't, within 30 s."
    assert outcome.results[1].operation == operation(1)
    assert outcome.verdict is Verdict.FAILED


def test_a_check_that_did_not_pass_is_told_later_too(tmp_path: Path) -> None:
    world = World()
    tools = world.tools(tmp_path)
    plan = Plan(2, check=FakeCheck(world, **{B: 99}), check_seconds=30.0)
    outcome = rolling.reset(order(*SERVERS), plan, tools)
    run = latest(world, tmp_path)
    told = inquiry.ask([inquiry.Part.whole(run)], [], ACCOUNT, tools, wait=False, limit=None)
    assert states(told.results) == states(outcome.results)
    said = outcome.results[1].message or ""
    assert (told.results[1].message or "").startswith(said.removesuffix("."))
    assert told.verdict is Verdict.FAILED
    assert tools.journal.unsettled(ORIGIN, ACCOUNT, [B]) == ()  # its operation is over


def test_failed_checks_count_as_failures() -> None:
    world = World()
    each_wave(world, **{B: refused(B)})
    plan = Plan(2, check=FakeCheck(world, **{A: 99, C: 99}), check_seconds=1, max_failures=2)
    outcome = rolling.reset(order(*SERVERS, "S5"), plan, world.tools())
    assert states(outcome.results) == {
        A: "failed",
        B: "failed",
        C: "failed",
        D: "succeeded",
        "S5": "not sent",
    }


@pytest.mark.parametrize("raised", [OSError("no process"), ZeroDivisionError("x")])
def test_a_check_that_cannot_be_run_fails_the_wave_and_says_so(raised: Exception) -> None:
    world = World()
    each_wave(world)
    check = FakeCheck(world)
    check.raises = raised
    outcome = rolling.reset(order(*SERVERS), Plan(2, check=check), world.tools())
    assert states(outcome.results) == {A: "failed", B: "failed", C: "not sent", D: "not sent"}
    said = f"The operation succeeded; the check couldn't be run: {type(raised).__name__}"
    assert (outcome.results[0].message or "").startswith(said)


def test_a_server_that_was_not_reset_is_not_checked() -> None:
    world = World()
    each_wave(world, **{A: refused(A), B: refused(B), C: refused(C)})
    check = FakeCheck(world)
    rolling.reset(order(*SERVERS), Plan(2, check=check, max_failures=9), world.tools())
    assert check.asked == [((D,), rolling.CHECK_SECONDS)]


def test_a_check_without_any_time_has_a_second() -> None:
    world = World()
    each_wave(world)
    check = FakeCheck(world)
    rolling.reset(order(A), Plan(1, check=check, check_seconds=0.0), world.tools())
    assert check.asked == [((A,), 1.0)]


# signals


def test_a_signal_in_a_pause_ends_it_and_what_was_not_reached_can_be_sent_later(
    tmp_path: Path,
) -> None:
    world = World()
    each_wave(world)
    world.tripwire = lambda what: world.stop.set(2) if what == "listener.pausing" else None
    outcome = rolling.reset(order(*SERVERS), Plan(2, pause=60.0), world.tools(tmp_path))
    assert world.api.posts == [(A, B)]
    assert (outcome.verdict, outcome.signum) == (Verdict.INTERRUPTED, 2)
    assert states(outcome.results) == {A: "succeeded", B: "succeeded", C: "not sent", D: "not sent"}
    first, second = remarks(outcome, ACCOUNT)
    assert first.message == "Interrupted. No operation is still running."
    assert second.hint == f"To reset those: clc reset --rest-of {outcome.run}"
    assert inquiry.known(latest(world, tmp_path)).servers(ServerState.NOT_SENT) == [C, D]


def test_a_signal_between_waves_ends_it_without_a_pause_too() -> None:
    world = World()
    each_wave(world)

    def status(_asked: Operation) -> News:
        world.stop.set(2)
        return SUCCEEDED

    world.api.status = status
    outcome = rolling.reset(order(*SERVERS), Plan(2), world.tools())
    assert (len(world.api.posts), outcome.verdict) == (1, Verdict.INTERRUPTED)
    assert states(outcome.results)[A] == "succeeded"


def test_a_signal_in_a_check_says_that_it_was_cut_short() -> None:
    world = World()
    each_wave(world)
    world.tripwire = lambda what: world.stop.set(15) if what == "listener.checking" else None
    plan = Plan(2, check=FakeCheck(world, **{A: 99, B: 99}))
    outcome = rolling.reset(order(*SERVERS), plan, world.tools())
    assert (outcome.verdict, outcome.signum) == (Verdict.INTERRUPTED, 15)
    assert states(outcome.results)[A] == "succeeded"
    assert outcome.results[0].message == "The operation succeeded; the check was cut short."


def test_a_signal_at_any_step_tells_the_truth() -> None:
    def run(world: World) -> Outcome:
        each_wave(world)
        plan = Plan(2, pause=1.0, check=FakeCheck(world, **{B: 2}))
        return rolling.reset(order(*SERVERS), plan, world.tools())

    world = World()
    world.tripwire = wire = Tripwire(None, fail)
    run(world)
    for step in range(len(wire.calls)):
        world = World()
        world.tripwire = Tripwire(step, lambda world=world: world.stop.set(2))  # type: ignore[misc]
        outcome = run(world)
        sent = {server for wave in world.api.posts for server in wave}
        assert [each.server for each in outcome.results] == list(SERVERS)
        assert set(outcome.servers(ServerState.NOT_SENT)) == set(SERVERS) - sent
        assert outcome.verdict is Verdict.INTERRUPTED or len(sent) == 4


# what only shows or records


def eventful(world: World, folder: Path) -> Outcome:
    each_wave(world, **{D: refused(D)})
    plan = Plan(2, pause=2.0, check=FakeCheck(world, **{B: 2}), max_failures=9)
    return rolling.reset(order(*SERVERS), plan, world.tools(folder))


def test_what_only_shows_or_records_changes_nothing_whenever_it_raises(tmp_path: Path) -> None:
    called = check_that_what_shows_and_records_changes_nothing(eventful, tmp_path)
    assert called >= {
        *(f"journal.{name}" for name in ("unsettled", "begin")),
        *(f"entry.{name}" for name in ("wave", "answered", "heard", "flush", "close")),
        *(f"listener.{name}" for name in ("wave", "pausing", "checking", "close")),
    }


def test_a_defect_between_waves_loses_nothing_of_what_was_sent() -> None:
    world = World()
    each_wave(world)
    world.tripwire = lambda what: fail() if what == "sleep" else None
    outcome = rolling.reset(order(*SERVERS), Plan(2, pause=1.0), world.tools())
    assert (outcome.ending, outcome.verdict) == (Ending.SURPRISE, Verdict.FAILED)
    assert states(outcome.results) == {A: "succeeded", B: "succeeded", C: "not sent", D: "not sent"}


def test_a_journal_that_fails_stops_no_wave() -> None:
    world = World()
    each_wave(world)
    world.tripwire = lambda what: fail() if what.startswith("journal") else None
    outcome = rolling.reset(order(*SERVERS, again=True), Plan(2), world.tools())
    assert (outcome.verdict, outcome.run) == (Verdict.DONE, None)


# the guard


def test_an_unsettled_server_of_the_last_wave_is_known_before_the_first(tmp_path: Path) -> None:
    world = World()
    each_wave(world)
    world.journal(tmp_path).begin(ORIGIN, ACCOUNT, USER, [D])
    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools(tmp_path))
    assert (outcome.verdict, world.api.posts) == (Verdict.UNSETTLED, [])


def test_a_yes_is_for_all_waves_and_asked_once(tmp_path: Path) -> None:
    world = World()
    each_wave(world)
    world.journal(tmp_path).begin(ORIGIN, ACCOUNT, USER, [A, D])
    asked: list[Sequence[str]] = []

    def confirm(lines: Sequence[str]) -> bool:
        asked.append(lines)
        return True

    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools(tmp_path), confirm)
    assert outcome.verdict is Verdict.DONE
    assert [line[:12] for line in asked[0]] == [A, D]
    assert len(asked) == 1
    assert len(world.api.posts) == 4


@pytest.mark.parametrize(
    ("is_over", "says", "verdict", "posts"),
    [
        (True, None, Verdict.DONE, 4),
        (False, None, Verdict.FAILED, 2),
        (False, False, Verdict.FAILED, 2),
        (False, True, Verdict.DONE, 4),
    ],
)
def test_what_another_process_resets_meanwhile_is_asked_for_before_its_wave(
    is_over: bool, says: bool | None, verdict: Verdict, posts: int, tmp_path: Path
) -> None:
    world = World()
    each_wave(world)
    theirs = operation(77)
    world.api.status = lambda asked: SUCCEEDED if is_over or asked != theirs else EXECUTING

    def interfere(what: str) -> None:
        if what == "listener.wave" and len(world.api.posts) == 1:
            entry = world.journal(tmp_path).begin(ORIGIN, ACCOUNT, USER, [C])
            assert not isinstance(entry, tuple)
            entry.answered(world.api.sent(queued(C, theirs)))

    world.tripwire = interfere
    confirm = None if says is None else lambda _lines: bool(says)
    outcome = rolling.reset(order(*SERVERS), Plan(1), world.tools(tmp_path), confirm)
    assert (outcome.verdict, len(world.api.posts)) == (verdict, posts)
    if posts == 2:
        assert outcome.error
        assert "Nothing more was sent." in f"{outcome.error.message} {outcome.error.hint}"
        assert outcome.servers(ServerState.NOT_SENT) == [C, D]


def test_with_again_no_wave_is_held_up(tmp_path: Path) -> None:
    world = World()
    each_wave(world)
    world.journal(tmp_path).begin(ORIGIN, ACCOUNT, USER, [A, D])
    outcome = rolling.reset(order(*SERVERS, again=True), Plan(1), world.tools(tmp_path))
    assert outcome.verdict is Verdict.DONE


# arbitrary waves


@dataclass
class Script:
    """What comes of a rolling reset: each server's fate, and the check's."""

    at_a_time: int
    max_failures: int
    pause: float
    fates: list[str]
    passes: list[bool] | None
    stop_at: int | None


FATES = ["succeeds"] * 8 + ["fails", "refused", "unknown", "hangs", "lost", "unreachable"]
SCRIPTS = st.integers(1, 8).flatmap(
    lambda number: st.builds(
        Script,
        at_a_time=st.integers(1, 4),
        max_failures=st.integers(0, 3),
        pause=st.sampled_from([0.0, 3.0]),
        fates=st.lists(st.sampled_from(FATES), min_size=number, max_size=number),
        passes=st.none()
        | st.lists(st.sampled_from([True, True, True, False]), min_size=number, max_size=number),
        stop_at=st.none() | st.integers(0, 150),
    )
)


class Play:
    """Plays a script, and holds each wave to the truth when it is sent."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.servers = [f"S{n}" for n in range(len(script.fates))]
        self.fate_of = dict(zip(self.servers, script.fates, strict=True))
        self.world = World()
        self.world.tripwire = self.trip
        self.world.api.reset = self.reset
        self.world.api.status = self.status
        passes = script.passes or [True] * len(self.servers)
        self.late = {s for s, passed in zip(self.servers, passes, strict=True) if not passed}
        self.check = FakeCheck(self.world, **dict.fromkeys(self.late, 99))
        self.calls = 0
        self.settled: set[str] = set()

    def trip(self, _what: str) -> None:
        if self.calls == self.script.stop_at:
            self.world.stop.set(signal.SIGTERM)
        self.calls += 1

    @property
    def sent(self) -> list[str]:
        return [server for wave in self.world.api.posts for server in wave]

    def has_failed(self, server: str) -> bool:
        return server in self.late or self.fate_of[server] in {"refused", "fails"}

    def must_stop(self, sent: Sequence[str]) -> bool:
        """Whether nothing may be sent after these."""
        failures = sum(self.has_failed(each) for each in sent)
        doubts = {"unknown", "hangs", "lost", "unreachable"}
        return failures > self.script.max_failures or any(
            self.fate_of[each] in doubts for each in sent
        )

    def reset(self, wave: Sequence[str]) -> ResetAnswer:
        before = self.sent[: -len(wave)]
        assert not self.must_stop(before)
        assert not set(wave) & set(before)
        assert set(before) <= self.settled
        assert len(wave) <= self.script.at_a_time
        fates = {self.fate_of[each] for each in wave}
        if "lost" in fates:
            return ResetAnswer.maybe_sent(wave, "no answer")
        if "unreachable" in fates:
            self.world.api.posts.pop()
            return ResetAnswer.not_sent(wave, UnreachableError("x"))
        self.settled.update(each for each in wave if self.fate_of[each] == "refused")
        return self.world.api.sent(*map(self.result, wave))

    def result(self, server: str) -> ServerResult:
        made = {"refused": refused, "unknown": unknown}.get(self.fate_of[server])
        return made(server) if made else queued(server, operation(int(server[1:])))

    def status(self, asked: Operation) -> News:
        server = f"S{asked.id.rpartition('-')[2]}"
        if self.fate_of[server] == "hangs":
            return MISS
        if len(self.world.api.polls) % 3 == 0:
            return EXECUTING
        self.settled.add(server)
        return FAILED if self.fate_of[server] == "fails" else SUCCEEDED

    def run(self) -> Outcome:
        check = None if self.script.passes is None else self.check
        script = self.script
        plan = Plan(script.at_a_time, script.pause, check, 20.0, script.max_failures)
        return rolling.reset(order(*self.servers, limit=30.0), plan, self.world.tools())


@settings(max_examples=300)
@given(SCRIPTS)
def test_whatever_the_waves_come_to_no_more_than_that_many_are_unsettled(script: Script) -> None:
    play = Play(script)
    outcome = play.run()
    sent, left = play.sent, outcome.servers(ServerState.NOT_SENT)
    assert [each.server for each in outcome.results] == play.servers
    assert len(sent) == len(set(sent))
    assert sent + left == play.servers  # in the order given
    assert (outcome.sending is Sending.NOT_SENT) is (sent == [])
    if play.world.stop.signum is None:
        assert outcome.verdict is not Verdict.INTERRUPTED
        wave = play.servers[len(sent) : len(sent) + script.at_a_time]
        is_unreached = any(play.fate_of[each] == "unreachable" for each in wave)
        assert not left or play.must_stop(sent) or is_unreached
    if not left and set(script.fates) == {"succeeds"} and not play.late:
        assert outcome.verdict in {Verdict.DONE, Verdict.INTERRUPTED}


def test_interrupted_before_anything_was_sent_nothing_was(tmp_path: Path) -> None:
    world = World()
    world.stop.set(2)
    outcome = rolling.reset(order(*SERVERS), Plan(2), world.tools(tmp_path))
    assert (outcome.verdict, outcome.sending) == (Verdict.INTERRUPTED, Sending.NOT_SENT)
    assert world.api.posts == []


def test_what_each_wave_showed_is_kept() -> None:
    world = World()
    each_wave(world)
    world.api.status = lambda asked: FAILED if asked == operation(1) else SUCCEEDED
    world.api.show = lambda server: Observation(server, world.at(), problem="no answer")
    outcome = rolling.reset(order(*SERVERS), Plan(2, max_failures=2), world.tools())
    assert set(outcome.observations) == {A, B}
    assert states(outcome.results)[D] == "succeeded"


def test_what_was_answered_for_without_being_asked_is_kept_of_all_waves() -> None:
    world = World()
    each_wave(world)
    send = world.api.reset
    world.api.reset = lambda servers: send(servers)._replace(unasked=(f"X{servers[0]}",))
    outcome = rolling.reset(order(*SERVERS), Plan(2), world.tools())
    assert outcome.unasked == (f"X{A}", f"X{C}")
