"""Limits for the checks of painted canvases, calibrated on what nobody painted: the surroundings that photographs have.

Each canvas's rectangles, of the photo and of its subject, are laid over a window of its unpainted photograph. What is
measured there is what good surroundings look like; a limit that all but a small share of them pass is a fair one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

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
WORST = 5


@dataclass(frozen=True)
class Frames:
    """What is calibrated on. share: of unpainted surroundings that a fair limit fails; most: canvases; seed: of windows."""

    share: float
    most: int
    seed: int


def calibrate(tables: Tables, limits: PaintCheckSettings, frames: Frames) -> dict[str, Any]:
    """By measure: the limit in force, the one that a share of unpainted surroundings fails, quantiles of both kinds of
    picture, how many kept canvases are beyond the calibrated limit, and the keys of the worst of them.
    """
    source = Canvases(tables, frames.most)
    painted: list[PaintMeasures] = []
    null: list[PaintMeasures] = []
    keys = []
    for canvas in source:
        painted.append(measure(canvas.pixels, canvas.box_px, canvas.subject_px))
        null.append(measure(unpainted(source, canvas, frames.seed), canvas.box_px, canvas.subject_px))
        keys.append(canvas.key)
    told = {}
    for field in fields(PaintMeasures):
        limit, more_is_worse = LIMITS[field.name]
        made, real = (np.array([getattr(one, field.name) for one in some]) for some in (painted, null))
        told[field.name] = {
            "limit": f"outpaint.checks.{limit}",
            "in_force": getattr(limits, limit),
            **compared(keys, made, real, more_is_worse=more_is_worse, share=frames.share),
        }
    return {"canvases": len(keys), "share": frames.share, "seed": frames.seed, "measures": told}


def compared(keys: Sequence[str], made: Floats, real: Floats, *, more_is_worse: bool, share: float) -> dict[str, Any]:
    """One measure of canvases, ``made`` [N] for ``keys``, beside that of unpainted surroundings, ``real`` [M]."""
    fair = float(np.quantile(real, 1 - share if more_is_worse else share))
    sign = 1 if more_is_worse else -1
    return {
        "calibrated": round(fair, 4),
        "unpainted": _quantiles(real),
        "painted": _quantiles(made),
        **_beyond(keys, sign * made, sign * fair),
    }


def _quantiles(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, QUANTILES)]


def _beyond(keys: Sequence[str], badness: Floats, limit: float) -> dict[str, Any]:
    worst = [number for number in np.argsort(-badness, kind="stable") if badness[number] > limit]
    return {"beyond": len(worst), "worst": [keys[number] for number in worst[:WORST]]}
