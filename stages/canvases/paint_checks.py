"""Checks of a painted canvas: measures that detect a failed out-painting, each compared with a limit of the recipe."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from pipeline.core.geometry import BoxPx
from pipeline.core.settings import Settings

THUMB = 64  # pixels, long side at which repeats are searched: coarse enough to ignore texture, and fast
JUMP_REACH = 6  # pixels on either side of the frame whose jumps are compared
LEAST_CONTRAST = 4.0  # grey levels: a photo or a subject of less has nothing to compare
LEAST_SUBJECT = 6  # pixels at ``THUMB``: a smaller subject is like anything
MOST_PHOTO = 0.4  # of a window, which then counts as paint


class PaintCheckSettings(Settings):
    """Limits of the measures. ``procrop-data audit paint`` calibrates them on real surroundings.

    Args:
        blank_share: least contrast of the paint as a share of the photo's.
        seam_ratio: largest jump across the frame as a multiple of the jumps beside it.
        repeat_correlation: largest correlation of a painted window with the subject; 1 never rejects.
        mirror_correlation: the same with the subject's mirror images.
    """

    blank_share: float = Field(0.04, ge=0)
    seam_ratio: float = Field(4.0, gt=1)
    repeat_correlation: float = Field(0.92, gt=0, le=1)
    mirror_correlation: float = Field(1.0, gt=0, le=1)

    @property
    def mirror_in_use(self) -> bool:
        """Whether any mirrored subject could be rejected: no correlation exceeds 1."""
        return self.mirror_correlation < 1


@dataclass(frozen=True)
class PaintMeasures:
    """Measures of one canvas; one that does not apply (no paint, no subject) has a value that passes every limit."""

    contrast_share: float
    seam_ratio: float
    repeat_correlation: float
    mirror_correlation: float

    def reject(self, limits: PaintCheckSettings) -> tuple[str, str] | None:
        """The reject word and its detail, or None for a good canvas."""
        if self.contrast_share < limits.blank_share:
            return "blank", f"contrast of the paint is {self.contrast_share:.3f} of the photo's"
        if self.seam_ratio > limits.seam_ratio:
            return "seam_visible", f"jump across the frame is {self.seam_ratio:.1f} times the jumps beside it"
        if self.repeat_correlation > limits.repeat_correlation:
            return "repeats_photo", f"a painted window is {self.repeat_correlation:.2f} like the subject"
        if self.mirror_correlation > limits.mirror_correlation:
            return "repeats_photo", f"a painted window is {self.mirror_correlation:.2f} like the subject in a mirror"
        return None


def measure(
    canvas: NDArray[np.uint8], box_px: BoxPx, subject_px: BoxPx | None, *, mirrored: bool = True
) -> PaintMeasures:
    """Measures of uint8 [H, W, 3] with the photo at ``box_px`` and, in it, the subject at ``subject_px``.

    Args:
        canvas: the painted canvas.
        box_px: of the photo.
        subject_px: bounds of the subject; None without one.
        mirrored: whether its two mirror images are searched, too, which takes three times as long.
    """
    gray = canvas.astype(np.float32).mean(axis=2)
    repeat, mirror = _repeats(canvas, box_px, subject_px, mirrored) if subject_px else (0.0, 0.0)
    return PaintMeasures(
        contrast_share=_contrast_share(gray, box_px),
        seam_ratio=_seam_ratio(gray, box_px),
        repeat_correlation=repeat,
        mirror_correlation=mirror,
    )


def _contrast_share(gray: NDArray[np.float32], box: BoxPx) -> float:
    x1, y1, x2, y2 = box
    outside = np.ones(gray.shape, bool)
    outside[y1:y2, x1:x2] = False
    inner = float(gray[y1:y2, x1:x2].std())
    if not outside.any() or inner < LEAST_CONTRAST:  # a uniform photo may have uniform surroundings
        return 1.0
    return float(gray[outside].std()) / inner


def _seam_ratio(gray: NDArray[np.float32], box: BoxPx) -> float:
    """Largest over the four sides of (median jump across the frame) / (mean jump a few pixels inside and outside)."""
    x1, y1, x2, y2 = box
    ratios = []
    for lines, at, low, high in ((gray, y1, x1, x2), (gray, y2, x1, x2), (gray.T, x1, y1, y2), (gray.T, x2, y1, y2)):
        if not JUMP_REACH <= at <= lines.shape[0] - JUMP_REACH:
            continue
        near = lines[at - JUMP_REACH : at + JUMP_REACH, low:high]
        jumps = np.abs(np.diff(near, axis=0)).mean(axis=1)  # [11]; the frame is jump 5
        beside = (jumps[:3].mean() + jumps[8:].mean()) / 2
        ratios.append(float(jumps[4:7].max() / (beside + 1.0)))
    return max(ratios, default=1.0)


def _repeats(canvas: NDArray[np.uint8], box: BoxPx, subject: BoxPx, mirrored: bool) -> tuple[float, float]:
    """Best normalised correlations of the subject, and of its mirror images (left-right and top-bottom; 0 unless
    ``mirrored``), with a window of its size that is mostly paint, at ``THUMB`` pixels.
    """
    height, width = canvas.shape[:2]
    scale = THUMB / max(height, width)
    small = np.asarray(
        Image.fromarray(canvas)
        .convert("L")
        .resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX),
        np.float32,
    )
    x1, y1, x2, y2 = (round(v * scale) for v in subject)
    w, h = x2 - x1, y2 - y1
    if w < LEAST_SUBJECT or h < LEAST_SUBJECT or w >= small.shape[1] or h >= small.shape[0]:
        return 0.0, 0.0
    template = small[y1:y2, x1:x2]
    if template.std() < LEAST_CONTRAST:
        return 0.0, 0.0
    paint = _mostly_paint(small.shape, (h, w), [v * scale for v in box])
    exact = small.astype(np.float64)
    images = [template, template[:, ::-1], template[::-1]] if mirrored else [template]
    best = [float(_correlations(exact, image)[paint].max(initial=0.0)) for image in images]
    return best[0], max(best[1:], default=0.0)


def _mostly_paint(shape: tuple[int, ...], window: tuple[int, int], box: Sequence[float]) -> NDArray[np.bool_]:
    """Whether the h x w window at each place [H - h + 1, W - w + 1] has less than ``MOST_PHOTO`` of its area in the box."""
    inside = []
    for length, size, low, high in ((shape[0], window[0], box[1], box[3]), (shape[1], window[1], box[0], box[2])):
        start = np.arange(length - size + 1)
        inside.append(np.clip(np.minimum(start + size, high) - np.maximum(start, low), 0, None) / size)
    small: NDArray[np.bool_] = np.outer(*inside) < MOST_PHOTO
    return small


def _correlations(picture: NDArray[np.float64], template: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normalised correlation of the template [h, w] with every window of the picture [H, W]: [H - h + 1, W - w + 1]."""
    (height, width), (h, w) = picture.shape, template.shape
    centred = template - template.mean(dtype=np.float64)
    spectrum = np.fft.rfft2(picture) * np.conj(np.fft.rfft2(centred, picture.shape))
    products = np.fft.irfft2(spectrum, picture.shape)[: height - h + 1, : width - w + 1]
    total, squares = _window_sums(picture, h, w), _window_sums(picture**2, h, w)
    energy = np.clip(squares - total**2 / (h * w), 0, None)
    correlations: NDArray[np.float64] = products / (np.sqrt(energy * (centred**2).sum()) + 1e-6)
    return correlations


def _window_sums(picture: NDArray[np.float64], h: int, w: int) -> NDArray[np.float64]:
    """Sum over every h x w window, by an integral image."""
    integral = np.pad(picture, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums: NDArray[np.float64] = integral[h:, w:] - integral[:-h, w:] - integral[h:, :-w] + integral[:-h, :-w]
    return sums
