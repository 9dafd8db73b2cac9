import pytest

from clc_reset.cli.completion import SCRIPTS
from clc_reset.cli.main import command
from tests.fakes import Run, run_clc


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_that_is_installed_is_printed(clc: Run, shell: str) -> None:
    result = clc("completion", shell)
    assert (result.exit_code, result.stdout) == (0, SCRIPTS[shell].read_text())


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
