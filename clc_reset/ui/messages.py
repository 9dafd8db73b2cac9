"""Notes, warnings and the log of requests: what the package logs, on standard error."""

import logging
from contextlib import suppress

from clc_reset.ui.streams import Streams

LAST_SECONDS = 2.0
"""Time at the end of the process for standard error to take what was noted."""


class _Handler(logging.Handler):
    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a note; one that can't be formatted is lost."""
        with suppress(Exception):  # a message is never an error of the command
            text = record.getMessage()
            self._streams.note(f"Warning: {text}" if record.levelno >= logging.WARNING else text)

    def flush(self) -> None:
        """Write what was kept; `logging` calls this at the end of the process."""
        self._streams.screen.flush(LAST_SECONDS)


def install(streams: Streams, level: int) -> None:
    """Write from now on what the package logs at this level or above.

    The root logger isn't touched: httpx and httpcore log URLs and headers.
    """
    logging.raiseExceptions = False
    logger = logging.getLogger("clc_reset")
    logger.handlers[:] = [_Handler(streams)]
    logger.propagate = False
    logger.setLevel(level)
