import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.api.session import Once, Session
from tests.fakes import wait_until


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Lines that the API's client logs, each after its level."""
    lines: list[str] = []

    class Listed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    logger, handler = logging.getLogger("clc_reset.api"), Listed()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def once() -> Iterator[Once]:
    """Leave a signal's mark as soon as something is so."""
    threads: list[threading.Thread] = []

    def watch(so: Callable[[], bool], session: Session) -> None:
        def look() -> None:
            wait_until(so)
            session.inbox.interrupt(signal.SIGTERM)

        threads.append(threading.Thread(target=look))
        threads[-1].start()

    yield watch
    for thread in threads:
        thread.join()
