"""The seam audit: how well probes tell paint from photograph, beside controls, and where on a canvas they see paint."""

import json
from typing import TypedDict

from pipeline.core.errors import DamagedDataError
from pipeline.report.album import MEDIUM
from pipeline.report.section import Material, Section

AUDIT = "report/seam.json"
MAPS = 8

Interval = list[float]  # an AUC and its 95 % interval: [mean, low, high]


class ProbeRow(TypedDict, total=False):
    """AUCs of the probes on canvases of one outpainter and seam, or on a control."""

    outpainter: str
    seam: str
    treatment: str
    within: float
    kept_psnr: float
    logistic: Interval
    network: Interval
    line: Interval


class HeatMap(TypedDict):
    """A canvas with cells (x, y, width, height in pixels, probability of paint)."""

    key: str
    cells: list[list[float]]


class SeamAudit(TypedDict):
    """``report/seam.json``: the parts that the page reads."""

    rows: list[ProbeRow]
    controls: dict[str, ProbeRow]
    heat: list[HeatMap]


def seam_section(material: Material) -> Section:
    """Table of AUCs and heat maps, from the file of ``audit seam``."""
    title, store = "Can paint be told from photograph?", material.reader.run.store
    if not store.exists(AUDIT):
        return Section("seam", title, missing="The seam was not audited yet", command=material.command("audit seam"))
    try:
        audit: SeamAudit = json.loads(store.read(AUDIT))
        rows = [
            _row(f"{row['outpainter'].split('@')[0]}, {row['treatment'] or row['seam']}", row) for row in audit["rows"]
        ]
        rows += [_row(f"control: {name}", row) for name, row in audit["controls"].items()]
        maps = [_map(material, one) for one in audit["heat"][:MAPS]]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(f"'{AUDIT}' is not readable ({error!r}): run 'procrop-data audit seam' again") from error
    data = {name: value for name, value in audit.items() if name != "heat"}
    return Section("seam", title, data=data, view={"rows": rows, "maps": [one for one in maps if one is not None]})


def _row(name: str, row: ProbeRow) -> dict[str, object]:
    return {
        "name": name, "within": row["within"], "kept_psnr": row.get("kept_psnr"),
        "logistic": row.get("logistic"), "network": row.get("network"), "line": row.get("line"),
    }  # fmt: skip


def _map(material: Material, heat: HeatMap) -> dict[str, object] | None:
    """A canvas with its cells; None when its image is missing."""
    canvas = material.canvas_picture(heat["key"], MEDIUM)
    return None if canvas is None else {**vars(canvas), "cells": heat["cells"]}
