"""The matrix form chooses what the pair-by-pair rule chooses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.geometry import iou, is_distinct
from stages.canvases.distinct_boxes import choose_distinct, overlaps

CORNERS = st.tuples(*[st.integers(0, 30)] * 4).map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3]))


def one_by_one(boxes, limit, most):
    chosen = []
    for index, box in enumerate(boxes):
        if most is not None and len(chosen) == most:
            break
        if is_distinct(box, [boxes[i] for i in chosen], limit):
            chosen.append(index)
    return chosen


@given(st.lists(CORNERS, max_size=20), st.sampled_from([0.3, 0.5, 0.8, 0.95]), st.sampled_from([None, 1, 3]))
def test_it_is_the_greedy_rule(boxes, limit, most):
    assert choose_distinct(boxes, limit, most) == one_by_one(boxes, limit, most)


@given(st.lists(CORNERS, min_size=1, max_size=12))
def test_overlaps_are_the_iou_of_every_pair(boxes):
    found = overlaps(np.asarray(boxes, np.float64))
    assert found.shape == (len(boxes), len(boxes))
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            assert found[i, j] == pytest.approx(iou(a, b), abs=1e-12)


def test_two_empty_boxes_overlap_nothing():
    assert choose_distinct([(5, 5, 5, 5), (5, 5, 5, 5)], 0.5) == [0, 1]
