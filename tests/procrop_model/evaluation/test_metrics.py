"""Metrics by hand-worked cases: ties, unscored rows, non-square frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import iou
from procrop_model.evaluation.metrics import best_constant_box, bootstrap, crop_metrics
from procrop_model.evaluation.rank_metrics import acc, gaic_metrics, pcc, srcc, weighted_acc


def test_displacement_divides_each_side_by_its_own_length() -> None:
    found = crop_metrics((0, 0, 200, 50), [(20, 10, 200, 50)], 200, 50)
    assert found.bde == pytest.approx((20 / 200 + 10 / 50) / 4)
    assert found.iou == pytest.approx(180 * 40 / (200 * 50))
    assert found.recall == 0.0


def test_the_annotation_of_best_iou_counts_not_the_nearest() -> None:
    found = crop_metrics((0, 0, 100, 100), [(0, 0, 100, 40), (0, 0, 100, 80)], 100, 1000)
    assert found.iou == pytest.approx(0.8)
    assert found.bde == pytest.approx(20 / 1000 / 4)
    assert found.recall == 1.0


def test_ties_in_iou_go_to_the_smallest_displacement() -> None:
    wide = [(0, 0, 50, 100), (0, 0, 100, 50)]  # equal IoU 0.5, but the frame is four times as wide as high
    found = crop_metrics((0, 0, 100, 100), wide, 400, 100)
    assert found.bde == pytest.approx(50 / 400 / 4)


def test_without_annotation_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="without annotation"):
        crop_metrics((0, 0, 1, 1), [], 1, 1)


def test_bootstrap_draws_whole_photos() -> None:
    values, photos = [0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50
    mean, low, high = bootstrap(values, photos)
    assert (mean, low, high) == (0.5, 0.0, 1.0)
    _, low, high = bootstrap(values)
    assert 0.38 < low < 0.45
    assert 0.55 < high < 0.62
    assert bootstrap(values, photos) == bootstrap(values, photos)
    assert np.isnan(bootstrap([])).all()


def test_the_constant_box_recovers_a_common_box() -> None:
    box = (0.21, 0.13, 0.77, 0.94)
    assert best_constant_box([box] * 5) == pytest.approx(box, abs=0.01)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(*[st.floats(0, 0.5)] * 2, *[st.floats(0.1, 0.5)] * 2), min_size=1, max_size=6))
def test_the_constant_box_beats_identity(sides: list[tuple[float, float, float, float]]) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in sides]
    best = best_constant_box(boxes)
    assert np.mean([iou(best, b) for b in boxes]) >= np.mean([iou((0, 0, 1, 1), b) for b in boxes]) - 1e-9


OPINIONS = [3.0, 5.0, 4.0, -2.0, 4.0, 1.0, 2.0]


def test_acc_counts_ties_with_the_nth_best() -> None:
    predictions = [0.0, 0.1, 0.9, 1.0, 0.8, 0.2, 0.3]  # the unscored crop is predicted best and ignored
    assert acc(OPINIONS, predictions, 1, 2) == 1.0  # 4.0 ties with the second best
    assert acc(OPINIONS, predictions, 2, 2) == 1.0  # so does the other 4.0
    assert acc(OPINIONS, predictions, 3, 2) == pytest.approx(2 / 3)
    assert acc(OPINIONS, predictions, 4, 10) == 1.0  # fewer scored than n: all count


def test_equal_predictions_keep_their_order() -> None:
    assert acc([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], 1, 1) == 0.0
    assert acc([3.0, 2.0, 1.0], [0.5, 0.5, 0.5], 1, 1) == 1.0


def test_weighted_acc_is_one_for_the_true_ranking_and_falls() -> None:
    opinions = list(range(20, 0, -1))
    assert weighted_acc(opinions, opinions, 4, 5) == pytest.approx(1.0)
    shuffled = [*opinions[:4][::-1], *opinions[4:]]
    assert weighted_acc(opinions, shuffled, 4, 5) == pytest.approx(1.0)  # the same four, in another order
    second = [0.0, 1.0, *[0.0] * 18]
    assert weighted_acc(opinions, second, 1, 5) == pytest.approx(np.exp(-0.2))
    sixth = [*[0.0] * 5, 1.0, *[0.0] * 14]
    assert weighted_acc(opinions, sixth, 1, 5) == 0.0
    assert weighted_acc(opinions, sixth, 1, 10) == pytest.approx(np.exp(-0.5))


def test_correlations_with_ties_unscored_and_constants() -> None:
    assert srcc([1, 2, 2, 3, -2], [10, 20, 20, 30, -99]) == pytest.approx(1.0)
    assert srcc([1, 2, 3], [1, 4, 9]) == pytest.approx(1.0)
    assert pcc([1, 2, 3], [1, 4, 9]) == pytest.approx(0.98974, abs=1e-5)
    assert srcc([1, 2, 3], [5, 5, 5]) == 0.0
    assert pcc([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)


def test_images_without_scores_are_left_out() -> None:
    one = gaic_metrics([(OPINIONS, OPINIONS), ([-2.0, -2.0], [1.0, 2.0])])
    assert one["srcc"] == pytest.approx(1.0)
    assert one["acc1_5"] == one["avg10"] == 1.0
    assert gaic_metrics([([-2.0], [1.0])]) == {}
