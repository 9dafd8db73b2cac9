import sys

import pytest

from clc_reset.imports import hidden


def test_a_hidden_module_can_not_be_imported_meanwhile() -> None:
    sys.modules.pop("this", None)
    with hidden("this", "json"), pytest.raises(ImportError):
        __import__("this")
    assert "this" not in sys.modules


def test_what_is_loaded_already_stays_loaded() -> None:
    json = sys.modules["json"]
    with hidden("json"):
        assert sys.modules["json"] is json
    assert sys.modules["json"] is json


def test_it_is_restored_after_an_error() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(ZeroDivisionError), hidden("this"):
        raise ZeroDivisionError
    assert "this" not in sys.modules
