"""Typical crops have the wanted shares of the image, margins at the wanted sides, and are the same each time."""

import numpy as np

from procrop_model.answer.typical_crops import LEAST_SIDE, typical_crops


def test_shares_and_sides_are_those_asked_for() -> None:
    boxes = typical_crops(400, (0.4, 0.9), (0.3, 0.8))
    assert boxes.shape == (400, 4) and boxes[-1].tolist() == [0, 0, 1, 1]
    some = boxes[(boxes != boxes[-1]).any(1)]
    shares = (some[:, 2:] - some[:, :2]).prod(1)
    assert 0.399 < shares.min() < 0.43 and 0.87 < shares.max() < 0.901
    assert abs(np.median(shares) - 0.65) < 0.05
    across = np.concatenate([boxes[:, 0] > 0, boxes[:, 2] < 1]).mean()
    down = np.concatenate([boxes[:, 1] > 0, boxes[:, 3] < 1]).mean()
    assert abs(across - 0.3) < 0.06 and abs(down - 0.8) < 0.08
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= LEAST_SIDE - 1e-6


def test_they_are_the_same_each_time() -> None:
    np.testing.assert_array_equal(typical_crops(50, (0.4, 0.9), (0.6, 0.6)), typical_crops(50, (0.4, 0.9), (0.6, 0.6)))
    assert not np.array_equal(typical_crops(50, (0.4, 0.9), (0.6, 0.6)), typical_crops(50, (0.4, 0.8), (0.6, 0.6)))


def test_one_crop_and_no_margins_are_the_whole_image() -> None:
    assert typical_crops(1, (0.4, 0.9), (0.6, 0.6)).tolist() == [[0, 0, 1, 1]]
    assert (typical_crops(5, (0.4, 0.9), (0.0, 0.0)) == [0, 0, 1, 1]).all()
