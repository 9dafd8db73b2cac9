"""`clc completion`: print the script that lets a shell complete `clc`.

Click answers the scripts, but they are our own. With click's, a Tab press in bash shows an error
for `~/bin/clc` and ends a shell that has `set -e`; zsh ignores the second one of a session, and
turns `--output=t` into an argument `t`; fish cuts a help text at its first comma.

Bash passes the command as it was typed, and `--output=t` as three words. It may be the 3.2 of
macOS, which has no `nosort` and no negative index. Within quotes it inserts a suggestion as it
is, and closes them; one that can't stand in them is left out.
"""

from pathlib import Path

import click

from clc_reset.cli import options

_FOLDER = Path(__file__).parent / "scripts"
SCRIPTS = {
    "bash": _FOLDER / "clc.bash",
    "zsh": _FOLDER / "_clc",
    "fish": _FOLDER / "clc.fish",
}
"""Files that are also installed where each shell looks for them."""


@options.command(
    "completion",
    'eval "$(clc completion bash)"    # in ~/.bashrc',
    'eval "$(clc completion zsh)"     # in ~/.zshrc, after compinit',
    "clc completion fish > ~/.config/fish/completions/clc.fish",
)
@click.argument("shell", type=click.Choice(tuple(SCRIPTS)))
@options.verbose_without_requests
def command(shell: str) -> str:
    """Print the completion script for a shell."""
    return SCRIPTS[shell].read_text().removesuffix("\n")
