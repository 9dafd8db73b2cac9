import logging

import pytest


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The messages that the API's client logs."""
    caplog.set_level(logging.DEBUG, "clc_reset.api")
    return caplog
