"""Typical crops: boxes as the crops of training views lie in them, in equal numbers of each share of the image."""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.seeds import seed_for

LEAST_SIDE = 0.3  # of a typical crop, as a share of the image's side
_TRIES = 64  # draws a wanted crop at most; nearly every second one fits


def typical_crops(count: int, fill: tuple[float, float], kept: tuple[float, float]) -> NDArray[np.float32]:
    """Boxes [count, 4] xyxy in 0..1, the whole image last; the same for the same arguments.

    Args:
        count: at least 1.
        fill: least and greatest share of the image that a crop fills, drawn evenly.
        kept: probabilities of a margin: at the left and the right side, and at the top and the bottom.
    """
    rng = np.random.default_rng(seed_for(count, "typical-crops", repr((fill, kept))))
    boxes: list[NDArray[np.float64]] = []
    for _ in range(_TRIES * count):
        if len(boxes) == count - 1:
            break
        share = rng.uniform(*fill)
        margins = rng.exponential(size=4) * (rng.random(4) < np.tile(kept, 2))
        box = _with_area(margins, share)
        if (box[2:] - box[:2]).min() >= LEAST_SIDE:
            boxes.append(box)
    return np.array([*boxes, [0.0, 0.0, 1.0, 1.0]], np.float32)


def _with_area(margins: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The box whose margins (left, top, right, bottom) are in these proportions and that fills a share of the image.

    (1 - t (l + r)) (1 - t (u + d)) = share is quadratic in t; its smaller root keeps both sides positive.
    """
    across, down = margins[0] + margins[2], margins[1] + margins[3]
    if across + down == 0:
        return np.array([0.0, 0.0, 1.0, 1.0])
    square, linear = across * down, across + down
    root = np.sqrt(max(linear**2 - 4 * square * (1 - share), 0.0))
    factor = 2 * (1 - share) / (linear + root)
    left, top, right, bottom = factor * margins
    return np.array([left, top, 1 - right, 1 - bottom])
