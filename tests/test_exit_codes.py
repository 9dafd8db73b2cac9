import signal

from clc_reset.exit_codes import ExitCode, of_signal


def test_every_code_has_a_number_a_meaning_and_says_what_was_reset() -> None:
    assert [int(code) for code in ExitCode] == [*range(8), 129, 130, 141, 143]
    assert all(code.meaning and code.was_reset for code in ExitCode)
    assert ExitCode.UNSETTLED.was_reset == "no"


def test_a_signal_has_the_code_that_shells_give_it() -> None:
    assert of_signal(signal.SIGHUP) == ExitCode.HANGUP
    assert of_signal(signal.SIGINT) == ExitCode.INTERRUPTED
    assert of_signal(signal.SIGTERM) == ExitCode.TERMINATED
    assert of_signal(signal.SIGPIPE) == ExitCode.CLOSED_PIPE
