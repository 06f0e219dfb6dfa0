"""Limits as numbers: how far boxes of one picture are from keeping them, and boxes that do."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from procrop_model.inference.crop_options import Limits, parse_min_size

Floats = NDArray[np.float32]
FAINT = 0.3  # of a soft mask, below which it is taken for background
NEARLY = 0.97  # of the share of the subject that any crop keeps, where the wanted share cannot be had
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
PLACES = 7  # of a window along the side where it has room
WHOLE = np.array([[0, 0, 1, 1]], np.float32)


class Rules:
    """The limits of one picture. Boxes are float [N, 4] xyxy in 0..1 of it."""

    def __init__(self, limits: Limits, size: tuple[int, int], small: NDArray[np.uint8]) -> None:
        """size: (width, height) of the original; small: uint8 [h, w, 3], what the subject is looked for in.

        Raises UsageError for limits that no picture or not this one can have.
        """
        width, height = size
        if not 0 < limits.share <= 1:
            raise UsageError(f"share {limits.share} of the subject to keep is not in 0..1")
        self.size = size
        self.share = self._goal = limits.share
        self._least = parse_min_size(limits.min_size)
        half = np.array([-0.5, -0.5, 0.5, 0.5])  # pixels that rounding may cost
        scale = np.array([width, height, width, height])
        self._keep = [np.clip((np.array(region) + half) / scale, 0, 1) for region in limits.keep]
        for region, box in zip(limits.keep, self._keep, strict=True):
            if box[0] >= box[2] or box[1] >= box[3] or region[2] > width or region[3] > height:
                raise UsageError(
                    f"keep {','.join(f'{v:g}' for v in region)} is not inside the picture ({width}x{height})"
                )
        self._mass = _integral(limits.subject(small)) if limits.subject is not None else None

    @property
    def any(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._keep) or self._least is not None or self._mass is not None

    @property
    def has_subject(self) -> bool:
        """Whether a subject was looked for and found."""
        return self._mass is not None

    def kept(self, boxes: Floats) -> Floats:
        """Share [N] of the subject inside each box; 1 where there is no subject."""
        if self._mass is None:
            return np.ones(len(boxes), np.float32)
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
        inside = self._at(y2, x2) - self._at(y1, x2) - self._at(y2, x1) + self._at(y1, x1)
        return np.clip(inside, 0, 1).astype(np.float32)

    def relax(self, boxes: Floats) -> None:
        """Where none of these boxes keeps the wanted share of the subject, ask nearly for the largest that one keeps."""
        self._goal = min(self.share, NEARLY * float(self.kept(boxes).max(initial=0)))

    def judge(self, boxes: Floats, scores: Floats) -> Floats:
        """Scores [N] in 0..1 where a box keeps the limits; else below -1, the lower the more it lacks."""
        lack = self.lack(boxes, self._goal)
        return np.where(lack > 0, -1 - lack, scores).astype(np.float32)

    def fulfilled(self, box: Floats) -> bool:
        """Whether one box [4] keeps all limits as they were asked for."""
        return bool(self.lack(box[None], self.share)[0] <= 0)

    def lack(self, boxes: Floats, share: float) -> Floats:
        """How much [N] each box lacks, summed over the limits; 0 for none."""
        lack = np.maximum(0, share - 1e-4 - self.kept(boxes))
        sides = boxes[:, 2:] - boxes[:, :2]
        for region in self._keep:
            shared = np.minimum(boxes[:, 2:], region[2:]) - np.maximum(boxes[:, :2], region[:2])
            covered = np.clip(shared, 0, None).prod(1) / (region[2:] - region[:2]).prod()
            lack = lack + np.maximum(0, 1 - 1e-5 - covered)
        if isinstance(self._least, tuple):
            asked = np.array(self._least) / np.array(self.size)
            spare = np.minimum(np.array(self._least) + 1, np.maximum(self.size, self._least)) / np.array(self.size)
            lack = lack + np.where(sides < spare - 1e-6, spare - sides, 0).sum(1) / np.maximum(asked, 1).max()
        elif self._least is not None:
            lack = lack + np.maximum(0, self._least - 1e-4 - sides.prod(1))
        return np.asarray(lack, np.float32)

    def candidates(self, decoded: Floats, ratio: float | None) -> Floats:
        """Boxes [M, 4] that are likely to keep the limits: windows of an aspect all over the picture and around what must
        stay; when free, the decoded boxes grown to hold it, and the whole.
        """
        need = self._need()
        if ratio is not None:
            return np.array([*windows(ratio, self.size), *_around(need, ratio, self.size)], np.float32)
        grown = np.concatenate([np.minimum(decoded[:, :2], need[:2]), np.maximum(decoded[:, 2:], need[2:])], 1)
        return np.concatenate([grown, need[None], WHOLE]).astype(np.float32)

    def _need(self) -> NDArray[np.float64]:
        """The box [4] around all that must stay, without what of the subject may go."""
        boxes = list(self._keep)
        if self._mass is not None:
            loose = (1 - self._goal) / 4
            rows, columns = self._mass[:, -1], self._mass[-1]
            boxes.append(np.concatenate([_between(columns, loose), _between(rows, loose)])[[0, 2, 1, 3]])
        if not boxes:
            return np.array([0.5, 0.5, 0.5, 0.5])
        stacked = np.stack(boxes)
        return np.concatenate([stacked[:, :2].min(0), stacked[:, 2:].max(0)])

    def _at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The integral image at places in 0..1, bilinear between its nodes."""
        assert self._mass is not None
        high, wide = self._mass.shape[0] - 1, self._mass.shape[1] - 1
        r, c = np.clip(rows, 0, 1) * high, np.clip(columns, 0, 1) * wide
        r0, c0 = np.minimum(r.astype(int), high - 1), np.minimum(c.astype(int), wide - 1)
        fr, fc = r - r0, c - c0
        top = self._mass[r0, c0] * (1 - fc) + self._mass[r0, c0 + 1] * fc
        bottom = self._mass[r0 + 1, c0] * (1 - fc) + self._mass[r0 + 1, c0 + 1] * fc
        found: NDArray[np.float64] = top * (1 - fr) + bottom * fr
        return found


