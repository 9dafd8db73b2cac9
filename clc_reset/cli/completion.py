"""`clc completion`: print the script that teaches a shell to complete `clc`."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from clc_reset.cli import options
from clc_reset.cli.app import App

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@options.verbose
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    In ~/.bashrc: eval "$(clc completion bash)". The other shells have their own ways; see the
    README.
    """
    ctx.ensure_object(App).output.line(script(shell, ctx.find_root().command))


def script(shell: str, root: click.Command) -> str:
    """The completion script of one of SHELLS."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows all three
    # not `.source()` of the subclass: bash's would start a bash to look at its version
    return ShellComplete.source(kind(root, {}, "clc", "_CLC_COMPLETE")).rstrip("\n")
