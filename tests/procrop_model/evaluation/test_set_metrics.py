"""eps_acc, AP and pair agreement on values worked out by hand, with ties."""

import numpy as np
import pytest

from procrop_model.evaluation.set_metrics import (
    ap_interval,
    average_precision,
    box_ious,
    eps_acc,
    eps_metrics,
    is_equal_area,
    is_unanimous,
    mean_ap,
    pair_agreement,
)


def test_eps_acc_looks_at_the_best_scored_boxes_alone() -> None:
    ious = np.array([0.2, 0.3, 0.84, 0.1, 0.85, 0.95, 0.0])
    assert eps_acc(ious, 5, 0.85) == 1.0  # exactly the limit counts
    assert eps_acc(ious, 4, 0.85) == 0.0
    assert eps_metrics(ious) == {"eps_acc5_90": 0.0, "eps_acc10_90": 1.0, "eps_acc5_85": 1.0, "eps_acc10_85": 1.0}
    assert eps_acc(np.zeros(0), 5, 0.85) == 0.0


def test_overlaps_keep_their_order_on_a_wide_picture() -> None:
    assert box_ious([(0, 0, 40, 10), (0, 0, 20, 10), (50, 0, 60, 10)], (0, 0, 40, 10)).tolist() == [1.0, 0.5, 0.0]


def test_average_precision_counts_one_hit_an_image() -> None:
    first = (np.array([0.95, 0.95]), np.array([0.9, 0.8]))  # the second is a false alarm
    second = (np.array([0.1, 0.9]), np.array([0.7, 0.6]))
    # order: hit, false, false, hit -> precision 1 at recall 1/2, 1/2 at recall 1
    assert average_precision([first, second], 0.85) == pytest.approx((1 + 0.5) / 2)
    assert average_precision([first], 0.85) == 1.0
    assert average_precision([second], 0.95) == 0.0
    assert average_precision([], 0.85) == 0.0


def test_precision_at_a_recall_is_the_best_at_that_or_higher() -> None:
    images = [
        (np.array([0.0]), np.array([0.9])),
        (np.array([1.0]), np.array([0.8])),
        (np.array([1.0]), np.array([0.7])),
    ]
    # precisions 0, 1/2, 2/3: the envelope gives 2/3 at both hits
    assert average_precision(images, 0.85) == pytest.approx(2 * (2 / 3) / 3)


def test_average_precision_keeps_the_order_of_equal_scores() -> None:
    good, bad = (np.array([1.0]), np.array([0.5])), (np.array([0.0]), np.array([0.5]))
    assert average_precision([good, bad], 0.85) == 0.5
    assert average_precision([bad, good], 0.85) == 0.25


def test_mean_ap_and_its_interval() -> None:
    images = [(np.array([0.92]), np.array([0.5]))] * 8
    assert mean_ap(images) == pytest.approx(2 / 3)  # 0.85 and 0.90 are reached, 0.95 is not
    assert ap_interval(images) == pytest.approx([2 / 3] * 3)
    mixed = [(np.array([float(i % 2)]), np.array([0.5])) for i in range(8)]
    value, low, high = ap_interval(mixed)
    assert low < value < high and ap_interval(mixed) == [value, low, high]
    assert np.isnan(ap_interval([])).all()


def test_pairs_follow_the_votes() -> None:
    assert pair_agreement(0.7, 0.2, 4, 1) == 1.0
    assert pair_agreement(0.7, 0.2, 1, 4) == 0.0
    assert pair_agreement(0.5, 0.5, 5, 0) == 0.5
    with pytest.raises(ValueError, match="equal votes"):
        pair_agreement(0.7, 0.2, 2, 2)


def test_equal_area_allows_five_percent_of_the_larger() -> None:
    assert is_equal_area((0, 0, 10, 10), (50, 0, 70, 5)) and is_equal_area((0, 0, 10, 10), (0, 0, 10, 9.5))
    assert not is_equal_area((0, 0, 10, 10), (0, 0, 10, 9.4)) and not is_equal_area((0, 0, 10, 9.4), (0, 0, 10, 10))


def test_unanimous_votes() -> None:
    assert is_unanimous(5, 0) and is_unanimous(0, 1)
    assert not is_unanimous(4, 1) and not is_unanimous(0, 0)
