"""The score of a crop: the chance of an IoU of 0.75 with the best crop, from its expected IoU under the model's own opinion.

A calibration is the slope and the offset of the log-odds: chance = sigmoid(slope x expected IoU + offset).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_STEPS, _RIDGE = 30, 1e-2  # Newton steps of the logistic fit, and what keeps it finite for answers that are all good
_LEAST = 1e-6  # of a chance whose log-odds are taken


def calibrated(expected: Floats, calibration: tuple[float, float]) -> Floats:
    """Expected IoU [N] -> chance [N]."""
    slope, offset = calibration
    return np.asarray(1 / (1 + np.exp(-(slope * expected + offset))), np.float32)


def expected_of(chances: Sequence[float], calibration: tuple[float, float]) -> NDArray[np.float64]:
    """The reverse of ``calibrated``: expected IoU [N] of chances [N]."""
    slope, offset = calibration
    p = np.clip(np.asarray(chances, np.float64), _LEAST, 1 - _LEAST)
    found: NDArray[np.float64] = (np.log(p / (1 - p)) - offset) / slope
    return found


def fit_chances(expected: Sequence[float] | NDArray[np.float64], reached: Sequence[bool]) -> tuple[float, float]:
    """The logistic fit (Platt 1999) with a small ridge on the slope, rounded to 4 decimals.

    Args:
        expected: expected IoU of N answers.
        reached: whether each has an IoU of 0.75.
    """
    x = np.stack([np.asarray(expected, np.float64), np.ones(len(reached))], axis=1)  # [N, 2]
    y = np.asarray(reached, np.float64)
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (y - p) - _RIDGE * weights
        curve = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        weights = weights + np.linalg.solve(curve, slope)
    return round(float(weights[0]), 4), round(float(weights[1]), 4)
