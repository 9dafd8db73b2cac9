"""Generate the manual pages from the same help as `clc -h`: `python -m tests.manuals`.

A page's date is the day on which its text last changed (man-pages(7)): a page whose text is still
the program's isn't written.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from clc_reset import __version__
from clc_reset.cli.main import command as program
from clc_reset.exit_codes import ExitCode

FOLDER = Path(__file__).parents[1] / "completions" / "man"
README = (Path(__file__).parents[1] / "README.md").read_text()
CREDENTIALS = """\
Of the variables with credentials clc uses the first that is set, otherwise the keyring's entry for
the API in use."""
JOURNAL = """\
The resets from this machine, for clc status, clc history, completion and the check for earlier
resets; no token and no password."""
WITH_EXIT_CODES = {"clc", "clc reset", "clc status"}
"""Pages with the table of exit codes; the others refer to clc(1)."""


def write(folder: Path, today: str) -> None:
    """Write the pages whose text has changed."""
    for name, page in pages(today).items():
        file = folder / name
        if not file.exists() or undated(file.read_text()) != undated(page):
            file.write_text(page)


def pages(date: str) -> dict[str, str]:
    """Return all pages by file name."""
    return {f"{_name(ctx)}.1": "\n".join(_page(ctx, date)) + "\n" for ctx in _contexts()}


def undated(page: str) -> str:
    return re.sub(r'"\d{4}-\d\d-\d\d"', "", page)


def _contexts() -> Iterator[click.Context]:
    """Yield the program's context, then those of its commands, which it loads by name."""
    root = click.Context(program, info_name="clc", **program.context_settings)
    yield root
    for name in program.commands:
        _, command, _ = program.resolve_command(root, [name])
        assert command is not None
        yield click.Context(command, info_name=name, parent=root)


def _name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _page(ctx: click.Context, date: str) -> Iterator[str]:
    """Yield the lines of a page, its sections in the order of man-pages(7)."""
    command, is_program = ctx.command, ctx.parent is None
    known = program if is_program else program.commands[f"{command.name}"]
    yield f'.TH "{_name(ctx).upper()}" "1" "{date}" "clc {__version__}" "clc"'
    yield from (".ad l", ".SH NAME")
    yield f"{_escaped(_name(ctx))} \\- {_escaped(f'{known.help}'.removesuffix('.'))}"
    yield ".SH SYNOPSIS"
    yield _term(ctx.command_path, " ".join(command.collect_usage_pieces(ctx)))
    yield ".SH DESCRIPTION"
    paragraphs = inspect.cleandoc(f"{command.help}").split("\n\n")
    yield "\n.PP\n".join(map(_filled, paragraphs))
    if is_program:
        yield from (".SH COMMANDS", _filled("Each has a page of its own, such as clc-reset(1)."))
        yield from _definitions((name, f"{stub.help}") for name, stub in program.commands.items())
    yield ".SH OPTIONS"
    options = [option for option in command.get_params(ctx) if isinstance(option, click.Option)]
    yield from _definitions(found for option in options if (found := option.get_help_record(ctx)))
    yield ".SH EXIT STATUS"
    yield from _exit_status(ctx.command_path)
    if is_program:
        yield from (".SH ENVIRONMENT", *_environment())
        file = "$XDG_STATE_HOME/clc-reset/journal.sqlite3"
        yield from (".SH FILES", *_definitions([(file, JOURNAL)]))
    elif command.epilog:
        yield from (".SH EXAMPLES", ".RS 4", ".EX", _escaped(command.epilog), ".EE", ".RE")
    others = [f"{_name(other)}(1)" for other in _contexts() if _name(other) != _name(ctx)]
    yield from (".SH SEE ALSO", _filled(", ".join(others)))


def _exit_status(path: str) -> Iterator[str]:
    if path not in WITH_EXIT_CODES:
        yield "The exit codes are those of clc(1)."
        return
    yield "Their meanings, and in brackets whether anything was reset:"
    yield from _definitions((f"{c:d}", f"{c.meaning} ({c.was_reset})") for c in ExitCode)
    yield from (".PP", "With mixed results the first of 6, 4, 1 and 7 that applies.")


def _environment() -> Iterator[str]:
    """Yield the variables, from the README's tables, and those that the sandbox sets."""
    _, _, section = README.partition("<summary>Credentials and environment variables</summary>")
    rows = re.findall(r"^\| (`.+) \| (.+) \|$", section.partition("</details>")[0], re.MULTILINE)
    plain = ([cell.replace("`", "") for cell in row] for row in rows)
    yield _filled(CREDENTIALS)
    yield from _definitions((names, f"{text[:1].upper()}{text[1:]}.") for names, text in plain)
    (others,) = re.findall(r"^It (sets `CLC_BASE_URL`.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    yield from (".PP", _filled(f"clc sandbox {others}".replace("`", "")))


def _definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in pairs:
        flags = re.match(r"(--?[\w-]+(, )?)+", term)
        typed, value = (flags[0], term[flags.end() :]) if flags else (term, "")
        yield from (".TP", _term(typed, value.strip()), _filled(text))


def _term(typed: str, value: str) -> str:
    """Return what is typed literally in bold, and a value's placeholder in italics."""
    italic = f" \\fI{_escaped(value)}\\fP" if value else ""
    return f"\\fB{_escaped(typed)}\\fP{italic}"


def _filled(text: str) -> str:
    """Return a paragraph whose lines are short enough for mandoc when they are escaped."""
    return _escaped(textwrap.fill(" ".join(text.split()), 68, break_on_hyphens=False))


def _escaped(text: str) -> str:
    """Return roff that prints a text as it is, and doesn't break the names of pages."""
    for plain, roff in (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("~", r"\(ti")):
        text = text.replace(plain, roff)
    text = re.sub(r"(?m)^\.", r"\&.", text)
    return re.sub(r"\bclc\\-", r"\%clc\-", text)


if __name__ == "__main__":
    write(FOLDER, datetime.now(UTC).date().isoformat())
