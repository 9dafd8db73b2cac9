"""What the journal keeps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import respx

from clc_reset.sandbox.cloud import Cloud
from tests.builders import A
from tests.fakes import Run, refused

Posts = Callable[..., respx.Route]


def test_the_journal_can_be_turned_off(
    clc: Run, posts: Posts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_NO_JOURNAL", "1")
    posts(refused(A))
    clc("reset", A)
    assert not (tmp_path / "clc-reset").exists()


def test_no_secret_is_in_the_journal(
    clc: Run, served: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = served.token()
    monkeypatch.setenv("CLC_TOKEN", token)
    assert clc("reset", A, "VA1ALIASJOB03").exit_code == 1
    kept = b"".join(file.read_bytes() for file in (tmp_path / "clc-reset").iterdir())
    assert A.encode() in kept
    assert not [word for word in (b"eyJ", b"Bearer", token.encode()) if word in kept]
