import io
import sys
from collections.abc import Callable

import click.testing
import pytest

from clc_reset.cli.main import command

Run = Callable[..., click.testing.Result]


class Typed(io.StringIO):
    """A terminal on which somebody types."""

    def isatty(self) -> bool:
        return True


def exit_code_of(*arguments: str) -> object:
    """The exit code of `clc`, run in this process on the standard streams that there are."""
    with pytest.raises(SystemExit) as ended:
        command(list(arguments))
    return ended.value.code


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


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Typed]:
    """Let standard input be what somebody types on a terminal; returns what that shows."""

    def at(text: str) -> Typed:
        screen = Typed()
        monkeypatch.setattr(sys, "stdin", Typed(text))
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return at
