"""Supervised, mixed and fine-tuning runs on a tiny public set, and what is refused."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import RefusedError, UsageError
from procrop_model import Cropper
from procrop_model.network.config import CropperConfig
from procrop_model.training.batches import BatchConfig
from procrop_model.training.train import TrainConfig, train
from tests.procrop_model.conftest import add_annotated


@pytest.fixture(scope="module")
def settings(tiny: CropperConfig) -> TrainConfig:
    batch = BatchConfig(size=4, views=2, roi=4)
    return TrainConfig(epochs=2, patience=0, model=tiny, batch=batch, checkpoint_seconds=1e9)


@pytest.fixture(scope="module")
def weak(settings: TrainConfig, workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weak")
    train(settings, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=out)
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(str(out / "cropper" / "model.safetensors"))


def test_supervised_training_needs_references_alone(
    settings: TrainConfig, weak: Path, annotated: Path, tmp_path: Path
) -> None:
    config = replace(settings, mode="supervised", sets=(str(annotated),))
    summary = train(config, tmp_path / "nothing", retrieve_dir=weak / "cropper", out_dir=tmp_path / "a")
    assert (summary["samples"], summary["annotated"], summary["validation"]) == (5, 5, 2)
    assert summary["sets"] == [annotated.name]
    assert 0 <= summary["val_iou"] <= 1
    assert Cropper.load(tmp_path / "a" / "cropper").trained["mode"] == "supervised"
    found = json.loads(next((tmp_path / "a").glob("neighbours-*.json")).read_text())
    assert len(found) == 7 and all(len(row) == 2 for row in found.values())
    again = train(config, tmp_path / "nothing", retrieve_dir=weak / "cropper", out_dir=tmp_path / "b")
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert again["identity"] == summary["identity"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_mixed_training_shows_both_in_proportion(
    settings: TrainConfig, workplace: Path, annotated: Path, tmp_path: Path
) -> None:
    config = replace(settings, mode="mixed", sets=(str(annotated),), annotated_share=0.25)
    summary = train(config, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=tmp_path)
    assert (summary["samples"], summary["annotated"], summary["an_epoch"], summary["validation"]) == (11, 5, 8, 2)


def test_fine_tuning_starts_from_the_saved_weights(
    settings: TrainConfig, weak: Path, workplace: Path, annotated: Path, tmp_path: Path
) -> None:
    config = replace(
        settings,
        mode="supervised",
        sets=(str(annotated),),
        init_from=str(weak / "cropper"),
        learning_rate=1e-9,
        epochs=1,
    )
    args = {"retrieve_dir": workplace / "retrieve", "out_dir": tmp_path}
    summary = train(config, workplace / "dataset", **args)
    before, after = weights(weak), weights(tmp_path)
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    with pytest.raises(RefusedError, match="other settings"):
        train(replace(config, init_from=""), workplace / "dataset", **args)
    assert train(config, workplace / "dataset", **args) == summary


def test_fine_tuning_through_another_encoder_is_refused(
    settings: TrainConfig, weak: Path, workplace: Path, tmp_path: Path
) -> None:
    about = json.loads((weak / "cropper" / "config.json").read_text())
    (tmp_path / "other").symlink_to(weak / "cropper")
    from_bundled = replace(settings, init_from="assets/models/cropper")
    assert about["cropper"]["encoder"] != ""
    with pytest.raises(UsageError, match="retrieve with its encoder"):
        train(from_bundled, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=tmp_path / "out")


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_epoch_is_never_chosen_on_a_test_set(split: str) -> None:
    with pytest.raises(UsageError, match="never chosen"):
        TrainConfig(val_split=split)


@pytest.mark.parametrize(
    "wrong", [{"mode": "supervised"}, {"sets": ("a",)}, {"mode": "other"}, {"schedule": "up"}, {"precision": "fp8"}]
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainConfig(**wrong)


def test_sets_that_must_not_be_trained_on(
    settings: TrainConfig, workplace: Path, annotated: Path, tmp_path: Path
) -> None:
    def run(*sets: Path) -> None:
        config = replace(settings, mode="supervised", sets=tuple(map(str, sets)))
        train(config, tmp_path, retrieve_dir=workplace / "retrieve", out_dir=tmp_path / "out")

    (tmp_path / "only-test").mkdir()
    (tmp_path / "only-test" / "set-test-000000.tar").symlink_to(annotated / "shards" / "set-test-000000.tar")
    with pytest.raises(UsageError, match="never trained on"):
        run(tmp_path / "only-test")
    with pytest.raises(UsageError, match="no converted public set"):
        run(workplace / "dataset")
    with pytest.raises(UsageError, match="both have a sample"):
        run(annotated, annotated)
    leaking = tmp_path / "leaking"
    leaking.mkdir()
    for split in ("train", "val"):
        with tarfile.open(leaking / f"leak-{split}-000000.tar", "w") as tar:
            add_annotated(tar, 900, split)
    with pytest.raises(UsageError, match="would be chosen on training data"):
        run(leaking)
