"""Teach the composition scorer on a folder of photographs, judge it on held-out ones, write it with its card.

The whole of ``procrop-data train-scorer``: the same photographs, settings and machine give the same digest.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.seeds import fraction_of, seed_for
from stages.backends.protocols import Floats, Outpainter, Segmenter
from stages.backends.scorer_features import Projection, feature_maps, fit_projection, load_backbone
from stages.backends.scorer_model import ScorerModel, crop_features
from stages.backends.subject_features import Array
from stages.scorer_training.canvases import CanvasMaker, degraded, mirrored
from stages.scorer_training.card import write_card
from stages.scorer_training.fitting import Fit, Pairs, fit_calibration, fit_head
from stages.scorer_training.judging import judge
from stages.scorer_training.pairs import KINDS, Example, random_window
from stages.scorer_training.photographs import TEST, TRAIN, Photograph, read_photographs

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ScorerTraining:
    """How much is made of each photo, and how the head is fitted.

    variants: canvases a photo; long_side: of a canvas, in pixels; insides: crop sets inside a photo; views: degraded,
    perhaps mirrored copies of each picture.
    """

    seed: int = 0
    variants: int = 3
    long_side: int = 144
    insides: int = 2
    views: int = 2
    fit: Fit = field(default_factory=Fit)


@dataclass(frozen=True)
class Seen:
    """A view of an example through the frozen models: encoder maps and subject mask."""

    example: Example
    maps: list[Tensor]
    mask: Floats


def train_scorer(
    photos: Path,
    out: Path,
    settings: ScorerTraining,
    *,
    outpainter: Outpainter,
    segmenter: Segmenter,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Train on ``photos``, write weights, config, card, pictures and ``report.json`` to ``out``; returns the report.

    photos: a folder of photographs, split as ``read_photographs`` says. Raises UsageError when it holds fewer than two
    to train on or none to judge by.
    """
    times = [time.perf_counter()]
    groups = _groups(read_photographs(photos, seed=settings.seed), photos)
    maker = CanvasMaker(outpainter, segmenter, settings.variants, settings.long_side, settings.seed)
    examples = {
        split: maker.canvases(group, progress) + maker.insides(group, settings.insides)
        for split, group in groups.items()
    }
    times.append(time.perf_counter())
    seen = look(examples[TRAIN], segmenter, settings.seed, settings.views, progress)
    model = fit_model(seen, settings, progress)
    digest = model.save(out, segmenter.digest)
    times.append(time.perf_counter())
    judgement = judge(out, examples[TEST], segmenter, progress)
    spent = np.diff([*times, time.perf_counter()])
    report = {
        "digest": digest,
        "settings": asdict(settings),
        "outpainter": f"{outpainter.name} {outpainter.digest}",
        "photos": {split: [photograph.name for photograph in group] for split, group in groups.items()},
        "seconds": {name: round(float(took)) for name, took in zip(("paint", "learn", "judge"), spent, strict=True)},
        **judgement.figures,
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_card(out, report, judgement)
    return report


def look(examples: Sequence[Example], segmenter: Segmenter, seed: int, views: int, progress: Progress) -> list[Seen]:
    """Each example ``views`` times through encoder and segmenter, degraded each time, mirrored every other time."""
    backbone = load_backbone()
    seen = []
    for number, example in enumerate(examples):
        for turn in range(views):
            rng = np.random.default_rng(seed_for(seed, "scorer-view", f"{example.photo}/{number}", turn))
            shown = mirrored(example) if (number + turn) % 2 else example
            picture = degraded(shown.picture, rng)
            (mask,) = segmenter.segment([picture])
            seen.append(Seen(shown, feature_maps(backbone, picture), mask))
        if number % 10 == 9 or number == len(examples) - 1:
            progress(f"looked at {number + 1} of {len(examples)} pictures")
    return seen


def fit_model(seen: Sequence[Seen], settings: ScorerTraining, progress: Progress) -> ScorerModel:
    """Projection, head and calibration from seen examples; the scale comes from heads that did not see the photo."""
    projection = fit_projection([view.maps for view in seen])
    features = [crop_features(view.maps, view.mask, view.example.boxes, projection).float() for view in seen]
    names = sorted({view.example.photo for view in seen})
    pairs = gather(seen, features, names)
    halves = torch.tensor([fraction_of(settings.seed, "scorer-fold", name) < 0.5 for name in names])
    gaps = []
    for half in (halves, ~halves) if halves.any() and not halves.all() else ():
        head = fit_head(pairs.select(half[pairs.photo]), settings.fit, settings.seed)
        gaps.append(_gaps(head, pairs.select(~half[pairs.photo])))
        progress("fitted on half of the photos, for calibration")
    head = fit_head(pairs, settings.fit, settings.seed)
    gaps = gaps or [_gaps(head, pairs)]
    boxes = [_any_crops(view, settings.seed, number) for number, view in enumerate(seen)]
    raw = [_raw(head, view, crops, projection) for view, crops in zip(seen, boxes, strict=True)]
    return ScorerModel(projection, head, fit_calibration(raw, boxes, np.concatenate(gaps)))


def gather(seen: Sequence[Seen], features: Sequence[Tensor], names: Sequence[str]) -> Pairs:
    """All pairs of all views, over one matrix of features."""
    starts = np.cumsum([0, *(len(each) for each in features)])
    rows = [
        (start + better, start + worse, KINDS.index(kind), names.index(view.example.photo))
        for view, start in zip(seen, starts, strict=False)
        for better, worse, kind in view.example.pairs
    ]
    better, worse, kind, photo = torch.tensor(rows, dtype=torch.long).T
    return Pairs(torch.cat(list(features)), better, worse, kind, photo)


def _gaps(head: Any, pairs: Pairs) -> Array:
    with torch.inference_mode():
        raw = head(pairs.features.double())
        return np.asarray((raw[pairs.better] - raw[pairs.worse]).numpy())


def _raw(head: Any, view: Seen, boxes: Array, projection: Projection) -> Array:
    with torch.inference_mode():
        return np.asarray(head(crop_features(view.maps, view.mask, boxes, projection)).numpy())


def _any_crops(view: Seen, seed: int, number: int, count: int = 24) -> Array:
    """Random crops of all sizes, as fractions: the typical bad ones that calibration sets to 5."""
    height, width = view.example.picture.shape[:2]
    rng = np.random.default_rng(seed_for(seed, "scorer-calibration", str(number)))
    made: list[Array] = []
    while len(made) < count:
        area = np.exp(rng.uniform(np.log(0.05), 0.0)) * width * height
        box = random_window(area, width / height * np.exp(rng.normal(0, 0.3)), (width, height), rng)
        made += [] if box is None else [box]
    return np.asarray(np.stack(made) / np.array([width, height, width, height]))


def _groups(photographs: Sequence[Photograph], folder: Path) -> dict[str, list[Photograph]]:
    groups = {split: [p for p in photographs if p.split == split] for split in (TRAIN, TEST)}
    if len(groups[TRAIN]) < 2 or not groups[TEST]:
        raise UsageError(
            f"{folder} has {len(groups[TRAIN])} photographs to train on and {len(groups[TEST])} held out: "
            "the scorer needs at least 2 and 1"
        )
    return groups
