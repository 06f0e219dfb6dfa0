"""Calibration: the fitted chance agrees with how often answers are good."""

import numpy as np
import pytest

from procrop_model.answer.calibration import calibrated, expected_of, fit_chances


def test_the_fitted_chance_agrees_with_the_share_of_good_answers() -> None:
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.4, 0.9, 4000)
    reached = rng.random(4000) < 1 / (1 + np.exp(-(9 * expected - 6)))
    slope, offset = fit_chances(expected, reached.tolist())
    assert slope == pytest.approx(9, abs=1.0) and offset == pytest.approx(-6, abs=0.8)
    fitted = calibrated(expected.astype(np.float32), (slope, offset))
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 1.0)):
        chosen = (fitted >= low) & (fitted < high)
        assert abs(reached[chosen].mean() - fitted[chosen].mean()) < 0.04


@pytest.mark.parametrize("good", [False, True])
def test_all_good_or_all_bad_answers_give_a_finite_fit(good: bool) -> None:
    fitted = fit_chances([0.5, 0.6, 0.7], [good] * 3)
    assert np.isfinite(fitted).all()
    assert (calibrated(np.array([0.6], np.float32), fitted)[0] > 0.5) == good


def test_calibration_is_a_chance_that_rises() -> None:
    found = calibrated(np.array([0.0, 0.5, 1.0], np.float32), (10.0, -5.0))
    assert found[1] == pytest.approx(0.5) and (np.diff(found) > 0).all() and 0 < found[0] < 0.01


def test_the_expected_iou_of_a_chance_is_found_again() -> None:
    chances = calibrated(np.array([0.3, 0.6, 0.8], np.float32), (9.0, -6.0))
    assert expected_of(chances.tolist(), (9.0, -6.0)) == pytest.approx([0.3, 0.6, 0.8], abs=1e-4)
    assert np.isfinite(expected_of([0.0, 1.0], (9.0, -6.0))).all()
