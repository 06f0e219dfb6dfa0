"""Examples from the dataset: photo, canvas, proposals and kept crops; and the references that were retrieved for a canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.records import Boxes, Canvas, Crops, Neighbours, Proposals, Source
from pipeline.report.album import MEDIUM, THUMB, Picture
from pipeline.report.leaks import left_out
from pipeline.report.reader import first_of_each_photo, sample_rows
from pipeline.report.section import CanvasPicture, Material, Section

STORIES, SHEET, WORST, RETRIEVALS = 4, 16, 8, 6
REFERENCES = 3


@dataclass(frozen=True)
class CanvasView(CanvasPicture):
    """A canvas with everything to draw on it; boxes in pixels of the canvas, crops without the photo's rectangle."""

    split: str
    proposals: Boxes
    crops: Boxes
    scores: list[float]
    origins: list[str]


@dataclass(frozen=True)
class Story(CanvasView):
    """A canvas beside the photo that it was made from."""

    photo: Picture
    title: str
    author: str


@dataclass(frozen=True)
class RetrievedPhoto:
    """A retrieved photograph."""

    key: str
    picture: Picture
    similarity: float
    title: str


@dataclass(frozen=True)
class Retrieval(CanvasPicture):
    """A canvas with its references, best first."""

    references: list[RetrievedPhoto]


def story_section(material: Material) -> Section:
    """A few photos from start to end: photo, canvas, proposals, kept crops. They are among the best by the filter's scores."""
    title, kept = "From photograph to crops", _in_dataset(material)
    if not kept:
        return Section("stories", title, missing="No canvas has its verdict yet", command=material.command("filter"))
    rich = [crops for crops in kept if len(crops.boxes) > 2] or kept
    stories = [
        story for row in first_of_each_photo(_ranked(rich), STORIES) if (story := _story(material, row)) is not None
    ]
    data = [{"key": story.key, "title": story.title, "scores": story.scores} for story in stories]
    return Section("stories", title, data=data, view={"stories": stories})


def _story(material: Material, crops: Crops) -> Story | None:
    canvas = canvas_view(material, crops, MEDIUM)
    photo = material.reader.image("ingest", crops.photo)
    if canvas is None or photo is None:
        return None
    source = material.reader.source(crops.photo)
    picture = material.album.add(crops.photo, photo, MEDIUM)
    return Story(**vars(canvas), photo=picture, title=_title(source), author=source.author if source else "")


def canvas_view(material: Material, crops: Crops, side: int) -> CanvasView | None:
    """A canvas with its proposals and kept crops; None when its image or row is missing. side: longest side in pixels."""
    shown, canvas = material.canvas_picture(crops.key, side), material.reader.find("outpaint", crops.key, Canvas)
    if shown is None or canvas is None:
        return None
    proposals = material.reader.find("propose", crops.key, Proposals)
    return CanvasView(
        **vars(shown),
        split=canvas.split,
        proposals=proposals.boxes[1:] if proposals else [],
        crops=crops.boxes[1:],
        scores=[round(score, 2) for score in crops.scores],
        origins=crops.origins,
    )


def _title(source: Source | None) -> str:
    return (source.title or source.uri if source else "") or "untitled"


def _in_dataset(material: Material) -> list[Crops]:
    """Canvases that the filter kept, without those whose photograph ``build`` left out: the samples that the card counts."""
    gone = left_out(material)
    return [crops for crops in material.reader.kept("filter", Crops) if crops.photo not in gone]


def _ranked(rows: Sequence[Crops]) -> list[Crops]:
    """Best first, by the score of the photo's rectangle on its canvas; its limit is ``filter.canvas_quantile``."""
    return sorted(rows, key=lambda crops: (-(crops.scores[0] if crops.scores else 0.0), crops.key))


def sheet_section(material: Material) -> Section:
    """Kept canvases: the best, and the worst, so that the limits of the filter can be set."""
    judged, title = material.reader.has("filter"), "Kept canvases"
    kept = _in_dataset(material)
    if not judged:
        kept, title = _without_verdict(material), "Painted canvases, not judged yet"
    if not kept:
        return Section("sheet", title, missing="No canvas was kept yet", command=material.command("filter"))
    ranked = _ranked(kept)
    best = first_of_each_photo(ranked, SHEET) if judged else sample_rows(kept, SHEET, "sheet")
    worst = [crops for crops in ranked[: -WORST - 1 : -1] if crops not in best] if judged else []
    cells, last = (
        [cell for crops in rows if (cell := canvas_view(material, crops, MEDIUM)) is not None] for rows in (best, worst)
    )
    data = {
        "judged": judged, "canvases": len(kept), "shown": [cell.key for cell in cells], "worst": [cell.key for cell in last],
        "crops": _crop_counts(kept),
    }  # fmt: skip
    return Section("sheet", title, data=data, view={"cells": cells, "worst": last})


def _without_verdict(material: Material) -> list[Crops]:
    """Painted canvases as verdicts that keep only the photo's rectangle."""
    painted = material.reader.kept("outpaint", Canvas)
    return [Crops(one.key, one.photo, [[*map(float, one.photo_box)]], ["photo"], [], 0.0) for one in painted]


def _crop_counts(kept: Sequence[Crops]) -> dict[str, int]:
    """Number of canvases with 0, 1, 2 ... crops beside the photo's rectangle."""
    numbers = [len(crops.boxes) - 1 for crops in kept]
    return {str(n): numbers.count(n) for n in sorted(set(numbers))}


def retrieval_section(material: Material) -> Section:
    """Canvases with the professional photographs that were retrieved for them."""
    title = "Retrieved compositions"
    rows = [neighbours for neighbours in material.reader.kept("retrieve", Neighbours) if neighbours.references]
    if not rows:
        return Section(
            "retrieval", title, missing="No neighbours were looked up yet", command=material.command("retrieve")
        )
    chosen = sample_rows(rows, RETRIEVALS, "retrieval")
    examples = [example for row in chosen if (example := _retrieval(material, row)) is not None]
    best = [row.similarities[0] for row in rows]
    data = {
        "canvases": len(rows),
        "mean_top_similarity": round(sum(best) / len(best), 4),
        "own_photo_retrieved": sum(row.photo in row.references for row in rows),
        "examples": [
            {"key": one.key, "references": [{"key": r.key, "similarity": r.similarity} for r in one.references]}
            for one in examples
        ],
    }
    return Section("retrieval", title, data=data, view={"examples": examples})


def _retrieval(material: Material, neighbours: Neighbours) -> Retrieval | None:
    canvas = material.canvas_picture(neighbours.key, MEDIUM)
    if canvas is None:
        return None
    references = []
    for key, similarity in list(zip(neighbours.references, neighbours.similarities, strict=True))[:REFERENCES]:
        photo = material.reader.image("ingest", key)
        if photo is None:
            continue
        material.album.show(key)
        picture = material.album.add(f"thumb {key}", photo, THUMB)
        references.append(RetrievedPhoto(key, picture, round(similarity, 3), _title(material.reader.source(key))))
    return Retrieval(**vars(canvas), references=references)
