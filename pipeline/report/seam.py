"""The seam audit: how well probes tell paint from photograph, beside controls, and where on a canvas they see paint."""

import json
from typing import Any

from pipeline.core.errors import DamagedDataError
from pipeline.report.album import MEDIUM
from pipeline.report.section import Material, Section

AUDIT = "report/seam.json"
MAPS = 8


def seam_section(material: Material) -> Section:
    """Table of AUCs and heat maps, from what ``audit seam`` left."""
    title, store = "Can paint be told from photograph?", material.reader.run.store
    if not store.exists(AUDIT):
        return Section("seam", title, missing="The seam was not audited yet", command=material.command("audit seam"))
    try:
        found = json.loads(store.read(AUDIT))
        rows = [
            _row(f"{row['outpainter'].split('@')[0]}, {row['treatment'] or row['seam']}", row) for row in found["rows"]
        ]
        rows += [_row(f"control: {name}", row) for name, row in found["controls"].items()]
        maps = [_map(material, one) for one in found["heat"][:MAPS]]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(f"'{AUDIT}' is not readable ({error!r}): run 'procrop-data audit seam' again") from error
    data = {name: value for name, value in found.items() if name != "heat"}
    return Section("seam", title, data=data, view={"rows": rows, "maps": [one for one in maps if one is not None]})


def _row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    probes = {probe: row.get(probe) for probe in ("logistic", "network", "line")}
    return {"name": name, "within": row["within"], "kept_psnr": row.get("kept_psnr"), **probes}


def _map(material: Material, one: dict[str, Any]) -> dict[str, Any] | None:
    """A canvas with its cells; None when its picture is gone."""
    data = material.reader.image("outpaint", one["key"])
    canvas = material.reader.find("outpaint", one["key"], ("photo", "photo_box"))
    if data is None or canvas is None:
        return None
    material.album.show(canvas["photo"])
    picture = material.album.add(one["key"], data, MEDIUM)
    return {"key": one["key"], "picture": picture, "photo_box": canvas["photo_box"], "cells": one["cells"]}
