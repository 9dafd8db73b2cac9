"""The scripts for shells, and the most that a Tab press offers; the rest is in messages.txt."""

import time
from pathlib import Path
from random import Random

import pytest

from clc_reset.cli.completion import FILES
from clc_reset.journal import completion
from clc_reset.sandbox.cloud import Behaviour, Cloud
from tests.builders import A
from tests.fakes import Run

SHIPPED = Path(__file__).parents[2] / "completions"


def test_what_is_shipped_is_what_the_command_prints_and_no_more(clc: Run) -> None:
    for shell, file in FILES.items():
        assert clc("completion", shell).stdout == (SHIPPED / file).read_text()
    assert {file.name for file in SHIPPED.iterdir()} - {"man"} == set(FILES.values())


@pytest.mark.parametrize("cloud", [Cloud(Behaviour(servers=600), time.time, Random(1))])
@pytest.mark.usefixtures("as_demo", "served")
def test_only_what_a_screen_can_show_is_offered(clc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clc("servers")
    clc("reset", A)
    monkeypatch.setenv("_CLC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "clc status ")
    monkeypatch.setenv("COMP_CWORD", "2")
    offered = clc().stdout.split()
    assert (len(offered), offered[:2]) == (500, ["plain,wa1-12345", f"plain,{A}"])
    monkeypatch.setattr(completion, "names", lambda *_: ["a\nb", "a\u202eb", "ab"])
    monkeypatch.setenv("COMP_WORDS", "clc reset -g ")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert clc().stdout == "plain,ab\n"
