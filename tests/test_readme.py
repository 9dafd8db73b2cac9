import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clc_reset.cli import exit_codes
from clc_reset.cli.main import command
from clc_reset.errors import (
    INTERNAL,
    INTERRUPTED,
    OUTCOME_UNKNOWN,
    STOPPED,
    TIME_LIMIT,
    ClcError,
)
from tests.fakes import Terminal, run_clc

README = (Path(__file__).parents[1] / "README.md").read_text()
SOURCES = Path(__file__).parents[1] / "clc_reset"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def screens() -> dict[str, str]:
    """Commands, and what the README shows that they print."""
    shown = (block.removeprefix("$ ").partition("\n") for block in blocks("console"))
    return {words: screen for words, _, screen in shown}


@pytest.mark.parametrize("words", [each for each in screens() if each.endswith("-h")])
def test_the_help_is_the_programs(words: str) -> None:
    shown = run_clc(*words.split()[1:], env={"COLUMNS": "80"}).stdout
    assert shown == screens()[words]


@pytest.mark.parametrize("words", [each for each in screens() if not each.endswith("-h")])
def test_a_screen_is_what_a_terminal_shows_in_the_end(words: str) -> None:
    variables = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "80"}
    _, shown = Terminal("sandbox", "--duration", "300ms", *words.split(), **variables).end()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert shown.replace("\r\n", "\n") == screens()[words]


def test_the_question_is_the_programs() -> None:
    (block,) = (each for each in blocks("text") if each.startswith("$ "))
    words, _, screen = block.removeprefix("$ ").partition("\n")
    terminal = Terminal("sandbox", *shlex.split(words), PATH=os.environ["PATH"])
    terminal.read_until(b"[y/N] ")
    os.write(terminal.screen, b"n\n")
    assert terminal.end() == (1, screen.replace("\n", "\r\n"))


def test_the_exit_codes_are_the_programs() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    table = [(str(each.code), each.meaning, each.was_reset) for each in exit_codes.TABLE]
    assert rows == table


def test_the_json_is_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result, members, runs, error = map(_without_what_varies, blocks("json"))
    both = (
        "clc reset WA1ALIASWB01 VA1ALIASJOB03 -o json > reset.json; clc history -o json > runs.json"
    )
    run_clc("sandbox", "sh", "-c", both)
    assert result == _without_what_varies(Path("reset.json").read_text())
    assert runs == _without_what_varies(Path("runs.json").read_text())
    printed = run_clc("sandbox", "clc", "servers", "-g", "Nightly", "-o", "json").stdout
    assert members == _without_what_varies(printed)
    printed = run_clc("sandbox", "--expired-token", "clc", "reset", "A", "-o", "json").stdout
    assert error == _without_what_varies(printed)


def _without_what_varies(text: str) -> object:
    """JSON less its times, the runs' names and the sandbox's address."""
    instant = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9.]+\+00:00)?"
    text = re.sub(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}", "RUN", re.sub(instant, "TIME", text))
    return json.loads(re.sub(r"https?://(127\.0\.0\.1:[0-9]+|api\.ctl\.io)", "API", text))


KEYRING = {
    "PYTHON_KEYRING_BACKEND": "tests.fakes.MemoryKeyring",
    "PYTHONPATH": str(SOURCES.parent),
}
EXAMPLE = "20260115-021305-3f9a12bc"
FAILED = "B\tfailed\t\tNo.\n"
BOTH = f"A\tqueued\n{FAILED}"
SCRIPT = next(each for each in blocks("sh") if "case $?" in each)


