"""Checks of the paint: limits calibrated on unpainted surroundings, and the canvases that are furthest beyond them."""

import json
from typing import Any

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


def paint_section(material: Material) -> Section:
    """Each measure with its limits and examples, from what ``audit paint`` left."""
    title, store = "How good is the paint?", material.reader.run.store
    if not store.exists(AUDIT):
        command = material.command("audit paint")
        return Section("paint", title, missing="The checks of the paint were not calibrated yet", command=command)
    try:
        found = json.loads(store.read(AUDIT))
        groups = [_group(material, name, one) for name, one in found["measures"].items()]
        view = {"groups": groups, "share": found["share"], "canvases": found["canvases"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(
            f"'{AUDIT}' is not readable ({error!r}): run 'procrop-data audit paint' again"
        ) from error
    return Section("paint", title, data=found, view=view)


def _group(material: Material, name: str, one: dict[str, Any]) -> dict[str, Any]:
    examples = [example for key in one["worst"] if (example := _example(material, key)) is not None]
    numbers = {k: one[k] for k in ("limit", "in_force", "calibrated", "unpainted", "painted", "beyond")}
    return {"words": WORDS.get(name, name), "examples": examples, **numbers}


def _example(material: Material, key: str) -> dict[str, Any] | None:
    data, canvas = (
        material.reader.image("outpaint", key),
        material.reader.find("outpaint", key, ("photo", "photo_box")),
    )
    if data is None or canvas is None:
        return None
    material.album.show(canvas["photo"])
    return {"picture": material.album.add(key, data, THUMB), "photo_box": canvas["photo_box"], "key": key}
