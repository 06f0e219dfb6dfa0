"""Faces on a canvas: which crops cut a head, and which faces the painter invented."""

from collections.abc import Sequence

import numpy as np

from pipeline.core.geometry import Box, area, cover, to_norm
from procrop_model.faces.face_limits import FaceLimits

INSIDE = (
    0.5  # share of a face within the photo's rectangle from which it is the photo's own, though its frame may cut it
)


class CanvasFaces:
    """The faces that ``perceive`` stored of a canvas.

    Args:
        faces: rows (x1, y1, x2, y2, score), xyxy in 0..1 of the canvas.
        size: (width, height) of the canvas in pixels.
    """

    def __init__(self, faces: Sequence[Sequence[float]], size: tuple[int, int]) -> None:
        self._limits = FaceLimits(np.asarray(faces, np.float32).reshape(-1, 5))
        self._size = size

    def cut(self, boxes: Sequence[Box]) -> list[bool]:
        """Whether each box, in pixels, cuts a head or lacks a prominent one."""
        if not boxes or not len(self._limits):
            return [False] * len(boxes)
        norm = np.array([to_norm(box, *self._size) for box in boxes], np.float32)
        return [bool(cut) for cut in self._limits.violation(norm) + self._limits.background_cut(norm) > 0]


def invented_face(
    faces: Sequence[Sequence[float]], photo_box: Box, size: tuple[int, int]
) -> tuple[float, float] | None:
    """(score, share of the canvas) of the best face that lies mostly outside the photo's rectangle; None without any.

    Args:
        faces: rows (x1, y1, x2, y2, score), xyxy in 0..1 of the canvas, best first.
        photo_box: the photo's rectangle in pixels.
        size: (width, height) of the canvas in pixels.
    """
    photo = to_norm(photo_box, *size)
    for *face, score in faces:
        if cover(face, photo) < INSIDE:
            return score, area(face)
    return None
