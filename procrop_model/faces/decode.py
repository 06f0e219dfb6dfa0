"""From the outputs of BlazeFace to boxes.

Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019: one regression per anchor, given in
pixels of the network's input relative to the centre of the anchor; overlapping boxes are averaged by score, not dropped.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Layers = Sequence[tuple[int, int]]
SAME_FACE = 0.3  # IoU from which two boxes show the same face, as published
LOGITS = 80.0  # beyond, exp overflows in float32


def anchor_centres(height: int, width: int, layers: Layers) -> Floats:
    """Centres (x, y) [A, 2] in pixels of all anchors of an input of ``height`` x ``width``.

    layers: (stride, anchors a cell) of each output map, in the order of the network's outputs.
    """
    centres = []
    for stride, count in layers:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride  # [cells, 2]
        centres.append(np.repeat(cells, count, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode_boxes(regressors: Floats, centres: Floats) -> Floats:
    """Boxes [A, 4] xyxy in pixels of the input, from regressions [A, 16]: centre, width and height; then key points."""
    middle, sides = regressors[:, :2] + centres, np.abs(regressors[:, 2:4])
    return np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)


def probabilities(logits: Floats) -> Floats:
    """Logistic function of logits of any shape, in 0..1."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -LOGITS, LOGITS))), np.float32)


def overlap_with(box: Floats, boxes: Floats) -> Floats:
    """IoU [N] of one box [4] with boxes [N, 4]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return np.asarray(shared / np.maximum(union, 1e-12), np.float32)


def merge_overlapping(boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """One box for each group of boxes [N, 4] of the same face: their mean, weighted by score; with the highest score.

    Returns boxes [M, 4] and scores [M], best first.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    merged, kept = [], []
    while len(boxes):
        same = overlap_with(boxes[0], boxes) > SAME_FACE
        same[0] = True
        merged.append(np.average(boxes[same], axis=0, weights=scores[same]))
        kept.append(scores[0])
        boxes, scores = boxes[~same], scores[~same]
    return np.array(merged, np.float32).reshape(-1, 4), np.array(kept, np.float32)
