"""Reads what a user hands over: standard input, files, answers to prompts.

Raises UsageError for what can't be read, AuthenticationError where it is a secret's file.
"""

import sys
from collections.abc import Callable
from typing import BinaryIO

from clc_reset.cli.app import App, is_terminal
from clc_reset.errors import AuthenticationError, UsageError

LARGEST_SECRET = 64 * 1024
LARGEST_LIST = 16 * 2**20


def standard_input(limit: int) -> str:
    """All of standard input, `limit` bytes at the most."""
    stdin = sys.stdin
    if stdin is None:
        raise UsageError("Standard input is closed.", hint="Nothing was sent.")
    try:
        return _text(stdin.buffer, limit)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Standard input can't be read: {_reason(error)}.", hint="Nothing was sent."
        ) from error


def secret_file(path: str, variable: str) -> str:
    """What is in the file that an environment variable names."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a pipe such as /dev/fd/63 will do, too
            text = _text(file, LARGEST_SECRET)
    except (OSError, ValueError) as error:
        named = path if "/" in path else "a file"  # it may be the secret itself
        raise AuthenticationError(
            f"{variable} names {named}, which can't be read: {_reason(error)}.",
            hint=f"Correct or unset {variable}. Nothing was sent.",
        ) from error
    if not text.strip():
        raise AuthenticationError(
            f"{variable} names {path}, which is empty.",
            hint=f"Correct or unset {variable}. Nothing was sent.",
        )
    return text


def password_from_standard_input() -> str:
    """The password in standard input, less the end of its line."""
    password = without_line_end(standard_input(LARGEST_SECRET))
    if not password:
        raise UsageError("Standard input holds no password.", hint="Nothing was sent.")
    return password


def without_line_end(text: str) -> str:
    """The text less one line end at its end: a password may begin or end with a blank."""
    return text.removesuffix("\n").removesuffix("\r")


def ask(app: App, what: str, otherwise: str, *, hidden: bool = False) -> str:
    """Ask on the terminal, on standard error; `otherwise` says how to do without one."""
    import getpass  # noqa: PLC0415 - most commands ask nothing

    require_terminal(f"the {what}", otherwise)
    prompt = f"{what.capitalize()}: "
    try:
        answer = _answer(
            app,
            lambda: getpass.getpass(prompt, stream=sys.stderr) if hidden else _line(prompt),
        )
    except UnicodeError:
        raise UsageError(
            f"The {what} can't be read in this terminal's encoding.", hint=otherwise
        ) from None
    if not answer:
        raise UsageError(f"No {what} was given.", hint="Nothing was sent.")
    return answer


def require_terminal(what: str, otherwise: str) -> None:
    """Raise UsageError where nobody can be asked; `otherwise` says how to do without."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError(f"There is no terminal to ask for {what} on.", hint=otherwise)


def confirm(app: App, question: str) -> bool:
    """Ask on the terminal, on standard error. Only `y` and `yes` are a yes."""
    try:
        return _answer(app, lambda: _line(f"{question} [y/N] ")).lower() in {"y", "yes"}
    except UnicodeError:
        return False


def _answer(app: App, read: Callable[[], str]) -> str:
    """What is typed, empty at the end of input; the line of the prompt is left in any case."""
    try:
        return read()
    except EOFError:
        app.output.note("")
        return ""
    except (KeyboardInterrupt, UnicodeError):
        app.output.note("")
        raise


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _text(file: BinaryIO, limit: int) -> str:
    data = file.read(limit + 1)
    if len(data) > limit:
        reason = f"it is larger than {limit >> 10} KiB"
        raise ValueError(reason)
    return data.decode("utf-8-sig")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
