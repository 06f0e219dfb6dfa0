"""A limit for the check of invented subjects, calibrated on photographs with a frame around their subject.

On a window of each canvas's unpainted photograph, a frame of the photo's size is placed where it keeps most of the subject,
as a photographer would. What lies outside it was not invented by a painter. Windows whose subject is larger than the frame
are left out, since a painted canvas always holds the whole photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box, BoxPx
from pipeline.core.records import PERCEIVED_CANVASES
from pipeline.core.stage import Tables
from stages.audits.paint import CheckCalibration, Frames, compared
from stages.audits.seam.canvas_samples import Canvases, unpainted
from stages.backends.base.picture import MaskGrid, mask_grid, unpack_mask
from stages.backends.base.protocols import Segmenter
from stages.canvases.subject_mask_grid import SubjectGrid

STEP = 4  # pixels between the places at which a frame is tried
SUBJECT = 0.5  # value of a soft mask from which a pixel belongs to the subject


class SubjectCalibration(CheckCalibration):
    """A calibration with ``frames_that_fit``: windows whose subject is no larger than the frame."""

    frames_that_fit: int


@dataclass(frozen=True)
class _Mask:
    """The columns of ``Perception`` that are needed."""

    key: str
    mask: bytes


def calibrate_own_subject(
    tables: Tables, segmenter: Segmenter, in_force: float, frames: Frames
) -> SubjectCalibration | None:
    """Calibrate the share of the subject's mask that lies inside the photo; None where no window's subject fits the frame.

    Args:
        tables: of the run.
        segmenter: of the subject.
        in_force: the recipe's ``filter.min_own_subject``.
        frames: the sample.
    """
    source = Canvases(tables, frames.most)
    masks = _perceived_masks(tables)
    keys, painted, real = [], [], []
    for canvas in source:
        window = unpainted(source, canvas, frames.seed)
        (on_window,) = segmenter.segment([window])
        if canvas.key in masks:
            on_canvas = unpack_mask(masks[canvas.key])
        else:
            on_canvas = mask_grid(segmenter.network_masks([canvas.pixels])[0])
        keys.append(canvas.key)
        painted.append(_shares(on_canvas, canvas.pixels.shape, [canvas.box_px])[0])
        width, height = canvas.box_px[2] - canvas.box_px[0], canvas.box_px[3] - canvas.box_px[1]
        if _fits(on_window, width, height):
            places = _places(on_window.shape, width, height)
            real.append(max(_shares(mask_grid(on_window), on_window.shape, places)))
    if not real:
        return None
    comparison = compared(keys, np.array(painted), np.array(real), more_is_worse=False, share=frames.share)
    return {"limit": "filter.min_own_subject", "in_force": in_force, **comparison, "frames_that_fit": len(real)}


def _perceived_masks(tables: Tables) -> dict[str, bytes]:
    """Masks of the canvases that the run perceived, by key."""
    rows = [row for shard in tables.shards(PERCEIVED_CANVASES) for row in tables.rows(PERCEIVED_CANVASES, shard, _Mask)]
    return {row.key: row.mask for row in rows}


def _shares(mask: MaskGrid, shape: tuple[int, ...], boxes: Sequence[Box]) -> list[float]:
    """Share of the subject in each box of a picture of ``shape`` (H, W, ...)."""
    return SubjectGrid(mask, shape[1], shape[0]).kept(boxes)


def _fits(mask: NDArray[np.float32], width: int, height: int) -> bool:
    """Whether the bounds of the subject are smaller than a frame; an empty mask fits."""
    rows, columns = np.nonzero(mask > SUBJECT)
    return not len(rows) or bool(np.ptp(rows) < height and np.ptp(columns) < width)


def _places(shape: tuple[int, ...], width: int, height: int) -> list[BoxPx]:
    """Frames of one size at all places of a picture of ``shape`` (H, W), ``STEP`` pixels apart."""
    tops, lefts = range(0, shape[0] - height + 1, STEP), range(0, shape[1] - width + 1, STEP)
    return [(x, y, x + width, y + height) for y in tops for x in lefts]
