"""Evaluation on the public cropping sets, by the protocols of METHOD 6, each under its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.geometry import Box
from pipeline.core.json_types import JsonObject
from procrop_model.datasets.labelled import LabelledImage, LabelledSet, Pair
from procrop_model.datasets.registry import CACNET, FIRST, GAIC, GENCROP, PAIRS
from procrop_model.evaluation.baselines import NORM, Finder, Pixels, scaled
from procrop_model.evaluation.evaluate_run import (
    METRICS,
    MODEL,
    CropperLike,
    Figures,
    Progress,
    Stopwatch,
    clear_of,
    differences,
    summary,
)
from procrop_model.evaluation.metrics import crop_metrics
from procrop_model.evaluation.rank_metrics import gaic_of_image
from procrop_model.evaluation.set_metrics import TOPS, ap_interval, box_ious, eps_metrics, pair_agreement
from procrop_model.inference.predictor import Floats

EPS = "eps_acc"
PROTOCOLS = {
    GAIC: "gaic: given crops ranked by score; AccK/n, wAccK/n, SRCC and PCC per image, then averaged; a baseline box ranks by IoU",
    CACNET: "cacnet: top-1 box against the annotation of best IoU (ties: smallest BDE), both for that one; recall at IoU 0.75",
    GENCROP: "gencrop: as cacnet, over all good boxes of the picture; FLMS and FCDB on the human-only subset (--names)",
    FIRST: "pseudo_label: top-1 box against the first box of the label file",
    EPS: "eps_acc: any of the model's top 5 (10) boxes within IoU 0.90 (0.85) of the single best annotation; AP over 0.85..0.95",
    PAIRS: "fcdb_pairs: of two boxes, does the one that more people preferred score higher; intervals drawn by picture",
}


@dataclass(frozen=True)
class ImageResult:
    """The evaluation of one image.

    Args:
        box_px: the model's best box in pixels; empty where it has none.
        annotations: the boxes in pixels that it was compared with.
        figures: by method.
        ranked: IoUs and scores of each method's boxes, best first, for protocols with average precision.
    """

    box_px: list[float]
    annotations: list[list[float]]
    figures: Figures
    ranked: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def as_json(self, image: LabelledImage) -> JsonObject:
        """The row of this image in ``eval --json``."""
        return {
            "key": image.name, "photo": str(image.path), "width": image.width, "height": image.height,
            "box_px": self.box_px, "annotations": self.annotations, **self.figures,
        }  # fmt: skip


@dataclass(frozen=True)
class _Case:
    """One image with the cropper to evaluate. single: the one box of each baseline, in pixels; own_key: content key, or ""."""

    image: LabelledImage
    pixels: Pixels
    cropper: CropperLike
    watch: Stopwatch
    single: dict[str, Box]
    own_key: str

    def proposals(self) -> tuple[Floats, Floats]:
        """The model's boxes [Q, 4] in pixels and their scores [Q], best first."""
        boxes, scores = self.watch.run(
            MODEL, partial(self.cropper.propose, [self.pixels], exclude=[{self.own_key} if self.own_key else set()])
        )
        return boxes[0], scores[0]

    def scores(self, boxes: Sequence[Box]) -> Floats:
        """The model's scores [N] of boxes in pixels."""
        array = np.array(boxes, np.float32)
        return self.watch.run(MODEL, partial(self.cropper.score_boxes, [self.pixels], [array]))[0]


