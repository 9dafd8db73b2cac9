import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from clc_reset import errors
from clc_reset.cli.main import command
from clc_reset.exit_codes import ExitCode
from clc_reset.models import ServerState
from tests.fakes import Terminal, run_clc

README = (Path(__file__).parents[1] / "README.md").read_text()
SOURCES = Path(__file__).parents[1] / "clc_reset"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def screens() -> dict[str, str]:
    """Return the commands of `console` blocks, each with what the README shows that it prints."""
    shown = (block.removeprefix("$ ").partition("\n") for block in blocks("console"))
    return {command: screen for command, _, screen in shown}


@pytest.mark.parametrize("line", [line for line in screens() if line.endswith("-h")])
def test_the_help_is_the_programs(line: str) -> None:
    shown = run_clc(*line.split()[1:], env={"COLUMNS": "80"}).stdout
    assert shown == screens()[line]


@pytest.mark.parametrize("line", [line for line in screens() if not line.endswith("-h")])
def test_a_screen_is_the_terminals(line: str) -> None:
    variables = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "80"}
    _, shown = Terminal("sandbox", "--duration", "300ms", *line.split(), **variables).end()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert shown.replace("\r", "") == screens()[line]


def test_the_question_is_the_programs() -> None:
    (block,) = (block for block in blocks("text") if block.startswith("$ "))
    line, _, screen = block.removeprefix("$ ").partition("\n")
    terminal = Terminal("sandbox", *shlex.split(line), PATH=os.environ["PATH"])
    terminal.read_until(b"[y/N] ")
    os.write(terminal.screen, b"n\n")
    assert terminal.end() == (1, screen.replace("\n", "\r\n"))


def test_the_exit_codes_are_the_programs() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| (.*) \| (.*) \|$", README, re.MULTILINE)
    table = [(f"{code:d}", code.meaning, code.was_reset) for code in ExitCode]
    assert rows == table


def test_the_messages_after_a_lost_answer_are_the_programs() -> None:
    lost, unsettled = (block for block in blocks("text") if block.startswith("Error: "))
    both = f"{re.findall('`(clc reset WA1ALIASWB01 .*?)`', README)[0]}; clc reset WA1ALIASDB01"
    cloud = ("sandbox", "--lose-answer", "--duration", "20s", "sh", "-c", both)
    printed = run_clc(*cloud).stderr
    assert _masked(printed) == _masked(f"3 unknown\n{lost}{unsettled}")


def test_the_json_is_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = dict(zip(("result", "servers", "runs", "error"), blocks("json"), strict=True))
    run_clc(
        *("sandbox", "sh", "-c"),
        "clc reset WA1ALIASWB01 VA1ALIASJOB03 -o json > result; clc history -o json > runs; "
        "clc servers -g Nightly -o json > servers",
    )
    error = run_clc("sandbox", "--expired-token", "clc", "reset", "A", "-o", "json").stdout
    assert _parsed(shown.pop("error")) == _parsed(error)
    for name, text in shown.items():
        assert _parsed(Path(name).read_text()) == _parsed(text)


def _parsed(text: str) -> object:
    return json.loads(_masked(text))


def _masked(text: str) -> str:
    """Return a text with its times, the ids of runs and the sandbox's address replaced."""
    instant = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9.]+\+00:00)?"
    text = re.sub(rf"{instant}|[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} UTC|[0-9]+ s\b", "TIME", text)
    text = re.sub(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}", "RUN", text)
    return re.sub(r"https?://(127\.0\.0\.1:[0-9]+|api\.ctl\.io)", "API", text)


KEYRING = {"PYTHON_KEYRING_BACKEND": "tests.fakes.MemoryKeyring", "PYTHONPATH": str(SOURCES.parent)}
EXAMPLE = "20260115-021305-3f9a12bc"
NOT_RESET = f"B\tfailed\t\tNo.\t\t{EXAMPLE}\nC\tnot sent\t\t\t\t{EXAMPLE}\n"
RESULT = f"A\tqueued\twa1-1\t\t\t{EXAMPLE}\n{NOT_RESET}"
SCRIPT = next(block for block in blocks("sh") if "case $?" in block)


