"""The README's commands exist, its session runs, its links lead somewhere; recipes start with their command."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM = Path(sys.executable).parent / "procrop-data"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands(pattern):
    return sorted(
        {
            line.split("#")[0].strip()
            for block in blocks("bash")
            for line in block.splitlines()
            if re.match(pattern, line)
        }
    )


@pytest.mark.parametrize("line", commands("make "))
def test_make_targets_exist(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", commands(r"\.venv/bin/procrop-data "))
def test_commands_and_their_options_exist(line):
    words = line.split()[1:]
    told = subprocess.run(
        [PROGRAM, words[0], "--help"], capture_output=True, text=True, env={"COLUMNS": "200", "PATH": ""}
    )
    assert told.returncode == 0, told.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in told.stdout


def test_the_python_session_gives_what_it_shows():
    """Numbers may differ by a few pixels between processors; everything else must be as printed."""
    (block,) = (b for b in blocks("python") if ">>>" in b)
    lines = block.strip().splitlines()
    scope, printed, shown = {}, "", ""
    for line in lines:
        if line.startswith(">>> "):
            tree = ast.parse(line[4:], mode="exec")
            if isinstance(tree.body[0], ast.Expr):
                printed = repr(eval(line[4:], scope))
            else:
                exec(line[4:], scope)
        else:
            shown = line
    numbers = r"-?\d+\.?\d*"
    assert re.sub(numbers, "#", printed) == re.sub(numbers, "#", shown)
    got, want = (list(map(float, re.findall(numbers, text))) for text in (printed, shown))
    assert got == pytest.approx(want, rel=0.1, abs=20)


def test_links_and_pictures_lead_somewhere():
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if not t.startswith("http")]
    assert len(targets) > 12
    assert [t for t in targets if not (ROOT / t.split("#")[0]).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_start_with_their_command_time_and_result(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(word in head[0] for word in ("make ", "procrop-data "))
    text = " ".join(head)
    assert "minutes" in text and "canvases" in text
