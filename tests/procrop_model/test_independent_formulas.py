"""Each loss and metric against another implementation: torchvision, transformers, scipy, or a plain loop over its definition."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.nn import functional
from torchvision import ops
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss

from procrop_model.evaluation.metrics import bootstrap, crop_metrics
from procrop_model.evaluation.rank_metrics import acc, pcc, srcc, weighted_acc
from procrop_model.evaluation.set_metrics import average_precision, box_ious, pair_agreement
from procrop_model.network.backbone import Features
from procrop_model.network.boxes import cxcywh_to_xyxy, giou, ious
from procrop_model.network.crop_network import Output
from procrop_model.training.hungarian_matcher import ALPHA, Weights, match
from procrop_model.training.losses import LossConfig, focal, listwise_loss, roi_loss, set_loss, soft_label, vote_loss
from procrop_model.training.targets import TargetBatch, Targets
from procrop_model.training.taught import TaughtBatch, taught_loss

CPU = torch.device("cpu")
PUBLISHED = LossConfig(alpha=ALPHA, other=1.0, soft_iou=1.1)  # without soft labels, which transformers does not have


def boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random boxes [*shape, 4] cxcywh inside a picture."""
    drawn = torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed))
    sides = 0.1 + 0.5 * drawn[..., 2:]
    return torch.cat([sides / 2 + drawn[..., :2] * (1 - sides), sides], -1)


def logits(*shape: int, seed: int = 1) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output(queries: int = 7, layers: int = 1) -> Output:
    memory = Features(torch.zeros(2, 4, 3, 5), torch.ones(2, 3, 5, dtype=torch.bool), torch.zeros(2, 4))
    drawn = boxes(layers, 2, queries)
    return Output(drawn, logits(layers, 2, queries), logits(2, 3, 5, seed=2), boxes(2, seed=3), memory)


def targets() -> TargetBatch:
    return TargetBatch.of([Targets(boxes(3, seed=5), torch.ones(3)), Targets(boxes(1, seed=6), torch.ones(1))], CPU)


def as_in_detr(batch: TargetBatch) -> list[dict[str, torch.Tensor]]:
    return [
        {"class_labels": torch.zeros(count, dtype=torch.int64), "boxes": batch.boxes[number, :count]}
        for number, count in enumerate(batch.counts)
    ]


def test_the_published_class_loss_is_that_of_torchvision() -> None:
    given, wanted = logits(50), torch.rand(50, generator=torch.Generator().manual_seed(3))
    wanted[:20] = wanted[:20].round()
    expected = ops.sigmoid_focal_loss(given, wanted, alpha=0.25, gamma=2)
    torch.testing.assert_close(focal(given, wanted, ALPHA), expected)


def test_our_class_loss_is_that_of_scipy() -> None:
    given, wanted = logits(50).double(), torch.rand(50, generator=torch.Generator().manual_seed(3)).double()
    p, target = special.expit(given.numpy()), wanted.numpy()
    cross = -special.xlogy(target, p) - special.xlogy(1 - target, 1 - p)
    np.testing.assert_allclose(focal(given, wanted).numpy(), np.abs(target - p) ** 2 * cross, rtol=1e-8)
    hard = wanted.round()
    torch.testing.assert_close(focal(given, hard), ops.sigmoid_focal_loss(given, hard, alpha=-1, gamma=2))


def test_overlaps_are_those_of_torchvision() -> None:
    a, b = cxcywh_to_xyxy(boxes(40)), cxcywh_to_xyxy(boxes(40, seed=9))
    torch.testing.assert_close(ious(a[:, None], b[None]), ops.box_iou(a, b))
    torch.testing.assert_close(1 - giou(a, b), ops.generalized_box_iou_loss(a, b))
    torch.testing.assert_close(torch.tensor(box_ious(a.tolist(), b[0].tolist())).float(), ops.box_iou(a, b[:1])[:, 0])


