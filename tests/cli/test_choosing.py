import json
import signal
import sys
from collections.abc import Callable

import pytest
import respx

from clc_reset.cli.choosing import screenful
from clc_reset.errors import Interrupted
from clc_reset.sandbox.cloud import Cloud
from tests.cli.conftest import Run, Typed, exit_code_of

A, DB01, DB02 = "WA1ALIASWB01", "WA1ALIASDB01", "WA1ALIASDB02"
BATCH = ["VA1ALIASJOB01", "VA1ALIASJOB02", "VA1ALIASJOB03"]


def were_reset(cloud: Cloud) -> list[str]:
    return [each.id for each in cloud.servers.values() if each.resets]


# --- which servers -----------------------------------------------------------------------------


@pytest.mark.usefixtures("as_demo")
def test_a_group_is_reset_with_the_groups_inside_it_and_nothing_archived(
    clc: Run, served: Cloud
) -> None:
    result = clc("reset", "-g", "database", "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{DB01}\tqueued\twa1-12345\t\n{DB02}\tqueued\twa1-12345\t\n"
    assert were_reset(served) == [DB01, DB02]
    result = clc("reset", "-g", "Batch", "-y")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == BATCH


@pytest.mark.usefixtures("as_demo")
def test_a_whole_data_centre_is_named_by_its_hardware_group(clc: Run, served: Cloud) -> None:
    clc("reset", "-g", "WA1 Hardware", "-y")
    wa1 = [each for each in served.servers if each.startswith("WA1") and "OLD" not in each]
    assert were_reset(served) == wa1


@pytest.mark.usefixtures("as_demo")
def test_ids_come_before_groups_and_each_server_is_sent_once(clc: Run, served: Cloud) -> None:
    result = clc("reset", "-g", "Database", DB02, A, A.lower(), "-g", "database", "-y")
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [DB02, A, DB01]
    assert result.stderr == "1 duplicate ignored\n"
    assert {each.resets for each in served.servers.values()} == {0, 1}


@pytest.mark.usefixtures("as_demo")
def test_a_group_may_come_with_an_empty_standard_input(clc: Run, served: Cloud) -> None:
    assert clc("reset", "-g", "Database", "-y", "-", stdin="# none\n").exit_code == 0
    assert were_reset(served) == [DB01, DB02]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["-g", ""], "A group's name is empty: is a shell variable unset?"),
        (["-g", "Database", "-g", " "], "A group's name is empty: is a shell variable unset?"),
        (["-g", "Web"], "has 2 groups 'Web': "),
        (["-g", "Nope"], "has no group 'Nope'"),
        (["-g", "Retired"], "has no group 'Retired'"),
        (["-g", "Database", "-g", "Staging"], "holds no server to reset"),
    ],
)
@pytest.mark.usefixtures("as_demo")
def test_a_group_that_is_not_one_is_a_usage_error_and_nothing_is_reset(
    clc: Run, served: Cloud, groups: list[str], words: str
) -> None:
    result = clc("reset", A, *groups, "-y", "-o", "json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["kind"] == "usage"
    assert words in error["message"]
    assert were_reset(served) == []


@pytest.mark.usefixtures("as_demo")
def test_an_ambiguous_group_is_named_by_an_id_of_the_message(clc: Run, served: Cloud) -> None:
    message = clc("reset", "-g", "web", "-y").stderr
    web = [each.id for each in served.groups.values() if each.name == "Web"]
    assert all(each in message for each in web)
    assert clc("reset", "-g", web[1].upper(), "-y").exit_code == 0
    assert were_reset(served) == ["VA1ALIASWB01", "VA1ALIASWB02"]


@pytest.mark.usefixtures("as_demo")
def test_a_dry_run_shows_what_a_group_comes_to_and_asks_for_nothing(
    clc: Run, served: Cloud
) -> None:
    result = clc("reset", "-n", A, "-g", "Database")
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        [each, "not sent"] for each in (A, DB01, DB02)
    ]
    assert result.stderr == "Dry run: 3 servers in account ALIAS; nothing was sent.\n"
    assert were_reset(served) == []


@pytest.mark.usefixtures("memory_keyring")
def test_a_dry_run_of_a_group_needs_a_token(clc: Run) -> None:
    assert clc("reset", "-n", "-g", "Database").exit_code == 4


