"""`clc help`: the help of the program, of a command, or on the exit codes."""

from typing import cast

import click

from clc_reset.cli import exit_codes, options

EXIT_CODES = "exit-codes"


def _program(ctx: click.Context) -> click.Group:
    return cast("click.Group", ctx.find_root().command)


def _topics(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    topics = [*_program(ctx).commands, EXIT_CODES]
    return [each for each in topics if each.startswith(incomplete)]


@options.command("help", "clc help reset", "clc help exit-codes")
@click.argument("topic", metavar="[COMMAND|exit-codes]", required=False, shell_complete=_topics)
@options.verbose
@click.pass_context
def command(ctx: click.Context, topic: str | None, *, verbose: bool) -> None:
    """Show the help of a command, or what the exit codes mean."""
    del verbose  # nothing is sent
    root = ctx.find_root()
    if topic is None:
        text = root.get_help()
    elif topic == EXIT_CODES:
        text = _exit_codes(ctx)
    else:
        _, found, _ = _program(ctx).resolve_command(root, [topic])  # or it is a usage error
        named = cast("click.Command", found)
        text = named.get_help(click.Context(named, info_name=topic, parent=root))
    click.echo(text)


def _exit_codes(ctx: click.Context) -> str:
    formatter = ctx.make_formatter()
    formatter.write("The exit codes, and whether anything was reset:\n\n")
    with formatter.indentation():
        for each in exit_codes.TABLE:
            code = f"{each.code}".rjust(3)
            formatter.write_dl([(code, f"{each.meaning} ({each.was_reset})")])
    formatter.write("\nWith mixed results the first of 6, 1 and 7 that applies.")
    return formatter.getvalue()
