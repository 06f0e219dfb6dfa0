"""Which faces a crop cuts: the figure that people mind most, for any box of any source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procrop_model.evaluation.metrics import bootstrap
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


def face_figures(
    boxes: Mapping[str, Sequence[NDArray[np.float64]]], faces: Sequence[Floats], photos: Sequence[str]
) -> dict[str, object]:
    """Counts of pictures and faces, and ``rows``: for each method the shares of faces and heads that its boxes cut, and of
    prominent heads that are not whole inside, each as [mean, low, high] with an interval over photographs.

    Args:
        boxes: by method, the box [4] of each image in 0..1.
        faces: of each image, [N, 4 or more] in 0..1.
        photos: of each image, the unit that the bootstrap draws.
    """
    rows = {}
    for method, of_images in boxes.items():
        cuts = [faces_cut(box.tolist(), found) for box, found in zip(of_images, faces, strict=True)]
        rows[method] = {
            "faces_cut": _share([(one.cut, one.faces) for one in cuts], photos),
            "heads_cut": _share([(one.heads_cut, one.faces) for one in cuts], photos),
            "prominent_lost": _share([(one.lost, one.prominent) for one in cuts], photos),
        }
    return {"pictures": sum(len(found) > 0 for found in faces), "faces": sum(map(len, faces)), "rows": rows}


def _share(counts: Sequence[tuple[int, int]], photos: Sequence[str]) -> list[float]:
    """[mean, low, high] of the share that (part, whole) of each image make; zeros without any."""
    values = [float(n < part) for part, whole in counts for n in range(whole)]
    owners = [photo for photo, (_, whole) in zip(photos, counts, strict=True) for _ in range(whole)]
    return [round(x, 4) for x in bootstrap(values, owners)] if values else [0.0, 0.0, 0.0]


def can_hold(faces: Floats, ratio: float | None, size: tuple[int, int]) -> bool:
    """Whether a window of an aspect ``ratio`` (width / height; None for any) holds the heads of all prominent faces.

    faces: [N, 4 or more], xyxy in 0..1. size: (width, height) of the picture in pixels.
    """
    required = FaceLimits(faces).required()
    if required is None or ratio is None:
        return True
    wide, high = largest_window(ratio, size)
    return bool(required[2] - required[0] <= wide + 1e-3 and required[3] - required[1] <= high + 1e-3)
