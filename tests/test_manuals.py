import shutil
import subprocess

import pytest

from tests import manuals


def test_the_pages_are_current() -> None:
    """If it fails: `python -m tests.manuals`."""
    made = {name: manuals.undated(page) for name, page in manuals.pages("2026-01-15").items()}
    pages = {file.name: manuals.undated(file.read_text()) for file in manuals.FOLDER.iterdir()}
    assert pages == made


@pytest.mark.parametrize("line", ["mandoc -Tlint", "groff -Kutf8 -man -ww -Tutf8 -z"])
def test_a_formatter_reports_nothing(line: str) -> None:
    program, *options = line.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} isn't installed")
    words = [program, *options, *map(str, manuals.FOLDER.iterdir())]
    result = subprocess.run(words, capture_output=True, check=False, timeout=60)
    assert (result.stdout + result.stderr).decode() == ""
