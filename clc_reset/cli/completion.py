"""`clc completion`: print the script that lets a shell complete `clc`.

Click answers the scripts, but they are our own. With click's, a Tab press in bash shows an error
for `~/bin/clc` and ends a shell that has `set -e`; zsh ignores the second one of a session, and
turns `--output=t` into an argument `t`; fish cuts a help text at its first comma.

Bash passes the command as it was typed, and `--output=t` as three words. It may be the 3.2 of
macOS, which has no `nosort` and no negative index. Within quotes it inserts a suggestion as it is,
and closes them; one that can't stand in them is left out.
"""

import click

from clc_reset import cli
from clc_reset.cli import options

FILES = {"bash": "clc.bash", "zsh": "_clc", "fish": "clc.fish"}
"""The script of each shell, in the folder `completions` beside this module."""


@options.command(
    "completion",
    'eval "$(clc completion bash)"    # in ~/.bashrc',
    'eval "$(clc completion zsh)"     # in ~/.zshrc, after compinit',
    "clc completion fish > ~/.config/fish/completions/clc.fish",
)
@click.argument("shell", type=click.Choice(tuple(FILES)))
@options.verbose
def command(shell: str) -> str:
    """Print the completion script for a shell."""
    with click.open_file(f"{cli.__path__[0]}/completions/{FILES[shell]}") as script:
        text: str = script.read()
    return text.rstrip()
