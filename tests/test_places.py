import sys
from pathlib import Path

import platformdirs
import pytest

from clc_reset import places


def test_on_linux_they_are_where_xdg_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/someone")
    assert places.state() == f"{tmp_path}/state/clc-reset"
    assert places.cache() == "/home/someone/.cache/clc-reset"


@pytest.mark.skipif(sys.platform != "linux", reason="tells of Linux")
@pytest.mark.parametrize("home", ["/elsewhere", ""])
def test_on_linux_they_are_where_platformdirs_has_them(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert places.state() == platformdirs.user_state_dir("clc-reset")
    assert places.cache() == platformdirs.user_cache_dir("clc-reset")


def test_elsewhere_platformdirs_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert places.state() == platformdirs.user_state_dir("clc-reset", appauthor=False)
    assert places.cache() == platformdirs.user_cache_dir("clc-reset", appauthor=False)