def commands() -> list[str]:
    """The lines of `sh` blocks that begin with `clc`, or make a shell do so."""
    lines = (line for each in blocks("sh") for line in each.replace("\\\n", "").splitlines())
    return [line for line in lines if re.match(r"(echo 'eval \"\$\()?clc ", line)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the commands name, and with what they call."""
    (tmp_path / "servers.txt").write_text("WA1ALIASWB01 WA1ALIASWB02\n")
    (tmp_path / "web-servers.txt").write_text("WA1ALIASWB01\n")
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    script(tmp_path / "nightly-reset.sh", "exec clc reset WA1ALIASWB01")
    script(tmp_path / "curl", "exit 0")
    for name in ("mail", "at"):
        script(tmp_path / name, f'echo {name} "$@" >> "$HOME/called"; cat >> "$HOME/called"')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_there_are_commands_to_run() -> None:
    assert len(commands()) == 20


@pytest.mark.parametrize("line", [each for each in commands() if each != "clc login"])
def test_each_command_does_what_it_is_shown_for(desk: Path, line: str) -> None:
    """After a run that stopped, which left a server out."""
    expected = 0
    for words, code in {"-a SUB1": 4, "status": 1, "--lose-answer ./nightly": 6}.items():
        expected = code if words in line else expected
    first = "clc reset VA1ALIASJOB03 VA1ALIASWB01 --at-a-time 1 > /dev/null; fpath=(. $HOME)"
    line = line.replace(EXAMPLE, "$(clc history -n 1 | cut -f 1)")
    cloud = ("sandbox", "--duration", "100ms", "bash", "-c")
    ended = run_clc(*cloud, f"{first}\n{line}", env={"XDG_STATE_HOME": "", **KEYRING})
    assert ended.returncode == expected, ended.stderr


def test_the_login_asks_for_what_is_missing(desk: Path) -> None:
    log_in = ("env", "-u", "CLC_USERNAME", "-u", "CLC_PASSWORD", "clc", "login")
    terminal = Terminal("sandbox", *log_in, PATH=os.environ["PATH"], HOME=f"{desk}", **KEYRING)
    for prompt in (b"User name: ", b"Password: "):
        terminal.read_until(prompt)
        os.write(terminal.screen, b"demo\n")
    code, shown = terminal.end()
    assert code == 0
    assert "The token is in the keyring" in shown


@pytest.mark.parametrize(
    ("code", "called"),
    [
        (0, ""),
        (1, f"mail -s some were not reset ops\n{FAILED}"),
        (2, "mail -s nothing was reset ops\n"),
        (3, "mail -s an earlier reset isn't settled, nothing was sent ops\n"),
        (4, f"mail -s log in again; what was reset is below, if anything ops\n{BOTH}"),
        (5, "mail -s nothing was reset ops\n"),
        (6, f"mail -s look at these before you repeat ops\n{BOTH}"),
        (7, "at now + 10 minutes\nclc status --wait\n"),
        (130, f"mail -s look at these before you repeat ops\n{BOTH}"),
    ],
)
def test_the_script_knows_every_exit_code(desk: Path, code: int, called: str) -> None:
    script(desk / "clc", f"printf 'A\\tqueued\\nB\\tfailed\\t\\tNo.\\n'; exit {code}")
    subprocess.run(["/bin/sh", "-c", SCRIPT], check=True)
    told = desk / "called"
    assert (told.read_text() if told.exists() else "") == called


def test_every_link_within_it_leads_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {each.lower().replace(" ", "-") for each in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
    for path in re.findall(r'(?:src|srcset)="([^"]+)"|\]\((\.[^)]+)\)', README):
        assert (Path(__file__).parents[1] / "".join(path)).is_file()


def test_every_command_is_shown() -> None:
    assert [name for name in command.commands if f"clc {name}" not in README] == []


def test_every_environment_variable_is_documented() -> None:
    used = {
        name
        for file in SOURCES.rglob("*.py")
        for name in re.findall(r"\"(CLC_[A-Z_]+|SSL_CERT_FILE)\"", file.read_text())
    }
    assert {name for name in used if f"`{name}`" not in README} == set()


def test_every_kind_of_error_is_documented() -> None:
    kinds = {kind.kind for kind in subclasses(ClcError)} - {"error"}
    paragraph = README.partition("`kind` is one of")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`([a-z_]+)`", paragraph))
    assert documented == kinds | {INTERNAL, INTERRUPTED, OUTCOME_UNKNOWN, STOPPED, TIME_LIMIT}


def subclasses(kind: type[ClcError]) -> Iterator[type[ClcError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)
