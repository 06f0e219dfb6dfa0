"""A seam audit of the bench's own: can a logistic probe on local statistics tell a painted frame from the true photograph?

Windows along the frame of a canvas against the same windows of the whole photograph, where there is no frame. Left out
one photograph at a time. An area under the curve of 0.5: it cannot; 1: always.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from benchmarks.outpaint_measures import strips
from pipeline.core.geometry import BoxPx
from stages.backends.base.protocols import Image

Floats = NDArray[np.float64]
REACH, LENGTH, STEP = 8, 16, 8
RIDGE = 1e-2


def windows(image: Image, box: BoxPx) -> Floats:
    """Statistics of windows across the frame, [N, D]."""
    found = []
    for strip in strips(image, box, REACH):
        for start in range(0, len(strip) - LENGTH + 1, STEP):
            found.append(statistics(strip[start : start + LENGTH].astype(np.float64)))
    return np.array(found) if found else np.zeros((0, len(statistics(np.zeros((LENGTH, 2 * REACH, 3))))))


def statistics(window: Floats) -> Floats:
    """Of [LENGTH, 2 * REACH, 3], the photo in its first half: profiles of contrast, continuity and mirror likeness."""
    gray = window.mean(2)
    across = np.log1p(np.abs(np.diff(window, axis=1)).mean((0, 2)))  # [2 * REACH - 1]
    along = np.log1p(np.abs(np.diff(window, axis=0)).mean((0, 2)))  # [2 * REACH]
    bend = np.log1p(np.abs(np.diff(window, n=2, axis=1)).mean((0, 2)))
    inside, outside = gray[:, :REACH], gray[:, REACH:]
    spread = np.log1p([inside.std(), outside.std()])
    fine = [np.log1p(np.abs(_laplacian(half)).mean()) for half in (inside, outside)]
    mean = window.mean(0)  # [2 * REACH, 3]
    colour = np.log1p(np.linalg.norm(np.diff(mean, axis=0), axis=1))
    beside = np.log1p(np.linalg.norm(mean[:REACH].mean(0) - mean[REACH:].mean(0)))
    mirror = [_likeness(gray[:, REACH - 1 - k], gray[:, REACH + k]) for k in range(4)]
    follows = [_likeness(gray[:, k], gray[:, k + 1]) for k in range(REACH - 4, REACH + 3)]
    return np.concatenate([across, along, bend, spread, fine, colour, [beside], mirror, follows])


def _laplacian(values: Floats) -> Floats:
    return 4 * values[1:-1, 1:-1] - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]


def _likeness(a: Floats, b: Floats) -> float:
    """Correlation of two lines; lines without contrast are neither alike nor unlike."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 8.0))


def auc_by_photo(painted: Mapping[str, Sequence[Floats]], true: Mapping[str, Sequence[Floats]]) -> dict[str, float]:
    """The area under the curve on each photograph of a probe fitted on the others; both map a photo to its windows."""
    sets = {photo: (np.concatenate(painted[photo]), np.concatenate(true[photo])) for photo in painted}
    sets = {photo: pair for photo, pair in sets.items() if len(pair[0]) and len(pair[1])}
    out = {}
    for photo, (fake, real) in sets.items():
        others = [pair for name, pair in sets.items() if name != photo]
        probe = Probe(np.concatenate([f for f, _ in others]), np.concatenate([r for _, r in others]))
        out[photo] = area(probe(fake), probe(real))
    return out


class Probe:
    """A ridge logistic regression on standardised statistics and their squares, both classes of equal weight."""

    def __init__(self, fake: Floats, real: Floats) -> None:
        both = np.concatenate([fake, real])
        self._mean, self._spread = both.mean(0), both.std(0) + 1e-6
        x = self._expanded(both)
        sign = np.concatenate([np.ones(len(fake)), -np.ones(len(real))])
        weight = np.concatenate([np.full(len(fake), 0.5 / len(fake)), np.full(len(real), 0.5 / len(real))])

        def loss(w: Floats) -> tuple[float, Floats]:
            margin = sign * (x @ w)
            slope = -sign * weight / (1 + np.exp(np.clip(margin, -50, 50)))
            value = float(weight @ np.logaddexp(0, -margin)) + 0.5 * RIDGE * float(w[1:] @ w[1:])
            return value, x.T @ slope + RIDGE * np.concatenate([[0.0], w[1:]])

        self._weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x

    def __call__(self, statistics: Floats) -> Floats:
        """Scores [N], higher for what looks painted."""
        out: Floats = self._expanded(statistics) @ self._weights
        return out

    def _expanded(self, statistics: Floats) -> Floats:
        z = ((statistics - self._mean) / self._spread).clip(-4, 4)
        return np.concatenate([np.ones((len(z), 1)), z, z * z - 1], 1)


def area(fake: Floats, real: Floats) -> float:
    """The chance that a fake scores above a real one, ties counting half."""
    ranks = rankdata(np.concatenate([fake, real]))[: len(fake)]
    return float((ranks.sum() - len(fake) * (len(fake) + 1) / 2) / (len(fake) * len(real)))
