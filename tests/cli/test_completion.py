"""The scripts for shells, and the suggestions for a Tab press."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import respx

from clc_reset.cli.completion import FILES
from clc_reset.cli.main import command
from clc_reset.sandbox.cloud import Behaviour, Cloud
from tests.builders import A, B, C
from tests.fakes import Run, queued, refused, rows

SHIPPED = Path(__file__).parents[2] / "completions"
D1, D2 = "WA1ALIASDB01", "WA1ALIASDB02"

Offer = Callable[[str], list[str]]


@pytest.fixture
def offered(clc: Run, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Press Tab at the end of a line, with no credential, and return the suggestions."""

    def offer(line: str) -> list[str]:
        with monkeypatch.context() as patch:
            patch.delenv("CLC_TOKEN", raising=False)
            patch.setenv("_CLC_COMPLETE", "bash_complete")
            patch.setenv("COMP_WORDS", line)
            patch.setenv("COMP_CWORD", str(line.count(" ")))
            result = clc()
        assert result.stderr == ""
        return [name.removeprefix("plain,") for name in result.stdout.splitlines() if name]

    return offer


def test_what_is_shipped_is_what_the_command_prints_and_no_more(clc: Run) -> None:
    for shell, file in FILES.items():
        assert clc("completion", shell).stdout == (SHIPPED / file).read_text()
    assert {file.name for file in SHIPPED.iterdir()} - {"man"} == set(FILES.values())


@pytest.mark.parametrize(
    ("line", "names"),
    [
        *[(line, sorted(command.commands)) for line in ("clc ", "clc nonsense ")],
        ("clc help ", [*command.commands, "exit-codes"]),
        ("clc help re", ["reset"]),
        ("clc reset -o ", ["table", "tsv", "json"]),
        ("clc completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_tab_offers_commands_topics_and_choices(
    offered: Offer, line: str, names: list[str]
) -> None:
    assert offered(line) == names


@pytest.mark.usefixtures("with_token")
def test_tab_offers_what_was_reset_the_latest_first(
    clc: Run, api_ctl_io: respx.Router, offered: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_ctl_io.post().respond(200, json=[queued(A, "wa1-1")])
    clc("reset", A)
    api_ctl_io.post().respond(200, json=[queued(B, "wa1-2"), refused(C)])
    clc("reset", B, C)
    runs = [row[0] for row in rows(clc("history").stdout)]
    assert offered("clc reset ") == [B, A]  # not the one that was refused
    assert offered("clc status ") == ["wa1-2", "wa1-1", B, A, *runs]
    assert offered("clc reset --rest-of ") == runs
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    assert offered("clc reset ") == []


def test_tab_offers_what_was_listed_and_is_not_on_the_line(
    clc: Run, served: Cloud, as_demo: None, offered: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clc("servers")
    assert offered("clc login -u demo -") != []
    assert offered("clc reset wa1aliasd") == [D1, D2]
    assert offered(f"clc reset {D1.lower()} wa1aliasd") == [D2]
    assert offered(f"clc reset {D1} -n {D2} wa1aliasd") == []
    assert offered("clc reset --group w") == ["WA1 Default Group", "WA1 Web", "WA1 Hardware"]
    assert offered("clc servers -g DAT") == ["Database"]
    assert offered("clc servers -g database -g dat") == []
    for elsewhere in ("https://elsewhere.example", "nonsense"):
        monkeypatch.setenv("CLC_BASE_URL", elsewhere)
        assert offered("clc reset ") == []


@pytest.mark.parametrize("cloud", [Cloud(Behaviour(servers=600), time.time, Random(1))])
def test_no_more_is_offered_than_a_screen_can_show(
    clc: Run, served: Cloud, as_demo: None, offered: Offer
) -> None:
    clc("servers")
    assert len(offered("clc reset ")) == 500
    clc("reset", D1)
    assert offered("clc status ")[:2] == ["wa1-12345", D1]
    assert len(offered("clc status ")) == 500
