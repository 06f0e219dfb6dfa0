"""Correlations and sizes of crops beside people's, against values by hand and by numpy and scipy."""

import numpy as np
import pytest

from procrop_model.evaluation.box_statistics import (
    MEASURES,
    area_quantiles,
    box_measures,
    correlations,
    iou_by_size,
    pearson,
    size_bins,
)


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, sides = rng.uniform(0, 0.4, (count, 2)), rng.uniform(0.2, 0.6, (count, 2))
    return np.concatenate([low, low + sides], axis=1)


def photos(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


def test_measures_of_a_box() -> None:
    (row,) = box_measures(np.array([[0.1, 0.2, 0.5, 1.0]]))
    assert dict(zip(MEASURES, row, strict=True)) == pytest.approx(
        {"area": 0.32, "centre_x": 0.3, "centre_y": 0.6, "left": 0.1, "top": 0.2, "right": 0.5, "bottom": 1.0}
    )


def test_a_correlation_by_hand() -> None:
    # deviations -1, 0, 1 and -1, 1, 0: covariance 1, spreads 2 and 2
    r, low, high = pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), photos(3))
    assert r == 0.5 and -1 <= low <= high <= 1


def test_correlations_agree_with_numpy_and_scipy() -> None:
    from scipy.stats import pearsonr

    own, wanted = random_boxes(60, 1), random_boxes(60, 2) * 0.5 + random_boxes(60, 1) * 0.5
    found = correlations(own, wanted, photos(60))
    for index, name in enumerate(MEASURES):
        a, b = box_measures(own)[:, index], box_measures(wanted)[:, index]
        assert found[name][0] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)
        assert found[name][0] == pytest.approx(pearsonr(a, b).statistic, abs=1e-4)


def test_the_interval_is_near_that_of_fisher() -> None:
    from scipy.stats import pearsonr

    rng = np.random.default_rng(4)
    a = rng.normal(size=400)
    b = 0.5 * a + rng.normal(size=400)
    _, low, high = pearson(a, b, photos(400))
    exact = pearsonr(a, b).confidence_interval(0.95)
    assert low == pytest.approx(exact.low, abs=0.03) and high == pytest.approx(exact.high, abs=0.03)


def test_whole_photographs_are_drawn() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=30), rng.normal(size=30)
    single, repeated = pearson(a, b, photos(30)), pearson(np.tile(a, 8), np.tile(b, 8), photos(30) * 8)
    assert repeated == pytest.approx(single, abs=0.02)
    assert pearson(np.tile(a, 8), np.tile(b, 8), photos(240))[2] < single[2] - 0.1


@pytest.mark.parametrize("values", [np.full(9, 0.3), np.arange(2.0)])
def test_a_constant_side_or_too_few_values_have_no_correlation(values: np.ndarray) -> None:
    assert pearson(values, np.arange(float(len(values))), photos(len(values))) is None


def test_bins_of_the_persons_size() -> None:
    heights = np.array([0.2, 0.49, 0.5, 0.69, 0.7, 1.0])  # of boxes of full width
    wanted = np.stack([np.zeros(6), np.zeros(6), np.ones(6), heights], axis=1)
    assert [(low, high, list(chosen)) for low, high, chosen in size_bins(wanted)] == [
        (0.0, 0.5, [0, 1]), (0.5, 0.7, [2, 3]), (0.7, 1.0, [4, 5]),
    ]  # fmt: skip
    rows = iou_by_size({"model": np.array([0.1, 0.3, 0.5, 0.7, 0.8, 1.0])}, wanted, photos(6))
    assert [row["n"] for row in rows] == [2, 2, 2]
    assert [row["iou"]["model"][0] for row in rows] == [0.2, 0.6, 0.9]
    assert [row["from"] for row in iou_by_size({"model": np.ones(2)}, wanted[:2], photos(2))] == [0.0]


def test_quantiles_of_areas() -> None:
    heights = np.linspace(0, 1, 11)
    boxes = np.stack([np.zeros(11), np.zeros(11), np.full(11, 0.5), heights], axis=1)
    assert area_quantiles(boxes) == [0.05, 0.25, 0.45]