def test_off_a_terminal_a_group_needs_yes_before_anything_is_asked(
    clc: Run, api_ctl_io: respx.Router, as_demo: None
) -> None:
    result = clc("reset", "-g", "Database", stdin="y\n")
    assert result.exit_code == 2
    assert "no terminal to ask for a confirmation on" in result.stderr
    assert "--yes" in result.stderr
    assert not api_ctl_io.calls


# --- confirmed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["y\n", " YES \n"])
@pytest.mark.usefixtures("as_demo")
def test_on_a_terminal_what_was_found_is_shown_and_confirmed(
    types: Callable[[str], Typed], served: Cloud, answer: str
) -> None:
    screen = types(answer)
    assert exit_code_of("reset", "-g", "Database", A) == 0
    assert screen.getvalue().startswith(
        "In account ALIAS:\n"
        f"  By their ids\n    {A}\n"
        f"  WA1 Database\n    {DB01}  {DB02}\n"
        "Reset these 3 servers? [y/N] "
    )
    assert were_reset(served) == [A, DB01, DB02]


@pytest.mark.parametrize("answer", ["\n", "n\n", "yep\n", ""])
@pytest.mark.usefixtures("as_demo")
def test_anything_but_yes_declines_and_nothing_is_sent(
    types: Callable[[str], Typed],
    served: Cloud,
    capsys: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    screen = types(answer)
    assert exit_code_of("reset", "-g", "Nightly", "-o", "json") == 1
    assert screen.getvalue().endswith(
        "[y/N] \nNothing was sent.\n" if not answer else "[y/N] Nothing was sent.\n"
    )
    assert json.loads(capsys.readouterr().out) == {
        "error": {"kind": "declined", "message": "Nothing was sent.", "exit_code": 1}
    }
    assert were_reset(served) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Interrupted(signal.SIGTERM), 143),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), 1),
    ],
)
@pytest.mark.usefixtures("as_demo", "served")
def test_what_ends_the_question_is_a_no(
    types: Callable[[str], Typed],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    def readline() -> str:
        raise error

    screen = types("")
    monkeypatch.setattr(sys.stdin, "readline", readline)
    assert exit_code_of("reset", "-g", "Reports") == code
    words = "Nothing was sent." if code == 1 else "Interrupted. No server was reset."
    assert screen.getvalue().endswith(f"Reset this server? [y/N] \n{words}\n")


@pytest.mark.usefixtures("as_demo")
def test_yes_asks_nothing_on_a_terminal_either(
    types: Callable[[str], Typed], served: Cloud
) -> None:
    screen = types("n\n")
    assert exit_code_of("reset", "-g", "Database", "--yes") == 0
    assert "[y/N]" not in screen.getvalue()
    assert were_reset(served) == [DB01, DB02]


@pytest.mark.usefixtures("as_demo")
def test_ids_alone_are_not_asked_about(types: Callable[[str], Typed], served: Cloud) -> None:
    screen = types("")
    assert exit_code_of("reset", A) == 0
    assert "[y/N]" not in screen.getvalue()
    assert were_reset(served) == [A]


# --- the screen --------------------------------------------------------------------------------


def test_as_many_servers_stand_in_a_line_as_fit() -> None:
    found = dict.fromkeys((f"WA1ALIASN{n:05d}" for n in range(9)), "WA1 Web")
    lines = screenful(found, 80, 24)
    assert [len(line.split()) for line in lines] == [2, 4, 4, 1]
    assert max(map(len, lines)) == 66
    assert len(screenful(found, 66, 24)) == 4
    assert len(screenful(found, 65, 24)) == 4
    assert len(screenful(found, 1, 99)) == 10


@pytest.mark.parametrize("height", [4, 5, 24])
def test_what_does_not_fit_on_the_screen_is_counted(height: int) -> None:
    found = {f"S{n:05d}": f"WA1 Group {n // 100}" for n in range(10_000)}
    lines = screenful(found, 80, height)
    assert len(lines) == height - 3
    named = sum(len(line.split()) for line in lines[:-1] if line.startswith("    "))
    assert lines[-1] == f"  and {10_000 - named:,} more servers"


def test_on_a_screen_of_no_height_all_are_counted() -> None:
    assert screenful({"S1": "WA1 Web"}, 80, 0) == ["  and 1 more server"]


def test_a_long_name_of_a_group_is_cut() -> None:
    assert len(screenful({"S1": "WA1 " + "x" * 500}, 80, 24)[0]) == 80
