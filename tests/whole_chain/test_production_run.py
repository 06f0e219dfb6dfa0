"""A run with models of the user's own: found batch, unsafe canvases, regions, licences in the card, through the program itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.app.recipe_for_run import with_kept_batch
from pipeline.runs.plan import Plan
from stages.recipe import Recipe
from tests import tiny_checkpoints as tiny
from tests.chain import make_photos

PROGRAM = Path(sys.executable).parent / "procrop-data"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A ControlNet recipe on tiny checkpoints, written down as a user would."""
    home = tmp_path_factory.mktemp("own")
    model = tiny.stable_diffusion(home / "sd")
    body = {
        "name": "own",
        "work_shards": 1,
        "ingest": {"source": str(make_photos(home / "photos", 2))},
        "models": {
            "outpainter": {
                "kind": "controlnet-inpaint", "model": str(model), "controlnet": str(tiny.controlnet(home)),
                "num_inference_steps": 2, "side": 64, "dtype": "float32",
            },
            "composer": {"kind": "sam", "model": str(tiny.sam_hub(home / "sam")), "points": 2, "min_iou": -99.0},
        },
        "outpaint": {"variants": 1, "held_out_variants": 1, "long_side": 64},
    }  # fmt: skip
    (home / "own.yaml").write_text(yaml.safe_dump(body))
    return home / "own.yaml"


def program(*words, cwd):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, cwd=cwd)


@pytest.mark.long
def test_a_batch_is_found_once_and_kept(recipe, tmp_path):
    work = ["--work", tmp_path / "work", "--workers", 1]
    done = program("run", "--config", recipe, "--until", "outpaint", *work, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 canvases fit the device together" in done.stderr + done.stdout
    plan = json.loads((tmp_path / "work" / "plan.json").read_text())
    assert plan["config"]["models"]["outpainter"]["batch"] == 1
    receipt = json.loads((tmp_path / "work" / "outpaint" / "000000.receipt.json").read_text())
    assert receipt["n_in"] == 2 and set(receipt["recipe"]["models"]) == {"outpainter", "composer"}
    again = program("outpaint", "--config", recipe, *work, cwd=tmp_path)
    assert again.returncode == 0 and "fit the device" not in again.stderr + again.stdout


def test_a_kept_batch_is_of_the_same_painter_only():
    body = {"name": "x", "models": {"outpainter": {"kind": "sd15-inpaint"}}}
    recipe = Recipe.model_validate(body)
    kept = recipe.model_dump(mode="json")
    kept["models"]["outpainter"]["batch"] = 8
    assert with_kept_batch(recipe, Plan("x", 0, 8, kept)).models.outpainter.batch == 8
    assert with_kept_batch(recipe, None).models.outpainter.batch == "auto"
    assert with_kept_batch(recipe, Plan("x", 0, 8, recipe.model_dump(mode="json"))).models.outpainter.batch == "auto"
    other = Recipe.model_validate(
        {"name": "x", "models": {"outpainter": {"kind": "sd15-inpaint", "num_inference_steps": 9}}}
    )
    assert with_kept_batch(other, Plan("x", 0, 8, kept)).models.outpainter.batch == "auto"
    told = Recipe.model_validate({"name": "x", "models": {"outpainter": {"kind": "sd15-inpaint", "batch": 2}}})
    assert with_kept_batch(told, Plan("x", 0, 8, kept)).models.outpainter.batch == 2
    assert with_kept_batch(Recipe(name="x"), Plan("x", 0, 8, kept)) == Recipe(name="x")
