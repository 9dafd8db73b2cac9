"""`clc help`: the help of the program or of a command, and the exit codes."""

from typing import cast

import click

from clc_reset.cli import options
from clc_reset.exit_codes import ExitCode

EXIT_CODES = "exit-codes"


def _program(ctx: click.Context) -> click.Group:
    return cast("click.Group", ctx.find_root().command)


def _topics(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    topics = [*_program(ctx).commands, EXIT_CODES]
    return [topic for topic in topics if topic.startswith(incomplete)]


@options.command("help", "clc help reset", "clc help exit-codes")
@click.argument("topic", metavar="[COMMAND|exit-codes]", required=False, shell_complete=_topics)
@options.verbose_without_requests
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> str:
    """Show help for a command, or what the exit codes mean."""
    root = ctx.find_root()
    if topic is None:
        return root.get_help()
    if topic == EXIT_CODES:
        return _exit_codes(ctx)
    _, found, _ = _program(ctx).resolve_command(root, [topic])  # raises UsageError for others
    named = cast("click.Command", found)
    return named.get_help(click.Context(named, info_name=topic, parent=root))


def _exit_codes(ctx: click.Context) -> str:
    formatter = ctx.make_formatter()
    formatter.write("The exit codes, and in brackets whether anything was reset:\n\n")
    with formatter.indentation():
        for code in ExitCode:
            number = f"{code:d}".rjust(3)
            formatter.write_dl([(number, f"{code.meaning} ({code.was_reset})")])
    formatter.write("\nFor mixed results, the first of 6, 4, 1 and 7 that applies.")
    return formatter.getvalue()
