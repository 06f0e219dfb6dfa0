"""A score of 0.7 means that seven of ten such crops are good: the diagram shows it, and how far off it is."""

import numpy as np
import pytest

from procrop_model.evaluation.score_calibration import BINS, score_calibration


def test_honest_scores_have_little_error() -> None:
    scores = np.random.default_rng(0).uniform(0.1, 0.9, 6000)
    reached = (np.random.default_rng(1).uniform(size=6000) < scores).astype(float)
    found = score_calibration(scores.tolist(), reached.tolist(), [str(i) for i in range(6000)])
    assert found["error"] < 0.02 and [one["n"] for one in found["bins"]] == [1000] * BINS
    assert all(
        one["reached"][1] < one["score"] + 0.03 and one["score"] - 0.03 < one["reached"][2] for one in found["bins"]
    )


def test_boasting_scores_show_their_distance() -> None:
    found = score_calibration([0.9] * 12, [1.0, 0.0] * 6, list("abcdefghijkl"))
    assert found["error"] == pytest.approx(0.4) and len(found["bins"]) == BINS


def test_fewer_images_than_bins() -> None:
    assert [one["n"] for one in score_calibration([0.2, 0.4], [0.0, 1.0], ["a", "b"])["bins"]] == [1, 1]
