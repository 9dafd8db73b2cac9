import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clc_reset.cli.main import command
from tests import manuals

PAGES = {file.name: file.read_text() for file in sorted(manuals.FOLDER.iterdir())}


def test_the_pages_are_current() -> None:
    """If it fails: `python -m tests.manuals`."""
    made = {name: manuals.undated(page) for name, page in manuals.pages("2026-01-15").items()}
    assert {name: manuals.undated(page) for name, page in PAGES.items()} == made


def test_there_is_a_page_for_each_command() -> None:
    assert set(PAGES) == {"clc.1", *(f"clc-{name}.1" for name in command.commands)}


def test_only_a_page_whose_text_has_changed_is_written(tmp_path: Path) -> None:
    assert manuals.write(tmp_path, "2026-01-15") == list(manuals.pages(""))
    assert manuals.write(tmp_path, "2026-01-16") == []
    file = tmp_path / "clc-logout.1"
    file.write_text(file.read_text().replace("Delete", "Keep"))
    assert manuals.write(tmp_path, "2026-01-16") == ["clc-logout.1"]
    assert '"CLC-LOGOUT" "1" "2026-01-16"' in file.read_text()


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc isn't installed")
def test_mandoc_reports_nothing() -> None:
    assert printed("mandoc", "-Tlint", *map(str, manuals.FOLDER.iterdir())) == ""


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff isn't installed")
@pytest.mark.parametrize("name", PAGES)
def test_groff_reports_nothing(name: str) -> None:
    page = str(manuals.FOLDER / name)
    assert printed("groff", "-Kutf8", "-man", "-ww", "-Tutf8", "-z", page) == ""


def printed(*words: str) -> str:
    result = subprocess.run(
        words, capture_output=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    return (result.stdout + result.stderr).decode()
