import io
import sys
from collections.abc import Callable

import click.testing
import httpx
import pytest
import respx

from clc_reset.cli.main import command
from tests.fakes import jwt

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


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of account ABCD, in the environment."""
    token = jwt()
    monkeypatch.setenv("CLC_TOKEN", token)
    return token


@pytest.fixture
def posts(with_token: str, api_ctl_io: respx.Router) -> Callable[..., respx.Route]:
    """Let a reset be answered by these entities."""
    return lambda *entities: api_ctl_io.post().respond(200, json=entities)


@pytest.fixture
def statuses(with_token: str, api_ctl_io: respx.Router) -> Callable[..., respx.Route]:
    """Let an operation be answered by these words, the last one for ever."""

    def answer(operation: str, *words: str | int, alias: str = "abcd") -> respx.Route:
        left = list(words)

        def next_word(_request: httpx.Request) -> httpx.Response:
            word = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(word, int):
                return httpx.Response(word)
            return httpx.Response(200, json={"status": word})

        path = f"(?i)/v2/operations/{alias}/status/{operation}$"
        return api_ctl_io.get(url__regex=path).mock(side_effect=next_word)

    return answer
