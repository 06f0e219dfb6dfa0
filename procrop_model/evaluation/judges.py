"""The judgement of one image by each protocol of METHOD 6."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Box, to_norm
from pipeline.core.json_types import JsonObject
from procrop_model.datasets.labelled import LabelledImage, Pair
from procrop_model.datasets.registry import CACNET, FIRST, GAIC, GENCROP, PAIRS
from procrop_model.evaluation.baselines import Pixels
from procrop_model.evaluation.evaluate_run import METRICS, MODEL, Figures, Stopwatch
from procrop_model.evaluation.metrics import crop_metrics
from procrop_model.evaluation.rank_metrics import gaic_of_image
from procrop_model.evaluation.set_metrics import (
    TOPS,
    box_ious,
    eps_metrics,
    is_equal_area,
    is_unanimous,
    pair_agreement,
)
from procrop_model.evaluation.sources import BoxSource
from procrop_model.inference.predictor import Floats

EPS = "eps_acc"
NEAR_CENTRE = "near_centre"  # a baseline of pairs: the box whose centre is nearer to that of the image
PROTOCOLS = {
    GAIC: "gaic: given crops ranked by score; AccK/n, wAccK/n, SRCC and PCC per image, then averaged; a baseline box ranks by IoU",
    CACNET: "cacnet: top-1 box against the annotation of best IoU (ties: smallest BDE), both for that one; recall at IoU 0.75",
    GENCROP: "gencrop: as cacnet, over all good boxes of the picture; FLMS and FCDB on the human-only subset (--names)",
    FIRST: "pseudo_label: top-1 box against the first box of the label file",
    EPS: "eps_acc: any of the model's top 5 (10) boxes within IoU 0.90 (0.85) of the single best annotation; AP over 0.85..0.95",
    PAIRS: "fcdb_pairs: of two boxes, does the one that more people preferred score higher; intervals drawn by picture",
}
BOX_PROTOCOLS = (CACNET, GENCROP, FIRST)
PAIR_KINDS: dict[str, Callable[[Pair], bool]] = {
    "agreement": lambda pair: True,
    "equal_area": lambda pair: is_equal_area(pair.first, pair.second),
    "equal_area_unanimous": lambda pair: (
        is_equal_area(pair.first, pair.second) and is_unanimous(pair.votes_first, pair.votes_second)
    ),
}


@dataclass(frozen=True)
class ImageResult:
    """The evaluation of one image.

    Args:
        box_px: the model's best box in pixels; empty where it has none.
        annotations: the boxes in pixels that it was compared with.
        figures: by method.
        boxes: for protocols of boxes, each method's box in 0..1, [4].
        person: for protocols of boxes, the mean of the annotations in 0..1, [4].
        score: for protocols of boxes, the model's own score of its box.
        ranked: IoUs and scores of each method's boxes, best first, for protocols with average precision.
        pairs: for ranking pairs, by kind of pair (PAIR_KINDS) and method: 1 for each pair that agrees, else 0 (0.5 for a tie).
    """

    box_px: list[float]
    annotations: list[list[float]]
    figures: Figures
    boxes: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    person: NDArray[np.float64] | None = None
    score: float | None = None
    ranked: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    pairs: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def as_json(self, image: LabelledImage) -> JsonObject:
        """The row of this image in ``eval --json``."""
        areas: dict[str, float] = {}
        if self.person is not None:
            areas = {"area": _share(self.boxes[MODEL]), "person_area": _share(self.person)}
        if self.score is not None:
            areas["score"] = round(self.score, 4)
        return {
            "key": image.name, "photo": str(image.path), "width": image.width, "height": image.height,
            "box_px": self.box_px, "annotations": self.annotations, **areas, **self.figures,
        }  # fmt: skip


@dataclass(frozen=True)
class ImageCase:
    """One image with what is measured. single: the one box of each baseline, in pixels; own_key: content key, or ""."""

    image: LabelledImage
    pixels: Pixels
    source: BoxSource
    watch: Stopwatch
    single: dict[str, Box]
    own_key: str

    def proposals(self) -> tuple[Floats, Floats]:
        """The model's boxes [Q, 4] in pixels and their scores [Q], best first."""
        return self.watch.run(MODEL, partial(self.source.proposals, self.image, self.pixels, self.own_key))

    def scores(self, boxes: Sequence[Box]) -> Floats:
        """The model's scores [N] of boxes in pixels."""
        array = np.array(boxes, np.float32)
        return self.watch.run(MODEL, partial(self.source.scores, self.image, self.pixels, array))


