"""The product as users install it: wheel and sdist, every Python, oldest and newest libraries."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from clc_reset import __version__
from tests.real.conftest import Make

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOME = Path("~").expanduser()  # before a test has another
RESULT = "WA1ALIASWB01\tsucceeded\twa1-12345\t\t\nWA1ALIASWB02\tsucceeded\twa1-12345\t\t\n"
"""Without the last column, the run."""


@pytest.fixture(scope="module")
def dist(made_once: Callable[[str, Make], Path]) -> Path:
    """The folder with the wheel and the sdist."""
    build = (sys.executable, "-m", "build", str(ROOT), "--outdir")
    return made_once("dist", lambda folder: run(*build, str(folder)))


def run(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, check=False, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout


def interpreter(version: str) -> str | None:
    """A Python of this machine, also one that pyenv has and doesn't show."""
    if found := shutil.which(f"python{version}"):
        works = subprocess.run([found, "--version"], check=False, capture_output=True)
        if works.returncode == 0:
            return found
    kept = Path(os.environ.get("PYENV_ROOT", Path(HOME, ".pyenv")), "versions")
    return next(map(str, kept.glob(f"{version}.*/bin/python{version}")), None)


def installed(folder: Path, python: str, *what: str) -> Path:
    """A clean environment with what is named in it; its folder of programs."""
    run(python, "-m", "venv", "--without-pip", str(folder))
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"))
    run(*pip, "install", "--quiet", *what)
    return folder / "bin"


def resets(programs: Path) -> None:
    """Check that the product does its job, by either of its names."""
    clc, python = str(programs / "clc"), str(programs / "python")
    assert run(clc, "--version") == run(python, "-m", "clc_reset", "--version")
    assert run(clc, "--version") == f"clc {__version__}\n"
    job = ("reset", "WA1ALIASWB01", "WA1ALIASWB02", "--wait")
    printed = run(clc, "sandbox", "--duration", "100ms", "clc", *job)
    assert re.sub(r"\t[0-9a-f-]+$", "", printed, flags=re.MULTILINE) == RESULT
    table = run(clc, "sandbox", "--duration", "100ms", "clc", *job, "-o", "table")
    assert table.count("succeeded") == 2


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_does_its_job_on_every_python(dist: Path, tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} isn't on this machine")
    (wheel,) = dist.glob("*.whl")
    resets(installed(tmp_path, python, str(wheel)))


def test_every_python_that_is_promised_is_tried() -> None:
    promised = re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert set(promised) <= set(PYTHONS)


def test_the_sdist_does_its_job(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    programs = installed(tmp_path, sys.executable, str(sdist))
    resets(programs)
    for file in ("bash-completion/completions/clc", "zsh/site-functions/_clc", "man/man1/clc.1"):
        assert (tmp_path / "share" / file).stat().st_size
    assert (tmp_path / "share/fish/vendor_completions.d/clc.fish").stat().st_size


def test_the_oldest_libraries_that_are_allowed_do(dist: Path, tmp_path: Path) -> None:
    oldest = [name.replace(">=", "==") for name in PROJECT["dependencies"]]
    (wheel,) = dist.glob("*.whl")
    resets(installed(tmp_path, sys.executable, str(wheel), *oldest))
