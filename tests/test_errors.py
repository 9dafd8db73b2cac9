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


def test_an_interruption_knows_its_signal_and_what_is_certain() -> None:
    interrupt = errors.Interrupted(15, "No server was reset.")
    assert (interrupt.signum, interrupt.message) == (15, "No server was reset.")


def test_an_interruption_of_pythons_own_is_sigint() -> None:
    assert errors.signal_of(errors.Interrupted(15)) == 15
    assert errors.signal_of(KeyboardInterrupt()) == 2