def ordered(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose votes are not equal."""
    return [pair for pair in pairs if pair.votes_first != pair.votes_second]


def _share(box: NDArray[np.float64]) -> float:
    return round(float((box[2] - box[0]) * (box[3] - box[1])), 4)


def _against(case: ImageCase, annotations: Sequence[Box]) -> ImageResult:
    """The model's top box and each baseline's box against annotations."""
    proposed, scores = case.proposals()
    top = [float(x) for x in proposed[0]]
    size = (case.image.width, case.image.height)
    chosen: dict[str, Box] = {MODEL: top, **case.single}
    figures: Figures = {}
    for name, box in chosen.items():
        metrics = crop_metrics(box, annotations, *size)
        figures[name] = {key: value for key, value in asdict(metrics).items() if key in METRICS}
    boxes = {name: np.array(to_norm(box, *size)) for name, box in chosen.items()}
    person = np.mean([to_norm(box, *size) for box in annotations], axis=0)
    own = [round(x, 2) for x in top]
    return ImageResult(own, [list(box) for box in annotations], figures, boxes, person, float(scores[0]))


def _first(case: ImageCase) -> ImageResult:
    return _against(case, case.image.boxes[:1])


def _best(case: ImageCase) -> ImageResult:
    return _against(case, case.image.boxes)


def _ranked(case: ImageCase) -> ImageResult:
    """Given crops by the model's score, and by their IoU with each baseline's box."""
    boxes, opinions = case.image.boxes, case.image.scores
    scores = case.scores(boxes)
    best = boxes[int(np.argmax(scores))]
    figures: Figures = {MODEL: gaic_of_image(opinions, scores)}
    for name, box in case.single.items():
        figures[name] = gaic_of_image(opinions, box_ious(boxes, box))
    return ImageResult(list(best), [list(boxes[int(np.argmax(opinions))])], figures)


def _sets(case: ImageCase) -> ImageResult:
    """The model's own boxes against the single best annotation (the first of equal ones); a baseline has one box of score 1."""
    annotation = case.image.boxes[int(np.argmax(case.image.scores))]
    boxes, scores = case.proposals()
    top = max(TOPS)
    own = box_ious([[float(x) for x in box] for box in boxes[:top]], annotation)
    ranked = {MODEL: (own, np.asarray(scores[:top], np.float64))}
    for name, box in case.single.items():
        ranked[name] = (box_ious([box], annotation), np.ones(1))
    figures = {name: eps_metrics(ious) for name, (ious, _) in ranked.items()}
    return ImageResult([round(float(x), 2) for x in boxes[0]], [list(annotation)], figures, ranked=ranked)


def _from_centre(box: Box) -> float:
    """Distance of a box's centre from the image's, both in 0..1; rounded, so that mirrored boxes are equal."""
    return round(math.hypot((box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5), 9)


def _pairs(case: ImageCase) -> ImageResult:
    """The share of a picture's pairs in the order of the votes; pairs with equal votes are left out."""
    pairs = ordered(case.image.pairs)
    boxes = [box for pair in pairs for box in (pair.first, pair.second)]
    scores: dict[str, list[float]] = {MODEL: case.scores(boxes).tolist()}
    scores |= {name: box_ious(boxes, box).tolist() for name, box in case.single.items()}
    scores[NEAR_CENTRE] = [-_from_centre(to_norm(box, case.image.width, case.image.height)) for box in boxes]
    agreed = {
        method: [
            pair_agreement(values[2 * i], values[2 * i + 1], pair.votes_first, pair.votes_second)
            for i, pair in enumerate(pairs)
        ]
        for method, values in scores.items()
    }
    by_kind = {
        kind: {
            method: [value for value, pair in zip(values, pairs, strict=True) if is_kind(pair)]
            for method, values in agreed.items()
        }
        for kind, is_kind in PAIR_KINDS.items()
    }
    figures: Figures = {method: {"agreement": float(np.mean(values))} for method, values in agreed.items()}
    return ImageResult([], [], figures, pairs=by_kind)


JUDGES: dict[str, Callable[[ImageCase], ImageResult]] = {
    GAIC: _ranked, CACNET: _best, GENCROP: _best, FIRST: _first, EPS: _sets, PAIRS: _pairs,
}  # fmt: skip
