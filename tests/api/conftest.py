import logging

import pytest


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """The messages that the API's client logs."""
    monkeypatch.setattr(logging.getLogger("clc_reset"), "propagate", True)
    caplog.set_level(logging.DEBUG, "clc_reset.api")
    return caplog
