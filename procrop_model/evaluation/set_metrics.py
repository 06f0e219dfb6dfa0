"""Metrics of sets of scored boxes (METHOD 6, "ProCrop / set-prediction form"): ``eps_acc`` and AP. Not comparable with AccK/n:
here the boxes are the model's own, and one annotation alone counts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box, area, iou

EPSILONS = (0.9, 0.85)
TOPS = (5, 10)
AP_EPSILONS = (0.85, 0.9, 0.95)
EQUAL_AREA = 0.05  # how much smaller the smaller of two boxes of "equal area" may be
Floats = NDArray[np.float64]


def box_ious(boxes: Sequence[Box], annotation: Box) -> Floats:
    """IoU [N] of each box with an annotation; the order is kept."""
    return np.array([iou(box, annotation) for box in boxes], np.float64)


def eps_acc(ious: Floats, top: int, eps: float) -> float:
    """1 when any of the ``top`` first boxes has an IoU of at least ``eps`` with the single best annotation.

    ious: [N], of the boxes best first.
    """
    return float(bool((ious[:top] >= eps).any()))


def eps_metrics(ious: Floats) -> dict[str, float]:
    """``eps_acc5_90``, ``eps_acc10_90``, ``eps_acc5_85``, ``eps_acc10_85`` of one image."""
    return {f"eps_acc{top}_{round(eps * 100)}": eps_acc(ious, top, eps) for eps in EPSILONS for top in TOPS}


def average_precision(images: Sequence[tuple[Floats, Floats]], eps: float) -> float:
    """Area under precision over recall, all points, when each image has one box to find.

    images: (ious, scores), [N_i] each, of an image's boxes. Over all images boxes are taken by score (stable); the first of an
    image that reaches ``eps`` is a hit, every other box a false alarm. Precision at a recall is the best at that or a higher one.
    """
    if not images:
        return 0.0
    owner = np.repeat(np.arange(len(images)), [len(scores) for _, scores in images])
    ious = np.concatenate([one for one, _ in images])
    order = np.argsort(-np.concatenate([scores for _, scores in images]), kind="stable")
    reached, owner = ious[order] >= eps, owner[order]
    hits = np.zeros(len(order), bool)
    _, first = np.unique(owner[reached], return_index=True)
    hits[np.flatnonzero(reached)[first]] = True
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / len(images))


def mean_ap(images: Sequence[tuple[Floats, Floats]]) -> float:
    """Mean of ``average_precision`` over eps 0.85, 0.90 and 0.95."""
    return float(np.mean([average_precision(images, eps) for eps in AP_EPSILONS]))


def ap_interval(images: Sequence[tuple[Floats, Floats]], *, draws: int = 200, seed: int = 0) -> list[float]:
    """[mean AP, low, high]: a 95 % percentile interval over images drawn with replacement."""
    if not images:
        return [float("nan")] * 3
    rng = np.random.default_rng(seed)
    drawn = [mean_ap([images[i] for i in rng.integers(0, len(images), len(images))]) for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [mean_ap(images), float(low), float(high)]


def pair_agreement(score_first: float, score_second: float, votes_first: int, votes_second: int) -> float:
    """Whether the scores of two boxes are in the order of people's votes (FCDB's ranking pairs): 1, 0, or 0.5 for equal scores.

    Raises ValueError for equal votes: such a pair has no order and is to be left out.
    """
    if votes_first == votes_second:
        raise ValueError("a pair with equal votes has no order")
    if score_first == score_second:
        return 0.5
    return float((score_first > score_second) == (votes_first > votes_second))


def is_equal_area(first: Box, second: Box) -> bool:
    """Whether the areas of two boxes differ by at most 5 % of the larger: then area alone cannot tell which one people prefer."""
    areas = sorted((area(first), area(second)))
    return areas[1] - areas[0] <= EQUAL_AREA * areas[1]


def is_unanimous(votes_first: int, votes_second: int) -> bool:
    """Whether all votes, at least one, are for one side."""
    return min(votes_first, votes_second) == 0 < max(votes_first, votes_second)
