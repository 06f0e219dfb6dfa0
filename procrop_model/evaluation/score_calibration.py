"""Whether a cropper's score is the chance that it states: of crops with a score of 0.7, seven of ten reach an IoU of 0.75."""

from collections.abc import Sequence

import numpy as np

from procrop_model.evaluation.metrics import bootstrap

BINS = 6  # of equally many images: scores lie close together, and bins of equal width would be nearly empty


def score_calibration(scores: Sequence[float], reached: Sequence[float], photos: Sequence[str]) -> dict[str, object]:
    """The reliability diagram of top crops: ``bins``, and ``error``, the expected calibration error (ECE).

    Each bin has ``n``, the mean ``score`` and ``reached`` as [mean, low, high]. The error is the mean distance of the two, by n.
    (Naeini, Cooper and Hauskrecht 2015, with bins of equal counts.)

    Args:
        scores: of the top crop of each image, in 0..1.
        reached: 1 for a crop whose IoU is at least 0.75, else 0.
        photos: of each image, the unit that the bootstrap draws.
    """
    order = np.argsort(scores, kind="stable")
    bins, error = [], 0.0
    for chosen in np.array_split(order, min(BINS, len(order))):
        score = float(np.mean([scores[i] for i in chosen]))
        share = bootstrap([reached[i] for i in chosen], [photos[i] for i in chosen])
        error += abs(share[0] - score) * len(chosen) / len(order)
        bins.append({"n": len(chosen), "score": round(score, 4), "reached": [round(float(x), 4) for x in share]})
    return {"bins": bins, "error": round(error, 4)}
