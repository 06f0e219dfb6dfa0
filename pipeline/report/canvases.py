"""Pictures of the dataset itself: photo, canvas, proposals and kept crops; and what retrieval found for a canvas."""

from typing import Any

from pipeline.core.stage import KEPT
from pipeline.report.album import MEDIUM, THUMB
from pipeline.report.reader import sample_rows
from pipeline.report.section import Material, Section

STORIES, SHEET, RETRIEVALS = 4, 24, 6
REFERENCES = 3
CANVAS_COLUMNS = ("photo", "photo_box", "split", "prompt", "outpainter")
CROP_COLUMNS = ("photo", "boxes", "origins", "scores")


def story_section(material: Material) -> Section:
    """A few photos all the way: photo, canvas, proposals, kept crops."""
    reader, title = material.reader, "From photograph to crops"
    kept = [row for row in reader.rows("filter", CROP_COLUMNS) if row["status"] == KEPT]
    if not kept:
        return Section("stories", title, missing="No canvas has its verdict yet", command=material.command("filter"))
    rich = [row for row in kept if len(row["boxes"]) > 2] or kept
    stories = [story for row in sample_rows(rich, STORIES, "stories") if (story := _story(material, row)) is not None]
    data = [{"key": story["key"], "title": story["title"], "scores": story["scores"]} for story in stories]
    return Section("stories", title, data=data, view={"stories": stories})


def _story(material: Material, row: dict[str, Any]) -> dict[str, Any] | None:
    shown = canvas_view(material, row, MEDIUM)
    photo = material.reader.image("ingest", row["photo"])
    if shown is None or photo is None:
        return None
    source = material.reader.source(row["photo"])
    picture = material.album.add(row["photo"], photo, MEDIUM)
    return {**shown, "photo": picture, "title": _title(source), "author": source.get("author", "")}


def canvas_view(material: Material, row: dict[str, Any], side: int) -> dict[str, Any] | None:
    """A canvas with everything to draw on it. row: its verdict. None when its picture or table is gone."""
    reader, key = material.reader, row["key"]
    data, canvas = reader.image("outpaint", key), reader.find("outpaint", key, CANVAS_COLUMNS)
    if data is None or canvas is None:
        return None
    proposed = reader.find("propose", key, ("boxes",))
    material.album.show(canvas["photo"])
    return {
        "key": key,
        "picture": material.album.add(key, data, side),
        "photo_box": canvas["photo_box"],
        "split": canvas["split"],
        "proposals": proposed["boxes"][1:] if proposed and proposed["boxes"] else [],
        "crops": row["boxes"][1:],
        "scores": [round(score, 2) for score in row["scores"]],
        "origins": row["origins"],
    }


def _title(source: dict[str, Any]) -> str:
    return str(source.get("title") or source.get("uri") or "untitled")


def sheet_section(material: Material) -> Section:
    """Kept canvases, chosen by hash."""
    reader, title = material.reader, "Kept canvases"
    kept = [row for row in reader.rows("filter", CROP_COLUMNS) if row["status"] == KEPT]
    if not reader.has("filter"):
        kept, title = _unjudged(material), "Painted canvases, not judged yet"
    if not kept:
        return Section("sheet", title, missing="No canvas was kept yet", command=material.command("filter"))
    cells = [
        cell for row in sample_rows(kept, SHEET, "sheet") if (cell := canvas_view(material, row, MEDIUM)) is not None
    ]
    data = {"judged": reader.has("filter"), "shown": [cell["key"] for cell in cells], "crops": _crop_counts(kept)}
    return Section("sheet", title, data=data, view={"cells": cells})


def _unjudged(material: Material) -> list[dict[str, Any]]:
    """Painted canvases in the form of a verdict that keeps only the photo's rectangle."""
    painted = [row for row in material.reader.rows("outpaint", ("photo", "photo_box")) if row["status"] == KEPT]
    return [{**row, "boxes": [row["photo_box"]], "origins": ["photo"], "scores": []} for row in painted]


def _crop_counts(kept: list[dict[str, Any]]) -> dict[str, int]:
    """How many canvases have 0, 1, 2 ... crops beside the photo's rectangle."""
    numbers = [len(row["boxes"]) - 1 for row in kept]
    return {str(n): numbers.count(n) for n in sorted(set(numbers))}


def retrieval_section(material: Material) -> Section:
    """Canvases with the professional photographs that retrieval found for them."""
    reader, title = material.reader, "Retrieved compositions"
    columns = ("photo", "references", "similarities")
    rows = [row for row in reader.rows("retrieve", columns) if row["status"] == KEPT and row["references"]]
    if not rows:
        return Section(
            "retrieval", title, missing="No neighbours were looked up yet", command=material.command("retrieve")
        )
    examples = [
        item for row in sample_rows(rows, RETRIEVALS, "retrieval") if (item := _retrieved(material, row)) is not None
    ]
    best = [row["similarities"][0] for row in rows]
    data = {
        "canvases": len(rows),
        "mean_top_similarity": round(sum(best) / len(best), 4),
        "own_photo_retrieved": sum(row["photo"] in row["references"] for row in rows),
        "examples": [
            {"key": item["key"], "references": [{k: r[k] for k in ("key", "similarity")} for r in item["references"]]}
            for item in examples
        ],
    }
    return Section("retrieval", title, data=data, view={"examples": examples})


def _retrieved(material: Material, row: dict[str, Any]) -> dict[str, Any] | None:
    data, canvas = (
        material.reader.image("outpaint", row["key"]),
        material.reader.find("outpaint", row["key"], CANVAS_COLUMNS),
    )
    if data is None or canvas is None:
        return None
    material.album.show(row["photo"])
    references = []
    for key, similarity in list(zip(row["references"], row["similarities"], strict=True))[:REFERENCES]:
        photo = material.reader.image("ingest", key)
        if photo is None:
            continue
        material.album.show(key)
        picture = material.album.add(f"thumb {key}", photo, THUMB)
        references.append(
            {
                "key": key,
                "picture": picture,
                "similarity": round(similarity, 3),
                "title": _title(material.reader.source(key)),
            }
        )
    picture = material.album.add(row["key"], data, MEDIUM)
    return {"key": row["key"], "picture": picture, "photo_box": canvas["photo_box"], "references": references}
