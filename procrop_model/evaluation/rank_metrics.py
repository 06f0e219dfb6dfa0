"""Metrics of scored crops on GAIC's protocol (METHOD 6): AccK/n, its rank-weighted form, SRCC and PCC.

A crop whose mean opinion score is -2 was not scored and is left out everywhere.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNSCORED = -2.0
BETAS = {5: 0.2, 10: 0.1}
Floats = NDArray[np.float64]


def scored_only(opinions: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Opinion scores and predictions [N] without the crops that nobody scored."""
    m, p = np.asarray(opinions, np.float64), np.asarray(predictions, np.float64)
    kept = m != UNSCORED
    return m[kept], p[kept]


def acc(opinions: ArrayLike, predictions: ArrayLike, k: int, n: int) -> float:
    """AccK/n of one image: the share of the k best-predicted crops whose opinion is at least that of the n-th best.

    Stable descending sorts; ties with the n-th count. With fewer than n scored crops the last one is the limit.
    """
    m, p = scored_only(opinions, predictions)
    return float(np.mean(m[_descending(p)[:k]] >= _limit(m, n)))


def weighted_acc(opinions: ArrayLike, predictions: ArrayLike, k: int, n: int) -> float:
    """wAccK/n of one image: each hit counts exp(-beta (r_j - j)).

    j is its place among the hits when these are ordered by opinion, r_j its rank by opinion among all crops, both
    from 1: missing the very best costs, their order in the prediction does not. n is 5 (beta 0.2) or 10 (beta 0.1).
    """
    m, p = scored_only(opinions, predictions)
    ranks = np.empty(len(m), int)
    ranks[_descending(m)] = np.arange(1, len(m) + 1)
    chosen = _descending(p)[:k]
    ordered = np.sort(ranks[chosen])
    hits = m[_descending(m)][ordered - 1] >= _limit(m, n)
    weights = np.exp(-BETAS[n] * (ordered - np.arange(1, len(ordered) + 1)))
    return float(np.sum(weights * hits) / len(chosen))


def srcc(opinions: ArrayLike, predictions: ArrayLike) -> float:
    """Spearman's rank correlation of one image, ties at their mean rank; 0 when either side is constant."""
    m, p = scored_only(opinions, predictions)
    return _correlation(_ranks(m), _ranks(p))


def pcc(opinions: ArrayLike, predictions: ArrayLike) -> float:
    """Pearson's correlation of one image; 0 when either side is constant."""
    return _correlation(*scored_only(opinions, predictions))


def gaic_metrics(images: Sequence[tuple[ArrayLike, ArrayLike]]) -> dict[str, float]:
    """All figures over images of (opinions, predictions): each per image, then averaged. Images without scores are
    left out.

    Names: ``srcc``, ``pcc``, ``acc1_5`` .. ``acc4_10``, ``wacc1_5`` .., ``avg5``, ``avg10`` (means over K).
    """
    each = [gaic_of_image(*pair) for pair in images if len(scored_only(*pair)[0])]
    return {name: float(np.mean([one[name] for one in each])) for name in (each[0] if each else ())}


def gaic_of_image(opinions: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """All figures of one image with at least one scored crop, by the names of ``gaic_metrics``."""
    result = {"srcc": srcc(opinions, predictions), "pcc": pcc(opinions, predictions)}
    for n in (5, 10):
        for k in (1, 2, 3, 4):
            result[f"acc{k}_{n}"] = acc(opinions, predictions, k, n)
            result[f"wacc{k}_{n}"] = weighted_acc(opinions, predictions, k, n)
        result[f"avg{n}"] = float(np.mean([result[f"acc{k}_{n}"] for k in (1, 2, 3, 4)]))
    return result


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties at their mean rank. (Not scipy's: loaded beside torch it has made processes abort as they ended.)"""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = (last - (counts - 1) / 2)[inverse]
    return middle


def _descending(values: Floats) -> NDArray[np.intp]:
    return np.argsort(-values, kind="stable")


def _limit(opinions: Floats, n: int) -> float:
    return float(np.sort(opinions)[::-1][min(n, len(opinions)) - 1])


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 1e-12 else 0.0
