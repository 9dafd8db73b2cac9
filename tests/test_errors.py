from clc_reset import errors


def _kinds(kind: type[errors.ClcError] = errors.ClcError) -> dict[str, int]:
    """The words of an error and those below it, each with its exit code."""
    codes = {kind.kind: int(kind.exit_code)}
    for child in kind.__subclasses__():
        codes |= _kinds(child)
    return codes


def test_every_error_has_a_word_for_json_and_an_exit_code() -> None:
    assert _kinds() == {
        "error": 1,
        "usage": 2,
        "journal": 1,
        "declined": 1,
        "unsettled": 3,
        "authentication": 4,
        "unreachable": 5,
        "refused": 5,
        "output": 1,
    }
    others = {errors.INTERRUPTED, errors.INTERNAL, errors.OUTCOME_UNKNOWN, errors.STOPPED}
    others |= {errors.TIME_LIMIT, errors.NOT_FOUND}
    assert len(others) == 6
    assert not _kinds().keys() & others
