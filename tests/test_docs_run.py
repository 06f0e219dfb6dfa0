"""What the pages show is what happens: quick commands run on a small run directory, and every Python block runs.

``test_docs.py`` parses the other commands, which take minutes, a GPU, a hub or a cluster.
"""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from tests import miniature_sets
from tests.chain import make_photos
from tests.doc_pages import PAGES, ROOT, blocks, shell_lines, text_of

CROPPER = ROOT / "assets" / "models" / "cropper"
PHOTOS = ROOT / "assets" / "photos"
NUMBER = r"-?\d+(?:\.\d+)?"
# Lines of the pages, in the order in which they run in one folder.
QUICK = (
    "models",
    "plan ingest.source=/path/to/photos outpaint.variants=5",
    "plan --config sdxl --photos 48400 --variants 5",
    "status --work my-work",
    "verify --work my-work",
    "convert --dataset gaicd --root /data/GAICD --out gaicd-shards",
    "lint gaicd-shards/shards",
)


def run(line: str) -> str:
    """What a command prints; ``line`` is without the program's name. Any other exit code than 0 fails."""
    words = shlex.split(line.replace("/path/to/photos", "photos").replace("/data/GAICD", "GAICD"), comments=True)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result.output


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the pages name: photographs, a public set, and a run directory after its first stage."""
    folder = tmp_path_factory.mktemp("docs")
    make_photos(folder / "photos", 3)
    miniature_sets.gaicd(folder / "GAICD")
    (folder / "models").mkdir()
    run(f"run --until ingest --quiet --work {folder}/my-work work_shards=2 ingest.source={folder}/photos")
    return folder


def test_quick_commands_run(home, monkeypatch):
    monkeypatch.chdir(home)
    shown = {
        re.sub(r"^\S*procrop-data ", "", line).split("#")[0].strip() for page in PAGES for line in shell_lines(page)
    }
    assert set(QUICK) <= shown
    for line in QUICK:
        run(line)


def test_the_plan_of_a_large_run_prints_the_figures_of_its_page():
    page = text_of(ROOT / "docs" / "scale.md")
    (line,) = re.findall(r"`procrop-data (plan --photos 10000000 [^`]+)`", page)
    printed = run(line)
    for figure in (
        "49 h 05 min to 280 h", "31 h 07 min", "5,555.6", "10,992.3", "17.95 TB", "390,768",
        "build.shards=10349", "387 GiB",
    ):  # fmt: skip
        assert figure in page and figure in printed
    assert "request" not in printed and "172,162,016" in page  # only a remote store has requests
    assert json.loads(run(f"{line} --json"))["requests"] == 172_162_016


def sessions() -> list[tuple[str, list[str]]]:
    """Each command of docs/cropping.md that stands with its output."""
    text = "".join(blocks(ROOT / "docs" / "cropping.md", "text"))
    parts = re.split(r"^\$ procrop-data ", text, flags=re.M)[1:]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def test_crops_are_those_that_the_page_shows(monkeypatch):
    """Rank, score and box of each row; processors may differ by a few pixels."""
    monkeypatch.chdir(ROOT)
    assert len(sessions()) > 4
    for line, shown in sessions():
        printed = [row for row in run(line).splitlines() if re.search(r" \d\.\d\d ", row)]
        assert len(printed) == len(shown), line
        for got, want in zip(printed, shown, strict=True):
            first, second = (
                re.search(rf" (\d) +(0\.\d+) +({NUMBER}) ({NUMBER}) ({NUMBER}) ({NUMBER})", row) for row in (got, want)
            )
            assert list(map(float, first.groups())) == pytest.approx(
                list(map(float, second.groups())), rel=0.05, abs=12
            )
            for note in ("limits not met", "left whole"):
                assert (note in got) == (note in want), line


def test_the_readme_session_prints_what_it_shows():
    """Numbers may differ by a few pixels between processors; everything else must be as printed."""
    (block,) = (b for b in blocks(ROOT / "README.md", "python") if ">>>" in b)
    scope, printed, shown = {}, "", ""
    for line in block.strip().splitlines():
        if not line.startswith(">>> "):
            shown = line
        elif isinstance(ast.parse(line[4:]).body[0], ast.Expr):
            printed = repr(eval(line[4:], scope))
        else:
            exec(line[4:], scope)
    assert re.sub(NUMBER, "#", printed) == re.sub(NUMBER, "#", shown)
    got, want = (list(map(float, re.findall(NUMBER, text))) for text in (printed, shown))
    assert got == pytest.approx(want, rel=0.1, abs=20)


def test_the_python_blocks_of_the_pages_run(home, monkeypatch):
    monkeypatch.chdir(home)
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        shutil.copy(PHOTOS / "coffee.jpg", name)
    Path("work/models/cropper").mkdir(parents=True)
    Path("work/models/cropper/cropper").symlink_to(CROPPER)
    run("convert --dataset gaicd --root /data/GAICD --out my-work/dataset")
    # tests/test_extending.py and tests/stages/test_build.py do what these two show
    elsewhere = ("extending.md", "licences.md")
    others = [page for page in PAGES if page.name not in elsewhere]
    pages = [(page.name, block) for page in others for block in blocks(page, "python") if ">>>" not in block]
    assert {"cropping.md", "shards.md"} <= {name for name, _ in pages}
    for name, block in pages:
        exec(compile(block, name, "exec"), {"__name__": f"page_{Path(name).stem}"})
