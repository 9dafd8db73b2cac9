"""How a command ends: on every surface, in every form, whatever the outcome."""

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Self, TextIO

import httpx
import pytest
import respx

from clc_reset.cli import report
from clc_reset.errors import DeclinedError, Interrupted, OutputError
from clc_reset.models import Operation, Sending, ServerResult, ServerState
from clc_reset.resets.outcome import Outcome
from clc_reset.sandbox.cloud import Behaviour, Cloud
from clc_reset.sandbox.server import Server
from clc_reset.ui.output import Delivery, Output
from tests.cli.conftest import exit_code_of
from tests.fakes import Terminal, jwt, queued

A, B = "WA1ALIASWB01", "WA1ALIASWB02"
API = "http://127.0.0.1:9"  # where nothing listens; a loopback URL needs no TLS

# --- an outcome and what stands beside it -------------------------------------------------------


class Told:
    """An output that keeps what it is told, and fails where that is asked for."""

    def __init__(self, *fails: str, delivery: Delivery = Delivery.PRINTED) -> None:
        self.calls: list[str] = []
        self.errors: list[tuple[object, ...]] = []
        self._fails = fails
        self._delivery = delivery

    def results(self, *_args: object, **_options: object) -> Delivery:
        self._tell("results")
        return self._delivery

    def note(self, text: str) -> None:
        self._tell("note")
        self.calls.append(text)

    def error(self, *said: object) -> None:
        self.errors.append(said)

    def _tell(self, name: str) -> None:
        self.calls.append(name)
        if name in self._fails:
            raise ZeroDivisionError(name)


QUEUED = Outcome(
    "ALIAS",
    (
        ServerResult(A, ServerState.QUEUED, Operation("wa1-1", "/x", "ALIAS")),
        ServerResult(B, ServerState.FAILED, None, "No."),
    ),
    Sending.SENT,
)


def ended(output: Any, outcome: Outcome = QUEUED) -> int:
    return report.outcome(output, outcome, "ALIAS", quiet=False)


@pytest.mark.parametrize("fails", [("results",), ("note",), ("results", "note")])
def test_a_defect_in_the_telling_is_one_message_more_and_changes_no_code(
    fails: tuple[str, ...],
) -> None:
    told = Told(*fails)
    assert ended(told) == 1
    assert [each[1] for each in told.errors] == [
        f"ZeroDivisionError: {name} (a defect of clc)." for name in fails
    ]
    assert {each[3] for each in told.errors} == {1}
    assert {"results", "note"} <= {*told.calls}


def test_a_defect_in_the_words_leaves_the_result() -> None:
    broken = QUEUED._replace(unasked=(None,))  # type: ignore[arg-type] # it can't be joined
    told = Told()
    assert ended(told, broken) == 1
    assert told.calls[0] == "results"
    assert "TypeError" in f"{told.errors}"


@pytest.mark.parametrize(
    ("state", "delivery", "code"),
    [
        (ServerState.SUCCEEDED, Delivery.CLOSED_PIPE, 141),
        (ServerState.FAILED, Delivery.CLOSED_PIPE, 141),
        (ServerState.UNKNOWN, Delivery.CLOSED_PIPE, 6),
        (ServerState.SUCCEEDED, Delivery.ELSEWHERE, 0),
        (ServerState.FAILED, Delivery.ELSEWHERE, 1),
    ],
)
def test_a_closed_pipe_gives_way_to_an_unknown_outcome_only(
    state: ServerState, delivery: Delivery, code: int
) -> None:
    outcome = QUEUED._replace(results=(ServerResult(A, state),))
    assert ended(Told(delivery=delivery), outcome) == code


def test_a_result_that_goes_elsewhere_says_why() -> None:
    told = Told(delivery=Delivery.ELSEWHERE)
    ended(told)
    assert "Standard output can't be written; the result is above." in told.calls


def test_an_unread_server_is_warned_about() -> None:
    told = Told()
    ended(told, QUEUED._replace(unasked=("X",)))
    assert told.calls[-1].endswith("for servers that were not asked for: X.")


@pytest.mark.parametrize(("delivery", "code"), [(Delivery.PRINTED, 0), (Delivery.CLOSED_PIPE, 141)])
def test_a_look_up_that_was_read_is_0(delivery: Delivery, code: int) -> None:
    assert report.looked_up(delivery) == code


