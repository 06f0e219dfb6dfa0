"""A limit for the check of invented subjects, calibrated on what photographs hold beyond a frame around their subject.

Over a window of each canvas's unpainted photograph a frame of the photo's size is laid where it keeps most of the subject,
as whoever took the picture would lay it. What it leaves out nobody invented. Windows whose subject is larger than the frame
say nothing, for a painted canvas always holds the whole photo.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box, BoxPx
from pipeline.core.stage import Tables
from stages.audits.paint import Frames, compared
from stages.audits.seam.canvas_samples import Canvases, unpainted
from stages.backends.base.protocols import Segmenter
from stages.canvases.subject_mask_grid import SubjectGrid, pack

STEP = 4  # pixels between the places that a frame is tried at
SUBJECT = 0.5  # of a soft mask


def calibrate_own_subject(tables: Tables, segmenter: Segmenter, in_force: float, frames: Frames) -> dict[str, Any]:
    """Of all that looks like a subject, the share inside the photo: told as a measure of ``paint_audit.calibrate``.

    ``unpainted`` and ``calibrated`` come from ``frames_that_fit`` windows; empty without any.
    """
    source = Canvases(tables, frames.most)
    keys, painted, real = [], [], []
    for canvas in source:
        window = unpainted(source, canvas, frames.seed)
        on_canvas, on_window = segmenter.segment([canvas.pixels, window])
        keys.append(canvas.key)
        painted.append(_shares(on_canvas, [canvas.box_px])[0])
        width, height = canvas.box_px[2] - canvas.box_px[0], canvas.box_px[3] - canvas.box_px[1]
        if _fits(on_window, width, height):
            real.append(max(_shares(on_window, _places(on_window.shape, width, height))))
    if not real:
        return {}
    told = compared(keys, np.array(painted), np.array(real), more_is_worse=False, share=frames.share)
    return {"limit": "filter.min_own_subject", "in_force": in_force, **told, "frames_that_fit": len(real)}


def _shares(mask: NDArray[np.float32], boxes: Sequence[Box]) -> list[float]:
    height, width = mask.shape
    return SubjectGrid(pack(mask), width, height).kept(boxes)


def _fits(mask: NDArray[np.float32], width: int, height: int) -> bool:
    """Whether the bounds of the subject are no larger than a frame; nothing fits anywhere."""
    rows, columns = np.nonzero(mask > SUBJECT)
    return not len(rows) or bool(np.ptp(rows) < height and np.ptp(columns) < width)


def _places(shape: tuple[int, ...], width: int, height: int) -> list[BoxPx]:
    """Frames of one size all over a picture of ``shape`` (H, W)."""
    tops, lefts = range(0, shape[0] - height + 1, STEP), range(0, shape[1] - width + 1, STEP)
    return [(x, y, x + width, y + height) for y in tops for x in lefts]
