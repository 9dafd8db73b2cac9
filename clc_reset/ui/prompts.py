"""Questions, asked on a terminal: they are shown on standard error, and answered by typing."""

import termios
from contextlib import suppress

from clc_reset.errors import Interrupted, UsageError
from clc_reset.terminal import hide_input, settings_restored, wait_for_foreground
from clc_reset.ui.outlet import wait_on, write_whole
from clc_reset.ui.streams import Streams, is_terminal
from clc_reset.workers import Inbox

NOTE_SECONDS = 2.0
"""Time for notes to get onto the terminal before a question is shown."""


class Prompts:
    """Asks on the standard streams. A signal ends a question: it raises Interrupted.

    A question is shown again after Ctrl-Z and `fg`; the settings of the terminal are the same
    afterwards, however the question ends.
    """

    def __init__(self, streams: Streams, inbox: Inbox) -> None:
        self._streams = streams
        self._inbox = inbox

    @property
    def can_ask(self) -> bool:
        """Return whether there is a terminal to ask on."""
        return is_terminal(self._streams.stdin) and is_terminal(self._streams.stderr)

    def require_terminal(self, what: str, otherwise: str) -> None:
        """Raise UsageError if nobody can be asked; `otherwise` says how to do without."""
        if not self.can_ask:
            raise UsageError(f"There is no terminal to ask for {what} on.", hint=otherwise)

    def ask(self, what: str, otherwise: str, *, hidden: bool = False) -> str:
        """Return the answer to a question, the password's not shown and not stripped.

        Raises UsageError if there is none; `otherwise` says how to do without a terminal.
        """
        self.require_terminal(f"the {what}", otherwise)
        try:
            answer = self._answer(f"{what.capitalize()}: ", hidden=hidden)
        except UnicodeError:
            raise UsageError(
                f"The {what} can't be read in this terminal's encoding.", hint=otherwise
            ) from None
        except termios.error:
            raise UsageError(
                f"This terminal can't hide the {what} while it is typed.", hint=otherwise
            ) from None
        if not answer:
            raise UsageError(f"No {what} was given.", hint=otherwise)
        return answer

    def confirm(self, question: str) -> bool:
        """Return whether the answer is `y` or `yes`, typed after the question was shown."""
        try:
            return self._answer(f"{question} [y/N] ").lower() in {"y", "yes"}
        except UnicodeError:
            return False

    def _answer(self, question: str, *, hidden: bool = False) -> str:
        """Return the line that is typed, empty at the end of input; the cursor is on a new line.

        It is shown again after each stop. Raises Interrupted and UnicodeError, and termios.error
        if the answer can't be hidden.
        """
        stdin, stderr = self._streams.stdin, self._streams.stderr
        if stdin is None or stderr is None:
            return ""
        fd = -1
        with suppress(OSError, ValueError):
            fd = stdin.fileno()

        def show() -> None:
            if hidden:
                hide_input(fd)
            # what was typed before the question was shown doesn't answer it
            with suppress(ValueError, termios.error):
                termios.tcflush(fd, termios.TCIFLUSH)
            write_whole(stderr, question)

        self._streams.screen.show(())
        self._streams.screen.flush(NOTE_SECONDS)
        wait_for_foreground(fd)
        wait_on(stdin)
        try:
            self._inbox.check()
            with settings_restored(fd, show), self._inbox.interruptible():
                show()
                line = stdin.readline()
        except (UnicodeError, Interrupted):
            self._streams.screen.note("")
            raise
        except (OSError, ValueError):  # the terminal is gone
            line = ""
        if not line.endswith("\n"):
            self._streams.screen.note("")
        return line.removesuffix("\n") if hidden else line.strip()