def test_a_look_up_that_could_not_be_printed_is_an_error() -> None:
    with pytest.raises(OutputError):
        report.looked_up(Delivery.ELSEWHERE)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (DeclinedError("No.", hint="h"), ("declined", "No.", "h", 1)),
        (Interrupted(15), ("interrupted", "Interrupted.", "", 143)),
        (ZeroDivisionError("x"), ("internal", "ZeroDivisionError: x (a defect of clc).", "", 5)),
        (OSError(28, "full"), ("internal", "OSError: [Errno 28] full.", "", 5)),
    ],
)
def test_an_error_is_said_with_its_code(
    raised: Exception | KeyboardInterrupt, said: tuple[object, ...]
) -> None:
    told: Any = Told()
    assert report.error(told, raised) == said[-1]
    assert told.errors == [said]


def test_a_closed_pipe_is_nothing_to_speak_of() -> None:
    told: Any = Told()
    assert report.error(told, BrokenPipeError()) == 141
    assert told.errors == []


# --- each outcome on each surface, in each form, of each command --------------------------------

FORMS = ("table", "tsv", "json")
TIMES_UP = ("--timeout", "0")
COMMANDS = {
    "reset": ("reset", "--again", A, B),
    "reset --wait": ("reset", "--again", A, B, "--wait", *TIMES_UP),
    "status": ("status",),
    "status --wait": ("status", "--wait", *TIMES_UP),
}
REFUSED = {"server": A, "isQueued": False, "errorMessage": "No such server."}
BOTH = [queued(A, "wa1-1"), queued(B, "wa1-1")]
DOWN = httpx.ConnectError("nobody listens")
CODES: dict[str, tuple[int, int, int, int]] = {
    "all refused": (1, 1, 1, 1),
    "some refused": (1, 1, 1, 1),
    "all unknown": (6, 6, 6, 6),
    "none left": (0, 0, 0, 0),
    "none asked": (2, 2, 2, 2),
    "not reached": (5, 5, 7, 7),
    "polls not reached": (0, 7, 7, 7),
    "refused request": (5, 5, 1, 1),
}
ANSWERS: Mapping[str, httpx.Response] = {
    "all refused": httpx.Response(200, json=[REFUSED, {**REFUSED, "server": B}]),
    "some refused": httpx.Response(200, json=[REFUSED, queued(B, "wa1-1")]),
    "all unknown": httpx.Response(503),
    "refused request": httpx.Response(404),
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.Router]:
    monkeypatch.setenv("CLC_BASE_URL", API)
    monkeypatch.setenv("CLC_TOKEN", jwt())
    monkeypatch.setenv("TERM", "xterm")
    with respx.mock(base_url=API, assert_all_called=False) as router:
        yield router


