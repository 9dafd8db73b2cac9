import re
from pathlib import Path

import pytest

from tests import pictures

FILES = sorted(pictures.FOLDER.glob("*.svg"))


def said(name: str) -> list[str]:
    return pictures.words((pictures.FOLDER / f"{name}-light.svg").read_text())


def drawn(shot: pictures.Shot) -> list[str]:
    return pictures.words(shot.as_svg(pictures.LOOKS["light"]))


def test_the_picture_of_a_reset_says_what_a_terminal_shows(tmp_path: Path) -> None:
    """Else: `python -m tests.pictures`."""
    assert said("reset") == drawn(pictures.reset(tmp_path, "1s"))


def test_the_picture_of_a_lost_answer_says_what_a_terminal_shows(tmp_path: Path) -> None:
    """The order in which the sandbox changes the servers, and how many by then, is no matter."""
    shot = pictures.status(tmp_path, "6s", "4")
    assert set(said("status")) == set(drawn(shot))
    assert {"not", "changed", "demo,", "unknown", "6"} <= set(said("status"))


def test_a_row_that_was_erased_and_written_anew_is_seen_once() -> None:
    shown = "one\r\n\x1b[?25ltwo\r\nthree\r\x1b[2K\x1b[1A\x1b[2Kfour\r\nfive\r\n\x1b[?25h"
    assert pictures.remains(shown) == "one\nfour\nfive"


@pytest.mark.parametrize("name", ["reset", "status"])
def test_light_and_dark_say_the_same(name: str) -> None:
    dark = (pictures.FOLDER / f"{name}-dark.svg").read_text()
    assert pictures.words(dark) == said(name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_picture_refers_to_nothing_outside(file: Path) -> None:
    svg = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "<title>clc " in svg
    assert re.findall(r"https?:|href|@import|@font-face|<script|url\([^#]", svg) == []
