"""Calibration of a scorer: how often its preference is right, beside the probability that it gives."""

from collections.abc import Callable, Sequence

import numpy as np

from stages.backends.scorers.subject_features import Array
from stages.training.scorer.pairs import KINDS, Example

BINS = 5
# By kind of pair and for ``all``: sure, right, error; and under ``bins`` one row a bin.
Reliability = dict[str, dict[str, float] | list[dict[str, float]]]


def probability(better: Array, worse: Array) -> Array:
    """Probability [P] that the first of two crops of equal area is the better one, by their log-odds [P].

    Both are against a typical bad crop of that area, so the log-odds of a pair are the difference of two.
    """
    return np.asarray(1 / (1 + np.exp(worse - better)))


def reliability(
    examples: Sequence[Example], scores: Sequence[Array], log_odds: Callable[[Array], Array]
) -> Reliability:
    """Reliability for each kind of pair, and for all with equal weight of the kinds.

    ``sure``: mean probability that the scorer gives to the crop that it prefers, at least one half. ``right``: share of the
    pairs where that crop is the better one. ``error``: the expected calibration error, the weighted mean over ``BINS``
    equal bins of the gap between the two. log_odds: of scores, ``Calibration.log_odds``.
    """
    sure: list[float] = []
    right: list[float] = []
    kinds: list[str] = []
    for example, values in zip(examples, scores, strict=True):
        odds = log_odds(values)
        for better, worse, kind in example.pairs:
            chance = float(probability(odds[better], odds[worse]))
            sure.append(max(chance, 1 - chance))
            right.append(0.5 + 0.5 * float(np.sign(values[better] - values[worse])))
            kinds.append(kind)
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    by_kind: Reliability = {"all": _row(np.array(sure), np.array(right), weights)}
    for kind in KINDS:
        chosen = np.array([each == kind for each in kinds])
        if chosen.any():
            by_kind[kind] = _row(np.array(sure)[chosen], np.array(right)[chosen], weights[chosen])
    return {**by_kind, "bins": _bins(np.array(sure), np.array(right), weights)}


def _row(sure: Array, right: Array, weights: Array) -> dict[str, float]:
    bins = _bins(sure, right, weights)
    return {
        "sure": round(float(np.average(sure, weights=weights)), 3),
        "right": round(float(np.average(right, weights=weights)), 3),
        "error": round(sum(row["weight"] * abs(row["sure"] - row["right"]) for row in bins), 3),
    }


def _bins(sure: Array, right: Array, weights: Array) -> list[dict[str, float]]:
    """One row a bin that has pairs: its share of the weight, how sure and how often right."""
    at = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        inside = at == number
        if inside.any():
            means = [float(np.average(values[inside], weights=weights[inside])) for values in (sure, right)]
            share = float(weights[inside].sum() / weights.sum())
            rows.append({"weight": round(share, 4), "sure": round(means[0], 4), "right": round(means[1], 4)})
    return rows
