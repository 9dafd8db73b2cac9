import inspect
import re

from clc_reset import errors


def _kinds(kind: type[errors.ClcError] = errors.ClcError) -> dict[str, int]:
    """The words of an error and those below it, each with its exit code."""
    codes = {kind.kind: int(kind.exit_code)}
    for child in kind.__subclasses__():
        codes |= _kinds(child)
    return codes


def test_the_drawn_tree_names_every_error() -> None:
    defined = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException)
    }
    tree = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    drawn = defined & set(re.findall(r"\w+", " ".join(tree)))
    assert drawn == defined


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


def test_an_error_says_what_happened_and_what_to_do_next() -> None:
    error = errors.UsageError("No server is named.", hint="Name one.")
    assert str(error) == error.message == "No server is named."
    assert error.hint == "Name one."
    assert errors.KeyringError("It is locked.").hint == ""


def test_an_interruption_knows_its_signal_and_is_one_of_pythons_own() -> None:
    assert errors.Interrupted(15).signum == 15
    assert issubclass(errors.Interrupted, KeyboardInterrupt)
