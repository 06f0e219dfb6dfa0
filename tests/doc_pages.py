"""Reads the pages of the documentation: their commands, inline code and blocks."""

import re
import shlex
from pathlib import Path

import typer

from pipeline.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "CHANGELOG.md")]
    + [*(ROOT / "docs").rglob("*.md"), *(ROOT / "assets" / "models").glob("*/README.md")]
)
HEADERS = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "examples").glob("*/*")])
PROGRAM = typer.main.get_command(app)
OTHER_PROGRAMS = {
    "accelerate", "aws", "energon", "hf", "kubectl", "make", "pip", "python", "ray", "sbatch", "torchrun", ".ci/run",
}  # fmt: skip


def text_of(path: Path) -> str:
    """A page; of a recipe or an example, its comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return "\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#") and line[:2] != "#!")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(path), flags=re.S)


def spans(path: Path) -> list[str]:
    """Inline code outside of blocks; a line break within one is a space."""
    prose = re.sub(r"```.*?```", "", text_of(path), flags=re.S)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def shell_lines(path: Path) -> list[str]:
    """Lines of bash blocks and lines after a ``$`` of text blocks; of a recipe or an example, comments that are commands."""
    if path.suffix == ".md":
        lines = "\n".join(blocks(path, "bash")).replace("\\\n", " ").splitlines()
        lines += re.findall(r"^\$ (.+)$", "\n".join(blocks(path, "text")), re.M)
    else:
        lines = re.findall(r"^(?:procrop-data|make|sbatch|kubectl) .+", text_of(path).replace("\\\n", " "), re.M)
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def inline_commands(path: Path) -> list[str]:
    """Commands in the prose: a program and its arguments, or a subcommand and an option."""
    found = []
    for span in spans(path):
        first, _, rest = span.partition(" ")
        if first in {*OTHER_PROGRAMS, "procrop-data", ".venv/bin/procrop-data"} or first.startswith("PYTHONPATH="):
            found.append(span)
        elif first in PROGRAM.commands and rest.startswith("--"):  # type: ignore[attr-defined]
            found.append(f"procrop-data {span}")
    return found


def words_of(line: str) -> list[str]:
    """Words of a shell line without its comment."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return line.split()


def program_arguments(line: str) -> list[list[str]]:
    """Arguments of each ``procrop-data`` command of a shell line, also within another command, in ``$(...)`` and after ``&&``."""
    nested = re.findall(r"\$\((procrop-data [^)]*)\)", line)
    words = words_of(re.sub(r"\$\(.*?\)", "0", line) if nested else line)
    commands = [words_of(inner)[1:] for inner in nested]
    for at, word in enumerate(words):
        if word == "procrop-data" or word.endswith(("/procrop-data", "/run.sbatch")):
            rest = words[at + 1 :]
            commands.append(rest[: rest.index("&&")] if "&&" in rest else rest)
    return [[word for word in command if word != "..."] for command in commands if command]