class Streams:
    """What stands for the three standard streams; `out` and `err` are what was read of them."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.close()

    def pipe(self, name: str) -> TextIO:
        return self._stream(name, *os.pipe())

    def terminal(self, name: str) -> TextIO:
        return self._stream(name, *os.openpty())

    def full(self, _name: str) -> TextIO:
        return self._opened(os.open("/dev/full", os.O_WRONLY))

    def closed_pipe(self, _name: str) -> TextIO:
        reader, writer = os.pipe()
        os.close(reader)
        return self._opened(writer)

    def _stream(self, name: str, reader: int, writer: int) -> TextIO:
        thread = threading.Thread(target=self._read, args=(name, reader))
        thread.start()
        self._ending.callback(thread.join)
        return self._opened(writer)

    def _read(self, name: str, reader: int) -> None:
        with suppress(OSError):  # the end of a terminal
            while chunk := os.read(reader, 65536):
                setattr(self, name, getattr(self, name) + chunk)
        os.close(reader)

    def _opened(self, number: int) -> TextIO:
        stream = io.TextIOWrapper(io.FileIO(number, "w"), write_through=True)
        self._ending.callback(stream.close)
        return stream


Make = Callable[[Streams], tuple[TextIO | None, TextIO]]
SURFACES: dict[str, Make] = {
    "terminal": lambda at: (at.terminal("out"), at.terminal("err")),
    "stderr only on a terminal": lambda at: (at.pipe("out"), at.terminal("err")),
    "pipe": lambda at: (at.pipe("out"), at.pipe("err")),
    "stdout full": lambda at: (at.full("out"), at.pipe("err")),
    "stdout closed": lambda at: (None, at.pipe("err")),
    "closed pipe": lambda at: (at.closed_pipe("out"), at.pipe("err")),
}
WORKING = ("terminal", "stderr only on a terminal", "pipe")


def prepare(
    api: respx.Router, monkeypatch: pytest.MonkeyPatch, outcome: str, command: str
) -> tuple[str, ...]:
    """Let the API, and the journal where it is asked, be as an outcome needs; the arguments."""
    arguments = COMMANDS[command]
    if outcome == "none asked":
        return arguments if command.startswith("status") else ("reset", *arguments[4:])
    api.post().mock(return_value=ANSWERS.get(outcome, httpx.Response(200, json=BOTH)))
    succeeded = httpx.Response(200, json={"status": "succeeded"})
    get = api.get().mock(return_value=succeeded)
    if command.startswith("status"):
        exit_code_of("reset", A, B)
    if outcome == "polls not reached":
        get.mock(side_effect=DOWN)
    if outcome == "not reached":  # whatever is tried, and at once
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    return arguments


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("outcome", CODES)
def test_an_outcome_has_its_code_on_every_surface_and_in_every_form(
    api: respx.Router, monkeypatch: pytest.MonkeyPatch, outcome: str, command: str
) -> None:
    code = CODES[outcome][list(COMMANDS).index(command)]
    arguments = prepare(api, monkeypatch, outcome, command)
    for surface, make in SURFACES.items():
        for form in FORMS:
            with Streams() as streams, monkeypatch.context() as patch:
                stdout, stderr = make(streams)
                patch.setattr(sys, "stdin", io.StringIO())
                patch.setattr(sys, "stdout", stdout)
                patch.setattr(sys, "stderr", stderr)
                ended_with = exit_code_of(*arguments, "-o", form)
            gone = surface == "closed pipe" and code in {0, 1, 7}
            case = (surface, form, streams.err.decode())
            assert (ended_with, *case) == (141 if gone else code, *case)
            assert b"Traceback" not in streams.err, case
            assert b"defect" not in streams.err, case
            if form == "json" and surface in WORKING:
                shown = json.loads(streams.out)
                assert ("servers" in shown) == (code not in {2, 5}), case
                assert shown.get("error", {}).get("exit_code", code) == code, case
            elif code not in {2, 5} and surface in WORKING:
                assert A.encode() in streams.out, case
            elif code not in {2, 5} and surface in {"stdout full", "stdout closed"}:
                assert A.encode() in streams.err, case


# --- the installed command on a terminal --------------------------------------------------------

BEHAVIOURS = {
    "all refused": Behaviour(duration=0, refuse=frozenset({A, B})),
    "some refused": Behaviour(duration=0, refuse=frozenset({A})),
    "all unknown": Behaviour(duration=0, lose_answer=True),
    "none left": Behaviour(duration=0),
}


@contextmanager
def served(behaviour: Behaviour) -> Iterator[str]:
    with Server(
        Cloud(behaviour, time.time, Random(1)), port=0, latency=0.0, log=lambda _line: None
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.mark.parametrize("columns", ["80", "40"])
@pytest.mark.parametrize("outcome", BEHAVIOURS)
def test_a_display_decides_nothing(tmp_path: Path, outcome: str, columns: str) -> None:
    user = {"CLC_USERNAME": "demo", "CLC_PASSWORD": "demo"}
    coverage = {k: v for k, v in os.environ.items() if k.startswith("COV")}
    with served(BEHAVIOURS[outcome]) as url:
        ends = [
            Terminal(
                *arguments,
                CLC_BASE_URL=url,
                COLUMNS=columns,
                XDG_STATE_HOME=str(tmp_path),
                **user,
                **coverage,
            ).end()
            for arguments in (
                COMMANDS["reset"],
                COMMANDS["status"],
                ("status", "--wait"),
                ("reset", "--again", A, B, "--wait"),
            )
        ]
    (_, asked) = ends[1]
    if outcome == "none left":
        assert "succeeded" in asked
    assert [code for code, _ in ends] == [CODES[outcome][0]] * 4
    for _, shown in ends:
        assert A in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
        assert "defect" not in shown
        assert "Traceback" not in shown


def test_an_output_is_what_a_report_needs() -> None:
    assert {"results", "note", "error"} <= set(dir(Output))
