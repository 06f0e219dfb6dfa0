"""The trained cropper: its curves, its figures beside the baselines, and its crops of held-out photographs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from pipeline.core.errors import DamagedDataError
from pipeline.core.json_types import Json
from pipeline.report.album import LARGE, THUMB, Picture
from pipeline.report.charts import Series, intervals, line_chart
from pipeline.report.section import CanvasPicture, Material, Section

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


class EvaluatedImage(TypedDict, total=False):
    """One canvas of an evaluation: the cropper's first crop and its metrics; boxes in pixels of the canvas."""

    key: str
    photo: str
    photo_box: list[float]
    box_px: list[float]
    model: dict[str, float]


class Evaluation(TypedDict, total=False):
    """The parts of ``evaluation.json`` that the page reads. rows: method -> metric -> [mean, low, high]."""

    rows: dict[str, dict[str, tuple[float, float, float]]]
    images: list[EvaluatedImage]


class CropEntry(TypedDict, total=False):
    """One crop of ``crops.json``."""

    box_px: list[float]
    score: float
    references: list[str | Mapping[str, str]]


class PhotoEntry(TypedDict):
    """One photograph of ``crops.json``, the JSON of ``crop --json``."""

    file: str
    crops: list[CropEntry]


@dataclass(frozen=True)
class EvaluatedCanvas(CanvasPicture):
    """A canvas with the cropper's first crop and its IoU."""

    box: list[float]
    iou: float


@dataclass(frozen=True)
class CroppedPhoto:
    """A held-out photograph with the cropper's crops."""

    file: str
    picture: Picture
    crops: list[dict[str, Json]]
    author: str


def training_section(material: Material) -> Section:
    """Losses and validation IoU by epoch."""
    title = "Training of the cropper"
    history: list[dict[str, float]] = _find(material.models_dir, HISTORY)
    if not history:
        return Section("training", title, missing="No cropper was trained yet", command=material.command("train"))
    summary: dict[str, float] = _find(material.models_dir, "finished.json") or {}
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
    facts: dict[str, object] = {
        name: summary[name] for name in ("epochs", "best_epoch", "val_iou", "samples", "seconds") if name in summary
    }
    view = {"charts": charts, "facts": facts, "columns": losses, "history": history}
    return Section("training", title, data={"history": history} | facts, view=view)


def evaluation_section(material: Material) -> Section:
    """The cropper beside baselines that see no image, with 95 % intervals; its best, middle and worst canvases."""
    title = "How good is the cropper?"
    evaluation: Evaluation = _find(material.models_dir, *EVALUATIONS)
    if not evaluation or not evaluation.get("rows"):
        return Section(
            "evaluation", title, missing="The cropper was not evaluated yet", command=material.command("eval")
        )
    charts = []
    for metric, words in METRICS.items():
        rows = [(NAMES.get(name, name), *row[metric]) for name, row in evaluation["rows"].items() if metric in row]
        if rows:
            charts.append({"metric": SHORT[metric], "svg": intervals(rows, label=words, x_label=words), "rows": rows})
    data = {key: value for key, value in evaluation.items() if key != "images"}
    return Section(
        "evaluation",
        title,
        data=data,
        view={"charts": charts, "about": data, "examples": _examples(material, evaluation)},
    )


def _examples(material: Material, evaluation: Evaluation) -> list[dict[str, object]]:
    """Canvases at both ends and in the middle of the ranking by IoU; empty unless the evaluation lists its images."""
    images = sorted(
        (row for row in evaluation.get("images", []) if "model" in row), key=lambda r: (-r["model"]["iou"], r["key"])
    )
    middle = max(0, len(images) // 2 - EXAMPLES // 2)
    groups: list[dict[str, object]] = []
    for name, rows in (
        ("Best", images[:EXAMPLES]),
        ("Middling", images[middle : middle + EXAMPLES]),
        ("Worst", images[-EXAMPLES:]),
    ):
        cells = [cell for row in rows if (cell := _evaluated(material, row)) is not None]
        if cells and len(images) >= 3 * EXAMPLES:
            groups.append({"name": name, "cells": cells})
    return groups


def _evaluated(material: Material, row: EvaluatedImage) -> EvaluatedCanvas | None:
    canvas = material.canvas_picture(row["key"], THUMB)
    return None if canvas is None else EvaluatedCanvas(**vars(canvas), box=row["box_px"], iou=row["model"]["iou"])


def held_out_section(material: Material) -> Section:
    """Photographs that the cropper was not trained on, with its crops."""
    title = "Crops of held-out photographs"
    listed: list[PhotoEntry] = _read(material.crops_dir / "crops.json")
    if not listed:
        trained = _find(material.models_dir, HISTORY) is not None
        words = "No photographs were cropped yet" if trained else "No cropper was trained yet that could crop them"
        return Section("held_out", title, missing=words, command=material.command("report" if trained else "train"))
    items = [item for entry in listed[:HELD_OUT] if (item := _held_out(material, entry)) is not None]
    shown = {item.file for item in items}
    names = [Path(entry["file"]).name for entry in listed[:HELD_OUT]]
    absent = [name for name in names if name not in shown]
    data = {
        "photographs": len(listed),
        "shown": [{"file": item.file, "crops": item.crops} for item in items],
        "not_shown": absent,
    }
    return Section("held_out", title, data=data, view={"photos": items, "absent": absent, "total": len(listed)})


def _held_out(material: Material, entry: PhotoEntry) -> CroppedPhoto | None:
    """One photo with its crops; None when the photo is gone or could not be cropped."""
    path = _photo_path(material.crops_dir, entry["file"])
    if path is None or not entry["crops"]:
        return None
    source = material.reader.source_of_file(path.name)
    if source:
        material.album.show(source.key)
    picture = material.album.add(f"held out {path}", path.read_bytes(), LARGE)
    crops: list[dict[str, Json]] = [
        {"box_px": crop["box_px"], "score": crop["score"], "references": _references(crop.get("references", []))}
        for crop in entry["crops"][:CROPS_SHOWN]
    ]
    return CroppedPhoto(path.name, picture, crops, source.author if source else "")


def _references(references: Iterable[str | Mapping[str, str]]) -> list[str]:
    """Titles of the first three references of a crop, each once."""
    names = [ref if isinstance(ref, str) else ref.get("title") or ref.get("key") or "" for ref in references]
    return list(dict.fromkeys(name for name in names if name))[:3]


def _photo_path(crops_dir: Path, name: str) -> Path | None:
    """The path of a photo of ``crops.json``: as written, or beside that file."""
    return next((path for path in (Path(name), crops_dir / name, crops_dir / Path(name).name) if path.is_file()), None)


def _find(models_dir: Path, *names: str) -> Any:
    """The first non-empty JSON file of these names, in the model's folder or beside it; None without one."""
    paths = [folder / name for name in names for folder in (models_dir / "cropper", models_dir)]
    return next((value for path in paths if (value := _read(path))), None)


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DamagedDataError(f"'{path}' is not JSON ({error}): delete it and make it again") from error
