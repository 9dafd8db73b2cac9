import sys

import pytest

from clc_reset.imports import hidden


def test_a_hidden_module_can_not_be_imported_and_a_loaded_one_stays() -> None:
    sys.modules.pop("this", None)
    json = sys.modules["json"]
    with hidden("json"):
        assert sys.modules["json"] is json
    with pytest.raises(ImportError), hidden("this"):
        __import__("this")
    assert "this" not in sys.modules
    assert sys.modules["json"] is json
