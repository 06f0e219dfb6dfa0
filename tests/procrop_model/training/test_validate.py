"""Calibration: the fitted chance agrees with how often answers are good."""

import numpy as np
import pytest

from procrop_model.answer.expected_agreement import calibrated
from procrop_model.training.validate import Answer, calibration_of


def test_the_fitted_chance_agrees_with_the_share_of_good_answers() -> None:
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.4, 0.9, 4000)
    chance = 1 / (1 + np.exp(-(9 * expected - 6)))
    found = [Answer(0.8 if rng.random() < p else 0.5, float(x)) for x, p in zip(expected, chance, strict=True)]
    slope, offset = calibration_of(found)
    assert slope == pytest.approx(9, abs=1.0) and offset == pytest.approx(-6, abs=0.8)
    fitted = calibrated(expected.astype(np.float32), (slope, offset))
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 1.0)):
        chosen = (fitted >= low) & (fitted < high)
        good = np.array([answer.iou >= 0.75 for answer in found])[chosen]
        assert abs(good.mean() - fitted[chosen].mean()) < 0.04


@pytest.mark.parametrize("value", [0.2, 0.9])
def test_all_good_or_all_bad_answers_give_a_finite_fit(value: float) -> None:
    fitted = calibration_of([Answer(value, x) for x in (0.5, 0.6, 0.7)])
    assert np.isfinite(fitted).all()
    assert (calibrated(np.array([0.6], np.float32), fitted)[0] > 0.5) == (value > 0.75)
