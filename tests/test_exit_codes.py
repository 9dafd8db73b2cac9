from clc_reset.exit_codes import ExitCode


def test_every_code_has_a_number_a_meaning_and_says_what_was_reset() -> None:
    assert [int(code) for code in ExitCode] == [*range(8), 129, 130, 141, 143]
    assert all(code.meaning and code.was_reset for code in ExitCode)
    assert ExitCode.UNSETTLED.was_reset == "no"
