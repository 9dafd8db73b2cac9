"""`clc history`, and what the journal keeps."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import respx

from clc_reset.sandbox.cloud import Cloud
from tests.builders import A, B
from tests.fakes import Run, queued, refused, rows

Posts = Callable[..., respx.Route]


def test_the_journal_can_be_turned_off(
    clc: Run, posts: Posts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    posts(refused(A))
    clc("reset", A)
    assert not (tmp_path / "clc-reset").exists()
    result = clc("history")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The journal is turned off.\nUnset CLC_NO_JOURNAL" in result.stderr


def test_history_lists_the_latest_runs_the_newest_first(
    clc: Run, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts(queued(A, "wa1-1"), refused(B))
    for _ in range(3):
        clc("reset", A, B, "--again")
    runs = json.loads(clc("history", "-n", "2", "-o", "json").stdout)["runs"]
    assert len(runs) == 2
    assert runs[0]["time"] > runs[1]["time"]
    assert runs[0]["servers"] == {"queued": 1, "failed": 1}
    assert (runs[0]["account"], runs[0]["base_url"]) == ("ABCD", "https://api.ctl.io")
    assert len(rows(clc("history").stdout)) == 3
    table = clc("history", "-o", "table").stdout
    assert "ABCD" in table
    assert "https://" not in table  # all are at the API in use
    monkeypatch.setenv("CLC_BASE_URL", "https://elsewhere.example")
    assert "https://api.ctl.io" in clc("history", "-o", "table").stdout


def test_history_tells_the_age_and_the_first_servers(clc: Run, posts: Posts) -> None:
    ids = [f"S{n}" for n in range(4)]
    posts(*map(refused, ids))
    clc("reset", *ids)
    ((_, _, _, servers, _, age, first),) = rows(clc("history").stdout)
    assert (servers, age, first) == ("4 failed", "0 s", "S0, S1, S2, …")
    (run,) = json.loads(clc("history", "-o", "json").stdout)["runs"]
    assert run["first_servers"] == ["S0", "S1", "S2"]


def test_history_of_servers_lists_the_runs_that_have_any(clc: Run, posts: Posts) -> None:
    posts(refused(A), refused(B))
    for servers in ([A], [A, B], [B]):
        clc("reset", *servers)
    assert [row[6] for row in rows(clc("history", A.lower()).stdout)] == [f"{A}, {B}", A]
    assert len(rows(clc("history", "-", "-n", "2", stdin=f"{A} {B}").stdout)) == 2
    assert clc("history", "X").stderr == "The journal has no runs with these servers.\n"


def test_no_secret_is_in_the_journal(
    clc: Run, served: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = served.token()
    monkeypatch.setenv("CLC_TOKEN", token)
    assert clc("reset", A, "VA1ALIASJOB03").exit_code == 1
    kept = b"".join(file.read_bytes() for file in (tmp_path / "clc-reset").iterdir())
    assert A.encode() in kept
    assert not [word for word in (b"eyJ", b"Bearer", token.encode()) if word in kept]
