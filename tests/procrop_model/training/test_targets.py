"""Crops that people judged: which are targets, what the others teach, and that weak labels are treated as before."""

from pathlib import Path

import numpy as np
import pytest
import torch

from procrop_model.model_folder.build_network import build_network
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import CropperConfig
from procrop_model.network.crop_network import Output
from procrop_model.training.augment import Annotated, AugmentConfig
from procrop_model.training.batches import sample_boxes
from procrop_model.training.hungarian_matcher import Weights, match
from procrop_model.training.losses import LossConfig, box_quality, focal, matched_weight, set_loss, worth
from procrop_model.training.samples import read_split
from procrop_model.training.targets import TargetBatch, TargetConfig
from procrop_model.training.views import Views, targets_of

CPU = torch.device("cpu")
CROPS = np.array([[10, 10, 50, 40], [12, 10, 52, 40], [0, 0, 60, 48], [0, 0, 20, 20]], np.float32)
SAMPLE = Annotated(np.zeros((48, 60, 3), np.uint8), CROPS, np.array([9, 7.5, 4, 1], np.float32))


def human(**over: float) -> TargetBatch:
    return TargetBatch.of([targets_of(SAMPLE, TargetConfig(**over))], CPU)


@pytest.mark.parametrize(("least", "most", "wanted"), [(7.0, 8, 2), (0.0, 3, 3), (9.5, 8, 1), (8.0, 8, 1)])
def test_targets_are_the_best_and_the_good_ones(least: float, most: int, wanted: int) -> None:
    batch = human(least_score=least, most=most)
    assert batch.counts == [wanted]
    assert batch.boxes.shape == (1, 4, 4)  # the others still have scores to teach
    pairs = match(torch.rand(2, 1, 6, 4) * 0.2 + 0.4, torch.zeros(2, 1, 6), batch, Weights())
    assert set(pairs.target.tolist()) == set(range(wanted))


def test_a_matched_crop_is_worth_its_share_of_the_best() -> None:
    config = LossConfig(other=0.3)
    torch.testing.assert_close(worth(human(), config)[0], torch.tensor([1.0, 7.5 / 9, 4 / 9, 1 / 9]))
    weak = TargetBatch.of([targets_of(SAMPLE)], CPU)
    torch.testing.assert_close(worth(weak, config)[0], torch.tensor([1.0, 0.225, 0.12, 0.03]))
    assert matched_weight(human(), config, 20) == pytest.approx(2.0)
    assert matched_weight(weak, config, 20) == pytest.approx(1 + 3 * 0.3)
    assert matched_weight(weak, config, 2) == pytest.approx(1.3)


def test_a_judged_box_keeps_the_score_that_people_gave_it() -> None:
    batch = human()
    boxes = cxcywh_to_xyxy(batch.boxes)
    torch.testing.assert_close(box_quality(boxes, batch, LossConfig()), batch.quality)


def test_the_teacher_gives_its_share_of_the_class_loss() -> None:
    torch.manual_seed(0)
    boxes, logits = torch.rand(1, 1, 5, 4) * 0.2 + 0.4, torch.randn(1, 1, 5)
    memory = Features(torch.zeros(1, 4, 3, 5), torch.ones(1, 3, 5, dtype=torch.bool), torch.zeros(1, 4))
    output = Output(boxes, logits, torch.zeros(1, 3, 5), boxes[-1, :, 0], memory)
    taught, batch, config = torch.rand(1, 1, 5), human(), LossConfig(taught=0.5)
    alone = set_loss(output, batch, config)
    both = set_loss(output, batch, config, taught)
    expected = 0.5 * alone["score"] + 0.5 * focal(logits, taught).sum() / 2.0
    torch.testing.assert_close(both["score"], expected)
    assert both["l1"] == alone["l1"] and both["giou"] == alone["giou"]


def test_of_many_crops_bad_ones_are_shown_too() -> None:
    many = targets_of(
        Annotated(SAMPLE.image, np.tile(CROPS, (10, 1)), np.linspace(10, 0, 40).astype(np.float32)), TargetConfig()
    )
    corners = cxcywh_to_xyxy(many.boxes)
    boxes = torch.tensor(sample_boxes(many, 8, np.random.default_rng(0)))
    near = (boxes[:, None] - corners[None]).abs().amax(2)
    assert float(near.amin(1).max()) < 1e-5
    assert len({tuple(row) for row in boxes.round(decimals=4).tolist()}) > 1


def test_annotated_pictures_are_seldom_trimmed_and_never_tight(annotated: Path, tiny: CropperConfig) -> None:
    samples = read_split(annotated, "train")
    views = Views(samples=samples, config=tiny, extractor=build_network(tiny).extractor, seed=0)
    strong = AugmentConfig(whole=1.0, annotated_trim=0.0)
    for index, sample in enumerate(samples):
        drawn = views.drawn(index, 0, strong)
        assert drawn.aspect == sample.width / sample.height
        assert drawn.targets.human and len(drawn.targets.boxes) == 5
        assert drawn.targets.wanted == 2
