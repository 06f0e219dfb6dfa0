"""Features of the subject in a crop: how much is kept and cut, and where it lies; for any number of boxes by summed-area tables."""

import numpy as np
from numpy.typing import NDArray

from stages.backends.base.protocols import Floats

VERSION = 2
COLUMNS = (
    *("kept", "kept_squared", "cut_side_worse", "cut_side_better", "cut_top", "cut_bottom"),
    *("density", "extent_x", "extent_y", "off_centre_x", "place_y", "off_centre_y", "off_thirds"),
    *("free_side_worse", "free_side_better", "free_top", "free_bottom", "concentration"),
    "elongation",
)
WIDEST = 16 / 9  # aspect ratio up to which the elongation of a crop is hidden from the scorer
_EDGE = 0.03  # half the width of the band along an edge, as a share of the box's side
_REACH = 1.5  # deviations of the mask from its mean that the subject is taken to extend

Array = NDArray[np.float64]


def subject_features(mask: Floats, boxes: Array, size: tuple[int, int] | None = None) -> Array:
    """Features [N, len(COLUMNS)] of ``boxes`` [N, 4], fractions of the picture, from its ``mask`` [H, W] in 0..1.

    Lengths are in sides of the box. ``kept`` is the share of the picture's subject inside; ``cut_*`` its density along
    an edge; ``free_*`` the distance between subject and edge. Left and right are only distinguished as worse and better, so
    a mirrored picture has the same features. ``elongation`` is 0 for aspect ratios up to 16:9 either way: most photographs
    are wide, and a scorer that sees the aspect ratio gives every tall crop a low score.
    """
    width, height = size or (mask.shape[1], mask.shape[0])
    masses = SubjectMass(mask, (width, height))
    pixels = boxes * np.array([width, height, width, height])
    sides = np.maximum(pixels[:, 2:] - pixels[:, :2], 1e-6)
    kept = masses.kept(pixels)
    left, right, top, bottom = (masses.density(edge) for edge in _edges(pixels))
    mean, deviation = masses.moments(pixels)
    place, extent = (mean - pixels[:, :2]) / sides, deviation / sides
    off = np.abs(place - 0.5)
    thirds = np.linalg.norm(np.minimum(off, np.abs(off - 1 / 6)), axis=1)
    whole, spread = masses.moments(np.array([[0.0, 0.0, width, height]]))
    before = (whole - _REACH * spread - pixels[:, :2]) / sides
    after = (pixels[:, 2:] - whole - _REACH * spread) / sides
    even = np.hypot(width, height) / np.sqrt(12)  # the deviation of a mask that is the same everywhere
    concentration = np.full(len(boxes), 1 - np.linalg.norm(spread) / even)
    columns = [
        *(kept, kept**2, np.maximum(left, right), np.minimum(left, right), top, bottom),
        *(masses.density(pixels), extent[:, 0], extent[:, 1], off[:, 0], place[:, 1], off[:, 1], thirds),
        *(np.minimum(before, after)[:, 0], np.maximum(before, after)[:, 0], before[:, 1], after[:, 1]),
        concentration,
        np.maximum(np.abs(np.log(sides[:, 0] / sides[:, 1])) - np.log(WIDEST), 0.0),
    ]
    return np.asarray(np.clip(np.stack(columns, 1), -3.0, 3.0))


def _edges(pixels: Array) -> list[Array]:
    """Bands along the left, right, top and bottom edge, 6 % of the box's side, centred on the edge."""
    x1, y1, x2, y2 = pixels.T
    across, down = _EDGE * (x2 - x1), _EDGE * (y2 - y1)
    return [
        np.stack([x1 - across, y1, x1 + across, y2], 1),
        np.stack([x2 - across, y1, x2 + across, y2], 1),
        np.stack([x1, y1 - down, x2, y1 + down], 1),
        np.stack([x1, y2 - down, x2, y2 + down], 1),
    ]


class SubjectMass:
    """Squared mask (so that soft edges weigh little) summed over boxes in pixels [N, 4]; 0 outside the picture.

    Args:
        mask: [h, w] in 0..1.
        size: (width, height) of the picture that the mask covers, in pixels; None for the mask's own.
    """

    def __init__(self, mask: Floats, size: tuple[int, int] | None = None) -> None:
        self.height, self.width = mask.shape
        wide, high = size or (self.width, self.height)
        self.cell = (wide / self.width, high / self.height)
        values = mask.astype(np.float64) ** 2 * (self.cell[0] * self.cell[1])
        columns = (np.arange(self.width) + 0.5) * self.cell[0]
        rows = ((np.arange(self.height) + 0.5) * self.cell[1])[:, None]
        weighted = [values, values * columns, values * rows, values * columns**2, values * rows**2]
        self.tables = [np.pad(each.cumsum(0).cumsum(1), ((1, 0), (1, 0))) for each in weighted]
        self.total = float(values.sum())

    def kept(self, pixels: Array) -> Array:
        """Share [N] of all mass that lies in each box; 1 for a mask without mass."""
        return self._sums(pixels) / self.total if self.total > 1e-6 else np.ones(len(pixels))

    def density(self, pixels: Array) -> Array:
        """Mean [N] over each box."""
        area = np.maximum((pixels[:, 2] - pixels[:, 0]) * (pixels[:, 3] - pixels[:, 1]), 1e-6)
        return self._sums(pixels) / area

    def moments(self, pixels: Array) -> tuple[Array, Array]:
        """Middle [N, 2] and deviation [N, 2] (x, y) of the mass in each box; its centre and 0 for an empty one."""
        mass = self._sums(pixels)
        some = (mass > 1e-6 * max(self.total, 1e-6))[:, None]
        safe = np.where(some, mass[:, None], 1.0)
        first = np.stack([self._sums(pixels, which) for which in (1, 2)], 1) / safe
        second = np.stack([self._sums(pixels, which) for which in (3, 4)], 1) / safe
        mean = np.where(some, first, (pixels[:, :2] + pixels[:, 2:]) / 2)
        return mean, np.sqrt(np.where(some, np.maximum(second - first**2, 0.0), 0.0))

    def _sums(self, pixels: Array, which: int = 0) -> Array:
        x1, y1, x2, y2 = pixels.T
        at = self._at
        return at(which, x2, y2) - at(which, x1, y2) - at(which, x2, y1) + at(which, x1, y1)

    def _at(self, which: int, x: Array, y: Array) -> Array:
        table = self.tables[which]
        x, y = np.clip(x / self.cell[0], 0, self.width), np.clip(y / self.cell[1], 0, self.height)
        left, top = np.minimum(x.astype(int), self.width - 1), np.minimum(y.astype(int), self.height - 1)
        fx, fy = x - left, y - top
        upper = table[top, left] * (1 - fx) + table[top, left + 1] * fx
        lower = table[top + 1, left] * (1 - fx) + table[top + 1, left + 1] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)
