"""Greedy choice of boxes that differ, as propose and refine make it; non-maximum suppression over a matrix of IoUs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box


def overlaps(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU [N, N] of boxes [N, 4] with one another, as ``pipeline.core.geometry.iou`` computes it; 0 between empty boxes."""
    low, high = boxes[:, :2], boxes[:, 2:]
    shared = np.clip(np.minimum(high[:, None], high) - np.maximum(low[:, None], low), 0, None).prod(axis=2)  # [N, N]
    areas = np.clip(high - low, 0, None).prod(axis=1)  # [N]
    union = areas[:, None] + areas - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def choose_distinct(boxes: Sequence[Box], limit: float, most: int | None = None) -> list[int]:
    """Indices of the boxes whose IoU with every box chosen before them is below ``limit``.

    Args:
        boxes: best first, so that of two similar boxes the better is kept.
        limit: of the IoU, in 0..1.
        most: boxes chosen at most; None for no limit.
    """
    near = overlaps(np.asarray(boxes, np.float64).reshape(-1, 4)) >= limit
    free = np.ones(len(near), bool)
    chosen: list[int] = []
    for index in range(len(near)):
        if len(chosen) == most:
            break
        if free[index]:
            chosen.append(index)
            free &= ~near[index]
    return chosen
