"""Tab presses in real shells, which load what the wheel puts where they look for it."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from clc_reset.clocks import Clocks
from clc_reset.journal.runs import Journal
from clc_reset.workers import Inbox
from tests.fakes import CLC, wait_until
from tests.real.conftest import Screen, Screens

SHARE = Path(sys.prefix, "share")
INSTALLED = {
    "bash": SHARE / "bash-completion" / "completions" / "clc",
    "zsh": SHARE / "zsh" / "site-functions" / "_clc",
    "fish": SHARE / "fish" / "vendor_completions.d" / "clc.fish",
}
FORGET_AND_EVALUATE = {
    "bash": 'complete -r clc; eval "$(clc completion bash)"',
    "zsh": 'compdef -d clc; eval "$(clc completion zsh)"',
    "fish": "complete --erase --command clc; clc completion fish | source",
}
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SHELLS = {
    "bash": (
        "bashrc",
        f"PS1='> '; bind 'set show-all-if-ambiguous on'; source {INSTALLED['bash']}",
        f"XDG_DATA_DIRS={SHARE} bash --noprofile --rcfile bashrc -i",
    ),
    "zsh": (
        ".zshrc",
        f"PS1='> '; fpath=({INSTALLED['zsh'].parent} $fpath); autoload -Uz compinit; compinit -Du",
        "ZDOTDIR=. zsh -d -i",
    ),
    "fish": (
        "fish/config.fish",
        (
            "set fish_greeting; set fish_autosuggestion_enabled 0\n"
            "function fish_prompt; echo '> '; end"
        ),
        f"XDG_CONFIG_HOME=$PWD XDG_DATA_DIRS={SHARE}:/usr/share fish -i",
    ),
}
"""The file that each reads when it starts, what is in it, and how it starts beside it."""

PATH = f"{Path(CLC).parent}{os.pathsep}{os.environ['PATH']}"
NOBODY = "http://127.0.0.1:1"
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no HOME": {},
    "all is broken": {
        "HOME": "/proc",
        "CLC_BASE_URL": "nonsense",
        "CLC_TOKEN_FILE": "/nowhere",
        "PYTHON_KEYRING_BACKEND": "no.such.Backend",
        **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), NOBODY),
        "ALL_PROXY": "socks9://",
        "SSL_CERT_FILE": "/nowhere",
        "LC_ALL": "nonsense",
    },
}

COMPLETIONS = {
    "clc re": "clc reset",
    "clc reset --dr": "clc reset --dry-run",
    "clc reset -o ": "clc reset -o table tsv json",
    "clc completion ": "clc completion bash zsh fish",
}
"""What is typed, and the words on the screen after a Tab press."""


class Prompt:
    """The prompt of a shell on a screen of its own."""

    def __init__(self, shell: str, screen: Screen, folder: Path) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"needs {shell} (Debian package {shell})")
        self.shell = shell
        self.folder = folder
        self.screen = screen

    def start(self, *settings: str, **variables: str) -> None:
        name, usual, start = SHELLS[self.shell]
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join([usual, *settings]))
        line = f"cd {shlex.quote(str(self.folder))}; exec env {start}"
        self.screen.run(line, **{"PATH": PATH, **variables})
        self.screen.wait_for(">")
        self.clear()

    def press_tab(self, line: str, shown: str) -> None:
        """Type a line, press Tab, look at the whole screen, and forget the line."""
        self.type(line, "Tab")
        self._wait_for(shown)
        self.clear()

    def press_tab_in_vain(self, line: str) -> None:
        """Type a line and press Tab; what is typed next stands behind it, and nothing else."""
        self.type(line, "Tab")
        self.type("x")
        self._wait_for(f"{line}x")
        self.clear()

    def type(self, line: str, *keys: str) -> None:
        self.screen.tell("send-keys", "-l", "--", line)
        self.screen.tell("send-keys", *keys)

    def _wait_for(self, shown: str) -> None:
        """Wait until these words are on the screen, in some order, and no others."""
        wait_until(lambda: set(self.screen.text().split()) == {">", *shown.split()})

    def clear(self) -> None:
        self.type("", "C-u", "C-l")
        self._wait_for("")


def path_with(folder: Path, script: str | None) -> str:
    """A PATH with the system's commands and a script for `clc`, if there is one."""
    folder.mkdir()
    if script:
        (folder / "clc").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "clc").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.fixture(params=SHELLS)
