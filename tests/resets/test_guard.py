"""Not twice by mistake: earlier resets of the last hour that aren't settled."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clc_reset.errors import (
    AuthenticationError,
    DeclinedError,
    Interrupted,
    UnreachableError,
    UnsettledError,
)
from clc_reset.models import Observation, Operation, ResetAnswer
from clc_reset.resets import batch, guard
from clc_reset.resets.outcome import Ending, Outcome, Verdict
from tests.resets.fakes import (
    ACCOUNT,
    EXECUTING,
    FAILED,
    GONE,
    MISS,
    ORIGIN,
    SUCCEEDED,
    USER,
    A,
    B,
    C,
    News,
    World,
    fail,
    operation,
    order,
    queued,
    refused,
    states,
    unknown,
)

RUN = r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}"


class Nights:
    """Resets of one machine, one after another, each by a process of its own."""

    def __init__(self, folder: Path, skew: timedelta = timedelta()) -> None:
        self.world = World(skew=skew)
        self.folder = folder
        self.asked: list[list[str]] = []

    def reset(
        self,
        *servers: str,
        says: Callable[[Sequence[str]], bool] | bool | None = None,
        **options: Any,
    ) -> Outcome:
        """Reset; on a terminal where `says` answers."""

        def confirm(lines: Sequence[str]) -> bool:
            self.asked.append(list(lines))
            return says(lines) if callable(says) else bool(says)

        tools = self.world.tools(self.folder)
        return batch.reset(order(*servers, **options), tools, None if says is None else confirm)

    def answer(self, make: Callable[[str], Any]) -> None:
        """What is answered for each server from now on."""
        self.world.api.reset = lambda servers: self.world.api.sent(*map(make, servers))

    def lose(self) -> None:
        """From now on no answer comes."""
        self.world.api.reset = lambda servers: ResetAnswer.maybe_sent(servers, "no answer")

    @property
    def posts(self) -> int:
        return len(self.world.api.posts)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def is_refused(outcome: Outcome) -> bool:
    return (outcome.verdict, outcome.ending) == (Verdict.UNSETTLED, Ending.ERROR) and set(
        states(outcome.results).values()
    ) == {"not sent"}


# what is settled


@pytest.mark.parametrize("final", [SUCCEEDED, FAILED])
def test_an_operation_that_is_over_by_now_is_asked_once_and_settled(
    nights: Nights, final: News
) -> None:
    nights.reset(A, B)
    nights.world.api.status = lambda _asked: final
    assert nights.reset(A).verdict is Verdict.DONE
    assert len(nights.world.api.polls) == 1
    assert nights.reset(B).verdict is Verdict.DONE  # the journal knows it now
    assert len(nights.world.api.polls) == 1
    assert nights.posts == 3


def test_after_success_there_is_no_question_and_no_request(nights: Nights) -> None:
    nights.reset(A, B, wait=True)
    nights.world.api.polls.clear()
    assert nights.reset(A, B).verdict is Verdict.DONE
    assert nights.world.api.polls == []
    assert nights.world.notes == []


def test_what_was_refused_or_certainly_not_sent_is_settled(nights: Nights) -> None:
    nights.answer(refused)
    nights.reset(A)
    nights.world.api.reset = lambda servers: ResetAnswer.not_sent(servers, UnreachableError("x"))
    nights.reset(A)
    nights.answer(queued)
    assert nights.reset(A).verdict is Verdict.DONE
    assert nights.world.api.polls == []


@pytest.mark.parametrize("user", [USER, "NIGHTLY"])
def test_one_that_can_t_be_asked_any_more_is_settled_by_a_change_after_the_sending(
    nights: Nights, user: str
) -> None:
    nights.reset(A, B)
    nights.world.seconds = 120
    nights.world.api.status = lambda _asked: GONE
    nights.world.api.show = nights.world.api.changing({A: 77}, user)
    assert nights.reset(A).verdict is Verdict.DONE
    nights.world.api.looks.clear()
    assert is_refused(nights.reset(B))  # it shows none
    assert nights.posts == 2


@pytest.mark.parametrize(
    ("changed", "user"), [({A: 77}, "somebody"), ({A: 77}, None), ({A: 1}, USER), ({}, USER)]
)
def test_a_change_that_proves_nothing_settles_nothing(
    nights: Nights, changed: dict[str, float], user: str | None
) -> None:
    nights.reset(A)
    nights.world.seconds = 120
    nights.world.api.status = lambda _asked: GONE
    nights.world.api.show = nights.world.api.changing(changed, user)
    assert is_refused(nights.reset(A))


def test_what_is_older_than_an_hour_is_nobody_s_mistake(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)
    nights.world.seconds = 3599
    assert is_refused(nights.reset(A))
    nights.world.seconds = 3601
    assert nights.reset(A).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_set_back_an_hour_settles_nothing(tmp_path: Path, hours: int) -> None:
    nights = Nights(tmp_path, timedelta(hours=hours))
    nights.lose()
    nights.reset(A)
    nights.world.skew -= timedelta(hours=1)
    nights.world.seconds = 10
    assert is_refused(nights.reset(A))


def test_other_servers_accounts_and_apis_are_others(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)
    assert nights.reset(B).verdict is Verdict.UNKNOWN
    journal = nights.world.journal(nights.folder)
    for where in (("https://other", ACCOUNT), (ORIGIN, "SUB")):
        assert not isinstance(journal.begin(*where, USER, [A]), tuple)
    assert is_refused(nights.reset(A.lower()))


# what is not settled


def test_elsewhere_nothing_is_sent_and_the_message_says_how_to_follow(nights: Nights) -> None:
    nights.world.api.status = lambda _asked: EXECUTING
    nights.reset(A, B)
    nights.world.seconds = 120
    outcome = nights.reset(B, C)
    assert is_refused(outcome)
    assert nights.posts == 1
    run = nights.world.tools(nights.folder).journal.latest(ORIGIN, ACCOUNT)
    assert run
    assert outcome.error
    assert outcome.error.message == (
        "An earlier reset of 1 server isn't settled:\n"
        f"{B}: reset 2 min ago (run {run.id}), operation wa1-1 executing"
    )
    assert outcome.error.hint == (
        f"Nothing was sent.\nTo follow it: clc status --wait --run {run.id}\n"
        "To reset anyway, add --again."
    )
    assert [asked.id for _, asked in nights.world.api.polls] == ["wa1-1"]
    assert nights.world.api.looks == []


def test_one_with_an_unknown_outcome_is_looked_at_so_that_there_are_facts(nights: Nights) -> None:
    nights.lose()
    nights.reset(A, B)
    nights.world.seconds = 120
    nights.world.api.show = nights.world.api.changing({A: 77})
    outcome = nights.reset(A, B)
    assert is_refused(outcome)
    assert outcome.error
    first, second = outcome.error.message.splitlines()[1:]
    assert first.endswith(
        "outcome unknown; changed 12:01:17 UTC by nightly, 77 s after it was sent"
    )
    assert second.endswith("outcome unknown; not changed as of 12:02:00 UTC")
    assert "An earlier reset of 2 servers isn't settled" in outcome.error.message


STATES: dict[str, tuple[Callable[[str], Any] | None, News, str]] = {
    "no answer yet": (None, SUCCEEDED, "no answer recorded so far; not changed"),
    "left out": (unknown, SUCCEEDED, "outcome unknown; not changed"),
    "no link": (lambda s: queued(s, None), SUCCEEDED, "queued, operation unknown; not changed"),
    "away": (
        lambda s: queued(s, Operation("wa1-9", None)),
        SUCCEEDED,
        "operation wa1-9; not changed",
    ),
    "running": (queued, EXECUTING, "operation wa1-1 executing"),
    "silent": (queued, MISS, "operation wa1-1 can't be asked for: the API answered 500; not"),
    "gone": (queued, GONE, "operation wa1-1 can't be asked for: the API answered 404; not"),
}


@pytest.mark.parametrize(("make", "news", "expected"), STATES.values(), ids=STATES)
def test_each_state_that_is_not_settled_is_told_in_words(
    nights: Nights, make: Callable[[str], Any] | None, news: News, expected: str
) -> None:
    if make is None:  # killed between record and sending, or under way
        nights.world.journal(nights.folder).begin(ORIGIN, ACCOUNT, USER, [A])
    else:
        nights.answer(make)
        nights.reset(A)
    nights.world.api.status = lambda _asked: news
    before = nights.posts
    outcome = nights.reset(A)
    assert is_refused(outcome)
    assert nights.posts == before
    assert outcome.error
    assert f"), {expected}" in outcome.error.message


def test_of_many_servers_twenty_are_told_and_three_runs(nights: Nights) -> None:
    nights.lose()
    servers = [f"S{n}" for n in range(30)]
    for first in range(0, 30, 6):
        nights.reset(*servers[first : first + 6])
    outcome = nights.reset(*servers)
    assert outcome.error
    lines = outcome.error.message.splitlines()
    assert (len(lines), lines[-1]) == (22, "and 10 more servers")
    assert outcome.error.hint.count("--run") == 3


def test_what_cannot_be_asked_is_not_settled(nights: Nights) -> None:
    nights.reset(A)
    nights.world.api.status = lambda _asked: fail() or SUCCEEDED
    outcome = nights.reset(A)
    assert is_refused(outcome)
    assert outcome.error
    assert "can't be asked for: ZeroDivisionError: x; not changed" in outcome.error.message


def test_a_poll_without_an_end_has_thirty_seconds(nights: Nights) -> None:
    nights.answer(lambda server: queued(server, operation(int(server[-1]))))
    nights.reset(A, B)
    nights.world.latency = lambda asked: 1e9 if asked == operation(1) else 0.0
    outcome = nights.reset(A, B)
    assert is_refused(outcome)
    assert nights.world.seconds == guard.SECONDS_FOR_POLLS
    assert outcome.error
    (line,) = outcome.error.message.splitlines()[1:]  # the other one is over
    assert f"{A}: reset" in line
    assert "can't be asked for: no answer within 30 s" in line


def test_a_defect_while_asking_settles_nothing(nights: Nights) -> None:
    nights.answer(unknown)
    nights.reset(A)
    nights.world.api.hear_offset = lambda: fail() or None
    nights.world.skew = timedelta(seconds=1)
    journal = nights.world.journal(nights.folder)
    journal.begin(ORIGIN, ACCOUNT, USER, [B])  # its time has to be told by the offset
    outcome = nights.reset(A, B)
    assert is_refused(outcome)
    assert nights.world.notes == [
        "The API can't be asked what became of them: ZeroDivisionError: x."
    ]
    assert outcome.error
    assert outcome.error.message.endswith("no answer recorded so far")


def test_a_token_that_is_refused_ends_it_with_nothing_sent(nights: Nights) -> None:
    nights.reset(A)

    def deny(_asked: Operation) -> News:
        raise AuthenticationError("refused")

    nights.world.api.status = deny
    outcome = nights.reset(A)
    assert outcome.verdict is Verdict.AUTHENTICATION
    assert nights.posts == 1


# on a terminal


def test_on_a_terminal_it_is_asked_about_once_and_a_yes_goes_ahead(nights: Nights) -> None:
    nights.lose()
    nights.reset(A, B)
    assert nights.reset(A, B, C, says=True).verdict is Verdict.UNKNOWN
    assert nights.posts == 2
    (lines,) = nights.asked
    assert [line.partition(":")[0] for line in lines] == [A, B]
    assert nights.world.told[-4][0] == "close"  # the display left the screen for the question


def test_a_no_sends_nothing(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)
    outcome = nights.reset(A, says=False)
    assert outcome.verdict is Verdict.DECLINED
    assert isinstance(outcome.error, DeclinedError)
    assert outcome.error.message == "Nothing was sent."
    assert nights.posts == 1


def test_what_another_process_resets_meanwhile_is_asked_about_too(nights: Nights) -> None:
    nights.lose()
    nights.reset(A, B)

    def say_yes(lines: Sequence[str]) -> bool:
        if len(nights.asked) == 1:
            nights.reset(B, again=True)
        return True

    assert nights.reset(A, B, says=say_yes).verdict is Verdict.UNKNOWN
    assert [[line.partition(":")[0] for line in lines] for lines in nights.asked] == [[A, B], [B]]
    assert nights.posts == 3


def test_where_others_go_on_resetting_them_nothing_is_sent(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)

    def say_yes(_lines: Sequence[str]) -> bool:
        nights.reset(A, again=True)
        return True

    outcome = nights.reset(A, says=say_yes)
    assert is_refused(outcome)
    assert outcome.error
    assert outcome.error.hint == "Nothing was sent. See: clc history"
    assert len(nights.asked) == guard.MOST_ASKED
    assert nights.posts == 1 + guard.MOST_ASKED


@pytest.mark.parametrize("step", ["asking", "looking", "polling", "before the question"])
def test_a_signal_ends_it_with_nothing_sent(nights: Nights, step: str) -> None:
    nights.answer(lambda server: queued(server) if server == A else unknown(server))
    nights.reset(A, B)
    world = nights.world
    world.api.status = lambda _asked: EXECUTING

    def says(_lines: Sequence[str]) -> bool:
        raise Interrupted(2)

    def stop(*_asked: object) -> Any:
        world.stop.set(2)
        return EXECUTING

    def look(server: str) -> Observation:
        if step == "looking" or len(world.api.looks) == 1:
            world.stop.set(2)
        return world.api.unchanged(server)

    if step == "polling":
        world.api.status = stop
    elif step != "asking":
        world.api.show = look
    outcome = nights.reset(A, B, says=says)
    assert (outcome.verdict, outcome.signum) == (Verdict.INTERRUPTED, 2)
    assert nights.posts == 1


def test_a_signal_while_looking_ends_it_where_nobody_can_be_asked_too(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)

    def look(server: str) -> Observation:
        nights.world.stop.set(2)
        return nights.world.api.unchanged(server)

    nights.world.api.show = look
    assert nights.reset(A).verdict is Verdict.INTERRUPTED


def test_a_question_that_fails_is_a_surprise_with_nothing_sent(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)
    outcome = nights.reset(A, says=lambda _lines: fail() or True)
    assert (outcome.verdict, outcome.ending) == (Verdict.NOT_SENT, Ending.SURPRISE)
    assert outcome.surprise == "ZeroDivisionError: x (a defect of clc)."
    assert set(states(outcome.results).values()) == {"not sent"}
    assert nights.posts == 1


# all the same


def test_again_goes_ahead_without_a_question_or_a_request(nights: Nights) -> None:
    nights.lose()
    nights.reset(A)
    assert nights.reset(A, again=True, says=False).verdict is Verdict.UNKNOWN
    assert nights.posts == 2
    assert (nights.asked, nights.world.api.polls, nights.world.api.looks) == ([], [], [])


def test_a_journal_that_fails_is_no_guard() -> None:
    world = World()
    world.tripwire = lambda what: fail() if what == "journal.begin" else None
    outcome = batch.reset(order(A), world.tools())
    assert outcome.verdict is Verdict.DONE
    assert len(world.notes) == 2  # it is off, too
    assert "the journal failed" in world.notes[1]


def test_a_settlement_that_cannot_be_recorded_asks_no_end_of_times(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.reset(A)
    nights.world.tripwire = lambda what: fail() if what == "entry.heard" else None
    outcome = nights.reset(A)
    assert is_refused(outcome)
    assert nights.posts == 1


def test_the_refusal_is_an_error_of_its_own_kind() -> None:
    assert UnsettledError("x").kind == "unsettled"
