import re

import pytest

from clc_reset.cli.main import command
from clc_reset.exit_codes import ExitCode
from tests.fakes import Run


def test_without_a_topic_it_is_the_programs_help(clc: Run) -> None:
    assert clc("help").stdout == clc("--help").stdout


@pytest.mark.parametrize("name", command.commands)
def test_of_a_command_it_is_that_ones(clc: Run, name: str) -> None:
    result = clc("help", name)
    assert (result.exit_code, result.stdout) == (0, clc(name, "--help").stdout)


def test_it_says_what_the_exit_codes_mean(clc: Run) -> None:
    result = clc("help", "exit-codes")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    shown = re.sub(r"\s+", " ", result.stdout)
    for code in ExitCode:
        assert f" {code:d} {code.meaning} ({code.was_reset})" in shown


def test_another_topic_is_a_usage_error(clc: Run) -> None:
    result = clc("help", "nonsense")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'nonsense'." in result.stderr
