import numpy as np
import pytest

from stages.backends.scorers.composition_model import Calibration

CALIBRATION = Calibration((0.4, 0.5, 0.02), 1.2, 2.5)
BOXES = np.array([[0.1, 0.2, 0.6, 0.9], [0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.7, 0.6]])


def levels() -> np.ndarray:
    size = np.log((BOXES[:, 2] - BOXES[:, 0]) * (BOXES[:, 3] - BOXES[:, 1]))
    return 0.4 + 0.5 * size + 0.02 * size**2


def test_a_bad_crop_and_a_frame_lie_alike_from_the_middle() -> None:
    bad, frame = CALIBRATION.apply(levels(), BOXES), CALIBRATION.apply(levels() + 1.2 * 2.5, BOXES)
    np.testing.assert_allclose(bad + frame, 10)
    np.testing.assert_allclose(bad, 2.5 + 5 / (1 + np.exp(2.5)))


@pytest.mark.parametrize("lead", [0.0, 0.7, 2.5, 6.0])
def test_log_odds_inverts_apply(lead: float) -> None:
    odds = np.linspace(-6, 6 + lead, 60)
    calibration = Calibration((0.0, 0.0, 0.0), 2.0, lead)
    scores = calibration.apply(2.0 * odds, np.array([[0.0, 0.0, 1.0, 1.0]]).repeat(60, 0))
    assert (np.diff(scores) > 0).all() and scores.min() > 0 and scores.max() < 10
    np.testing.assert_allclose(calibration.log_odds(scores), odds, atol=1e-6)
    assert np.isfinite(calibration.log_odds(np.array([0.0, 10.0]))).all()
