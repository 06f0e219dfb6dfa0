"""Evaluation on the public cropping sets, by the protocols of METHOD 6, each under its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.core.errors import DamagedDataError, UsageError
from pipeline.core.geometry import Box
from procrop_model.datasets.labelled import LabelledImage, LabelledSet, Pair
from procrop_model.datasets.registry import CACNET, FIRST, GAIC, GENCROP, PAIRS
from procrop_model.evaluation.baselines import NORM, Finder, Pixels, scaled
from procrop_model.evaluation.evaluate_run import (
    METRICS,
    MODEL,
    CropperLike,
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


@dataclass
class _Seen:
    """One picture and what was found for it. boxes, scores: the model's own, best first; single: the one box of each baseline."""

    image: LabelledImage
    pixels: Pixels
    cropper: CropperLike
    watch: Stopwatch
    single: dict[str, Box]
    own_key: str

    def proposals(self) -> tuple[Floats, Floats]:
        boxes, scores = self.watch.run(
            MODEL, partial(self.cropper.propose, [self.pixels], exclude=[{self.own_key} if self.own_key else set()])
        )
        return boxes[0], scores[0]

    def scores(self, boxes: Sequence[Box]) -> Floats:
        given = np.array(boxes, np.float32)
        return self.watch.run(MODEL, partial(self.cropper.score_boxes, [self.pixels], [given]))[0]


def evaluate_set(
    cropper: CropperLike,
    found: LabelledSet,
    protocol: str,
    *,
    finders: Mapping[str, Finder] | None = None,
    keys: Mapping[Path, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A cropper and its baselines on a public set, in the form of ``eval --json``; see ``evaluate.evaluate``.

    protocol: a key of PROTOCOLS. keys: content key of each picture's file, so that a picture which is a reference of the model
    does not guide its own crop. Intervals draw pictures. Raises UsageError when the set has no pictures, or not the annotations
    that the protocol asks for.
    """
    judge = _JUDGES.get(protocol)
    if judge is None:
        raise UsageError(f"no protocol '{protocol}': known are {', '.join(PROTOCOLS)}")
    usable = [image for image in found.images if (ordered(image.pairs) if protocol == PAIRS else image.boxes)]
    if not usable:
        raise UsageError(
            f"'{found.name}' has no picture that the protocol '{protocol}' can judge: {'; '.join(found.remarks())}"
        )
    watch, rows = Stopwatch(), []
    for number, image in enumerate(usable, 1):
        pixels = _pixels(image)
        single: dict[str, Box] = {name: scaled(norm, image.width, image.height) for name, norm in NORM.items()}
        for name, finder in (finders or {}).items():
            single[name] = watch.run(name, partial(finder, pixels))
        seen = _Seen(image, pixels, cropper, watch, single, (keys or {}).get(image.path, ""))
        rows.append(
            {"key": image.name, "photo": str(image.path), "width": image.width, "height": image.height, **judge(seen)}
        )
        if progress is not None:
            progress(number, len(usable))
    methods = [MODEL, *NORM, *(finders or {})]
    figures = {method: _summary(rows, method, protocol) for method in methods}
    splits = found.splits()
    told = [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
    return {
        "dataset": found.name,
        "protocol": PROTOCOLS[protocol],
        "split": "+".join(splits) or "all",
        "n": len(usable),
        "rows": figures,
        "clear_of": clear_of(figures),
        "differences": differences(told, list(told[0][MODEL]), [row["photo"] for row in told]),
        "cost": watch.cost(cropper),
        "remarks": found.remarks(),
        "images": told,
    }


def _summary(rows: Sequence[Mapping[str, Any]], method: str, protocol: str) -> dict[str, list[float]]:
    figures = [row[method] for row in rows]
    told = summary(figures, list(figures[0]), [row["photo"] for row in rows])
    if protocol == EPS:
        told["ap"] = [round(x, 4) for x in ap_interval([row["_ranked"][method] for row in rows])]
    return told


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


def _against(seen: _Seen, annotations: Sequence[Box]) -> dict[str, Any]:
    """The top box and each baseline's against annotations."""
    boxes, _ = seen.proposals()
    top = [float(x) for x in boxes[0]]
    size = (seen.image.width, seen.image.height)
    row: dict[str, Any] = {"box_px": [round(x, 2) for x in top], "annotations": [list(box) for box in annotations]}
    for name, box in {MODEL: top, **seen.single}.items():
        row[name] = {
            key: value for key, value in asdict(crop_metrics(box, annotations, *size)).items() if key in METRICS
        }
    return row


def _first(seen: _Seen) -> dict[str, Any]:
    return _against(seen, seen.image.boxes[:1])


def _best(seen: _Seen) -> dict[str, Any]:
    return _against(seen, seen.image.boxes)


def _ranked(seen: _Seen) -> dict[str, Any]:
    """Given crops by the model's score, and by their IoU with each baseline's box."""
    boxes, opinions = seen.image.boxes, seen.image.scores
    scores = seen.scores(boxes)
    best = boxes[int(np.argmax(scores))]
    row: dict[str, Any] = {"box_px": list(best), "annotations": [list(boxes[int(np.argmax(opinions))])]}
    row[MODEL] = gaic_of_image(opinions, scores)
    for name, box in seen.single.items():
        row[name] = gaic_of_image(opinions, box_ious(boxes, box))
    return row


def _sets(seen: _Seen) -> dict[str, Any]:
    """Own boxes against the single best annotation (the first of equal ones); a baseline has one box, of score 1."""
    wanted = seen.image.boxes[int(np.argmax(seen.image.scores))]
    boxes, scores = seen.proposals()
    top = max(TOPS)
    own = box_ious([[float(x) for x in box] for box in boxes[:top]], wanted)
    ranked = {MODEL: (own, np.asarray(scores[:top], np.float64))}
    for name, box in seen.single.items():
        ranked[name] = (box_ious([box], wanted), np.ones(1))
    row: dict[str, Any] = {
        "box_px": [round(float(x), 2) for x in boxes[0]],
        "annotations": [list(wanted)],
        "_ranked": ranked,
    }
    return {**row, **{name: eps_metrics(ious) for name, (ious, _) in ranked.items()}}


def _pairs(seen: _Seen) -> dict[str, Any]:
    """The share of a picture's pairs in the order of the votes; pairs with equal votes are left out."""
    pairs = ordered(seen.image.pairs)
    boxes = [box for pair in pairs for box in (pair.first, pair.second)]
    scores: dict[str, list[float]] = {MODEL: seen.scores(boxes).tolist()}
    scores |= {name: box_ious(boxes, box).tolist() for name, box in seen.single.items()}
    row: dict[str, Any] = {"box_px": [], "annotations": []}
    for name, values in scores.items():
        agreed = [
            pair_agreement(values[2 * i], values[2 * i + 1], pair.votes_first, pair.votes_second)
            for i, pair in enumerate(pairs)
        ]
        row[name] = {"agreement": float(np.mean(agreed))}
    return row


_JUDGES: dict[str, Callable[[_Seen], dict[str, Any]]] = {
    GAIC: _ranked, CACNET: _best, GENCROP: _best, FIRST: _first, EPS: _sets, PAIRS: _pairs,
}  # fmt: skip
