"""Limits of a crop as numbers: by how much boxes violate them, and candidate boxes that meet them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError
from procrop_model.faces.face_limits import SLACK, FaceLimits
from procrop_model.inference.crop_options import Limits, face_finder, parse_min_size
from procrop_model.inference.subject_outline import SubjectOutline

Floats = NDArray[np.float32]
BACKGROUND = 0.3  # mask values below are background: U2-Net's soft edges and haze stay under it
LEAST_SUBJECT = 1e-3  # mean of the mask below which the image counts as without a subject: a few stray pixels are none
NEARLY = 0.97  # of the best reachable share of the subject, where the required one cannot be reached: leaves the score a choice
SCALES = (
    1.0,
    0.9,
    0.8,
    0.7,
    0.6,
    0.5,
)  # of windows; smaller ones come from the decoded boxes, which local search refines
PLACES = 7  # of a window along a side with room: steps of at most a twelfth of the image, which local search bridges
GROWTH = (1.0, 1.15, 1.35, 1.6)  # of a window around what must stay: from tight to loose framing
PLACEMENTS = (
    (0.5, 0.5),
    (0.2, 0.5),
    (0.8, 0.5),
    (0.5, 0.2),
    (0.5, 0.8),
)  # of what must stay in it: centre, and near thirds
# Slack for float32 boxes, so that one that meets a limit exactly is not counted as violating it.
SHARE_SLACK, COVER_SLACK, SIDE_SLACK = 1e-4, 1e-5, 1e-6
# Score that a crop loses for each other face that it cuts, times the face's side relative to the largest face's.
BACKGROUND_FACE = 0.15
# Score that a crop loses for ends of the subject which it cuts, times the share of the subject's width or height: at this, no crop
# of 28 animals cut more than 3 % where a window could hold them, and the mean score fell by 0.002 (docs/cropping.md).
SUBJECT_END = 0.25
ADJUSTED = 8  # leading boxes that are moved off the heads which they cut
WHOLE = np.array([[0, 0, 1, 1]], np.float32)


class CropConstraints:
    """The limits of one image. Boxes are float [N, 4] xyxy in 0..1 of it."""

    def __init__(self, limits: Limits, size: tuple[int, int], small: NDArray[np.uint8]) -> None:
        """Raises UsageError for limits that are malformed or outside the image.

        Args:
            limits: as the user gave them.
            size: (width, height) of the original in pixels.
            small: a reduced image uint8 [h, w, 3], of which the subject mask and the faces are computed.
        """
        width, height = size
        if not 0 < limits.share <= 1:
            raise UsageError(f"share {limits.share} of the subject to keep is not in 0..1")
        self.size = size
        self.share = self._goal = limits.share
        self._least = parse_min_size(limits.min_size)
        half = np.array([-0.5, -0.5, 0.5, 0.5])  # a crop's edge is rounded by up to half a pixel
        scale = np.array([width, height, width, height])
        self._keep = [np.clip((np.array(region) + half) / scale, 0, 1) for region in limits.keep]
        for region, box in zip(limits.keep, self._keep, strict=True):
            if box[0] >= box[2] or box[1] >= box[3] or region[2] > width or region[3] > height:
                raise UsageError(
                    f"keep {','.join(f'{v:g}' for v in region)} is not inside the picture ({width}x{height})"
                )
        mask = limits.subject(small) if limits.subject is not None else None
        self._mass = _integral(mask) if mask is not None else None
        self._outline = SubjectOutline(mask) if mask is not None and self._mass is not None else None
        find = face_finder(limits.faces)
        self.faces = FaceLimits(find(small) if find is not None else np.zeros((0, 4), np.float32))
        self._face_goal = 0.0

    @property
    def any(self) -> bool:
        """Whether there is any limit."""
        return self.any_but_faces or len(self.faces) > 0

    @property
    def any_but_faces(self) -> bool:
        """Whether there is any limit other than faces."""
        return bool(self._keep) or self._least is not None or self._mass is not None

    @property
    def has_subject(self) -> bool:
        """Whether the limits have a subject and the mask found one."""
        return self._mass is not None

    def kept(self, boxes: Floats) -> Floats:
        """Share [N] of the subject inside each box; 1 where there is no subject."""
        if self._mass is None:
            return np.ones(len(boxes), np.float32)
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
        inside = self._at(y2, x2) - self._at(y1, x2) - self._at(y2, x1) + self._at(y1, x1)
        return np.clip(inside, 0, 1).astype(np.float32)

    def relax(self, boxes: Floats) -> None:
        """Lowers what cannot be reached by any of ``boxes`` to what can: the heads first, then, of the boxes that keep them, nearly
        the largest share of the subject.
        """
        cut = self.faces.violation(boxes)
        least = float(cut.min(initial=2))
        self._face_goal = least + SLACK if least > 0 else 0.0
        self._goal = min(self.share, NEARLY * float(self.kept(boxes[cut <= self._face_goal]).max(initial=0)))

    def penalise(self, boxes: Floats, scores: Floats) -> Floats:
        """scores [N] in 0..1 of boxes that meet the limits, lower where they cut other faces or ends of the subject; -1 - violation
        for those that do not, so below any score.
        """
        violation = self.violation(boxes, self._goal) + np.maximum(0, self.faces.violation(boxes) - self._face_goal)
        lost = BACKGROUND_FACE * self.faces.background_cut(boxes)
        if self._outline is not None:
            lost = lost + SUBJECT_END * self._outline.cut(boxes)
        softened = np.maximum(0, scores - lost)
        return np.where(violation > 0, -1 - violation, softened).astype(np.float32)

    def fulfilled(self, box: Floats) -> bool:
        """Whether one box [4] meets all limits, the share of the subject and the heads not relaxed."""
        return bool(self.violation(box[None], self.share)[0] <= 0 and self.faces.violation(box[None])[0] <= 0)

    def uncut(self, boxes: Floats) -> Floats:
        """The first ADJUSTED of boxes [N, 4] of any aspect, moved off the heads which they cut; all of them without faces."""
        return self.faces.adjust(boxes[:ADJUSTED]) if len(self.faces) else boxes

    def violation(self, boxes: Floats, share: float) -> Floats:
        """By how much [N] each box violates the limits but faces, in shares, summed; 0 when it meets them all."""
        return np.asarray(np.sum(list(self.violations(boxes, share).values()), axis=0), np.float32)

    def violations(self, boxes: Floats, share: float) -> dict[str, Floats]:
        """The same by limit, [N] each: ``subject``, ``keep`` and ``size``. share: of the subject that must stay."""
        subject = np.maximum(0, share - SHARE_SLACK - self.kept(boxes))
        keep = np.zeros(len(boxes))
        for region in self._keep:
            shared = np.minimum(boxes[:, 2:], region[2:]) - np.maximum(boxes[:, :2], region[:2])
            covered = np.clip(shared, 0, None).prod(1) / (region[2:] - region[:2]).prod()
            keep = keep + np.maximum(0, 1 - COVER_SLACK - covered)
        return {"subject": subject, "keep": keep, "size": self._too_small(boxes[:, 2:] - boxes[:, :2])}

    def _too_small(self, sides: Floats) -> Floats:
        """By how much [N] boxes of ``sides`` [N, 2] are smaller than the least size."""
        if isinstance(self._least, tuple):
            least = np.array(self._least) / np.array(self.size)
            # One pixel more than required, where the image has it, since rounding to pixels may take one away.
            rounded = np.minimum(np.array(self._least) + 1, np.maximum(self.size, self._least)) / np.array(self.size)
            missing = np.where(sides < rounded - SIDE_SLACK, rounded - sides, 0).sum(1)
            return np.asarray(
                missing / np.maximum(least, 1).max()
            )  # a size beyond the image must not outweigh all else
        if self._least is not None:
            return np.asarray(np.maximum(0, self._least - SHARE_SLACK - sides.prod(1)))
        return np.zeros(len(sides), np.float32)

    def uncut_in_shape(self, boxes: Floats, ratio: float) -> Floats:
        """Windows [M, 4] of an aspect ``ratio`` that cut the fewest heads, near boxes [N, 4] of it; none without faces."""
        if not len(self.faces):
            return boxes[:0]
        return np.unique(self.faces.adjust_in_shape(boxes, largest_window(ratio, self.size)), axis=0)

    def candidates(self, decoded: Floats, ratio: float | None) -> Floats:
        """Boxes [M, 4] that are likely to meet the limits.

        With an aspect ``ratio``: windows over the whole image and around what must stay. Without: the boxes ``decoded`` [N, 4]
        enlarged to contain it, the box around it, and the whole image.
        """
        required = self._required_box()
        if ratio is not None:
            return np.array([*windows(ratio, self.size), *_around(required, ratio, self.size)], np.float32)
        decoded = self.uncut(decoded)
        low, high = np.minimum(decoded[:, :2], required[:2]), np.maximum(decoded[:, 2:], required[2:])
        return np.concatenate([np.concatenate([low, high], 1), required[None], WHOLE]).astype(np.float32)

    def _required_box(self) -> NDArray[np.float64]:
        """The box [4] around all regions, prominent heads and the subject, less the share of the subject that may be cut off."""
        boxes = list(self._keep)
        if (heads := self.faces.required()) is not None:
            boxes.append(heads.astype(np.float64))
        if self._mass is not None:
            cut = (1 - self._goal) / 4  # of the mass, at each of the four sides
            rows, columns = self._mass[:, -1], self._mass[-1]
            (x1, x2), (y1, y2) = _between(columns, cut), _between(rows, cut)
            boxes.append(np.array([x1, y1, x2, y2]))
        if self._outline is not None and self._outline.box is not None:
            boxes.append(self._outline.box.astype(np.float64))
        if not boxes:
            return np.array([0.5, 0.5, 0.5, 0.5])  # nothing must stay: the centre, without area
        stacked = np.stack(boxes)
        return np.concatenate([stacked[:, :2].min(0), stacked[:, 2:].max(0)])

    def _at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The integral image at places in 0..1, interpolated bilinearly."""
        assert self._mass is not None
        high, wide = self._mass.shape[0] - 1, self._mass.shape[1] - 1
        r, c = np.clip(rows, 0, 1) * high, np.clip(columns, 0, 1) * wide
        r0, c0 = np.minimum(r.astype(int), high - 1), np.minimum(c.astype(int), wide - 1)
        fr, fc = r - r0, c - c0
        top = self._mass[r0, c0] * (1 - fc) + self._mass[r0, c0 + 1] * fc
        bottom = self._mass[r0 + 1, c0] * (1 - fc) + self._mass[r0 + 1, c0 + 1] * fc
        values: NDArray[np.float64] = top * (1 - fr) + bottom * fr
        return values


