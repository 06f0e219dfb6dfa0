"""Boxes that need no training: what a cropper has to beat. A finder takes a picture uint8 [H, W, 3] and gives a box in pixels."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box, clamp, iou
from procrop_model.evaluation.smartcrop import smartcrop_box

Pixels = NDArray[np.uint8]
Finder = Callable[[Pixels], Box]
Segment = Callable[[Sequence[Pixels]], Sequence[NDArray[np.float32]]]
NORM: dict[str, tuple[float, float, float, float]] = {
    "identity": (0.0, 0.0, 1.0, 1.0),
    "centre_0.9": (0.05, 0.05, 0.95, 0.95),
}
SALIENT = 0.5
MARGIN = 0.2  # what `fit_margin` finds on the default recipe's train canvases
MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def scaled(norm: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """A box in 0..1 in pixels."""
    return (norm[0] * width, norm[1] * height, norm[2] * width, norm[3] * height)


def saliency_box(mask: NDArray[np.float32], margin: float = MARGIN) -> tuple[float, float, float, float]:
    """The box around what a soft mask [H, W] calls salient (at least 0.5), widened by a share of each side of the picture; the
    whole picture when nothing is.
    """
    height, width = mask.shape
    across, down = np.flatnonzero((mask >= SALIENT).any(0)), np.flatnonzero((mask >= SALIENT).any(1))
    if not len(across):
        return (0.0, 0.0, float(width), float(height))
    dx, dy = margin * width, margin * height
    return clamp((across[0] - dx, down[0] - dy, across[-1] + 1 + dx, down[-1] + 1 + dy), width, height)


def fit_margin(masks: Sequence[NDArray[np.float32]], wanted: Sequence[Box]) -> float:
    """The margin of ``saliency_box`` that gives the highest mean IoU with known good boxes, of MARGINS: as the constant box, it is
    fitted on pictures of the train split, so that the baseline is as strong as its kind can be. MARGIN when there are none.
    """
    if not masks:
        return MARGIN
    values = [np.mean([iou(saliency_box(m, x), box) for m, box in zip(masks, wanted, strict=True)]) for x in MARGINS]
    return MARGINS[int(np.argmax(values))]


def finders(segment: Segment | None = None, margin: float = MARGIN) -> dict[str, Finder]:
    """Baselines that look at the picture. segment: soft masks of pictures (``Segmenter.segment``); without it, smartcrop alone."""
    by_name: dict[str, Finder] = {"smartcrop": smartcrop_box}
    if segment is not None:
        by_name = {"saliency_box": lambda image: saliency_box(segment([image])[0], margin), **by_name}
    return by_name
