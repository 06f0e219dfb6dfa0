"""Validation: the IoU of the answer with the pseudo-label, by which the best epoch is chosen, and the calibration of its score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.geometry import iou
from pipeline.shards.epoch_order import LoaderRank
from procrop_model.answer.expected_agreement import best_agreement, opinion_of
from procrop_model.answer.typical_crops import typical_crops
from procrop_model.network.boxes import cxcywh_to_xyxy
from procrop_model.network.config import AnswerConfig, CropperConfig
from procrop_model.network.crop_network import CropNetwork
from procrop_model.retrieval.pad_references import pad_references
from procrop_model.training.augment import AugmentConfig
from procrop_model.training.batches import text_of
from procrop_model.training.samples import RetrievalResults
from procrop_model.training.train_step import view_features
from procrop_model.training.views import Views

BATCH = 16
GOOD_IOU = 0.75
_STEPS, _RIDGE = 30, 1e-2  # Newton steps of the logistic fit, and what keeps it finite for answers that are all good


class Answer(NamedTuple):
    """The answer for one view: its IoU with the pseudo-label, and its expected IoU (0 for a model without typical crops)."""

    iou: float
    expected: float


@torch.no_grad()
def answers(
    network: CropNetwork,
    views: Views,
    share: LoaderRank,
    *,
    retrieval: RetrievalResults,
    config: CropperConfig,
    augmentation: AugmentConfig | None,
    number: int = 0,
) -> list[Answer]:
    """The answer for view ``number`` of each canvas; people's annotated images are seen as they are.

    Each process evaluates whole batches, so a value does not depend on the number of processes; canvases of other processes get
    0. The network's mode (train or eval) is restored.
    """
    was_training = network.training
    network.eval()
    found = [Answer(0.0, 0.0)] * len(views.samples)
    for start in range(share.rank * BATCH, len(found), share.ranks * BATCH):
        chosen = range(start, min(start + BATCH, len(found)))
        found[start : chosen.stop] = _batch(network, views, chosen, retrieval, config, augmentation, number)
    network.train(was_training)
    return found


def _batch(  # noqa: PLR0913 - one call of it
    network: CropNetwork,
    views: Views,
    chosen: Sequence[int],
    retrieval: RetrievalResults,
    config: CropperConfig,
    augmentation: AugmentConfig | None,
    number: int,
) -> list[Answer]:
    device = next(network.parameters()).device
    batch = [views.get(i, number, None if views.samples[i].annotated else augmentation) for i in chosen]
    aspects = torch.tensor([view.aspect for view in batch], device=device)  # [B]
    neighbours = [retrieval.neighbours.get(views.samples.keys[index], [])[: config.k] for index in chosen]
    references = pad_references(neighbours, retrieval.database).to(device)
    text = text_of(batch)
    features = view_features(network, batch, device)
    output = network(features, aspects, references, None if text is None else text.to(device))
    decoded = cxcywh_to_xyxy(output.boxes[-1]).clamp(0, 1)  # [B, Q, 4]
    answer = config.answer
    typical = torch.from_numpy(typical_crops(max(1, answer.typical), answer.fill, answer.kept)[: answer.typical])
    scored = torch.cat([decoded, typical.to(device).expand(len(batch), -1, -1)], 1)
    logits = network.score(output, scored, aspects).float().cpu().numpy()
    labels = [cxcywh_to_xyxy(view.targets.boxes[0]).tolist() for view in batch]
    rows = zip(scored.cpu().numpy(), logits, labels, strict=True)
    return [_answer(boxes, energies, decoded.shape[1], label, answer) for boxes, energies, label in rows]


def _answer(
    boxes: NDArray[np.float32], logits: NDArray[np.float32], queries: int, label: list[float], config: AnswerConfig
) -> Answer:
    if len(boxes) == queries:
        return Answer(iou(boxes[int(logits.argmax())].tolist(), label), 0.0)
    opinion = opinion_of(boxes[:queries], logits[:queries], boxes[queries:], logits[queries:], config)
    best, expected = best_agreement(opinion, np.concatenate([opinion.mean[None], boxes[:queries]]))
    chosen = int(expected.argmax())
    return Answer(iou(best[chosen].tolist(), label), float(expected[chosen]))


def calibration_of(found: Sequence[Answer]) -> tuple[float, float]:
    """Slope and offset of the log-odds that an answer of expected IoU x has an IoU of 0.75: a logistic fit.

    (Platt 1999; with a small ridge on the slope.)
    """
    x = np.array([[answer.expected, 1.0] for answer in found])  # [N, 2]
    y = np.array([answer.iou >= GOOD_IOU for answer in found], np.float64)
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (y - p) - _RIDGE * weights
        curve = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        weights = weights + np.linalg.solve(curve, slope)
    return round(float(weights[0]), 4), round(float(weights[1]), 4)