def prompt(request: pytest.FixtureRequest, screen: Screens, tmp_path: Path) -> Prompt:
    return Prompt(request.param, screen(80), tmp_path)


@pytest.fixture
def bash(screen: Screens, tmp_path: Path) -> Prompt:
    return Prompt("bash", screen(80), tmp_path)


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, "the script that is printed"])
def test_tab_completes_in_any_environment_and_shows_nothing_else(
    prompt: Prompt, environment: str
) -> None:
    settings = [] if environment in ENVIRONMENTS else [FORGET_AND_EVALUATE[prompt.shell]]
    prompt.start(*settings, **ENVIRONMENTS.get(environment, {}))
    for line, shown in COMPLETIONS.items():
        prompt.press_tab(line, shown)


def test_tab_completes_anywhere_on_the_line_and_the_line_runs(prompt: Prompt) -> None:
    prompt.start()
    prompt.press_tab("clc reset --output=j", "clc reset --output=json")
    prompt.press_tab("clc reset 'WA1ALIASWB01' --dr", "clc reset 'WA1ALIASWB01' --dry-run")
    prompt.press_tab("true; clc re", "true; clc reset")
    prompt.press_tab_in_vain("clc reset --no-such")
    prompt.type("clc re", "Tab")
    prompt.type("--dr", "Tab")
    prompt.type("WA1ALIASWB01 -o ts", "Tab")
    prompt.type("", "Enter")
    prompt.screen.wait_for("Dry run: 1 server in the login's own account; nothing was sent.")


def test_tab_completes_the_name_of_a_group_with_a_blank_in_it_quoted_or_not(
    prompt: Prompt, tmp_path: Path
) -> None:
    journal = Journal.of_environment({"CLC_STATE_DIR": str(tmp_path)}, Inbox(), Clocks())

    def listing(*groups: str) -> None:
        journal.keep_listing(NOBODY, "ALIAS", [("VA1", group) for group in groups], [])

    listing("VA1 Hardware", 'VA1 "odd"')
    prompt.start(CLC_STATE_DIR=str(tmp_path), CLC_BASE_URL=NOBODY)
    prompt.press_tab("clc servers -g va1\\ h", "clc servers -g VA1\\ Hardware")
    listing("VA1 Hardware", "VA1 $x")
    for quote in "'\"":
        whole = f"clc servers -g {quote}VA1 Hardware{quote}"
        prompt.press_tab(f"clc servers -g {quote}VA1 H", whole)


@pytest.mark.parametrize("script", ["echo broken >&2; exit 1", "kill -9 $$", None])
def test_tab_says_nothing_where_clc_is_broken_or_gone(prompt: Prompt, script: str | None) -> None:
    strict = ("set -e",) if prompt.shell == "bash" else ()  # it outlives that
    prompt.start(*strict, PATH=path_with(prompt.folder / "bin", script))
    prompt.press_tab_in_vain("clc re")


def test_bash_completes_under_its_strict_options_and_after_an_equals_sign(bash: Prompt) -> None:
    bash.start("set -euo pipefail")
    for line, shown in COMPLETIONS.items():
        bash.press_tab(line, shown)
    bash.press_tab("clc reset --output=t", "clc reset --output=t table tsv")


@pytest.mark.parametrize("name", ["~/with\\ space/clc", "with\\ space/clc", "./link/clc"])
def test_bash_completes_a_command_that_is_named_by_its_path(bash: Prompt, name: str) -> None:
    (bash.folder / "with space").mkdir()
    (bash.folder / "with space" / "clc").symlink_to(CLC)
    (bash.folder / "link").symlink_to("with space")
    bash.start(HOME=str(bash.folder), PATH=path_with(bash.folder / "bin", None))
    bash.press_tab(f"{name} re", f"{name} reset")


@pytest.mark.skipif(
    not BASH_COMPLETION.exists(), reason="needs bash-completion (Debian package bash-completion)"
)
def test_bash_completion_finds_the_script_by_itself(bash: Prompt) -> None:
    bash.start("complete -r", "unset -f _clc_completion", f"source {BASH_COMPLETION}")
    bash.press_tab("clc re", "clc reset")
