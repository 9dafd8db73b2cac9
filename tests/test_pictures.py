import re
from pathlib import Path

import pytest

from tests import pictures


def text_of(name: str) -> list[str]:
    return pictures.words((pictures.FOLDER / f"{name}-light.svg").read_text())


def text_now(shot: pictures.Shot) -> list[str]:
    return pictures.words(shot.as_svg(pictures.LOOKS["light"]))


def test_the_picture_of_a_reset_is_current(tmp_path: Path) -> None:
    """If it fails: `python -m tests.pictures`."""
    assert text_of("reset") == text_now(pictures.reset(tmp_path, "1s"))


def test_the_picture_of_a_lost_answer_is_current(tmp_path: Path) -> None:
    """The order in which the sandbox resets the servers, and how many by then, may differ."""
    shot = pictures.status(tmp_path, "6s", "4")
    assert set(text_of("status")) == set(text_now(shot))
    assert {"yet", "after", "unknown", "6"} <= set(text_of("status"))


@pytest.mark.parametrize("name", ["reset", "status"])
def test_light_and_dark_have_the_same_text_and_refer_to_nothing_outside(name: str) -> None:
    looks = [(pictures.FOLDER / f"{name}-{look}.svg").read_text() for look in pictures.LOOKS]
    assert [pictures.words(svg) for svg in looks] == [text_of(name)] * 2
    for svg in looks:
        own = svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "<title>clc " in own
        assert re.findall(r"https?:|href|@import|@font-face|<script|url\([^#]", own) == []
