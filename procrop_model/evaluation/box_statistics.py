"""What a method's crops have in common with people's, photograph by photograph: correlations, and IoU by the size of the crop.

A mean IoU alone does not show whether anything was learned of the single photograph: a constant box has a high one. All boxes here
are in 0..1 of their image, [N, 4], and row i of two arrays is of the same image.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from procrop_model.evaluation.metrics import bootstrap

Floats = NDArray[np.float64]
Interval = list[float]
MEASURES = ("area", "centre_x", "centre_y", "left", "top", "right", "bottom")
SIZE_EDGES = (0.0, 0.5, 0.7, 1.0)  # of the person's crop, as a share of the image
FLAT = 1e-9  # standard deviation below which a measure is the same in all images and has no correlation


PERSON = "person"


def box_figures(
    own: Mapping[str, Floats], ious: Mapping[str, Floats], wanted: Floats, photos: Sequence[str]
) -> dict[str, object]:
    """``correlations`` and ``areas`` by method and ``by_size``, in the form of ``eval --json``.

    Args:
        own: boxes [N, 4] by method.
        ious: [N] by method.
        wanted: the person's boxes [N, 4]; on canvases the photo's rectangles.
        photos: of each image, the unit that the bootstrap draws.
    """
    return {
        "correlations": {method: correlations(boxes, wanted, photos) for method, boxes in own.items()},
        "areas": {name: area_quantiles(boxes) for name, boxes in {PERSON: wanted, **own}.items()},
        "by_size": iou_by_size(ious, wanted, photos),
    }


def box_measures(boxes: Floats) -> Floats:
    """MEASURES of boxes [N, 4] in 0..1: [N, 7], in 0..1."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([(x2 - x1) * (y2 - y1), (x1 + x2) / 2, (y1 + y2) / 2, x1, y1, x2, y2], axis=1)


def correlations(own: Floats, wanted: Floats, photos: Sequence[str]) -> dict[str, Interval | None]:
    """Pearson's correlation of each measure with the person's: [r, low, high], None where either side is constant.

    Args:
        own: the method's boxes [N, 4].
        wanted: the person's boxes [N, 4].
        photos: of each image, the unit that the bootstrap draws.
    """
    pairs = zip(box_measures(own).T, box_measures(wanted).T, strict=True)
    return {name: pearson(a, b, photos) for name, (a, b) in zip(MEASURES, pairs, strict=True)}


def pearson(
    a: Floats, b: Floats, photos: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> Interval | None:  # fmt: skip
    """[r, low, high] of values [N] and [N], with a 95 % percentile interval over photographs drawn with replacement.

    None if a side is constant, or if there are fewer than three values.
    """
    if len(a) < 3 or min(a.std(), b.std()) < FLAT:
        return None
    _, owner = np.unique(np.asarray(photos), return_inverse=True)
    x, y = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    sums = np.stack([np.bincount(owner, term) for term in terms], axis=1)  # [photos, 6]
    drawn = (
        np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), draws).astype(np.float64)
    )
    low, high = np.percentile(_from_sums(drawn @ sums), [2.5, 97.5])
    return [round(float(value), 4) for value in (_from_sums(sums.sum(0)[None])[0], low, high)]


def _from_sums(sums: Floats) -> Floats:
    """Correlations [D] from sums [D, 6] of 1, x, y, xx, yy, xy; 0 for a draw in which a side is constant."""
    n, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / n) * (yy - y * y / n)
    return np.where(spread > FLAT, (xy - x * y / n) / np.sqrt(np.maximum(spread, FLAT)), 0.0)


def size_bins(wanted: Floats) -> list[tuple[float, float, NDArray[np.intp]]]:
    """(from, to, indices) of the images in each bin of SIZE_EDGES, by the person's area; one on an edge is in the higher bin."""
    areas = box_measures(wanted)[:, 0]
    which = np.searchsorted(SIZE_EDGES[1:-1], areas, side="right")
    edges = pairwise(SIZE_EDGES)
    return [(low, high, np.flatnonzero(which == number)) for number, (low, high) in enumerate(edges)]


def iou_by_size(ious: Mapping[str, Floats], wanted: Floats, photos: Sequence[str]) -> list[dict[str, object]]:
    """For each bin of the person's area that has images: ``from``, ``to``, ``n`` and ``iou`` by method as [mean, low, high].

    ious: [N] by method.
    """
    return [
        {
            "from": low,
            "to": high,
            "n": len(chosen),
            "iou": {method: _mean(values[chosen], [photos[i] for i in chosen]) for method, values in ious.items()},
        }
        for low, high, chosen in size_bins(wanted)
        if len(chosen)
    ]


def _mean(values: Floats, photos: Sequence[str]) -> Interval:
    return [round(x, 4) for x in bootstrap(values, photos)]


def area_quantiles(boxes: Floats) -> Interval:
    """The 10 %, 50 % and 90 % quantiles of the areas of boxes [N, 4]."""
    return [round(float(x), 4) for x in np.quantile(box_measures(boxes)[:, 0], [0.1, 0.5, 0.9])]
