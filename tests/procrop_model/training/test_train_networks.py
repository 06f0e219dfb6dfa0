"""Every network trains on the tiny dataset, is saved, loads again and crops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

from pipeline.core.errors import ModelError
from procrop_model import Cropper
from procrop_model.network.config import CropperConfig, published_config
from procrop_model.training.batches import BatchConfig
from procrop_model.training.train import TrainConfig, train


def trained(model: CropperConfig, workplace: Path, out: Path, **settings: object) -> Cropper:
    batch = BatchConfig(size=2, views=2, roi=4)
    config = TrainConfig(epochs=1, patience=0, model=model, batch=batch, checkpoint_seconds=1e9, **settings)
    train(config, workplace / "dataset", retrieve_dir=workplace / "retrieve", out_dir=out)
    return Cropper.load(out / "cropper")


@pytest.mark.parametrize("change", [{"fusion": "token_mlp"}, {"fusion": "none"}, {"text_dim": 16}])
def test_every_fusion_trains_and_crops(
    tiny: CropperConfig, workplace: Path, tmp_path: Path, reference_photo: np.ndarray, change: dict[str, object]
) -> None:
    cropper = trained(replace(tiny, **change), workplace, tmp_path)
    for name, value in change.items():
        assert getattr(cropper.config, name) == value
    assert cropper.config.reference_tokens == cropper.database.tokens.shape[1]
    assert cropper(reference_photo, top=1)[0].box_px[2] > 0


def test_a_prompt_matters_to_a_model_with_text_alone(
    tiny: CropperConfig, workplace: Path, tmp_path: Path, reference_photo: np.ndarray
) -> None:
    cropper = trained(replace(tiny, text_dim=16), workplace, tmp_path)
    encoded = [cropper.predictor.encode([reference_photo], prompts=[prompt]) for prompt in ("", "a noisy square")]
    without = cropper.predictor.encode([reference_photo])
    assert torch.equal(encoded[0].output.held.logits, without.output.held.logits)
    assert not torch.equal(encoded[0].output.held.logits, encoded[1].output.held.logits)
    text = [
        value for name, value in cropper.predictor.engine.network.state_dict().items() if name.startswith("fusion.text")
    ]
    assert text


def test_more_references_than_token_mlp_was_built_for(
    tiny: CropperConfig, workplace: Path, tmp_path: Path, reference_photo: np.ndarray
) -> None:
    cropper = trained(replace(tiny, fusion="token_mlp"), workplace, tmp_path)
    cropper(reference_photo, k=0)
    with pytest.raises(ModelError, match="fusion=attention"):
        cropper(reference_photo, k=3)


def test_the_published_network_starts_from_coco_weights(
    workplace: Path, tmp_path: Path, reference_photo: np.ndarray
) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    hub = ConditionalDetrForObjectDetection(
        ConditionalDetrConfig(backbone="resnet10t", num_queries=7, **sizes, **heads)
    )
    hub.save_pretrained(tmp_path / "coco")
    model = replace(
        published_config(), backbone="resnet10t", input_side=64, dim=32, heads=2, encoder_layers=1, decoder_layers=1,
        queries=5, feedforward=48, k=2,
    )  # fmt: skip
    cropper = trained(model, workplace, tmp_path / "out", init=str(tmp_path / "coco"), learning_rate=1e-6)
    told = (tmp_path / "out" / "init.txt").read_text()
    assert "cut 1: decoder.embeddings" in told
    assert "unused 2: class_labels_classifier.bias, class_labels_classifier.weight" in told
    theirs = hub.state_dict()["model.encoder.layers.0.mlp.fc1.weight"]
    ours = cropper.predictor.engine.network.state_dict()["encoder.layers.0.feed.grow.weight"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert not torch.equal(ours, theirs)
    assert cropper(reference_photo, top=1)[0].box_px[2] > 0
