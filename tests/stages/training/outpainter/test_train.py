import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import InterruptedRunError, ModelError, RefusedError, UsageError
from pipeline.core.resources import bundled
from stages.backends.outpainters.small_diffusion.backend import SmallDiffusionSettings, outpainter_digest
from stages.training.outpainter.fitting import OutpainterTraining
from stages.training.outpainter.train import train_small_outpainter
from tests.stages.backends.outpainters.small_diffusion.test_backend import REQUESTS

TINY = OutpainterTraining(steps=5, size=16, width=8, batch=2, evaluations=2)
SPLITS = {"chelsea.jpg": "train", "rocket.jpg": "train", "sunset.jpg": "val", "coffee.jpg": "test"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in SPLITS:
        shutil.copy(bundled("assets") / "photos" / name, folder / name)
    rows = "".join(f"{name},{split},CC0-1.0\n" for name, split in SPLITS.items())
    (folder / "credits.csv").write_text("file,split,licence\n" + rows, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("model") / "out"
    return out, train_small_outpainter(photos, out, TINY, device="cpu")


def test_trains_and_saves_a_model_with_its_card(undisturbed):
    out, report = undisturbed
    assert report["photos"] == {"train": ["chelsea", "rocket"], "held_out": ["sunset"]}
    assert [row[0] for row in report["history"]] == [2, 4, 5]
    assert report["held_out_loss"] == report["history"][-1][2] < report["history"][0][2]
    assert report["digest"] == outpainter_digest(str(out))
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "model_index.json", "report.json", "samples.jpg", "scheduler", "unet"
    ]  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    assert report["digest"] in card and "--steps 5 --size 16 --width 8 --batch 2 --seed 0" in card
    assert "chelsea, rocket" in card and "CC0-1.0 2" in card
    painter = SmallDiffusionSettings(
        kind="small-diffusion", model=str(out), num_inference_steps=2, device="cpu"
    ).build()
    assert painter.paint(REQUESTS[:1])[0].shape == (40, 60, 3)


def test_the_digest_depends_on_the_seed_alone(photos, undisturbed, tmp_path):
    again = train_small_outpainter(photos, tmp_path / "again", TINY, device="cpu")
    other = train_small_outpainter(photos, tmp_path / "other", replace(TINY, seed=1), device="cpu")
    assert again["digest"] == undisturbed[1]["digest"] != other["digest"]
    assert again["history"] == undisturbed[1]["history"]


class Killed(BaseException):
    """What a test ends a training with, without a chance to save."""


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
@pytest.mark.parametrize("step", [2, 5])
def test_killed_at_any_step_it_goes_on_to_the_same_weights(photos, undisturbed, tmp_path, step, checkpoint_seconds):
    def kill(done, total, losses):
        if done == step:
            raise Killed

    settings = replace(TINY, checkpoint_seconds=checkpoint_seconds)
    with pytest.raises(Killed):
        train_small_outpainter(photos, tmp_path, settings, device="cpu", progress=kill)
    assert not (tmp_path / "model_index.json").exists()
    steps = []
    report = train_small_outpainter(
        photos, tmp_path, settings, device="cpu", progress=lambda done, total, losses: steps.append(done)
    )
    # A step's checkpoint is written after its progress is told, so the step before is the last one saved.
    assert steps[0] == (step if checkpoint_seconds == 0 else 1)
    assert report["digest"] == undisturbed[1]["digest"]
    assert report["history"] == undisturbed[1]["history"]


def test_a_signal_saves_and_says_how_to_go_on(photos, undisturbed, tmp_path):
    def stop(done, total, losses):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match="goes on from there"):
        train_small_outpainter(photos, tmp_path, TINY, device="cpu", progress=stop)
    steps = []
    report = train_small_outpainter(photos, tmp_path, TINY, device="cpu", progress=lambda done, *_: steps.append(done))
    assert steps == [3, 4, 5] and report["digest"] == undisturbed[1]["digest"]


def test_killed_while_the_model_is_written_it_is_written_anew(photos, undisturbed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(undisturbed[0], out)
    for name in ("report.json", "model_index.json"):
        (out / name).unlink()
    shutil.copytree(out / "unet", out / "partial" / "unet")
    report = train_small_outpainter(photos, out, TINY, device="cpu")
    assert report["digest"] == undisturbed[1]["digest"] and not (out / "partial").exists()


def test_a_finished_training_stays_and_another_is_refused(photos, undisturbed):
    out, report = undisturbed
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = train_small_outpainter(photos, out, TINY, device="cpu")
    assert again.pop("already_done") and again == json.loads(json.dumps(report))
    with pytest.raises(RefusedError, match=r"other settings or photographs.*--no-resume"):
        train_small_outpainter(photos, out, replace(TINY, steps=6), device="cpu")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_foreign_checkpoint_is_refused_unless_begun_anew(photos, undisturbed, tmp_path):
    def kill(done, total, losses):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        train_small_outpainter(
            photos, tmp_path, replace(TINY, seed=7, checkpoint_seconds=0), device="cpu", progress=kill
        )
    with pytest.raises(RefusedError, match="other settings"):
        train_small_outpainter(photos, tmp_path, TINY, device="cpu")
    report = train_small_outpainter(photos, tmp_path, TINY, device="cpu", resume=False)
    assert report["digest"] == undisturbed[1]["digest"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_says_what_to_remove(photos, tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt is damaged, remove it") as told:
        train_small_outpainter(photos, tmp_path, TINY, device="cpu")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"batch": 0}, "--batch 0"),
        ({"size": 8}, "--size 8: give 16 to 256"),
        ({"width": 12}, "--width 12: give a multiple of 8"),
        ({"width": 64}, "40 MB"),
    ],
)
def test_settings_that_cannot_be_are_usage_errors(photos, tmp_path, change, words):
    with pytest.raises(UsageError, match=words):
        train_small_outpainter(photos, tmp_path, replace(TINY, **change), device="cpu")


def test_too_few_photographs_and_a_missing_device(photos, tmp_path):
    with pytest.raises(ModelError, match="'cuda:77' is not there"):
        train_small_outpainter(photos, tmp_path / "out", TINY, device="cuda:77")
    few = tmp_path / "few"
    shutil.copytree(photos, few)
    (few / "rocket.jpg").unlink()
    with pytest.raises(UsageError, match="1 photographs to train on and 1 held out"):
        train_small_outpainter(few, tmp_path / "out", TINY, device="cpu")
    assert not (tmp_path / "out").exists()
