"""The area under the ROC curve with an interval that is drawn by photo."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(scores: Floats, target: NDArray[np.bool_]) -> float:
    """Chance that a target outscores another, ties counting half. NaN with one kind only."""
    _, place = np.unique(scores, return_inverse=True)
    return _area(place, target, np.ones(len(scores)))


def _area(place: NDArray[np.int64], target: NDArray[np.bool_], weights: Floats) -> float:
    """place: rank of each score [N], ties sharing one; weights [N] repeat samples."""
    hit = np.bincount(place, weights * target)
    miss = np.bincount(place, weights * ~target)
    below = miss.cumsum() - miss
    total = hit.sum() * miss.sum()
    return float((hit * (below + miss / 2)).sum() / total) if total else float("nan")


def auc_by_photo(
    scores: Floats, target: NDArray[np.bool_], photos: NDArray[np.str_], draws: int, seed: int
) -> tuple[float, float, float]:
    """The pooled AUC with its 95 % bootstrap interval: whole photos are drawn, for patches of one are alike."""
    _, owner = np.unique(photos, return_inverse=True)
    _, place = np.unique(scores, return_inverse=True)
    count = int(owner.max()) + 1
    rng = np.random.default_rng(seed)
    times = (np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(draws))
    drawn = [_area(place, target, one[owner].astype(np.float64)) for one in times]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return auc(scores, target), float(low), float(high)
