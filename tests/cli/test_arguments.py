import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clc_reset.cli import arguments
from clc_reset.cli.arguments import names, server_ids
from clc_reset.errors import Interrupted, UsageError
from clc_reset.workers import Inbox
from tests.fakes import Typed


def unread() -> str:
    raise AssertionError


def message(work: Callable[[], object]) -> str:
    """Return message and hint of a usage error, which never says what was sent."""
    with pytest.raises(UsageError) as raised:
        work()
    assert "sent" not in raised.value.hint
    return f"{raised.value.message}\n{raised.value.hint}"


@pytest.mark.parametrize(
    ("given", "text", "ids"),
    [
        (["b", "A", "B", "c"], None, ["B", "A", "B", "C"]),
        (["A", "-", "B", "-"], "\n wb01  c # web\n# none\nd#x\r\n", ["A", "WB01", "C", "D", "B"]),
        # a comment ends at the end of its line only
        (["-"], "A # not \f\v\x1c\x85\u2028 B\rC\n", ["A", "C"]),
        # only the text before a tab is read
        (["-"], "A\tWeb\tWA1\n B C\tx\n\tdone\twa1-1\t\nD # \tx\n", ["A", "B", "C", "D"]),
        # an id with a hyphen need not be a range
        (["WA1ALIAS-WB01", "A-B"], None, ["WA1ALIAS-WB01", "A-B"]),
        (["WA1ALIASWB01-03"], None, ["WA1ALIASWB01-03"]),
    ],
)
def test_ids_are_upper_case_in_the_order_given(
    given: list[str], text: str | None, ids: list[str]
) -> None:
    read = unread if text is None else lambda: text
    assert server_ids(given, read) == ids


def test_a_few_malformed_ids_are_named() -> None:
    many = [f"a{n};" for n in range(1000)] + ["x" * 9999 + "!"]
    shown = message(lambda: server_ids(many, unread))
    assert shown.startswith("Not a server id: 'a0;', 'a1;', 'a2;', 'a3;', 'a4;' and 996 more.\n")
    assert len(message(lambda: server_ids(["x" * 9999 + "!"], unread))) < 200
    assert " and " not in message(lambda: server_ids(many[:5], unread)).partition("\n")[0]
    for name in ("Ä1", "A\u0663"):
        assert name in message(lambda name=name: server_ids([name], unread))  # type: ignore[misc]


def test_the_name_of_a_file_is_answered_with_how_to_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, quoted in (("my servers", "'my servers'"), ("hosts.yml", "hosts.yml")):
        (tmp_path / name).touch()
        shown = message(lambda name=name: server_ids(["A", name], unread))  # type: ignore[misc]
        assert shown.endswith(f"\nTo read ids from a file: clc reset - < {quoted}")


def test_names_keep_their_case_and_come_each_once() -> None:
    assert names(["wa1-1", "-", "VA1-2"], lambda: "wa1-1 va1-3 # x") == ["wa1-1", "va1-3", "VA1-2"]


class Bytes(io.TextIOWrapper):
    """A standard input of these bytes, typed on a terminal or not."""

    def __init__(self, data: bytes, *, typed: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._typed = typed

    def isatty(self) -> bool:
        return self._typed or super().isatty()


def test_on_a_terminal_it_says_that_it_reads_and_how_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Typed()
    for stderr in (screen, None):
        monkeypatch.setattr(sys, "stdin", Bytes("\ufeffA\n".encode(), typed=True))  # with a mark
        monkeypatch.setattr(sys, "stderr", stderr)
        assert arguments.standard_input(Inbox()) == "A\n"
    assert screen.getvalue() == "Reading names from the terminal; end with Ctrl-D on a new line.\n"


CLOSED = Bytes(b"")
CLOSED.close()


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (Bytes(b"\xff\xfe\x00"), "it isn't UTF-8 text"),
        (Bytes(b"A " * 600), "it is larger than 1 KiB"),
        (CLOSED, "can't be read: I/O"),
        (None, "is closed"),
    ],
)
def test_standard_input_that_is_no_list_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, stdin: Bytes | None, reason: str
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert reason in message(lambda: arguments.standard_input(Inbox(), limit=1024))


def test_a_pipe_that_another_program_left_without_blocking_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)
    os.write(sink, b"A1\nA")

    def end() -> None:
        os.write(sink, b"2\n")
        os.close(sink)

    with os.fdopen(source) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        threading.Timer(0.1, end).start()
        assert arguments.standard_input(Inbox()) == "A1\nA2\n"


def test_nothing_is_read_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(b"A", typed=True))
    monkeypatch.setattr(sys, "stderr", screen := Typed())
    inbox = Inbox()
    inbox.interrupt(15)
    with pytest.raises(Interrupted):
        arguments.standard_input(inbox)
    assert screen.getvalue() == "", "a signal ends a write on a stopped terminal, too"


def test_a_password_is_read_without_its_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for data, password in ((b"demo\r\n", "demo"), (b" demo ", " demo ")):
        monkeypatch.setattr(sys, "stdin", Bytes(data))
        assert arguments.password(Inbox()) == password
    monkeypatch.setattr(sys, "stdin", Bytes(b"\r\n"))
    assert "holds no password" in message(lambda: arguments.password(Inbox()))
