"""Makes the manual pages anew, from the same help as `clc -h`: `python -m tests.manuals`.

A page's date is the day on which its words last changed, as man-pages(7) has it: one whose words
are still the program's is left alone.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from docutils import nodes
from docutils.core import publish_from_doctree
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from docutils.writers import manpage

from clc_reset import __version__
from clc_reset.cli import exit_codes
from clc_reset.cli.main import command as program

FOLDER = Path(__file__).parents[1] / "completions" / "man"
ENVIRONMENT = (
    ("CLC_TOKEN", "A bearer token."),
    ("CLC_TOKEN_FILE", "A file that holds one."),
    (
        "CLC_USERNAME with CLC_PASSWORD or CLC_PASSWORD_FILE",
        (
            "One login for this run; nothing is stored. Of these first three the first that is "
            "set says who you are; without them it is the keyring's entry for the API in use."
        ),
    ),
    ("CLC_ACCOUNT, CLC_ALIAS", "The account alias to act in, as -a."),
    ("CLC_BASE_URL", "The API, by default https://api.ctl.io; https only, except on loopback."),
    ("CLC_SERVER", "Set for the command of clc reset --check: the server's id."),
    ("CLC_NO_JOURNAL", "1 keeps no journal of resets."),
    ("XDG_STATE_HOME", "Where the journal's folder is, by default ~/.local/state."),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies."),
    ("SSL_CERT_FILE", "Certificates to trust."),
    ("PYTHON_KEYRING_BACKEND", "The keyring backend."),
    ("NO_COLOR, TERM, COLUMNS", "How a terminal is written to."),
    ("ACCESSIBLE", "1 shows progress line by line on a terminal, too."),
)
FILES = (
    (
        "$XDG_STATE_HOME/clc-reset/journal.sqlite3",
        (
            "What was reset from this machine, for clc status, clc history and completion, "
            "without tokens and passwords; by default below ~/.local/state."
        ),
    ),
)
WITH_EXIT_CODES = {"clc", "clc reset", "clc status"}
"""The other pages refer to clc(1)."""


def write(folder: Path, today: str) -> list[str]:
    """Write the pages whose words have changed, and return their names."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, page in pages(today).items():
        file = folder / name
        if not file.exists() or words(file.read_text()) != words(page):
            file.write_text(page)
            written.append(name)
    return written


def pages(date: str) -> dict[str, str]:
    """All pages, by the names of their files."""
    found = {}
    for ctx in _contexts():
        page = _roff(_name(ctx), date, _summary(ctx), list(_sections(ctx)))
        found[f"{_name(ctx)}.1"] = page
    return found


def words(page: str) -> list[str]:
    """What a page says: neither its date nor how this version of docutils writes roff."""
    _, _, body = page.partition("\n.TH ")
    body = re.sub(r'^.*"(\d{4}-\d\d-\d\d)"', "", body)
    return re.sub(r"^\.\S+|\\(\(..|f.|.)", " ", body, flags=re.MULTILINE).split()


def _contexts() -> Iterator[click.Context]:
    """The program's own, then those of its commands, which it loads when they are named."""
    root = click.Context(program, info_name="clc", **program.context_settings)
    yield root
    for name in program.commands:
        _, command, _ = program.resolve_command(root, [name])
        assert command is not None
        yield click.Context(command, info_name=name, parent=root)


def _name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _summary(ctx: click.Context) -> str:
    known = program if ctx.parent is None else program.commands[f"{ctx.command.name}"]
    return f"{known.help}".removesuffix(".")


def _sections(ctx: click.Context) -> Iterator[nodes.section]:
    """What stands in a page below its name, in the order of man-pages(7)."""
    command, is_program = ctx.command, ctx.parent is None
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield _section("Synopsis", nodes.paragraph("", "", *_term(ctx.command_path, usage)))
    paragraphs = inspect.cleandoc(f"{command.help}").split("\n\n")
    yield _section("Description", *(_paragraph(each) for each in paragraphs))
    if is_program:
        commands = [(name, f"{stub.help}") for name, stub in program.commands.items()]
        each_has = "Each has a page of its own, such as clc-reset(1)."
        yield _section("Commands", _paragraph(each_has), _definitions(commands))
    options = [each for each in command.get_params(ctx) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(ctx))]
    yield _section("Options", _definitions(records))
    yield _section("Exit status", *_exit_status(ctx.command_path))
    if is_program:
        yield _section("Environment", _definitions(ENVIRONMENT))
        yield _section("Files", _definitions(FILES))
    elif command.epilog:
        yield _section("Examples", nodes.literal_block("", command.epilog))
    others = [f"{_name(each)}(1)" for each in _contexts() if _name(each) != _name(ctx)]
    yield _section("See also", _paragraph(", ".join(others)))


def _exit_status(path: str) -> Iterator[nodes.Element]:
    if path not in WITH_EXIT_CODES:
        yield _paragraph("The exit codes are those of clc(1).")
        return
    yield _paragraph("What each code means, and whether anything was reset:")
    yield _definitions(
        [(f"{each.code}", f"{each.meaning} ({each.was_reset})") for each in exit_codes.TABLE]
    )
    yield _paragraph("With mixed results the first of 6, 1 and 7 that applies.")


def _section(title: str, *content: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", title.upper()), *content)


def _paragraph(text: str) -> nodes.paragraph:
    """Lines are short enough for mandoc also when their hyphens are escaped."""
    lines = textwrap.fill(" ".join(text.split()), 68, break_on_hyphens=False)
    return nodes.paragraph("", lines)


def _definitions(pairs: Iterable[tuple[str, str]]) -> nodes.definition_list:
    items = []
    for term, text in pairs:
        flags = re.match(r"(--?[\w-]+(, )?)+", term)
        typed, value = (flags[0], term[flags.end() :]) if flags else (term, "")
        title = nodes.term("", "", *_term(typed, value.strip()))
        body = nodes.definition("", _paragraph(text))
        items.append(nodes.definition_list_item("", title, body))
    return nodes.definition_list("", *items)


def _term(typed: str, value: str) -> Iterator[nodes.Node]:
    """What is to be typed as it is, bold; and what stands for a value."""
    yield nodes.strong("", typed)
    if value:
        yield nodes.Text(" ")
        yield nodes.emphasis("", value)


def _roff(name: str, date: str, summary: str, sections: Sequence[nodes.section]) -> str:
    fields = {
        "manual section": "1",
        "manual group": "clc",
        "date": date,
        "version": f"clc {__version__}",
    }
    document = new_document(name, get_default_settings(manpage.Writer))
    document += nodes.title("", name)
    document += nodes.subtitle("", summary)
    document += nodes.docinfo(
        "",
        *(
            nodes.field("", nodes.field_name("", field), nodes.field_body("", nodes.Text(value)))
            for field, value in fields.items()
        ),
    )
    document += sections
    page = publish_from_doctree(
        document,
        writer="manpage",
        settings_overrides={"output_encoding": "unicode", "_disable_config": True},
    )
    return _for_every_man(page)


def _for_every_man(page: str) -> str:
    """Put right what mandoc finds fault with in every page of docutils; keep names whole."""
    page = re.sub(r"(?m)^(\.SH .*\n)\.sp\n", r"\1", page)
    page = re.sub(r'(?m)^\.TH ".*?"', lambda found: found[0].upper(), page)
    page = page.replace("\n.SH Name\n", "\n.ad l\n.SH NAME\n", 1)
    return page.replace(r"clc\-", r"\%clc\-")


if __name__ == "__main__":
    write(FOLDER, datetime.now(UTC).date().isoformat())
