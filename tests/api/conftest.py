import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Lines that the API's client logs, each after its level."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("clc_reset.api")
    handler.emit = lambda record: lines.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)
