from pathlib import Path

import pytest

from clc_reset.cli.main import command
from tests.fakes import Run, run_clc

FILES = {"bash": "clc.bash", "zsh": "_clc", "fish": "clc.fish"}
SHIPPED = Path(__file__).parents[2] / "completions"


@pytest.mark.parametrize("shell", FILES)
def test_what_is_shipped_is_what_the_command_prints(clc: Run, shell: str) -> None:
    result = clc("completion", shell)
    assert result.exit_code == 0
    assert result.stdout == (SHIPPED / FILES[shell]).read_text()


def test_nothing_else_is_shipped() -> None:
    assert {file.name for file in SHIPPED.iterdir()} - {"man"} == set(FILES.values())


def test_another_shell_is_a_usage_error(clc: Run) -> None:
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