def windows(ratio: float, size: tuple[int, int]) -> Iterator[tuple[float, float, float, float]]:
    """Boxes xyxy in 0..1 of aspect ``ratio`` over a whole image of ``size`` (width, height): SCALES of the largest that fits."""
    wide, high = largest_window(ratio, size)
    for scale in SCALES:
        w, h = wide * scale, high * scale
        for y in np.linspace(0, 1 - h, PLACES) if 1 - h > 1e-3 else [0.0]:
            for x in np.linspace(0, 1 - w, PLACES) if 1 - w > 1e-3 else [0.0]:
                yield (float(x), float(y), float(x) + w, float(y) + h)


def largest_window(ratio: float, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height in 0..1 of the largest box of aspect ``ratio`` in an image of ``size`` (width, height)."""
    relative = ratio * size[1] / size[0]  # the aspect in normalised coordinates
    return (1.0, 1 / relative) if relative >= 1 else (relative, 1.0)


def _around(
    required: NDArray[np.float64], ratio: float, size: tuple[int, int]
) -> Iterator[tuple[float, float, float, float]]:
    """Boxes of an aspect that contain a required box [4] where they are large enough, by GROWTH and PLACEMENTS."""
    wide, high = largest_window(ratio, size)
    tight = max((required[2] - required[0]) / wide, (required[3] - required[1]) / high)
    for growth in GROWTH:
        scale = min(1.0, max(tight * growth, 0.1))
        w, h = wide * scale, high * scale
        for across, down in PLACEMENTS:
            x = float(np.clip(required[0] + (required[2] - required[0] - w) * across, 0, 1 - w))
            y = float(np.clip(required[1] + (required[3] - required[1] - h) * down, 0, 1 - h))
            yield (x, y, x + w, y + h)


def _integral(mask: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Integral image [h + 1, w + 1] of a mask [h, w], scaled to a sum of 1; None for an image without a subject."""
    solid = np.where(mask > BACKGROUND, mask, 0).astype(np.float64)
    if solid.sum() < LEAST_SUBJECT * solid.size:
        return None
    summed = np.zeros((solid.shape[0] + 1, solid.shape[1] + 1))
    summed[1:, 1:] = solid.cumsum(0).cumsum(1) / solid.sum()
    return summed


def _between(cumulated: NDArray[np.float64], cut: float) -> NDArray[np.float64]:
    """The interval [2] in 0..1 that leaves out a share ``cut`` of a cumulated mass [n] at either end."""
    places = np.linspace(0, 1, len(cumulated))
    return np.interp([cut, 1 - cut], cumulated, places)
