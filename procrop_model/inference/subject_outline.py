"""How far the subject reaches: ears, muzzles and tails are a small share of a subject's area, but a crop that cuts them is bad.

Boxes are float32 [N, 4] xyxy in 0..1 of the image.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SOLID = 0.5  # mask values from which a pixel is the subject
TAIL = 0.004  # of the subject's rows and columns that may lie beyond an end: stray pixels
LEAST = 50  # pixels of a subject
BORDER = 0.02  # an end so near to the image's border is one that the photo itself cuts ...
CUT_BEFORE = 0.25  # ... and losing more of it counts so much of losing a free end, such as a muzzle


class SubjectOutline:
    """The ends of a subject.

    Args:
        mask: [h, w] in 0..1.
    """

    def __init__(self, mask: Floats) -> None:
        solid = mask > SOLID
        self.box: Floats | None = None
        if solid.sum() >= LEAST:
            (x1, x2), (y1, y2) = _ends(solid.sum(axis=0)), _ends(solid.sum(axis=1))
            self.box = np.array([x1, y1, x2, y2], np.float32)
            at_border = np.concatenate([self.box[:2] < BORDER, self.box[2:] > 1 - BORDER])
            self._weights = np.where(at_border, CUT_BEFORE, 1).astype(np.float32)

    def cut(self, boxes: Floats) -> Floats:
        """What each box [N, 4] cuts of the ends, [N]: shares of the subject's width and height, summed; 0 without a subject."""
        if self.box is None:
            return np.zeros(len(boxes), np.float32)
        sides = np.tile(self.box[2:] - self.box[:2], 2)
        beyond = np.concatenate([boxes[:, :2] - self.box[:2], self.box[2:] - boxes[:, 2:]], axis=1)  # [N, 4]
        return np.asarray(np.clip(beyond / np.maximum(sides, 1e-6), 0, 1) @ self._weights, np.float32)


def _ends(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """The interval [2] in 0..1 that holds all but TAIL at either end of pixel counts [n] of rows or columns."""
    cumulated = np.concatenate([[0], counts.cumsum()]) / counts.sum()
    return np.interp([TAIL, 1 - TAIL], cumulated, np.linspace(0, 1, len(cumulated)))
