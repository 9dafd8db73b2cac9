from collections.abc import Iterator
from pathlib import Path

import pytest

from clc_reset.commands.reset import screenful
from tests.builders import FAR, A, B
from tests.fakes import rows, run_clc
from tests.messages import World, pipe


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path)() as world:
        yield world


def were_reset(world: World) -> list[str]:
    return [server.id for server in world.cloud.servers.values() if server.resets]


FEW = dict.fromkeys((f"WA1ALIASN{n:05d}" for n in range(9)), "WA1 Web")
MANY = {f"S{n:05d}": f"WA1 Group {n // 100}" for n in range(10_000)}


@pytest.mark.parametrize(
    ("places", "width", "height", "words"),
    [
        (FEW, 80, 24, [2, 4, 4, 1]),
        (FEW, 66, 24, [2, 4, 4, 1]),
        (FEW, 65, 24, [2, 3, 3, 3]),
        (FEW, 1, 99, [0, *[1] * 9]),
        (FEW, 80, 5, [2, 4]),
        ({"S1": "WA1 " + "x" * 500}, 80, 24, [2, 1]),
        ({"S1": "WA1 Web"}, 80, 0, [4]),
        (MANY, 80, 24, [3, *[9] * 11, 1, 3, *[9] * 6, 4]),
    ],
)
def test_the_screen_has_as_many_servers_as_fit_and_the_number_of_the_others(
    places: dict[str, str], width: int, height: int, words: list[int]
) -> None:
    lines = screenful(places, width, height)
    assert [len(line.split()) for line in lines] == words
    assert width == 1 or max(map(len, lines)) <= width
    more = len(places) - sum(len(line.split()) for line in lines if line.startswith("    "))
    assert not more or lines[-1] == f"  and {more:,} more server{'s' * (more > 1)}"


def test_a_check_in_a_folder_that_is_gone_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = world.run("clc reset A --check true")
    assert (result.code, were_reset(world)) == (2, [])
    assert result.stderr == (
        "Error: --check can't be run in the working directory: No such file or directory. "
        "No server was reset.\nChange to a folder that exists.\n"
    )


def test_what_servers_and_reset_and_status_print_can_be_piped_back(world: World) -> None:
    two = ["VA1ALIASWB01", "VA1ALIASWB02"]
    lines = world.run("clc servers").stdout.splitlines()[:2]
    for command in ("reset -", "status -", "servers -", "reset -n -"):
        world.stdin = pipe("\n".join(lines))
        lines = world.run(f"clc {command}").stdout.splitlines()
        assert [row[0] for row in rows("\n".join(lines))] == two
    world.stdin = pipe(world.run("clc history").stdout)
    assert world.run("clc status -").code == 0
    assert were_reset(world) == two


@pytest.mark.parametrize(
    "line", ["servers -o table", "servers -o json", "history", "status -o json"]
)
def test_what_is_no_list_of_servers_is_not_taken_for_one(world: World, line: str) -> None:
    world.run("clc reset A")
    printed = world.run(f"clc {line}").stdout
    assert printed
    world.stdin = pipe(printed)
    assert world.run("clc reset - --again").code == 2
    assert were_reset(world) == [A]


def test_the_faults_of_the_sandbox_are_told_as_what_they_are() -> None:
    faults = f"--servers 10000 --latency 20ms --flaky 0.3 --refuse {A.lower()} --fail {B.lower()}"
    line = f"sandbox --duration 300ms {faults} clc reset {FAR} {A} {B} --wait -o tsv"
    result = run_clc(*line.split())
    assert result.returncode == 1
    states = [(row[1], bool(row[2])) for row in rows(result.stdout)]
    assert states == [("succeeded", True), ("failed", False), ("failed", True)]
    assert "Traceback" not in result.stderr
