"""Each way to each exit code (`tests/messages.txt`): what it prints, and rules for all of it."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from clc_reset.cli.main import command
from tests.builders import A
from tests.messages import Case, cases

WHAT_WAS_SENT = re.compile(
    r"nothing was|no server was|was sent|was reset\b|were reset\b|wasn't (sent|repeated)",
    re.IGNORECASE,
)
TO_PASTE = re.compile(r"^(?:.*: )?(clc [a-z].*)$", re.MULTILINE)
CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.title}")
def test_each_way_to_an_exit_code_prints_what_the_file_has(tmp_path: Path, case: Case) -> None:
    printed = case.play(tmp_path)
    assert (printed.code, printed.lines(tmp_path).strip("\n")) == (case.code, case.output)
    assert printed.posts == 0 or case.code not in {2, 3}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.title}")
def test_messages_can_be_trusted_and_their_commands_pasted(case: Case) -> None:
    *_, line = case.steps.split(" | ")
    shown = re.sub(r"^\|.*\n?", "", case.output, flags=re.MULTILINE)
    assert not re.search("Traceback|bug in clc", shown)
    if case.code not in {0, 1, 7}:
        assert re.search("^(Error: |Interrupted|Nothing left)", shown, re.MULTILINE)
    if not line.startswith("clc reset"):
        assert not WHAT_WAS_SENT.search(shown)
    elif case.code in {3, 4, 5} and "| " not in case.output:
        assert "No server was reset." in shown
    for pasted in TO_PASTE.findall(shown):
        name, *arguments = shlex.split(pasted.partition(" <")[0])[1:]
        found: click.Command = import_module(f"clc_reset.cli.{name}").command
        parent = click.Context(command, **command.context_settings)  # it caches the names of -h
        found.make_context(name, arguments, parent=parent)
    known = f"{case.output.partition('clc reset')[0]} {A}"  # the hint on how to name servers has A
    for names in re.findall("clc reset ([A-Z].*)", shown):
        assert [name for name in names.split() if name.isalnum() and name not in known] == []
    if "--rest-of" in shown:
        assert line.startswith(("clc reset", "clc status")), line
        assert not re.search("clc status [A-Z]", line), "it resets more than was shown"
