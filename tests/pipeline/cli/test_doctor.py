"""``models`` and ``doctor`` on the embedded recipe, on tiny checkpoints and on ones that are not there."""

import json
import re

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.app.machine_checks import (
    Check,
    check_any_checkpoint,
    check_gpu_roles,
    check_machine,
    check_torchvision,
)
from pipeline.cli.app import app
from pipeline.core.errors import ModelError, UsageError
from pipeline.planning.recipe_files import read_recipe_mapping, recipe_names
from stages.backends.catalogue import all_backends, measurements
from stages.backends.registry import ModelSettings
from stages.backends.smoke_test import try_models
from stages.recipe import Recipe, stages_of
from tests import tiny_checkpoints as tiny
from tests.chain import make_photos, recipe_for, run_chain, session_for


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def said(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    return done


def test_every_registered_backend_is_listed_with_its_licence():
    rows = json.loads(said("models", "--json").stdout)
    assert len(rows) == len(all_backends()) >= 20
    assert {row["role"] for row in rows} == set(ModelSettings.model_fields)
    assert all(row["licence"] for row in rows) and len({(row["role"], row["kind"]) for row in rows}) == len(rows)
    here = {row["kind"]: row["is_here"] for row in rows}
    assert here["patch-diffusion"] and here["lite0"] and not here["flux-fill"]
    assert "flux-fill" in said("models").stdout


def test_doctor_tries_each_model_and_remembers_what_it_measured(tmp_path):
    done = said("doctor", "--json", "--work", tmp_path / "work", "outpaint.long_side=64")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["ok"]
    assert {line["what"] for line in told["machine"]} >= {"python", "torch", "memory", "disk"}
    roles = {"captioner", "segmenter", "encoder", "scorer", "outpainter", "faces"}
    assert {trial["role"] for trial in told["models"]} == roles
    assert measurements()["outpainter/patch-diffusion"]["rate"] > 0
    row = next(row for row in json.loads(said("models", "--json").stdout) if row["kind"] == "lite0")
    assert row["measured"]["memory_mib"] >= 0 and not (tmp_path / "work").exists()


def test_doctor_lists_all_that_is_missing_with_a_script(tmp_path):
    missing = [
        "models.encoder=dinov2",
        "models.scorer=laion",
        f"models.scorer.head={tmp_path}",
        "outpaint.long_side=64",
    ]
    done = said("doctor", "--work", tmp_path, *missing)
    assert done.exit_code == ModelError.exit_code
    assert re.search(
        r"BAD +missing +models.encoder.model facebook/dinov2-base, about 0.35 GB, Apache-2.0: not on", done.output
    )
    assert re.search(r"BAD +missing +models.scorer.model openai/clip-vit-large-patch14", done.output)
    assert "\nhf download facebook/dinov2-base\n" in done.output
    assert f"procrop-data download --work {tmp_path} models.encoder=dinov2 models.scorer=laion" in done.output
    assert "checks failed: models.scorer.model, models.encoder.model" in done.output
    assert "ok   segmenter" in done.output and not re.search(r"(ok|BAD) +encoder", done.output)


def test_a_recipe_for_a_gpu_says_that_there_is_none():
    (check,) = check_gpu_roles({"outpainter", "scorer"}, has_gpu=False)
    assert not check.ok and "this recipe is for a GPU (outpainter, scorer)" in check.found
    assert [check.ok for check in check_gpu_roles({"encoder"}, has_gpu=False)] == [True]
    assert check_gpu_roles({"outpainter"}, has_gpu=True) == check_gpu_roles((), has_gpu=False) == []


def test_download_prints_a_script():
    done = said("download", "--config", "sdxl-lightning", "--print")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and lines[0] == "# 6 downloads of 'sdxl-lightning', about 12 GB"
    assert "hf download ByteDance/SDXL-Lightning sdxl_lightning_4step_lora.safetensors --local-dir ." in lines
    assert any(line.startswith("curl --fail --location") and "linearMSE.pth" in line for line in lines)
    assert "needs nothing" in said("download", "--config", "demo").stdout


def test_doctor_looks_at_what_a_model_makes(tmp_path):
    model = tiny.stable_diffusion(tmp_path, checker=False)
    given = {
        "kind": "sd15-inpaint",
        "model": str(model),
        "num_inference_steps": 1,
        "side": 64,
        "dtype": "float32",
        "device": "cpu",
    }
    (trial,) = (t for t in try_models(ModelSettings.model_validate({"outpainter": {**given, "safety": False}}), 64)
                if t.role == "outpainter")  # fmt: skip
    assert trial.ok and "a canvas of 64 x" in trial.found and trial.rate > 0
    (trial,) = (
        t for t in try_models(ModelSettings.model_validate({"outpainter": given}), 64) if t.role == "outpainter"
    )
    assert not trial.ok and "safety_model" in trial.found


def test_a_machine_that_is_too_old_is_told():
    assert all(line.ok for line in check_machine("s3://nowhere/work"))
    assert Check("torch", "1.0: want 2.11 or newer", False).text().startswith("BAD")


def test_a_torchvision_of_another_build_is_bad():
    def load():
        raise RuntimeError("operator torchvision::nms does not exist")

    bad = check_torchvision("0.28.0", load)
    assert not bad.ok and "nms does not exist" in bad.found and "pip uninstall torchvision" in bad.found
    assert check_torchvision("0.29.2", lambda: None) == Check("torchvision", "0.29.2")
    assert check_torchvision("", load).ok  # not installed: nothing is imported


@pytest.fixture(scope="module")
def run_with_proposals(tmp_path_factory):
    home = tmp_path_factory.mktemp("calibrate")
    recipe = recipe_for(make_photos(home / "photos", 3))
    run_chain(session_for(recipe, home / "work"), until="propose")
    return home / "work"


def test_calibration_brings_an_ensemble_to_one_scale(run_with_proposals, tmp_path):
    path = tmp_path / "calibration.json"
    scorer = {"kind": "ensemble", "members": [{"kind": "composition"}], "calibration": str(path), "keep": 6}
    told = said(
        "models",
        "--calibrate",
        "--json",
        "--canvases",
        3,
        "--work",
        run_with_proposals,
        f"models.scorer={json.dumps(scorer)}",
    )
    assert told.exit_code == 0, told.output
    body = json.loads(told.stdout)
    assert 2 <= body["canvases"] <= 3 and body["pictures"] >= 1 and body["agreement"] > 0.99
    assert json.loads(path.read_text())["members"][0]["deviation"] > 0
    assert ModelSettings.model_validate({"scorer": scorer}).scorer.build().full._read()
    refused = said("models", "--calibrate", "--work", run_with_proposals)
    assert isinstance(refused.exception, UsageError) and "needs no calibration" in str(refused.exception)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_planned_before_its_models_are_here(name, tmp_path):
    recipe = Recipe.model_validate(read_recipe_mapping(name))
    assert stages_of(recipe)
    planned = said("plan", "--config", name, "--photos", 48400, "--variants", 5, "--work", tmp_path / "work", "--json")
    assert planned.exit_code == 0, planned.output
    told = json.loads(planned.stdout)
    assert told["canvases"] == 242000
    if name not in ("default", "demo", "bundled"):
        assert "not on this machine" in str(told["models"])
        head = "".join(line for line in yaml_head(name))
        assert "242,000" in head and "icence" in head and "easured" in head


def yaml_head(name):
    from pipeline.planning.recipe_files import find_recipe

    assert yaml.safe_load(find_recipe(name).read_text())
    return [line for line in find_recipe(name).read_text().splitlines() if line.startswith("#")]


def test_doctor_says_what_it_cannot_check_of_any_checkpoint():
    (check,) = check_any_checkpoint("auto")
    assert check.ok and "see the checkpoint's card" in check.found and check_any_checkpoint("z-image") == []
