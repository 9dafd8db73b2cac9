"""What a Tab press offers."""

from collections.abc import Callable

import pytest
import respx

from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run
from tests.fakes import jwt, queued, rows

A, B, C = "WA1ALIASWB01", "WA1ALIASWB02", "VA1ALIASJOB03"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_TOKEN", jwt())


def latest(clc: Run) -> str:
    """The id of the latest run."""
    return rows(clc("history").stdout)[0][0]


@pytest.fixture
def offered(clc: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What a Tab press offers at the end of a line."""

    def offer(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_CLC_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        result = clc()
        monkeypatch.delenv("_CLC_COMPLETE")
        assert result.stderr == ""
        return [each.removeprefix("plain,") for each in result.stdout.splitlines() if each]

    return offer


def test_tab_offers_what_was_used_the_latest_first(
    clc: Run,
    posts: Callable[..., respx.Route],
    offered: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    older = latest(clc)
    posts(queued(B, "wa1-2"), {"server": C, "isQueued": False})
    clc("reset", B, C)
    newer = latest(clc)
    monkeypatch.delenv("CLC_TOKEN")
    assert offered("clc reset ") == [B, A]  # not the one that was refused
    assert offered(f"clc reset {B.lower()} ") == [A]
    assert offered(f"clc reset {B} -n {A} ") == []
    assert offered("clc reset wa1") == [B, A]
    assert offered("clc status ") == ["wa1-2", "wa1-1", B, A, newer, older]
    assert offered("clc status wa1-2 wa1-") == ["wa1-1"]
    assert offered("clc reset --rest-of ") == [newer, older]
    assert offered("clc status --run ")[1] == older
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    assert offered("clc reset ") == []


def test_tab_offers_what_was_listed(
    clc: Run, served: Cloud, offered: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLC_TOKEN")
    monkeypatch.setenv("CLC_USERNAME", "demo")
    monkeypatch.setenv("CLC_PASSWORD", "demo")
    clc("servers")
    monkeypatch.delenv("CLC_USERNAME")
    assert offered("clc reset wa1aliasd") == ["WA1ALIASDB01", "WA1ALIASDB02"]
    assert offered("clc servers -g DAT") == ["Database"]
    assert offered("clc reset --group w") == ["WA1 Web", "WA1 Hardware"]
    assert offered("clc servers -g Database -g dat") == []


def test_tab_offers_the_topics_of_help(offered: Callable[[str], list[str]]) -> None:
    assert offered("clc help ")[-1] == "exit-codes"
    assert offered("clc help re") == ["reset"]


def test_no_more_is_offered_than_a_screen_can_show(
    clc: Run, posts: Callable[..., respx.Route], offered: Callable[[str], list[str]]
) -> None:
    ids = [f"WA1ALIASN{n:05d}" for n in range(600)]
    posts(*({"server": each, "isQueued": True} for each in ids))
    clc("reset", *ids)
    assert offered("clc reset WA1") == ids[:500]


def test_tab_offers_nothing_where_the_base_url_can_not_be_used_or_the_journal_is_off(
    clc: Run,
    posts: Callable[..., respx.Route],
    offered: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts(queued(A, "wa1-1"))
    clc("reset", A)
    monkeypatch.setenv("CLC_BASE_URL", "nonsense")
    assert offered("clc reset ") == []
    monkeypatch.delenv("CLC_BASE_URL")
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    assert offered("clc reset ") == []