def commands() -> list[str]:
    """Return the lines of `sh` blocks that begin with `clc`, or let a shell run it."""
    lines = (line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines())
    return [line for line in lines if re.match(r"(echo 'eval \"\$\()?clc ", line)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the files that the commands read, and the programs that they call."""
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


@pytest.mark.parametrize("line", [line for line in commands() if line != "clc login"])
def test_each_command_works_in_the_sandbox(desk: Path, line: str) -> None:
    assert len(commands()) == 21
    codes = {"-a SUB1": 4, "status": 1, "--lose-answer ./nightly": 6}
    expected = next((code for part, code in codes.items() if part in line), 0)
    if "status" in line or EXAMPLE in line:  # after a run that stopped before its second server
        first = "clc reset VA1ALIASJOB03 VA1ALIASWB01 --at-a-time 1 > /dev/null"
        line = f"{first}; {line.replace(EXAMPLE, '$(clc history -n 1 | cut -f 1)')}"
    cloud = ("sandbox", "--duration", "100ms", "bash", "-c")
    ended = run_clc(*cloud, line, env={"XDG_STATE_HOME": "", **KEYRING})
    assert ended.returncode == expected, ended.stderr


def test_login_asks_for_user_name_and_password(desk: Path) -> None:
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
        (1, f"mail -s some were not reset ops\n{NOT_RESET}"),
        (2, "mail -s nothing was reset ops\n"),
        (3, "mail -s an earlier reset is unsettled, nothing was reset ops\n"),
        (4, f"mail -s log in again; what was reset is below, if anything ops\n{RESULT}"),
        (5, "mail -s nothing was reset ops\n"),
        (6, f"mail -s look at these before you repeat ops\n{RESULT}"),
        (7, f"at now + 10 minutes\nclc status --wait --run {EXAMPLE}\n"),
        (130, f"mail -s look at these before you repeat ops\n{RESULT}"),
    ],
)
def test_the_script_handles_every_exit_code(desk: Path, code: int, called: str) -> None:
    (desk / "printed").write_text(RESULT)
    script(desk / "clc", f"cat printed; exit {code}")
    subprocess.run(["/bin/sh", "-c", SCRIPT], check=True)
    calls = desk / "called"
    assert (calls.read_text() if calls.exists() else "") == called


def test_every_link_within_it_leads_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {title.lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
    for path in re.findall(r'(?:src|srcset)="([^"]+)"|\]\((\.[^)]+)\)', README):
        assert (Path(__file__).parents[1] / "".join(path)).is_file()


def test_every_environment_variable_is_documented() -> None:
    code = "".join(file.read_text() for file in SOURCES.rglob("*.py"))
    manual = (SOURCES.parent / "completions/man/clc.1").read_text()
    for name in re.findall(r"\"(CLC_[A-Z_]+|SSL_CERT_FILE)\"", code):
        assert f"`{name}`" in README
        assert name in manual


def test_every_command_state_and_kind_of_error_is_documented() -> None:
    assert [name for name in command.commands if f"clc {name}" not in README] == []
    rows = re.findall(r"^\| `([a-z ]+)` \|", README, re.MULTILINE)
    assert [row for row in rows if row in set(ServerState)] == list(ServerState)
    public = (value for name, value in vars(errors).items() if not name.startswith("_"))
    kinds = [getattr(value, "kind", value) for value in public]
    words = {kind for kind in kinds if isinstance(kind, str) and re.fullmatch("[a-z_]+", kind)}
    paragraph = README.partition("`kind` is one of")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", paragraph)) == words - {errors.ClcError.kind}


def test_at_most_250_lines_stand_outside_of_folds() -> None:
    shown = re.sub(r"<details>.*?</details>", "", README, flags=re.DOTALL)
    assert len(shown.splitlines()) <= 250
