"""Scored photographs: read as written, refused when they are of other typical crops, and learned from."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.errors import DamagedDataError
from procrop_model.answer.typical_crops import typical_crops
from procrop_model.model_folder.build_network import build_network
from procrop_model.network.config import AnswerConfig, CropperConfig
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.taught import TaughtBatch, TaughtViews, taught_loss, write_taught
from procrop_model.training.train_step import view_features

TYPICAL = 12


def table(path: Path, count: int = 3, typical: int = TYPICAL) -> np.ndarray:
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)).save(buffer, "PNG")
        logits = rng.normal(0, 2, typical).tolist()
        rows.append({"photo": f"p{number}", "image": buffer.getvalue(), "logits": logits})
    write_taught(path, rows)
    return np.array([row["logits"] for row in rows], np.float32)


def views(path: Path, config: CropperConfig) -> tuple[TaughtViews, torch.nn.Module]:
    torch.manual_seed(0)
    network = build_network(config)
    return TaughtViews(path, config, network.extractor, AugmentConfig(), 0), network


@pytest.fixture
def config(tiny: CropperConfig) -> CropperConfig:
    return replace(tiny, answer=AnswerConfig(typical=TYPICAL), roi_outputs=2)


def test_a_batch_has_the_scores_of_the_crops_it_takes(tmp_path: Path, config: CropperConfig) -> None:
    logits = table(tmp_path / "t.parquet")
    taught, _ = views(tmp_path / "t.parquet", config)
    boxes, columns = typical_crops(TYPICAL, (0.35, 1), (0.6, 0.75)), np.array([[3, 1], [0, 11]])
    batch = taught.batch([2, 0], boxes, columns)
    np.testing.assert_array_equal(batch.logits.numpy(), [logits[2][[3, 1]], logits[0][[0, 11]]])
    np.testing.assert_array_equal(batch.typical[1, 1].numpy(), [0, 0, 1, 1])
    assert batch.aspects.tolist() == pytest.approx([64 / 48] * 2)


def test_tables_of_other_crops_and_no_tables_are_refused(tmp_path: Path, config: CropperConfig) -> None:
    table(tmp_path / "t.parquet", typical=5)
    with pytest.raises(DamagedDataError, match="scores of 5 typical crops, the model has 12"):
        views(tmp_path / "t.parquet", config)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedDataError, match="no table of scored photographs"):
        views(tmp_path / "broken.parquet", config)


def test_the_loss_knows_differences_alone() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [4.0, 4.0, 4.0]])
    batch = TaughtBatch([], torch.ones(2), torch.zeros(2, 3, 4), logits)
    assert float(taught_loss(logits + torch.tensor([[7.0], [-3.0]]), batch)) == pytest.approx(0, abs=1e-10)
    assert float(taught_loss(torch.zeros(2, 3), batch)) == pytest.approx((1 + 0 + 1) / 6)


def test_the_second_output_learns_the_scores(tmp_path: Path, config: CropperConfig) -> None:
    table(tmp_path / "t.parquet")
    taught, network = views(tmp_path / "t.parquet", config)
    boxes = typical_crops(TYPICAL, (0.35, 1), (0.6, 0.75))
    batch = taught.batch([0, 1, 2], boxes, np.tile(np.arange(TYPICAL), (3, 1)))
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(60):
        output = network(view_features(network, batch.views, torch.device("cpu")), batch.aspects)
        loss = taught_loss(network.judge(output, batch.typical, batch.aspects)[..., 1], batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
