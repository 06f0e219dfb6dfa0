"""The whole way as a user goes it: real photographs, real embedded models, the installed command; a tiny recipe."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).parent / "procrop-data"
CHOSEN = {
    "train": ("not-windows", "fog", "butterfly", "freespace-0b", "rocket"),
    "val": ("sunset",),
    "test": ("coffee", "butterfly-wimer"),
}
RECIPE = """
base: default
name: tiny
work_shards: 2
ingest: {{source: "{source}"}}
outpaint: {{variants: 2, held_out_variants: 2, long_side: 96}}
refine: {{rounds: 2}}
filter: {{min_own_subject: 0.2, max_cut_subject: 0.9}}
build: {{shards: 3}}
train: {{epochs: 2}}
"""


def program(*arguments, check=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == check, done.stderr
    return done


def size_of(path):
    with Image.open(path) as image:
        return image.size


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("end to end")
    photos = folder / "my photos"
    photos.mkdir()
    with open(ROOT / "assets" / "photos" / "credits.csv", newline="") as file:
        rows = [
            r for r in csv.DictReader(file) if any(r["file"] == f"{n}.jpg" for found in CHOSEN.values() for n in found)
        ]
    for row in rows:
        shutil.copy(ROOT / "assets" / "photos" / row["file"], photos)
    with open(photos / "credits.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "tiny.yaml").write_text(RECIPE.format(source=photos))
    return folder


@pytest.fixture(scope="module")
def work(home):
    program("run", "--config", home / "tiny.yaml", "--work", home / "work", "--quiet")
    return home / "work"


@pytest.fixture(scope="module")
def trained(work):
    program("train", "--work", work, "--quiet")
    return work


@pytest.mark.long
def test_a_finished_run_does_nothing_in_seconds(work):
    again = json.loads(program("run", "--work", work, "--json").stdout)
    assert all(stage["done_now"] == 0 for stage in again["stages"])
    assert {s["stage"]: s["kept"] for s in again["stages"]}["ingest"] == 8


@pytest.mark.long
def test_canvases_keep_their_photograph(work):
    import io

    import numpy as np
    import pyarrow.parquet as pq

    seen = 0
    for path in sorted((work / "outpaint").glob("*.parquet")):
        tar = path.with_suffix(".tar").read_bytes()
        for row in pq.read_table(path).to_pylist():
            image = Image.open(io.BytesIO(tar[row["image_offset"] : row["image_offset"] + row["image_size"]]))
            assert image.size == (row["width"], row["height"])
            x1, y1, x2, y2 = row["photo_box"]
            outside = np.asarray(image.convert("L"), float).copy()
            inside = outside[y1:y2, x1:x2].copy()
            outside[y1:y2, x1:x2] = np.nan
            assert np.nanstd(outside) > 0.5 and inside.std() > 0.5
            seen += 1
    assert seen == 16


@pytest.mark.long
def test_status_tells_the_funnel(work):
    told = json.loads(program("status", "--work", work, "--json").stdout)
    by_stage = {s["stage"]: s for s in told["stages"]}
    assert by_stage["outpaint"]["in"] == 16
    assert by_stage["filter"]["in"] == by_stage["outpaint"]["kept"]
    assert "outpaint" in program("status", "--work", work).stdout


@pytest.mark.long
def test_evaluation_prints_the_model_beside_its_baselines(trained):
    told = json.loads(program("eval", "--work", trained, "--json").stdout)
    assert told["split"] == "test" and told["photos"] == 2
    assert set(told["rows"]) == {"model", "identity", "centre_0.9", "constant", "saliency_box", "smartcrop"}
    for row in told["rows"].values():
        mean, low, high = row["iou"]
        assert 0 <= low <= mean <= high <= 1


@pytest.mark.long
def test_crops_have_the_exact_size_and_come_from_the_original(trained, tmp_path):
    photo = ROOT / "assets" / "photos" / "seeding.jpg"
    strange = tmp_path / "Ünï code photo.v2.jpg"
    shutil.copy(photo, strange)
    told = json.loads(
        program(
            "crop", strange, "--work", trained, "--size", "200x250", "--top", "2", "--out", tmp_path / "out", "--json"
        ).stdout
    )
    (entry,) = told
    assert (entry["width"], entry["height"]) == size_of(photo)
    assert 1 <= len(entry["crops"]) <= 2
    for found in entry["crops"]:
        x1, y1, x2, y2 = found["box_px"]
        assert 0 <= x1 < x2 <= entry["width"] and 0 <= y1 < y2 <= entry["height"]
        assert (x2 - x1) / (y2 - y1) == pytest.approx(0.8, abs=0.02)
    written = sorted((tmp_path / "out").glob("*.jpg"))
    assert [size_of(path) for path in written] == [(200, 250)] * len(entry["crops"])


@pytest.mark.long
def test_a_bad_photo_is_named_and_the_others_are_cropped(trained, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    shutil.copy(ROOT / "assets" / "photos" / "coffee.jpg", tmp_path)
    done = program("crop", tmp_path, "--work", trained, "--out", tmp_path / "out", "--json", check=3)
    told = {Path(entry["file"]).name: entry for entry in json.loads(done.stdout)}
    assert "error" in told["text.jpg"] and told["coffee.jpg"]["crops"]
    assert "text.jpg" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.long
def test_the_report_is_one_page_with_pictures(trained):
    program("report", "--work", trained)
    page = (trained / "report" / "index.html").read_text()
    assert page.count("data:image/") > 20 and 'src="http' not in page
    assert "coffee" in page


def test_a_run_ends_with_a_table_of_files_without_a_photograph(home, tmp_path):
    folder = tmp_path / "bad input"
    shutil.copytree(home / "my photos", folder)
    (folder / "zero.jpg").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / "coffee.jpg").read_bytes()[:9000])
    shutil.copy(folder / "fog.jpg", folder / "fog again.jpg")
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    done = program("ingest", f"ingest.source={folder}", "--work", tmp_path / "work")
    for name, reason in (("zero", "unreadable"), ("text", "unreadable"), ("cut", "truncated"), ("pixel", "too_small")):
        assert any(name in line and reason in line for line in done.stderr.splitlines()), done.stderr
    assert "8 of 13 kept" in done.stderr and "duplicate 1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--config", "nosuch"], 2, "no config named 'nosuch'"),
        (["run", "outpaint.variant=3"], 2, "unknown key 'outpaint.variant'"),
        (["run", "ingest.source=/no/such/folder"], 2, "no such folder"),
        pytest.param(["build", "--shards", "999"], 2, "ask for fewer shards", marks=pytest.mark.long),
        (["status"], 2, "no run in"),
        (["run", "--until", "nosuch"], 2, "stages are ingest"),
        (["crop", "nosuch.jpg"], 2, "no photographs at 'nosuch.jpg'"),
        (["crop", "--aspect", "wide", str(ROOT / "assets/photos/coffee.jpg")], 2, "aspect 'wide' is not understood"),
        (["filter"], 2, "run 'procrop-data outpaint' first"),
        (["train"], 2, "run 'procrop-data run'"),
    ],
)
def test_mistakes_get_one_line_and_their_code(arguments, code, message, tmp_path, request):
    work = (
        request.getfixturevalue("work") if arguments[0] == "build" else tmp_path / "work"
    )  # 'build' needs a whole run
    where = ["--work", str(work)]
    accept = ["--accept-change"] if arguments[0] == "build" else []
    done = program(*arguments, *where, *accept, check=code)
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    if arguments[0] == "build":
        assert len(list((work / "dataset" / "shards").glob("*.tar"))) == 3
