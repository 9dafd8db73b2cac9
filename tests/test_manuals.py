import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import manuals


def test_the_pages_are_current() -> None:
    """If it fails: `python -m tests.manuals`."""
    made = {name: manuals.undated(page) for name, page in manuals.pages("2026-01-15").items()}
    pages = {file.name: manuals.undated(file.read_text()) for file in manuals.FOLDER.iterdir()}
    assert pages == made


def test_only_a_page_whose_text_has_changed_is_written(tmp_path: Path) -> None:
    assert manuals.write(tmp_path, "2026-01-15") == list(manuals.pages(""))
    assert manuals.write(tmp_path, "2026-01-16") == []
    file = tmp_path / "clc-logout.1"
    file.write_text(file.read_text().replace("Delete", "Keep"))
    assert manuals.write(tmp_path, "2026-01-16") == ["clc-logout.1"]
    assert '"CLC-LOGOUT" "1" "2026-01-16"' in file.read_text()


@pytest.mark.parametrize("line", ["mandoc -Tlint", "groff -Kutf8 -man -ww -Tutf8 -z"])
def test_a_formatter_reports_nothing(line: str) -> None:
    program, *options = line.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} isn't installed")
    words = [program, *options, *map(str, manuals.FOLDER.iterdir())]
    env = {"PATH": os.environ["PATH"]}
    result = subprocess.run(words, capture_output=True, check=False, timeout=60, env=env)
    assert (result.stdout + result.stderr).decode() == ""
