from pathlib import Path

import pytest

from clc_reset.cli.completion import FILES
from clc_reset.cli.main import command
from tests.fakes import Run, run_clc

SHIPPED = Path(__file__).parents[2] / "completions"


def test_what_is_shipped_is_what_the_command_prints_and_no_more(clc: Run) -> None:
    for shell, file in FILES.items():
        result = clc("completion", shell)
        assert (result.exit_code, result.stdout) == (0, (SHIPPED / file).read_text())
    assert {file.name for file in SHIPPED.iterdir()} - {"man"} == set(FILES.values())
    assert clc("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("clc ", set(command.commands)),
        ("clc nonsense ", set(command.commands)),
        ("clc reset -o ", {"table", "tsv", "json"}),
        ("clc completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_a_tab_press_offers_commands_and_choices(words: str, offered: set[str]) -> None:
    result = run_clc(
        env={
            "_CLC_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
            "CLC_BASE_URL": "broken",
        }
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert {line.partition(",")[2] for line in result.stdout.split()} == offered
