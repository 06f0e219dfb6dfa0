"""The seam: how the photo's pixels meet the painted ones."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.geometry import BoxPx
from pipeline.settings import Settings


class SeamSettings(Settings):
    """feather_px: width of the ramp inside the photo's frame over which its pixels take over; 0 pastes hard."""

    feather_px: int = Field(2, ge=0, le=64)


def paste(
    painted: NDArray[np.uint8], photo: NDArray[np.uint8], box_px: BoxPx, settings: SeamSettings
) -> NDArray[np.uint8]:
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
