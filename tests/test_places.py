from pathlib import Path

import pytest

from clc_reset import places


def test_they_are_where_the_platform_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert places.state() == tmp_path / "state" / "clc-reset"
    assert places.cache() == tmp_path / "cache" / "clc-reset"
