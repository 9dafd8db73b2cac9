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
from tests.messages import World

SHIPPED = Path(__file__).parents[2] / "completions"


def test_what_is_shipped_is_what_the_command_prints_and_no_more(clc: Run) -> None:
    for shell, file in FILES.items():
        assert clc("completion", shell).stdout == (SHIPPED / file).read_text()
    assert {file.name for file in SHIPPED.iterdir()} - {"man"} == set(FILES.values())


def test_only_what_a_screen_can_show_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.cloud = Cloud(Behaviour(servers=600), time.time, Random(1))
    with world():
        world.run("clc servers")
        world.run("clc reset A")
        offered = world.run("tab 'clc status '").stdout.split()
        assert (len(offered), offered[:2]) == (500, ["plain,wa1-12345", f"plain,{A}"])
        monkeypatch.setattr(completion, "names", lambda *_: ["a\nb", "a\u202eb", "ab"])
        assert world.run("tab 'clc reset -g '").stdout == "plain,ab\n"
