"""Metrics of crops against annotations (METHOD 6, "FLMS / FCDB, CACNet form") and bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.geometry import Box, displacement, iou

RECALL_IOU = 0.75


@dataclass(frozen=True)
class CropMetrics:
    """iou in 0..1, higher is better; bde (boundary displacement error), lower is better; recall: 1 when iou >= 0.75."""

    iou: float
    bde: float
    recall: float


def crop_metrics(box: Box, annotations: Sequence[Box], width: float, height: float) -> CropMetrics:
    """A predicted box against its annotations, all in pixels of a ``width`` x ``height`` image.

    The annotation of best IoU counts (ties: the smallest displacement), and all figures are for that one. Raises
    ValueError when there is no annotation.
    """
    if not annotations:
        raise ValueError("an image without annotation cannot be evaluated")
    scored = [(-iou(box, other), displacement(box, other, width, height)) for other in annotations]
    negative, error = min(scored)
    return CropMetrics(-negative, error, float(-negative >= RECALL_IOU))


def bootstrap(
    values: ArrayLike, groups: Sequence[str] | None = None, *, draws: int = 2000, seed: int = 0
) -> list[float]:
    """[mean, low, high] with a 95 % percentile interval.

    groups: the photo of each value; whole photos are drawn with replacement, since canvases of one photo are not
    independent. Without groups each value is its own. [nan, nan, nan] when there are no values.
    """
    data = np.asarray(values, np.float64)
    if not len(data):
        return [float("nan")] * 3
    names = np.asarray(groups if groups is not None else np.arange(len(data)))
    _, owner = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(owner, data), np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(data.mean()), float(low), float(high)]


def best_constant_box(boxes: ArrayLike) -> tuple[float, float, float, float]:
    """The one box that maximises the mean IoU with boxes [N, 4], normalised xyxy; fitted on the train split.

    Coordinate search from the median box and from centred boxes, with a step that halves to 1/512.
    """
    wanted = np.asarray(boxes, np.float64).reshape(-1, 4)
    starts = [np.median(wanted, 0), *(np.array([m, m, 1 - m, 1 - m]) for m in (0.0, 0.05, 0.1, 0.2, 0.3))]
    best = max((_climb(start, wanted) for start in starts), key=lambda box: _mean_iou(box, wanted))
    return (float(best[0]), float(best[1]), float(best[2]), float(best[3]))


def _climb(box: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    value, step = _mean_iou(box, wanted), 0.125
    while step >= 1 / 512:
        moves = [np.clip(box + step * sign * axis, 0, 1) for axis in np.eye(4) for sign in (-1, 1)]
        best = max(moves, key=lambda moved: _mean_iou(moved, wanted))
        if (overlap := _mean_iou(best, wanted)) > value + 1e-12:
            box, value = best, overlap
        else:
            step /= 2
    return box


def _mean_iou(box: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    width = np.minimum(box[2], wanted[:, 2]) - np.maximum(box[0], wanted[:, 0])
    height = np.minimum(box[3], wanted[:, 3]) - np.maximum(box[1], wanted[:, 1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    own = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
    areas = (wanted[:, 2] - wanted[:, 0]) * (wanted[:, 3] - wanted[:, 1])
    return float(np.mean(shared / np.maximum(own + areas - shared, 1e-12)))
