import inspect

from clc_reset import errors


def _names(kind: type) -> set[str]:
    below: list[type] = kind.__subclasses__()
    return {kind.__name__}.union(*(_names(each) for each in below))


def test_the_drawn_tree_names_every_error() -> None:
    defined = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException)
    }
    drawn = {
        word
        for line in (errors.__doc__ or "").splitlines()
        if line.startswith("    ")
        for word in line.replace("├", " ").replace("─", " ").replace("└", " ").split()
        if word in defined
    }
    assert drawn == defined


def test_every_error_has_a_word_for_json() -> None:
    kinds = [getattr(errors, name).kind for name in _names(errors.ClcError)]
    assert all(kinds)


def test_an_error_says_what_happened_and_what_to_do_next() -> None:
    error = errors.UsageError("No server is named.", hint="Name one.")
    assert (str(error), error.message, error.hint) == (
        "No server is named.",
        "No server is named.",
        "Name one.",
    )


def test_a_hint_is_optional() -> None:
    assert errors.KeyringError("It is locked.").hint == ""


def test_an_interruption_knows_its_signal_and_is_one_of_pythons_own() -> None:
    interruption = errors.Interrupted(15)
    assert interruption.signum == 15
    assert isinstance(interruption, KeyboardInterrupt)
    assert not isinstance(interruption, Exception)


def test_the_words_for_what_is_no_error_of_ours_are_nobody_elses() -> None:
    kinds = {getattr(errors, name).kind for name in _names(errors.ClcError)}
    others = {
        errors.INTERRUPTED,
        errors.INTERNAL,
        errors.OUTCOME_UNKNOWN,
        errors.TIME_LIMIT,
    }
    assert len(others) == 4
    assert not kinds & others
