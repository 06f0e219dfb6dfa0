"""The first hour of a researcher: the block of docs/dataset.md on twelve photographs, the dataset without us, and the wheel."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.doc_pages import ROOT, blocks

PROGRAM = Path(sys.executable).parent / "procrop-data"
PHOTOS = ROOT / "assets" / "photos"
# Small numbers, written behind the page's own so that they hold: a minute of work instead of ten.
TINY = (
    "work_shards=2 outpaint.variants=1 outpaint.held_out_variants=1 outpaint.long_side=96 refine.rounds=1 train.epochs=1 "
    "filter.min_own_subject=0.1 filter.max_cut_subject=1.0"
)
WITHOUT_US = "import sys; sys.modules.update(dict.fromkeys(('pipeline', 'stages', 'procrop_model')))\n"
pytestmark = pytest.mark.long


def call(words: list[object], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=560, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def photographs(folder: Path, names: list[Path]) -> Path:
    folder.mkdir()
    for path in names:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Twelve photographs without credits and a test set of two; the page's block has run, and printed.txt is what it printed."""
    folder = tmp_path_factory.mktemp("first hour")
    names = sorted(PHOTOS.glob("*.jpg"))
    photographs(folder / "photos", names[:12])
    photographs(folder / "test-set", names[-2:])
    printed = ""
    for line in own_dataset_lines():
        words = shlex.split(line.replace("/path/to/", ""), comments=True)
        tiny = shlex.split(TINY) if "ingest.source=photos" in words else []
        done = call([PROGRAM, *words[1:], *tiny], folder)
        printed += f"$ {line}\n{done.stdout}{done.stderr}"
    (folder / "printed.txt").write_text(printed)
    return folder


def own_dataset_lines() -> list[str]:
    """The commands of the block of docs/dataset.md about a dataset of one's own, in their order."""
    (block,) = [
        block for block in blocks(ROOT / "docs" / "dataset.md", "bash") if "--work my-work ingest.source=" in block
    ]
    return block.strip().splitlines()


def test_readme_runs_in_its_order_on_twelve_photographs(home):
    printed = (home / "printed.txt").read_text()
    assert re.search(r"'[^']+' is (val|test), so that each split has a photograph", printed)
    assert re.search(r"build.shards=64 is the most that there may be: \d+ were written", printed)
    splits = {path.name.split("-")[1] for path in (home / "my-work" / "dataset" / "shards").iterdir()}
    assert splits == {"train", "val", "test"}
    assert (home / "my-work" / "report" / "index.html").stat().st_size > 10_000
    again = call([PROGRAM, "run", "--work", "my-work"], home).stderr.splitlines()
    assert len(again) <= 2 and again[0].startswith("nothing to do: ")


def test_the_card_shows_how_to_use_the_dataset_without_us(home, tmp_path):
    dataset = home / "my-work" / "dataset"
    card = (dataset / "README.md").read_text()
    plain, hugging_face = re.findall(r"```python\n(.*?)```", card, flags=re.S)
    environment = {"PYTHONPATH": "", "HF_HOME": str(tmp_path / "hf"), "PYTHONWARNINGS": "ignore"}
    for code in (plain, hugging_face):
        call(
            [sys.executable, "-c", WITHOUT_US + code.replace("/path/to/this/dataset", str(dataset))],
            tmp_path,
            **environment,
        )
    with Image.open(tmp_path / "crops.jpg") as drawn:
        assert max(drawn.size) == 96


def test_the_wheel_crops_without_a_checkout(tmp_path):
    call(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, ROOT],
        tmp_path,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    shutil.copy(PHOTOS / "coffee.jpg", tmp_path)
    start = "from pipeline.cli.app import main; import pipeline; assert 'site' in pipeline.__file__; main()"
    command = [sys.executable, "-c", start]
    call(
        [*command, "crop", "coffee.jpg", "--aspect", "4:5", "--out", "crops"],
        tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )
    assert list((tmp_path / "crops").glob("*.jpg"))
    shown = call([*command, "plan", "--config", "demo"], tmp_path, PYTHONPATH=str(tmp_path / "site")).stdout
    assert "33 photographs" in shown
