"""Generate the manual pages from the same help as `clc -h`: `python -m tests.manuals`.

A page's date is the day on which its text last changed (man-pages(7)): a page whose text is still
the program's isn't written.
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
from clc_reset.cli.main import command as program
from clc_reset.exit_codes import ExitCode

FOLDER = Path(__file__).parents[1] / "completions" / "man"
ENVIRONMENT = (
    ("CLC_TOKEN", "A bearer token."),
    ("CLC_TOKEN_FILE", "A file that holds one."),
    (
        "CLC_USERNAME with CLC_PASSWORD or CLC_PASSWORD_FILE",
        (
            "One login for this run; nothing is stored. clc uses the first of these three that is "
            "set, otherwise the keyring's entry for the API in use."
        ),
    ),
    ("CLC_ACCOUNT, CLC_ALIAS", "The account alias to act in, like -a."),
    ("CLC_BASE_URL", "The API, by default https://api.ctl.io; https only, except on loopback."),
    (
        "CLC_STATE_DIR",
        (
            "The journal's folder, an absolute path. clc sandbox sets it to a temporary folder. "
            "Two folders don't know of each other's resets."
        ),
    ),
    (
        "CLC_API_ENDPOINT, CLC_V2_API_URL",
        (
            "Set by clc sandbox for other clients, as CLC_V2_API_USERNAME and CLC_V2_API_PASSWD "
            "are; CLC_USER, CLC_ACCT_ALIAS and CLC_V2_API_TOKEN are unset."
        ),
    ),
    ("CLC_SERVER", "Set for the command of clc reset --check: the server's id."),
    ("CLC_NO_JOURNAL", "1 turns the journal off, and with it the check for earlier resets."),
    ("XDG_STATE_HOME", "Otherwise the journal is in clc-reset here; by default ~/.local/state."),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies."),
    ("SSL_CERT_FILE", "A PEM file with certificates to trust."),
    ("PYTHON_KEYRING_BACKEND", "The keyring backend."),
    ("NO_COLOR", "No colour."),
    ("COLUMNS, LINES", "A smaller size than the terminal's."),
    (
        "CI, ACCESSIBLE=1, TTY_INTERACTIVE=0, TERM=dumb",
        "Progress in lines on a terminal, too.",
    ),
)
FILES = (
    (
        "$XDG_STATE_HOME/clc-reset/journal.sqlite3",
        (
            "The resets from this machine, for clc status, clc history, completion and the check "
            "for earlier resets; no token and no password."
        ),
    ),
)
WITH_EXIT_CODES = {"clc", "clc reset", "clc status"}
"""Pages with the table of exit codes; the others refer to clc(1)."""


def write(folder: Path, today: str) -> list[str]:
    """Write the pages whose text has changed; return their names."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, page in pages(today).items():
        file = folder / name
        if not file.exists() or words(file.read_text()) != words(page):
            file.write_text(page)
            written.append(name)
    return written


def pages(date: str) -> dict[str, str]:
    """Return all pages by file name."""
    found = {}
    for ctx in _contexts():
        page = _roff(_name(ctx), date, _summary(ctx), list(_sections(ctx)))
        found[f"{_name(ctx)}.1"] = page
    return found


def words(page: str) -> list[str]:
    """Return the text of a page, without its date and the roff of this version of docutils."""
    _, _, body = page.partition("\n.TH ")
    body = re.sub(r'^.*"(\d{4}-\d\d-\d\d)"', "", body)
    return re.sub(r"^\.\S+|\\(\(..|f.|.)", " ", body, flags=re.MULTILINE).split()


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


def _summary(ctx: click.Context) -> str:
    known = program if ctx.parent is None else program.commands[f"{ctx.command.name}"]
    return f"{known.help}".removesuffix(".")


def _sections(ctx: click.Context) -> Iterator[nodes.section]:
    """Yield the sections below the name, in the order of man-pages(7)."""
    command, is_program = ctx.command, ctx.parent is None
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield _section("Synopsis", nodes.paragraph("", "", *_term(ctx.command_path, usage)))
    paragraphs = inspect.cleandoc(f"{command.help}").split("\n\n")
    yield _section("Description", *(_paragraph(text) for text in paragraphs))
    if is_program:
        commands = [(name, f"{stub.help}") for name, stub in program.commands.items()]
        pages_text = "Each has a page of its own, such as clc-reset(1)."
        yield _section("Commands", _paragraph(pages_text), _definitions(commands))
    options = [option for option in command.get_params(ctx) if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(ctx))]
    yield _section("Options", _definitions(records))
    yield _section("Exit status", *_exit_status(ctx.command_path))
    if is_program:
        yield _section("Environment", _definitions(ENVIRONMENT))
        yield _section("Files", _definitions(FILES))
    elif command.epilog:
        yield _section("Examples", nodes.literal_block("", command.epilog))
    others = [f"{_name(other)}(1)" for other in _contexts() if _name(other) != _name(ctx)]
    yield _section("See also", _paragraph(", ".join(others)))


def _exit_status(path: str) -> Iterator[nodes.Element]:
    if path not in WITH_EXIT_CODES:
        yield _paragraph("The exit codes are those of clc(1).")
        return
    yield _paragraph("Their meanings, and in brackets whether anything was reset:")
    yield _definitions([(f"{code:d}", f"{code.meaning} ({code.was_reset})") for code in ExitCode])
    yield _paragraph("With mixed results the first of 6, 4, 1 and 7 that applies.")


def _section(title: str, *content: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", title.upper()), *content)


def _paragraph(text: str) -> nodes.paragraph:
    """Return a paragraph whose lines are short enough for mandoc when hyphens are escaped."""
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
    """Yield what is typed literally in bold, and a value's placeholder in italics."""
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
    """Correct what mandoc reports in every page of docutils; keep names whole."""
    page = re.sub(r"(?m)^(\.SH .*\n)\.sp\n", r"\1", page)
    page = re.sub(r'(?m)^\.TH ".*?"', lambda found: found[0].upper(), page)
    page = page.replace("\n.SH Name\n", "\n.ad l\n.SH NAME\n", 1)
    return page.replace(r"clc\-", r"\%clc\-")


if __name__ == "__main__":
    write(FOLDER, datetime.now(UTC).date().isoformat())
