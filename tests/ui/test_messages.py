import io
import logging
import subprocess
import sys

import pytest

from clc_reset.ui import messages
from clc_reset.ui.streams import Streams

_log = logging.getLogger("clc_reset.tests")


@pytest.mark.parametrize(
    ("level", "begins"), [(logging.WARNING, 2), (logging.INFO, 1), (logging.DEBUG, 0)]
)
def test_the_level_decides_what_is_written_and_nothing_reaches_the_root_or_raises(
    caplog: pytest.LogCaptureFixture, level: int, begins: int
) -> None:
    first, second = io.StringIO(), io.StringIO()
    messages.install(Streams(None, None, first), logging.DEBUG)
    messages.install(Streams(None, None, second), level)  # replaces the first
    _log.debug("GET %s", "/")
    _log.info("one\x1b[2J")
    _log.info("%d servers", "no number")
    _log.warning("a journal")
    _log.error("an error")
    lines = ["GET /", "one[2J", "Warning: a journal", "Warning: an error"]
    assert second.getvalue().splitlines() == lines[begins:]
    assert (first.getvalue(), caplog.records) == ("", [])


def test_at_the_end_of_the_process_nothing_is_left() -> None:
    program = """
import logging, sys
from clc_reset.ui import messages
from clc_reset.ui.streams import Streams
messages.install(Streams(None, None, sys.stderr), logging.INFO)
logging.getLogger("clc_reset.tests").info("x" * 2_000_000)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert ended.stderr == b"x" * 2_000_000 + b"\n"
