"""Photographs that ``build`` left out as near-duplicates, each beside the one that stays, with their similarity."""

import json
from typing import TypedDict

from pipeline.report.album import THUMB, Picture
from pipeline.report.section import Material, Section
from pipeline.runs.run_directory import step_receipt_path

FILE = "leaks.json"
MAX_SHOWN = 12


class LeakEntry(TypedDict):
    """A photograph that was left out, and the ``other`` one that it is near; similarity as in ``build``'s report."""

    reason: str
    photo: str
    uri: str
    split: str
    other: str
    other_uri: str
    bits: int
    cosine: float
    match: float


class LeakReport(TypedDict, total=False):
    """``leaks.json``, the prologue's file of ``build``: pairs, photographs left out by reason, and pictures compared."""

    leaks: list[LeakEntry]
    photos: dict[str, int]
    compared: int
    unreadable: list[str]


def leaks_section(material: Material) -> Section:
    """Counts by reason and the first pairs, sorted by reason; empty when there are none."""
    report = _read(material)
    leaks = sorted(report.get("leaks", []), key=lambda leak: (leak["reason"], leak["uri"]))
    unreadable = report.get("unreadable", [])
    counts = {"photos": report.get("photos", {}), "compared": report.get("compared", 0), "unreadable": unreadable}
    data = {**counts, "total": len(leaks), "leaks": leaks}
    pairs = [
        {**leak, "picture": _picture(material, leak["photo"]), "other_picture": _picture(material, leak["other"])}
        for leak in leaks[:MAX_SHOWN]
    ]
    view = {**counts, "total": len(leaks), "pairs": pairs}
    title = "Photographs left out as near-duplicates"
    return Section("leaks", title, data=data, view=view, empty=not leaks and not unreadable)


def left_out(material: Material) -> set[str]:
    """Keys of the photographs that ``build`` left out; none before it began."""
    return {leak["photo"] for leak in _read(material).get("leaks", [])}


def _read(material: Material) -> LeakReport:
    run = material.reader.run
    receipt = run.receipt_at(step_receipt_path("build", "prologue"))
    path = next((name for name in receipt.outputs if name.endswith(f"/{FILE}")), "") if receipt else ""
    report: LeakReport = json.loads(run.store.read(path)) if path else {}
    return report


def _picture(material: Material, key: str) -> Picture | None:
    """A photo of the run; pictures of excluded folders are not in it."""
    data = material.reader.image("ingest", key) if key else None
    if data is None:
        return None
    material.album.show(key)
    return material.album.add(key, data, THUMB)
