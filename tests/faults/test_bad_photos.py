"""Odd photographs and damaged weights through the real models: a word for each, the right exit code, the run goes on."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.app.session import open_existing
from pipeline.cli.app import main
from pipeline.core.errors import ModelError
from pipeline.core.resources import bundled
from stages.backends.vision.u2net import U2NetSegmenter, u2netp_path
from stages.photos.decode import to_array
from tests.chain import kept_rows, recipe_for, run_chain, session_for

RECIPE = """
base: default
name: odd
work_shards: 1
ingest: {{source: "{source}", min_side: 64, splits: {{train: 1.0}}}}
outpaint: {{variants: 1, long_side: 96, checks: {{repeat_correlation: 1}}}}
refine: {{rounds: 1, beam: 4, moves: 1}}
filter: {{min_own_subject: 0, max_cut_subject: 1, canvas_quantile: 0}}
"""
GOOD = ("small", "grey", "opaque", "panorama", "sky", "plain")
BAD = {"transparent": "bad_mode", "ribbon": "too_long", "cut": "truncated", "dot": "too_small"}


def photograph(name, size, mode="RGB"):
    with Image.open(bundled("assets") / "photos" / f"{name}.jpg") as image:
        return image.convert("RGB").resize(size).convert(mode)


def make_odd(folder):
    """One photograph of each kind that a folder of somebody's may hold."""
    folder.mkdir()
    photograph("flowers", (80, 64)).save(folder / "small.jpg")  # smaller than the canvas
    photograph("fog", (240, 160), "L").save(folder / "grey.png")
    photograph("life", (200, 240), "RGBA").save(folder / "opaque.png")
    photograph("coffee", (640, 170)).save(folder / "panorama.jpg")
    rows, columns = np.mgrid[0:160, 0:240]
    sky = np.stack([90 + rows / 2 + columns / 20, 140 + rows / 3, 230 + rows / 10], -1)
    Image.fromarray(sky.clip(0, 255).astype(np.uint8)).save(folder / "sky.png")
    Image.new("RGB", (200, 160), (128, 128, 128)).save(folder / "plain.png")
    glass = photograph("sunset", (240, 160), "RGBA")
    glass.putalpha(Image.fromarray(rows.astype(np.uint8)))
    glass.save(folder / "transparent.png")
    photograph("rocket", (900, 100)).save(folder / "ribbon.jpg")
    photograph("china", (300, 200)).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-2000])
    (folder / "whole.jpg").unlink()
    photograph("friends", (40, 30)).save(folder / "dot.jpg")


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return stopped.value.code or 0, told.out, told.err

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd photos")
    make_odd(folder / "photos")
    (folder / "odd.yaml").write_text(RECIPE.format(source=folder / "photos"))
    return folder


@pytest.fixture(scope="module")
def painted(home):
    """The run with its canvases painted, by the program."""
    from pipeline.app.progress import Display
    from pipeline.app.run_stages import RunRequest, run_stages_of

    request = RunRequest(config=str(home / "odd.yaml"), work=str(home / "work"), until="outpaint", workers=1)
    run_stages_of(request, Display(quiet=True))
    return home / "work"


def test_every_odd_photograph_is_painted_or_has_its_word(painted, call):
    code, out, _ = call("status", "--work", painted, "--json")
    funnel = {stage["stage"]: stage for stage in json.loads(out)["stages"]}
    assert code == 0
    assert funnel["ingest"]["kept"] == len(GOOD)
    assert funnel["ingest"]["rejected"] == dict.fromkeys(BAD.values(), 1)
    assert funnel["outpaint"]["failed"] == {}
    assert funnel["outpaint"]["kept"] + sum(funnel["outpaint"]["rejected"].values()) == len(GOOD)
    code, out, _ = call("status", "--work", painted, "--failed", "--json")
    told = {row["detail"].split(":")[0].rsplit("/", 1)[-1].split(".")[0]: row for row in json.loads(out)}
    for name, word in BAD.items():
        assert told[name]["reason"] == word
        assert len(told[name]["detail"].split(": ", 1)[1]) > 10


def test_smooth_photographs_get_smooth_surroundings(painted):
    run = open_existing(str(painted)).run
    names = {row["key"]: row["uri"].rsplit("/", 1)[-1].split(".")[0] for row in run.sources(0)}
    tables = run.tables()
    seen = {}
    for row in tables.columns("outpaint", 0, None).to_pylist():
        if row["status"] != "kept":
            continue
        name = names[row["photo"]]
        canvas = to_array(tables.read_range(tables.path("outpaint", 0), row["image_offset"], row["image_size"]))
        assert canvas.shape == (row["height"], row["width"], 3)
        x1, y1, x2, y2 = row["photo_box"]
        assert 0 <= x1 < x2 <= row["width"] and 0 <= y1 < y2 <= row["height"]
        seen.setdefault(name, []).append(canvas.astype(float))
    assert {"small", "grey", "opaque", "sky", "plain"} <= set(seen)
    assert max(np.abs(canvas[..., 0] - canvas[..., 2]).mean() for canvas in seen["grey"]) < 8
    assert max(canvas.std() for canvas in seen["plain"]) < 6
    assert min(canvas[..., 2].mean() - canvas[..., 0].mean() for canvas in seen["sky"]) > 40


def scorer(folder, **changes):
    """A copy of the bundled scorer, with changes to its config."""
    shutil.copytree(bundled("assets") / "models" / "scorer", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.long
def test_a_damaged_scorer_is_one_line_and_the_run_goes_on(painted, home, call):
    cut = scorer(home / "cut scorer")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-900])
    foreign = scorer(home / "foreign scorer", features="composition-features-v9")
    begun = {path: path.stat().st_mtime_ns for path in painted.glob("outpaint/*")}
    for folder, said in ((cut, "are damaged"), (foreign, "composition-features-v9"), (home / "none", "no scorer in")):
        code, _, err = call(
            "run", "--work", painted, "--until", "filter", "--workers", 1, "--quiet", f"models.scorer.folder={folder}"
        )
        assert (code, err.count("\n")) == (2, 1), err
        assert said in err and str(folder) in err
    code, _, err = call(
        "run", "--work", painted, "--until", "filter", "--workers", 1, "--quiet", "models.scorer.folder=''"
    )
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in painted.glob("outpaint/*")} == begun


def test_a_truncated_segmenter_stops_its_stage_alone(home):
    bad = home / "u2netp.onnx"
    bad.write_bytes(u2netp_path().read_bytes()[:100_000])
    recipe = recipe_for(home / "photos", work_shards=1, ingest={"min_side": 64})
    broken = session_for(recipe, home / "segmenter", segmenter=U2NetSegmenter(bad))
    with pytest.raises(ModelError, match=r"segmenter weights .*u2netp\.onnx do not load .*: restore the file"):
        run_chain(broken, until="outpaint")
    whole = session_for(recipe, home / "segmenter", segmenter=U2NetSegmenter())
    assert len(kept_rows(whole, "ingest")) == len(GOOD)
    run_chain(whole, until="outpaint")
    assert kept_rows(whole, "outpaint")
