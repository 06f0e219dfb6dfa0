"""Which faces a crop cuts: the figure that people mind most, for any box of any source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procrop_model.faces.face_limits import FaceLimits
from procrop_model.inference.limit_scoring import largest_window

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FaceCuts:
    """What one crop, or several together, do to faces.

    Args:
        faces: in the picture.
        cut: faces that are partly inside, from the chin to where the hair begins.
        heads_cut: heads that are partly inside; a cut face counts as well.
        prominent: faces whose side is at least half of the largest's.
        lost: of those, the ones whose head does not lie wholly inside.
    """

    faces: int = 0
    cut: int = 0
    heads_cut: int = 0
    prominent: int = 0
    lost: int = 0

    def __add__(self, other: "FaceCuts") -> "FaceCuts":
        return FaceCuts(
            self.faces + other.faces,
            self.cut + other.cut,
            self.heads_cut + other.heads_cut,
            self.prominent + other.prominent,
            self.lost + other.lost,
        )

    @property
    def share_cut(self) -> float:
        """Share of the faces that is cut, in 0..1; 0 without faces."""
        return self.cut / self.faces if self.faces else 0.0

    @property
    def share_of_heads_cut(self) -> float:
        """Share of the heads that is cut, in 0..1; 0 without faces."""
        return self.heads_cut / self.faces if self.faces else 0.0


def faces_cut(crop: Sequence[float], faces: Floats) -> FaceCuts:
    """What a crop (x1, y1, x2, y2), in 0..1 of its picture, does to the picture's faces [N, 4 or more], in 0..1 as well."""
    limits, box = FaceLimits(faces), np.array(crop, np.float32)
    heads, cut = limits.cuts(box)
    lost = limits.prominent_lost(box)
    return FaceCuts(len(limits), cut, heads, int(limits.prominent.sum()), lost)


def can_hold(faces: Floats, ratio: float | None, size: tuple[int, int]) -> bool:
    """Whether a window of an aspect ``ratio`` (width / height; None for any) holds the heads of all prominent faces.

    faces: [N, 4 or more], xyxy in 0..1. size: (width, height) of the picture in pixels.
    """
    required = FaceLimits(faces).required()
    if required is None or ratio is None:
        return True
    wide, high = largest_window(ratio, size)
    return bool(required[2] - required[0] <= wide + 1e-3 and required[3] - required[1] <= high + 1e-3)