def test_the_matching_is_that_of_transformers() -> None:
    given, batch = output(queries=9), targets()
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    expected = matcher({"logits": given.logits[0][..., None], "pred_boxes": given.boxes[0]}, as_in_detr(batch))
    pairs = match(given.boxes, given.logits, batch, Weights())
    for number, (queries, crops) in enumerate(expected):
        mine = pairs.sample == number
        assert pairs.query[mine].tolist() == queries.tolist()
        assert pairs.target[mine].tolist() == crops.tolist()


def test_the_published_set_loss_is_that_of_transformers() -> None:
    given, batch = output(queries=9, layers=2), targets()
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    theirs = DeformableDetrImageLoss(matcher, num_classes=1, focal_alpha=0.25, losses=["labels", "boxes"])
    layers = [
        theirs({"logits": given.logits[layer][..., None], "pred_boxes": given.boxes[layer]}, as_in_detr(batch))
        for layer in range(2)
    ]
    ours = set_loss(given, batch, PUBLISHED)
    for name, its in (("score", "loss_ce"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
        torch.testing.assert_close(ours[name], sum(layer[its] for layer in layers), rtol=1e-5, atol=1e-6)


def test_soft_labels_follow_the_published_scale() -> None:
    opinions = np.linspace(1, 5, 21)  # MOS
    expected = [min(max(0.5 * (s - 2) / 1.5, 0.0), 0.5) for s in opinions]
    assert soft_label(torch.tensor((opinions - 1) / 4)).tolist() == pytest.approx(expected)


def test_the_vote_by_torchvision() -> None:
    given, batch = output(), targets()
    found = vote_loss(given, batch, Weights())
    label = batch.boxes[:, 0]
    far = functional.l1_loss(given.vote, label, reduction="none").sum(-1).mean()
    apart = ops.generalized_box_iou_loss(cxcywh_to_xyxy(given.vote), cxcywh_to_xyxy(label), reduction="mean")
    torch.testing.assert_close(found["vote"], 5 * far + 2 * apart)
    cells = []
    for sample, row, column in itertools.product(range(2), range(3), range(5)):
        x1, y1, x2, y2 = cxcywh_to_xyxy(label[sample]).tolist()
        within = x1 <= (column + 0.5) / 5 < x2 and y1 <= (row + 0.5) / 3 < y2
        p = special.expit(float(given.inside[sample, row, column]))
        cells.append(-math.log(p if within else 1 - p))
    assert float(found["inside"]) == pytest.approx(np.mean(cells), rel=1e-5)


def test_losses_of_the_roi_head_by_scipy() -> None:
    batch, config = targets(), LossConfig()
    tried, given = cxcywh_to_xyxy(boxes(2, 30, seed=11)), logits(2, 30)
    overlap = torch.stack([ops.box_iou(tried[n], cxcywh_to_xyxy(batch.boxes[n])) for n in range(2)])
    worths = torch.tensor([[1.0, 0.3, 0.3], [1.0, 0.0, 0.0]])  # the second picture has one crop; the rest is padding
    wanted = (worths[:, None] * overlap**2).amax(-1).numpy()
    p = special.expit(given.numpy())
    cross = -special.xlogy(wanted, p) - special.xlogy(1 - wanted, 1 - p)
    assert float(roi_loss(given, tried, batch, config)) == pytest.approx(cross.mean(), rel=1e-5)
    shares = torch.from_numpy(special.softmax(overlap[..., 0].numpy() / config.temperature, axis=1))
    expected = functional.cross_entropy(given, shares)
    torch.testing.assert_close(listwise_loss(given, tried, batch, config), expected)


def test_the_composition_loss_ignores_a_constant() -> None:
    given, wanted = logits(3, 8), logits(3, 8, seed=4)
    batch = TaughtBatch([], torch.ones(3), torch.zeros(3, 8, 4), wanted + 3.5)
    expected = np.mean([np.var(g - w) for g, w in zip(given.numpy(), wanted.numpy(), strict=True)])
    assert float(taught_loss(given, batch)) == pytest.approx(expected, rel=1e-5)


def ranked(seed: int, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Opinions and predictions with ties and crops that nobody scored."""
    rng = np.random.default_rng(seed)
    opinions = rng.integers(2, 10, count) / 2
    opinions[rng.random(count) < 0.2] = -2
    return opinions, rng.integers(0, 12, count) / 4


@pytest.mark.parametrize("seed", range(4))
def test_correlations_are_those_of_scipy(seed: int) -> None:
    opinions, predictions = ranked(seed)
    m, p = opinions[opinions != -2], predictions[opinions != -2]
    assert srcc(opinions, predictions) == pytest.approx(stats.spearmanr(m, p).statistic)
    assert pcc(opinions, predictions) == pytest.approx(stats.pearsonr(m, p).statistic)


@pytest.mark.parametrize(("seed", "k", "n"), [(0, 1, 5), (1, 4, 5), (2, 3, 10), (3, 4, 10)])
def test_acc_by_its_definition(seed: int, k: int, n: int) -> None:
    opinions, predictions = ranked(seed)
    scored = [(m, p) for m, p in zip(opinions.tolist(), predictions.tolist(), strict=True) if m != -2]
    limit = sorted((m for m, _ in scored), reverse=True)[n - 1]
    chosen = sorted(scored, key=lambda pair: -pair[1])[:k]  # Python's sort is stable
    assert acc(opinions, predictions, k, n) == pytest.approx(sum(m >= limit for m, _ in chosen) / k)
    by_opinion = sorted(range(len(scored)), key=lambda i: -scored[i][0])
    best = sorted(range(len(scored)), key=lambda i: -scored[i][1])[:k]
    places = sorted(by_opinion.index(i) + 1 for i in best)
    beta = {5: 0.2, 10: 0.1}[n]
    total = sum(
        math.exp(-beta * (rank - place)) * (scored[by_opinion[rank - 1]][0] >= limit)
        for place, rank in enumerate(places, 1)
    )
    assert weighted_acc(opinions, predictions, k, n) == pytest.approx(total / k)


def test_crop_metrics_by_torchvision() -> None:
    tried, wanted = cxcywh_to_xyxy(boxes(1)) * 200, cxcywh_to_xyxy(boxes(5, seed=8)) * 200
    found = crop_metrics(tried[0].tolist(), wanted.tolist(), 400, 100)
    overlaps = ops.box_iou(tried, wanted)[0]
    assert found.iou == pytest.approx(float(overlaps.max()), rel=1e-5)
    moved = (tried[0] - wanted[overlaps.argmax()]).abs() / torch.tensor([400, 100, 400, 100])
    assert found.bde == pytest.approx(float(moved.mean()), rel=1e-5)


def test_the_interval_is_near_that_of_scipy() -> None:
    values = np.random.default_rng(2).gamma(2.0, size=80)
    mean, low, high = bootstrap(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(theirs.low, abs=0.04) and high == pytest.approx(theirs.high, abs=0.04)


def test_average_precision_by_its_definition() -> None:
    rng = np.random.default_rng(5)
    images = [(rng.uniform(0.7, 1, 6), rng.uniform(0, 1, 6)) for _ in range(12)]
    flat = sorted(((-s, i, u) for i, (us, ss) in enumerate(images) for u, s in zip(us, ss, strict=True)))
    found: set[int] = set()
    curve = []
    for rank, (_, image, overlap) in enumerate(flat, 1):
        if overlap >= 0.9:
            found.add(image)
        curve.append((len(found) / len(images), len(found) / rank))  # recall, precision
    expected = sum(
        max(precision for recall, precision in curve if recall >= level - 1e-12) / len(images)
        for level in (np.arange(len(found)) + 1) / len(images)
    )
    assert average_precision(images, 0.9) == pytest.approx(expected)


def test_pairs_agree_as_kendall_counts_them() -> None:
    rng = np.random.default_rng(6)
    votes, scores = rng.permutation(12), rng.permutation(12) / 10
    pairs = list(itertools.combinations(range(12), 2))
    agreement = np.mean([pair_agreement(scores[a], scores[b], int(votes[a]), int(votes[b])) for a, b in pairs])
    assert 2 * agreement - 1 == pytest.approx(stats.kendalltau(votes, scores).statistic)
