"""The trained cropper: its curves, its figures beside the baselines, and its crops of held-out photographs."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import DamagedDataError
from pipeline.report.album import LARGE, THUMB
from pipeline.report.charts import Series, intervals, line_chart
from pipeline.report.section import Material, Section

HISTORY = "history.json"
EVALUATIONS = ("evaluation-test.json", "evaluation.json")
HELD_OUT = 12
EXAMPLES = 4
CROPS_SHOWN = 3
NAMES = {
    "model": "cropper", "identity": "no crop", "centre_0.9": "centre 0.9", "constant": "best constant box",
    "saliency_box": "salient subject", "smartcrop": "smartcrop-style",
}  # fmt: skip
METRICS = {
    "iou": "IoU (higher is better)",
    "bde": "boundary displacement (lower is better)",
    "recall": "share with IoU of 0.75 or more",
}
SHORT = {"iou": "IoU", "bde": "BDE", "recall": "IoU ≥ 0.75"}


def training_section(material: Material) -> Section:
    """Losses and validation IoU by epoch."""
    title = "Training of the cropper"
    history = _find(material.models_dir, HISTORY)
    if not history:
        return Section("training", title, missing="No cropper was trained yet", command=material.command("train"))
    summary = _find(material.models_dir, "finished.json") or {}
    epochs = [row["epoch"] + 1 for row in history]
    losses = sorted({name for row in history for name in row if name.startswith("loss/")})
    curves = [
        Series(name.removeprefix("loss/"), [row.get(name, float("nan")) for row in history], f"s{index % 8}")
        for index, name in enumerate(losses)
    ]
    charts = [
        {
            "title": "Loss",
            "series": curves,
            "svg": line_chart(epochs, curves, label="Mean loss by epoch", x_label="epoch"),
        }
    ]
    if all("val_iou" in row for row in history):
        value = Series("IoU on the validation split", [row["val_iou"] for row in history], "s0")
        svg = line_chart(epochs, [value], label="Validation IoU by epoch", x_label="epoch", y_range=(0.0, 1.0))
        charts.append({"title": "IoU of the top crop, validation split", "series": [value], "svg": svg})
    facts = {
        name: summary[name] for name in ("epochs", "best_epoch", "val_iou", "samples", "seconds") if name in summary
    }
    view = {"charts": charts, "facts": facts, "columns": losses, "history": history}
    return Section("training", title, data={"history": history, **facts}, view=view)


def evaluation_section(material: Material) -> Section:
    """The cropper beside baselines that look at nothing, with 95 % intervals; its best, middling and worst canvases."""
    title = "How good is the cropper?"
    found = _find(material.models_dir, *EVALUATIONS)
    if not found or not found.get("rows"):
        return Section(
            "evaluation", title, missing="The cropper was not evaluated yet", command=material.command("eval")
        )
    charts = []
    for metric, words in METRICS.items():
        rows = [(NAMES.get(name, name), *row[metric]) for name, row in found["rows"].items() if metric in row]
        if rows:
            charts.append({"metric": SHORT[metric], "svg": intervals(rows, label=words, x_label=words), "rows": rows})
    data = {key: value for key, value in found.items() if key != "images"}
    return Section(
        "evaluation", title, data=data, view={"charts": charts, "about": data, "examples": _examples(material, found)}
    )


def _examples(material: Material, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Canvases at both ends and in the middle of the ranking by IoU, when the evaluation lists its images."""
    images = sorted(
        (row for row in found.get("images", []) if "model" in row), key=lambda r: (-r["model"]["iou"], r["key"])
    )
    middle = max(0, len(images) // 2 - EXAMPLES // 2)
    groups = []
    for name, rows in (
        ("Best", images[:EXAMPLES]),
        ("Middling", images[middle : middle + EXAMPLES]),
        ("Worst", images[-EXAMPLES:]),
    ):
        cells = [cell for row in rows if (cell := _judged(material, row)) is not None]
        if cells and len(images) >= 3 * EXAMPLES:
            groups.append({"name": name, "cells": cells})
    return groups


def _judged(material: Material, row: dict[str, Any]) -> dict[str, Any] | None:
    data = material.reader.image("outpaint", row["key"])
    if data is None:
        return None
    material.album.show(row["photo"])
    picture = material.album.add(row["key"], data, THUMB)
    return {
        "key": row["key"],
        "picture": picture,
        "photo_box": row["photo_box"],
        "box": row["box_px"],
        "iou": row["model"]["iou"],
    }


def held_out_section(material: Material) -> Section:
    """Photographs that the cropper never saw, with its crops; the JSON is that of ``crop --json``."""
    title = "Crops of held-out photographs"
    listed = _read(material.crops_dir / "crops.json")
    if not listed:
        trained = _find(material.models_dir, HISTORY) is not None
        words = "No photographs were cropped yet" if trained else "No cropper was trained yet that could crop them"
        return Section("held_out", title, missing=words, command=material.command("report" if trained else "train"))
    items = [item for entry in listed[:HELD_OUT] if (item := _held_out(material, entry)) is not None]
    shown = {item["file"] for item in items}
    names = [Path(entry["file"]).name for entry in listed[:HELD_OUT]]
    absent = [name for name in names if name not in shown]
    data = {
        "photographs": len(listed),
        "shown": [{"file": item["file"], "crops": item["crops"]} for item in items],
        "not_shown": absent,
    }
    return Section("held_out", title, data=data, view={"photos": items, "absent": absent, "total": len(listed)})


def _held_out(material: Material, entry: dict[str, Any]) -> dict[str, Any] | None:
    """One photo with its crops; None when the photo is gone or could not be cropped."""
    path = _photo_path(material.crops_dir, entry["file"])
    if path is None or not entry["crops"]:
        return None
    source = material.reader.source_of_file(path.name)
    if source:
        material.album.show(source["key"])
    picture = material.album.add(f"held out {path}", path.read_bytes(), LARGE)
    crops = [
        {"box_px": crop["box_px"], "score": crop["score"], "references": _references(crop.get("references", []))}
        for crop in entry["crops"][:CROPS_SHOWN]
    ]
    return {"file": path.name, "picture": picture, "crops": crops, "author": source.get("author", "")}


def _references(found: list[Any]) -> list[str]:
    """Titles of the photographs that guided a crop, each once."""
    names = [str(ref.get("title") or ref.get("key") or "") if isinstance(ref, dict) else str(ref) for ref in found]
    return list(dict.fromkeys(name for name in names if name))[:3]


def _photo_path(crops_dir: Path, name: str) -> Path | None:
    """Where a photo of ``crops.json`` is: as written, or beside it."""
    return next((path for path in (Path(name), crops_dir / name, crops_dir / Path(name).name) if path.is_file()), None)


def _find(models_dir: Path, *names: str) -> Any:
    """The first JSON file of these names that training or evaluation left, in the model's folder or beside it."""
    paths = [folder / name for name in names for folder in (models_dir / "cropper", models_dir)]
    return next((found for path in paths if (found := _read(path))), None)


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DamagedDataError(f"'{path}' is not JSON ({error}): delete it and make it again") from error