def evaluate_set(
    cropper: CropperLike,
    labelled: LabelledSet,
    protocol: str,
    *,
    finders: Mapping[str, Finder] | None = None,
    keys: Mapping[Path, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A cropper and its baselines on a public set, in the form of ``evaluate``; intervals are drawn by image.

    Args:
        cropper: the model.
        labelled: the set.
        protocol: a key of PROTOCOLS.
        finders: baselines that use the image, by name.
        keys: content key of each image file, so that an image is never a reference of its own crop.
        progress: called with (done, total) images.

    Raises UsageError for an unknown protocol, or a set without images that have the annotations the protocol needs.
    """
    judge = _JUDGES.get(protocol)
    if judge is None:
        raise UsageError(f"no protocol '{protocol}': known are {', '.join(PROTOCOLS)}")
    usable = [image for image in labelled.images if (ordered(image.pairs) if protocol == PAIRS else image.boxes)]
    if not usable:
        raise UsageError(
            f"'{labelled.name}' has no picture that the protocol '{protocol}' can judge: {'; '.join(labelled.remarks())}"
        )
    watch, results = Stopwatch(), []
    for number, image in enumerate(usable, 1):
        pixels = _pixels(image)
        single: dict[str, Box] = {name: scaled(norm, image.width, image.height) for name, norm in NORM.items()}
        for name, finder in (finders or {}).items():
            single[name] = watch.run(name, partial(finder, pixels))
        case = _Case(image, pixels, cropper, watch, single, (keys or {}).get(image.path, ""))
        results.append(judge(case))
        if progress is not None:
            progress(number, len(usable))
    methods = [MODEL, *NORM, *(finders or {})]
    photos = [str(image.path) for image in usable]
    figures = {method: _summary(results, method, photos, protocol) for method in methods}
    splits = labelled.splits()
    return {
        "dataset": labelled.name,
        "protocol": PROTOCOLS[protocol],
        "split": "+".join(splits) or "all",
        "n": len(usable),
        "rows": figures,
        "clear_of": clear_of(figures),
        "differences": differences([result.figures for result in results], list(results[0].figures[MODEL]), photos),
        "cost": watch.cost(cropper),
        "remarks": labelled.remarks(),
        "images": [result.as_json(image) for result, image in zip(results, usable, strict=True)],
    }


def _summary(
    results: Sequence[ImageResult], method: str, photos: Sequence[str], protocol: str
) -> dict[str, list[float]]:
    figures = [result.figures[method] for result in results]
    intervals = summary(figures, list(figures[0]), photos)
    if protocol == EPS:
        intervals["ap"] = [round(x, 4) for x in ap_interval([result.ranked[method] for result in results])]
    return intervals


def ordered(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose votes are not equal."""
    return [pair for pair in pairs if pair.votes_first != pair.votes_second]


def _pixels(image: LabelledImage) -> Pixels:
    try:
        with Image.open(image.path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DamagedDataError(
            f"{image.path}: expected a picture, but it does not decode ({str(error)[:80]})"
        ) from error


def _against(case: _Case, annotations: Sequence[Box]) -> ImageResult:
    """The model's top box and each baseline's box against annotations."""
    boxes, _ = case.proposals()
    top = [float(x) for x in boxes[0]]
    size = (case.image.width, case.image.height)
    figures: Figures = {}
    for name, box in {MODEL: top, **case.single}.items():
        metrics = crop_metrics(box, annotations, *size)
        figures[name] = {key: value for key, value in asdict(metrics).items() if key in METRICS}
    return ImageResult([round(x, 2) for x in top], [list(box) for box in annotations], figures)


def _first(case: _Case) -> ImageResult:
    return _against(case, case.image.boxes[:1])


def _best(case: _Case) -> ImageResult:
    return _against(case, case.image.boxes)


def _ranked(case: _Case) -> ImageResult:
    """Given crops by the model's score, and by their IoU with each baseline's box."""
    boxes, opinions = case.image.boxes, case.image.scores
    scores = case.scores(boxes)
    best = boxes[int(np.argmax(scores))]
    figures: Figures = {MODEL: gaic_of_image(opinions, scores)}
    for name, box in case.single.items():
        figures[name] = gaic_of_image(opinions, box_ious(boxes, box))
    return ImageResult(list(best), [list(boxes[int(np.argmax(opinions))])], figures)


def _sets(case: _Case) -> ImageResult:
    """The model's own boxes against the single best annotation (the first of equal ones); a baseline has one box of score 1."""
    annotation = case.image.boxes[int(np.argmax(case.image.scores))]
    boxes, scores = case.proposals()
    top = max(TOPS)
    own = box_ious([[float(x) for x in box] for box in boxes[:top]], annotation)
    ranked = {MODEL: (own, np.asarray(scores[:top], np.float64))}
    for name, box in case.single.items():
        ranked[name] = (box_ious([box], annotation), np.ones(1))
    figures = {name: eps_metrics(ious) for name, (ious, _) in ranked.items()}
    return ImageResult([round(float(x), 2) for x in boxes[0]], [list(annotation)], figures, ranked)


def _pairs(case: _Case) -> ImageResult:
    """The share of a picture's pairs in the order of the votes; pairs with equal votes are left out."""
    pairs = ordered(case.image.pairs)
    boxes = [box for pair in pairs for box in (pair.first, pair.second)]
    scores: dict[str, list[float]] = {MODEL: case.scores(boxes).tolist()}
    scores |= {name: box_ious(boxes, box).tolist() for name, box in case.single.items()}
    figures: Figures = {}
    for name, values in scores.items():
        agreed = [
            pair_agreement(values[2 * i], values[2 * i + 1], pair.votes_first, pair.votes_second)
            for i, pair in enumerate(pairs)
        ]
        figures[name] = {"agreement": float(np.mean(agreed))}
    return ImageResult([], [], figures)


_JUDGES: dict[str, Callable[[_Case], ImageResult]] = {
    GAIC: _ranked, CACNET: _best, GENCROP: _best, FIRST: _first, EPS: _sets, PAIRS: _pairs,
}  # fmt: skip
