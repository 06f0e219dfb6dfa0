"""Photographs that ``build`` left out because they are near others: each beside the one that stays, with how near they are."""

import json
from typing import Any

from pipeline.report.album import THUMB, Picture
from pipeline.report.section import Material, Section
from pipeline.runs.run_directory import step_receipt_path

FILE = "leaks.json"
MAX_SHOWN = 12


def leaks_section(material: Material) -> Section:
    """Counts by reason and the first pairs, reason by reason; left out of the page when there are none."""
    told = _told(material)
    leaks = sorted(told.get("leaks", []), key=lambda leak: (leak["reason"], leak["uri"]))
    data = {name: told.get(name, default) for name, default in (("photos", {}), ("compared", 0), ("unreadable", []))}
    pairs = [_pair(material, leak) for leak in leaks[:MAX_SHOWN]]
    view = {**data, "total": len(leaks), "pairs": pairs}
    return Section(
        "leaks",
        "Photographs left out as near-duplicates",
        data={**data, "total": len(leaks), "leaks": leaks},
        view=view,
    )


def _told(material: Material) -> dict[str, Any]:
    run = material.reader.run
    receipt = run.receipt_at(step_receipt_path("build", "prologue"))
    path = next((name for name in receipt.outputs if name.endswith(f"/{FILE}")), "") if receipt else ""
    told: dict[str, Any] = json.loads(run.store.read(path)) if path else {}
    return told


def _pair(material: Material, leak: dict[str, Any]) -> dict[str, Any]:
    return {**leak, "picture": _picture(material, leak["photo"]), "other_picture": _picture(material, leak["other"])}


def _picture(material: Material, key: str) -> Picture | None:
    """A photo of the run; pictures of excluded folders are not in it."""
    data = material.reader.image("ingest", key) if key else None
    if data is None:
        return None
    material.album.show(key)
    return material.album.add(key, data, THUMB)
