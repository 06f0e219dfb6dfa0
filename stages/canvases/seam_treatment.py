"""The seam treatment: how photo and paint are blended, so that a model cannot recognise the photo by its pixels."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy.ndimage import gaussian_filter

from pipeline.core.geometry import BoxPx
from pipeline.core.seeds import seed_for
from pipeline.core.settings import Settings
from stages.canvases.detail_match import matched

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
STORED_QUALITY = 95


class SeamSettings(Settings):
    """Steps of the treatment in this order, all but ``match`` applied to paint and photo alike. ``UNTREATED`` is a plain paste.

    docs/seam.md measures each step and gives the reasons of the defaults.

    Args:
        scale: the canvas is painted this many times larger, and reduced together with the photo on it.
        keep: whether the photo's own pixels lie in the frame, or the painter's rendering of them, so that both sides come
            from one decoder.
        feather_px: width in pixels of the ramp inside the photo's frame from paint to photo; 0 pastes without one.
        match: share of the way from the paint's contrast of detail to the photo's.
        blur_px: standard deviation of a Gaussian blur in pixels.
        noise: standard deviation of added grain in grey levels.
        jpeg_quality: of the JPEG that the canvas is stored as.
    """

    scale: float = Field(1.0, ge=1, le=4)
    keep: Literal["photo", "painter"] = "photo"
    feather_px: int = Field(2, ge=0, le=64)
    match: float = Field(0.5, ge=0, le=1)
    blur_px: float = Field(0.0, ge=0, le=8)
    noise: float = Field(3.0, ge=0, le=32)
    jpeg_quality: int = Field(STORED_QUALITY, ge=20, le=100)

    @property
    def words(self) -> str:
        """The treatment as a canvas's row records it: the feather, then every other step in use."""
        nothing = UNTREATED.model_dump(exclude={"feather_px"})
        used = {name: getattr(self, name) for name, value in nothing.items() if getattr(self, name) != value}
        return ", ".join([f"feather {self.feather_px}", *(f"{name} {value}" for name, value in used.items())])


UNTREATED = SeamSettings(feather_px=0, match=0.0, noise=0.0)


def enlarged(box_px: BoxPx, size: tuple[int, int], scale: float) -> tuple[BoxPx, tuple[int, int]]:
    """A box and the (width, height) of its canvas at the scale that it is painted at, in whole pixels of that scale."""
    x1, y1, x2, y2 = (round(edge * scale) for edge in box_px)
    return (x1, y1, x2, y2), (round(size[0] * scale), round(size[1] * scale))


def treat(
    painted: Pixels, photo: Pixels, box_px: BoxPx, settings: SeamSettings, *, size: tuple[int, int], seed: int
) -> Pixels:
    """The finished canvas uint8 [H, W, 3] of ``size`` (width, height), before it is encoded.

    Args:
        painted: uint8, ``settings.scale`` times that size, painted inside ``box_px`` too.
        photo: uint8 [h, w, 3], of the box's size.
        box_px: of the photo, in pixels of ``painted``.
        settings: the treatment.
        size: (width, height) of the result in pixels.
        seed: of the grain.
    """
    canvas = painted
    if settings.keep == "photo":
        wide = settings.model_copy(update={"feather_px": round(settings.feather_px * settings.scale)})
        canvas = paste(painted, photo, box_px, wide)
    inside = np.zeros(canvas.shape[:2], bool)
    inside[box_px[1] : box_px[3], box_px[0] : box_px[2]] = True
    canvas = _pixels(matched(canvas.astype(np.float32), inside, settings.match)) if settings.match else canvas
    if (canvas.shape[1], canvas.shape[0]) != size:
        canvas = np.asarray(Image.fromarray(canvas).resize(size, Image.Resampling.LANCZOS))
    return degrade(canvas, settings, seed)


def degrade(canvas: Pixels, settings: SeamSettings, seed: int) -> Pixels:
    """Blur and grain over the whole canvas uint8 [H, W, 3]; the same canvas when both are 0."""
    if settings.blur_px:
        blurred = gaussian_filter(canvas.astype(np.float32), (settings.blur_px, settings.blur_px, 0), mode="nearest")
        canvas = _pixels(blurred)
    if settings.noise:
        grain = np.random.default_rng(seed_for(seed, "seam grain", "")).normal(0, settings.noise, canvas.shape)
        canvas = _pixels(canvas.astype(np.float32) + grain.astype(np.float32))
    return canvas


def paste(painted: Pixels, photo: Pixels, box_px: BoxPx, settings: SeamSettings) -> Pixels:
    """The canvas with the photo over its rectangle, blended within ``feather_px`` of sides that have paint beyond them.

    painted: uint8 [H, W, 3], painted inside ``box_px`` too; photo: uint8 [h, w, 3] of the rectangle's size.
    """
    x1, y1, x2, y2 = box_px
    height, width = painted.shape[:2]
    rows = _ramp(y2 - y1, settings.feather_px, y1 > 0, y2 < height)
    columns = _ramp(x2 - x1, settings.feather_px, x1 > 0, x2 < width)
    alpha = np.minimum(rows[:, None], columns[None, :])[..., None]  # [h, w, 1]
    canvas = painted.copy()
    under = canvas[y1:y2, x1:x2].astype(np.float32)
    canvas[y1:y2, x1:x2] = np.round(under + alpha * (photo.astype(np.float32) - under)).astype(np.uint8)
    return canvas


def kept_psnr(canvas: Pixels, photo: Pixels, box_px: BoxPx) -> float:
    """Peak signal-to-noise ratio in dB of the photo inside its frame after the treatment; 99 when no pixel changed."""
    x1, y1, x2, y2 = box_px
    error = canvas[y1:y2, x1:x2].astype(np.float64) - photo
    return float(min(99.0, 10 * np.log10(255**2 / max(float((error**2).mean()), 1e-9))))


def _pixels(canvas: Floats) -> Pixels:
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)


def _ramp(length: int, feather: int, at_start: bool, at_end: bool) -> NDArray[np.float32]:
    """Weights of the photo along one side: rising from the frame where something was painted beyond it."""
    ramp = np.ones(length, np.float32)
    step = min(feather, length // 4)
    rise = (np.arange(step, dtype=np.float32) + 1) / (step + 1)
    if at_start:
        ramp[:step] = rise
    if at_end:
        ramp[length - step :] = rise[::-1]
    return ramp