def windows(ratio: float, size: tuple[int, int]) -> Iterator[tuple[float, float, float, float]]:
    """Boxes xyxy in 0..1 of an aspect all over a picture, from the largest that fits to half of it a side."""
    wide, high = largest(ratio, size)
    for scale in SCALES:
        w, h = wide * scale, high * scale
        for y in np.linspace(0, 1 - h, PLACES) if 1 - h > 1e-3 else [0.0]:
            for x in np.linspace(0, 1 - w, PLACES) if 1 - w > 1e-3 else [0.0]:
                yield (float(x), float(y), float(x) + w, float(y) + h)


def largest(ratio: float, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height in 0..1 of the largest box of an aspect in a picture."""
    relative = ratio * size[1] / size[0]  # width over height in shares of the picture
    return (1.0, 1 / relative) if relative >= 1 else (relative, 1.0)


def _around(
    need: NDArray[np.float64], ratio: float, size: tuple[int, int]
) -> Iterator[tuple[float, float, float, float]]:
    """Boxes of an aspect that hold a box where they can, from tight to loose, at its middle and its two ends."""
    wide, high = largest(ratio, size)
    tight = max((need[2] - need[0]) / wide, (need[3] - need[1]) / high)
    for grown in (1.0, 1.15, 1.35, 1.6):
        scale = min(1.0, max(tight * grown, 0.1))
        w, h = wide * scale, high * scale
        for across, down in ((0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (0.5, 0.2), (0.5, 0.8)):
            x = float(np.clip(need[0] + (need[2] - need[0] - w) * across, 0, 1 - w))
            y = float(np.clip(need[1] + (need[3] - need[1] - h) * down, 0, 1 - h))
            yield (x, y, x + w, y + h)


def _integral(mask: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Integral image [h + 1, w + 1] of a mask whose sum is made 1; None for a picture without a subject."""
    solid = np.where(mask > FAINT, mask, 0).astype(np.float64)
    if solid.sum() < 1e-3 * solid.size:
        return None
    summed = np.zeros((solid.shape[0] + 1, solid.shape[1] + 1))
    summed[1:, 1:] = solid.cumsum(0).cumsum(1) / solid.sum()
    return summed


def _between(summed: NDArray[np.float64], loose: float) -> NDArray[np.float64]:
    """The interval [2] in 0..1 that leaves out a share ``loose`` of a cumulated mass at either end."""
    places = np.linspace(0, 1, len(summed))
    return np.interp([loose, 1 - loose], summed, places)
