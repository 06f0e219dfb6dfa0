"""Checks of the paint: limits calibrated on unpainted surroundings, and the canvases that are furthest beyond them."""

import json
from typing import TypedDict

from pipeline.core.errors import DamagedDataError
from pipeline.report.album import THUMB
from pipeline.report.section import Material, Section

AUDIT = "report/paint.json"
WORDS = {
    "contrast_share": "blank: contrast of the paint as a share of the photo's (less is worse)",
    "seam_ratio": "visible seam: jump across the frame as a multiple of the jumps beside it",
    "repeat_correlation": "repeated subject: likeness of a painted window to the subject",
    "mirror_correlation": "mirrored subject: likeness of a painted window to the subject's mirror images",
    "own_subject": "invented subject: share of all that looks like a subject that lies inside the photo (less is worse)",
}


class Measure(TypedDict):
    """One check. limit: name of its setting; in_force, calibrated: its value now and as calibrated.

    unpainted, painted: quantiles of the measure; beyond: kept canvases over the calibrated limit; worst: keys of some of them.
    """

    limit: str
    in_force: float
    calibrated: float
    unpainted: list[float]
    painted: list[float]
    beyond: int
    worst: list[str]


class PaintAudit(TypedDict):
    """``report/paint.json``. share: of unpainted surroundings that a calibrated limit rejects."""

    canvases: int
    share: float
    seed: int
    measures: dict[str, Measure]


def paint_section(material: Material) -> Section:
    """Each check with its limits and examples, from the file of ``audit paint``."""
    title, store = "How good is the paint?", material.reader.run.store
    if not store.exists(AUDIT):
        command = material.command("audit paint")
        return Section("paint", title, missing="The checks of the paint were not calibrated yet", command=command)
    try:
        audit: PaintAudit = json.loads(store.read(AUDIT))
        groups = [_group(material, name, measure) for name, measure in audit["measures"].items()]
        view = {"groups": groups, "share": audit["share"], "canvases": audit["canvases"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"'{AUDIT}' is not readable ({error!r}): run 'procrop-data audit paint' again"
        ) from error
    return Section("paint", title, data=audit, view=view)


def _group(material: Material, name: str, measure: Measure) -> dict[str, object]:
    canvases = [material.canvas_picture(key, THUMB) for key in measure["worst"]]
    examples = [one for one in canvases if one is not None]
    return {**measure, "words": WORDS.get(name, name), "examples": examples}
