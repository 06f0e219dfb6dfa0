"""From views to a model: projection, features, head and calibration, with cross-validation over photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.core.seeds import fraction_of, seed_for
from stages.backends.scorers.composition_features import fit_projection, project
from stages.backends.scorers.composition_model import RankingHead, ScorerModel, crop_features
from stages.backends.scorers.subject_features import Array
from stages.training.scorer.fitting import Fit, Pairs, balance, fit_calibration, fit_head
from stages.training.scorer.pairs import INSIDE, KINDS, random_window
from stages.training.scorer.views import ExampleView

FOLDS = 5
CALIBRATION_CROPS = 24  # a view


@dataclass(frozen=True)
class FittedModel:
    """The result of a fit.

    Args:
        model: fitted to all photos.
        cross_validated: accuracy by kind of pair, of heads on the photos that they were not fitted to.
    """

    model: ScorerModel
    cross_validated: dict[str, float]


def fit_model(
    views: Sequence[ExampleView],
    fit: Fit,
    seed: int,
    progress: Callable[[str, int, int], None],
    known: ScorerModel | None = None,
) -> FittedModel:
    """Fit the head to all views; its calibration comes from the folds' heads, on the photos that they were not fitted to.

    known: a model whose projection and head stay as they are, so that only the calibration is fitted.
    """
    projection = known.projection if known else fit_projection([view.maps for view in views])
    with torch.inference_mode():
        projected = [project(view.maps, projection) for view in views]
        features = [
            crop_features(maps, view.mask, view.example.boxes, view.size).float()
            for maps, view in zip(projected, views, strict=True)
        ]
    names = sorted({view.example.photo for view in views})
    pairs = collect_pairs(views, [each.clone() for each in features], names)
    gaps, unseen = _cross_validate(pairs, _folds(names, seed), fit, seed, progress)
    head = known.head if known else fit_head(pairs, fit, seed)
    progress("fit", FOLDS + 1, FOLDS + 1)
    boxes = [_any_crops(view, seed, number) for number, view in enumerate(views)]
    raw = [
        _raw(head, crop_features(maps, view.mask, crops, view.size))
        for maps, view, crops in zip(projected, views, boxes, strict=True)
    ]
    weights = balance(unseen)
    frames = (unseen.kind != KINDS.index(INSIDE)).numpy()
    calibration = fit_calibration(raw, boxes, gaps, weights.numpy(), frames)
    return FittedModel(ScorerModel(projection, head, calibration), _accuracies(gaps, unseen, weights))


def collect_pairs(views: Sequence[ExampleView], features: Sequence[Tensor], names: Sequence[str]) -> Pairs:
    """All pairs of all views, over one matrix of features."""
    starts = np.cumsum([0, *(len(each) for each in features)])
    rows = [
        (start + better, start + worse, KINDS.index(kind), names.index(view.example.photo))
        for view, start in zip(views, starts, strict=False)
        for better, worse, kind in view.example.pairs
    ]
    better, worse, kind, photo = torch.tensor(rows, dtype=torch.long).T
    return Pairs(torch.cat(list(features)), better, worse, kind, photo)


def _folds(names: Sequence[str], seed: int) -> Tensor:
    """The fold of each photo: equal in size, by the order of their hashes."""
    order = sorted(range(len(names)), key=lambda number: fraction_of(seed, "scorer-fold", names[number]))
    folds = torch.zeros(len(names), dtype=torch.long)
    folds[torch.tensor(order)] = torch.arange(len(names)) % min(FOLDS, len(names))
    return folds


def _cross_validate(
    pairs: Pairs, folds: Tensor, fit: Fit, seed: int, progress: Callable[[str, int, int], None]
) -> tuple[Array, Pairs]:
    """Gaps [P] of raw scores, better less worse, each by the head that was fitted without the pair's photo."""
    order, gaps = [], []
    for fold in range(int(folds.max()) + 1):
        out = folds[pairs.photo] == fold
        if not out.any() or out.all():
            continue
        raw = _raw(fit_head(pairs.select(~out), fit, seed), pairs.features.double())
        order.append(torch.nonzero(out)[:, 0])
        gaps.append(raw[pairs.better[out]] - raw[pairs.worse[out]])
        progress("fit", fold + 1, FOLDS + 1)
    return np.concatenate(gaps), pairs.select(torch.cat(order))


def _accuracies(gaps: Array, pairs: Pairs, weights: Tensor) -> dict[str, float]:
    right, kinds, share = 0.5 + 0.5 * np.sign(gaps), pairs.kind.numpy(), weights.numpy()
    return {
        kind: round(float(np.average(right[kinds == number], weights=share[kinds == number])), 3)
        for number, kind in enumerate(KINDS)
        if (kinds == number).any()
    }


def _raw(head: RankingHead, features: Tensor) -> Array:
    with torch.inference_mode():
        return np.asarray(head(features).numpy())


def _any_crops(view: ExampleView, seed: int, number: int) -> Array:
    """Random crops [CALIBRATION_CROPS, 4] of all sizes, as fractions: the typical bad crops that calibration puts at 5."""
    height, width = view.example.picture.shape[:2]
    rng = np.random.default_rng(seed_for(seed, "scorer-calibration", str(number)))
    made: list[Array] = []
    while len(made) < CALIBRATION_CROPS:
        area = np.exp(rng.uniform(np.log(0.05), 0.0)) * width * height
        box = random_window(area, width / height * np.exp(rng.normal(0, 0.3)), (width, height), rng)
        made += [] if box is None else [box]
    return np.asarray(np.stack(made) / np.array([width, height, width, height]))
