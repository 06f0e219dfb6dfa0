"""Share of the subject that a crop keeps, from the mask that ``perceive`` stored."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box

# Least share of the picture that a subject covers; below it the mask is noise and counts as empty.
LEAST_SUBJECT = 1 / 1024


class SubjectGrid:
    """Subject mass inside boxes, by an integral image.

    Args:
        mask: of the canvas, squeezed to a square, uint8 [S, S].
        width: of the canvas in pixels.
        height: of the canvas in pixels.
    """

    def __init__(self, mask: NDArray[np.uint8], width: int, height: int) -> None:
        self._side = len(mask)
        self._sum = np.zeros((self._side + 1, self._side + 1))
        self._sum[1:, 1:] = mask.astype(np.float64).cumsum(0).cumsum(1)
        self._scale = np.array([self._side / width, self._side / height] * 2)

    @property
    def total(self) -> float:
        """Share of the canvas that the subject covers; below ``LEAST_SUBJECT`` the canvas counts as without a subject."""
        return float(self._sum[-1, -1]) / 255 / self._side**2

    def kept(self, boxes: Sequence[Box]) -> list[float]:
        """Share of the subject inside each box, in [0, 1]; 1 for a canvas without a subject."""
        if self.total < LEAST_SUBJECT:
            return [1.0] * len(boxes)
        x1, y1, x2, y2 = (np.asarray(boxes, np.float64).reshape(-1, 4) * self._scale).T
        inside = self._at(y2, x2) - self._at(y1, x2) - self._at(y2, x1) + self._at(y1, x1)
        return [float(v) for v in np.clip(inside / self._sum[-1, -1], 0, 1)]

    def _at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The integral image between its nodes, bilinear."""
        r = np.clip(rows, 0, self._side)
        c = np.clip(columns, 0, self._side)
        r0, c0 = np.minimum(r.astype(int), self._side - 1), np.minimum(c.astype(int), self._side - 1)
        fr, fc = r - r0, c - c0
        top = self._sum[r0, c0] * (1 - fc) + self._sum[r0, c0 + 1] * fc
        bottom = self._sum[r0 + 1, c0] * (1 - fc) + self._sum[r0 + 1, c0 + 1] * fc
        out: NDArray[np.float64] = top * (1 - fr) + bottom * fr
        return out
