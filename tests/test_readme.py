import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from clc_reset.cli import exit_codes
from clc_reset.cli.main import command
from clc_reset.errors import (
    INTERNAL,
    INTERRUPTED,
    OUTCOME_UNKNOWN,
    STOPPED,
    TIME_LIMIT,
    ClcError,
)
from tests.fakes import Terminal, run_clc

README = (Path(__file__).parents[1] / "README.md").read_text()
SOURCES = Path(__file__).parents[1] / "clc_reset"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def screens() -> dict[str, str]:
    """Commands, and what the README shows that they print."""
    shown = (block.removeprefix("$ ").partition("\n") for block in blocks("console"))
    return {words: screen for words, _, screen in shown}


@pytest.mark.parametrize("words", [each for each in screens() if each.endswith("-h")])
def test_the_help_is_the_programs(words: str) -> None:
    shown = run_clc(*words.split()[1:], env={"COLUMNS": "80"}).stdout
    assert shown == screens()[words]


@pytest.mark.parametrize("words", [each for each in screens() if not each.endswith("-h")])
def test_a_screen_is_what_a_terminal_shows_in_the_end(words: str) -> None:
    variables = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "80"}
    _, shown = Terminal("sandbox", "--duration", "300ms", *words.split(), **variables).end()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert shown.replace("\r\n", "\n") == screens()[words]


def test_the_question_is_the_programs() -> None:
    (block,) = (each for each in blocks("text") if each.startswith("$ "))
    words, _, screen = block.removeprefix("$ ").partition("\n")
    terminal = Terminal("sandbox", *shlex.split(words), PATH=os.environ["PATH"])
    terminal.read_until(b"[y/N] ")
    os.write(terminal.screen, b"n\n")
    assert terminal.end() == (1, screen.replace("\n", "\r\n"))


def test_the_exit_codes_are_the_programs() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    table = [(str(each.code), each.meaning, each.was_reset) for each in exit_codes.TABLE]
    assert rows == table


def test_the_json_is_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result, members, runs, error = map(_without_what_varies, blocks("json"))
    both = (
        "clc reset WA1ALIASWB01 VA1ALIASJOB03 -o json > reset.json; clc history -o json > runs.json"
    )
    run_clc("sandbox", "sh", "-c", both)
    assert result == _without_what_varies(Path("reset.json").read_text())
    assert runs == _without_what_varies(Path("runs.json").read_text())
    printed = run_clc("sandbox", "clc", "servers", "-g", "Nightly", "-o", "json").stdout
    assert members == _without_what_varies(printed)
    printed = run_clc("sandbox", "--expired-token", "clc", "reset", "A", "-o", "json").stdout
    assert error == _without_what_varies(printed)


def _without_what_varies(text: str) -> object:
    """JSON less its times, the runs' names and the sandbox's address."""
    instant = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9.]+\+00:00)?"
    text = re.sub(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}", "RUN", re.sub(instant, "TIME", text))
    return json.loads(re.sub(r"https?://(127\.0\.0\.1:[0-9]+|api\.ctl\.io)", "API", text))


def test_each_command_in_it_is_one_that_can_be_given() -> None:
    """Commands of `sh` blocks that reset or ask nothing by themselves are tried with -h after."""
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for words in re.findall(r"\bclc ((?:[a-z]+)(?: [^|<>#)&]*)?)", line):
                asked = _words(words)
                result = (
                    run_clc(*asked, "-h") if asked[0] != "sandbox" else run_clc("sandbox", "-h")
                )
                assert result.returncode == 0, line
                known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", result.stdout))
                assert {each for each in asked if re.fullmatch(r"--?[a-z-]+", each)} <= known, line


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark that belongs to the line around it
        return text.replace('"', "").split()


def test_every_link_within_it_leads_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {each.lower().replace(" ", "-") for each in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
    for path in re.findall(r'(?:src|srcset)="([^"]+)"|\]\((\.[^)]+)\)', README):
        assert (Path(__file__).parents[1] / "".join(path)).is_file()


def test_every_command_is_shown() -> None:
    assert [name for name in command.commands if f"clc {name}" not in README] == []


def test_every_environment_variable_is_documented() -> None:
    used = {
        name
        for file in SOURCES.rglob("*.py")
        for name in re.findall(r"\"(CLC_[A-Z_]+|SSL_CERT_FILE)\"", file.read_text())
    }
    assert {name for name in used if f"`{name}`" not in README} == set()


def test_every_kind_of_error_is_documented() -> None:
    kinds = {kind.kind for kind in subclasses(ClcError)} - {"error"}
    paragraph = README.partition("`kind` is one of")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`([a-z_]+)`", paragraph))
    assert documented == kinds | {INTERNAL, INTERRUPTED, OUTCOME_UNKNOWN, STOPPED, TIME_LIMIT}


def subclasses(kind: type[ClcError]) -> Iterator[type[ClcError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)
