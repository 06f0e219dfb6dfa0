"""Limits for the checks of painted canvases, calibrated on unpainted surroundings: those that photographs have.

Each canvas's rectangles, of the photo and of its subject, are placed on a window of its unpainted photograph. The measures
there are those of good surroundings; a limit is calibrated so that all but a small share of them pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.core.stage import Tables
from stages.audits.seam.canvas_samples import Canvases, unpainted
from stages.canvases.paint_checks import PaintCheckSettings, PaintMeasures, measure

Floats = NDArray[np.float64]
# The limit of a check by its measure, and whether more of the measure is worse.
LIMITS = {
    "contrast_share": ("blank_share", False),
    "seam_ratio": ("seam_ratio", True),
    "repeat_correlation": ("repeat_correlation", True),
    "mirror_correlation": ("mirror_correlation", True),
}
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
WORST = 5  # canvases that are named, a measure


@dataclass(frozen=True)
class Frames:
    """The sample that limits are calibrated on.

    Args:
        share: of unpainted surroundings that a calibrated limit rejects, in 0..0.5.
        most: canvases at most.
        seed: of the windows.
    """

    share: float
    most: int
    seed: int


class Comparison(TypedDict):
    """One measure of painted canvases beside that of unpainted surroundings.

    Attributes:
        calibrated: the limit that ``Frames.share`` of the unpainted surroundings fail.
        unpainted, painted: ``QUANTILES`` of the measure.
        beyond: how many canvases are beyond the calibrated limit.
        worst: keys of the worst of them.
    """

    calibrated: float
    unpainted: list[float]
    painted: list[float]
    beyond: int
    worst: list[str]


class CheckCalibration(Comparison):
    """A comparison with the recipe's setting. limit: its name; in_force: its value."""

    limit: str
    in_force: float


class PaintCalibration(TypedDict):
    """The content of ``audit paint --json``: size of the sample, and a calibration by measure."""

    canvases: int
    share: float
    seed: int
    measures: dict[str, CheckCalibration]


def calibrate_paint_checks(tables: Tables, limits: PaintCheckSettings, frames: Frames) -> PaintCalibration:
    """Measure a run's canvases and their unpainted photographs, and calibrate each limit; MissingUpstreamError without canvases."""
    source = Canvases(tables, frames.most)
    painted: list[PaintMeasures] = []
    null: list[PaintMeasures] = []
    keys = []
    for canvas in source:
        painted.append(measure(canvas.pixels, canvas.box_px, canvas.subject_px))
        null.append(measure(unpainted(source, canvas, frames.seed), canvas.box_px, canvas.subject_px))
        keys.append(canvas.key)
    measures: dict[str, CheckCalibration] = {}
    for field in fields(PaintMeasures):
        limit, more_is_worse = LIMITS[field.name]
        made, real = (np.array([getattr(one, field.name) for one in some]) for some in (painted, null))
        measures[field.name] = {
            "limit": f"outpaint.checks.{limit}",
            "in_force": getattr(limits, limit),
            **compared(keys, made, real, more_is_worse=more_is_worse, share=frames.share),
        }
    return {"canvases": len(keys), "share": frames.share, "seed": frames.seed, "measures": measures}


def compared(keys: Sequence[str], made: Floats, real: Floats, *, more_is_worse: bool, share: float) -> Comparison:
    """One measure of canvases, ``made`` [N] for ``keys``, beside that of unpainted surroundings, ``real`` [M]."""
    limit = float(np.quantile(real, 1 - share if more_is_worse else share))
    sign = 1 if more_is_worse else -1
    beyond = _beyond(keys, sign * made, sign * limit)
    return {
        "calibrated": round(limit, 4),
        "unpainted": _quantiles(real),
        "painted": _quantiles(made),
        "beyond": len(beyond),
        "worst": beyond[:WORST],
    }


def _quantiles(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, QUANTILES)]


def _beyond(keys: Sequence[str], badness: Floats, limit: float) -> list[str]:
    """Keys of the samples whose ``badness`` [N] exceeds the limit, worst first."""
    return [keys[number] for number in np.argsort(-badness, kind="stable") if badness[number] > limit]
