"""Training on a tiny dataset: it learns, it resumes to the same weights, it does no work twice, it refuses
strangers.
"""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import InterruptedRunError, MissingUpstreamError, RefusedError
from procrop_model import Cropper
from procrop_model.evaluation.evaluate_run import evaluate
from procrop_model.model_folder.trained_on import photos_known
from procrop_model.network.config import CropperConfig
from procrop_model.training.batches import BatchConfig
from procrop_model.training.samples import read_split
from procrop_model.training.train import TrainConfig, train


@pytest.fixture(scope="module")
def settings(tiny: CropperConfig) -> TrainConfig:
    return TrainConfig(
        epochs=3, patience=0, model=tiny, batch=BatchConfig(size=2, views=2, roi=4), checkpoint_seconds=1e9
    )


@pytest.fixture(scope="module")
def trained(settings: TrainConfig, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(settings, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=out)
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(str(out / "cropper" / "model.safetensors"))


def test_a_run_writes_all_it_promises(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {"cropper", "history.json", "loss.png", "finished.json", "checkpoint.pt", "tensorboard"}
    history = json.loads((trained / "history.json").read_text())
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(math.isfinite(value) for row in history for value in row.values())


def test_the_model_tells_which_photographs_it_learned_from(workplace: Path, trained: Path) -> None:
    of = {split: {s.photo for s in read_split(workplace / "dataset", split).labels()} for split in ("train", "test")}
    assert of["train"] and of["test"] - of["train"]
    assert photos_known(trained / "cropper", of["train"] | of["test"]) == of["train"]


def test_a_second_call_does_no_work(settings: TrainConfig, workplace: Path, trained: Path) -> None:
    def fail(done: int, total: int, losses: dict[str, float]) -> None:
        raise AssertionError("a step was run")

    before = (trained / "cropper" / "config.json").stat().st_mtime_ns
    args = {"retrieve_dir": workplace / "retrieve", "out_dir": trained, "progress": fail}
    summary = train(settings, workplace / "dataset", **args)
    assert summary["epochs"] == 3
    assert (trained / "cropper" / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("step", [2, 3, 7])
def test_interrupted_and_resumed_ends_with_the_same_weights(
    settings: TrainConfig, workplace: Path, trained: Path, tmp_path: Path, step: int
) -> None:
    def interrupt(done: int, total: int, losses: dict[str, float]) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    args = {"retrieve_dir": workplace / "retrieve", "out_dir": tmp_path}
    with pytest.raises(InterruptedRunError):
        train(settings, workplace / "dataset", progress=interrupt, **args)
    assert not (tmp_path / "finished.json").exists()
    train(settings, workplace / "dataset", **args)
    first, second = weights(trained), weights(tmp_path)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "history.json").read_bytes() == (trained / "history.json").read_bytes()


def test_another_runs_folder_is_refused(settings: TrainConfig, workplace: Path, trained: Path) -> None:
    other = replace(settings, learning_rate=1e-3)
    with pytest.raises(RefusedError, match="other settings"):
        train(other, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=trained)


def test_without_shards_it_says_what_to_run(settings: TrainConfig, workplace: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingUpstreamError, match="procrop-data build"):
        train(settings, tmp_path, retrieve_dir=workplace / "retrieve", out_dir=tmp_path)


def test_the_trained_model_is_evaluated_beside_its_baselines(workplace: Path, trained: Path) -> None:
    result = evaluate(Cropper.load(trained / "cropper"), workplace / "dataset")
    assert set(result["rows"]) == {"model", "identity", "centre_0.9", "constant"}
    assert result["n"] == len(result["images"]) == 2
    mean, low, high = result["rows"]["identity"]["iou"]
    assert low <= mean <= high
    for row in result["images"]:
        x1, y1, x2, y2 = row["photo_box"]
        share = (x2 - x1) * (y2 - y1) / (60 * 48)
        assert row["identity"]["iou"] == pytest.approx(share)
