import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clc_reset.cli import exit_codes
from clc_reset.cli.main import command
from clc_reset.errors import INTERNAL, INTERRUPTED, OUTCOME_UNKNOWN, TIME_LIMIT, ClcError
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
    _, border, table = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).partition("╭")
    assert (border + table).replace("\r\n", "\n") == screens()[words]


def test_the_question_is_the_programs() -> None:
    (block,) = (each for each in blocks("text") if each.startswith("$ "))
    words, _, screen = block.removeprefix("$ ").partition("\n")
    terminal = Terminal("sandbox", *words.split(), PATH=os.environ["PATH"])
    terminal.read_until(b"[y/N] ")
    os.write(terminal.screen, b"n\n")
    assert terminal.end() == (1, screen.replace("\n", "\r\n"))


def test_the_exit_codes_are_the_programs() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    table = [(str(each.code), each.meaning, each.was_reset) for each in exit_codes.TABLE]
    assert rows == table


def test_the_json_is_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result, members, runs, error = blocks("json")
    both = (
        "clc reset WA1ALIASWB01 VA1ALIASJOB03 -o json > reset.json; clc history -o json > runs.json"
    )
    run_clc("sandbox", "sh", "-c", both)
    assert json.loads(result) == json.loads(Path("reset.json").read_text())
    ((shown,),) = json.loads(runs).values()
    ((kept,),) = json.loads(Path("runs.json").read_text()).values()
    assert kept | {name: shown[name] for name in ("run", "time", "base_url")} == shown
    assert [len(kept[name]) for name in ("run", "time")] == [
        len(shown[name]) for name in ("run", "time")
    ]
    printed = run_clc("sandbox", "clc", "servers", "-g", "Nightly", "-o", "json").stdout
    assert json.loads(members) == json.loads(printed)
    printed = run_clc("sandbox", "--expired-token", "clc", "reset", "A", "-o", "json").stdout
    date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}")
    assert json.loads(date.sub("DATE", error)) == json.loads(date.sub("DATE", printed))


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
    kinds = {kind.kind for kind in subclasses(ClcError)} - {"error", "output"}
    paragraph = README.partition("`kind` is one of")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`([a-z_]+)`", paragraph))
    assert documented == kinds | {INTERNAL, INTERRUPTED, OUTCOME_UNKNOWN, TIME_LIMIT}


def subclasses(kind: type[ClcError]) -> Iterator[type[ClcError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)
