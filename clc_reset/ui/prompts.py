"""Questions, asked on a terminal: they are shown on standard error, and answered by typing."""

from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from clc_reset.errors import Interrupted, UsageError
from clc_reset.threads import Stop
from clc_reset.ui.output import is_terminal


class Prompts:
    """Asks on the standard streams; a closed one is None. A signal ends a question.

    Raises Interrupted.
    """

    def __init__(self, stdin: TextIO | None, stderr: TextIO | None, stop: Stop) -> None:
        self._stdin = stdin
        self._stderr = stderr
        self._stop = stop

    def require_terminal(self, what: str, otherwise: str) -> None:
        """Raise UsageError if nobody can be asked; `otherwise` says how to do without."""
        if not (is_terminal(self._stdin) and is_terminal(self._stderr)):
            raise UsageError(f"There is no terminal to ask for {what} on.", hint=otherwise)

    def ask(self, what: str, otherwise: str, *, hidden: bool = False) -> str:
        """Ask for something that has to be given. Raises UsageError if it isn't.

        `otherwise` says how to do without a terminal.
        """
        self.require_terminal(f"the {what}", otherwise)
        prompt = f"{what.capitalize()}: "
        try:
            answer = self._answer(lambda: self._hidden(prompt) if hidden else self._line(prompt))
        except UnicodeError:
            raise UsageError(
                f"The {what} can't be read in this terminal's encoding.", hint=otherwise
            ) from None
        if not answer:
            raise UsageError(f"No {what} was given.", hint="Nothing was sent.")
        return answer

    def confirm(self, question: str) -> bool:
        """Whether the answer is yes: `y` or `yes`, typed after the question was shown."""
        self._forget_what_was_typed()
        try:
            return self._answer(lambda: self._line(f"{question} [y/N] ")).lower() in {"y", "yes"}
        except UnicodeError:
            return False

    def _answer(self, read: Callable[[], str]) -> str:
        """What is typed, empty at the end of input; the prompt's line is left in any case."""
        try:
            with self._stop.blocking():
                return read()
        except (UnicodeError, Interrupted):
            self._leave_line()
            raise
        except (EOFError, OSError, ValueError):  # the end of input, or of the terminal
            self._leave_line()
            return ""

    def _line(self, prompt: str) -> str:
        self._show(prompt)
        line = self._stdin.readline() if self._stdin is not None else ""
        if not line:
            raise EOFError
        return line.strip()

    def _hidden(self, prompt: str) -> str:
        import getpass

        return getpass.getpass(prompt, stream=self._stderr)

    def _show(self, text: str) -> None:
        if self._stderr is not None:
            self._stderr.write(text)
            self._stderr.flush()

    def _leave_line(self) -> None:
        with suppress(OSError, ValueError):
            self._show("\n")

    def _forget_what_was_typed(self) -> None:
        import termios

        with suppress(OSError, ValueError, AttributeError, termios.error):
            termios.tcflush(self._stdin.fileno(), termios.TCIFLUSH)  # type: ignore[union-attr]
