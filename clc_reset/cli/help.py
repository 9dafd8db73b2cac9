"""`clc help`: the help of the program or of a command, and the exit codes."""

from typing import cast

import click

from clc_reset.cli import options
from clc_reset.exit_codes import ExitCode

EXIT_CODES = "exit-codes"


def _topics(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    topics = [*cast("click.Group", ctx.find_root().command).commands, EXIT_CODES]
    return [topic for topic in topics if topic.startswith(incomplete)]


@options.command("help", "clc help reset", "clc help exit-codes")
@click.argument("topic", metavar="[COMMAND|exit-codes]", required=False, shell_complete=_topics)
@options.verbose
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> object:
    """Show help for a command, or what the exit codes mean."""
    if topic != EXIT_CODES:
        return ctx.find_root().command.main(["--help"] if topic is None else [topic, "--help"])
    formatter = ctx.make_formatter()
    formatter.write("The exit codes, and in brackets whether anything was reset:\n\n")
    with formatter.indentation():
        for code in ExitCode:
            number = f"{code:d}".rjust(3)
            formatter.write_dl([(number, f"{code.meaning} ({code.was_reset})")])
    formatter.write("\nFor mixed results, the first of 6, 4, 1 and 7 that applies.")
    return formatter.getvalue()
