"""Matching and losses: worked cases, permutation, learning."""

import numpy as np
import pytest
import torch

from procrop_model.model_folder.build_network import build_network
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy, giou, ious, xyxy_to_cxcywh
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import Output
from procrop_model.training.batches import sample_boxes
from procrop_model.training.hungarian_matcher import Weights, match
from procrop_model.training.losses import LossConfig, box_quality, focal, set_loss, soft_label, vote_loss
from procrop_model.training.targets import TargetBatch, Targets

CPU = torch.device("cpu")
FIRST = torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.3, 0.3, 0.2, 0.2]])
SECOND = torch.tensor([[0.4, 0.6, 0.5, 0.5]])


def targets() -> TargetBatch:
    return TargetBatch.of([Targets(FIRST, torch.tensor([0.9, 0.5])), Targets(SECOND, torch.tensor([0.8]))], CPU)


def output(boxes: torch.Tensor, logits: torch.Tensor) -> Output:
    batch = boxes.shape[1]
    memory = Features(torch.zeros(batch, 4, 3, 5), torch.ones(batch, 3, 5, dtype=torch.bool), torch.zeros(batch, 4))
    return Output(boxes, logits, torch.zeros(batch, 3, 5), boxes[-1, :, 0], memory)


def exact() -> torch.Tensor:
    """[1, 2, 4, 4]: queries 3 and 1 of the first sample, and 2 of the second, are right."""
    boxes = torch.full((1, 2, 4, 4), 0.1)
    boxes[0, 0, 3], boxes[0, 0, 1], boxes[0, 1, 2] = FIRST[0], FIRST[1], SECOND[0]
    return boxes


def test_giou_and_iou_by_hand() -> None:
    a, b = torch.tensor([0.0, 0.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0, 1.0])
    assert float(ious(a, b)) == pytest.approx(1 / 3)
    assert float(giou(a, b)) == pytest.approx(1 / 3)
    far = torch.tensor([3.0, 0.0, 4.0, 1.0])
    assert float(giou(a, far)) == pytest.approx(-1 / 4)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(far)), far)


def test_each_crop_gets_the_query_that_lies_on_it() -> None:
    pairs = match(exact(), torch.zeros(1, 2, 4), targets(), Weights())
    found = set(zip(pairs.sample.tolist(), pairs.query.tolist(), pairs.target.tolist(), strict=True))
    assert found == {(0, 3, 0), (0, 1, 1), (1, 2, 0)}


def test_fewer_queries_than_crops() -> None:
    assert len(match(exact()[:, :, 3:], torch.zeros(1, 2, 1), targets(), Weights()).query) == 2


def test_the_loss_is_zero_at_the_target_in_any_query_order() -> None:
    logits = torch.full((1, 2, 4), -20.0)
    logits[0, 0, 3], logits[0, 1, 2] = 20.0, 20.0
    logits[0, 0, 1] = torch.logit(torch.tensor(0.3 * 0.5))
    parts = set_loss(output(exact(), logits), targets(), LossConfig())
    assert all(float(value) == pytest.approx(0, abs=1e-5) for value in parts.values())
    order = torch.tensor([2, 0, 3, 1])
    noisy = exact() + 0.05
    first = set_loss(output(noisy, logits), targets(), LossConfig())
    second = set_loss(output(noisy[:, :, order], logits[:, :, order]), targets(), LossConfig())
    for name in first:
        torch.testing.assert_close(first[name], second[name])


def test_soft_labels_of_unmatched_queries_on_a_crop() -> None:
    assert soft_label(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist() == pytest.approx([0, 0, 1 / 3, 0.5])
    boxes, logits = exact(), torch.full((1, 2, 4), -20.0)
    apart = float(set_loss(output(boxes, logits), targets(), LossConfig())["score"])
    boxes[0, 0, 0] = FIRST[0] + 0.005
    beside = float(set_loss(output(boxes, logits), targets(), LossConfig())["score"])
    assert beside > apart  # the second query on the crop should have scored too


def test_focal_rests_at_its_target() -> None:
    wanted = torch.tensor([0.0, 0.3, 1.0])
    assert focal(torch.logit(wanted, 1e-6), wanted).abs().max() < 1e-5


def test_the_vote_is_judged_on_the_pseudo_label_alone() -> None:
    boxes = torch.stack([FIRST[0], SECOND[0]])[None, :, None]
    given = output(boxes, torch.zeros(1, 2, 1))
    assert float(vote_loss(given, targets(), Weights())["vote"]) == pytest.approx(0, abs=1e-5)


def test_quality_falls_with_distance_and_by_origin() -> None:
    config = LossConfig(other=0.5)
    boxes = cxcywh_to_xyxy(torch.stack([FIRST, torch.stack([SECOND[0], torch.tensor([0.05, 0.05, 0.1, 0.1])])]))
    quality = box_quality(boxes, targets(), config)
    torch.testing.assert_close(quality, torch.tensor([[1.0, 0.25], [1.0, 0.0]]), atol=1e-5, rtol=0)


def test_boxes_for_the_roi_head_lie_in_the_frame() -> None:
    boxes = sample_boxes(Targets(FIRST, torch.tensor([0.9, 0.5])), 40, np.random.default_rng(0))
    assert boxes.shape == (40, 4)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    np.testing.assert_allclose(boxes[0], cxcywh_to_xyxy(FIRST[0]), atol=1e-6)


def test_it_learns(tiny: CropperConfig) -> None:
    torch.manual_seed(0)
    network = build_network(tiny)
    with torch.no_grad():
        features = network.extract([torch.randn(3, 64, 96), torch.randn(3, 96, 64)])
    features = Features(features.grid, features.valid, features.pooled)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    seen = []
    for _ in range(40):
        result = network(features, torch.tensor([1.5, 0.67]))
        parts = set_loss(result, targets(), LossConfig())
        loss = parts["l1"] + parts["giou"] + parts["score"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.4 * seen[0]
