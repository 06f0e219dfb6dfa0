"""Crop search with a scorer on held-out canvases: the best crop of a fixed grid, and whether the ranking is stable."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from scipy.stats import kendalltau

from pipeline.core.geometry import iou
from stages.backends.base.protocols import Image, Scorer, Segmenter
from stages.backends.scorers.perceiving import score_images
from stages.backends.scorers.subject_features import Array, SubjectMass
from stages.training.scorer.pairs import CUT, INSIDE, Example, window
from stages.training.scorer.views import mirrored

STEPS = 7  # places along each axis
TILTS = (0.8, 1.0, 1.25)  # factors of the photo's own aspect ratio
RESIZED = (0.8, 1.25)  # factors of a canvas's size under which the ranking should not change


def is_canvas(example: Example) -> bool:
    """Whether the picture is a painted canvas; its first box is then the photo's rectangle."""
    return all(kind != INSIDE for _, _, kind in example.pairs)


def pixels(example: Example) -> Array:
    """Its boxes [N, 4] in pixels."""
    return np.asarray(example.boxes * _sides(example.picture))


def grid_boxes(example: Example) -> Array:
    """Candidates [N, 4] in pixels: windows of the first box's area and about its aspect, all over the picture."""
    height, width = example.picture.shape[:2]
    first = pixels(example)[0]
    sides = first[2:] - first[:2]
    boxes: list[Array] = []
    for tilt in TILTS:
        made = window(np.zeros(2), float(sides.prod()), float(sides[0] / sides[1]) * tilt)
        half = made[2:]
        if (2 * half <= (width, height)).all():
            places = np.meshgrid(
                *(np.linspace(h, side - h, STEPS) for h, side in zip(half, (width, height), strict=True))
            )
            boxes += [made + np.tile(centre, 2) for centre in np.stack(places, -1).reshape(-1, 2)]
    return np.stack(boxes)


def best_crops(scorer: Scorer, segmenter: Segmenter, examples: Sequence[Example]) -> dict[str, float]:
    """Mean over the canvases whose photo has one subject: its share kept, and the IoU with the photo's rectangle.

    by_score: of the candidate that scores most; random: mean over the candidates; true_box: of the photo's own
    rectangle; possible: the most of any candidate. The subject is what the segmenter sees on the whole canvas.
    """
    rows = []
    for example in examples:
        if not is_canvas(example) or all(kind != CUT for _, _, kind in example.pairs):
            continue
        boxes, own = grid_boxes(example), pixels(example)[:1]
        (mask,) = segmenter.segment([example.picture])
        masses = SubjectMass(mask)
        kept, best = masses.kept(boxes), int(np.argmax(score(scorer, example.picture, boxes)))
        overlap = np.array([iou(box, own[0]) for box in boxes])
        rows.append((kept[best], kept.mean(), masses.kept(own)[0], kept.max(), overlap[best], overlap.mean()))
    if not rows:
        return {}
    names = ("by_score", "random", "true_box", "possible", "iou_by_score", "iou_random")
    return {"canvases": len(rows)} | {
        name: round(float(value), 3) for name, value in zip(names, np.mean(rows, 0), strict=True)
    }


def agreement(scorer: Scorer, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Kendall's tau between the ranking of a canvas's candidates and that of the same canvas mirrored or resized.

    Per change the mean and the least over canvases; 1 is the same order, 0 chance.
    """
    taus: dict[str, list[float]] = {}
    for example in examples:
        if not is_canvas(example):
            continue
        boxes = grid_boxes(example) / _sides(example.picture)
        before = score(scorer, example.picture, boxes * _sides(example.picture))
        for name, changed in _changed(Example(example.photo, example.picture, boxes, ())).items():
            after = score(scorer, changed.picture, pixels(changed))
            taus.setdefault(name, []).append(float(np.nan_to_num(kendalltau(before, after).statistic)))
    return {
        name: {"mean": round(float(np.mean(values)), 3), "least": round(float(np.min(values)), 3)}
        for name, values in taus.items()
    }


def score(scorer: Scorer, picture: Image, boxes: Array) -> Array:
    """Scores [N], float64, of ``boxes`` [N, 4] in pixels of one picture."""
    (scores,) = score_images(scorer, [picture], [boxes.astype(np.float32)])
    return np.array(scores, dtype=np.float64)


def _changed(example: Example) -> dict[str, Example]:
    made: dict[str, Example] = {"mirrored": mirrored(example)}
    height, width = example.picture.shape[:2]
    for factor in RESIZED:
        size = (max(8, round(width * factor)), max(8, round(height * factor)))
        picture = np.asarray(Pillow.fromarray(example.picture).resize(size, Pillow.Resampling.BICUBIC))
        made[f"resized {factor}"] = Example(example.photo, picture, example.boxes, ())
    return made


def _sides(picture: Image) -> Array:
    height, width = picture.shape[:2]
    return np.array([width, height, width, height], np.float64)
