"""Share of the subject that a crop keeps, from a mask reduced to a small grid that is stored with the proposals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.geometry import Box
from pipeline.core.records import SUBJECT_GRID


def pack(mask: NDArray[np.float32]) -> bytes:
    """A soft mask [H, W] in 0..1 as ``SUBJECT_GRID`` squared bytes."""
    small = Image.fromarray(mask).resize((SUBJECT_GRID, SUBJECT_GRID), Image.Resampling.BOX)
    packed: bytes = np.round(np.clip(np.asarray(small), 0, 1) * 255).astype(np.uint8).tobytes()
    return packed


class SubjectGrid:
    """Subject mass inside boxes, by an integral image.

    Args:
        packed: the grid, as ``pack`` returns it.
        width: of the canvas in pixels.
        height: of the canvas in pixels.
    """

    def __init__(self, packed: bytes, width: int, height: int) -> None:
        grid = np.frombuffer(packed, np.uint8).reshape(SUBJECT_GRID, SUBJECT_GRID).astype(np.float64)
        self._sum = np.zeros((SUBJECT_GRID + 1, SUBJECT_GRID + 1))
        self._sum[1:, 1:] = grid.cumsum(0).cumsum(1)
        self._scale = np.array([SUBJECT_GRID / width, SUBJECT_GRID / height] * 2)

    @property
    def total(self) -> float:
        """Mass of the whole subject in cells; below 1 the canvas counts as without a subject."""
        return float(self._sum[-1, -1]) / 255

    def kept(self, boxes: Sequence[Box]) -> list[float]:
        """Share of the subject inside each box, in [0, 1]; 1 for a canvas without a subject."""
        if self.total < 1:
            return [1.0] * len(boxes)
        x1, y1, x2, y2 = (np.asarray(boxes, np.float64).reshape(-1, 4) * self._scale).T
        inside = self._at(y2, x2) - self._at(y1, x2) - self._at(y2, x1) + self._at(y1, x1)
        return [float(v) for v in np.clip(inside / self._sum[-1, -1], 0, 1)]

    def _at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The integral image between its nodes, bilinear."""
        r = np.clip(rows, 0, SUBJECT_GRID)
        c = np.clip(columns, 0, SUBJECT_GRID)
        r0, c0 = np.minimum(r.astype(int), SUBJECT_GRID - 1), np.minimum(c.astype(int), SUBJECT_GRID - 1)
        fr, fc = r - r0, c - c0
        top = self._sum[r0, c0] * (1 - fc) + self._sum[r0, c0 + 1] * fc
        bottom = self._sum[r0 + 1, c0] * (1 - fc) + self._sum[r0 + 1, c0 + 1] * fc
        out: NDArray[np.float64] = top * (1 - fr) + bottom * fr
        return out
