"""Each way to each exit code (`python -m tests.messages`): its code, and rules for its messages."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from clc_reset.cli.main import command
from tests.messages import CASES, Case, Printed, World

WHAT_WAS_SENT = re.compile(
    r"nothing was|no server was|was sent|was reset\b|were reset\b|wasn't (sent|repeated)",
    re.IGNORECASE,
)
TO_PASTE = re.compile(r"^(?:.*: )?(clc [a-z].*)$", re.MULTILINE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.title}")
def test_each_way_has_its_exit_code_a_reason_and_advice_that_can_be_pasted(
    tmp_path: Path, case: Case
) -> None:
    with World(tmp_path)() as world:
        printed = case.play(world)
    assert printed.code == case.code, printed
    assert not re.search("Traceback|bug in clc", printed.stdout + printed.stderr)
    if case.code not in {0, 1, 7}:
        assert re.search("^(Error: |Interrupted|Nothing left)", printed.stderr, re.MULTILINE)
    assert case.code == 0 or printed.stdout or printed.stderr
    if not printed.line.startswith("clc reset"):
        assert not WHAT_WAS_SENT.search(printed.stderr), printed.stderr
    elif case.code in {3, 4, 5} and not printed.stdout:
        assert "No server was reset." in printed.stderr
    each_command_is_understood(printed)
    no_other_server_is_named(printed)


def each_command_is_understood(printed: Printed) -> None:
    for line in TO_PASTE.findall(printed.stderr):
        name, *arguments = shlex.split(line.partition(" <")[0])[1:]
        assert name in command.commands
        found: click.Command = import_module(f"clc_reset.cli.{name}").command
        parent = click.Context(command, **command.context_settings)  # it caches the names of -h
        found.make_context(name, arguments, parent=parent)


def no_other_server_is_named(printed: Printed) -> None:
    shown = printed.line + printed.stdout + printed.stderr.partition("clc reset")[0]
    for line in re.findall(r"clc reset ((?!--rest-of|-).*)", printed.stderr):
        names = {word for word in line.split() if re.fullmatch("[A-Z0-9]+ALIAS[A-Z0-9]+", word)}
        assert not {name for name in names if name not in shown} - {"WA1ALIASWB01"}
    if "--rest-of" in printed.stderr:
        assert printed.line.startswith(("clc reset", "clc status")), printed
        assert not re.search("clc status [A-Z]", printed.line), "it resets more than was shown"
