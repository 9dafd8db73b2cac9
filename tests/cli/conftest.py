from collections.abc import Callable

import click.testing
import pytest

from clc_reset.cli.main import command

Run = Callable[..., click.testing.Result]


@pytest.fixture
def clc() -> Run:
    """Run `clc` in this process, its standard output and error in pipes."""

    def run(*arguments: str, stdin: str | bytes = "") -> click.testing.Result:
        return click.testing.CliRunner().invoke(command, arguments, input=stdin)

    return run


@pytest.fixture
def as_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandbox's user be the one of the environment."""
    monkeypatch.setenv("CLC_USERNAME", "demo")
    monkeypatch.setenv("CLC_PASSWORD", "demo")
