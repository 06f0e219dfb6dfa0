"""Calibration of a scorer: how often it is right, beside how sure it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.backends.scorers.subject_features import Array
from stages.training.scorer.pairs import KINDS, Example

BINS = 5
_LEAST = 1e-4  # of a score, whose log-odds would be infinite at 0 and 10


def probability(better: Array, worse: Array) -> Array:
    """The chance [P] that the first of two crops of one area is the better one, by their scores [P] in 0..10.

    A score is the chance against a typical bad crop of its area, so the difference of two log-odds is that of the pair.
    """
    return np.asarray(1 / (1 + np.exp(_log_odds(worse) - _log_odds(better))))


def reliability(examples: Sequence[Example], scores: Sequence[Array]) -> dict[str, Any]:
    """Per kind and over all of them, each kind alike: how sure, how often right, and the expected calibration error.

    sure: mean chance that the scorer gives to the crop that it prefers, at least one half; right: share of the pairs where
    that one is the better. error: mean over ``BINS`` equal bins of sureness of the gap between the two, by weight.
    """
    sure: list[float] = []
    right: list[float] = []
    kinds: list[str] = []
    for example, values in zip(examples, scores, strict=True):
        for better, worse, kind in example.pairs:
            chance = float(probability(values[better], values[worse]))
            sure.append(max(chance, 1 - chance))
            right.append(0.5 + 0.5 * float(np.sign(values[better] - values[worse])))
            kinds.append(kind)
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    told = {"all": _row(np.array(sure), np.array(right), weights)}
    for kind in KINDS:
        chosen = np.array([each == kind for each in kinds])
        if chosen.any():
            told[kind] = _row(np.array(sure)[chosen], np.array(right)[chosen], weights[chosen])
    return {**told, "bins": _bins(np.array(sure), np.array(right), weights)}


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


def _log_odds(scores: Array) -> Array:
    chance = np.clip(np.asarray(scores, np.float64) / 10, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(chance / (1 - chance)))
