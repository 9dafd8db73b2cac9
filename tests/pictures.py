"""Generate the pictures of the README from runs on a terminal: `python -m tests.pictures`.

Each shows what `clc` leaves on a terminal of 80 columns in the sandbox, in light and in dark. The
SVG refers to nothing outside of it.
"""

import html
import io
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.color import parse_rgb_hex
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.fakes import CLC, Terminal

FOLDER = Path(__file__).parents[1] / ".github"
COLUMNS = 80
RESET = "clc reset WA1ALIASWB01 WA1ALIASWB02 VA1ALIASJOB01 VA1ALIASJOB03 --wait"
LOST = "clc reset WA1ALIASWB01 WA1ALIASWB02 WA1ALIASDB01"
STATUS = "clc status"
LOOKS = {
    "light": ("#59636e", "ffffff 1f2328 24292f cf222e 116329 7d4e00 0969da 8250df 1b7c83 57606a"),
    "dark": ("#8b949e", "0d1117 e6edf3 8b949e ff7b72 3fb950 d29922 58a6ff bc8cff 39c5cf b1bac4"),
}
"""The colours of the frame, and of the terminal: background, text and the usual eight. Each can be
read on its background."""

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
     xml:space="preserve">
<title>TITLE</title>
<style>
text {{ font: 20px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
.title {{ fill: MUTED; font-size: 16px; text-anchor: middle; }}
{styles}
</style>
<defs>
{lines}
</defs>
<rect width="{width}" height="{height}" fill="BACKGROUND" stroke="MUTED" stroke-width="2" rx="8"/>
<text class="title" x="50%" y="27">TITLE</text>
<g transform="translate({terminal_x}, {terminal_y})">
{matrix}
</g>
</svg>
"""
"""What rich fills in, without the font of its own format, which comes from elsewhere."""


class Shot(NamedTuple):
    """A picture before it is drawn: what a terminal shows, and what that is."""

    title: str
    screen: str

    def as_svg(self, look: tuple[str, str]) -> str:
        """Let rich draw it."""
        muted, colours = look
        background, foreground, *others = map(parse_rgb_hex, colours.split())
        console = Console(
            record=True, width=COLUMNS, file=io.StringIO(), color_system="standard", no_color=False
        )
        console.print(Text.from_ansi(self.screen), highlight=False)
        template = SVG.replace("TITLE", self.title).replace("MUTED", muted)
        return console.export_svg(
            theme=TerminalTheme(background, foreground, [*others]),
            code_format=template.replace("BACKGROUND", f"#{colours.split()[0]}"),
            unique_id="clc",
            font_aspect_ratio=0.602,  # that of Menlo and DejaVu Sans Mono
        )


def reset(home: Path, duration: str) -> Shot:
    """A reset of servers in two data centres, one of which is refused."""
    terminal = _sandbox(home, "--duration", duration, *RESET.split())
    return Shot("clc reset", f"$ {RESET}\n{remains(terminal.end()[1])}")


def status(home: Path, duration: str, pause: str) -> Shot:
    """`clc status` after a lost answer, when some of the servers have changed."""
    script = (
        f"{LOST} > {home}/lost 2>&1; sleep {pause}; {STATUS}; code=$?; echo '$ echo $?'; echo $code"
    )
    terminal = _sandbox(home, "--duration", duration, "--lose-answer", "sh", "-c", script)
    return Shot("clc status, after a lost answer", f"$ {STATUS}\n{remains(terminal.end()[1])}")


def _sandbox(home: Path, *words: str) -> Terminal:
    path = f"{Path(CLC).parent}:{os.environ['PATH']}"
    return Terminal("sandbox", *words, HOME=f"{home}", PATH=path, COLUMNS=f"{COLUMNS}")


def remains(shown: str) -> str:
    """Return what is on the screen in the end; rows were erased and drawn again while it waited."""
    lines, row = [""], 0
    for part in re.split(r"(\n|\x1b\[[JK]|\x1b\[[0-9]+A)", shown.replace("\r\n", "\n")):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[J":
            lines[row:] = [""]
        elif part == "\x1b[K":
            lines[row] = ""
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1])
        else:
            lines[row] += part.replace("\r", "")
    return "\n".join(lines).rstrip()


def words(svg: str) -> list[str]:
    """Return the text of a picture, with times, durations and ids of runs replaced."""
    text = html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)<", svg)))
    text = " ".join(re.sub(r"[^\x20-\x7e]", " ", text).split())
    times = r"\d{8}-\d{6}-[0-9a-f]{8}|\d{4}-\d\d-\d\d|\d\d:\d\d(:\d\d)?|\b\d+ s\b"
    return re.sub(times, "TIME", text).split()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        shots = {"reset": reset(Path(folder), "5s"), "status": status(Path(folder), "20s", "17")}
        while "clc reset WA1ALIASWB02 --again" not in shots["status"].screen:  # as in the README
            shots["status"] = status(Path(folder), "20s", "17")
    for name, shot in shots.items():
        for tone, look in LOOKS.items():
            (FOLDER / f"{name}-{tone}.svg").write_text(shot.as_svg(look))
