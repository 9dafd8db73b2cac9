from pathlib import Path

import pytest

from clc_reset.commands.reset import screenful
from clc_reset.sandbox.cloud import Cloud
from tests.builders import FAR, A, B
from tests.fakes import Run, rows, run_clc


def were_reset(cloud: Cloud) -> list[str]:
    return [server.id for server in cloud.servers.values() if server.resets]


FEW = dict.fromkeys((f"WA1ALIASN{n:05d}" for n in range(9)), "WA1 Web")
MANY = {f"S{n:05d}": f"WA1 Group {n // 100}" for n in range(10_000)}


@pytest.mark.parametrize(
    ("places", "width", "height", "words"),
    [
        (FEW, 80, 24, [2, 4, 4, 1]),
        (FEW, 66, 24, [2, 4, 4, 1]),
        (FEW, 65, 24, [2, 3, 3, 3]),
        (FEW, 1, 99, [0, *[1] * 9]),
        (FEW, 80, 5, [2]),
        ({"S1": "WA1 " + "x" * 500}, 80, 24, [2, 1]),
        ({"S1": "WA1 Web"}, 80, 0, []),
        (MANY, 80, 24, None),
    ],
)
def test_the_screen_has_as_many_servers_as_fit_and_the_number_of_the_others(
    places: dict[str, str], width: int, height: int, words: list[int] | None
) -> None:
    *lines, last = screenful(places, width, height)
    named = sum(len(line.split()) for line in [*lines, last] if line.startswith("    "))
    if named < len(places):
        more = len(places) - named
        assert last == f"  and {more:,} more server" + "s" * (more > 1)
        assert len(lines) == max(0, height - 4)
    else:
        lines.append(last)
    assert words is None or [len(line.split()) for line in lines] == words
    assert width == 1 or max(map(len, lines), default=0) <= width


@pytest.mark.usefixtures("as_demo")
def test_a_check_in_a_folder_that_is_gone_is_refused_before_anything_is_sent(
    clc: Run, served: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = clc("reset", A, "--check", "true")
    assert (result.exit_code, were_reset(served)) == (2, [])
    assert result.stderr == (
        "Error: --check can't be run in the working directory: No such file or directory. "
        "No server was reset.\nChange to a folder that exists.\n"
    )


@pytest.mark.usefixtures("as_demo")
def test_what_servers_and_reset_and_status_print_can_be_piped_back(clc: Run, served: Cloud) -> None:
    two = ["VA1ALIASWB01", "VA1ALIASWB02"]
    listed = clc("servers").stdout
    reset = clc("reset", "-", stdin="".join(listed.splitlines(keepends=True)[:2])).stdout
    status = clc("status", "-", stdin=reset).stdout
    assert [row[0] for row in rows(reset)] == [row[0] for row in rows(status)] == two
    for printed in (reset, status, clc("servers", *two).stdout):
        assert [row[0] for row in rows(clc("reset", "-n", "-", stdin=printed).stdout)] == two
    assert were_reset(served) == two


@pytest.mark.parametrize(
    "line", ["servers -o table", "servers -o json", "history", "status -o json"]
)
@pytest.mark.usefixtures("as_demo")
def test_what_is_no_list_of_servers_is_not_taken_for_one(
    clc: Run, served: Cloud, line: str
) -> None:
    clc("reset", A)
    printed = clc(*line.split()).stdout
    assert printed
    assert line != "history" or clc("status", "-", stdin=printed).exit_code == 7
    assert clc("reset", "-", "--again", stdin=printed).exit_code == 2
    assert were_reset(served) == [A]


def test_the_faults_of_the_sandbox_are_told_as_what_they_are() -> None:
    faults = f"--servers 10000 --latency 20ms --flaky 0.3 --refuse {A.lower()} --fail {B.lower()}"
    line = f"sandbox --duration 300ms {faults} clc reset {FAR} {A} {B} --wait -o tsv"
    result = run_clc(*line.split())
    assert result.returncode == 1
    states = [(row[1], bool(row[2])) for row in rows(result.stdout)]
    assert states == [("succeeded", True), ("failed", False), ("failed", True)]
    assert "Traceback" not in result.stderr
